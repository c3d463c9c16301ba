"""Derivatives of functions: against closed forms and finite differences, nested, over nests, and what they refuse."""

import gc
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.core.node import Recording
from chainrule.core.reverse import reverse, topological
from chainrule.core.tensor import Parameter, Tensor
from tests.ops.checking import close, derivative

rng = np.random.default_rng(0)
A = rng.normal(size=(3, 3))
X = rng.normal(size=3)


def quadratic(x: Any) -> Any:
    return 0.5 * x @ (A + A.T) @ x


def bumpy(x: Any) -> Any:
    return np.sum(np.sin(x) * np.exp(-np.square(x)) + np.tanh(A @ x) ** 3)


# -- against closed forms and finite differences ---------------------------------------------------


def test_grad_and_value() -> None:
    value, g = cr.value_and_grad(quadratic)(X)
    close(value, 0.5 * X @ (A + A.T) @ X, 1e-14)
    close(g, (A + A.T) @ X, 1e-14)
    close(cr.grad(bumpy)(X), derivative(bumpy, X).reshape(-1))


def test_vjp_and_jvp() -> None:
    def f(x: Any) -> Any:
        return np.tanh(A @ x) * x[0]

    jacobian = derivative(f, X)
    u, v = rng.normal(size=3), rng.normal(size=3)
    value, pullback = cr.vjp(f, X)
    close(value, f(X), 1e-14)
    close(pullback(u)[0], u @ jacobian)
    close(pullback(2 * u)[0], 2 * (u @ jacobian))  # more than once
    value, tangent = cr.jvp(f, (X,), (v,))
    close(value, f(X), 1e-14)
    close(tangent, jacobian @ v)
    close(cr.jacobian(f)(X), jacobian)


def test_hessian_and_hvp() -> None:
    close(cr.hessian(quadratic)(X), A + A.T, 1e-13)
    close(cr.hessian(bumpy)(X), derivative(cr.grad(bumpy), X))
    v = rng.normal(size=3)
    close(cr.hvp(bumpy, X, v), cr.hessian(bumpy)(X) @ v, 1e-13)
    close(cr.hessian(lambda x: np.sum(x**3))(np.ones((2, 2))).reshape(4, 4), 6 * np.eye(4), 1e-14)


def test_linear_functions_have_hessians_of_zeros() -> None:
    assert not cr.hessian(lambda x: np.sum(3 * x))(X).any()
    assert not cr.hvp(lambda x: np.sum(3 * x), X, X).any()


def test_several_arguments_and_keywords() -> None:
    def f(a: Any, b: Any, *, scale: Any = 1.0) -> Any:
        return np.sum(a * b**2) * scale

    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    close(cr.grad(f)(a, b, scale=2.0), 2 * b**2, 1e-14)
    close(cr.grad(f, argnums=1)(a, b), 2 * a * b, 1e-14)
    close(cr.grad(f, argnums=-1)(a, b), 2 * a * b, 1e-14)
    both = cr.grad(f, argnums=(1, 0))(a, b)
    assert isinstance(both, tuple)
    close(both[0], 2 * a * b, 1e-14)
    close(both[1], b**2, 1e-14)
    (only,) = cr.grad(f, argnums=(0,))(a, b)
    close(only, b**2, 1e-14)
    close(cr.jacobian(lambda a, b: a * b, argnums=(0, 1))(a, b)[1], np.diag(a), 1e-14)
    close(cr.vjp(lambda a, b: a * b, a, b)[1](np.ones(2))[1], a, 1e-14)
    close(cr.jvp(lambda a, b: a * b, (a, b), (b, a))[1], a * a + b * b, 1e-14)


