"""Elementwise rows: arithmetic, powers, exponentials, trigonometry, activations, choices, comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..op import ELEMENTWISE, Example, Operation
from ..tensor import FUNCTIONS, Tensor, apply
from .erf import erf_array
from .table import as_dtype, elementwise, elementwise_shape, implements, is_tensor, promote, register, shape_of

REAL = (-3.0, 3.0)
POSITIVE = (0.2, 3.0)
UNIT = (-0.9, 0.9)


def _row(
    kernel: Any,
    vjp: Sequence[Callable[..., Any] | None],
    latex: str,
    *domain: tuple[float, float],
    numpy: Sequence[Any] = (),
    name: str | None = None,
    floating: bool = False,
    result: Any = None,
    **more: Any,
) -> Callable[..., Any]:
    """Register an elementwise row and the NumPy functions it implements; return the function on tensors."""
    name = name or kernel.__name__
    op = register(
        Operation(
            name,
            shape=elementwise_shape(name, result),
            kernel=None if "expand" in more else kernel,
            vjp=vjp,
            kind=ELEMENTWISE,
            latex=latex,
            domain=domain,
            flops=lambda out, *shapes, **attrs: math.prod(out),
            **more,
        )
    )
    function = elementwise(op, floating=floating)
    for key in numpy or ((kernel,) if isinstance(kernel, np.ufunc) else ()):
        FUNCTIONS[key] = function
    return function


# -- arithmetic ------------------------------------------------------------------------------------------------------

add = _row(np.add, (lambda g, out, a, b: g, lambda g, out, a, b: g), "{0} + {1}", REAL, REAL, commutative=True, precedence=0)
subtract = _row(np.subtract, (lambda g, out, a, b: g, lambda g, out, a, b: -g), "{0} - {1}", REAL, REAL, precedence=0)
multiply = _row(
    np.multiply,
    (lambda g, out, a, b: g * b, lambda g, out, a, b: g * a),
    r"{0} \odot {1}",
    REAL,
    REAL,
    commutative=True,
    precedence=1,
)
divide = _row(
    np.divide,
    (lambda g, out, a, b: g / b, lambda g, out, a, b: -g * out / b),
    r"\frac{{{0}}}{{{1}}}",
    REAL,
    POSITIVE,
    floating=True,
)
negative = _row(np.negative, (lambda g, out, x: -g,), "-{0}", REAL, precedence=0)


def _no_zero(b: Any) -> bool:
    """Whether `b` is known and nowhere zero, so that power's rule needs no guard."""
    value = b.value if isinstance(b, Tensor) else b
    return value is not None and not (isinstance(b, Tensor) and b.recordings) and bool(np.all(value != 0))


def _power_base(g: Any, out: Any, a: Any, b: Any) -> Any:
    if _no_zero(b):
        return g * b * np.power(a, b - 1)
    zero = np.equal(b, 0)  # x**0 is constant, also at x = 0, where 0 * x**-1 would be NaN
    return np.where(zero, 0.0, g * b * np.power(a, np.where(zero, 1.0, b - 1)))


def _power_exponent(g: Any, out: Any, a: Any, b: Any) -> Any:
    return g * out * np.log(np.where(np.equal(a, 0), 1.0, a))


_power = _row(np.power, (_power_base, _power_exponent), "{{{0}}}^{{{1}}}", POSITIVE, REAL, precedence=2)
square = _row(np.square, (lambda g, out, x: g * (2.0 * x),), "{0}^2", REAL, precedence=2)


@implements(np.power, np.float_power)
def power(a: Any, b: Any) -> Any:
    """Return `a` to the power of `b`; small constant exponents become cheaper operations."""
    if isinstance(a, Tensor) and a.dtype.kind == "f" and type(b) in (int, float) and b in (1, 2, 0.5, -1):
        return {1: lambda x: x + 0.0, 2: square, 0.5: np.sqrt, -1: lambda x: 1.0 / x}[b](a)
    return _power(a, b)


reciprocal = implements(np.reciprocal)(lambda x: 1.0 / x)

# -- exponentials and logarithms ---------------------------------------------------------------------------------------

