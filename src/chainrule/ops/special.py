"""The special functions of ``scipy.special``: gamma, beta, error and normal distribution functions, entropies.

Kernels are SciPy's, which is imported when one of them is used. Where the derivative in a parameter has no closed form
(``gammainc`` in `a`), asking for it raises. Formulas: NIST Digital Library of Mathematical Functions.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from ..core.op import Example
from . import activations, logits
from .elementwise import POSITIVE, REAL, UNIT, elementwise_row
from .reduce import Axis
from .table import floating, implements

SQRT2, SQRT_PI = math.sqrt(2.0), math.sqrt(math.pi)
#: Limits of draws for the arguments of distributions: probabilities, and shapes.
PROBABILITY, SHAPE = (0.05, 0.95), (0.5, 4.0)


def imported(module: str, name: str) -> Any:
    """Return a module of SciPy; raise an error that says what to install where there is none."""
    try:
        return importlib.import_module(f"scipy.{module}")
    except ImportError:
        raise ImportError(f"{name} is computed by SciPy, which is not installed: pip install scipy") from None


def scipy_kernel(name: str) -> Callable[..., Any]:
    """Return a kernel that calls the ufunc ``scipy.special.name``, in the dtype of its last argument."""

    def kernel(*xs: Any, out: Any = None) -> Any:
        *parameters, x = xs
        dtype = np.asarray(x).dtype
        same = [np.asarray(p, dtype) if dtype.kind == "f" else p for p in parameters]
        return getattr(imported("special", name), name)(*same, x, out=out)

    kernel.__name__ = name
    return kernel


def refused(name: str, argument: str) -> Callable[..., Any]:
    """Return the rule of an input in which a function has no derivative in closed form: asking for it raises."""

    def rule(g: Any, out: Any, *xs: Any) -> Any:
        raise TypeError(
            f"scipy.special.{name}: the derivative with respect to {argument} has no closed form and is not "
            f"implemented; take the derivative with respect to its last argument only ({argument}.detach() is constant)"
        )

    return rule


def special_row(
    name: str, vjp: Sequence[Callable[..., Any] | None], *domain: tuple[float, float], row: str = "", **more: Any
) -> Callable[..., Any]:
    """Register the row of the ufunc ``scipy.special.name``; return the function on tensors.

    `row` is its name in the table where the ufunc's is a word that means other things, too.
    """
    inputs = ", ".join(f"{{{i}}}" for i in range(len(vjp)))
    limits = domain or (REAL,) * len(vjp)
    more.setdefault("examples", lambda rng: [Example(tuple(rng.uniform(*pair, 2) for pair in limits))])
    kernel = None if "expand" in more else scipy_kernel(name)
    function = elementwise_row(
        kernel, vjp, more.pop("notation", name), *domain, name=row or name, floating=True,
        **({} if kernel is None else {"spelling": f"scipy.special.{name}({inputs})"}), **more,
    )  # fmt: skip
    FUNCTIONS[f"scipy.special.{name}"] = function
    return function


def with_parameters(*parameters: Any, low: float = 0.2, high: float = 3.0) -> Callable[..., Sequence[Example]]:
    """Return examples with given parameters, integers, which have no derivative, and a drawn last argument."""

    def examples(rng: np.random.Generator) -> Sequence[Example]:
        given = [np.asarray(p) for p in parameters]
        return [
            Example((*given, rng.uniform(low, high, 2))),
            Example((*given, np.zeros((0, 3)))),
        ]

    return examples


# -- gamma and beta functions ----------------------------------------------------------------------

gammaln = special_row("gammaln", (lambda g, out, x: g * digamma(x),), POSITIVE, notation="log Γ")
gamma = special_row("gamma", (lambda g, out, x: g * out * digamma(x),), POSITIVE, row="gamma_function", notation="Γ")
rgamma = special_row("rgamma", (lambda g, out, x: -g * out * digamma(x),), POSITIVE)
digamma: Callable[..., Any] = special_row(
    "psi", (lambda g, out, x: g * zeta(2.0, x),), POSITIVE, row="digamma", notation="ψ"
)
gammasgn = special_row("gammasgn", (None,), flat=True)
zeta: Callable[..., Any] = special_row(
    "zeta",
    (refused("zeta", "x"), lambda g, out, s, q: -g * s * zeta(s + 1.0, q)),
    notation="ζ",
    examples=with_parameters(2),
    source="Hurwitz's zeta function, DLMF 25.11.17",
)
FUNCTIONS["scipy.special.loggamma"] = lambda x: np.where(np.less(x, 0.0), np.nan, gammaln(x))  # complex there
FUNCTIONS["scipy.special.digamma"] = digamma
beta = special_row(
    "beta",
    (
        lambda g, out, a, b: g * out * (digamma(a) - digamma(a + b)),
        lambda g, out, a, b: g * out * (digamma(b) - digamma(a + b)),
    ),
    SHAPE,
    SHAPE,
    row="beta_function",
    notation="B",
)
betaln = special_row(
    "betaln",
    (
        lambda g, out, a, b: g * (digamma(a) - digamma(a + b)),
        lambda g, out, a, b: g * (digamma(b) - digamma(a + b)),
    ),
    SHAPE,
    SHAPE,
    notation="log B",
)
binom = special_row(
    "binom",
    (
        lambda g, out, n, k: g * out * (digamma(n + 1.0) - digamma(n - k + 1.0)),
        lambda g, out, n, k: g * out * (digamma(n - k + 1.0) - digamma(k + 1.0)),
    ),
    (3.1, 6.0),
    (0.2, 2.8),
)
poch = special_row(
    "poch",
    (
        lambda g, out, z, m: g * out * (digamma(z + m) - digamma(z)),
        lambda g, out, z, m: g * out * digamma(z + m),
    ),
    SHAPE,
    SHAPE,
)


@implements("scipy.special.polygamma")
def polygamma(n: int, x: Any) -> Any:
    """As ``scipy.special.polygamma``: derivative number `n`, an integer, of the digamma function."""
    order = int(n)
    if order < 0 or order != n:
        raise ValueError(f"polygamma: n is {n}, expected an integer >= 0")
    return digamma(x) if order == 0 else (-1.0) ** (order + 1) * math.factorial(order) * zeta(order + 1.0, x)


@implements("scipy.special.multigammaln")
def multigammaln(a: Any, d: int) -> Any:
    """As ``scipy.special.multigammaln``: the logarithm of the multivariate gamma function."""
    return sum((gammaln(a - 0.5 * j) for j in range(1, d)), gammaln(a)) + 0.25 * d * (d - 1) * math.log(math.pi)


def _gamma_density(a: Any, x: Any) -> Any:
    return np.exp(xlogy(a - 1.0, x) - x - gammaln(a))


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    return np.exp(xlogy(a - 1.0, x) + xlog1py(b - 1.0, -x) - betaln(a, b))


def _distribution(
    name: str, complement: str, parameters: str, density: Callable[..., Any], high: float
) -> list[Callable[..., Any]]:
    """Register a distribution function, its complement and the inverses of both."""
    made = []
    given = [2, 3][: len(parameters)]
    for word, sign in ((name, 1.0), (complement, -1.0)):
        made.append(
            special_row(
                word,
                (*[refused(word, p) for p in parameters], lambda g, out, *xs, sign=sign: g * (sign * density(*xs))),
                examples=with_parameters(*given, low=0.1, high=high),
            )
        )
        inverse = word + "inv"
        made.append(
            special_row(
                inverse,
                (
                    *[refused(inverse, p) for p in parameters],
                    lambda g, out, *xs, sign=sign: g * sign / density(*xs[:-1], out),
                ),
                examples=with_parameters(*given, low=0.1, high=0.9),
            )
        )
    return made


gammainc, gammaincinv, gammaincc, gammainccinv = _distribution("gammainc", "gammaincc", "a", _gamma_density, 4.0)
betainc, betaincinv, betaincc, betainccinv = _distribution("betainc", "betaincc", "ab", _beta_density, 0.9)


def _student_density(df: Any, t: Any) -> Any:
    scale = gammaln((df + 1.0) / 2.0) - gammaln(df / 2.0) - 0.5 * np.log(df * math.pi)
    return np.exp(scale - (df + 1.0) / 2.0 * np.log1p(t * t / df))


stdtr = special_row(
    "stdtr",
    (refused("stdtr", "df"), lambda g, out, df, t: g * _student_density(df, t)),
    examples=with_parameters(3, low=-2.0),
)
stdtrit = special_row(
    "stdtrit",
    (refused("stdtrit", "df"), lambda g, out, df, p: g / _student_density(df, out)),
    examples=with_parameters(3, low=0.1, high=0.9),
)

# -- the error function and the normal distribution ------------------------------------------------

FUNCTIONS["scipy.special.erf"] = activations.erf
FUNCTIONS["scipy.special.expit"] = activations.sigmoid
FUNCTIONS["scipy.special.log_expit"] = lambda x: -activations.softplus(-x)

erfc = special_row("erfc", (lambda g, out, x: g * (-2.0 / SQRT_PI * np.exp(-x * x)),))
erfcx = special_row("erfcx", (lambda g, out, x: g * (2.0 * x * out - 2.0 / SQRT_PI),))
erfi = special_row("erfi", (lambda g, out, x: g * (2.0 / SQRT_PI * np.exp(x * x)),), (-2.0, 2.0))
dawsn = special_row("dawsn", (lambda g, out, x: g * (1.0 - 2.0 * x * out),))
erfinv = special_row("erfinv", (lambda g, out, x: g * (0.5 * SQRT_PI * np.exp(out * out)),), UNIT)
erfcinv = special_row("erfcinv", (lambda g, out, x: g * (-0.5 * SQRT_PI * np.exp(out * out)),), (0.1, 1.9))


def _normal_density(x: Any) -> Any:
    return np.exp(-0.5 * x * x) / (SQRT2 * SQRT_PI)


def _hazard(x: Any) -> Any:
    """Return the derivative of log Φ; by erfcx for negative x, where Φ vanishes."""
    below, above = np.minimum(x, 0.0), np.maximum(x, 0.0)
    tail = (SQRT2 / SQRT_PI) / erfcx(-below / SQRT2)
    return np.where(np.less(x, 0.0), tail, _normal_density(above) / ndtr(above))


ndtr = special_row("ndtr", (lambda g, out, x: g * _normal_density(x),), notation="Φ")
log_ndtr = special_row("log_ndtr", (lambda g, out, x: g * _hazard(x),), notation="log Φ")
ndtri = special_row("ndtri", (lambda g, out, p: g / _normal_density(out),), PROBABILITY)
ndtri_exp = special_row("ndtri_exp", (lambda g, out, y: g * np.exp(y) / _normal_density(out),), (-3.0, -0.1))

# -- logarithms and entropies ----------------------------------------------------------------------

logit = special_row("logit", (lambda g, out, p: g / (p * (1.0 - p)),), PROBABILITY)


def _nonzero(x: Any) -> tuple[Any, Any]:
    """Return where `x` is zero, and `x` with ones there."""
    zero = np.equal(x, 0)
    return zero, np.where(zero, 1.0, x)


def _xlogy_expand(x: Any, y: Any) -> Any:
    """Product x log y, 0 where x = 0."""
    zero = np.logical_and(np.equal(x, 0), np.logical_not(np.isnan(y)))
    return np.where(zero, 0.0, x * np.log(np.where(zero, 1.0, y)))


def _xlog1py_expand(x: Any, y: Any) -> Any:
    """Product x log(1 + y), 0 where x = 0."""
    zero = np.logical_and(np.equal(x, 0), np.logical_not(np.isnan(y)))
    return np.where(zero, 0.0, x * np.log1p(np.where(zero, 0.0, y)))


def _over(x: Any, y: Any) -> Any:
    """Return x / y, 0 where x = 0 (also for y = 0)."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x / np.where(zero, 1.0, y))


