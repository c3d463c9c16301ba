"""The native engine's kernels: every dtype, every stride, what is empty, what is large, what is out of range."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")

import chainrule as cr
from chainrule import ops
from chainrule.core.apply import apply
from chainrule.core.op import ELEMENTWISE, Operation
from chainrule.engine import _native
from chainrule.engine.native import NativeBinding, described, without_kernel
from chainrule.engine.numpy import NumPyBinding
from chainrule.ops.index import Slot
from chainrule.ops.pooling import MAX_POOL, POOL_LIKE, UNPOOL
from chainrule.plan import Plan
from tests.engine.native_cases import check
from tests.plan.graphs import arrays, planned
from tests.tables import for_each, slow

INTEGERS = "int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()
ALL = ["bool", *INTEGERS, "float32", "float64"]
DTYPES = for_each("dtype", ALL)
#: What stays with NumPy and SciPy: special functions, linear algebra, transforms, and what is rare.
LEFT = {op.name for op in ops.rows() if "scipy." in str(op.numpy) and op.expand is None} | set(
    "inv solve cofactor det slogdet_sign logabsdet cholesky pinv eig eigh svd qr orthogonal_complement "
    "dft real_dft inverse_real_dft assign barrier logaddexp2".split()
)


def draw(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Return elements from all of an integer's range, normal ones of floats, with ties, zeros, NaN and infinities."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "b":
        return rng.integers(2, size=shape).astype(bool)
    if kind.kind == "f":
        x = np.asarray(rng.normal(size=shape), kind)
        special = [0.0, -0.0, np.nan, np.inf, -np.inf]
        if x.size > 20:
            x.flat[: 2 * len(special)] = special * 2
            x.flat[-3:] = x.flat[-6:-3]
        return x
    limits = np.iinfo(kind)
    x = rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    if x.size > 20:
        x.flat[:6] = [limits.min, limits.max, 0, 1, limits.max, limits.min]
    return np.asarray(x)


def compared(
    function: Callable[[Any], Any], *inputs: Any, threads: Any = (1, 2, 3), tolerance: float | None = None
) -> None:
    """Run a function of arrays on both engines; it must not need NumPy's kernels."""
    plan = planned(lambda x, s: (function(x), {}), inputs)
    assert without_kernel(plan) == [], str(plan)
    check(plan, inputs, threads=threads, tolerance=tolerance)


def test_which_rows_are_left_to_numpy() -> None:
    from tests.ops.checking import points

    left = set()
    for op in ops.rows():
        for example in points(op):
            inputs = [np.asarray(x) for x in example.inputs]
            plan = planned(lambda x, s, op=op, e=example: ([apply(op, tuple(x), dict(e.attrs))], {}), inputs)
            left |= {s.op.name for s in plan.operations} & LEFT if without_kernel(plan) else set()
            assert not without_kernel(plan) or op.name in LEFT, str(plan)
    assert left == LEFT


# -- elementwise, on integers and truth values ------------------------------------------------------------------------

ROWS = [op for op in ops.rows() if op.kind == ELEMENTWISE and op.kernel and op.name not in ("cast", "where")]


@for_each("dtype", ["bool", *INTEGERS])
@for_each("op", ROWS, ids=lambda op: op.name, every=6)
def test_elementwise_rows_on_whole_numbers(op: Operation, dtype: str) -> None:
    a, *more = [draw(dtype, (6, 9), k) for k in range(len(op.domain))]
    if more:
        more[0][0] = a[0]
    if op.name == "power" and dtype != "bool":
        more[0] %= 9
        more[0] = np.abs(more[0])
    given = [a, *more]
    plan = planned(lambda x, s: ([apply(op, tuple(x), {}), apply(op, tuple(k[::-1, :1] for k in x), {})], {}), given)
    binding = NumPyBinding(plan)
    try:
        with np.errstate(all="ignore"):
            binding.run(given)
    except TypeError:  # NumPy has no such operation, and says so on both engines
        with pytest.raises(TypeError):
            NativeBinding(plan).run(given)
        return
    assert without_kernel(plan) == []
    check(plan, given, threads=(1, 2))


def test_powers_of_integers() -> None:
    a, b = np.arange(-5, 7), np.array([[0], [1], [2], [63], [64]])
    compared(lambda x: [np.power(x[0], x[1]), np.power(x[0][::-2], 3), np.power(np.cumsum(x[0]), 2)], a, b)
    plan = planned(lambda x, s: ([np.power(x[0], x[1])], {}), [a, b])
    for engine in (NumPyBinding, NativeBinding):
        with pytest.raises(ValueError, match="Integers to negative integer powers are not allowed"):
            engine(plan).run([a, b - 1])