def test_auxiliary_output() -> None:
    def f(x: Any) -> Any:
        return np.sum(x * x), {"double": 2 * x, "label": "here"}

    (value, aux), g = cr.value_and_grad(f, has_aux=True)(X)
    assert type(aux["double"]) is np.ndarray and aux["label"] == "here"
    close(value, X @ X, 1e-14)
    g2, _ = cr.grad(f, has_aux=True)(X)
    close(g2, g, 0)
    value, pullback, aux = cr.vjp(lambda x: (x * x, x + 1), X, has_aux=True)
    assert type(aux) is np.ndarray
    close(pullback(np.ones(3))[0], 2 * X, 1e-14)
    with pytest.raises(ValueError, match=r"has_aux=True: .* must return \(scalar, anything\)"):
        cr.grad(lambda x: np.sum(x), has_aux=True)(X)


class Layer(NamedTuple):
    W: Any
    b: Any


def test_nests() -> None:
    params = {"layers": [Layer(A, X), (A.copy(), None)], "scale": 2.0}

    def f(p: Any) -> Any:
        first, (second, nothing) = p["layers"]
        assert nothing is None
        return p["scale"] * np.sum(second @ np.tanh(first.W @ X + first.b))

    g = cr.grad(f)(params)
    assert set(g) == {"layers", "scale"} and isinstance(g["layers"][0], Layer) and g["layers"][1][1] is None
    assert g["scale"].shape == ()
    expected = derivative(lambda W: np.asarray(f(params | {"layers": [Layer(W, X), (A, None)]})), A)
    close(g["layers"][0].W.reshape(1, -1), expected)
    h = cr.hessian(lambda p: p["a"] ** 2 * np.sum(p["b"] ** 2))({"a": 2.0, "b": X})
    close(h["a"]["a"], 2 * X @ X, 1e-13)
    close(h["a"]["b"], 2 * 2 * 2 * X, 1e-13)
    close(h["b"]["b"], 8 * np.eye(3), 1e-13)
    out, pullback = cr.vjp(lambda x: {"s": np.sum(x), "t": (2 * x,)}, X)
    assert type(out["s"]) is np.ndarray
    close(pullback({"s": 1.0, "t": (np.ones(3),)})[0], np.full(3, 3.0), 1e-14)
    close(cr.hvp(lambda p: np.sum(p["b"] ** 3), {"b": X}, {"b": np.ones(3)})["b"], 6 * X, 1e-13)


# -- nesting and closures --------------------------------------------------------------------------


def test_perturbations_are_not_confused() -> None:
    assert cr.grad(lambda x: x * cr.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert cr.grad(lambda x: x * cr.grad(lambda y: x * y)(2.0))(3.0) == 6.0
    assert cr.grad(lambda x: cr.grad(lambda y: y * y * x)(x))(3.0) == 12.0

    def outer(x: Any) -> Any:
        _, tangent = cr.jvp(lambda y: y * x, (x,), (x,))
        return tangent  # x * x

    assert cr.grad(outer)(3.0) == 6.0


def test_higher_orders() -> None:
    f: Any = np.sin
    for expected in (np.sin(0.7), np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7), np.cos(0.7)):
        close(np.asarray(f(0.7)), expected, 1e-12)
        f = cr.grad(f)


def test_transforms_of_transforms() -> None:
    close(cr.jacobian(cr.grad(bumpy))(X), cr.hessian(bumpy)(X), 1e-14)
    close(cr.grad(lambda x: np.sum(cr.vjp(np.sin, x)[1](np.ones(3))[0]))(X), -np.sin(X), 1e-14)
    close(cr.grad(lambda x: np.sum(cr.jacobian(np.sin)(x)))(X), -np.sin(X), 1e-14)
    close(
        cr.grad(lambda x: np.sum(cr.hvp(bumpy, x, np.ones(3))))(X),
        derivative(lambda x: np.sum(cr.hvp(bumpy, x, np.ones(3))), X)[0],
    )
    _, pullback = cr.vjp(np.sin, X)
    close(cr.grad(lambda u: np.sum(pullback(u)[0] ** 2))(X), 2 * X * np.cos(X) ** 2, 1e-13)
    v, u = rng.normal(size=3), rng.normal(size=3)
    close(cr.jvp(lambda x: cr.jvp(np.sin, (x,), (v,))[1], (X,), (u,))[1], -np.sin(X) * v * u, 1e-13)


