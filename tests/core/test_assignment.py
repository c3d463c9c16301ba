"""Assignment, in-place operators, views and aliases: programs give on tensors what they give on NumPy's arrays."""

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Parameter, Tensor
from tests.core.programs import check
from tests.tables import in_turn

X = np.array([[0.5, -1.5, 2.5, 0.25], [3.5, 0.75, -5.5, 1.25], [1.5, -0.5, 0.35, 2.25]])
Y = np.array([1.2, -0.7, 0.4, 2.1])

#: Programs, each a function of a (3, 4) array and a (4,) array to a number or an array.
PROGRAMS: list[Callable[..., Any]] = []
#: Those that need values: they can't be compiled.
EAGER: list[Callable[..., Any]] = []


def program(f: Callable[..., Any]) -> Callable[..., Any]:
    PROGRAMS.append(f)
    return f


def eager(f: Callable[..., Any]) -> Callable[..., Any]:
    EAGER.append(f)
    return f


@program
def alias(x, y):
    z = x
    z *= 2
    return x * y


@program
def rows(x, y):
    for r in x:
        r -= r.mean()
    return x**2


@program
def old_values_stay_in_what_was_computed(x, y):
    before = x * y
    x[1] = y**2
    after = x * y
    x += 1
    return before * after + x


@program
def fill_zeros(x, y):
    z = np.zeros_like(y)
    for i in range(4):
        z[i] = y[i] ** 2 + (z[i - 1] if i else 0)
    return z


@program
def fill_another_shape(x, y):
    z = np.zeros_like(y, shape=(2, 5))
    z[0, 1:] = y
    z[1, ::2] = x[0, :3]
    z[..., -1] *= 3
    return z


@program
def likes(x, y):
    a, b, c = np.ones_like(x), np.full_like(y, 2.5), np.empty_like(x)
    a[0] = y
    b[1:] *= y[1:]
    c[...] = 0
    c[:, 1] = a[:, 0] * b[0]
    d = np.full_like(x, y[0] * 2)
    d[1, 1] = 0
    return a + b + c + d


@program
def scalar_mask(x, y):
    x[x < 0] = 0
    y[y > 1] = x[0, 0] ** 2
    return x @ y


@eager
def mask_in_place(x, y):
    x[x < 0] *= 3
    m = x > 1
    x[m] = x[m] ** 2
    x[m & (x < 5)] += np.arange(np.sum(m & (x < 5)))
    return x * y


@program
def row_mask(x, y):
    x[np.array([True, False, True])] = y * 2
    x[:, np.array([False, True, True, False])] -= 1
    return x * y


@program
def repeated_indices(x, y):
    i = np.array([0, 2, 0, -1])
    x[i] += 1
    x[i, np.array([1, 1, 1, 2])] = y
    y[[1, 1, 3]] = x[0, :3]
    return x * y


@program
def add_at(x, y):
    np.add.at(x, (np.array([0, 0, 1]), np.array([1, 1, 2])), y[:3])
    np.subtract.at(y, [0, 0, 3], np.array([1.0, 2.0, 3.0]) * x[0, 0])
    np.multiply.at(y, np.array([1, 1, 2]), x[1, :3])
    np.add.at(x, 1, 2.0)
    return x * y


@program
def steps_and_new_axes(x, y):
    x[::2, ::-1] = y
    x[1, None, 1:3] = y[None, :2]
    x[..., 0] = y[:3]
    x[1:1] = 5.0
    x[:, 1:2] = y[:3, None]
    x[0:1] = y[None, None]
    return x


@program
def replaced_in_place(x, y):
    view = x[:, 1]
    x[0, :2] = np.array([np.nan, np.inf])
    np.nan_to_num(x, copy=False, nan=-2.0, posinf=0.5)
    return x * y + view[:, None]


@program
def overlap(x, y):
    x[:, 1:] = x[:, :-1]
    y[1:] += y[:-1]
    y[:] = y[::-1]
    x[...] = x[::-1] * 2
    return x * y


@program
def views_of_views(x, y):
    v = x[1:]
    w = v[:, ::2]
    u = w.T
    u[0] = y[:2] * 3
    v *= 2
    w[1, 1] = y[0]
    x[2, 2] += 1
    return np.sum(v * v) + np.sum(w) * u + np.sum(x[:2, :2])


