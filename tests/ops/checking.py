"""How rows and functions are checked; shared by the table tests, and itself tested with rules that are wrong."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.core.apply import apply
from chainrule.core.node import Recording
from chainrule.core.op import ELEMENTWISE, Example, Operation
from chainrule.core.reverse import reverse
from chainrule.core.tensor import Tensor, constant, traced_leaf

TOLERANCE = 1e-7


def points(op: Operation) -> list[Example]:
    """Return the inputs at which a row is tried: its own examples, or draws from its domain, broadcast in every way."""
    rng = np.random.default_rng(sum(op.name.encode()))
    if op.examples is not None:
        return list(op.examples(rng))

    def draw(low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.uniform(low, high, shape)
        near = np.abs(x - np.rint(x)) < 0.01  # away from the kinks, which lie at integers
        return np.where(near, x + np.where(x < (low + high) / 2, 0.05, -0.05), x)

    shapes = [[(3, 4)], [()], [(0, 3)]]
    if len(op.domain) == 2:
        shapes = [[(3, 4), (3, 4)], [(3, 1), (4,)], [(), (2, 3)], [(2, 3), ()], [(), ()], [(0, 3), (1, 3)]]
    return [Example(tuple(draw(*d, s) for d, s in zip(op.domain, group, strict=True))) for group in shapes]


def real(x: Any) -> bool:
    return np.asarray(x).dtype.kind == "f"


def evaluate(op: Operation, inputs: Sequence[Any], attrs: Any) -> np.ndarray:
    return np.asarray(op.evaluate(*inputs, **attrs))


def derivative(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the Jacobian of `function` at `x`, (outputs, elements of x): central differences, extrapolated once."""
    x = np.array(x, dtype=np.float64)
    flat = x.reshape(-1)
    columns = []
    for i in range(flat.size):
        kept = flat[i]
        h = np.finfo(np.float64).eps ** 0.2 * max(1.0, abs(kept))
        slopes = []
        for step in (h, h / 2):
            flat[i] = kept + step
            above = np.array(function(x), dtype=np.float64)
            flat[i] = kept - step
            below = np.array(function(x), dtype=np.float64)
            slopes.append((above - below) / (2 * step))
        flat[i] = kept
        columns.append(((4 * slopes[1] - slopes[0]) / 3).reshape(-1))
    outputs = np.asarray(function(x)).size
    return np.stack(columns, 1) if columns else np.zeros((outputs, 0))


