"""backprop: the article's view of one pass; nothing of the model changes."""

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.backpropagation import backprop

RNG = np.random.default_rng(2)
X = RNG.normal(size=(9, 5))
IDS = RNG.integers(0, 3, 9)


def network(outputs, dtype=np.float64):
    layers = nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, outputs)
    return nn.Sequential(*layers).to(dtype)


def by_hand(model, dZ3, b):
    """The articles' equations, from the error signal of the last layer down."""
    W2, W3 = (model[i].weight.value for i in (2, 4))
    dA2 = dZ3 @ W3.T
    dZ2 = dA2 * (1 - b["A2"] ** 2)
    dA1 = dZ2 @ W2.T
    dZ1 = dA1 * (b["Z1"] > 0)
    return {
        "dZ3": dZ3, "dW3": b["A2"].T @ dZ3, "db3": dZ3.sum(0), "dA2": dA2,
        "dZ2": dZ2, "dW2": b["A1"].T @ dZ2, "db2": dZ2.sum(0), "dA1": dA1,
        "dZ1": dZ1, "dW1": b["A0"].T @ dZ1, "db1": dZ1.sum(0), "dA0": dZ1 @ model[0].weight.value.T,
    }  # fmt: skip


Y = RNG.normal(size=(9, 3))
YES = (RNG.random((9, 3)) > 0.5).astype(float)
PAIRINGS = {
    "half_mse": (Y, Y, lambda z: z),
    "binary_cross_entropy": (YES, YES, lambda z: 1 / (1 + np.exp(-z))),
    "cross_entropy": (IDS, np.eye(3)[IDS], lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)),
}


@pytest.mark.parametrize("loss", PAIRINGS)
def test_dz_of_the_last_layer_is_a_minus_y_over_m_and_the_rest_follows(loss):
    target, Y, activation = PAIRINGS[loss]
    model = network(3)
    b = backprop(model, X, target, loss)
    np.testing.assert_allclose(b["A3"], activation(b["Z3"]), rtol=1e-12)
    np.testing.assert_allclose(b["dZ3"], (b["A3"] - Y) / 9, rtol=1e-12, atol=1e-16)
    for name, value in by_hand(model, (b["A3"] - Y) / 9, b).items():
        np.testing.assert_allclose(b[name], value, rtol=1e-11, atol=1e-15, err_msg=name)
    np.testing.assert_array_equal(b["Z1"], X @ model[0].weight.value + model[0].bias.value)
    assert b.output == "A3" and b.loss == pytest.approx(float(nn.losses.get(loss)(b["Z3"], target)))
    assert ("dA3" in b) == (loss == "half_mse")


def test_names_come_in_the_order_of_the_passes_and_shapes_agree():
    b = backprop(network(3), X, IDS)
    assert list(b.values) == "A0 W1 b1 Z1 A1 W2 b2 Z2 A2 W3 b3 Z3 A3".split()
    assert list(b.gradients) == "dZ3 dW3 db3 dA2 dZ2 dW2 db2 dA1 dZ1 dW1 db1 dA0".split()
    assert all(b[name].shape == b[name[1:]].shape for name in b.gradients)
    assert b.to_dict().keys() == dict(b.items()).keys() == set(b) and len(b) == 25 and b.get("Q") is None
    with pytest.raises(KeyError, match=r"'dQ'.*A0"):
        b["dQ"]


def test_sum_loss_is_m_times_the_mean():
    model = network(3)
    one = backprop(model, X, IDS, lambda out, y: nn.losses.cross_entropy(out, y, reduction="sum"))
    np.testing.assert_allclose(one["dW1"], 9 * backprop(model, X, IDS)["dW1"], rtol=1e-12)
    np.testing.assert_array_equal(one["A3"], one["Z3"])  # of a custom loss: the output itself


def test_the_table_is_plain_aligned_and_narrow():
    text = str(backprop(network(3, np.float32), X, IDS))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and lines[0].startswith("loss ")
    header = lines[2]
    assert header.split()[:3] == ["name", "shape", "norm"]
    row = next(line for line in lines if line.startswith("dW1"))
    assert "5×7" in row and len(row) == len(header)