@program
def shapes(x, y):
    flat = x.reshape(-1)
    t = x.T
    t[1] = y[:3]
    flat[::5] *= 2
    x.ravel()[3] = 7
    np.swapaxes(x, 0, 1)[2, 0] = y[1] ** 2
    np.moveaxis(x, 0, 1)[3] += 1
    np.expand_dims(x, 1)[:, 0, 0] -= y[:3]
    np.squeeze(x[None])[1, 1] = y[2]
    a, b = np.split(x, 2, axis=1)
    a += b
    return np.sum(flat * flat) + t


@program
def reshape_that_copies(x, y):
    c = x.T.reshape(-1)
    c[0] = 100.0
    d = x[:, :2].reshape(-1)
    x[0, 0] = y[0]
    return np.sum(c) * x + np.sum(d)


@program
def stale_views(x, y):
    d = np.diagonal(x)
    e = np.diag(x[:, 1:])
    b = np.broadcast_to(y, (3, 4))
    s = y[1]
    x[1, 1] = y[3]
    y += 1
    return x * b * s + np.sum(d) * np.sum(e)


@program
def numbers_are_not_views(x, y):
    s = x[0, 0]
    best = s
    s += y[0]
    s *= 2
    total = np.sum(x)
    first = total
    total -= 5
    v = x[0, 0, ...]
    v += 3
    return best * s + first * total + x[0]


@program
def arrays_without_axes(x, y):
    z = np.zeros_like(y[0])
    same = z
    z += y[1]
    z[...] += 1
    z[()] *= x[0, 0]
    w = np.copy(y[2])
    twin = w
    w *= 2
    return same * z + twin


@program
def copies(x, y):
    a, b, c, d = x.copy(), copy.deepcopy(x), copy.copy(y), np.copy(y)
    e, f, g = +x, x.astype(x.dtype), x.flatten()
    nest = copy.deepcopy({"x": x, "list": [y, y]})
    x *= 2
    a[0] += 1
    b[1] = y
    c -= 3
    d[0] = 0
    e[2] = 1
    f[0] *= 2
    g[3] = y[1]
    nest["list"][0] += 1
    return a * b * c * d + e * f + np.sum(g) + nest["x"] * nest["list"][1]


@program
def dictionaries(x, y):
    p = {"w": x, "b": y}
    w, b = p["w"], p["b"]
    w -= 0.1 * w**2
    p["b"] += np.sum(w, axis=0)
    return w * b + p["w"] * y


@program
def function_that_writes(x, y):
    def scale(a, by):
        a *= by
        a[0] = 0
        return a

    z = scale(x[1:], 3.0)
    scale(y, x[2, 2])
    return z + x[:2] * y


@program
def closure(x, y):
    total = np.zeros_like(y)

    def add(r):
        total[:] = total + r

    for r in x:
        add(r * y)
    return total


@program
def out_arguments(x, y):
    z = np.zeros_like(x)
    np.multiply(x, y, out=z)
    np.add(z, 1, z)
    w = np.zeros_like(y)
    np.sum(z, axis=0, out=w)
    np.exp(w / 50, out=w)
    x.clip(-1, 2, out=x)
    np.sqrt(np.abs(x), out=z, where=np.array([True, False, True, True]))
    np.cumsum(y, 0, None, y)
    y.cumsum(out=y)
    np.matmul(x, y, out=w[:3])
    return z * w + x * y


@program
def functions_that_write(x, y):
    np.copyto(x[1], y)
    np.copyto(x, 2.0, where=np.array([[True], [False], [False]]))
    np.put(y, [0, 2], x[2])
    np.put_along_axis(x, np.array([[0], [1], [2]]), y[:3, None], axis=1)
    np.putmask(y, np.array([True, False, False, True]), y * 3)
    x[:2].fill(y[1])
    np.fill_diagonal(x[:, :3], y[:3])
    z = np.zeros_like(x)
    np.place(z, z == 0, y)
    x.flat[::3] = y
    x.flat = x.T.flat
    x.put([1], y[2])
    return x * y + z


@program
def sorting(x, y):
    x[0].sort()
    y.sort()
    x.sort(axis=0)
    return x * y


@program
def in_place_operators(x, y):
    a = np.abs(x) + 1
    a **= 2
    a /= y
    a -= 1
    a *= a
    b = x * 10
    b //= 3.3
    b %= 2.0
    a += b
    m = x[:, :3] + 0
    m @= np.diag(y[:3])
    return a * y + np.sum(m)