def close(found: Any, expected: Any, tolerance: float = TOLERANCE, what: str = "") -> None:
    """Assert equality relative to the largest expected element (at least 1)."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    if expected.size:
        scale = max(1.0, float(np.abs(expected).max()))
        error = float(np.abs(found - expected).max()) / scale
        assert error <= tolerance, f"{what}: off by {error:.2e} (relative)\nfound\n{found}\nexpected\n{expected}"


def recorded(op: Operation, inputs: Sequence[Any], attrs: Any) -> tuple[Tensor, list[Tensor]]:
    """Apply a row to leaves that are followed; integers and booleans are constants."""
    with Recording("a test") as recording:
        leaves = [Tensor(np.array(x), recordings=frozenset({recording}) if real(x) else frozenset()) for x in inputs]
        return apply(op, tuple(leaves), dict(attrs)), leaves


def cotangents(op: Operation, inputs: Sequence[Any], attrs: Any, g: Any, *, graph: bool) -> list[np.ndarray]:
    """Pull `g` back to every real input, by the pass on arrays or by the recorded one."""
    out, leaves = recorded(op, inputs, attrs)
    wanted = [x for x in leaves if real(x.value)]
    g = np.asarray(g, dtype=out.dtype)
    found, _ = reverse([out], [constant(g) if graph else g], wanted)
    return [np.asarray(x.value if isinstance(x, Tensor) else x) for x in found]


def jacobians(op: Operation, inputs: Sequence[Any], attrs: Any, *, graph: bool) -> list[np.ndarray]:
    """Return the full Jacobian in every real input, one reverse pass an output element."""
    out = evaluate(op, inputs, attrs)
    rows = []
    for j in range(out.size):
        g = np.zeros(out.shape)
        g.reshape(-1)[j] = 1
        rows.append([c.reshape(-1) for c in cotangents(op, inputs, attrs, g, graph=graph)])
    real_inputs = [x for x in inputs if real(x)]
    if not rows:
        return [np.zeros((0, np.size(x))) for x in real_inputs]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def with_input(inputs: Sequence[Any], k: int, x: Any) -> list[Any]:
    return [x if i == k else y for i, y in enumerate(inputs)]


def check_first_order(op: Operation, example: Example, graph: bool = False) -> None:
    """Compare every element of the Jacobian with finite differences."""
    inputs, attrs = example.inputs, example.attrs
    places = [k for k, x in enumerate(inputs) if real(x)]
    found = jacobians(op, inputs, attrs, graph=graph)
    for k, jacobian in zip(places, found, strict=True):
        expected = derivative(lambda x, k=k: evaluate(op, with_input(inputs, k, x), attrs), inputs[k])
        close(jacobian, expected, what=f"{op.name}, input {k}")


def check_second_order(op: Operation, example: Example) -> None:
    """Compare the gradient of a random weighting of the gradients, in inputs and cotangent, with finite differences."""
    inputs, attrs = example.inputs, example.attrs
    rng = np.random.default_rng(1)
    g = rng.normal(size=evaluate(op, inputs, attrs).shape)
    weights = [rng.normal(size=np.shape(x)) for x in inputs if real(x)]

    def weighted(values: Sequence[Any], g: Any) -> float:
        parts = cotangents(op, values, attrs, g, graph=False)
        return float(sum(np.sum(w * p) for w, p in zip(weights, parts, strict=True)))

    with Recording("outer") as outer:
        leaves = [Tensor(np.array(x), recordings=frozenset({outer}) if real(x) else frozenset()) for x in inputs]
        seed = Tensor(g, recordings=frozenset({outer}))
        out = apply(op, tuple(leaves), dict(attrs))
        wanted = [x for x in leaves if real(x.value)]
        first, _ = reverse([out], [seed], wanted)
        total = sum(np.sum(w * p) for w, p in zip(weights, first, strict=True))
    if not isinstance(total, Tensor):  # the gradient is constant, zero
        assert total == 0
        return
    second, _ = reverse([total], [np.ones(())], [*wanted, seed])
    places = [k for k, x in enumerate(inputs) if real(x)]
    for k, found in zip(places, second, strict=False):
        expected = derivative(lambda x, k=k: np.asarray(weighted(with_input(inputs, k, x), g)), inputs[k])
        found = np.zeros(np.shape(inputs[k])) if found is None else np.asarray(found)
        close(found.reshape(1, -1), expected, 2e-7, f"{op.name}, twice, input {k}")
    expected = derivative(lambda g: np.asarray(weighted(inputs, g)), g)
    found = np.zeros(g.shape) if second[-1] is None else np.asarray(second[-1])
    close(found.reshape(1, -1), expected, 2e-7, f"{op.name}, twice, cotangent")


def traced(op: Operation, inputs: Sequence[Any], attrs: Any) -> tuple[Tensor, list[Tensor]]:
    """Apply a row to leaves without values."""
    with Recording("a trace") as recording:
        leaves = [traced_leaf(np.shape(x), np.asarray(x).dtype, frozenset({recording})) for x in inputs]
        return apply(op, tuple(leaves), dict(attrs)), leaves


def in_dtype(example: Example, dtype: Any) -> Example:
    return Example(tuple(np.asarray(x, dtype) if real(x) else x for x in example.inputs), example.attrs)


def may_overwrite(op: Operation, inputs: Sequence[Any], out: np.ndarray) -> list[int]:
    """Return which inputs the row says its kernel may write its result over."""
    if op.kind != ELEMENTWISE:
        return []
    allowed = range(len(inputs)) if op.aliases is None else op.aliases
    return [k for k in allowed if np.shape(inputs[k]) == out.shape and np.asarray(inputs[k]).dtype == out.dtype]
