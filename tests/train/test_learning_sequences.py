"""What recurrent networks and transformers have to be able to learn: long memory, and order."""

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim


class Last(nn.Module):
    """The affine map of a recurrent layer's state after the last step."""

    def __init__(self, recurrent: nn.Module, head: nn.Module) -> None:
        self.recurrent, self.head = recurrent, head

    def forward(self, X: Any) -> Any:
        return self.head(self.recurrent(X)[:, -1])


class Placed(nn.Module):
    """A transformer on ids, each with its place."""

    def __init__(self, ids: int, length: int, width: int) -> None:
        self.tokens, self.places = nn.Embedding(ids, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0)
        self.body = nn.Sequential(layer, nn.Linear(width, ids))

    def forward(self, X: Any) -> Any:
        return self.body(self.tokens(X) + self.places(np.arange(X.shape[1])))


def adding(steps: int, m: int, seed: int) -> tuple[Any, Any]:
    """Return sequences of numbers, two of them marked, and the sum of these two."""
    rng = np.random.default_rng(seed)
    X, rows = np.zeros((m, steps, 2), np.float32), np.arange(m)
    X[:, :, 0] = rng.uniform(size=(m, steps))
    X[rows, rng.integers(0, steps // 2, m), 1] = 1
    X[rows, rng.integers(steps // 2, steps, m), 1] = 1
    return X, np.sum(X[:, :, 0] * X[:, :, 1], axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("steps", "m", "hidden", "epochs"), [(8, 1000, 16, 12), pytest.param(100, 5000, 32, 18, marks=pytest.mark.slow)]
)
def test_an_lstm_adds_the_two_marked_numbers(steps: int, m: int, hidden: int, epochs: int) -> None:
    (X, y), (X_test, y_test) = adding(steps, m, 0), adding(steps, 500, 1)
    model = Last(nn.LSTM(2, hidden), nn.Linear(hidden, 1)).initialize(0)
    b = np.array(model.recurrent.bias_ih_l0.value)
    b[hidden : 2 * hidden] += 1  # gates of forgetting that are open at first, as is usual
    model.recurrent.bias_ih_l0.assign(b)
    optimizer = optim.Adam(0.01, clip_norm=1.0)
    cr.fit(model, X, y, loss="mse", epochs=epochs, batch_size=50, optimizer=optimizer, seed=0, progress=False)
    error = float(np.mean((cr.predict(model, X_test) - y_test) ** 2))
    assert error < 0.1 * float(np.var(y_test))  # the error without memory is the variance, about 0.17


@pytest.mark.parametrize(("length", "width", "epochs"), [(3, 32, 8), pytest.param(6, 64, 10, marks=pytest.mark.slow)])
def test_a_gru_says_a_sequence_backwards(length: int, width: int, epochs: int) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 6, (2300 if length < 5 else 4300, length))
    X, Y = np.concatenate([ids, 0 * ids], axis=1), np.concatenate([0 * ids, ids[:, ::-1]], axis=1)
    model = nn.Sequential(nn.Embedding(6, width), nn.GRU(width, width), nn.Linear(width, 6)).initialize(0)
    cr.fit(model, X[:-300], Y[:-300], epochs=epochs, batch_size=50, optimizer=optim.Adam(0.01), seed=0, progress=False)
    said = cr.predict(model, X[-300:]).argmax(-1)
    assert np.mean(said == Y[-300:]) > 0.95


@pytest.mark.parametrize(("length", "epochs"), [(5, 5), pytest.param(16, 12, marks=pytest.mark.slow)])
def test_a_transformer_reverses_a_sequence(length: int, epochs: int) -> None:
    X = np.random.default_rng(0).integers(0, 10, (2300, length))
    Y = X[:, ::-1].copy()
    model = Placed(10, length, 32).initialize(0)
    optimizer = optim.Adam(3e-3)
    cr.fit(model, X[:-300], Y[:-300], epochs=epochs, batch_size=50, optimizer=optimizer, seed=0, progress=False)
    assert np.mean(cr.predict(model, X[-300:]).argmax(-1) == Y[-300:]) > 0.98