def test_closures_over_outer_tensors() -> None:
    def loss(w: Any) -> Any:
        def inner(x: Any) -> Any:
            return np.sum(w * x**2)

        return np.sum(cr.grad(inner)(X))  # sum of 2 w x

    close(cr.grad(loss)(A[0]), 2 * X, 1e-14)


def test_gradient_descent_through_gradient_descent() -> None:
    def trained(rate: Any) -> Any:
        x = np.array(1.0)
        for _ in range(3):
            x = x - rate * cr.grad(lambda y: y**2)(x)
        return x

    close(cr.grad(trained)(0.1), 3 * (1 - 0.2) ** 2 * -2, 1e-13)


# -- what goes in and comes out --------------------------------------------------------------------


@pytest.mark.parametrize("x", [3, 3.0, np.float64(3), np.array(3.0), np.float32(3), np.array(3, np.float32)], ids=repr)
def test_results_are_arrays_also_without_axes(x: Any) -> None:
    dtype = np.asarray(x).dtype if np.asarray(x).dtype.kind == "f" else np.float64
    value, g = cr.value_and_grad(lambda x: x * x)(x)
    out, pullback = cr.vjp(lambda x: x * x, x)
    primal, tangent = cr.jvp(lambda x: x * x, (x,), (1.0,))
    results = [value, g, out, pullback(1.0)[0], primal, tangent, cr.jacobian(lambda x: x * x)(x)]
    results += [cr.hessian(lambda x: x**3)(x), cr.hvp(lambda x: x**3, x, 1.0)]
    for r, expected in zip(results, [9, 6, 9, 6, 9, 6, 6, 18, 18], strict=True):
        assert type(r) is np.ndarray and r.shape == () and r.dtype == dtype and r == expected


def test_float32_stays() -> None:
    x = X.astype(np.float32)
    f = lambda x: np.mean(np.tanh(x * 2.0 + 1) ** 2 / 3)  # noqa: E731
    value, g = cr.value_and_grad(f)(x)
    for r in (value, g, cr.hessian(f)(x), cr.hvp(f, x, x), *cr.jvp(f, (x,), (x,)), cr.jacobian(np.sin)(x)):
        assert r.dtype == np.float32
    mixed = cr.grad(lambda a, b: np.sum(a * b), argnums=(0, 1))(x, X)
    assert [m.dtype for m in mixed] == [np.float32, np.float64]


def test_gradients_own_their_memory() -> None:
    for f, args in (
        (lambda a: np.sum(a), (X,)),
        (lambda a, b: np.sum(a + b), (X, A[0])),
        (lambda a, b: np.sum(a * b), (X, A[0])),
        (lambda a, b: np.sum(np.reshape(a, (1, 3)) @ np.reshape(b, (3, 1))), (X, A[0])),
    ):
        before = [a.copy() for a in args]
        gradients = cr.grad(f, argnums=tuple(range(len(args))))(*args)
        for g in gradients:
            g += 100  # an update in place
        for a, b in zip(args, before, strict=True):
            np.testing.assert_array_equal(a, b)
        if len(gradients) == 2:
            assert not np.shares_memory(*gradients)
    u = np.ones(3)
    (g,) = cr.vjp(lambda x: x + 0.0, X)[1](u)
    g += 1
    assert np.all(u == 1)