exp = _row(np.exp, (lambda g, out, x: g * out,), "e^{{{0}}}", REAL, floating=True, precedence=2)
expm1 = _row(np.expm1, (lambda g, out, x: g * (out + 1.0),), "e^{{{0}}} - 1", REAL, floating=True, precedence=0)
log = _row(np.log, (lambda g, out, x: g / x,), r"\log {0}", POSITIVE, floating=True, precedence=2)
log1p = _row(np.log1p, (lambda g, out, x: g / (1.0 + x),), r"\log(1 + {0})", (-0.7, 3.0), floating=True)
sqrt = _row(np.sqrt, (lambda g, out, x: g * (0.5 / out),), r"\sqrt{{{0}}}", POSITIVE, floating=True)
LN2, LN10 = math.log(2.0), math.log(10.0)
log2 = _row(np.log2, (lambda g, out, x: g / (x * LN2),), r"\log_2 {0}", POSITIVE, floating=True, precedence=2)
log10 = _row(np.log10, (lambda g, out, x: g / (x * LN10),), r"\log_{{10}} {0}", POSITIVE, floating=True, precedence=2)
exp2 = _row(np.exp2, (lambda g, out, x: g * out * LN2,), "2^{{{0}}}", REAL, floating=True, precedence=2)
logaddexp = _row(
    np.logaddexp,
    (lambda g, out, a, b: g * np.exp(a - out), lambda g, out, a, b: g * np.exp(b - out)),
    r"\log(e^{{{0}}} + e^{{{1}}})",
    REAL,
    REAL,
    floating=True,
    commutative=True,
)
cbrt = _row(np.cbrt, (lambda g, out, x: g / (3.0 * out * out),), r"\sqrt[3]{{{0}}}", POSITIVE, floating=True)

# -- trigonometry ------------------------------------------------------------------------------------------------------

sin = _row(np.sin, (lambda g, out, x: g * np.cos(x),), r"\sin {0}", REAL, floating=True, precedence=2)
cos = _row(np.cos, (lambda g, out, x: -g * np.sin(x),), r"\cos {0}", REAL, floating=True, precedence=2)
tan = _row(np.tan, (lambda g, out, x: g * (1.0 + out * out),), r"\tan {0}", (-1.2, 1.2), floating=True, precedence=2)
arcsin = _row(np.arcsin, (lambda g, out, x: g / np.sqrt((1.0 - x) * (1.0 + x)),), r"\arcsin {0}", UNIT, floating=True, precedence=2)
arccos = _row(np.arccos, (lambda g, out, x: -g / np.sqrt((1.0 - x) * (1.0 + x)),), r"\arccos {0}", UNIT, floating=True, precedence=2)
arctan = _row(np.arctan, (lambda g, out, x: g / (1.0 + x * x),), r"\arctan {0}", REAL, floating=True, precedence=2)
arctan2 = _row(
    np.arctan2,
    (lambda g, out, y, x: g * x / (x * x + y * y), lambda g, out, y, x: -g * y / (x * x + y * y)),
    r"\operatorname{{atan2}}({0}, {1})",
    REAL,
    POSITIVE,
    floating=True,
)
sinh = _row(np.sinh, (lambda g, out, x: g * np.cosh(x),), r"\sinh {0}", REAL, floating=True, precedence=2)
cosh = _row(np.cosh, (lambda g, out, x: g * np.sinh(x),), r"\cosh {0}", REAL, floating=True, precedence=2)
tanh = _row(np.tanh, (lambda g, out, x: g * (1.0 - out * out),), r"\tanh {0}", REAL, floating=True, precedence=2)
arcsinh = _row(
    np.arcsinh, (lambda g, out, x: g / np.sqrt(x * x + 1.0),), r"\operatorname{{arsinh}} {0}", REAL, floating=True, precedence=2
)
arccosh = _row(
    np.arccosh,
    (lambda g, out, x: g / np.sqrt((x - 1.0) * (x + 1.0)),),
    r"\operatorname{{arcosh}} {0}",
    (1.2, 3.0),
    floating=True,
    precedence=2,
)
arctanh = _row(
    np.arctanh, (lambda g, out, x: g / ((1.0 - x) * (1.0 + x)),), r"\operatorname{{artanh}} {0}", UNIT, floating=True, precedence=2
)
hypot = _row(
    np.hypot,
    (lambda g, out, a, b: g * (a / out), lambda g, out, a, b: g * (b / out)),
    r"\sqrt{{{0}^2 + {1}^2}}",
    POSITIVE,
    POSITIVE,
    floating=True,
    commutative=True,
)

