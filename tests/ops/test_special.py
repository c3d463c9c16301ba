"""``scipy.special`` on tensors: dispatch, values, compiled functions, and the messages where a function has no rule.

The derivatives of the rows are checked by ``test_table.py``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special as sp
import scipy.stats

import chainrule as cr
from chainrule.core.node import FUNCTIONS
from chainrule.scipy import special
from tests.ops.checking import close, derivative
from tests.tables import for_each

X = np.array([0.35, 0.6, 0.85])
NAMES = sorted(key.removeprefix("scipy.special.") for key in FUNCTIONS if str(key).startswith("scipy.special."))

#: What comes before the last argument, where a function has parameters.
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "polygamma": (2,),
    "betainc": (2.0, 3.0),
    "betaincc": (2.0, 3.0),
    "betaincinv": (2.0, 3.0),
    "betainccinv": (2.0, 3.0),
} | dict.fromkeys(
    "zeta gammainc gammaincc gammaincinv gammainccinv jv jn yv yn iv ive kv kve kn stdtr stdtrit".split(), (2,)
)
PARAMETERS |= dict.fromkeys("beta betaln poch xlogy xlog1py rel_entr kl_div huber pseudo_huber".split(), (0.8,))
PARAMETERS |= {"binom": (4.2,)}
AFTER = {"multigammaln": (2,)}
SHIFT = {"multigammaln": 1.0, "spence": 1.0, "ndtri_exp": -1.0}


def called(name: str, module: Any) -> Callable[[Any], Any]:
    function = getattr(module, name)
    if name == "polygamma" and module is sp:  # its result for an array of orders
        return lambda x: np.asarray(sp.polygamma(2, x))
    return lambda x: function(*PARAMETERS.get(name, ()), x, *AFTER.get(name, ()))


@for_each("name", NAMES)
def test_value_gradient_and_compiled(name: str) -> None:
    x = X + SHIFT.get(name, 0.0)
    f, reference = called(name, special), called(name, sp)
    weights = np.array([1.0, -2.0, 0.5])
    close(cr.tensor(f(cr.tensor(x))).value, reference(x), 1e-13)
    expected = derivative(lambda x: np.sum(weights * reference(x)), x).reshape(-1)
    close(cr.grad(lambda x: np.sum(weights * f(x)))(x), expected, 1e-7)
    for engine in ("numpy", "native"):
        value, gradient = cr.compile(cr.value_and_grad(lambda x: np.sum(weights * f(x))), engine=engine)(x)
        close(value, np.sum(weights * reference(x)), 1e-13)
        close(gradient, expected, 1e-7)
    if isinstance(getattr(sp, name), np.ufunc):
        close(cr.grad(lambda x: np.sum(weights * reference(x)))(x), expected, 1e-7)


def test_digamma_and_its_derivatives_by_known_values() -> None:
    euler = 0.5772156649015329
    close(special.digamma(1.0), -euler, 1e-15)
    close(cr.grad(special.digamma)(1.0), np.pi**2 / 6, 1e-14)
    close(cr.grad(cr.grad(special.gammaln))(1.0), np.pi**2 / 6, 1e-14)
    close(cr.grad(cr.grad(cr.grad(special.gammaln)))(1.0), -2 * 1.2020569031595942, 1e-14)
    close(cr.grad(sp.ndtr)(0.0), 1 / np.sqrt(2 * np.pi), 1e-15)
    close(cr.grad(sp.j0)(0.0), 0.0, 0)
    close(cr.grad(sp.j1)(0.0), 0.5, 1e-15)


def test_far_tails_of_the_normal_distribution() -> None:
    """The derivative of log Φ at -x is x + 1/x - 2/x³ + …, also where Φ is zero in floating point."""
    x = np.array([-1e4, -300.0, -40.0])
    close(cr.grad(lambda x: np.sum(sp.log_ndtr(x)))(x), -x - 1 / x + 2 / x**3 - 10 / x**5, 1e-12)
    close(cr.grad(cr.grad(sp.log_ndtr))(-40.0), -1 + 1 / 1600 - 6 / 40**4 + 50 / 40**6, 1e-8)
    assert cr.grad(sp.log_ndtr)(60.0) == 0.0
    assert cr.grad(cr.grad(sp.log_ndtr))(60.0) == 0.0


def test_zero_times_a_logarithm_of_zero() -> None:
    close(cr.grad(lambda y: np.sum(special.xlogy(np.array([0.0, 2.0]), y)))(np.array([0.0, 4.0])), [0, 0.5], 0)
    close(cr.grad(lambda y: np.sum(special.rel_entr(np.array([0.0, 2.0]), y)))(np.array([0.0, 4.0])), [0, -0.5], 0)
    assert special.xlogy(0.0, 0.0) == 0 and np.isnan(special.xlogy(0.0, np.nan))


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_has_the_signature_of_scipy(axis: Any, keepdims: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3)) * 300, rng.uniform(-0.2, 1, size=(2, 3))
    b[0, 0] = 0
    for weights in (None, np.abs(b), b):
        for sign in (False, True):
            if weights is b and not sign:
                continue
            found = special.logsumexp(cr.tensor(a), axis=axis, b=weights, keepdims=keepdims, return_sign=sign)
            expected = sp.logsumexp(a, axis=axis, b=weights, keepdims=keepdims, return_sign=sign)
            for x, y in zip(found if sign else [found], expected if sign else [expected], strict=True):
                close(x.value, y, 1e-14)
    w = np.abs(b)
    g = cr.grad(lambda a: np.sum(special.logsumexp(a, axis=axis, b=w) ** 2))(a / 300)
    expected = derivative(lambda a: np.sum(sp.logsumexp(a, axis=axis, b=w) ** 2), a / 300)
    close(g.reshape(-1), expected.reshape(-1))


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda x: sp.gammainc(x, 2.0), "scipy.special.gammainc: the derivative with respect to a "),
        (lambda x: sp.jv(x, 2.0), "scipy.special.jv: the derivative with respect to v "),
        (lambda x: sp.agm(x, 2.0), "scipy.special.agm has no rule"),
        (lambda x: sp.logsumexp(x), r"scipy.special.logsumexp takes plain arrays.*Call chainrule.scipy.special.logs"),
        (lambda x: sp.polygamma(1, x), "Call chainrule.scipy.special.polygamma"),
        (lambda x: scipy.stats.norm.logpdf(x), "scipy.stats.norm.logpdf takes plain arrays only"),
        (lambda x: scipy.stats.t(3.0).logcdf(x), "scipy.stats.t.logcdf takes plain arrays only"),
        (lambda x: scipy.linalg.logm(np.outer(x, x)), "scipy.linalg.logm takes plain arrays only"),
    ],
)  # fmt: skip
def test_what_has_no_rule_is_refused_by_name(f: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        cr.grad(lambda x: np.sum(f(x)))(X)
    with pytest.raises(TypeError, match=says):
        cr.compile(cr.grad(lambda x: np.sum(f(x))))(X)


def test_conversion_within_a_function_that_scipy_calls_is_not_blamed_on_scipy() -> None:
    def f(x: Any) -> Any:
        return np.asarray(cr.tensor(x, requires_grad=True))

    with pytest.raises(TypeError, match="would lose the gradient"):
        scipy.optimize.minimize(f, X)


def test_a_ufunc_of_the_same_name_is_not_taken_for_scipys() -> None:
    gammaln = np.frompyfunc(lambda x: x, 1, 1)
    with pytest.raises(TypeError, match="no rule"):
        gammaln(cr.tensor(X))
    assert "gammaln" in dir(special)
    with pytest.raises(AttributeError, match="has no attribute 'gamaln'; there are beta,"):
        special.gamaln  # noqa: B018


def test_without_scipy_the_message_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['scipy'] = None\n"
        "import chainrule as cr\nfrom chainrule.scipy import special\n"
        "print(special.log_expit(cr.tensor(0.0)).item())\n"
        "try: special.gammaln(cr.tensor(2.0))\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        run.stdout == "-0.6931471805599453\ngammaln is computed by SciPy, which is not installed: pip install scipy\n"
    )
