"""autograd's interface: its operators, arrays made of tensors, primitives, and the name mapped for whole programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule.compat.autograd.numpy as anp
from chainrule.compat import autograd
from chainrule.compat.autograd import core, extend, misc, test_util, tracer
from chainrule.compat.autograd.misc import optimizers


def f(x: Any) -> Any:
    return anp.sum(anp.sin(x) * anp.array([x[0], 2.0, x[1] * x[2]]))


X = np.array([0.3, -0.7, 1.1])


def test_operators_agree_with_each_other() -> None:
    v = np.array([1.0, -2.0, 0.5])
    gradient, hessian = autograd.grad(f)(X), autograd.hessian(f)(X)
    test_util.check_grads(f)(X)
    assert np.allclose(autograd.jacobian(f)(X), gradient)
    assert np.allclose(autograd.jacobian(autograd.grad(f))(X), hessian)
    assert np.allclose(autograd.hessian_vector_product(f)(X, v), hessian @ v)
    assert np.allclose(autograd.make_hvp(f)(X)[0](v), hessian @ v)
    assert np.allclose(autograd.make_jvp(f)(X)(v), (f(X), gradient @ v))
    assert np.allclose(autograd.vector_jacobian_product(autograd.grad(f))(X, v), v @ hessian)
    assert np.allclose(autograd.jacobian_vector_product(autograd.grad(f))(X, v), hessian @ v)
    assert np.allclose(autograd.egrad(anp.tanh)(X), 1 - np.tanh(X) ** 2)
    assert np.allclose(autograd.deriv(anp.tanh)(X), 1 - np.tanh(X) ** 2)
    assert np.allclose(autograd.grad_named(lambda a, b: a * b**2, "b")(2.0, 3.0), 12.0)
    assert np.allclose(autograd.grad_and_aux(lambda x: (f(x), x * 2))(X)[1], 2 * X)
    named = autograd.multigrad_dict(lambda a, b=2.0: a * b)(3.0)
    assert list(named) == ["a", "b"] and (named["a"], named["b"]) == (2.0, 3.0)
    with pytest.raises(TypeError, match="real functions"):
        autograd.holomorphic_grad(f)(X)


def test_results_have_autograds_types() -> None:
    assert type(autograd.grad(lambda x: x**2)(1.5)) is np.float64
    assert type(autograd.value_and_grad(f)(X)[0]) is np.float64
    assert autograd.grad(lambda x: anp.sum(x**2, keepdims=True))(X).shape == (3,)
    assert autograd.grad(lambda x: anp.sum(x**2))(np.arange(3)).tolist() == [0.0, 2.0, 4.0]
    nest = {"b": (1.0, [X]), "a": 2.0}
    gradient = autograd.grad(lambda p: p["a"] * p["b"][0] + anp.sum(p["b"][1][0]))(nest)
    assert list(gradient) == ["b", "a"] and type(gradient["b"]) is tuple and type(gradient["b"][1]) is list


def test_unused_arguments_get_zeros() -> None:
    assert autograd.grad(lambda p: p[0] * 2.0)((1.0, X))[1].tolist() == [0.0, 0.0, 0.0]
    with pytest.warns(UserWarning, match="independent of input"):
        assert autograd.grad(lambda x: 3.0)(X).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(TypeError, match="scalar output"):
        autograd.grad(anp.sin)(X)


MADE = {
    "array": lambda a, b: anp.array([[a, b], [b, 1.0]]),
    "array of arrays": lambda a, b: anp.array([a * X, [b, a, 2.0]]),
    "array with axes": lambda a, b: anp.array(a * X, ndmin=3),
    "mean": lambda a, b: anp.mean([a, b, a * b]),
    "stack": lambda a, b: anp.vstack([[a, b], [b, b]]),
    "append": lambda a, b: anp.append(a * X, [b, a]),
    "append along": lambda a, b: anp.append([[a, b]], [[b, 1.0]], axis=0),
    "full": lambda a, b: anp.full((2, 3), a * b),
    "full_like": lambda a, b: anp.full_like(X, a * b),
    "r_": lambda a, b: anp.r_[a, X * b, 2.0],
    "c_": lambda a, b: anp.c_[a * X, X * b],
    "where": lambda a, b: anp.where(np.array([True, False]), [a, b], [b, 3.0]),
    "diagonal": lambda a, b: anp.make_diagonal(a * b * X, offset=0, axis1=-1, axis2=-2),
}


@pytest.mark.parametrize("name", MADE)
def test_arrays_made_of_tensors(name: str) -> None:
    made = MADE[name]
    _, value = core.make_vjp(lambda x: made(*x), (0.4, -1.3))
    assert np.array_equal(value, np.asarray(made(np.float64(0.4), np.float64(-1.3))))
    test_util.check_grads(made, (0, 1))(0.4, -1.3)


def test_types_see_the_value() -> None:
    def g(x: Any) -> Any:
        assert autograd.isinstance(x, np.ndarray) and autograd.type(x) is np.ndarray
        assert tracer.isbox(x) and type(tracer.getval(x)) is np.ndarray
        assert anp.int64(x * 2)[0] == 0
        return x[0]

    assert autograd.grad(g)(X).tolist() == [1.0, 0.0, 0.0]


@extend.primitive
def scaled(p: Any, k: int = 1) -> Any:
    assert not any(map(tracer.isbox, (*p["w"], p["b"])))
    return p["w"] * p["b"] ** k, p["b"]


extend.defvjp(
    scaled,
    lambda ans, p, k=1: lambda g: {"w": g[0] * p["b"] ** k, "b": anp.sum(g[0] * p["w"]) * k * p["b"] ** (k - 1) + g[1]},
)


def test_primitives_of_nests() -> None:
    p = {"w": X, "b": 1.5}
    test_util.check_grads(lambda p: scaled(p, k=2)[0] * scaled(p)[1])(p)
    assert type(scaled(p)[1]) is float


class Mixture:
    """A function x -> sum of weights * exp(-(x - centre)²), as a value that derivatives are taken of."""

    def __init__(self, weights: dict[float, float]) -> None:
        self.weights = weights

    @extend.primitive
    def __call__(self, x: Any) -> Any:
        return sum((a * anp.exp(-((x - c) ** 2)) for c, a in self.weights.items()), 0.0)

    @extend.primitive
    def scaled(self, a: Any) -> Any:
        return Mixture({c: a * w for c, w in self.weights.items()})


class BoxedMixture(extend.Box, Mixture):  # type: ignore[misc, name-defined]
    @property
    def weights(self) -> Any:
        return self._value.weights


class Mixtures(extend.VSpace):
    def __init__(self, value: Any) -> None:
        pass

    def zeros(self) -> Mixture:
        return Mixture({})

    def _add(self, f: Any, g: Any) -> Mixture:
        return Mixture({c: f.weights.get(c, 0.0) + g.weights.get(c, 0.0) for c in {**f.weights, **g.weights}})


BoxedMixture.register(Mixture)
Mixtures.register(Mixture)
extend.defvjp(
    Mixture.__call__,
    lambda ans, f, x: lambda g: Mixture({x: g}),
    lambda ans, f, x: lambda g: g * sum(-2 * (x - c) * a * anp.exp(-((x - c) ** 2)) for c, a in f.weights.items()),
)
extend.defvjp(
    Mixture.scaled,
    lambda ans, f, a: lambda g: Mixture({c: a * w for c, w in g.weights.items()}),
    lambda ans, f, a: lambda g: sum(w * f(c) for c, w in g.weights.items()),
)


def test_derivatives_of_values_of_other_classes() -> None:
    f = Mixture({0.0: 2.0, 1.0: -0.5})

    def loss(f: Any, points: Any = (0.2, 1.3), a: Any = 3.0) -> Any:
        assert autograd.isinstance(f, Mixture) and isinstance(f, Mixture) and tracer.getval(f).weights is f.weights
        h = f.scaled(a)
        return sum((h(x) - 1.0) ** 2 for x in points)

    gradient = autograd.grad(loss)(f)
    for x in (0.2, 1.3):
        assert np.isclose(gradient.weights[x], 2 * (3 * f(x) - 1) * 3)
    slope = autograd.grad(lambda a: loss(f, a=a))(3.0)
    assert np.isclose(slope, sum(2 * (3 * f(x) - 1) * f(x) for x in (0.2, 1.3)))
    assert np.isclose(autograd.grad(lambda x: f(x) ** 2)(0.3), (f(0.3 + 1e-6) ** 2 - f(0.3 - 1e-6) ** 2) / 2e-6)
    pair = autograd.grad(lambda p: p[0](0.5) * p[1])((f, 2.0))
    assert pair[0].weights == {0.5: 2.0} and np.isclose(pair[1], f(0.5))
    with pytest.warns(UserWarning, match="independent of input"):
        assert autograd.grad(lambda f: 1.0)(f).weights == {}


def test_primitives_with_results_that_are_no_real_numbers() -> None:
    @extend.primitive
    def solved(x: Any) -> Any:
        return {"root": np.sqrt(x), "steps": 7, "how": np.arange(2)}

    extend.defvjp(solved, lambda ans, x: lambda g: 0.5 * g["root"] / ans["root"] + 0.0 * g["steps"])

    def f(x: Any) -> Any:
        found = solved(x)
        assert found["steps"] == 7 and type(found["steps"]) is int and found["how"].tolist() == [0, 1]
        return found["root"] * 2

    assert np.isclose(autograd.grad(f)(4.0), 0.5)
    mixed = extend.primitive(lambda x: (Mixture({0.0: x}), x))
    with pytest.raises(TypeError, match="registered class among others"):
        autograd.grad(lambda x: mixed(x)[1])(1.0)


def test_wrong_uses_of_primitives_are_named() -> None:
    bare = extend.primitive(lambda x: x * 2.0)
    with pytest.raises(NotImplementedError, match="defvjp"):
        autograd.grad(bare)(1.0)
    extend.defvjp(bare, lambda ans, x: lambda g: {"a": g, "b": g})
    with pytest.raises(ValueError, match="returned 2 arrays, expected 1"):
        autograd.grad(bare)(1.0)
    with pytest.raises(TypeError, match="not a primitive"):
        extend.defvjp(anp.exp, None)
    keyword = extend.primitive(lambda x, k: x * k)
    with pytest.raises(TypeError, match="pass it by position"):
        autograd.grad(lambda k: keyword(1.0, k=k))(2.0)


def test_wrong_rules_are_found() -> None:
    wrong = extend.primitive(lambda x: x * 2.0)
    extend.defvjp(wrong, lambda ans, x: lambda g: g * 2.001)
    with pytest.raises(AssertionError, match=r"\(VJP\) check of .* failed"):
        test_util.check_grads(wrong, modes=["rev"])(1.0)


def test_checkpoint_gives_the_same_gradient() -> None:
    test_util.check_grads(autograd.checkpoint(f), modes=["rev"])(X)
    assert np.allclose(autograd.grad(autograd.checkpoint(f))(X), autograd.grad(f)(X))


@pytest.mark.parametrize("optimize", [optimizers.sgd, optimizers.rmsprop, optimizers.adam])
def test_optimizers_minimise(optimize: Any) -> None:
    seen: list[int] = []
    start = {"w": X, "b": 2.0}
    found = optimize(
        lambda p, i: {"w": 2 * p["w"], "b": 2 * (p["b"] - 1.0)},
        start,
        callback=lambda p, i, g: seen.append(i),
        num_iters=400,
        step_size=0.05,
    )
    assert seen == list(range(400))
    assert np.allclose(found["w"], 0.0, atol=0.06) and np.isclose(found["b"], 1.0, atol=0.06)


def test_recorded_functions() -> None:
    ran: list[int] = []

    def g(x: Any, y: Any) -> Any:
        ran.append(1)
        return anp.sin(x) * y + 2.0

    repeated = misc.const_graph(g)
    for x, y in [(0.5, 1.0), (1.5, -2.0)]:
        assert repeated(x, y) == np.sin(x) * y + 2.0
    assert len(ran) == 1


def test_traces_make_the_callers_nodes() -> None:
    names: list[str] = []

    class Named(tracer.Node):
        def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, parent_argnums: Any, parents: Any) -> None:
            assert np.allclose(value, fun(*args, **kwargs)) and len(parents) == len(parent_argnums)
            names.append(fun.__name__)

    value, node = tracer.trace(Named.new_root(), lambda x: anp.sin(x) * 2.0 + x, 0.5)
    assert names == ["sin", "multiply", "add"] and type(node) is Named and value == np.sin(0.5) * 2.0 + 0.5


PROGRAM = """
import sys
import autograd.numpy as np
from autograd import grad
from autograd.misc.optimizers import adam
import autograd.numpy.linalg

print(float(grad(lambda x: np.sum(np.array([x, x**2])))(float(sys.argv[1]))), __name__, np.__name__)
"""


def test_programs_run_with_the_name_mapped(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "chainrule.compat.autograd", str(tmp_path / "program.py"), "3"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["7.0", "__main__", "chainrule.compat.autograd.numpy"]


def test_the_name_is_not_taken_from_a_library_that_is_loaded() -> None:
    code = "import sys, types; sys.modules['autograd'] = types.ModuleType('autograd')\n"
    code += "from chainrule.compat import autograd; autograd.install()"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "autograd itself has been imported already" in finished.stderr
