"""The generated NumPy source: it needs NumPy alone, agrees with the library to 1e-12, and passes the audit."""

import ast
import re
import types
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import explain, nn
from chainrule.nn.describe import KNOWN
from tests.tables import in_turn, slow, some

from .networks import ACTIVATIONS, CLASSES, LAYERS, LOSSES, OF_SEQUENCES, OF_SPACE, data, network, shaken


def program(source):
    """Run generated source as a module."""
    made = types.ModuleType("generated")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(source, "generated.py", "exec"), made.__dict__)
    return made


def agree(model, X, Y, loss):
    d = explain(model, X, Y, loss)
    source = d.to_numpy()
    imported = [n.names[0].name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert imported == ["numpy"]
    generated = program(source)
    for x, y in ((X, Y), (X[:4], Y[:4])):  # the source holds for any number of examples
        here = explain(model, x, y, loss)
        cache = generated.forward(x, d.parameters)
        assert list(cache)[-1] == here.steps.output
        close(generated.loss(cache[here.steps.output], y), here.values["loss"])
        gradients = generated.backward(cache, y, d.parameters)
        assert {f"d{p}" for p in d.steps.parameters} <= set(gradients)
        for label, value in (*cache.items(), *gradients.items()):
            close(value, here.values[label])
    given = {"parameters": d.parameters, "X": X, "Y": Y, "only": trained(d.parameters)}
    report = cr.audit(generated.backward, forward=generated.forward, loss=generated.loss, **given)
    assert report.ok, f"{report}\n{source}"
    return source


def agree_in_columns(model, X, Y, loss, notation="gradients"):
    d = explain(model, X, Y, loss, layout="columns", notation=notation)
    generated, targets = program(d.to_numpy()), d.values["y" if "y" in d.values else "Y"]
    cache = generated.forward(d.values["X"], d.parameters)
    close(generated.loss(cache[d.steps.output], targets), d.values["loss"])
    gradients = generated.backward(cache, targets, d.parameters)
    assert {f"d{p}" for p in d.steps.parameters} <= set(gradients)
    for label, value in (*cache.items(), *gradients.items()):
        close(value, d.values[label])
    given = {"parameters": d.parameters, "X": d.values["X"], "Y": targets, "only": trained(d.parameters)}
    report = cr.audit(generated.backward, forward=generated.forward, loss=generated.loss, **given)
    assert report.ok, f"{report}\n{d.to_numpy()}"


def trained(parameters):
    """Return the names of the parameters that get a gradient: all but running statistics, counters and constants."""
    return [n for n in parameters if not n.startswith(("running", "counter")) and not re.fullmatch(r"c\d", n)] or None


def close(got, truth):
    assert np.shape(got) == np.shape(truth)
    np.testing.assert_allclose(got, truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", in_turn(ACTIVATIONS, every=4))
def test_every_activation(activation):
    agree(network(ACTIVATIONS[activation]), *data("cross_entropy"), "cross_entropy")


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer(layer):
    agree(network(LAYERS[layer], nn.Tanh()), *data("half_mse"), "half_mse")


def test_convolution_and_pooling():
    rng = np.random.default_rng(0)
    model = shaken(nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2, stride=2), nn.BatchNorm2d(3),
        nn.Tanh(), nn.AvgPool2d((2, 1)), nn.Flatten(), nn.Linear(3, 3),
    ))  # fmt: skip
    source = agree(model, rng.normal(size=(7, 1, 8, 5)), rng.integers(0, 3, 7), "cross_entropy")
    assert "Z1 = conv(X, W1, stride=(1, 1)" in source and "dW2 = conv_weight(P1, dZ2" in source


OF_MORE_AXES = OF_SPACE | OF_SEQUENCES


@pytest.mark.parametrize("name", in_turn(OF_MORE_AXES, every=6))
def test_every_layer_of_images_and_series(name):
    layer, shape = OF_MORE_AXES[name]
    rng = np.random.default_rng(0)
    outputs = layer(np.ones((2, *shape), np.float32)).size // 2
    model = shaken(nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(outputs, 3)))
    agree(model, rng.normal(size=(7, *shape)), rng.integers(0, 3, 7), "cross_entropy")


def test_embedding():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    agree(model, rng.integers(0, 5, (7, 2)), rng.integers(0, 3, 7), "cross_entropy")


OUTPUTS = [(loss, n) for n in (3, 1) for loss in LOSSES if n > 1 or loss not in CLASSES]


