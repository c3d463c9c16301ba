"""autograd's ``test_util``: derivatives against central differences, along random directions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from .core import make_jvp, make_vjp
from .vspaces import vspace
from .wrap_util import get_name, unary_to_nary

Function = Callable[..., Any]
TOL = RTOL = EPS = 1e-6


def scalar_close(a: Any, b: Any) -> bool:
    """Whether two numbers agree to 1e-6, absolutely or relatively."""
    return bool(abs(a - b) < TOL or abs(a - b) / abs(a + b) < RTOL)


def make_numerical_jvp(f: Function, x: Any) -> Function:
    """Return what estimates the derivative of `f` at `x` along a direction."""
    points, values = vspace(x), vspace(f(x))

    def jvp(v: Any) -> Any:
        above, below = (f(points.add(x, points.scalar_mul(v, step))) for step in (EPS / 2, -EPS / 2))
        return values.scalar_mul(values.add(above, values.scalar_mul(below, -1.0)), 1.0 / EPS)

    return jvp


def check_vjp(f: Function, x: Any) -> None:
    """Check the pullback of `f` at `x`; raise AssertionError if it is wrong."""
    vjp, y = make_vjp(f, x)
    points, values = vspace(x), vspace(y)
    direction, weights = points.randn(), values.randn()
    pulled = vjp(weights)
    assert vspace(pulled) == points, f"the gradient of {get_name(f)} is in {vspace(pulled)}, its argument in {points}"
    exact = points.inner_prod(direction, pulled)
    numeric = values.inner_prod(weights, make_numerical_jvp(f, x)(direction))
    assert scalar_close(numeric, exact), (
        f"Derivative (VJP) check of {get_name(f)} failed with arg {x}:\nanalytic: {exact}\nnumeric:  {numeric}"
    )


def check_jvp(f: Function, x: Any) -> None:
    """Check the derivative of `f` at `x` along a direction; raise AssertionError if it is wrong."""
    direction = vspace(x).randn()
    check_equivalent(make_jvp(f, x)(direction)[1], make_numerical_jvp(f, x)(direction))


def check_equivalent(x: Any, y: Any) -> None:
    """Raise AssertionError unless `x` and `y` have equal shapes and dtypes, and agree along a random direction."""
    ours, others = vspace(x), vspace(y)
    assert ours == others, f"VSpace mismatch:\nx: {ours}\ny: {others}"
    v = ours.randn()
    assert scalar_close(ours.inner_prod(x, v), ours.inner_prod(y, v)), f"Value mismatch:\nx: {x}\ny: {y}"


@unary_to_nary
def check_grads(f: Function, x: Any, modes: Sequence[str] = ("fwd", "rev"), order: int = 2) -> None:
    """Check derivatives of `f` up to `order`; raise AssertionError if one is wrong."""
    assert all(m in ("fwd", "rev") for m in modes), f"modes: expected fwd and rev, got {modes}"

    def derivative(mode: str) -> Function:
        def forward(x: Any, v: Any) -> Any:
            return make_jvp(f, x)(v)[1]

        def backward(x: Any, v: Any) -> Any:
            return make_vjp(f, x)[0](v)

        return forward if mode == "fwd" else backward

    for mode in modes:
        (check_jvp if mode == "fwd" else check_vjp)(f, x)
        if order > 1:
            of_f = derivative(mode)
            of_f.__name__ = f"{'jvp' if mode == 'fwd' else 'vjp'}_{get_name(f)}"
            v = vspace(x if mode == "fwd" else f(x)).randn()
            check_grads(of_f, (0, 1), modes, order=order - 1)(x, v)


def combo_check(fun: Function, *args: Any, **kwargs: Any) -> Function:
    """Return what runs `check_grads` on all combinations of the arguments that it is given lists of."""
    check = check_grads(fun, *args, **kwargs)

    def combinations(*lists: Any, **named: Any) -> None:
        for positional in itertools.product(*lists):
            for values in itertools.product(*named.values()):
                check(*positional, **dict(zip(named, values, strict=True)))

    return combinations