@program
def comparison_arrays(x, y):
    m = x > 1
    m[0] = True
    m &= y > 0
    i = np.argsort(y)
    i[0] = 2
    return np.where(m, x, 0.0) + y[i]


@program
def integers(x, y):
    n = np.zeros_like(y, dtype=int)
    n[0] = 3
    n += 2
    n[1:] = y[1:] * 10.3
    return n * y


@program
def plain_arrays_beside(x, y):
    buffer = np.zeros(4)
    total = 0.0
    for i in range(3):
        buffer[:] = i
        buffer[i] += 1
        total = total + x[i] * buffer
    buffer[...] = 9
    return total * y


@program
def triangular_solve(x, y):
    a = np.abs(x[:, :3]) + 3 * np.eye(3)
    z = np.zeros_like(y, shape=(3,))
    for i in range(3):
        z[i] = (y[i] - a[i, :i] @ z[:i]) / a[i, i]
    return z


@program
def heat_equation(x, y):
    u = y.copy()
    for _ in range(3):
        u[1:-1] += 0.1 * (u[2:] - 2 * u[1:-1] + u[:-2])
        u[0] = u[-1] = 0
    return u * x


@program
def lists(x, y):
    x[0] = [y[0], 1.0, y[1] * 2, 3]
    y[:2] = (x[0, 0], 5)
    rows = [x[i] for i in range(3)]
    for r in rows:
        r += y
    parts = list(x)
    parts[0] = parts[0] * 2
    return x + np.stack(parts) + np.append(y[:1], [y[1], y[2], 4.0]) + np.concatenate([[y[0], 2.0], y[:2]])


@program
def constants_put_into_views(x, y):
    z = x[1:]
    w = z[1:]
    x = x * 2
    z[:] = 3.0
    w += 1
    v = y[1:]
    v.fill(2.0)
    v[1:][0] = 7.0
    return x + z[0] + w[0] ** 2 * y


@eager
def positions(x, y):
    i = np.where(y > 0)
    y[i] = y[i] ** 2
    x[np.where(x < 0)] = 0.0
    return x * y


@program
def converted(x, y):
    z = y.astype(float, copy=False)
    w = y.astype(np.float64)
    w[0] = 5.0
    return x * z + w


@program
def nested_gradient(x, y):
    store = np.zeros_like(y)

    def inner(w):
        w = w * 1.0
        w[0] = w[1] ** 2
        store[1] = store[1] + w[0]
        return np.sum(w**2 * y)

    g = cr.grad(inner)(y) if isinstance(y, Tensor) else inner_gradient(y, store)
    return np.sum(g) * x[0] + store


def inner_gradient(y, store):
    """The gradient of ``inner`` at y, and what it writes, by hand."""
    store[1] = store[1] + y[1] ** 2
    return np.array([0.0, 4 * y[1] ** 3 * y[0] + 2 * y[1] * y[1], 2 * y[2] * y[2], 2 * y[3] * y[3]])


@pytest.mark.parametrize("f", in_turn(PROGRAMS, every=2), ids=lambda f: f.__name__)
def test_program(f: Callable[..., Any]) -> None:
    check(f, (X, Y), second=f is not sorting)


@pytest.mark.parametrize("f", EAGER, ids=lambda f: f.__name__)
def test_program_that_needs_values(f: Callable[..., Any]) -> None:
    check(f, (X, Y), compiled=False)


# -- what raises -----------------------------------------------------------------------------------


def test_leaves_with_a_standing_gradient_are_not_written() -> None:
    w, p = cr.tensor(X, requires_grad=True), Parameter(X, name="W")

    def add(t: Any) -> None:
        t += 1

    for leaf, name, how in ((w, "requires_grad=True", r"y = x\.copy\(\)"), (p, "parameter W", r"p\.assign")):
        writes = (
            lambda t: t.__setitem__(0, 1),
            add,
            lambda t: t[0].fill(1),
            lambda t: np.add(t, 1, out=t),
            Tensor.sort,
        )
        for write in writes:
            with pytest.raises(TypeError, match=rf"assignment into a .*{name}.*leaf.*{how}"):
                write(leaf)
        np.testing.assert_array_equal(leaf.value, X)
    y = w.copy()
    y[0] = 0
    y *= w
    np.sum(y).backward()
    np.testing.assert_array_equal(w.grad, np.vstack([0 * X[0], 2 * X[1:]]))