# -- activations: rows of their own, stable over all of float range ------------------------------------------------------


def _sigmoid_expand(x: Any) -> Any:
    # exp may overflow to infinity for very negative x; 1/inf is the right 0, and nothing cancels elsewhere
    return 1.0 / (1.0 + np.exp(-x))


sigmoid = _row(
    None,
    (lambda g, out, x: g * (out * (1.0 - out)),),
    r"\sigma({0})",
    REAL,
    name="sigmoid",
    expand=_sigmoid_expand,
    floating=True,
)


def _softplus_kernel(x: Any, out: Any = None) -> Any:
    return np.logaddexp(x, x.dtype.type(0), out=out)


softplus = _row(
    _softplus_kernel, (lambda g, out, x: g * sigmoid(x),), r"\log(1 + e^{{{0}}})", REAL, name="softplus", floating=True
)


def _relu_kernel(x: Any, out: Any = None) -> Any:
    return np.maximum(x, x.dtype.type(0), out=out)


relu = _row(
    _relu_kernel,
    (lambda g, out, x: g * np.greater(x, 0.0),),
    r"\max(0, {0})",
    REAL,
    name="relu",
    floating=True,
    kinks=(((0.0,), (0.0,)),),
)
erf = _row(
    erf_array,
    (lambda g, out, x: g * (2.0 / math.sqrt(math.pi) * np.exp(-x * x)),),
    r"\operatorname{{erf}}({0})",
    REAL,
    name="erf",
    floating=True,
    aliases=(),
    source="erf' (x) = 2/sqrt(pi) exp(-x^2), Abramowitz & Stegun 7.1.19",
)


def _binary_cross_entropy_expand(z: Any, t: Any) -> Any:
    # max(z, 0) - z t + log(1 + e^-|z|): neither overflows nor cancels for large |z|
    return np.maximum(z, 0.0) - z * t + np.log1p(np.exp(-np.absolute(z)))


binary_cross_entropy_with_logits = _row(
    None,
    (lambda g, out, z, t: g * (sigmoid(z) - t), lambda g, out, z, t: -g * z),
    r"\log(1 + e^{{{0}}}) - {1} \odot {0}",
    REAL,
    (0.0, 1.0),
    name="binary_cross_entropy_with_logits",
    expand=_binary_cross_entropy_expand,
    floating=True,
    precedence=0,
)

# -- kinks ---------------------------------------------------------------------------------------------------------------

absolute = _row(
    np.absolute, (lambda g, out, x: g * np.sign(x),), r"\left|{0}\right|", REAL, numpy=(np.absolute, np.fabs), kinks=(((0.0,), (0.0,)),)
)
sign = _row(np.sign, (None,), r"\operatorname{{sign}}({0})", REAL)


def _winner(g: Any, wins: Any, tie: Any) -> Any:
    """Return `g` where this input wins, half of it at a tie, else 0."""
    return np.where(tie, 0.5 * g, np.where(wins, g, 0.0))


maximum = _row(
    np.maximum,
    (
        lambda g, out, a, b: _winner(g, np.greater(a, b), np.equal(a, b)),
        lambda g, out, a, b: _winner(g, np.greater(b, a), np.equal(a, b)),
    ),
    r"\max({0}, {1})",
    REAL,
    REAL,
    numpy=(np.maximum, np.fmax),
    commutative=True,
    kinks=(((1.0, 1.0), (0.5, 0.5)),),
)
minimum = _row(
    np.minimum,
    (
        lambda g, out, a, b: _winner(g, np.less(a, b), np.equal(a, b)),
        lambda g, out, a, b: _winner(g, np.less(b, a), np.equal(a, b)),
    ),
    r"\min({0}, {1})",
    REAL,
    REAL,
    numpy=(np.minimum, np.fmin),
    commutative=True,
    kinks=(((1.0, 1.0), (0.5, 0.5)),),
)
floor = _row(np.floor, (None,), r"\lfloor {0} \rfloor", REAL, floating=True)
ceil = _row(np.ceil, (None,), r"\lceil {0} \rceil", REAL, floating=True)
rint = _row(np.rint, (None,), r"\operatorname{{round}}({0})", REAL, floating=True)
trunc = _row(np.trunc, (None,), r"\operatorname{{trunc}}({0})", REAL, numpy=(np.trunc, np.fix), floating=True)