def test_nothing_of_the_model_changes():
    layers = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 3)
    model = nn.Sequential(*layers)
    nn.losses.cross_entropy(model(X), IDS).backward()
    state, grad = model.state_dict(), model[0].weight.grad.copy()
    b = backprop(model, X, IDS)
    assert model.training and np.array_equal(model[0].weight.grad, grad)
    for path, value in model.state_dict().items():
        assert np.array_equal(value, state[path])
    assert ({"M1", "D1", "dD1", "N1", "dgamma1"} <= set(b) and "dM1" in b) or "M1" in b
    np.testing.assert_allclose(b["dA1"], b["dD1"] * b["M1"], rtol=1e-6)
    b["W1"][:] = 0
    assert np.array_equal(model[0].weight.value, state["0.weight"])


def test_linear_after_linear_shares_its_value():
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1)).to(np.float64)
    b = backprop(model, X, Y[:, 0], "mse")
    assert b["A1"] is b["Z1"] and b["dA1"] is b["dZ1"] and b["A2"] is b["Z2"]
    np.testing.assert_allclose(b["dZ2"], 2 * (b["Z2"] - Y[:, :1]) / 9)


class Own(nn.Module):
    def __init__(self):
        self.net = nn.Linear(5, 3)
        self.scale = nn.Parameter(np.ones(3, np.float32))

    def forward(self, X):
        h = self.net(X).named("hidden")
        return np.tanh(h) * self.scale


def test_any_module_unnamed_parameters_go_by_their_path():
    b = backprop(Own(), X, Y, "mse")
    assert set(b.values) == {"X", "net.weight", "net.bias", "scale", "hidden", "output"}
    assert set(b.gradients) == {"d" + name for name in b.values}
    np.testing.assert_allclose(b["dscale"], (b["doutput"] * np.tanh(b["hidden"])).sum(0), rtol=1e-5)


def test_an_embedding_has_no_gradient_of_its_ids():
    model = nn.Sequential(nn.Embedding(6, 2), nn.Flatten(), nn.Linear(4, 3))
    b = backprop(model, RNG.integers(0, 6, (9, 2)), IDS)
    assert "dA0" not in b and b["dW1"].shape == (6, 2)


def test_bad_input():
    class Idle(Own):
        def forward(self, X):
            return self.net(X)

    with pytest.raises(ValueError, match="scale did not reach the loss"):
        backprop(Idle(), X, Y, "mse")
    with pytest.raises(ValueError, match="the loss does not depend"):
        backprop(network(3), X, IDS, lambda out, y: 1.0)
    with pytest.raises(ValueError, match=r"X has shape \(9, 4\), Linear expects \(…, 5\)"):
        backprop(network(3), X[:, :4], IDS)


@pytest.mark.parametrize(
    ("last", "loss", "width"), [(nn.Softmax, "cross_entropy", 3), (nn.Sigmoid, "binary_cross_entropy", 1)]
)
def test_an_output_activation_in_the_network_is_not_applied_twice(last: Any, loss: str, width: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 5))
    Y = np.eye(3)[rng.integers(0, 3, 12)] if width == 3 else rng.integers(0, 2, (12, 1)).astype(float)
    layers = [nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, width)]
    model = nn.Sequential(*layers, last()).to(np.float64)
    b, plain = backprop(model, X, Y, loss=loss), backprop(model[:-1], X, Y, loss=loss)
    np.testing.assert_allclose(b["dZ2"], (b["A2"] - Y) / 12, atol=1e-15)
    np.testing.assert_allclose(b["A2"], np.asarray(model.eval()(X).detach()), rtol=1e-14)
    assert list(b) == list(plain) and all(np.array_equal(b[name], plain[name]) for name in b)
    again = nn.Sequential(*layers)
    started = model.state_dict()
    figures = cr.evaluate(model, X, Y, loss=loss)
    assert figures == cr.evaluate(again, X, Y, loss=loss)
    cr.fit(model, X, Y, loss=loss, epochs=2, batch_size=5)
    trained = model.state_dict()
    model.load_state_dict(started)
    cr.fit(again, X, Y, loss=loss, epochs=2, batch_size=5)
    assert all(np.array_equal(v, trained[k]) for k, v in again.state_dict().items())


