"""RNN, LSTM and GRU against their formulas step by step, against PyTorch, and in both engines."""

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import engine, nn
from tests.tables import for_each

KINDS = (nn.RNN, nn.LSTM, nn.GRU)
ENGINES = engine.available()


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def weights(layer: Any, suffix: str = "_l0") -> Any:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [p.value if (p := getattr(layer, n + suffix, None)) is not None else 0.0 for n in names]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def by_hand(layer: Any, x: Any, suffix: str = "_l0") -> Any:
    """The formulas of the docstrings in NumPy, for one direction of one layer."""
    W, U, b, d = weights(layer, suffix)
    n = layer.hidden_size
    h = c = np.zeros((len(x), n))
    out = []
    for t in range(x.shape[1]):
        a, r = x[:, t] @ W + b, h @ U + d
        if type(layer) is nn.RNN:
            h = np.tanh(a + r) if layer.nonlinearity == "tanh" else np.maximum(a + r, 0)
        elif type(layer) is nn.LSTM:
            i, f, g, o = np.split(a + r, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (a1, a2, a3), (r1, r2, r3) = np.split(a, 3, axis=1), np.split(r, 3, axis=1)
            z = sigmoid(a2 + r2)
            h = (1 - z) * np.tanh(a3 + sigmoid(a1 + r1) * r3) + z * h
        out.append(h)
    return np.stack(out, axis=1)


@for_each("kind", KINDS)
def test_values_are_those_of_the_formulas(kind: Any) -> None:
    x = draw(3, 6, 4)
    for settings in ({}, {"bias": False}, *([{"nonlinearity": "relu"}] if kind is nn.RNN else [])):
        layer = kind(4, 5, dtype=np.float64, **settings)
        np.testing.assert_allclose(layer(x).value, by_hand(layer, x), 1e-12, 1e-14)
    layer = kind(4, 5, 2, bidirectional=True, dtype=np.float64)
    out, state = layer(x, return_state=True)
    for k in range(2):
        there, back = by_hand(layer, x, f"_l{k}"), by_hand(layer, x[:, ::-1], f"_l{k}_reverse")[:, ::-1]
        h = state[0] if kind is nn.LSTM else state
        np.testing.assert_allclose(h[2 * k].value, there[:, -1], 1e-12, 1e-14)
        np.testing.assert_allclose(h[2 * k + 1].value, back[:, 0], 1e-12, 1e-14)
        x = np.concatenate([there, back], axis=-1)
    np.testing.assert_allclose(out.value, x, 1e-12, 1e-14)


@for_each("kind", KINDS)
def test_each_sequence_of_a_padded_batch_is_that_sequence(kind: Any) -> None:
    layer, x, lengths = kind(4, 5, 2, bidirectional=True, dtype=np.float64), draw(4, 6, 4), [6, 1, 3, 0]
    out, state = layer(x, lengths=lengths, return_state=True)
    for k, length in enumerate(lengths[:3]):
        alone, after = layer(x[k : k + 1, :length], return_state=True)
        np.testing.assert_allclose(out.value[k, :length], alone.value[0], 1e-12)
        assert not out.value[k, length:].any()
        for whole, one in zip(*((s if kind is nn.LSTM else (s,)) for s in (state, after)), strict=True):
            np.testing.assert_allclose(whole.value[:, k], one.value[:, 0], 1e-12)
    assert not out.value[3].any()


@for_each("kind", KINDS)
def test_a_sequence_in_two_parts(kind: Any) -> None:
    layer, x = kind(4, 5, 2, dtype=np.float64), draw(2, 6, 4)
    first, state = layer(x[:, :4], return_state=True)
    second = layer(x[:, 4:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1).value, layer(x).value, 1e-12)


@for_each("kind", KINDS, every=3)
def test_compiled_and_eager_gradients_agree(kind: Any) -> None:
    layer, x = kind(3, 4, 2, bidirectional=True, dtype=np.float64), draw(2, 5, 3)
    start = {path: p.value for path, p in layer.named_parameters()}

    def loss(parameters: Any, x: Any) -> Any:
        return np.sum(np.sin(nn.functional_call(layer, parameters, x)[0]))

    expected = cr.grad(loss, (0, 1))(start, x)
    for name in ENGINES:
        found = cr.compile(cr.grad(loss, (0, 1)), engine=name)(start, x)
        np.testing.assert_allclose(found[1], expected[1], 1e-9, 1e-12)
        for path, g in expected[0].items():
            np.testing.assert_allclose(found[0][path], g, 1e-9, 1e-12, err_msg=path)
    assert cr.gradcheck(lambda x: nn.functional_call(layer, start, x)[0], x)


SIZES = {"one step": (2, 1, 3), "no step": (2, 0, 3), "no example": (0, 4, 3), "one of all": (1, 1, 3)}


@for_each("size", SIZES)
def test_sizes(size: str) -> None:
    x = draw(*SIZES[size])
    for kind in KINDS:
        layer = kind(3, 4)
        eager = layer(x)
        assert eager.shape == (*x.shape[:2], 4) and eager.dtype == np.float32
        for name in ENGINES:
            np.testing.assert_allclose(cr.compile(layer, engine=name)(x), eager.value, 1e-5, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch(kind: Any) -> None:
    torch = pytest.importorskip("torch")
    x, lengths = draw(3, 6, 4), [6, 3, 1]
    for settings in ({}, {"num_layers": 2, "bidirectional": True}, {"bias": False}):
        theirs = getattr(torch.nn, kind.__name__)(4, 5, batch_first=True, **settings).double()
        layer = kind(4, 5, dtype=np.float64, **settings)
        ours = dict(layer.named_parameters())
        for name, p in theirs.named_parameters():
            ours[name].assign(p.detach().numpy().T)
        t = torch.tensor(x, requires_grad=True)
        packed = torch.nn.utils.rnn.pack_padded_sequence(t, lengths, batch_first=True)
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
        torch.sin(out).sum().backward()
        start = {path: p.value for path, p in layer.named_parameters()}

        def loss(parameters: Any, x: Any, layer: Any = layer) -> Any:
            call = nn.functional_call(layer, parameters, x, lengths=np.array(lengths))
            return np.sum(np.sin(call[0]))

        value, (dp, dx) = cr.value_and_grad(loss, (0, 1))(start, x)
        np.testing.assert_allclose(value, torch.sin(out).sum().detach().numpy(), 1e-12)
        np.testing.assert_allclose(dx, t.grad.numpy(), 1e-9, 1e-12)
        for name, p in theirs.named_parameters():
            np.testing.assert_allclose(dp[name], p.grad.numpy().T, 1e-9, 1e-12)


def test_names_of_values_and_their_gradients() -> None:
    model = nn.Sequential(nn.LSTM(3, 4, dtype=np.float64), nn.Linear(4, 2, dtype=np.float64))
    x = draw(2, 3, 3)
    found = cr.backprop(model, x, np.zeros((2, 3), int), loss="cross_entropy")
    letters = [f"{letter}1[{t}]" for t in range(3) for letter in "ifgoch"]
    assert set(letters) <= set(found.values) and {"W1", "U1", "b1", "d1", "W2", "Z2"} <= set(found.values)
    assert {"d" + letter for letter in letters} <= set(found.gradients)
    np.testing.assert_allclose(found["h1[2]"], by_hand(model[0], x)[:, 2])


def test_descriptions_count_and_rebuild() -> None:
    for kind in KINDS:
        for settings in ({}, {"num_layers": 3, "bidirectional": True, "bias": False, "dropout": 0.5}):
            layer = kind(3, 4, **settings)
            again = nn.from_config(layer.config())
            assert again.config() == layer.config()
            assert nn.count_parameters(layer.config()) == layer.num_parameters == again.num_parameters


def test_dropout_lies_between_layers() -> None:
    layer, x = nn.GRU(3, 4, 2, dropout=0.5), draw(2, 3, 3)
    assert not np.array_equal(layer(x).value, layer(x).value)
    layer.eval()
    np.testing.assert_array_equal(layer(x).value, layer(x).value)


MISTAKES = {
    "axes": (lambda: nn.LSTM(3, 4)(np.ones((2, 3))), r"shape \(2, 3\), LSTM expects \(m, T, 3\)"),
    "features": (lambda: nn.GRU(3, 4)(np.ones((2, 5, 4))), r"\(2, 5, 4\), GRU expects \(m, T, 3\)"),
    "lengths": (lambda: nn.RNN(3, 4)(np.ones((2, 5, 3)), lengths=[1, 6]), "0 to 5 steps, got 1 to 6"),
    "number of lengths": (lambda: nn.RNN(3, 4)(np.ones((2, 5, 3)), lengths=[1]), "2 integers, got shape"),
    "state": (lambda: nn.LSTM(3, 4)(np.ones((2, 5, 3)), np.ones((1, 2, 4))), r"h and c of shape \(1, 2, 4\)"),
    "nonlinearity": (lambda: nn.RNN(3, 4, nonlinearity="sin"), "nonlinearity: expected"),
    "layers": (lambda: nn.RNN(3, 4, 0), "num_layers: expected"),
}


@for_each("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()


def test_sequences_without_steps():
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        layer = kind(3, 4, num_layers=2, bidirectional=True)
        out, state = layer(np.zeros((2, 0, 3)), return_state=True)
        assert out.shape == (2, 0, 8)
        assert all(not np.any(part) for part in (state if isinstance(state, tuple) else (state,)))
