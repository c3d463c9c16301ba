"""The gradient check: right gradients of all kinds pass; wrong ones are found, and explained rightly."""

import copy
import doctest
import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.apply import apply
from chainrule.core.tensor import Tensor
from chainrule.gradcheck.comparison import FULL
from chainrule.gradcheck.result import GRADCHECK_CAUSES
from chainrule.nn import losses
from chainrule.ops import rows
from tests.ops.checking import points
from tests.tables import for_each, in_turn

RNG = np.random.default_rng(3)
X, T = RNG.normal(size=(7, 4)), RNG.normal(size=(7, 3))
W, B = RNG.normal(size=(4, 3)), RNG.normal(size=3)


def network(W, b):
    return np.mean((np.tanh(X @ W + b) - T) ** 2)


def network_grad(W, b):
    """By hand."""
    A = np.tanh(X @ W + b)
    dZ = 2 * (A - T) / T.size * (1 - A**2)
    return X.T @ dZ, dZ.sum(0)


def failing(f, *args, **options):
    """Return the error; it must read well, and be raised unless asked not to."""
    error = cr.gradcheck(f, *args, raises=False, **options)
    assert isinstance(error, cr.GradcheckError) and not error and not error.ok, str(error)
    assert error.cause in GRADCHECK_CAUSES
    text = str(error)
    assert text and all(len(line) < 80 for line in text.splitlines())
    with pytest.raises(cr.GradcheckError) as raised:
        cr.gradcheck(f, *args, **options)
    assert str(raised.value) == text  # the same seed, the same numbers
    return error


def passing(f, *args, **options):
    result = cr.gradcheck(f, *args, **options)
    assert isinstance(result, cr.GradcheckResult) and result and result.ok
    assert all(len(line) < 80 for line in str(result).splitlines())
    return result


# -- right gradients ---------------------------------------------------------------------------------------------------


def row_function(op, attrs):
    def of_row(*xs):
        return apply(op, tuple(x if isinstance(x, Tensor) else Tensor(np.array(x)) for x in xs), dict(attrs))

    return of_row


def table(*, twice):
    for op in rows():
        if op.differentiable and not (twice and op.flat):
            for i, example in enumerate(points(op)):
                yield pytest.param(op, example, id=f"{op.name}-{i}")


def real_inputs(example):
    return [x.astype(np.float64) if np.asarray(x).dtype.kind == "f" else x for x in map(np.asarray, example.inputs)]


@for_each(("op", "example"), list(table(twice=False)), every=12)
def test_every_row_of_the_operation_table(op, example):
    result = passing(row_function(op, example.attrs), *real_inputs(example), full=True)
    assert result.full and result.max_error < 1e-6


@for_each(("op", "example"), list(table(twice=True)), every=24)
def test_every_row_twice(op, example):
    passing(row_function(op, example.attrs), *real_inputs(example), order=2, rtol=1e-5)


BY_HAND = {
    "square": (lambda x: x**2, lambda x, c: 2 * x * c, (np.array([1.0, -2.0, 3.0]),)),
    "product": (lambda x, y: x * y, lambda x, y, c: (y * c, x * c), (X, X + 1)),
    "matrix product": (lambda a, b: a @ b, lambda a, b, c: (c @ b.T, a.T @ c), (X, W)),
    "column sums": (lambda x: x.sum(0), lambda x, c: np.broadcast_to(c, x.shape), (X,)),
    "a number": (lambda x: x**3, lambda x, c: 3 * x**2 * c, (1.5,)),
    "exp of a number": (np.exp, lambda x, c: np.exp(x) * c, (np.float64(0.3),)),
    "rows": (lambda x, ids: x[ids], lambda x, ids, c: at_rows(x, ids, c), (X, np.array([0, 2, 2]))),
    "softmax": (lambda z: softmax(z), lambda z, c: softmax_pullback(softmax(z), c), (X,)),
    "constant": (lambda x: 0 * x + 1, lambda x, c: 0 * x, (X,)),
}


def at_rows(x, ids, c):
    out = np.zeros_like(x)
    np.add.at(out, ids, c)
    return out


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_pullback(p, c):
    return p * (c - (p * c).sum(-1, keepdims=True))


@pytest.mark.parametrize(("name", "full"), in_turn(itertools.product(BY_HAND, [None, True, False]), every=2))
def test_derivatives_known_by_hand(name, full):
    f, vjp, args = BY_HAND[name]
    assert passing(f, *args, vjp=vjp, full=full).max_error < 1e-6
    error = failing(f, *args, vjp=lambda *a: times(1.001, vjp(*a), 1e-3), full=full)
    assert error.argument in range(len(args))


def times(factor, gradients, plus=0.0):
    if isinstance(gradients, tuple):
        return tuple(times(factor, g, plus) for g in gradients)
    return factor * np.asarray(gradients) + plus