xlogy = special_row(
    "xlogy",
    (lambda g, out, x, y: g * np.log(y), lambda g, out, x, y: g * _over(x, y)),
    REAL,
    POSITIVE,
    expand=_xlogy_expand,
)
xlog1py = special_row(
    "xlog1py",
    (lambda g, out, x, y: g * np.log1p(y), lambda g, out, x, y: g * _over(x, 1.0 + y)),
    REAL,
    (-0.8, 3.0),
    expand=_xlog1py_expand,
)
entr = special_row("entr", (lambda g, out, x: g * (-np.log(x) - 1.0),), POSITIVE)
rel_entr = special_row(
    "rel_entr",
    (lambda g, out, x, y: g * (np.log(x / y) + 1.0), lambda g, out, x, y: -g * _over(x, y)),
    POSITIVE,
    POSITIVE,
)
kl_div = special_row(
    "kl_div",
    (lambda g, out, x, y: g * np.log(x / y), lambda g, out, x, y: g * (1.0 - _over(x, y))),
    POSITIVE,
    POSITIVE,
)


@implements("scipy.special.huber")
def huber(delta: Any, r: Any) -> Any:
    """As ``scipy.special.huber``, for delta >= 0."""
    size = np.absolute(r)
    return np.where(np.less_equal(size, delta), 0.5 * np.square(r), delta * (size - 0.5 * delta))