@implements(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """As ``numpy.clip``; the derivative is 1 inside and at the bounds' ties 1/2, as `maximum`'s and `minimum`'s."""
    low = a_min if a_min is not None else min
    high = a_max if a_max is not None else max
    if low is not None:
        a = np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


@implements(np.round, np.around)
def round(a: Any, decimals: int = 0) -> Any:
    """As ``numpy.round``; the derivative is zero."""
    return rint(a) if decimals == 0 else rint(a * 10.0**decimals) / 10.0**decimals


@implements(np.remainder)
def remainder(a: Any, b: Any) -> Any:
    """As ``numpy.remainder`` (the sign is the divisor's)."""
    return a - b * np.floor(a / b)


@implements(np.fmod)
def fmod(a: Any, b: Any) -> Any:
    """As ``numpy.fmod`` (the sign is the dividend's)."""
    return a - b * np.trunc(a / b)


@implements(np.floor_divide)
def floor_divide(a: Any, b: Any) -> Any:
    """As ``numpy.floor_divide``; the derivative is zero."""
    return np.floor(a / b)


# -- choices -------------------------------------------------------------------------------------------------------------


def _where_kernel(condition: Any, a: Any, b: Any, out: Any = None) -> Any:
    if out is None:
        return np.where(condition, a, b)
    if out is not b:
        np.copyto(out, b)
    np.copyto(out, a, where=condition)
    return out


def _where_shape(condition: Any, a: Any, b: Any) -> Any:
    return elementwise_shape("where")(condition, a, b)[0], a.dtype


_WHERE = register(
    Operation(
        "where",
        shape=_where_shape,
        kernel=_where_kernel,
        vjp=(
            None,
            lambda g, out, c, a, b: np.where(c, g, 0.0),
            lambda g, out, c, a, b: np.where(c, 0.0, g),
        ),
        kind=ELEMENTWISE,
        latex=r"\left\{{{1}\text{{ if }}{0}\text{{ else }}{2}\right\}}",
        aliases=(),
        flops=lambda out, *shapes, **attrs: 0,
        examples=lambda rng: [
            Example((rng.random((3, 4)) > 0.5, rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))),
            Example((rng.random((3, 1)) > 0.5, rng.normal(size=4), rng.normal(size=()))),
        ],
    )
)


@implements(np.where)
def where(condition: Any, a: Any = None, b: Any = None) -> Any:
    """As ``numpy.where`` with three arguments: `a` where `condition` holds, else `b`."""
    if a is None or b is None:
        raise TypeError("np.where(condition) alone gives positions, which depend on values; pass all three arguments")
    if is_tensor(condition):
        condition = condition if condition.dtype == bool else np.not_equal(condition, 0)
    else:
        condition = np.asarray(condition, dtype=bool)
    (a, b), weak = promote(a, b)
    out = apply(_WHERE, (condition, a, b), {})
    out.weak = weak and shape_of(condition) == ()
    return out


@implements("stop_gradient")
def stop_gradient(x: Any) -> Any:
    """Return `x` as a constant: no derivative is taken through it."""
    return apply(_STOP, (x,), {}) if is_tensor(x) else x


def _copy_kernel(x: Any, out: Any = None) -> Any:
    if out is None:
        return x
    np.copyto(out, x)
    return out