SERIES, IMAGES = np.random.default_rng(4).normal(size=(2, 2, 4)), np.random.default_rng(5).normal(size=(2, 2, 3, 3))
LAYERS = {
    "Linear": (lambda: nn.Linear(4, 3), X),
    "no bias": (lambda: nn.Linear(4, 3, bias=False), X),
    "LayerNorm": (lambda: nn.LayerNorm(4), X),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), X),
    "BatchNorm1d evaluating": (lambda: nn.BatchNorm1d(4).eval(), X),
    "Embedding": (lambda: nn.Embedding(5, 3), np.array([0, 4, 4])),
    "PositionEmbedding": (lambda: nn.PositionEmbedding(3, 2, seed=0), X.reshape(7, 2, 2)),
    "Dropout": (lambda: nn.Dropout(0.4), X),
    "Flatten": (lambda: nn.Flatten(), X.reshape(7, 2, 2)),
    "Identity": (lambda: nn.Identity(), X),
    "ReLU": (lambda: nn.ReLU(), X),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.1), X),
    "ELU": (lambda: nn.ELU(0.7), X),
    "GELU": (lambda: nn.GELU(), X),
    "GELU by tanh": (lambda: nn.GELU(True), X),
    "SiLU": (lambda: nn.SiLU(), X),
    "Sigmoid": (lambda: nn.Sigmoid(), X),
    "Softmax": (lambda: nn.Softmax(), X),
    "Softplus": (lambda: nn.Softplus(), X),
    "Tanh": (lambda: nn.Tanh(), X),
    "Hardswish": (lambda: nn.Hardswish(), X),
    "LogSoftmax": (lambda: nn.LogSoftmax(), X),
    "Mish": (lambda: nn.Mish(), X),
    "SELU": (lambda: nn.SELU(), X),
    "Scale": (lambda: nn.Scale(4), X),
    "MixedActivation": (lambda: nn.MixedActivation("mish", 4), X),
    "OutputRange": (lambda: nn.OutputRange([-1.0] * 4, [1.0] * 4), X),
    "FadingDropout": (lambda: nn.FadingDropout(0.3, 50), X),
    "TableEmbedding": (lambda: nn.TableEmbedding(3, 1, seed=0), X),
    "PReLU": (lambda: nn.PReLU(), X),
    "RMSNorm": (lambda: nn.RMSNorm(4), X),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), X),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, padding="same"), SERIES),
    "Conv2d": (lambda: nn.Conv2d(2, 2, 2, stride=2, padding=1), IMAGES),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 2, 2, 2), IMAGES),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), SERIES),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), IMAGES),
    "AvgPool1d": (lambda: nn.AvgPool1d(2), SERIES),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, 1, 1), IMAGES),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d(2), IMAGES),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(2), IMAGES),
    "Dropout2d": (lambda: nn.Dropout2d(0.3), IMAGES),
    "ZeroPad2d": (lambda: nn.ZeroPad2d(1), IMAGES),
    "Upsample": (lambda: nn.Upsample(scale_factor=2), IMAGES),
    "RNN": (lambda: nn.RNN(4, 3, bidirectional=True), SERIES),
    "LSTM": (lambda: nn.LSTM(4, 3), SERIES),
    "GRU": (lambda: nn.GRU(4, 3), SERIES),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, causal=True), SERIES),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(4, 2, 5), SERIES),
    "a network": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)), X),
}


@pytest.mark.parametrize(("dtype", "name"), in_turn([(d, n) for d in (np.float64, np.float32) for n in LAYERS]))
def test_layers(dtype, name):
    make, x = LAYERS[name]
    layer = make().to(dtype)
    x = x.astype(dtype) if x.dtype.kind == "f" else x
    before = copy.deepcopy(layer.state_dict())
    result = passing(layer, x)
    assert result.checked >= x.size if x.dtype.kind == "f" else result.checked
    assert result.max_error < (1e-6 if dtype == np.float64 else 2e-3)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_every_layer_is_among_them():
    layers = {name for name in nn.__all__ if isinstance(c := getattr(nn, name), type) and issubclass(c, nn.Layer)}
    tried = {type(m).__name__ for make, _ in LAYERS.values() for m in make().modules()}
    assert layers - {"Layer", "Activation"} <= tried


def test_a_module_twice():
    passing(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.LayerNorm(3)).to(np.float64), X[:3], order=2)


IDS, HOT = np.array([0, 2, 1, 1, 2, 0, 0]), np.eye(3)[[0, 2, 1, 1, 2, 0, 0]]
Z = RNG.normal(size=(7, 3))
TARGETS = {
    "mse": T, "half_mse": T, "mae": T, "huber": T, "binary_cross_entropy": HOT, "cross_entropy": IDS, "hinge": IDS,
    "poisson": np.abs(T), "focal": IDS, "binary_focal": HOT,
}  # fmt: skip


@pytest.mark.parametrize("name", losses.names())
def test_losses(name):
    loss = losses.get(name)
    passing(lambda z: loss(z, TARGETS[name]), Z)
    passing(lambda z: loss(z, TARGETS[name], reduction="none"), Z)


def test_trees_and_what_is_held_fixed():
    def f(p, scale, name, power):
        assert name == "x"
        return {"out": scale * p["W"][0] ** power @ p["W"][1], "sum": np.sum(p["b"]), "count": 3}

    p = {"W": [X, W], "b": B}
    result = passing(f, p, 2.0, "x", 3)
    assert result.checked == (X.size + W.size + B.size + 1) * (T.size + 1)
    assert passing(f, p, 2.0, "x", 3, argnums=1).checked == T.size + 1