@DTYPES
@for_each("to", ALL)
def test_casts(dtype: str, to: str) -> None:
    x = draw(dtype, (7, 11))
    if np.dtype(dtype).kind == "f":  # what fits; for the rest NumPy promises nothing
        x = np.concatenate([np.linspace(-300, 300, 99), [2.0**31 - 1, 2.0**40, 1e18]]).astype(dtype)
        low, high = (-np.inf, np.inf) if np.dtype(to).kind in "fb" else (np.iinfo(to).min, np.iinfo(to).max)
        x = x[(x >= low) & (x < high)]
    compared(lambda x: [x[0].astype(to), np.where(x[0].T != 0, x[0].T.astype(to), np.zeros((), to))], x)


@DTYPES
def test_choices_copies_and_joins(dtype: str) -> None:
    a, b = draw(dtype, (6, 5)), draw(dtype, (6, 5), 1)

    def function(x: Any) -> Any:
        a, b, c = x
        out = [np.where(c, a, b), np.where(c[0], a[::-1], b[:, :1]), np.concatenate([a, b[::-1], a[:0]])]
        out += [np.concatenate([a.T, b.T], axis=1), np.reshape(a.T, -1), np.pad(a, 1)]
        return [*out, ops.index.place(b, (slice(None, None, 2),), (12, 5))]

    compared(function, a, b, draw(bool, (6, 5)))


# -- reductions ------------------------------------------------------------------------------------------------------

VIEWS = {
    "whole": lambda x: x,
    "transposed": np.transpose,
    "strided": lambda x: x[..., ::-2],
    "backwards": lambda x: x[::-1],
}


@DTYPES
@for_each("view", VIEWS)
@for_each("shape", [(7,), (0, 3), (3, 0), (3, 40, 5), (40, 5, 33), (2, 3, 4, 5), (5, 700)], every=4)
def test_reductions(dtype: str, view: str, shape: Any) -> None:
    x = draw(dtype, shape)
    axes = [None, *range(len(shape)), *[a for a in ((0, -1), (1, 2), (0, 2)) if len(shape) > 2]]
    terms = [np.sum, np.prod, np.all, np.any, *([] if 0 in shape else [np.max, np.min])]
    positions = [] if 0 in shape else [np.argmax, np.argmin]

    def function(x: Any) -> Any:
        y = VIEWS[view](x[0])
        out = [f(y, axis=a) for f in terms for a in axes]
        return out + [f(y, axis=a) for f in positions for a in axes[: len(shape) + 1]]

    if x.size > 100 and x.dtype.kind == "f":
        x[:] = np.where(np.isfinite(x), x, 1.0) * 0.9  # so that sums and products of others are numbers
        x[:1] = draw(dtype, shape)[:1]
    compared(function, x, threads=(1, 2), tolerance={"float32": 2e-5, "float64": 1e-12}.get(dtype))


