"""Both engines train the benchmarks' networks alike: first step, updated parameters, and the losses of many steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")

import chainrule as cr
from benchmarks.sides.numpy_network import loss_function
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, GRID, Workload, make_data
from chainrule import nn, optim
from chainrule.nn import losses
from chainrule.train import TrainingStep
from chainrule.train.blas import limited
from tests.tables import slow

ENGINES = ("native", "numpy")
STEPS = 200
#: Of the largest element, for one step; of the losses, over all of them.
FIRST = {"float32": 1e-5, "float64": 1e-12}
OVER_STEPS = {"float32": 1e-3, "float64": 1e-8}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
LARGE = 5e7  # flops a step from which on 200 steps of both engines take long


def fewer_rows(workload: Workload) -> Workload:
    """The workload with batches and data that take no time; the network stays as it is."""
    return replace(workload, batch=min(workload.batch, 128 if workload.layers[0] < 100 else 16), batches=4)


def cases(workloads: list[Workload]) -> list[Any]:
    """Each workload as it is, slow where it is large, or the second of two; the large ones with fewer rows besides."""
    found = []
    for k, workload in enumerate(workloads):
        large = workload.flops() > LARGE or workload.batch > 1000
        found.append(pytest.param(workload, id=workload.name, marks=[pytest.mark.slow] if large or k % 2 else []))
        if large:
            found.append(pytest.param(fewer_rows(workload), id=f"{workload.name}, fewer rows"))
    return found


EVERY = pytest.mark.parametrize("workload", cases(list(GRID)))
TRAINING = pytest.mark.parametrize("workload", cases([w for w in GRID if w.optimizer]))


def arrays(workload: Workload, dtype: str) -> tuple[Any, Any, list[Any]]:
    """Inputs (batches, batch, n_in), targets, and first weights [(W, b), …], in `dtype` as far as they are real."""
    data = make_data(workload)
    targets = data.targets if data.targets.dtype == np.int64 else data.targets.astype(dtype)
    return data.inputs.astype(dtype), targets, [(w.astype(dtype), b.astype(dtype)) for w, b in data.weights]


def training_step(workload: Workload, weights: list[Any], engine: str) -> TrainingStep:
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[workload.activation]
    layers: list[Any] = []
    for n_in, n_out in pairwise(workload.layers):
        layers += [nn.Linear(n_in, n_out, dtype=weights[0][0].dtype), activation()]
    model = nn.Sequential(*layers[:-1])
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict(dict(zip(names, (p for pair in weights for p in pair), strict=True)))
    optimizers = {
        "sgd": optim.SGD(workload.learning_rate),
        "adam": optim.Adam(workload.learning_rate, beta1=ADAM_BETA1, beta2=ADAM_BETA2, eps=ADAM_EPSILON),
    }
    assert workload.optimizer is not None
    return TrainingStep(model, workload.loss, optimizers[workload.optimizer], engine=engine, threads=1)


def value_and_grad(workload: Workload, engine: str) -> Any:
    """The compiled function (weights, x, y) -> (loss, (gradients of the weights, gradient of x))."""
    loss = loss_function(workload, np, losses.cross_entropy, losses.binary_cross_entropy)
    return cr.compile(cr.value_and_grad(loss, argnums=(0, 1)), engine=engine, threads=1)


def train(step: TrainingStep, X: Any, y: Any, steps: int) -> Any:
    """The losses of so many steps over the batches, which come round again, made as `fit` makes them."""
    size = X.shape[1]
    binding = step.binding(X[0], y[0])
    X, y = X.reshape(-1, *X.shape[2:]), y.reshape(-1, *y.shape[2:])
    order = np.resize(np.arange(len(X), dtype=np.int64), steps * size)
    found = np.full((steps, 1), np.nan)
    with limited(1, 0):
        made = binding.run_batches(None, X, y, order, 0, size, len(order), found, 1e9)
    assert made == steps
    return found[:, 0]


def near(found: Any, expected: Any, tolerance: float, what: str) -> None:
    """Assert equality up to a share of the largest expected element."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    assert np.isfinite(expected).all(), what
    off = np.abs(found - expected).max() / np.abs(expected).max()
    assert off <= tolerance, f"{what} is off by {off:.3g} of its largest element"


def losses_near(found: Any, expected: Any, tolerance: float) -> None:
    """Assert that each step's losses agree, relative to that loss."""
    assert np.isfinite(expected).all()
    off = np.abs(found - expected) / np.abs(expected)
    assert off.max() <= tolerance, f"the loss of step {off.argmax()} is off by {off.max():.3g} of it"


@DTYPES
@EVERY
def test_loss_and_gradients(workload: Workload, dtype: str) -> None:
    X, y, weights = arrays(workload, dtype)
    native, numpy = (value_and_grad(workload, engine)(weights, X[0], y[0]) for engine in ENGINES)
    near(native[0], numpy[0], FIRST[dtype], "the loss")
    (found, found_dx), (expected, expected_dx) = native[1], numpy[1]
    near(found_dx, expected_dx, FIRST[dtype], "dA0")
    for layer, pairs in enumerate(zip(found, expected, strict=True), 1):
        for name, g, wanted in zip("Wb", *pairs, strict=True):
            near(g, wanted, FIRST[dtype], f"d{name}{layer}")


@DTYPES
@TRAINING
def test_the_first_step(workload: Workload, dtype: str) -> None:
    """The loss before it; the parameters and the optimiser's arrays after it.

    Adam's first step goes as far for a gradient of 1e-6 as for one of 1, and its direction is the gradient's sign:
    parameters whose gradient is rounding alone are compared by the optimiser's arrays.
    """
    X, y, weights = arrays(workload, dtype)
    native, numpy = (training_step(workload, weights, engine) for engine in ENGINES)
    losses_near(train(native, X, y, 1), train(numpy, X, y, 1), FIRST[dtype])
    _, (by_layer, _) = value_and_grad(workload, "numpy")(weights, X[0], y[0])
    before, gradients = ([array for pair in pairs for array in pair] for pairs in (weights, by_layer))
    for old, g, (name, expected) in zip(before, gradients, numpy.parameters.items(), strict=True):
        assert not np.array_equal(old, expected), f"{name} was not updated"
        clear = np.abs(g) > FIRST[dtype] * np.abs(g).max() if workload.optimizer == "adam" else np.isfinite(g)
        near(native.parameters[name][clear], expected[clear], FIRST[dtype], name)
    for k, pair in enumerate(zip(native.optimizer_state, numpy.optimizer_state, strict=True)):
        near(*pair, FIRST[dtype], f"the optimiser's array {k}")


@pytest.mark.parametrize("dtype", ["float64", slow("float32")])
@TRAINING
def test_the_losses_of_many_steps(workload: Workload, dtype: str) -> None:
    """Each loss in float64; in float32 the curve as a whole.

    There rounding alone makes a ReLU whose input is next to zero switch sides in one engine, sooner or later; single
    losses then differ by some 1e-3 of themselves where they have become small.
    """
    X, y, weights = arrays(workload, dtype)
    count = sum(w.size for w, _ in weights)
    steps = STEPS if count < 50_000 else STEPS // 5 if count < 300_000 else STEPS // 10
    native, numpy = (train(training_step(workload, weights, engine), X, y, steps) for engine in ENGINES)
    assert numpy[-1] < numpy[0], "nothing was learnt"
    if dtype == "float64":
        losses_near(native, numpy, OVER_STEPS[dtype])
    else:
        off = np.linalg.norm(native - numpy) / np.linalg.norm(numpy)
        assert off <= OVER_STEPS[dtype], f"the losses are off by {off:.3g} of their norm"
