"""Every row of the operation table against every property that a row must have."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import scipy.special

from chainrule import jvp, ops
from chainrule.core.apply import apply
from chainrule.core.node import Recording
from chainrule.core.op import ELEMENTWISE, VIEW, Example, Operation
from chainrule.core.reverse import reverse, topological
from chainrule.core.tensor import Tensor, traced_leaf
from chainrule.explain.source import Helpers
from chainrule.formula.dimensions import dimensions
from chainrule.formula.expression import Expression, make, name
from chainrule.formula.names import display_name
from chainrule.formula.printer import latex_form, text_form
from chainrule.formula.source import NumpyPrinter
from chainrule.ops.table import row_of
from tests.ops.checking import (
    check_first_order,
    check_second_order,
    close,
    cotangents,
    evaluate,
    in_dtype,
    may_overwrite,
    points,
    real,
    traced,
)
from tests.tables import for_each

ROWS = ops.rows()
SMOOTH = [op for op in ROWS if op.differentiable]


def cases(rows: Any) -> list[Any]:
    return [pytest.param(op, e, id=f"{op.name}-{i}") for op in rows for i, e in enumerate(points(op))]


def fill(index: Any, arrays: Any) -> Any:
    return tuple(arrays[int(i)] if type(i).__name__ == "Slot" else i for i in index)


def placed(g: Any, where: Any, shape: Any) -> Any:
    out = np.zeros(shape, g.dtype)
    np.add.at(out, where, g)
    return out


def assigned(x: Any, *rest: Any, index: Any, repeats: bool) -> Any:  # element by element
    *arrays, values = rest
    out = np.array(x)
    positions = np.arange(x.size).reshape(x.shape)[fill(index, arrays)]
    for at, value in zip(positions.flat, np.broadcast_to(values, positions.shape).flat, strict=True):
        out.reshape(-1)[at] = value
    return out


def one_hot(ids: Any, classes: int, dtype: Any) -> Any:
    return np.eye(classes, dtype=dtype)[ids]


def cofactor(a: Any) -> Any:
    """By minors, the definition."""
    out = np.empty_like(a)
    for where in np.ndindex(*a.shape):
        *batch, i, j = where
        minor = np.delete(np.delete(a[tuple(batch)], i, 0), j, 1)
        out[where] = (-1) ** (i + j) * np.linalg.det(minor)
    return out


def symmetric(a: Any, triangle: str) -> Any:
    """Return a matrix whose other triangle mirrors the one that is read."""
    kept = np.tril(a) if triangle == "L" else np.triu(a)
    return kept + np.swapaxes(np.tril(kept, -1) + np.triu(kept, 1), -1, -2)


def side_by_side(vectors: Any, values: Any, *more: Any) -> Any:
    """Return the columns of vectors as rows, followed by what belongs to each."""
    rows = [np.swapaxes(vectors, -1, -2), values[..., None] if values.ndim < vectors.ndim else values, *more]
    if not more and values.ndim < vectors.ndim:
        rows.reverse()  # a value before its vector
    return np.concatenate(rows, -1)


def full_svd(a: Any) -> Any:
    k = min(a.shape[-2:])
    u, s, vt = np.linalg.svd(a)
    return u[..., :k], s, vt[..., :k, :]


def full_qr(a: Any) -> Any:
    q, r = np.linalg.qr(a, "complete")
    n = a.shape[-1]
    return q[..., :n], r[..., :n, :]


def complement(a: Any, of: str) -> Any:
    m, n = a.shape[-2:]
    if of == "qr":
        return np.linalg.qr(a, "complete")[0][..., n:]
    u, _, vt = np.linalg.svd(a)
    return u[..., n:] if of == "left" else np.swapaxes(vt[..., m:, :], -1, -2)


def dft(x: Any, sign: int) -> Any:
    """By the definition, as a product with the matrix of roots of unity."""
    n = x.shape[-2]
    turn = sign * 2j * np.pi / n
    f = np.exp(turn * np.outer(np.arange(n), np.arange(n))) @ (x[..., 0] + 1j * x[..., 1])[..., None]
    return np.stack([f.real, f.imag], -1)[..., 0, :]


def mirrored(x: Any, n: int) -> Any:
    """Return all coefficients of a real sequence from the first half of them."""
    z = x[..., 0] + 1j * x[..., 1]
    z[..., 0] = z[..., 0].real
    if n % 2 == 0:
        z[..., -1] = z[..., -1].real
    z = np.concatenate([z, np.conj(z[..., 1 : (n + 1) // 2][..., ::-1])], -1)
    return np.stack([z.real, z.imag], -1)


def correlated(x: Any, w: Any, stride: Any, dilation: Any, padding: Any, groups: int) -> Any:
    """One image, channel and filter after the other, by SciPy."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[1:-1], strict=True)]
    full = np.zeros((w.shape[0], *reach, w.shape[-1]))
    full[(slice(None), *[slice(None, None, d) for d in dilation])] = w
    each = w.shape[-1] // groups
    places = [n - k + 1 for n, k in zip(x.shape[2:], full.shape[1:-1], strict=True)]
    out = np.zeros((x.shape[0], w.shape[-1], *places))
    for m, f, c in np.ndindex(x.shape[0], w.shape[-1], w.shape[0]):
        out[m, f] += scipy.signal.correlate(x[m, f // each * w.shape[0] + c], full[c, ..., f], "valid", "direct")
    return out[(slice(None), slice(None), *[slice(None, None, s) for s in stride])]


def adjoint(of: Any, shape: Any, g: Any) -> Any:
    """Return the adjoint of a linear function of arrays of a shape, from its values at all unit vectors."""
    return np.array([np.sum(of(e.reshape(shape)) * g) for e in np.eye(math.prod(shape))]).reshape(shape)


def first_largest(x: Any, size: Any, stride: Any, dilation: Any, padding: Any) -> Any:
    """Return the positions in x of each window's first largest element, one array for each axis in space."""
    n = len(size)
    space = x.shape[x.ndim - n :]
    axes = zip(space, padding, dilation, size, stride, strict=True)
    ends = [(d + sum(p) - e * (k - 1) - 1) // s + 1 for d, p, e, k, s in axes]
    found = np.zeros((n, *x.shape[: x.ndim - n], *ends), int)
    for where in np.ndindex(found.shape[1:]):
        lead, place = where[: x.ndim - n], where[x.ndim - n :]
        starts = [p * s - b for p, s, (b, _) in zip(place, stride, padding, strict=True)]
        every = [tuple(a + e * i for a, e, i in zip(starts, dilation, k, strict=True)) for k in np.ndindex(size)]
        inside = [at for at in every if all(0 <= a < d for a, d in zip(at, space, strict=True))]
        found[(slice(None), *where)] = max(inside, key=lambda at: x[(*lead, *at)])
    return found


def pooled(v: Any, x: Any, **attrs: Any) -> Any:
    at = first_largest(x, **attrs)
    return v[(*np.indices(at.shape[1:])[: x.ndim - len(at)], *at)]


def windowed(x: Any, axes: Any, size: Any, stride: Any, dilation: Any) -> Any:
    ends = [(x.shape[a] - d * (k - 1) - 1) // s + 1 for a, k, s, d in zip(axes, size, stride, dilation, strict=True)]
    shape = [ends[axes.index(a)] if a in axes else n for a, n in enumerate(x.shape)]
    out = np.empty((*shape, *size))
    for at in np.ndindex(out.shape):
        moved = list(at[: x.ndim])
        for a, s, d, k in zip(axes, stride, dilation, at[x.ndim :], strict=True):
            moved[a] = s * moved[a] + d * k
        out[at] = x[tuple(moved)]
    return out


#: Rows that are computed by a function of SciPy; their derivatives are checked against finite differences of it.
SPECIAL = {op.name: re.findall(r"scipy\.(\w+)\.(\w+)", op.numpy) for op in ROWS if isinstance(op.numpy, str)}

#: What the rows compute, by NumPy and SciPy functions that share no code with the rows' own kernels where that can be.
ORACLES: dict[str, Callable[..., Any]] = {
    "cast": lambda x, dtype: np.array(x, dtype),
    "matmul": lambda a, b: np.einsum("...ij,...jk->...ik", a, b),
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "relu": lambda x: np.where(x > 0, x, 0),
    "erf": scipy.special.erf,
    "binary_cross_entropy_with_logits": lambda z, t: (
        -t * np.log(scipy.special.expit(z)) - (1 - t) * np.log(scipy.special.expit(-z))
    ),
    "where": np.where,
    "stop_gradient": lambda x: x,
    "identity": lambda x: x,
    "sum": np.sum,
    "max": lambda x, **kw: np.sort(x.reshape(-1))[-1] if len(kw["axis"]) == x.ndim else np.max(x, **kw),
    "min": lambda x, **kw: np.sort(x.reshape(-1))[0] if len(kw["axis"]) == x.ndim else np.min(x, **kw),
    "prod": np.prod,
    "all": np.all,
    "any": np.any,
    "logsumexp": lambda x, **kw: np.log(np.sum(np.exp(x), **kw)),
    "softmax": scipy.special.softmax,
    "cross_entropy_with_logits": lambda z, t: -np.sum(t * scipy.special.log_softmax(z, -1), axis=-1),
    "one_hot": one_hot,
    "cumsum": np.cumsum,
    "argmax": np.argmax,
    "argmin": np.argmin,
    "slice": lambda x, index: x[index],
    "place": lambda g, index, shape: placed(g, index, shape),
    "gather": lambda x, *arrays, index: x[fill(index, arrays)],
    "roll": lambda x, shift, axis: np.roll(x, shift, axis),
    "scatter_add": lambda g, *arrays, index, shape: placed(g, fill(index, arrays), shape),
    "assign": assigned,
    "barrier": lambda x, *others: x,
    "argsort": lambda x, axis: np.argsort(x, axis, kind="stable"),
    "transpose": np.transpose,
    "reshape": np.reshape,
    "broadcast_to": lambda x, shape: np.zeros(shape) + x,
    "concatenate": lambda *xs, axis: np.concatenate(xs, axis),
    "inv": lambda a: np.linalg.solve(a, np.broadcast_to(np.eye(a.shape[-1]), a.shape)),
    "solve": lambda a, b: np.linalg.inv(a) @ b,
    "cofactor": cofactor,
    "det": lambda a: np.prod(np.linalg.eigvals(a), axis=-1).real,
    "slogdet_sign": lambda a: np.sign(np.linalg.det(a)),
    "logabsdet": lambda a: np.log(np.abs(np.linalg.det(a))),
    "cholesky": np.linalg.cholesky,
    "eigh": lambda a, uplo: side_by_side(*reversed(np.linalg.eigh(symmetric(a, uplo)))),
    "eig": lambda a: side_by_side(*reversed(np.linalg.eig(a))),
    "dft": dft,
    "real_dft": lambda x: dft(np.stack([x, 0 * x], -1), -1)[..., : x.shape[-1] // 2 + 1, :],
    "inverse_real_dft": lambda x, n: dft(mirrored(x, n), 1)[..., 0],
    "svd": lambda a: side_by_side(*full_svd(a)),
    "qr": lambda a: side_by_side(*full_qr(a)),
    "orthogonal_complement": complement,
    "pinv": lambda a, rtol: np.linalg.pinv(a),
    "norm2": lambda x, axis, keepdims: np.sum(np.abs(x) ** 2, axis=axis, keepdims=keepdims) ** 0.5,
    "searchsorted": np.searchsorted,
    **{name: getattr(getattr(scipy, found[0][0]), found[0][1]) for name, found in SPECIAL.items() if found},
    "xlogy": scipy.special.xlogy,
    "xlog1py": scipy.special.xlog1py,
    "windows": windowed,
    "overlap_add": lambda g, axes, shape, **attrs: adjoint(
        lambda x: windowed(x, axes, g.shape[g.ndim - len(axes) :], **attrs), shape, g
    ),
    "conv": correlated,
    "conv_input": lambda y, w, space, **attrs: adjoint(
        lambda x: correlated(x, w, **attrs), (y.shape[0], w.shape[0] * attrs["groups"], *space), y
    ),
    "conv_weight": lambda x, y, size, **attrs: adjoint(
        lambda w: correlated(x, w, **attrs), (x.shape[1] // attrs["groups"], *size, y.shape[1]), y
    ),
    "max_pool": lambda x, **attrs: pooled(x, x, **attrs),
    "pool_like": pooled,
    "unpool": lambda g, x, **attrs: adjoint(lambda v: pooled(v, x, **attrs), x.shape, g),
    "uniform": lambda counter, **attrs: ops.random.uniform(counter, **attrs),  # its own test: test_random.py
} | {
    name: getattr(np, name)
    for name in (
        "add subtract multiply divide negative power square exp expm1 log log1p sqrt log2 log10 exp2 logaddexp cbrt "
        "sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh hypot absolute sign maximum "
        "minimum floor ceil rint trunc equal not_equal less less_equal greater greater_equal logical_and logical_or "
        "logical_xor logical_not isnan isinf isfinite signbit bitwise_and bitwise_or bitwise_xor invert left_shift "
        "right_shift floor_divide remainder fmod fmax fmin logaddexp2"
    ).split()
}


def test_every_row_has_an_oracle() -> None:
    assert set(ORACLES) >= {op.name for op in ROWS}


@for_each(("op", "example"), cases(ROWS))
def test_value(op: Operation, example: Example) -> None:
    found = evaluate(op, example.inputs, example.attrs)
    expected = np.asarray(ORACLES[op.name](*example.inputs, **example.attrs))
    assert found.shape == expected.shape
    close(found, expected, 1e-13, op.name)
    tensor = apply(op, tuple(Tensor(np.array(x)) for x in example.inputs), dict(example.attrs))
    np.testing.assert_array_equal(tensor.value, found)


@for_each(("op", "example"), cases(SMOOTH))
def test_jacobian(op: Operation, example: Example) -> None:
    check_first_order(op, example)


@for_each(("op", "example"), cases(SMOOTH))
def test_recorded_pass_gives_the_same(op: Operation, example: Example) -> None:
    g = np.random.default_rng(2).normal(size=evaluate(op, example.inputs, example.attrs).shape)
    on_arrays = cotangents(op, example.inputs, example.attrs, g, graph=False)
    on_tensors = cotangents(op, example.inputs, example.attrs, g, graph=True)
    for a, b in zip(on_arrays, on_tensors, strict=True):
        close(b, a, 1e-14, op.name)
        assert a.dtype == b.dtype


@for_each(("op", "example"), cases(SMOOTH))
def test_forward_derivative_agrees_with_the_reverse_pass(op: Operation, example: Example) -> None:
    """⟨g, J v⟩ = ⟨Jᵀ g, v⟩, where J v is taken from a reverse pass with a recorded cotangent of zeros."""
    rng = np.random.default_rng(3)
    places = [k for k, x in enumerate(example.inputs) if real(x)]
    directions = [rng.normal(size=np.shape(example.inputs[k])) for k in places]

    def f(*values: Any) -> Any:
        given = dict(zip(places, values, strict=True))
        return apply(op, tuple(given.get(k, x) for k, x in enumerate(example.inputs)), dict(example.attrs))

    out, moved = jvp(f, tuple(np.array(example.inputs[k], float) for k in places), tuple(directions))
    g = rng.normal(size=np.shape(out))
    back = cotangents(op, example.inputs, example.attrs, g, graph=False)
    close(np.sum(g * moved), sum(np.sum(v * b) for v, b in zip(directions, back, strict=True)), 1e-10, op.name)


@for_each(("op", "example"), cases(op for op in SMOOTH if not op.flat), every=12)
def test_gradient_of_the_gradient(op: Operation, example: Example) -> None:
    check_second_order(op, example)


@for_each("dtype", [np.float32, np.float64])
@for_each(("op", "example"), cases(ROWS))
def test_shape_and_dtype(op: Operation, example: Example, dtype: Any) -> None:
    """The rule, the kernel, the traced and the eager node all say the same; and so do their gradients."""
    example = in_dtype(example, dtype)
    arrays = [np.asarray(x) for x in example.inputs]
    found = evaluate(op, arrays, example.attrs)
    shape, kind = op.shape(*arrays, **example.attrs)
    assert (tuple(shape), np.dtype(kind)) == (found.shape, found.dtype)
    node, leaves = traced(op, arrays, example.attrs)
    assert (node.shape, node.dtype, node.value) == (found.shape, found.dtype, None)
    if real(found) and "dtype" not in example.attrs and any(real(x) for x in arrays):
        assert found.dtype == dtype
    if not op.differentiable:
        return
    with Recording("a cotangent") as recording:
        seed = traced_leaf(node.shape, node.dtype, frozenset({recording}))
    wanted = [x for x in leaves if x.dtype.kind == "f"]
    for leaf, g in zip(wanted, reverse([node], [seed], wanted)[0], strict=True):
        assert (tuple(g.shape), g.dtype) == (leaf.shape, leaf.dtype)
    eager = cotangents(op, arrays, example.attrs, np.ones(found.shape), graph=False)
    assert [(g.shape, g.dtype) for g in eager] == [(x.shape, x.dtype) for x in wanted]


@for_each(("op", "example"), cases(ROWS))
def test_float32_is_close_to_float64(op: Operation, example: Example) -> None:
    if "dtype" in example.attrs:
        return
    low = in_dtype(example, np.float32)
    high = in_dtype(low, np.float64)
    close(evaluate(op, low.inputs, low.attrs), evaluate(op, high.inputs, high.attrs), 2e-5, op.name)
    if op.differentiable:
        g = np.ones(evaluate(op, high.inputs, high.attrs).shape)
        for a, b in zip(*(cotangents(op, e.inputs, e.attrs, g, graph=False) for e in (low, high)), strict=True):
            close(a, b, 2e-4, op.name)


@for_each("dtype", [np.float32, np.float64])
@for_each(("op", "example"), cases(op for op in ROWS if op.kernel is not None and op.kind != VIEW))
def test_out_is_filled(op: Operation, example: Example, dtype: Any) -> None:
    example = in_dtype(example, dtype)
    arrays = [np.asarray(x) for x in example.inputs]
    expected = evaluate(op, arrays, example.attrs)
    assert op.kernel is not None
    for filling in (np.nan, 7) if expected.dtype.kind == "f" else (1, 0):
        out = np.full(expected.shape, filling, expected.dtype)
        assert op.kernel(*arrays, out=out, **example.attrs) is out
        np.testing.assert_array_equal(out, expected)
    for k in may_overwrite(op, arrays, expected):
        copies = [x.copy() for x in arrays]
        result = op.kernel(*copies, out=copies[k], **example.attrs)
        assert result is copies[k]
        np.testing.assert_array_equal(result, expected)
    strided = np.full((*expected.shape, 2), 3, expected.dtype)[..., 0]
    op.kernel(*arrays, out=strided, **example.attrs)
    np.testing.assert_array_equal(strided, expected)


@for_each(("op", "example"), cases(ROWS))
def test_inputs_in_any_memory_layout(op: Operation, example: Example) -> None:
    arrays = [np.asarray(x) for x in example.inputs]
    backwards = [np.flip(np.flip(x).copy()) for x in arrays]
    spaced = [np.repeat(x[..., None], 2, -1)[..., 0] for x in arrays]
    fortran = [np.array(x, order="F") for x in arrays]
    expected = evaluate(op, arrays, example.attrs)
    for layout in (backwards, spaced, fortran):
        before = [x.copy() for x in layout]
        close(evaluate(op, layout, example.attrs), expected, 1e-14, op.name)
        for x, y in zip(layout, before, strict=True):
            np.testing.assert_array_equal(x, y)  # inputs are never written
        if op.differentiable:
            g = np.ones(expected.shape)
            for a, b in zip(
                cotangents(op, arrays, example.attrs, g, graph=False),
                cotangents(op, layout, example.attrs, g, graph=False),
                strict=True,
            ):
                close(b, a, 1e-13, op.name)


@pytest.mark.parametrize(
    ("op", "inputs", "gradients"), [pytest.param(op, *k, id=op.name) for op in ROWS for k in op.kinks]
)
@pytest.mark.parametrize("graph", [False, True])
def test_kinks_have_the_stated_subgradient(op: Operation, inputs: Any, gradients: Any, graph: bool) -> None:
    found = cotangents(op, [np.asarray(x) for x in inputs], {}, 1.0, graph=graph)
    assert [float(g) for g in found] == list(gradients)


def as_expression(op: Operation, example: Example) -> Expression:
    inputs = [np.asarray(x) for x in example.inputs]
    kinds = [x.dtype.kind if x.dtype.kind in "fb" else "i" for x in inputs]
    names = [name(f"x{i}", x.shape, kind) for i, (x, kind) in enumerate(zip(inputs, kinds, strict=True))]
    return make(op, *names, **example.attrs)


@for_each("op", ROWS, ids=lambda op: op.name)
def test_formula(op: Operation) -> None:
    """Every row is written as text and as LaTeX; both show all inputs and close what they open."""
    for example in points(op):
        e = as_expression(op, example)
        shown = [f"x{i}" for i in range(len(e.inputs))]
        text, latex = text_form(e), latex_form(e)
        assert all(display_name(x) in text for x in shown), text
        assert all(f"x_{{{i}}}" in latex for i in range(len(shown)))
        assert text.isprintable() and latex.isascii(), latex
        for opening, closing in ("()", "[]"):
            assert text.count(opening) == text.count(closing) and latex.count(opening) == latex.count(closing)
        braces = latex.replace(r"\{", "").replace(r"\}", "")
        assert braces.count("{") == braces.count("}") and latex.count(r"\left") == latex.count(r"\right")
        assert dimensions(e).endswith(f"→ {'×'.join(map(str, e.shape)) or 1}")


@for_each(("op", "example"), cases(ROWS))
def test_numpy_source(op: Operation, example: Example) -> None:
    """Every row's source runs with NumPy and SciPy alone, defines what they lack, and gives the row's values."""
    e, helpers = as_expression(op, example), Helpers()
    line = NumpyPrinter(str, helpers.name).form(e)
    inputs = {f"x{i}": np.asarray(x) for i, x in enumerate(example.inputs)}
    made: dict[str, Any] = {
        "np": np,
        "scipy": scipy,
        "__builtins__": {f.__name__: f for f in (int, float, range, slice, len, enumerate)},
    }
    with np.errstate(all="ignore"):
        for text in helpers.texts:
            exec(text, made)
        found = np.asarray(eval(line, {**made, **inputs}))
    expected = evaluate(op, example.inputs, example.attrs)
    assert found.shape == expected.shape
    close(found, expected, 1e-12, f"{op.name}: {line}")
    close(np.asarray(e.value(inputs)), expected, 1e-15, op.name)


@for_each("op", ROWS, ids=lambda op: op.name)
def test_flops_are_counted(op: Operation) -> None:
    if op.flops is None:
        assert not op.differentiable or op.name in ("cast",)
        return
    for example in points(op):
        out = evaluate(op, example.inputs, example.attrs)
        count = op.flops(out.shape, *[np.shape(x) for x in example.inputs], **example.attrs)
        assert isinstance(count, int) and count >= 0


@pytest.mark.parametrize("op", [op for op in ROWS if op.commutative], ids=lambda op: op.name)
def test_commutative_rows_commute(op: Operation) -> None:
    for example in points(op):
        a, b = example.inputs
        np.testing.assert_array_equal(evaluate(op, (a, b), {}), evaluate(op, (b, a), {}))


@pytest.mark.parametrize(("op", "example"), cases(op for op in SMOOTH if op.flat))
def test_flat_rows_have_zero_gradients(op: Operation, example: Example) -> None:
    for g in cotangents(op, example.inputs, example.attrs, 1.0 + 0 * evaluate(op, example.inputs, {}), graph=False):
        assert not g.any()


# -- hand-computed, one a family -------------------------------------------------------------------


def test_by_hand() -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0], [6.0]])
    assert evaluate(ops.row("matmul"), (a, b), {}).tolist() == [[17.0], [39.0]]
    assert [g.tolist() for g in cotangents(ops.row("matmul"), (a, b), {}, [[1.0], [10.0]], graph=False)] == [
        [[5.0, 6.0], [50.0, 60.0]],
        [[31.0], [42.0]],
    ]
    (g,) = cotangents(ops.row("det"), (a,), {}, 1.0, graph=False)
    close(g, [[4.0, -3.0], [-2.0, 1.0]], 1e-14)
    (g,) = cotangents(ops.row("tanh"), (np.array(0.5),), {}, 2.0, graph=False)
    assert math.isclose(g, 2 / math.cosh(0.5) ** 2, rel_tol=1e-15)
    every = {"axis": (0,), "keepdims": False}
    (g,) = cotangents(ops.row("prod"), (np.array([2.0, 0.0, 5.0]),), every, 1.0, graph=False)
    assert g.tolist() == [0.0, 10.0, 0.0]
    (g,) = cotangents(ops.row("max"), (np.array([1.0, 3.0, 3.0]),), every, 1.0, graph=False)
    assert g.tolist() == [0.0, 0.5, 0.5]  # ties share
    (g,) = cotangents(ops.row("norm2"), (np.array([3.0, 4.0]),), every, 10.0, graph=False)
    assert g.tolist() == [6.0, 8.0]
    (g,) = cotangents(ops.row("norm2"), (np.zeros(2),), every, 10.0, graph=False)
    assert g.tolist() == [0.0, 0.0]  # the origin: subgradient 0
    (g,) = cotangents(ops.row("cumsum"), (np.zeros(3),), {"axis": 0}, [1.0, 10.0, 100.0], graph=False)
    assert g.tolist() == [111.0, 110.0, 100.0]


# -- a test of the tests: rules that are wrong are caught ------------------------------------------

WRONG = [
    ("tanh", (lambda g, out, x: g * (1.0 + out * out),)),
    ("tanh", (lambda g, out, x: g * (1.0 - out * out) * (1 + 1e-6),)),
    ("matmul", (lambda g, out, a, b: g @ b.T, lambda g, out, a, b: a @ g)),
    ("divide", (lambda g, out, a, b: g / b, lambda g, out, a, b: g * out / b)),
    ("sum", (lambda g, out, x, axis, keepdims: np.broadcast_to(np.sum(g) / x.size, x.shape),)),
    ("sigmoid", (lambda g, out, x: g * out,)),
    ("inv", (lambda g, out, a: -(out @ g @ out),)),
]


@pytest.mark.parametrize(("name", "vjp"), WRONG)
def test_a_wrong_rule_is_caught(name: str, vjp: Any) -> None:
    wrong = replace(ops.row(name), vjp=vjp)
    shapes = [e for e in points(ops.row(name)) if all(np.ndim(x) == 2 and np.size(x) for x in e.inputs)] or points(
        wrong
    )
    if name == "matmul":
        square = np.random.default_rng(0).normal(size=(2, 3, 3))
        shapes = [Example((square[0], square[1]))]
    with pytest.raises(AssertionError):
        check_first_order(wrong, shapes[0])


WRONG_SPELLINGS: list[tuple[str, dict[str, Any]]] = [
    ("tanh", {"numpy": np.sinh}),
    ("relu", {"numpy": "np.minimum({0}, 0.0)"}),
    ("sum", {"numpy": np.mean}),
    ("sigmoid", {"definition": lambda x: 1.0 / (1.0 + np.exp(x))}),
    ("scatter_add", {"numpy": ops.row("place").numpy}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG_SPELLINGS)
def test_wrong_numpy_source_is_caught(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        test_numpy_source(replace(ops.row(name), **wrong), points(ops.row(name))[0])


def test_a_row_without_a_definition_is_caught() -> None:
    nowhere = replace(ops.row("erf"), definition=None)  # the kernel cannot be traced
    with pytest.raises((AssertionError, TypeError, ValueError)):
        test_numpy_source(nowhere, points(nowhere)[0])


def test_a_wrong_second_derivative_is_caught() -> None:
    # right in value, but the part of the rule that depends on x is hidden from the graph
    hidden = replace(ops.row("square"), vjp=(lambda g, out, x: g * 2.0 * ops.stop_gradient(x),))
    check_first_order(hidden, points(hidden)[0])
    with pytest.raises(AssertionError):
        check_second_order(hidden, points(hidden)[0])


def test_incomplete_rows_cannot_exist() -> None:
    row = ops.row("exp")
    with pytest.raises(TypeError, match="neither a domain nor examples"):
        replace(row, domain=())
    with pytest.raises(TypeError, match="has no reverse rule"):
        replace(row, vjp=(None,))
    with pytest.raises(TypeError, match="exactly one of kernel and expand"):
        replace(row, kernel=None)
    with pytest.raises(TypeError, match="exactly one of kernel and expand"):
        replace(row, expand=lambda x: x)
    with pytest.raises(TypeError, match="expected one of"):
        replace(row, kind="other kind")
    with pytest.raises(ValueError, match="is in the table already"):
        ops.table.register("exp", row.shape, row.vjp, kernel=row.kernel, domain=row.domain)
    with pytest.raises(KeyError, match="no operation 'exq'"):
        ops.row("exq")


def test_elementwise_rows_are_written_so() -> None:
    assert all(op.domain or op.examples for op in ROWS if op.kind == ELEMENTWISE)


# -- facts that consumers ask for ------------------------------------------------------------------


@pytest.mark.parametrize(("op", "example"), cases(op for op in ROWS if op.definition is not None))
def test_definition(op: Operation, example: Example) -> None:
    """A definition runs on tensors, uses other rows alone, and gives the row's values."""
    node, leaves = traced(op, [np.asarray(x) for x in example.inputs], example.attrs)
    assert op.definition is not None
    result = op.definition(*leaves, **example.attrs)
    assert (result.shape, result.dtype) == (node.shape, node.dtype)
    steps = [n for n in topological([result]) if n.op is not None]
    assert steps and op not in {n.op for n in steps}
    for leaf, x in zip(leaves, example.inputs, strict=True):
        leaf.value = np.asarray(x)
    with np.errstate(all="ignore"):
        for n in steps:
            n.value = np.asarray(n.op.evaluate(*[x.value for x in n.inputs], **n.attrs))
    close(result.value, evaluate(op, example.inputs, example.attrs), 1e-12, op.name)


@for_each("op", ROWS, ids=lambda op: op.name)
def test_linearity(op: Operation) -> None:
    """A row is linear in an input iff its differences along it do not depend on where they are taken."""
    example = next(e for e in points(op) if all(np.size(x) for x in e.inputs))
    rng = np.random.default_rng(3)
    for k, x in enumerate(example.inputs):
        if not real(x) or not op.differentiable or op.rule(k) is None:
            assert k not in op.linear
            continue
        moved = 0.01 * rng.normal(size=np.shape(x))
        at = [[np.asarray(y) + s * moved if j == k else y for j, y in enumerate(example.inputs)] for s in (0, 1, 2)]
        a, b, c = (evaluate(op, inputs, example.attrs).astype(float) for inputs in at)
        straight = bool(np.all(np.abs(c - 2 * b + a) <= 1e-12 * (1 + np.abs(a))))
        assert (k in op.linear) == straight or (op.kinks and straight) or op.name in ("max", "min", "max_pool")


@for_each(("op", "example"), cases(ROWS))
def test_what_passes_values(op: Operation, example: Example) -> None:
    found, (first, *_) = evaluate(op, example.inputs, example.attrs), example.inputs
    same = np.array_equal(np.unique(found), np.unique(np.asarray(first)))
    assert same or not op.passes or not found.size


def test_rows_are_found_by_functions() -> None:
    assert row_of(np.add) is ops.row("add") and row_of(np.sum) is ops.row("sum")
    assert row_of(np.maximum) is ops.row("maximum") and row_of(np.fabs) is ops.row("absolute")
    assert row_of(ops.sigmoid) is ops.row("sigmoid") and row_of(np.linalg.inv) is ops.row("inv")
    with pytest.raises(KeyError, match="var"):
        row_of(np.var)