def test_read_only_views_and_numbers_are_not_written() -> None:
    t = cr.tensor(X)
    for view in (np.broadcast_to(t, (2, 3, 4)), np.diagonal(t), np.broadcast_to(t[0], (2, 4))[1], np.diag(t[:, :3])):
        with pytest.raises(ValueError, match=r"assignment destination is read-only: .*x\.copy\(\)"):
            view[...] = 0
    with pytest.raises(TypeError, match="number"):
        t[0, 0][...] = 1
    np.testing.assert_array_equal(t.value, X)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "diagonal": np.diagonal,
    "diagonal of a part": lambda x: np.diag(x[:, 1:]),
    "diagonals": lambda x: np.diagonal(x.reshape(2, 3, 2), axis1=0, axis2=2),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=0),
    "transposed": lambda x: x.T[:, :1],
    "column": lambda x: x[:, 1],
    "row": lambda x: x[1, ::-1],
    "broadcast": lambda x: np.broadcast_to(x, (2, 3, 4)),
    "one element": lambda x: x[1:2, 1:2].T,
}
FLAT: dict[str, Callable[[Any], Any]] = {
    "ravel": np.ravel,
    "reshape": lambda t: t.reshape(-1),
    "transposed": lambda t: t.T.reshape(-1),
    "rows": lambda t: np.reshape(t, (t.size // 2, -1) if t.size % 2 == 0 else (1, -1)),
    "flatten": lambda t: t.flatten(),
    "squeeze": np.squeeze,
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_that_is_reshaped_is_a_view_or_a_copy_as_numpys(view: str) -> None:
    for name, flat in FLAT.items():

        def f(x: Any) -> Any:
            x = x.copy()
            seen = flat(VIEWS[view](x))  # noqa: B023
            x[1] = x[0] * 2
            x[:, 2] -= 1.0
            return np.sum(np.cos(np.arange(seen.size)).reshape(seen.shape) * seen)

        for found in (cr.value_and_grad(f)(X)[0], cr.compile(f)(X)):
            np.testing.assert_allclose(found, f(X), rtol=1e-12, err_msg=f"{view}, {name}")


def test_shapes_and_dtypes_that_do_not_fit() -> None:
    t, n = cr.tensor(X), cr.tensor([1, 2, 3])
    with pytest.raises(ValueError, match=r"could not broadcast input array from shape \(3,\) into shape \(4,\)"):
        t[0] = np.ones(3)
    with pytest.raises(ValueError, match="broadcast"):
        t += np.ones((2, 3, 4))
    with pytest.raises(TypeError, match="from float64 to int64 with casting rule 'same_kind'"):
        n *= 0.5
    with pytest.raises(IndexError, match=r"shape \(3, 4\)"):
        t[5] = 0
    n[0] = 7.9
    np.testing.assert_array_equal(n.value, [7, 2, 3])


def test_plain_arrays_refuse_tensors() -> None:
    def assign(x: Any) -> Any:
        a = np.zeros(3)
        a[0] = x[0]
        return np.sum(a)

    def gather(join: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: np.sum(join([x[0], x[1]]))

    joins = (np.array, lambda p: np.r_[p[0], 1.0], lambda p: np.c_[p[0], p[1]], np.mean)
    for f in (assign, *map(gather, joins)):
        for use in (cr.grad(f), cr.compile(f)):
            with pytest.raises((TypeError, ValueError)) as raised:
                use(Y)
            message = str(raised.value.__cause__ or raised.value)  # NumPy raises its own error from ours
            assert re.search(r"np\.zeros_like\(tensor, shape=…\).*np\.stack", message)


def test_traced_masks_say_what_to_do() -> None:
    def f(x: Any, y: Any) -> Any:
        x[x > 0] = y[:1] * np.ones(np.sum(X > 0))
        return x

    with pytest.raises(TypeError, match=r"np\.where\(mask, values, x\)"):
        cr.compile(f)(X, Y)


def test_a_reshape_of_unknown_layout_is_not_guessed() -> None:
    def f(x: Any) -> Any:
        z = np.tanh(x.T)  # in NumPy, in the order of x.T: the reshape is a copy
        z.reshape(-1)[0] = 5.0
        return z

    np.testing.assert_array_equal(cr.vjp(f, X)[0], f(X))
    with pytest.raises(TypeError, match=r"view or a copy depends on the layout in memory.*x\.copy\(\)"):
        cr.compile(f)(X)


def test_assigned_elements_meet_no_infinite_derivative() -> None:
    def f(x: Any) -> Any:
        z = np.sqrt(x)
        z[x <= 0] = 0.0
        with np.errstate(all="ignore"):
            w = 1 / x
        w[0] = 5.0
        return np.sum(z) + np.sum(w)

    x = np.array([0.0, 4.0])
    for way in (cr.grad(f), cr.compile(cr.grad(f))):
        np.testing.assert_allclose(way(x), [0, 0.25 - 1 / 16])
    np.testing.assert_allclose(cr.hessian(f)(x), np.diag([0, -1 / 32 + 2 / 64]), atol=1e-12)


# -- copies and files ------------------------------------------------------------------------------


def test_copies_keep_the_gradient_and_pickling_says_how() -> None:
    for twin in (copy.copy, copy.deepcopy, lambda t: copy.deepcopy([t])[0]):
        np.testing.assert_array_equal(cr.grad(lambda x, twin=twin: np.sum(twin(x) * x))(Y), 2 * Y)
    with pytest.raises(TypeError, match=r"pickling would lose the gradient.*detach\(\)"):
        cr.grad(lambda x: np.sum(pickle.loads(pickle.dumps(x)) * x))(Y)
    leaf = pickle.loads(pickle.dumps(cr.tensor(Y, requires_grad=True, name="y")))
    np.sum(leaf * leaf).backward()
    np.testing.assert_array_equal(leaf.grad, 2 * Y)
    plain = pickle.loads(pickle.dumps(cr.tensor(Y) * 2))
    np.testing.assert_array_equal(plain.value, 2 * Y)
    p = copy.deepcopy(Parameter(Y, name="b"))
    np.sum(p * p).backward()
    assert p.name == "b" and np.array_equal(p.grad, 2 * Y)


def test_arguments_and_results_are_not_changed_by_later_writes() -> None:
    x = Y.copy()

    def f(x: Any) -> Any:
        x[0] *= 5
        return x[0] + np.sum(x)

    value, g = cr.value_and_grad(f)(x)
    np.testing.assert_array_equal(x, Y)
    x[...] = 9
    np.testing.assert_allclose([value, *g], [10 * Y[0] + np.sum(Y[1:]), 10, 1, 1, 1])


# -- the amount of work, and what consumers show ---------------------------------------------------


def test_views_in_a_loop_are_read_once() -> None:
    """Writing n rows through n views makes a number of nodes proportional to n."""

    def nodes(n: int) -> int:
        def f(z: Any) -> Any:
            z = z * 1.0
            rows = list(z)
            for r in rows:
                r -= np.mean(r)
            return np.sum(z**2)

        step = cr.compile(f, engine="numpy")
        step(np.ones((n, 2)))
        return len(step.plan().operations)

    assert nodes(40) - nodes(20) == nodes(60) - nodes(40)


def test_the_source_of_a_derivation_runs() -> None:
    def f(W: Any, b: Any) -> Any:
        Z = np.tanh(W)
        Z[0] = b * 2
        Z[:, 1] *= 3.0
        return np.sum(Z**2)

    derivation = cr.explain(f, X, Y)
    assert str(derivation).count("[:, 1 ← ") == 2  # forward, and zeros for it backward
    names: dict[str, Any] = {}
    exec(derivation.to_numpy(), names)
    cache = names["forward"](X, Y)
    found = names["backward"](cache, 1.0)
    dW, db = cr.grad(f, (0, 1))(X, Y)
    np.testing.assert_allclose(found["dW"], dW)
    np.testing.assert_allclose(found["db"], db)


def test_compiled_writes_are_done_in_place() -> None:
    def f(x: Any) -> Any:
        z = np.zeros_like(x) + x[0]
        for i in range(1, 50):
            z[i] = z[i - 1] * x[i]
        return np.sum(z)

    step = cr.compile(f, engine="numpy")
    step(np.ones(50))
    assert step.plan().arena < 5 * 50 * 8


def test_the_error_of_an_unknown_mask_says_what_to_write() -> None:
    def doubled(x: Any) -> Any:
        x = x + 0
        x[x > 0] *= 2
        return x

    for f in (doubled, lambda x: np.sum(x[x > 0])):
        with pytest.raises(TypeError, match=r"x\[mask\].*np\.where\(mask, x \* 2, x\).*np\.sum\(x, where=mask\)"):
            cr.compile(f)(np.array([1.0, -1.0]))