def test_arguments_that_are_refused() -> None:
    f = lambda x: np.sum(x * 1.0)  # noqa: E731
    with pytest.raises(TypeError, match=r"argument 0 has dtype int64; a derivative needs float32 or float64"):
        cr.grad(f)(np.arange(3))
    with pytest.raises(TypeError, match=r"argument 0\['w'\]\[1\] has dtype int64"):
        cr.grad(lambda p: f(p["w"][0]))({"w": [X, np.arange(3)]})
    with pytest.raises(TypeError, match="argument 0 is a bool"):
        cr.grad(f)(True)
    with pytest.raises(TypeError, match="argument 0 is of type str"):
        cr.grad(f)("x")
    with pytest.raises(TypeError, match="primal 0 has dtype int64"):
        cr.vjp(f, np.arange(3))
    with pytest.raises(ValueError, match=r"argnums names argument 1, but .* was called with 1"):
        cr.grad(f, argnums=1)(X)
    with pytest.raises(ValueError, match="names an argument twice"):
        cr.grad(lambda a, b: f(a), argnums=(0, -2))(X, X)
    with pytest.raises(ValueError, match="tangent 0 has shape"):
        cr.jvp(f, (X,), (np.ones(2),))
    with pytest.raises(TypeError, match=r"primals: expected a tuple.*float"):
        cr.jvp(np.sin, 2.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"argnums: expected.*'x'"):
        cr.grad(f, argnums="x")(X)
    with pytest.raises(ValueError, match="expected one per primal, 1, got 2"):
        cr.jvp(f, (X,), (X, X))
    with pytest.raises(ValueError, match="the cotangent has shape"):
        cr.vjp(np.sin, X)[1](np.ones(2))
    with pytest.raises(ValueError, match=r"the cotangent of .*: expected the structure"):
        cr.vjp(np.sin, X)[1]((X, X))


def test_results_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"grad of double: expected a scalar, got shape \(3,\).*jacobian"):

        def double(x: Any) -> Any:
            return 2 * x

        cr.grad(double)(X)
    with pytest.raises(ValueError, match="got a tuple"):
        cr.grad(lambda x: (x, x))(X)
    with pytest.raises(ValueError, match="got a NoneType"):
        cr.grad(lambda x: None)(X)
    with pytest.raises(TypeError, match="returned dtype bool"):
        cr.grad(lambda x: x > 1)(2.0)


def test_arguments_that_do_not_reach_the_result() -> None:
    def f(p: Any, x: Any) -> Any:
        return np.sum(p["w"] * x)

    with pytest.raises(ValueError, match=r"argument 0 of f\['b'\] does not reach the result.*allow_unused=True"):
        cr.grad(f)({"w": X, "b": X}, X)
    g = cr.grad(f, allow_unused=True)({"w": X, "b": X}, X)
    assert not g["b"].any() and g["b"].shape == (3,)
    with pytest.raises(ValueError, match="argument 0 of <lambda> does not reach"):
        cr.grad(lambda x: 1.0)(X)
    with pytest.raises(ValueError, match="does not reach"):
        cr.grad(lambda x: np.sum(x.detach()))(X)
    assert not cr.grad(lambda x: np.sum(np.sign(x)))(X).any()  # reached, and flat: zeros
    assert not cr.vjp(lambda x, y: 2 * x, X, X)[1](X)[1].any()
    assert not cr.jvp(lambda x: np.ones(2), (X,), (X,))[1].any()


# -- size ------------------------------------------------------------------------------------------


def chain(length: int) -> Tensor:
    x = cr.tensor(0.5, requires_grad=True)
    for _ in range(length):
        x = x * 1.00001 + 0.0
    return x


def test_a_chain_of_20_000_operations() -> None:
    def f(x: Any) -> Any:
        for _ in range(10_000):
            x = x * 1.00001 + 0.0
        return x

    g = cr.grad(f)(0.5)
    close(g, 1.00001**10_000, 1e-11)
    out = chain(10_000)
    assert len(topological([out])) == 20_001 + 20_000  # operations, the leaf, a constant each
    alive = weakref.ref(out.inputs[0])
    del out  # tears down without recursion
    gc.collect()
    assert alive() is None


def test_work_grows_linearly() -> None:
    def count(n: int) -> int:
        """Count the rules evaluated in the reverse pass, on a graph where every value is used twice."""
        calls = 0
        multiply = ops.row("multiply")
        rules = multiply.vjp

        def counting(i: int, *args: Any) -> Any:
            nonlocal calls
            calls += 1
            return rules[i](*args)  # type: ignore[index]

        object.__setattr__(multiply, "vjp", counting)
        try:
            x = cr.tensor(1.0, requires_grad=True)
            y = x
            for _ in range(n):
                y = y * y
            reverse([y], [np.ones(())], [x])
        finally:
            object.__setattr__(multiply, "vjp", rules)
        return calls

    assert [count(n) for n in (10, 100, 1000)] == [20, 200, 2000]