FORMS = {
    "tuple": lambda gW, gb: (gW, gb),
    "list": lambda gW, gb: [gW, gb],
    "names": lambda gW, gb: {"b": gb, "W": gW},
    "dnames": lambda gW, gb: {"dW": gW, "db": gb},
}


@pytest.mark.parametrize("form", FORMS)
def test_own_gradients_in_every_form(form):
    passing(network, W, B, grad=lambda W, b: FORMS[form](*network_grad(W, b)))


def test_the_outcome_says_how_the_code_was_read():
    result = passing(network, W, B, grad=network_grad)
    assert result.read_as == "function network(W, b); grad: network_grad(W, b)"
    error = failing(network, W, B, grad=altered(lambda gW, gb: (2 * gW, gb)))
    assert error.read_as == "function network(W, b); grad: gradient(W, b)"
    assert passing(network, W, B).read_as == "network of argument 0 (W), argument 1 (b); gradient: chainrule's"
    assert passing(nn.Tanh(), X).read_as == "Tanh of argument 0 (X); gradient: chainrule's"


def test_own_gradients_of_one_nest():
    def f(p):
        return network(p["W"], p["b"])

    for names in (("W", "b"), ("dW", "db")):
        passing(f, {"W": W, "b": B}, grad=lambda p, names=names: dict(zip(names, network_grad(**p), strict=True)))
    passing(lambda ws: network(*ws), [W, B], grad=lambda ws: network_grad(*ws))
    passing(lambda x, ids: np.sum(x[ids] ** 2), X, [0, 1], grad=lambda x, ids: (at_rows(x, ids, 2 * x[ids]), None))


def test_backward_with_a_cache():
    def forward(x, w):
        return np.tanh(x @ w), (x, w)

    def backward(dout, cache):
        x, w = cache
        dz = dout * (1 - np.tanh(x @ w) ** 2)
        return {"dw": x.T @ dz, "dx": dz @ w.T}

    passing(forward, X, W, backward=backward)
    error = failing(
        forward, X, W, backward=lambda dout, cache: {**backward(dout, cache), "dw": -backward(dout, cache)["dw"]}
    )
    assert (error.cause, error.argument) == ("sign", 1)


def test_own_jacobians():
    def jacobian(x):
        return np.diag(np.cos(x))

    passing(np.sin, B, jacobian=jacobian)
    error = failing(
        lambda x: np.roll(x, 1) * x, B, jacobian=lambda x: (np.diag(np.roll(x, 1)) + np.roll(np.diag(x), 1, 0)).T
    )
    assert error.output_index is not None


def test_order_two_of_own_gradients():
    def f(x):
        return np.sum(x**3) + x[0] * x[1]

    def gradient(x):
        g = 3 * x**2
        g[:2] += x[1::-1]
        return g

    def hessian(x):
        h = np.diag(6 * x)
        h[0, 1] = h[1, 0] = 1
        return h

    x = np.array([1.0, 2.0, -1.0])
    passing(f, x, grad=gradient, order=2)
    passing(f, x, grad=gradient, order=2, hessian=hessian)
    passing(f, x, grad=gradient, order=2, hvp=lambda x, v: hessian(x) @ v)
    error = failing(f, x, grad=gradient, order=2, hessian=lambda x: np.diag(6 * x))
    assert error.name == "grad f" and error.numeric == pytest.approx(1) and error.analytic == 0
    error = failing(f, x, grad=gradient, order=2, hvp=lambda x, v: 2 * hessian(x) @ v)
    assert error.cause == "constant-factor"


def test_a_gradient_that_is_no_functions_gradient():
    """Right at the point, but not around it: only the second order shows it."""
    x0 = np.array([1.0, 2.0])

    def gradient(x):
        return 2 * x + (x - x0)[::-1] * np.array([1.0, -1.0])

    passing(lambda x: np.sum(x**2), x0, grad=gradient)
    error = failing(lambda x: np.sum(x**2), x0, grad=gradient, order=2)
    assert "symmetric" in str(error)


# -- wrong gradients ---------------------------------------------------------------------------------------------------


def altered(change):
    def gradient(W, b):
        gW, gb = network_grad(W, b)
        return change(gW.copy(), gb.copy())

    return gradient


def with_element(g, index, factor):
    g[index] *= factor
    return g