_STOP = register(
    Operation(
        "stop_gradient",
        shape=lambda x: (x.shape, x.dtype),
        kernel=_copy_kernel,
        vjp=(None,),
        kind=ELEMENTWISE,
        differentiable=False,
        latex="{0}",
        domain=(REAL,),
    )
)
_IDENTITY = register(
    Operation(
        "identity",
        shape=lambda x: (x.shape, x.dtype),
        kernel=_copy_kernel,
        vjp=(lambda g, out, x: g,),
        kind=ELEMENTWISE,
        latex="{0}",
        domain=(REAL,),
        flops=lambda out, *shapes, **attrs: 0,
    )
)


@implements("identity", np.copy, np.positive)
def identity(x: Any) -> Any:
    """Return the same value as a node of its own."""
    if not is_tensor(x):
        return x
    out = apply(_IDENTITY, (x,), {})
    out.weak = x.weak
    return out


# -- comparisons and logic: nothing flows through them ---------------------------------------------------------------------

for _ufunc, _sign in (
    (np.equal, "="),
    (np.not_equal, r"\neq"),
    (np.less, "<"),
    (np.less_equal, r"\leq"),
    (np.greater, ">"),
    (np.greater_equal, r"\geq"),
    (np.logical_and, r"\land"),
    (np.logical_or, r"\lor"),
    (np.logical_xor, r"\oplus"),
):
    _row(
        _ufunc,
        (None, None),
        "{0} " + _sign + " {1}",
        REAL,
        REAL,
        differentiable=False,
        result=bool,
        precedence=0,
        aliases=(),
        commutative=_ufunc not in (np.less, np.less_equal, np.greater, np.greater_equal),
    )
for _ufunc in (np.logical_not, np.isnan, np.isinf, np.isfinite, np.signbit):
    _row(
        _ufunc,
        (None,),
        r"\operatorname{{" + _ufunc.__name__.replace("_", r"\_") + "}}({0})",
        REAL,
        differentiable=False,
        result=bool,
        aliases=(),
    )
for _bitwise, _logical in (
    (np.bitwise_and, np.logical_and),
    (np.bitwise_or, np.logical_or),
    (np.bitwise_xor, np.logical_xor),
    (np.invert, np.logical_not),
):
    FUNCTIONS[_bitwise] = FUNCTIONS[_logical]


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """As ``numpy.nan_to_num``; no derivative flows through replaced elements."""
    limit = float(np.finfo(x.dtype).max)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(np.equal(x, np.inf), limit if posinf is None else posinf, x)
    return np.where(np.equal(x, -np.inf), -limit if neginf is None else neginf, x)


for _function, _factor in ((np.deg2rad, math.pi / 180), (np.radians, math.pi / 180), (np.rad2deg, 180 / math.pi), (np.degrees, 180 / math.pi)):
    FUNCTIONS[_function] = lambda x, _factor=_factor: x * _factor


@implements(np.sinc)
def sinc(x: Any) -> Any:
    """As ``numpy.sinc``: sin(pi x) / (pi x), 1 at 0."""
    zero = np.equal(x, 0)
    scaled = np.where(zero, 1.0, x) * math.pi
    # around 0 the series to second order keeps value, slope and curvature
    return np.where(zero, 1.0 - (math.pi * x) ** 2 / 6.0, np.sin(scaled) / scaled)


@implements(np.heaviside)
def heaviside(x: Any, at_zero: Any) -> Any:
    """As ``numpy.heaviside``; the derivative is zero."""
    return np.where(np.equal(x, 0), at_zero, as_dtype(np.greater(x, 0), x.dtype if is_tensor(x) else np.float64))


def silu(x: Any) -> Any:
    """Return x · sigmoid(x) (SiLU, swish)."""
    return x * sigmoid(x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """Return x · Φ(x), Φ the normal distribution function; with `approximate`, by the tanh formula.

    Source: Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.
    """
    if approximate:
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + erf(x * (1 / math.sqrt(2.0))))


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where positive, else alpha (e^x - 1). Source: Clevert et al., 2015."""
    return np.where(np.greater(x, 0), x, alpha * np.expm1(np.minimum(x, 0.0)))


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """Return x where positive, else slope · x; the subgradient at 0 is `slope`."""
    return np.where(np.greater(x, 0), x, slope * x)