def test_a_recorded_pass_through_a_long_chain() -> None:
    def f(x: Any) -> Any:
        for _ in range(2000):
            x = x * 1.001
        return x * x

    close(cr.grad(cr.grad(f))(1.0), 2 * 1.001**4000, 1e-11)


# -- backward() ------------------------------------------------------------------------------------


def test_backward_accumulates() -> None:
    W, b = Parameter(A, name="W"), cr.tensor(X, requires_grad=True)
    constant = cr.tensor(X)
    assert W.grad is None
    np.sum(np.tanh(W @ constant + b)).backward()
    slope = 1 - np.tanh(A @ X + X) ** 2
    close(b.grad, slope, 1e-13)
    close(W.grad, np.outer(slope, X), 1e-13)
    assert constant.grad is None
    np.sum(np.tanh(W @ constant + b)).backward()
    close(b.grad, 2 * slope, 1e-13)
    (b * b).backward(np.array([1.0, 0, 0]))
    assert type(b.grad) is np.ndarray and b.grad.dtype == np.float64
    close(b.grad, 2 * slope + [2 * X[0], 0, 0], 1e-13)


def test_backward_errors() -> None:
    x = cr.tensor(X, requires_grad=True)
    with pytest.raises(ValueError, match=r"backward\(\): expected a scalar.*\(3,\)"):
        x.backward()
    with pytest.raises(ValueError, match=r"backward\(\).*requires_grad=True"):
        np.sum(cr.tensor(X)).backward()
    with pytest.raises(ValueError, match=r"gradient.*got \(2,\)"):
        x.backward(np.ones(2))


def test_grad_of_parameters() -> None:
    """Parameters may be arguments of the transforms as well, and may be closed over."""
    W = Parameter(A)
    g = cr.grad(lambda W: np.sum(W @ X))(W)
    np.testing.assert_array_equal(np.asarray(g.detach() if isinstance(g, Tensor) else g), np.tile(X, (3, 1)))
    g = cr.grad(lambda x: np.sum(W @ x))(X)
    np.testing.assert_allclose(np.asarray(g.detach() if isinstance(g, Tensor) else g), A.sum(0))


def test_names_of_gradients() -> None:
    x = cr.tensor(X, name="X")
    with Recording("a test") as recording:
        leaf = Tensor(x.value, name="X", recordings=frozenset({recording}))
        z = np.tanh(leaf).named("Z1")
        loss = np.sum(z * z)
        (dX,), passed = reverse([loss], [cr.tensor(1.0)], [leaf], keep=True)
    assert dX.name == "dX" and passed[id(z)].name == "dZ1"


def test_threads() -> None:
    """Derivatives in several threads at once do not disturb each other: there is no global state."""
    results: dict[int, Any] = {}

    def work(k: int) -> None:
        x = np.full(3, float(k))
        results[k] = [cr.grad(lambda x: np.sum(x**3))(x) for _ in range(50)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, found in results.items():
        assert all(np.all(g == 3.0 * k**2) for g in found)


@pytest.mark.parametrize("outputs", [1, 3, 4])
def test_jacobians_of_few_and_of_many_outputs_are_stacked_gradients(outputs):
    A = np.random.default_rng(outputs).normal(size=(outputs, 4))
    x, b = np.linspace(-1, 1, 4), np.float32(0.5)
    dx, db = cr.jacobian(lambda x, b: np.tanh(A @ x)[None] * b, (0, 1))(x, b)
    np.testing.assert_allclose(dx, 0.5 * ((1 - np.tanh(A @ x) ** 2)[:, None] * A)[None])
    np.testing.assert_allclose(db, np.tanh(A @ x)[None], rtol=1e-6)
    assert db.dtype == np.float32