WRONG = {
    # name: (change of the gradients, cause, words in the text, argument)
    "factor 2": (lambda gW, gb: (2 * gW, 2 * gb), "constant-factor", "2 times too large", None),
    "factor 2 in b": (lambda gW, gb: (gW, 2 * gb), "constant-factor", "2 times too large", 1),
    "half": (lambda gW, gb: (gW / 2, gb), "constant-factor", "2 times too small", 0),
    "per column": (lambda gW, gb: (gW / 3, gb), "constant-factor", "3 is the length of axis 1", 0),
    "negative double": (lambda gW, gb: (-2 * gW, gb), "constant-factor", "and of the wrong sign", 0),
    "sign": (lambda gW, gb: (-gW, -gb), "sign", "except for the sign", None),
    "sign of b": (lambda gW, gb: (gW, -gb), "sign", "minus", 1),
    "zero": (lambda gW, gb: (gW, 0 * gb), "zero", "0 everywhere", 1),
    "weight decay": (lambda gW, gb: (gW + 0.1 * W, gb), "added-multiple", "plus 0.1 times", 0),
    "weight decay missing": (lambda gW, gb: (gW - 0.1 * W, gb), "added-multiple", "lacks 0.1 times", 0),
    "constant": (lambda gW, gb: (gW, gb + 0.25), "added-multiple", "constant 0.25", 1),
    "transposed": (
        lambda gW, gb: (gW.T, gb),
        "transposed",
        "Transposed it has the right shape, and the right numbers",
        0,
    ),
    "not summed": (lambda gW, gb: (gW, np.tile(gb / 7, (7, 1))), "wrong-shape", "Summed over axis 0", 1),
    "row for a vector": (lambda gW, gb: (gW, gb[None]), "wrong-shape", "Reshaped it has the right shape", 1),
    "wrong shape and numbers": (lambda gW, gb: (gW, 3 * gb[None]), "wrong-shape", "but not the right numbers", 1),
    "swapped": (lambda gW, gb: (gb, gW), "swapped", "the two are swapped", 0),
    "one element": (lambda gW, gb: (with_element(gW, (2, 1), 1.01), gb), "unknown", "only wrong one of the 12", 0),
    "one row": (lambda gW, gb: (with_element(gW, 2, [0.3, 0.8, 2.5]), gb), "unknown", "all with index 2 in axis 0", 0),
    "nan": (lambda gW, gb: (with_element(gW, (3, 0), np.nan), gb), "nonfinite", "nan in element [3, 0]", 0),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_found_and_explained(name):
    change, cause, words, argument = WRONG[name]
    gradient = altered(change)
    error = failing(network, W, B, grad=gradient)
    assert error.cause == cause
    assert words in " ".join(str(error).split())
    if argument is not None:
        assert error.argument == argument and error.argument_name == f"argument {argument} ({'Wb'[argument]})"
        assert [m.argument for m in error.mismatches] in ([], [error.argument_name])


def test_what_the_error_holds():
    error = failing(network, W, B, grad=altered(lambda gW, gb: (with_element(gW, (2, 1), 2), gb)))
    right = network_grad(W, B)[0][2, 1]
    assert (error.argument, error.input_index, error.output_index) == (0, (2, 1), ())
    assert error.numeric == pytest.approx(right) and error.analytic == pytest.approx(2 * right)
    assert error.ratio == pytest.approx(2) and error.relative_error == pytest.approx(0.5)
    assert error.checked == 15 and [(m.wrong, m.compared) for m in error.mismatches] == [(1, 12)]
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.ratio == error.ratio
    first = " ".join(str(error).split())
    assert first.startswith("network's gradient with respect to argument 0 (W), element [2, 1]: numeric ")
    assert ", yours " in first and "(2 times as large, relative error 5.0e-01)" in first


def test_arguments_of_equal_shape_swapped():
    error = failing(lambda x, y: np.sum(x**2 * y), X, X + 1, grad=lambda x, y: (x**2, 2 * x * y))
    assert error.cause == "swapped" and "vice versa" in error.explanation
    error = failing(lambda x, y: np.sum(x**2 * y), X, X + 1, grad=lambda x, y: (x**2, x**2))
    assert error.cause == "swapped" and error.argument == 0 and "argument 1 (y)" in error.explanation


def test_square_gradients_transposed():
    A = RNG.normal(size=(4, 4))
    error = failing(lambda a: np.sum((a @ X.T) ** 2), A, grad=lambda a: 2 * (a @ X.T @ X).T)
    assert error.cause == "transposed"


def test_which_output():
    def wrong(x, c):
        return c[0] * 2 * x[0], 3 * x[1] ** 2 * c[1] * 1.5

    def f(x):
        return [x[0] ** 2, x[1] ** 3]

    error = failing(f, (X, B), vjp=lambda x, c: wrong(x, c))
    assert (error.argument, error.output) == (0, "[1]") and error.ratio == pytest.approx(1.5)
    assert error.output_index == error.input_index and error.argument_name == "argument 0 (x)[1]"
    assert "of output [1]" in " ".join(str(error).split())


def test_relu_derivative_taken_of_the_wrong_elements():
    error = failing(lambda x: np.sum(np.maximum(x, 0) ** 2), X, grad=lambda x: 2 * x)
    assert "those where the argument is negative" in error.explanation


def large(wrong_at=None, factor=1.5):
    def gradient(x):
        g = np.cos(x)
        if wrong_at is not None:
            g[wrong_at] *= factor
        return g

    return gradient


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_one_wrong_element_of_many(seed):
    """Sampled elements would miss it; directions of ±1 cannot, and halving them finds it."""
    x = np.random.default_rng(seed).normal(size=FULL + 10_000)
    assert not passing(lambda x: np.sum(np.sin(x)), x, grad=large(), seed=seed).full
    place = int(np.random.default_rng(seed).integers(x.size))
    error = failing(lambda x: np.sum(np.sin(x)), x, grad=large(place, 0.9), seed=seed)
    assert error.input_index == (place,) and error.ratio == pytest.approx(0.9, rel=1e-4)


def test_one_wrong_element_of_a_large_jacobian():
    x = np.random.default_rng(1).normal(size=(200, 100))
    assert passing(np.sin, x, vjp=lambda x, c: c * np.cos(x)).checked < 200
    error = failing(np.sin, x, vjp=lambda x, c: c * large((17, 3))(x))
    assert error.input_index == error.output_index == (17, 3)


def test_a_large_network_with_kinks_all_around():
    """Directions cross kinks of ReLU on the way, and parameters of 0 must not look like rounding."""
    rng = np.random.default_rng(0)
    inputs = rng.random((30, 130)) * (rng.random((30, 130)) < 0.3)
    p = {"W1": rng.normal(size=(130, 80)) * 0.1, "b1": np.zeros(80), "W2": rng.normal(size=(80, 5)) * 0.2}

    def loss(p):
        return np.mean((np.maximum(inputs @ p["W1"] + p["b1"], 0) @ p["W2"] - 1) ** 2)

    def wrong(p):
        g = cr.grad(loss)(p)
        g["W1"][np.unravel_index(np.argsort(np.abs(g["W1"]).ravel())[9000], (130, 80))] *= 2
        return g

    passing(loss, p)
    passing(nn.Sequential(nn.Linear(130, 80), nn.ReLU(), nn.Linear(80, 2)), inputs)
    error = failing(loss, p, grad=wrong)
    assert error.argument_name.endswith("['W1']") and error.ratio == pytest.approx(2, rel=1e-3)


def test_a_small_argument_does_not_hide_behind_a_large_one():
    x = RNG.normal(size=(300, 100))
    scale = np.array([1e-6])

    def gradient(x, s):
        return 2 * x, 1.1 * np.array([np.cos(s[0])]) * 1e-9

    error = failing(lambda x, s: np.sum(x**2) + 1e-9 * np.sin(s[0]) * 1e6, x, scale, grad=gradient)
    assert error.argument == 1


def test_a_batch_size_forgotten_is_named():
    error = failing(
        lambda X, w: np.mean((X @ w) ** 2), X, W[:, 0], grad=lambda X, w: (None, 2 * X.T @ (X @ w)), argnums=1
    )
    assert error.cause == "constant-factor" and "7 times too large" in error.explanation


# -- kinks -------------------------------------------------------------------------------------------------------------

KINKS = {
    "relu": (lambda x: np.maximum(x, 0.0), np.array([1.0, 0.0, -1.0]), (0, 1)),
    "abs": (np.abs, np.array([1.0, 0.0, -1.0]), (-1, 1)),
    "max": (lambda x: np.max(x), np.array([1.0, 3.0, 3.0]), (0, 1)),
    "steep": (lambda x: np.sqrt(np.abs(x)), np.array([1.0, 0.0]), (-np.inf, np.inf)),
}


@pytest.mark.parametrize("share", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_any_value_between_the_slopes_passes(name, share):
    f, x, (low, high) = KINKS[name]
    low, high = max(low, -100), min(high, 100)
    slopes = {"relu": x > 0, "abs": np.sign(x), "max": [0, 0, 1 - share], "steep": [0.5, 0]}[name]
    g = np.array(slopes, dtype=float)
    g[1] = low + share * (high - low)
    result = passing(f, x, vjp=lambda x, c: c * g)
    assert result.kinks[0].input_index == (1,) and result.kinks[0].argument == "argument 0 (x)"
    assert "[1]" in str(result) and "between the slopes" in " ".join(str(result).split())


@pytest.mark.parametrize("name", ["relu", "abs"])
@pytest.mark.parametrize("beyond", [-0.2, 1.2])
def test_beyond_the_slopes_it_fails(name, beyond):
    f, x, (low, high) = KINKS[name]
    g = np.array({"relu": x > 0, "abs": np.sign(x)}[name], dtype=float)
    g[1] = low + beyond * (high - low)
    error = failing(f, x, vjp=lambda x, c: c * g)
    assert error.cause == "kink" and error.input_index == (1,) and "on one side" in error.explanation


@pytest.mark.parametrize("distance", [3e-6, -3e-7, 1e-8, -1e-8])
def test_a_kink_near_the_point_is_no_excuse(distance):
    """It lies within the usual step, but not at the point: a smaller step decides."""
    x = np.array([distance, 1.0])
    assert "smaller step" in str(passing(lambda x: np.maximum(x, 0.0), x, vjp=lambda x, c: c * (x > 0)))
    error = failing(lambda x: np.maximum(x, 0.0), x, vjp=lambda x, c: c * np.array([0.5, 1]))
    assert error.input_index == (0,) and error.numeric == pytest.approx(float(distance > 0))


def test_a_smooth_function_has_no_kinks():
    for f in (np.square, np.exp, np.tanh, lambda x: x**4, lambda x: np.sin(50 * x), np.cosh):
        assert passing(f, np.array([0.0, 1e-9, 1.0, -2.0])).kinks == ()


def test_many_kinks_in_a_large_argument():
    x = np.zeros(400)
    x[::2] = RNG.normal(size=200)
    passing(lambda x: np.sum(np.maximum(x, 0.0)), x, grad=lambda x: (x > 0) * 1.0)
    passing(cr.relu, x[:110].reshape(10, 11))


# -- numbers of any size, and float32 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", in_turn([1e-150, 1e-30, 1e-12, 1e6, 1, 1e-6, 1e150, 1e12]))
def test_results_of_any_size(scale):
    passing(lambda x: scale * np.sum(np.sin(x)), X)
    passing(lambda x: scale * np.sum(np.sin(x)), X, grad=lambda x: scale * np.cos(x))
    for wrong in (1.001, -1, 1e-9):
        failing(lambda x: scale * np.sum(np.sin(x)), X, grad=lambda x, wrong=wrong: wrong * scale * np.cos(x))


@pytest.mark.parametrize("f", [np.log, np.sqrt, lambda x: 1 / x, lambda x: x**1.5], ids=["log", "sqrt", "1/x", "x^1.5"])
@pytest.mark.parametrize("x", [1e-12, 1e-8, 1e-4, 1.0, 1e5, 1e10, 1e50])
def test_arguments_of_any_size(f, x):
    passing(f, x)
    derivative = cr.grad(f)
    failing(f, x, grad=lambda x: 1.01 * derivative(x))


def test_float32():
    x, w = X.astype(np.float32), W.astype(np.float32)
    passing(lambda x, w: np.tanh(x @ w), x, w)
    error = failing(lambda x, w: np.tanh(x @ w), x, w, vjp=lambda x, w, c: (c @ w.T, x.T @ c))
    assert error.cause == "unknown"


def test_float32_rounding_is_told_from_a_wrong_formula():
    """A difference of nearly equal numbers: all figures lost in float32, right in float64."""
    x = np.array([1e-6, 2e-6], np.float32)
    error = failing(lambda x: np.sum(np.expm1(x) ** 2), x, grad=lambda x: 2 * (np.exp(x) - 1) * np.exp(x))
    assert error.cause == "float32" and "in float64" in str(error)


@pytest.mark.parametrize("cast", [np.float32, lambda y: np.float64(np.float32(y))], ids=["shown", "hidden"])
def test_a_function_that_rounds_to_float32(cast):
    def f(x):
        return cast(np.sum(np.tanh(x.astype(np.float32)) ** 2))

    def gradient(x):
        return 2 * np.tanh(x) * (1 - np.tanh(x) ** 2)

    assert "float32" in str(passing(f, X, grad=gradient))
    failing(f, X, grad=lambda x: 1.1 * gradient(x))


def test_tolerances_are_the_callers():
    failing(np.sin, B, vjp=lambda x, c: c * np.cos(x) * 1.001)
    passing(np.sin, B, vjp=lambda x, c: c * np.cos(x) * 1.001, rtol=1e-2)
    passing(np.sin, B, vjp=lambda x, c: c * np.cos(x) + 1e-3 * c, atol=1e-2)
    failing(np.sin, B, vjp=lambda x, c: c * np.cos(x) * (1 + 1e-7), rtol=1e-9, atol=0)


# -- functions that cannot be checked ----------------------------------------------------------------------------------


def test_what_changes_from_call_to_call():
    draws = np.random.default_rng(0)
    error = cr.gradcheck(lambda x: x * (draws.random(x.shape) > 0.5), X, vjp=lambda x, c: c, raises=False)
    assert error.cause == "nondeterministic" and "called twice" in str(error)


def test_a_gradient_that_accumulates():
    kept = {"g": np.zeros(3)}

    def gradient(x):
        kept["g"] += 2 * x
        return kept["g"].copy()

    for form in ({"vjp": lambda x, c: gradient(x)}, {"grad": gradient}):
        kept["g"][:] = 0
        error = cr.gradcheck(lambda x: np.sum(x**2), B, raises=False, **form)
        assert error.cause == "nondeterministic" and "earlier call" in str(error)


def test_a_function_that_changes_its_argument():
    def f(x):
        x[x < 0] = 0
        return np.sum(x)

    before = X.copy()
    error = failing(f, X, grad=lambda x: (x > 0) * 1.0)
    assert error.cause == "mutates" and "argument 0 (x)" in str(error)
    np.testing.assert_array_equal(X, before)


def test_results_that_are_not_finite():
    error = failing(lambda x: np.log(x), np.array([1.0, 0.0]), vjp=lambda x, c: c)
    assert error.cause == "nonfinite" and "-inf in output [1]" in str(error)


BAD = [
    (lambda: cr.gradcheck(3, X), TypeError, "f is a int"),
    (lambda: cr.gradcheck(np.sin, 3), TypeError, "3.0 instead of 3"),
    (lambda: cr.gradcheck(np.sin), TypeError, "no argument of real numbers"),
    (lambda: cr.gradcheck(np.sin, X + 0j), TypeError, r"has dtype complex128"),
    (lambda: cr.gradcheck(np.sin, np.array([1, np.nan])), ValueError, r" is nan at \[1\]"),
    (lambda: cr.gradcheck(np.sin, X, order=3), ValueError, "order.* 3"),
    (lambda: cr.gradcheck(np.sin, X, argnums=1), ValueError, "argnums names argument 1; there are 1"),
    (lambda: cr.gradcheck(np.sin, X, argnums="x"), TypeError, "argnums.*'x'"),
    (lambda: cr.gradcheck(np.sin, X, full="yes"), TypeError, "full.*'yes'"),
    (lambda: cr.gradcheck(np.sin, X, rtol=-1), ValueError, "rtol.*-1"),
    (lambda: cr.gradcheck(np.sin, X, seed=1.5), ValueError, "seed.*1.5"),
    (lambda: cr.gradcheck(np.sin, X, grad=np.cos, vjp=np.cos), ValueError, "grad and vjp are given"),
    (lambda: cr.gradcheck(np.sin, X, grad=3), TypeError, "grad is a int"),
    (lambda: cr.gradcheck(np.sin, X, grad=np.cos), ValueError, r"shape \(7, 4\); grad= is the gradient of a single"),
    (lambda: cr.gradcheck(np.sin, X, hvp=np.cos), ValueError, "give grad= too"),
    (
        lambda: cr.gradcheck(network, W, B, grad=lambda W, b: W),
        TypeError,
        r"argument 0 \(W\)",
    ),
    (lambda: cr.gradcheck(network, W, B, grad=lambda W, b: (W, b, b)), ValueError, "returned 3 gradients"),
    (lambda: cr.gradcheck(network, W, B, grad=lambda W, b: {"W": W}), ValueError, r"no gradient for argument 1 \(b\)"),
    (lambda: cr.gradcheck(network, W, B, grad=lambda W, b: (W, "b")), TypeError, r"for argument 1 \(b\) is a str"),
    (lambda: cr.gradcheck(lambda x: x, X, backward=np.cos), TypeError, r"expected \(output, cache\)"),
    (lambda: cr.gradcheck(np.sin, B, jacobian=np.cos), ValueError, r"expected \(3, 3\)"),
    (lambda: cr.gradcheck(lambda x: np.argmax(x), X, vjp=lambda x, c: c), TypeError, "returned int64"),
    (lambda: cr.gradcheck(lambda x: "x", X, vjp=lambda x, c: c), TypeError, "returned str"),
    (lambda: cr.gradcheck(lambda p: np.sum(p["a"]), {"a": X}, grad=lambda p: X), TypeError, "a dict with its keys"),
]


@pytest.mark.parametrize(("call", "kind", "words"), BAD)
def test_bad_input_says_what_would_do(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_docstring_examples():
    for name in ("chainrule.gradcheck", "chainrule.gradcheck.result"):
        outcome = doctest.testmod(sys.modules[name])
        assert outcome.attempted and not outcome.failed


def test_nothing_to_compare():
    assert "nothing to compare" in str(passing(np.sin, np.zeros((0, 3))))


def test_the_callers_arrays_stay_as_they_were():
    x, ids = X.copy(), np.array([0, 1])
    passing(lambda x, ids: np.sin(x[ids]), x, ids)
    passing(np.sin, x, vjp=lambda x, c: np.multiply(c, np.cos(x), out=x))
    np.testing.assert_array_equal(x, X)


def test_a_seed_fixes_everything():
    x = RNG.normal(size=20_000)
    first, second = (passing(np.sin, x, seed=4) for _ in range(2))
    assert first == second


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def test_torch_functions_and_modules():
    torch = pytest.importorskip("torch")
    x = torch.tensor(X[:2], requires_grad=True)
    result = passing(lambda x, w: torch.tanh(x @ w), x, torch.tensor(W[:, :2]), order=2)
    assert result.checked > 100 and x.grad is None
    linear = torch.nn.Linear(4, 2).double()
    passing(linear, torch.tensor(X[:3]))
    passing(
        torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2)), torch.tensor(X[:4], dtype=torch.float32)
    )


def test_torch_autograd_functions():
    torch = pytest.importorskip("torch")

    class Cube(torch.autograd.Function):
        factor = 3

        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x**3 * w

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return Cube.factor * x**2 * w * g, (x**3 * g).sum(0)

    passing(Cube, torch.tensor(X), torch.tensor(X[0]), order=2)
    passing(Cube, X, X[0])  # arrays become tensors
    Cube.factor = 2
    error = failing(Cube, torch.tensor(X), torch.tensor(X[0]))
    assert error.cause == "constant-factor" and "1.5 times too small" in error.explanation
    assert error.argument_name == "argument 0 (x)" and "Cube's gradient" in str(error) and ", yours " in str(error)


def test_torch_is_not_imported():
    code = (
        "import sys, numpy as np, chainrule as cr; cr.gradcheck(np.sin, np.ones(3)); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- the command line --------------------------------------------------------------------------------------------------

PROGRAM = """
import numpy as np
X = np.arange(6.0).reshape(2, 3) / 5
def loss(X, W, power=2):
    return np.sum(np.tanh(X @ W) ** power)
def loss_grad(X, W, power):
    A = np.tanh(X @ W)
    dZ = FACTOR * A * (1 - A**2)
    return dZ @ W.T, X.T @ dZ
def own(X):
    return np.sum(np.exp(X))
def W():
    return np.ones((3, 2))
"""


@pytest.fixture
def invoke(tmp_path):
    from click.testing import CliRunner

    from chainrule.cli import app

    def run(*words, factor=2):
        path = tmp_path / "mine.py"
        path.write_text(f"FACTOR = {factor}\n{PROGRAM}")
        return CliRunner().invoke(app, ["gradcheck", *[w.replace("mine.py", str(path)) for w in words]])

    return run


@pytest.mark.parametrize(
    ("words", "factor", "status", "text"),
    [
        (["mine.py:loss"], 2, 0, "The gradient of loss is right: 12 numbers"),
        (["mine.py:loss"], 3, 1, "1.5 times too large"),
        (["mine.py:loss", "--shape", "W=3,5"], 2, 0, "21 numbers"),
        (["mine.py:own", "--order", "2"], 2, 0, "of the gradient's own derivative"),
        (["mine.py:own", "--grad", "loss_grad"], 2, 2, "missing 2 required"),
        (["mine.py:nothing"], 2, 2, "its functions are loss, loss_grad, own, W"),
        (["mine.py"], 2, 2, "expected file.py:function"),
        (["mine.py:loss", "--shape", "W"], 2, 2, "a name and its sizes"),
        (["mine.py:loss", "--shape", "V=2"], 2, 2, "shape is given for V"),
        (["absent.py:f"], 2, 2, "absent.py is not a file"),
    ],
)
def test_the_command(invoke, words, factor, status, text):
    result = invoke(*words, factor=factor)
    assert text in " ".join(result.output.split()) and result.exit_code == status, result.output


def _alias(x):
    y = x
    y *= 2
    return np.sum(x)


def _by_type(x):
    return np.sum(x**2) * (1 if isinstance(x, np.ndarray) else 2)


def _unpacked(p):
    w, b = (p[k] for k in (p if isinstance(p["w"], np.ndarray) else sorted(p)))
    return w * 2 + b


@pytest.mark.parametrize(
    ("f", "point", "plain", "traced"),
    [
        (_by_type, np.array([1.0, 2.0]), 5, 10),
        (_unpacked, {"w": np.array(3.0), "b": np.array(4.0)}, 10, 11),
        (lambda x: np.where(isinstance(x, np.ndarray), x, np.nan), np.array(3.0), 3, math.nan),
    ],
)
def test_a_value_that_differs_on_tensors_is_an_error(f, point, plain, traced):
    error = cr.gradcheck(f, point, raises=False)
    assert not error
    assert error.cause == "other-value"
    assert f"returns {plain} on NumPy arrays, but {traced} while" in " ".join(str(error).split())


def test_in_place_writes_are_compared_with_what_numpy_computes():
    # either the gradient is that of NumPy's program, or this is not called right
    x = np.array([1.0, 2.0])
    result = cr.gradcheck(_alias, x, raises=False)
    assert result.ok == np.array_equal(cr.grad(_alias)(x.copy()), [2.0, 2.0])
    np.testing.assert_array_equal(x, [1.0, 2.0])


def test_a_function_that_cannot_run_on_arrays_is_evaluated_on_tensors_and_says_so():
    result = cr.gradcheck(lambda x: x.named("z") * x, np.array([1.0, 2.0]))
    assert "evaluated on tensors" in str(result)
    assert "AttributeError" in " ".join(result.notes)
    assert not cr.gradcheck(lambda x: x * x, np.array([1.0, 2.0])).notes
    assert not cr.gradcheck(cr.nn.Linear(2, 3), np.ones((4, 2))).notes


@pytest.mark.parametrize("scale", [1e-10, 1e-100, 1e-160, 1e-200, 1e-310])
@pytest.mark.parametrize("f", [lambda x: np.sum(x**2), lambda x: np.sum(x**3) + x[0] ** 2, lambda x: x[0] * x[1]])
def test_slopes_that_are_lost_in_rounding_are_not_reported(f, scale):
    assert cr.gradcheck(f, scale * np.array([1.0, -2.0, 0.0]), order=2)


def test_the_hessian_of_one_number_is_compared_itself():
    def twice_stopped(x):  # x⁴, with the gradient 9 x³
        return np.sum(x * (4 * x**2 * cr.ops.stop_gradient(x) - 3 * cr.ops.stop_gradient(x) ** 3))

    def square(x):
        return cr.grad(lambda x: np.sum(x**2))(cr.ops.stop_gradient(x)) @ (x - cr.ops.stop_gradient(x)) + np.sum(
            cr.ops.stop_gradient(x) ** 2
        )

    error = cr.gradcheck(square, np.array([1.0, 2.0]), order=2, raises=False)
    assert (error.numeric, error.analytic) == (pytest.approx(2), 0)
    assert cr.gradcheck(twice_stopped, np.array([1.0, 2.0]), raises=False).cause == "constant-factor"


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_arrays_that_compute_otherwise_are_refused() -> None:
    with pytest.raises(TypeError, match=r"argument 1 \(b\) is a numpy.matrix"):
        cr.gradcheck(lambda a, b: np.sum(a * b), np.ones((2, 2)), np.matrix(np.ones((2, 2))))
    with pytest.raises(ValueError, match="masked array with 1 masked"):
        cr.gradcheck(lambda x: np.sum(x * x), {"x": np.ma.array([1.0, 2.0], mask=[False, True])})
    assert cr.gradcheck(lambda x: np.sum(x * x), np.ma.array([1.0, 2.0]))
