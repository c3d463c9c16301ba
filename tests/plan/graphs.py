"""Random graphs: short programs over a pool of values, which run on arrays and on tensors alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import strategies as st

import chainrule as cr
import chainrule.engine.numpy as numpy_engine
from chainrule import engine
from chainrule.core.node import Recording
from chainrule.core.tensor import Tensor, constant, traced_leaf
from chainrule.plan import Plan, build

LIMIT = 2000
Program = list[tuple[str, int, int]]


def _matrix(a: Any) -> bool:
    return a.ndim == 2 and 0 not in a.shape


#: name -> (function of two values, whether it applies to them). Values stay small.
OPERATIONS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], bool]]] = {
    "add": (lambda a, b: a + b, lambda a, b: True),
    "subtract": (lambda a, b: a - b, lambda a, b: True),
    "multiply": (lambda a, b: np.tanh(a) * b, lambda a, b: True),
    "divide": (lambda a, b: a / (1.0 + b * b), lambda a, b: True),
    "maximum": (lambda a, b: np.maximum(a, b), lambda a, b: True),
    "where": (lambda a, b: np.where(a > b, a, 0.5 * b), lambda a, b: True),
    "scale": (lambda a, b: 0.5 * (2.0 * a) + 0.25, lambda a, b: True),
    "negative": (lambda a, b: -a, lambda a, b: True),
    "tanh": (lambda a, b: np.tanh(a), lambda a, b: True),
    "bell": (lambda a, b: np.exp(-a * a), lambda a, b: True),
    "relu": (lambda a, b: cr.relu(a), lambda a, b: True),
    "square": (lambda a, b: np.square(np.tanh(a)), lambda a, b: True),
    "transpose": (lambda a, b: np.transpose(a), lambda a, b: True),
    "backwards": (lambda a, b: a[::-1], lambda a, b: a.ndim > 0),
    "tail": (lambda a, b: a[1:], lambda a, b: a.ndim > 0),
    "first": (lambda a, b: a[0], lambda a, b: a.ndim > 0 and a.shape[0] > 0),
    "element": (lambda a, b: a[(0,) * a.ndim], lambda a, b: a.ndim > 0 and 0 not in a.shape),
    "every other": (lambda a, b: a[..., ::2], lambda a, b: a.ndim > 0),
    "flat": (lambda a, b: np.reshape(a, -1), lambda a, b: True),
    "reshape transposed": (lambda a, b: np.reshape(np.transpose(a), -1), lambda a, b: True),
    "column": (lambda a, b: a[..., None], lambda a, b: a.ndim < 3),
    "spread": (lambda a, b: np.broadcast_to(a, (2, *a.shape)), lambda a, b: a.ndim < 3),
    "sum": (lambda a, b: np.sum(a, axis=0), lambda a, b: a.ndim > 0),
    "mean of rows": (
        lambda a, b: a - np.mean(a, axis=-1, keepdims=True),
        lambda a, b: a.ndim > 0 and 0 not in a.shape,
    ),
    "total": (lambda a, b: np.sum(a) * 0.1, lambda a, b: True),
    "max": (lambda a, b: np.max(a, axis=-1), lambda a, b: a.ndim > 0 and a.shape[-1] > 0),
    "softmax": (lambda a, b: cr.softmax(a), lambda a, b: a.ndim > 0 and 0 not in a.shape),
    "gram": (lambda a, b: np.tanh(a @ np.transpose(a)), lambda a, b: _matrix(a)),
    "matmul": (
        lambda a, b: np.tanh(np.transpose(a) @ b),
        lambda a, b: _matrix(a) and _matrix(b) and a.shape[0] == b.shape[0],
    ),
    "join": (lambda a, b: np.concatenate([a, a[::-1]]), lambda a, b: a.ndim > 0),
    "pick": (lambda a, b: a[np.array([0, -1, 0])], lambda a, b: a.ndim > 0 and a.shape[0] > 0),
}
TWO = ("add", "subtract", "multiply", "divide", "maximum", "where")


def _fits(name: str, a: Any, b: Any) -> bool:
    if not OPERATIONS[name][1](a, b):
        return False
    if name not in TWO:
        return a.size <= LIMIT
    try:
        return int(np.prod(np.broadcast_shapes(a.shape, b.shape))) <= LIMIT
    except ValueError:
        return False


def interpret(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """Run a program; return its pool: the inputs and all that was computed."""
    pool = list(inputs)
    for name, i, j in program:
        a, b = pool[-1 - i % len(pool)], pool[-1 - j % len(pool)]
        if _fits(name, a, b):
            pool.append(OPERATIONS[name][0](a, b))
    return pool


programs = st.lists(
    st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 30), st.integers(0, 30)),
    min_size=1,
    max_size=25,
)
sizes = st.sampled_from([0, 1, 2, 3, 5])
shapes = st.one_of(
    st.just([(4, 3), (3,), (4, 1), ()]),
    st.just([(13, 7), (13, 7), (7,), (1, 7)]),
    st.just([(3, 3), (3, 3), (3,)]),
    st.lists(st.lists(sizes, max_size=3).map(tuple), min_size=1, max_size=3),
)
dtypes = st.sampled_from([np.float32, np.float64])


def arrays(shapes: Sequence[tuple[int, ...]], dtype: Any, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=s), dtype) for s in shapes]


def close(found: Any, expected: Any, tolerance: float | None = None) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    if tolerance is None:
        tolerance = 2e-5 if expected.dtype == np.float32 else 1e-12
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


@contextmanager
def blocks_of(elements: int) -> Iterator[None]:
    """Make fused steps run in blocks of about so many elements."""
    module = numpy_engine
    before = module.BLOCK
    module.BLOCK = elements
    try:
        yield
    finally:
        module.BLOCK = before


def traced(shapes: Sequence[tuple[int, ...]], dtype: Any, recording: Recording, prefix: str = "x") -> list[Tensor]:
    mark = frozenset({recording})
    return [traced_leaf(s, dtype, mark, name=f"{prefix}{k}") for k, s in enumerate(shapes)]


def planned(
    function: Callable[..., tuple[Sequence[Any], Mapping[int, Any]]],
    inputs: Sequence[Any],
    states: Sequence[Any] = (),
    **more: Any,
) -> Plan:
    """Plan ``function(inputs, states) -> (outputs, updates)`` for arrays like these."""
    with Recording("a test") as recording:
        mark = frozenset({recording})
        xs = [traced_leaf(x.shape, x.dtype, mark, name=f"x{k}") for k, x in enumerate(inputs)]
        ss = [traced_leaf(s.shape, s.dtype, mark, name=f"s{k}") for k, s in enumerate(states)]
        outputs, updates = function(xs, ss)
        nodes = [constant(o) for o in outputs]
        updates = {s: constant(u) for s, u in updates.items()}
    plan, captured = build(nodes, xs, states=ss, updates=updates, name="test", **more)
    assert not captured
    return plan


def check_states(
    function: Callable[..., tuple[Sequence[Any], Mapping[int, Any]]],
    inputs: Sequence[Any],
    states: Sequence[Any],
    runs: int = 3,
    block: int = 8,
) -> Plan:
    """Compare some runs of the plan with the same function on arrays; return the plan."""
    plan = planned(function, inputs, states)
    mine = [s.copy() for s in states]
    reference = [s.copy() for s in states]
    with blocks_of(block):
        binding = engine.bind(plan, mine)
    kept = [x.copy() for x in inputs]
    for _ in range(runs):
        with np.errstate(all="ignore"):
            outputs, updates = function(inputs, reference)
            outputs = [np.array(o) for o in outputs]
            new = [np.array(updates.get(k, s), dtype=s.dtype) for k, s in enumerate(reference)]
            binding.run(inputs)
        for n, expected in zip(plan.outputs, outputs, strict=True):
            close(binding.value(n), expected)
        for found, expected in zip(mine, new, strict=True):
            close(found, expected)
        reference = [m.copy() for m in mine]  # rounding must not add up
    for x, before in zip(inputs, kept, strict=True):
        np.testing.assert_array_equal(x, before)
    return plan