@for_each("dtype", ["float32", "float64"])
def test_pools_of_adjacent_pairs(dtype: str) -> None:
    settings = {"size": (2, 2), "stride": (2, 2), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}
    for height, width in [(2, 2), (3, 5), (4, 9), (5, 14), (2, 16), (7, 31), (2, 33), (4, 48)]:
        x, g = draw(dtype, (3, height, width), width), draw(dtype, (3, height // 2, width // 2), 2)
        x[1] = np.round(x[1])  # many are equal
        for special in (np.nan, np.inf, -np.inf, -0.0):
            x[2, :, width // 3] = special
            compared(lambda x: [apply(MAX_POOL, x, settings)], x)
            compared(lambda x: [apply(UNPOOL, x, settings)], g, x)
            compared(lambda x: [apply(POOL_LIKE, x, settings)], draw(dtype, x.shape, 3), x)


def test_reductions_in_the_middle_are_as_accurate_as_others() -> None:
    x = (1.0 + np.random.default_rng(0).random((3, 60_001, 5))).astype(np.float32)

    def function(x: Any, s: Any) -> Any:
        return [np.sum(x[0], axis=1), np.sum(x[0][:, ::2], axis=(0, 1)), np.sum(x[0].T, axis=1)], {}

    plan = planned(function, [x])
    binding = NativeBinding(plan)
    binding.run([x])
    exact = x.astype(float)
    for n, e in zip(plan.outputs, [exact.sum(1), exact[:, ::2].sum((0, 1)), exact.T.sum(1)], strict=True):
        np.testing.assert_allclose(binding.value(n), e, rtol=1e-6)


# -- running sums, order ---------------------------------------------------------------------------------------------


@DTYPES
@for_each("shape", [(7,), (0, 3), (3, 0), (1, 1), (40, 3), (3, 4, 5), (2, 1000)])
def test_order_and_running_sums(dtype: str, shape: Any) -> None:
    x = draw(dtype, shape)
    if np.dtype(dtype).kind in "iu":
        x %= 5  # ties

    def function(x: Any) -> Any:
        (x,) = x
        out: list[Any] = []
        for y in (x, x[::-1].T, x[..., ::2]):
            for axis in range(len(shape)):
                out += [np.argsort(y, axis=axis), np.sort(y, axis=axis), np.cumsum(y, axis=axis)]
        return out

    compared(function, x, threads=(1, 2))


@DTYPES
@pytest.mark.parametrize("side", ["left", "right"])
def test_searches(dtype: str, side: Any) -> None:
    a, v = np.sort(draw(dtype, (50,))), draw(dtype, (3, 7), 1)
    v[0] = a[::8]
    compared(lambda x: [np.searchsorted(a, x[1], side) for a in (x[0], x[0][::3], x[0][:0], x[0][:1])], a, v)
    compared(lambda x: [np.searchsorted(x[0], v, side) for v in (x[1].T, x[1][:0], x[1][1, 2], x[1][:, ::-2])], a, v)


# -- picking by position ---------------------------------------------------------------------------------------------

ROW, COLUMN, SMALL = np.array([0, -1, 2, 3]), np.array([[4], [-5]]), np.array([1, 0, 2], np.uint8)
FLAGS = np.random.default_rng(0).random((4, 5, 6, 3)) > 0.5
FULL = slice(None)
INDICES: list[Any] = [
    (ROW,), (FULL, COLUMN), (ROW, FULL, ROW), (..., SMALL), (FULL, None, ROW), (0, FULL, SMALL), (FULL, 0, SMALL),
    (FULL, FULL, SMALL, SMALL), (FULL, slice(None, None, -2), SMALL, SMALL), (COLUMN % 4, None, COLUMN, ...),
    (ROW[:, None], COLUMN[:1], slice(1, 5, 2)), (ROW, ..., ROW[:, None] % 3), (None, ROW, None, slice(2, 2)),
    (slice(3, 0, -1), ROW, ROW), (1, ROW), (ROW, 1), (ROW, ..., 2), (2, ..., ROW % 3), (np.zeros((0, 3), int),),
    (FLAGS,), (FULL, FLAGS[0, :, 0, 0]), (ROW, ROW, ROW, ROW % 3), (..., -1, ROW[:3]),
    (ROW, None, ..., 1, ROW % 3), (np.array(2),), (FULL, np.array(-1), SMALL),
]  # fmt: skip


@DTYPES
@for_each("index", INDICES, ids=range(len(INDICES)))
def test_gather(dtype: str, index: Any) -> None:
    x = draw(dtype, (4, 5, 6, 3))
    compared(lambda x: [x[0][index], (x[0].T.T)[index], x[0][::-1, :, :, ::-1][index]], x)


@for_each("dtype", ["float32", "float64"])
@for_each("index", INDICES, ids=range(len(INDICES)))
def test_scatter_is_the_gradient_of_gather(dtype: str, index: Any) -> None:
    f = cr.grad(lambda x, w: np.sum(np.sin(x[index]) * w[index]))
    x, w = arrays([(4, 5, 6, 3)] * 2, dtype)
    compared(lambda a: [f(*a)], x, w)


@for_each("ids", INTEGERS)
@DTYPES
def test_positions_and_elements_of_every_dtype(dtype: str, ids: str) -> None:
    x, where = draw(dtype, (4, 7)), np.array([1, 1, 3, 0, 1, 2, 1], ids)
    compared(lambda x: [x[0][x[1]], x[0][:, x[1]], x[0].T[x[1], x[1]], cr.one_hot(x[1], 3, dtype)], x, where)
    if dtype != "bool":
        scatter = ops.row("scatter_add")
        attrs = {"index": (Slot(0),), "shape": (4, 4)}
        compared(lambda x: [apply(scatter, (g, x[1]), attrs) for g in (x[0].T, x[0].T[::-1])], x, where)


OUT_OF_RANGE: list[tuple[Any, tuple[int, ...], Any]] = [
    (lambda x, i: x[i], (4, 3), [0, 4, 9]),
    (lambda x, i: x[i], (4, 3), [0, -5, 1]),
    (lambda x, i: x[i], (4, 3), [2**62, 0]),
    (lambda x, i: x[i], (4, 3), [0, -(2**63)]),
    (lambda x, i: x[:, i], (4, 3), [0, 3]),
    (lambda x, i: x[:, i, :2], (4, 3, 5), [0, 3]),
    (lambda x, i: x[i, ..., i * 0], (2, 4, 3), [0, 2]),
    (lambda x, i: x[i * 0, ..., i], (2, 4, 3), [1, -4]),
    (lambda x, i: x[i], (4, 0), [0, 4]),
    (lambda x, i: apply(ops.row("scatter_add"), (x, i), {"index": (Slot(0),), "shape": (5, 3)}), (2, 3), [1, 5]),
    (lambda x, i: apply(ops.row("scatter_add"), (x, i), {"index": (Slot(0),), "shape": (5, 3)}), (2, 3), [1, -6]),
]


@pytest.mark.parametrize(("function", "shape", "ids"), OUT_OF_RANGE, ids=range(len(OUT_OF_RANGE)))
def test_positions_out_of_range_are_the_same_error(function: Any, shape: Any, ids: Any) -> None:
    x, ids = np.ones(shape), np.array(ids)
    plan = planned(lambda x, s: ([function(*x)], {}), [x, ids])
    assert without_kernel(plan) == []
    with pytest.raises(IndexError) as expected:
        NumPyBinding(plan).run([x, ids])
    for threads in (1, 2):
        with pytest.raises(IndexError) as found:
            NativeBinding(plan, threads=threads).run([x, ids])
        assert str(found.value) == str(expected.value)


def test_no_positions_are_never_out_of_range() -> None:
    compared(lambda x: [x[0][x[1], x[2]]], np.ones((4, 3)), np.array([9]), np.zeros((0, 1), int))


# -- large enough for threads ----------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("shape", [(300, 401), (40, 60, 70), slow((3, 50_000)), slow((50_000, 3)), slow((130_001,))])
def test_large_reductions_and_copies(dtype: str, shape: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, shape).astype(dtype) if np.dtype(dtype).kind != "f" else rng.normal(size=shape).astype(dtype)
    axes = [None, *range(len(shape)), *([(0, 2)] if len(shape) > 2 else [])]

    def function(x: Any) -> Any:
        (x,) = x
        out = [f(y, axis=a) for f in (np.sum, np.max, np.any) for a in axes for y in (x, x.T, x[::-1])]
        out += [np.argmax(x, axis=a) for a in range(len(shape))]
        out += [np.concatenate([x, x[:5]]), np.concatenate([x.T, x.T], axis=-1), np.reshape(x.T, -1)]
        out += [ops.index.place(x[:-1], (slice(1, None),), shape)]
        return [*out, ops.index.place(x, (slice(None, None, -1),), shape)]

    compared(function, x, tolerance={"float32": 2e-5, "float64": 1e-12}.get(dtype))


@pytest.mark.parametrize("dtype", ["int16", slow("float32"), slow("float64"), slow("uint64")])
def test_large_order_and_positions(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, ids = draw(dtype, (700, 130), 3), rng.integers(-700, 700, 9_000)
    x[np.isnan(x) | np.isinf(x)] = 2
    g = np.concatenate([x] * 13)[: len(ids)]

    def function(x: Any) -> Any:
        x, ids, g, columns = x
        out = [x[ids], x[:, columns], x[ids, columns], x.T[columns[:700], ids[:700]], cr.one_hot(columns, 130, dtype)]
        out += [np.argsort(x, axis=a) for a in (0, 1)] + [np.cumsum(x, axis=a) for a in (0, 1)]
        out += [np.searchsorted(np.sort(x[:, 0]), g), np.argsort(np.reshape(x, -1)), np.cumsum(np.reshape(x.T, -1))]
        scatter = ops.row("scatter_add")
        out += [apply(scatter, (g, ids), {"index": (Slot(0),), "shape": x.shape})]
        out += [apply(scatter, (g.T, ids), {"index": (slice(None), Slot(0)), "shape": (130, 700)})]
        out += [apply(scatter, (g[:, 0], ids, columns), {"index": (Slot(0), Slot(1)), "shape": x.shape})]
        return out

    compared(function, x, ids, g, np.abs(ids) % 130, tolerance={"float32": 2e-5}.get(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0, 1, 5, 64, 16_384, 65_537, 300_001])
def test_large_draws(dtype: str, size: int) -> None:
    draws = [np.array(3, kind) for kind in ("int64", "uint8", "int32", "uint64")]
    compared(lambda x: [ops.random.uniform(k, seed=7, shape=(size,), dtype=dtype) for k in x], *draws)


# -- malformed rows --------------------------------------------------------------------------------------------------


def wrong(plan: Plan, **changes: Any) -> Any:
    """Return a plan of one step with something else in its row."""
    rows = list(described(plan))
    ((fused, ((op, inputs, output, numbers),), registers, types),) = rows[1]
    row = {"op": op, "inputs": inputs, "output": output, "numbers": numbers} | changes
    rows[1] = [(fused, [tuple(row.values())], registers, types)]
    return rows


def numbers(*rows: Any) -> list[dict[str, Any]]:
    return [{"numbers": list(r)} for r in rows]


def inputs(*rows: Any) -> list[dict[str, Any]]:
    return [{"inputs": list(r)} for r in rows]


SLICE, SLOT = (-1, 0, 1, 3), (0, 0, 0, 0)  # all of an axis of length 3; positions of the first array
INDEX_ROWS = [
    (), (0,), (0, *SLOT), (1, *SLOT, *SLICE), (-1, *SLOT, *SLICE), (3, *SLOT, *SLICE), (2**62, *SLOT, *SLICE),
    (0, 1, 0, 0, 0, *SLICE), (0, 2**62, 0, 0, 0, *SLICE), (0, *SLOT, -1, 1, 1, 3), (0, *SLOT, -1, 0, 2, 3),
    (0, *SLOT, -1, 0, -1, 3), (0, *SLOT, -1, 3, 1, 1), (0, *SLOT, -1, 0, 1, 4), (0, *SLOT, -1, 0, 1, -1),
    (0, *SLOT, -1, 0, 2**62, 3), (0, *SLOT, -1, -1, 1, 3), (0, *SLOT, -1, -(2**63), 1, 3), (0, -1, 0, 1, 4, *SLOT),
]  # fmt: skip
SQUARE, AXES = np.ones((4, 3)), ((), (2,), (-1,), (0, 1), (2**62,))
MALFORMED: list[tuple[Any, list[Any], list[dict[str, Any]]]] = [
    (lambda x: x[0][x[1]], [SQUARE, ROW], numbers(*INDEX_ROWS) + inputs((0,), (1, 0), (0, 0), ())),
    (lambda x: np.argsort(x[0], axis=1), [SQUARE], numbers(*AXES) + inputs((0, 0))),
    (lambda x: np.cumsum(x[0], axis=1), [SQUARE], numbers(*AXES) + inputs((0, 0))),
    (
        lambda x: np.searchsorted(x[0], x[1]),
        [np.ones(4), np.ones((2, 2))],
        numbers((), (0, 0)) + inputs((0,), (1, 0), (1, 1)),
    ),
    (lambda x: np.sum(x[0], axis=1), [np.ones((4, 3, 4))], numbers((3,), (-1,), (0, 1)) + inputs((0, 0))),
    (lambda x: np.argmax(x[0], axis=1), [SQUARE], numbers((0,), (), (2,)) + inputs((0, 0))),
    (
        lambda x: apply(ops.row("scatter_add"), (x[0], x[1]), {"index": (Slot(0),), "shape": (4, 3)}),
        [SQUARE, ROW],
        numbers(*[r for r in INDEX_ROWS if r[:1] != (1,)]) + inputs((0,), (0, 0), ()),
    ),
]


@pytest.mark.parametrize(("function", "inputs", "changes"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_rows_are_refused(function: Any, inputs: Any, changes: Any) -> None:
    plan = planned(lambda x, s: ([function(x)], {}), inputs)
    assert _native.without_kernel(*wrong(plan)) == []
    for change in changes:
        refused = False
        try:
            refused = _native.without_kernel(*wrong(plan, **change)) == [0]  # through NumPy, where it fails
        except _native.PlanError:
            refused = True
        assert refused, change
