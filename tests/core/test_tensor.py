"""The tensor: protocols, what it refuses and what it says then, dtypes, broadcasting, names."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr
from chainrule.core.node import Recording
from chainrule.core.tensor import Parameter, Tensor, traced_leaf
from tests.tables import for_each

X = np.arange(6.0).reshape(2, 3) + 0.5


def followed(f: Any, x: Any = X) -> Any:
    """Run `f` on a tensor while a gradient is taken through it."""
    return cr.grad(lambda t: (f(t), np.sum(t))[1])(x)


# -- speaking NumPy --------------------------------------------------------------------------------


def test_ufuncs_functions_and_operators_give_tensors() -> None:
    t = cr.tensor(X)
    for result in (
        np.tanh(t),
        np.sum(t),
        t + 1,
        1 + t,
        X @ t.T,
        t @ X.T,
        t[0],
        t.sum(),
        np.add(X, t),
        X * t,
        -t,
        abs(t),
    ):
        assert isinstance(result, Tensor)
    np.testing.assert_array_equal((X - t).value, np.zeros_like(X))
    np.testing.assert_array_equal((2**t).value, 2**X)
    np.testing.assert_array_equal((t % 2).value, X % 2)
    np.testing.assert_array_equal((7 // t).value, 7 // X)
    np.testing.assert_array_equal(round(t).value, np.round(X))
    np.testing.assert_array_equal(
        (~(t > 1) | (t < 2) & (t != 3) ^ (t == 4)).value, ~(X > 1) | (X < 2) & (X != 3) ^ (X == 4)
    )
    np.testing.assert_array_equal((+t).value, X)


def test_methods_are_numpys() -> None:
    t = cr.tensor(X)
    for name, args in [
        ("sum", ()), ("mean", (0,)), ("max", (1,)), ("min", ()), ("prod", ()), ("var", ()), ("std", (0,)),
        ("cumsum", (1,)),
        ("argmax", (1,)), ("argmin", ()), ("argsort", ()), ("all", ()), ("any", (0,)), ("dot", (X.T,)), ("squeeze", ()),
        ("swapaxes", (0, 1)), ("trace", ()), ("diagonal", ()), ("clip", (1, 3)), ("repeat", (2,)), ("take", ([0, 2],)),
        ("round", ()), ("copy", ()), ("ravel", ()), ("flatten", ()), ("reshape", (3, 2)), ("transpose", ()),
    ]:  # fmt: skip
        np.testing.assert_allclose(getattr(t, name)(*args).value, getattr(X, name)(*args))
    assert (t.ndim, t.size, len(t), t.shape, t.dtype) == (2, 6, 2, (2, 3), np.float64)
    assert t.T.shape == t.mT.shape == (3, 2)


def test_iteration_and_unpacking() -> None:
    a, b = cr.tensor(X)
    np.testing.assert_array_equal(a.value + b.value, X.sum(0))
    assert np.allclose(cr.grad(lambda t: sum(row[0] * row[1] for row in t))(X), [[1.5, 0.5, 0], [4.5, 3.5, 0]])
    with pytest.raises(TypeError, match="iteration over a tensor"):
        list(cr.tensor(1.0))
    with pytest.raises(TypeError, match="0 dimensions"):
        len(cr.tensor(1.0))


def test_zero_dimensions() -> None:
    t = cr.tensor(3.0)
    assert (t.shape, t.ndim, t.size, t.item(), float(t), int(t), bool(t)) == ((), 0, 1, 3.0, 3.0, 3, True)
    assert isinstance((t * 2).value, np.ndarray) and f"{t:.1f}" == "3.0"
    assert cr.tensor(2).__index__() == 2 and [10, 20, 30][cr.tensor(2)] == 30
    assert isinstance(np.sum(cr.tensor(X)).value, np.ndarray)


def test_values_leave_where_nothing_is_lost() -> None:
    t = cr.tensor(X)
    assert np.asarray(t) is t.value
    assert np.array(t).base is None
    assert np.asarray(t, np.float32).dtype == np.float32
    copied = t.numpy()
    copied[:] = 0
    assert t.value.any() and t.tolist() == X.tolist()
    with pytest.raises(ValueError, match="only by a copy"):
        np.asarray(t, np.float32, copy=False)


# -- nothing loses its gradient silently -----------------------------------------------------------


@pytest.mark.parametrize(
    "leave",
    [
        np.asarray,
        np.array,
        lambda t: np.array([t, t]),
        lambda t: np.array([t[0], t[1]]),
        lambda t: np.asarray([1.0, t[0, 0]]),
        lambda t: float(t[0, 0]),
        lambda t: int(t[0, 0]),
        lambda t: math.sin(t[0, 0]),
        lambda t: t.numpy(),
        lambda t: t.tolist(),
    ],
)
def test_leaving_is_refused_while_a_gradient_is_taken(leave: Any) -> None:
    with pytest.raises(TypeError) as error:
        followed(leave)
    assert "np.stack" in str(error.value) or "has no rule" in str(error.value)


def test_storing_into_an_array_is_refused() -> None:
    with pytest.raises(ValueError) as error:  # NumPy's own words; ours are the cause
        followed(lambda t: X.copy().__setitem__((0, 0), t[0, 0]))
    assert "would lose the gradient" in str(error.value.__cause__)


def test_leaving_on_purpose() -> None:
    followed(lambda t: np.asarray(t.detach()))
    assert np.all(followed(lambda t: t.item(), np.array(2.0)) == 1)
    g = cr.grad(lambda t: np.sum(t * t.detach()))(X)
    np.testing.assert_array_equal(g, X)
    np.testing.assert_array_equal(cr.grad(lambda t: np.sum(t * cr.stop_gradient(t)))(X), X)


def test_leaving_is_refused_for_what_requires_a_gradient() -> None:
    for t in (cr.tensor(X, requires_grad=True), Parameter(X), cr.tensor(X, requires_grad=True) * 2):
        assert t.requires_grad
        with pytest.raises(TypeError, match="would lose the gradient"):
            np.asarray(t)
    assert not cr.tensor(X).requires_grad


def test_decisions_on_values_are_allowed() -> None:
    g = cr.grad(lambda x: x * 2 if x > 1 else x * 3)
    assert (g(2.0), g(0.5)) == (2.0, 3.0)


def test_leaked_tensors_are_usable_afterwards() -> None:
    kept: list[Tensor] = []
    cr.grad(lambda t: (kept.append(np.tanh(t)), np.sum(t))[1])(X)
    (t,) = kept
    assert not t.requires_grad
    np.testing.assert_array_equal(np.asarray(t), np.tanh(X))
    assert isinstance(t + 1, Tensor) and float(t[0, 0]) == math.tanh(0.5)


def test_traced_tensors_have_no_value() -> None:
    with Recording("a trace") as recording:
        t = traced_leaf((2, 3), np.float64, frozenset({recording}))
        for use in (
            np.asarray,
            lambda t: t.item(),
            lambda t: bool(t[0, 0] > 1),
            lambda t: f"{t.sum():.3f}",
            lambda t: t[t > 0],
        ):
            with pytest.raises(TypeError, match=r"needs a value, but this tensor .* is being traced"):
                use(t)
        assert "traced" in repr(np.tanh(t))


# -- what is refused -------------------------------------------------------------------------------


def test_writing_into_plain_arrays_is_refused() -> None:
    t = cr.tensor(X)
    with pytest.raises(TypeError, match=r"writes into a plain array.*np.zeros_like\(tensor, shape=\(2, 3\)\)"):
        np.add(t, 1, out=X.copy())
    with pytest.raises(TypeError, match="writes into a plain array"):
        np.sum(t, axis=0, out=np.zeros(3))
    array = X.copy()
    with pytest.raises(TypeError, match=r"in-place operator \(a \+= tensor\)"):
        array += t
    np.testing.assert_array_equal(array, X)
    for write in (lambda a: np.add.at(a, 0, t[0]), lambda a: np.copyto(a, t), lambda a: np.put(a, 0, t[0, 0])):
        with pytest.raises(TypeError, match="plain array"):
            write(array)
    np.testing.assert_array_equal(array, X)


def test_complex_is_refused() -> None:
    for make in (
        lambda: cr.tensor(1j),
        lambda: cr.tensor([1.0, 2j]),
        lambda: cr.grad(lambda x: x)(1j),
        lambda: cr.tensor(X).astype(complex),
    ):
        with pytest.raises(TypeError, match="complex"):
            make()
    with pytest.raises(TypeError, match="complex numbers are not differentiated here"):
        complex(cr.tensor(1.0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", "not an array of real numbers"),
        (None, "not an array"),
        (np.float16(1), "float16"),
        (np.longdouble(1), "float32 or float64"),
    ],
)
def test_other_values_are_refused(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        cr.tensor(value)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_refused() -> None:
    matrix = np.matrix(np.eye(2))
    for make in (
        lambda: cr.tensor(matrix),
        lambda: cr.tensor(np.eye(2)) * matrix,
        lambda: matrix * cr.tensor(np.eye(2)),
        lambda: cr.grad(np.sum)(matrix),
        lambda: cr.compile(np.sin)(matrix),
    ):
        with pytest.raises(TypeError, match=r"numpy\.matrix.*np\.asarray"):
            make()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (np.fft.hfft, "np.fft.hfft"),
        (np.roots, "np.roots"),
        (lambda t: np.frexp(t), "np.frexp"),
        (np.histogram, "np.histogram"),
    ],
)
def test_unsupported_functions_are_named(call: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} has no rule in chainrule"):
        call(cr.tensor(X))


def test_ufunc_arguments_that_have_no_meaning_here() -> None:
    with pytest.raises(TypeError, match=r"np.add on tensors does not take where"):
        np.add(cr.tensor(X), 1, where=X > 1)
    assert np.add(cr.tensor(X), 1, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t + np.ones(4), r"add: shapes \(2, 3\) and \(4,\) do not broadcast"),
        (lambda t: t @ np.ones((2, 2)), r"matmul: shapes \(2, 3\) and \(2, 2\) do not multiply"),
        (lambda t: t @ 2.0, "use \\* instead"),
        (lambda t: t.reshape(4, 2), r"reshape: 6 elements of shape \(2, 3\) do not fit \(4, 2\)"),
        (lambda t: np.concatenate([t, np.ones((2, 2))]), "concatenate: array 1 has shape"),
        (lambda t: np.stack([t, np.ones(2)]), "stack: all arrays must have one shape"),
        (lambda t: np.split(t, 4, axis=1), "do not divide into 4 equal parts"),
        (lambda t: np.mean(t[:0]), "np.mean of no elements"),
        (lambda t: np.max(t[:0]), "max of no elements|zero-size array"),
        (lambda t: np.broadcast_to(t, (2, 4)), "does not broadcast to"),
        (lambda t: np.squeeze(t, 0), "only axes of length 1"),
        (lambda t: np.linalg.inv(t), "inv: a has shape"),
        (lambda t: np.linalg.solve(t @ t.T, np.ones(3)), "solve: a has shape"),
    ],
)
def test_shapes_that_do_not_fit(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(cr.tensor(X))
    with Recording("a trace") as recording, pytest.raises(ValueError, match=message):
        call(traced_leaf(X.shape, X.dtype, frozenset({recording})))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (2, "out of bounds"),
        ((0, 0, 0), "too many indices"),
        ([5], "index array reaches 5"),
        ("a", "integers, slices"),
        (1.5, "integers, slices"),
        (np.zeros(3, bool), "boolean index of shape"),
        (True, "a single True"),
    ],
)
def test_bad_indices(index: Any, message: str) -> None:
    with pytest.raises((IndexError, TypeError), match=message):
        cr.tensor(X)[index]


@pytest.mark.parametrize("name", ["inv", "solve", "cholesky"])
def test_singular_matrices_are_named(name: str) -> None:
    arguments = (cr.tensor(np.zeros((2, 2))),) + ((np.ones(2),) if name == "solve" else ())
    with pytest.raises(np.linalg.LinAlgError, match=f"^{name}: "):
        getattr(np.linalg, name)(*arguments)
    with pytest.raises(np.linalg.LinAlgError, match="slogdet: no gradient where the matrix is singular"):
        cr.grad(lambda a: np.where(True, np.linalg.slogdet(a)[1], 0))(np.zeros((2, 2)))


# -- dtypes ----------------------------------------------------------------------------------------

SCALARS: list[Any] = [2, 2.5, True]
DTYPES = ["bool", "int8", "uint8", "int32", "int64", "float32", "float64"]


@for_each("a", DTYPES)
@for_each("b", [*DTYPES, *SCALARS], ids=str)
@for_each("f", [np.add, np.multiply, np.divide, np.power, np.maximum, np.less, np.arctan2], ids=lambda f: f.__name__)
def test_promotion_is_numpys(a: str, b: Any, f: Any) -> None:
    x = np.ones(3, a)
    y = np.ones(3, b) if isinstance(b, str) else b
    expected = f(x, y).dtype
    if expected in (np.float16, np.int8, np.int16) and f in (np.divide, np.arctan2, np.power):
        return  # NumPy computes small integers in float16, which is no dtype of ours
    assert f(cr.tensor(x), y).dtype == expected
    assert f(y, cr.tensor(x)).dtype == f(y, x).dtype
    if isinstance(b, str):
        assert f(cr.tensor(x), cr.tensor(y)).dtype == expected
        assert f(x, cr.tensor(y)).dtype == expected


def test_python_scalars_are_weak_inside_a_derivative_too() -> None:
    x = np.ones(3, np.float32)
    seen = []
    g = cr.grad(lambda s: (seen.append((s * x).dtype), np.sum(s * x))[1])(2.0)
    assert seen == [np.float32] and g.dtype == np.float64
    assert np.sum(cr.tensor(x) * 2.0 + 1).dtype == np.float32
    assert (cr.tensor(x) * np.float64(2)).dtype == np.float64  # NumPy's scalars are not weak
    assert np.where(x > 0, cr.tensor(x), 0.0).dtype == np.float32
    assert np.clip(cr.tensor(x), 0.0, 1.0).dtype == np.float32


def test_tensor_arguments() -> None:
    assert cr.tensor([1, 2]).dtype == np.int64 and cr.tensor([1, 2], np.float32).dtype == np.float32
    with pytest.raises(TypeError, match="a gradient needs float32 or float64"):
        cr.tensor([1, 2], requires_grad=True)
    swapped = np.ones(3, ">f4")
    assert cr.tensor(swapped).dtype == np.float32
    array = X.copy()
    t = cr.tensor(array)
    array[:] = 0
    assert t.value.all()  # copied


shapes = hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1))
def test_broadcasting_forward_and_back(drawn: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (rng.normal(size=s) for s in drawn.input_shapes)
    w = rng.normal(size=drawn.result_shape)
    out, (da, db, dc) = cr.value_and_grad(lambda a, b, c: np.sum(w * (a * b - c)), argnums=(0, 1, 2))(a, b, c)
    assert np.allclose(out, np.sum(w * (a * b - c)))

    def back(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        g = g.sum(tuple(range(g.ndim - len(shape))))
        return g.sum(tuple(i for i, d in enumerate(shape) if d == 1), keepdims=True)

    for found, g, x in ((da, w * b, a), (db, w * a, b), (dc, -w, c)):
        assert found.shape == x.shape
        np.testing.assert_allclose(found, back(np.broadcast_to(g, w.shape), x.shape), atol=1e-12)


# -- names, printing, copying ----------------------------------------------------------------------


def test_names() -> None:
    x = cr.tensor(X, name="X", requires_grad=True)
    z = np.tanh(x).named("Z1")
    assert (x.name, z.name) == ("X", "Z1") and z.named("Z1") is z
    again = z.named("A0")  # has a name already: a node of its own, the first keeps its name
    assert again is not z and (z.name, again.name) == ("Z1", "A0")
    assert again.op is not None and again.op.name == "identity"
    assert "Z1" in repr(z) and "tanh" in repr(z)


def test_parameters() -> None:
    p = Parameter(X, name="W")
    p.assign(np.zeros((2, 3), np.float32))
    assert p.dtype == np.float64 and not p.value.any()
    with pytest.raises(ValueError, match=r"parameter W has shape \(2, 3\); the new value has \(3,\)"):
        p.assign(np.zeros(3))
    with pytest.raises(TypeError, match="float32 or float64"):
        Parameter([1, 2])


def test_hash_and_identity() -> None:
    t = cr.tensor(X)
    assert t in {t} and {t: 1}[t] == 1 and hash(t) != hash(cr.tensor(X))


def test_copies() -> None:
    t = cr.tensor(X, name="X")
    for twin in (copy.copy(t), copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        np.testing.assert_array_equal(np.asarray(twin), X)
        assert twin.name == "X"


def test_arrays_of_the_default_dtypes_are_no_python_numbers():
    for dtype, other in ((np.float64, np.float32), (np.int64, np.int8)):
        total = np.add(np.arange(3, dtype=dtype), cr.tensor(np.ones(3, dtype)))
        product = total * np.ones(3, other)
        assert product.dtype == dtype and np.array_equal(product.value, [1, 2, 3])
    assert np.less_equal(cr.tensor(np.array([1, 2])) - np.array([1, 1]), 0).value.tolist() == [True, False]