@pytest.mark.parametrize(("loss", "outputs"), in_turn(OUTPUTS))
def test_every_loss(loss, outputs):
    agree(network(nn.Sigmoid(), outputs=outputs), *data(loss, outputs), loss)


def test_targets_in_every_form():
    X, ids = data("cross_entropy")
    agree(network(nn.ReLU()), X, np.eye(3)[ids], "cross_entropy")
    agree(network(nn.ReLU(), outputs=1), X, (ids > 1).astype(np.int64), "binary_cross_entropy")
    agree(network(nn.ReLU(), outputs=1), X, (ids > 1) * 1.0, "mse")


@pytest.mark.parametrize("loss", in_turn(LOSSES))
def test_columns_with_every_loss(loss):
    agree_in_columns(network(nn.Tanh()), *data(loss), loss)
    agree_in_columns(network(nn.Tanh()), *data(loss), loss, "delta")


@pytest.mark.parametrize("layer", in_turn([*ACTIVATIONS.values(), *LAYERS.values()], every=6), ids=repr)
def test_columns_with_every_layer(layer):
    agree_in_columns(network(layer, nn.Tanh()), *data("half_mse"), "half_mse", "dict")


def test_columns_of_sequences_and_ids():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(7, 4, 6)), rng.integers(0, 3, (7, 4))
    agree_in_columns(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), X, Y, "cross_entropy")
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    agree_in_columns(model, rng.integers(0, 5, (7, 2)), Y[:, 0], "cross_entropy")


def test_every_layer_and_loss_is_among_these():
    others = [layer for layer, _ in OF_MORE_AXES.values()]
    tried = {type(x).__name__ for x in (*ACTIVATIONS.values(), *LAYERS.values(), *others)} | {"Embedding"}
    assert tried | {"Sequential"} == set(KNOWN)
    layers = {k for k, v in vars(nn).items() if isinstance(v, type) and issubclass(v, nn.Layer)}
    assert layers - {"Layer", "Activation"} == tried - {"Residual"}
    assert set(LOSSES) == set(nn.losses.names())


def test_it_reads_as_one_would_write_it():
    source = agree(network(nn.ReLU()), *data("cross_entropy"), "cross_entropy")
    body = source[source.index("def backward") :]
    for line in (
        "dZ2 = (A2 - Y) / m",
        "dW2 = A1.T @ dZ2",
        "db2 = np.sum(dZ2, axis=0)",
        "dA1 = dZ2 @ W2.T",
        "dZ1 = dA1 * (Z1 > 0.0)",
        "dW1 = X.T @ dZ1",
    ):
        assert f"    {line}\n" in body


def test_a_wrong_line_fails_the_audit():
    X, Y = data("cross_entropy")
    d = explain(network(nn.ReLU()), X, Y)
    source = d.to_numpy()
    wrong = program(source.replace("dA1 * (Z1 > 0.0)", "dA1 * (A1 > 0.1)"))
    report = cr.audit(wrong.backward, forward=wrong.forward, loss=wrong.loss, parameters=d.parameters, X=X, Y=Y)
    assert not report.ok


def test_functions_and_networks_without_a_loss():
    d = explain(lambda x, w: np.sum(np.tanh(x @ w) ** 2), np.ones((3, 2)), np.full((2, 2), 0.3))
    generated = program(d.to_numpy())
    cache = generated.forward(d.values["x"], d.values["w"])
    gradients = generated.backward(cache, 1.0)
    for label in gradients:
        close(gradients[label], d.values[label])
    X, _ = data("mse")
    d = explain(network(nn.GELU()), X)
    generated = program(d.to_numpy())
    gradients = generated.backward(generated.forward(X, d.parameters), d.values["dZ2"], d.parameters)
    for label in gradients:
        close(gradients[label], d.values[label])


def test_names_that_are_no_python_names():
    class Odd(nn.Module):
        def __init__(self):
            labels = ['"; import os #', "lambda", "a.b", "a_b"]
            self.layers = {label: nn.Linear(6 if i == 0 else 3, 3) for i, label in enumerate(labels)}

        def forward(self, X):
            for layer in self.layers.values():
                X = np.tanh(layer(X))
            return X

    agree(shaken(Odd()), *data("mse"), "mse")