@implements("scipy.special.pseudo_huber")
def pseudo_huber(delta: Any, r: Any) -> Any:
    """As ``scipy.special.pseudo_huber``, for delta > 0."""
    scaled = np.square(r / delta)
    return np.square(delta) * scaled / (1.0 + np.sqrt(1.0 + scaled))  # sqrt(1 + s) - 1, without cancellation


@implements("scipy.special.logsumexp")
def logsumexp(a: Any, axis: Axis = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """As ``scipy.special.logsumexp``: log(sum(b * exp(a))), without overflow."""
    if b is None and not return_sign:
        return logits.logsumexp(a, axis, keepdims)
    a = floating(a)
    top = np.max(a, axis=axis, keepdims=True)
    top = FUNCTIONS["stop_gradient"](np.where(np.isfinite(top), top, 0.0))
    weighted = np.exp(a - top) if b is None else np.where(np.equal(b, 0), 0.0, b * np.exp(a - top))
    total = np.sum(weighted, axis=axis, keepdims=keepdims)
    shift = top if keepdims else np.sum(top, axis=axis)
    if return_sign:
        return np.log(np.absolute(total)) + shift, np.sign(total)
    return np.log(total) + shift


@implements("scipy.special.softmax")
def softmax(x: Any, axis: Axis = None) -> Any:
    """As ``scipy.special.softmax``: over all axes by default."""
    x = floating(x)
    return logits.softmax(x, tuple(range(x.ndim)) if axis is None else axis)


@implements("scipy.special.log_softmax")
def log_softmax(x: Any, axis: Axis = None) -> Any:
    """As ``scipy.special.log_softmax``: over all axes by default."""
    x = floating(x)
    return logits.log_softmax(x, tuple(range(x.ndim)) if axis is None else axis)


for _name, _function in (
    ("exp2", np.exp2),
    ("expm1", np.expm1),
    ("log1p", np.log1p),
    ("cbrt", np.cbrt),
    ("exp10", lambda x: np.power(10.0, x)),
    ("sindg", lambda x: np.sin(np.deg2rad(x))),
    ("cosdg", lambda x: np.cos(np.deg2rad(x))),
    ("tandg", lambda x: np.tan(np.deg2rad(x))),
    ("cosm1", lambda x: -2.0 * np.square(np.sin(0.5 * x))),
):
    FUNCTIONS[f"scipy.special.{_name}"] = FUNCTIONS.get(_function, _function)
