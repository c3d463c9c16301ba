"""The promise of the operation table: a row registered in one place works in everything that uses operations.

Three rows of different kinds, none of which any consumer knows: an elementwise one with a kernel, one that expands to
others, and a reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import engine, nn
from chainrule.core import op as table
from chainrule.core.apply import apply
from chainrule.core.node import FUNCTIONS
from chainrule.core.op import REDUCE, register
from chainrule.ops.elementwise import REAL, elementwise_row
from chainrule.ops.reduce import normalize_axis, reduction_examples, restore, shape_rule
from tests.explain.test_source import agree
from tests.tables import slow

RNG = np.random.default_rng(11)
X = RNG.normal(size=(4, 3))


@dataclass(frozen=True)
class Added:
    """A new operation: the function that applies it, what it computes and its derivative by hand, a wrong one."""

    name: str
    function: Callable[..., Any]
    oracle: Callable[..., Any]
    derivative: Callable[..., Any]
    wrong: Callable[..., Any]
    reduces: bool = False


def bell() -> Added:
    """Register e^-x² element by element."""

    def kernel(x: Any, out: Any = None) -> Any:
        return np.exp(np.negative(np.square(x, out=out), out=out), out=out)

    function = elementwise_row(
        kernel, (lambda g, out, x: -2.0 * g * x * out,), r"\operatorname{{bell}}({0})", REAL, name="bell", floating=True
    )
    return Added(
        "bell",
        function,
        lambda x: np.exp(-(x**2)),
        lambda x: -2 * x * np.exp(-(x**2)),
        lambda x: 2 * x * np.exp(-(x**2)),
    )


def soft_sign() -> Added:
    """Register x / (1 + |x|), which expands to other rows."""
    function = elementwise_row(
        None,
        (lambda g, out, x: g / np.square(1.0 + np.absolute(x)),),
        r"\operatorname{{softsign}}({0})",
        (0.2, 3.0),
        name="softsign",
        expand=lambda x: x / (1.0 + np.absolute(x)),
        floating=True,
    )
    return Added(
        "softsign",
        function,
        lambda x: x / (1 + np.abs(x)),
        lambda x: 1 / (1 + np.abs(x)) ** 2,
        lambda x: 1 / (1 + np.abs(x)),
    )


def energy() -> Added:
    """Register the sum of squares over axes."""

    def kernel(x: Any, out: Any = None, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return np.sum(np.square(x), axis=axis, out=out, keepdims=keepdims)

    row = register(
        "energy",
        shape=shape_rule(),
        kernel=kernel,
        vjp=(lambda g, out, x, axis, keepdims: 2.0 * x * restore(g, x.shape, axis),),
        kind=REDUCE,
        examples=reduction_examples,
        flops=lambda out, x, **attrs: 2 * math.prod(x),
    )

    def function(x: Any, axis: Any = -1) -> Any:
        return apply(row, (x,), {"axis": normalize_axis(axis, len(x.shape)), "keepdims": True})

    return Added(
        "energy",
        function,
        lambda x: np.sum(x**2, axis=-1, keepdims=True),
        lambda x: 2 * x,
        lambda x: x,
        reduces=True,
    )


ROWS = {"elementwise with a kernel": bell, "expands": soft_sign, "reduction": energy}


@pytest.fixture(params=ROWS.values(), ids=ROWS)
def added(request: pytest.FixtureRequest) -> Iterator[Added]:
    """Register one of the rows, and take it back."""
    kept = [(changed, dict(changed)) for changed in (table._ROWS, FUNCTIONS)]
    yield request.param()
    for changed, old in kept:
        changed.clear()
        changed.update(old)


def total(added: Added) -> Callable[[Any], Any]:
    """Return a scalar function of an array that uses the operation between others."""
    return lambda x: np.sum(np.tanh(added.function(3.0 * x)) * 0.5)


def gradient_by_hand(added: Added, x: Any) -> Any:
    upstream = 0.5 * (1 - np.tanh(added.oracle(3.0 * x)) ** 2)
    return 3.0 * upstream * added.derivative(3.0 * x)


def module(added: Added) -> nn.Module:
    """Return a network with the operation in it."""

    class Custom(nn.Layer):
        gives = ("N" if added.reduces else "A",)

        def compute(self, x: Any, name: Any) -> Any:
            return name(self.gives[0], added.function(x))

    return nn.Sequential(nn.Linear(3, 4, seed=1), Custom(), nn.Linear(1 if added.reduces else 4, 2, seed=2))


# -- computing ---------------------------------------------------------------------------------------------------------


def test_eager_gradient_and_second_order(added: Added) -> None:
    np.testing.assert_allclose(added.function(cr.Tensor(X)).value, added.oracle(X), rtol=1e-12)
    np.testing.assert_allclose(cr.grad(total(added))(X), gradient_by_hand(added, X), rtol=1e-12)
    assert cr.gradcheck(total(added), X, order=2)


@pytest.mark.parametrize("name", engine.available())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_engines_run_it(added: Added, name: str, dtype: str) -> None:
    x = X.astype(dtype)
    step = cr.compile(cr.value_and_grad(total(added)), engine=name)
    value, gradient = step(x)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert value == pytest.approx(np.sum(np.tanh(added.oracle(3.0 * X)) * 0.5), rel=tolerance)
    np.testing.assert_allclose(gradient, gradient_by_hand(added, X), rtol=tolerance, atol=tolerance)
    cr.verify(step)
    assert str(step.plan())


# -- showing -----------------------------------------------------------------------------------------------------------


def test_a_function_with_it_is_explained_in_every_notation(added: Added) -> None:
    derivation = cr.explain(total(added), X)
    for shown in (str(derivation), derivation.to_markdown(), derivation.to_latex(), derivation.to_html()):
        assert added.name in shown
    assert max(derivation.errors().values()) < 1e-12


@pytest.mark.parametrize("notation", ["gradients", slow("delta"), slow("dict")])
def test_a_network_with_it_is_explained_and_its_source_agrees(added: Added, notation: str) -> None:
    model, y = module(added).to("float64"), RNG.normal(size=(9, 2))
    agree(model, RNG.normal(size=(9, 3)), y, "half_mse")  # the source runs with NumPy alone, agrees to 1e-12
    derivation = cr.explain(model, RNG.normal(size=(9, 3)), y, "half_mse", notation=notation)
    assert max(derivation.errors().values()) < 1e-12 and str(derivation.cost)


def test_a_report_of_a_training_run(added: Added, tmp_path: Path) -> None:
    model, X, y = module(added), RNG.normal(size=(40, 3)).astype("float32"), RNG.integers(0, 2, 40)
    watch = cr.GradientFlow(tmp_path, X, y)
    cr.fit(model, X, y, epochs=2, batch_size=8, callbacks=[watch], progress=False)
    snapshots = (tmp_path / "gradient_flow.jsonl").read_text(encoding="utf-8")
    assert '"weight":"W2"' in snapshots and "W2" in cr.report(tmp_path).read_text(encoding="utf-8")


# -- judging -----------------------------------------------------------------------------------------------------------


def test_the_audit_finds_a_wrong_derivative_and_names_it(added: Added) -> None:
    parameters = {"W": RNG.normal(size=(3, 4))}
    data = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 1 if added.reduces else 4))

    def forward(X: Any, p: Any) -> Any:
        Z = X @ p["W"]
        return {"X": X, "Z": Z, "A": added.function(Z)}

    def loss(A: Any, Y: Any) -> Any:
        return np.sum((A - Y) ** 2) / len(Y)

    def backward(derivative: Any) -> Any:
        def gradients(cache: Any, Y: Any, p: Any) -> Any:
            dA = 2 * (cache["A"] - Y) / len(Y)
            dZ = dA * derivative(cache["Z"])
            return {"dA": dA, "dZ": dZ, "dW": cache["X"].T @ dZ}

        return gradients

    given = {"forward": forward, "loss": loss, "parameters": parameters, "X": data[0], "Y": data[1]}
    assert cr.audit(backward(added.derivative), **given).ok
    report = cr.audit(backward(added.wrong), **given)
    assert [finding.name for finding in report.findings] == ["dZ"]
    assert report.findings[0].cause not in ("", "unexplained"), str(report)


# -- files -------------------------------------------------------------------------------------------------------------


def test_onnx_forward_and_backward(added: Added) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = module(added).eval()
    written = cr.to_onnx(model)
    session = runtime.InferenceSession(written.SerializeToString())
    again = cr.from_onnx(written)
    for m in (1, 5):
        x = RNG.normal(size=(m, 3)).astype("float32")
        wanted = model(x).value
        np.testing.assert_allclose(session.run(None, {"X": x})[0], wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(again(x).value, wanted, rtol=1e-5, atol=1e-6)