@pytest.mark.parametrize(
    "text",
    in_turn(['a"""; import os; """b', '"""\'; import os', "a\\", 'a"', "'''", "\n\nimport os\n", "m", "X", "Y", "dW1"]),
)
def test_no_name_gets_out_of_its_quotes(text):
    class Named(nn.Module):
        def __init__(self):
            self.layers = {text: nn.Linear(6, 3)}

        def forward(self, X):
            Z = self.layers[text](X)
            Z.name = text
            return np.tanh(Z)

    Named.__name__ = text
    source = agree(shaken(Named()), *data("cross_entropy"), "cross_entropy")
    assert {type(node) for node in ast.parse(source).body} == {ast.Expr, ast.Import, ast.FunctionDef}


def test_a_name_used_again_is_another_value():
    class Loop(nn.Module):
        def __init__(self):
            self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, X):
            state = X
            for _ in range(3):
                state = np.tanh(self.inner(state) + X)
                state.name = "state"
            return self.outer(state)

    agree(shaken(Loop()), *data("cross_entropy"), "cross_entropy")
    assert {"state", "state_2", "state_3"} <= set(explain(Loop(), *data("cross_entropy")).values)


hidden = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([*ACTIVATIONS, "layer_norm", "batch_norm", "dropout", "none"])),
    min_size=0,
    max_size=3,
)


@pytest.mark.parametrize("examples", [3, slow(some(50))])
def test_random_architectures(examples):
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(hidden, st.sampled_from(LOSSES), st.integers(1, 3), st.integers(4, 6), st.booleans())
    def agree_on(layers, loss, outputs, m, bias):
        outputs = max(outputs, 2) if loss in CLASSES else outputs
        parts, width = [], 3
        for units, kind in layers:
            parts.append(nn.Linear(width, units, bias=bias))
            if kind == "layer_norm":
                parts.append(nn.LayerNorm(units, eps=0.1))
            elif kind == "batch_norm":
                parts.append(nn.BatchNorm1d(units, eps=0.1))
            elif kind == "dropout":
                parts.append(nn.Dropout(0.4, seed=units))
            elif kind != "none":
                parts.append(ACTIVATIONS[kind])
            width = units
        model = shaken(nn.Sequential(*parts, nn.Linear(width, outputs)))
        X, Y = data(loss, outputs, m=m, features=3)
        agree(model, X, Y, loss)
        agree_in_columns(model, X, Y, loss)

    agree_on()


def test_a_gradient_that_is_zero_but_for_rounding():
    for width in (1, 3):  # the second batch norm takes the first one's beta away again
        parts = [
            part for k in range(2) for part in (nn.Linear(1 if k else 3, 1, bias=False), nn.BatchNorm1d(1, eps=0.1))
        ]
        agree(shaken(nn.Sequential(*parts, nn.Linear(1, width))), *data("mse", width, m=4, features=3), "mse")


def test_a_loss_that_reads_arrays_from_outside():
    weights = np.array([0.2, 0.5, 1.3])

    def weighted(output, target):
        return np.mean(weights * (output - target) ** 2)

    agree(network(nn.Tanh()), *data("mse"), weighted)
    agree_in_columns(network(nn.Tanh()), *data("mse"), weighted)


class Recurrent(nn.Module):
    """A state that begins with zeros, as many as there are examples, and takes in one step of a sequence at a time."""

    def __init__(self):
        self.inner, self.state, self.outer = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, X):
        state = np.zeros((X.shape[0], 4))
        for i in range(X.shape[1]):
            state = np.tanh(self.inner(X[:, i]) + self.state(state))
        return self.outer(state)[:, 0]


def test_a_recurrent_network_with_one_number_for_each_example():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(5, 3, 3)), rng.normal(size=5)
    agree(shaken(Recurrent()), X, Y, "mse")
    agree_in_columns(shaken(Recurrent()), X, Y, "mse")


class Attention(nn.Module):
    def __init__(self):
        self.query, self.key, self.value = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 3)

    def forward(self, X):
        scores = self.query(X) @ np.swapaxes(self.key(X), -1, -2) / 2.0
        return cr.softmax(scores, axis=-1) @ self.value(X)


def test_attention():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(5, 4, 6)), rng.normal(size=(5, 4, 3))
    agree(shaken(Attention()), X, Y, "mse")
    agree_in_columns(shaken(Attention()), X, Y, "mse")


@pytest.mark.slow
def test_as_many_steps_as_examples():
    rng = np.random.default_rng(0)  # lengths of both kinds are the same number, but only one of them follows m
    model = shaken(nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 3)))
    agree(model, rng.normal(size=(7, 7, 2)), rng.integers(0, 3, (7, 7)), "cross_entropy")