def test_a_sequential_within_a_module_has_its_own_names():
    """The second W1 is the one that the second Z1 is made of."""

    class Residual(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return x + self.inner(x)

    inner = nn.Linear(7, 7), nn.Tanh()
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), Residual(nn.Sequential(*inner)), nn.Linear(7, 3)).to(np.float64)
    b = backprop(model, X, IDS, loss="cross_entropy")
    assert np.allclose(b["Z1"], X @ b["W1"] + b["b1"]) and b["W1"].shape == (5, 7)
    assert np.allclose(b["Z1(2)"], b["A1"] @ b["W1(2)"] + b["b1(2)"])
    assert np.allclose(b["dW1(2)"], b["A1"].T @ b["dZ1(2)"])
    assert np.allclose(b["Z2"], (b["A1"] + b["A1(2)"]) @ b["W2"] + b["b2"])


LETTERS = {"lstm": "z g i f c o h".split(), "gru": "u v r n z h".split(), "rnn": "z h".split()}


@pytest.mark.parametrize("kind", LETTERS)
def test_recurrent_layers_name_the_values_of_each_step_in_the_order_of_the_passes(kind: str) -> None:
    layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind](5, 2, seed=1)
    x, y = RNG.normal(size=(4, 3, 5)), RNG.integers(0, 3, (4, 3))
    b = backprop(nn.Sequential(layer, nn.Linear(2, 3)), x, y)
    steps = [f"{letter}1[{t}]" for t in range(3) for letter in LETTERS[kind]]
    assert list(b.values) == [*"A0 W1 U1 b1 d1".split(), *steps, *"W2 b2 Z2 A2".split()]
    back = [*"dZ2 dW2 db2".split(), *(f"d{n}" for n in steps[::-1]), *"dW1 dU1 db1 dd1 dA0".split()]
    assert list(b.gradients) == back
    np.testing.assert_allclose(b["dh1[2]"], b["dZ2"][:, 2] @ b["W2"].T, rtol=1e-5, atol=1e-8)

    class Last(nn.Module):
        def __init__(self) -> None:
            self.rnn, self.head = layer, nn.Linear(2, 3)

        def forward(self, X: Any) -> Any:
            return self.head(self.rnn(X)[:, -1])

    own = backprop(Last(), x, y[:, 0])
    assert [n for n in own.values if "[" in n] == [n.replace("1[", "[") for n in steps]
    np.testing.assert_array_equal(own["h[2]"], b["h1[2]"])


def test_attention_names_scores_and_weights_of_each_head_part_by_part() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(6, 3, 4, dropout=0.0, seed=1), nn.Linear(6, 2))
    b = backprop(model, RNG.normal(size=(4, 5, 6)), RNG.integers(0, 2, (4, 5)))
    parts = "A0 W1[self_attn.out_proj] b1[self_attn.out_proj] W1[self_attn] b1[self_attn] Q1[self_attn] K1[self_attn] "
    parts += "V1[self_attn] S1[self_attn] A1[self_attn] Z1[self_attn] R1[self_attn] "
    parts += "gamma1[norm1] beta1[norm1] N1[norm1] W1[linear1] b1[linear1] Z1[linear1] A1[linear1] "
    parts += "W1[linear2] b1[linear2] Z1[linear2] R1[linear2] "
    assert list(b.values) == (parts + "gamma1[norm2] beta1[norm2] N1[norm2] Z1 A1 W2 b2 Z2 A2").split()
    assert b["S1[self_attn]"].shape == b["dA1[self_attn]"].shape == (4, 3, 5, 5)
    A, dA = b["A1[self_attn]"], b["dA1[self_attn]"]
    np.testing.assert_allclose(b["dS1[self_attn]"], A * (dA - np.sum(dA * A, -1, keepdims=True)), rtol=1e-3, atol=1e-7)
    assert model.parameter_names()["0.linear1.weight"] == "W1[linear1]"


def test_a_lenet_names_maps_and_pools() -> None:
    layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    b = backprop(nn.Sequential(*layers), RNG.normal(size=(4, 1, 6, 6)), RNG.integers(0, 3, 4))
    assert list(b.values) == "A0 W1 b1 Z1 A1 P1 W2 b2 Z2 A2".split()
    assert list(b.gradients) == "dZ2 dW2 db2 dP1 dA1 dZ1 dW1 db1 dA0".split()
    assert b["dP1"].shape == (4, 2, 2, 2) and max(map(len, str(b).splitlines())) <= 80
