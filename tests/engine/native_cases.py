"""What the tests of the native engine run: plans on both engines, networks of every kind."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.engine.native import NativeBinding
from chainrule.engine.numpy import NumPyBinding
from chainrule.plan import Plan
from chainrule.train.step import TrainingStep
from tests.plan.graphs import planned

TOLERANCES = {"f": 1e-5, "d": 1e-12}


def near(found: Any, expected: Any, tolerance: float | None = None) -> None:
    """Assert equality relative to the largest expected element (at least 1); what is not finite must be the same."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    tolerance = TOLERANCES[expected.dtype.char] if tolerance is None else tolerance
    finite = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


def run(plan: Plan, inputs: Sequence[Any], states: Sequence[Any] = (), threads: int = 1, runs: int = 2) -> Any:
    """Run a plan on the native engine; return copies of its outputs and states."""
    mine = [np.array(s) for s in states]
    binding = NativeBinding(plan, mine, threads)
    for _ in range(runs):
        binding.run(inputs)
    return [binding.value(n).copy() for n in plan.outputs], mine


def check(
    function: Callable[..., tuple[Sequence[Any], Mapping[int, Any]]] | Plan,
    inputs: Sequence[Any],
    states: Sequence[Any] = (),
    threads: Sequence[int] = (1,),
    runs: int = 2,
    tolerance: float | None = None,
) -> NativeBinding:
    """Compare the engines on some runs of one plan, and the numbers of threads bit by bit; return a native binding."""
    plan = function if isinstance(function, Plan) else planned(function, inputs, states)
    reference = [np.array(s) for s in states]
    other = NumPyBinding(plan, reference)
    native = {t: ([np.array(s) for s in states], t) for t in threads}
    bindings = {t: NativeBinding(plan, s, t) for t, (s, _) in native.items()}
    before = [x.copy() for x in inputs]
    for _ in range(runs):
        with np.errstate(all="ignore"):
            other.run(inputs)
        for binding in bindings.values():
            binding.run(inputs)
        first = threads[0]
        for n in plan.outputs:
            near(bindings[first].value(n), other.value(n), tolerance)
        for found, expected in zip(native[first][0], reference, strict=True):
            near(found, expected, tolerance)
            np.copyto(expected, found)  # rounding must not add up
        for t in threads[1:]:
            for n in plan.outputs:
                same_bits(bindings[t].value(n), bindings[first].value(n))
            for a, b in zip(native[t][0], native[first][0], strict=True):
                same_bits(a, b)
    for x, kept in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, kept)
    return bindings[threads[0]]


def same_bits(found: Any, expected: Any) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(expected).tobytes()


class Training:
    """A network with a loss and an optimiser, its data, and its plan for a batch."""

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Any,
        optimizer: Any,
        loss: str = "cross_entropy",
        batch: int = 8,
        rows: int = 40,
        dropout: float = 0.0,
        metrics: Mapping[str, Any] | None = None,
        layers: Sequence[Any] = (),
        seed: int = 0,
    ) -> None:
        modules: list[Any] = list(layers)
        for k, (a, b) in enumerate(pairwise(sizes)):
            modules.append(nn.Linear(a, b))
            if k + 2 < len(sizes):
                modules.append(activation())
                modules += [nn.Dropout(dropout, seed=3)] if dropout else []
        rng = np.random.default_rng(seed)
        self.batch = batch
        self.X = rng.normal(size=(rows, sizes[0])).astype(np.float32)
        if loss == "cross_entropy":
            self.y = rng.integers(sizes[-1], size=rows)
        elif loss == "binary_cross_entropy":
            self.y = rng.integers(2, size=(rows, sizes[-1])).astype(np.float32)
        else:
            self.y = np.sign(rng.normal(size=(rows, sizes[-1]))).astype(np.float32)
        self.step = TrainingStep(nn.Sequential(*modules), loss, optimizer, metrics=metrics)

    def plan(self, batch: int | None = None) -> Plan:
        b = self.batch if batch is None else batch
        return self.step.plan((b, *self.X.shape[1:]), self.X.dtype, (b, *self.y.shape[1:]), self.y.dtype)

    def states(self) -> list[Any]:
        return [s.copy() for s in self.step.states]
