"""Elementwise rows: arithmetic, powers, exponentials, trigonometry, extremes, rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from ..core.notation import Layout, call, fences, infix, raised, root, superscript
from ..core.op import ELEMENTWISE, register
from ..core.tensor import Tensor
from .exact_quotient import exact_quotient
from .table import as_dtype, composed, elementwise, elementwise_shape, implements, is_tensor

REAL = (-3.0, 3.0)
POSITIVE = (0.2, 3.0)
UNIT = (-0.9, 0.9)


def elementwise_row(
    kernel: Any,
    vjp: Sequence[Callable[..., Any] | None],
    notation: Layout | str,
    *domain: tuple[float, float],
    numpy: Sequence[Any] = (),
    name: str | None = None,
    floating: bool = False,
    result: Any = None,
    **more: Any,
) -> Callable[..., Any]:
    """Register an elementwise row and the NumPy functions it implements; return the function on tensors.

    The domain is that of each input, by default `REAL`.
    """
    name = name or kernel.__name__
    op = register(
        name,
        shape=elementwise_shape(name, result),
        kernel=None if "expand" in more else kernel,
        vjp=vjp,
        kind=ELEMENTWISE,
        notation=notation,
        domain=domain or (REAL,) * len(vjp),
        numpy=kernel if isinstance(kernel, np.ufunc) else numpy[0] if numpy else more.pop("spelling", None),
        flops=lambda out, *shapes, **attrs: math.prod(out),
        **more,
    )
    ufunc = next((f for f in (kernel, *numpy) if isinstance(f, np.ufunc)), None)
    function = elementwise(op, ufunc=ufunc, floating=floating)
    for key in numpy or ((kernel,) if isinstance(kernel, np.ufunc) else ()):
        FUNCTIONS[key] = function
    return function


# -- arithmetic ------------------------------------------------------------------------------------

add = elementwise_row(np.add, (lambda g, out, a, b: g, lambda g, out, a, b: g), infix("+"), commutative=True)
subtract = elementwise_row(np.subtract, (lambda g, out, a, b: g, lambda g, out, a, b: -g), infix("−"))
multiply = elementwise_row(
    np.multiply, (lambda g, out, a, b: g * b, lambda g, out, a, b: g * a), Layout("product"), commutative=True
)
divide = elementwise_row(
    np.divide,
    (lambda g, out, a, b: g / b, lambda g, out, a, b: -g * out / b),
    Layout("fraction"),
    REAL,
    POSITIVE,
    squared=lambda a, b: np.square(a) / np.square(b) if _at_kinks(a) else None,
)


def _at_kinks(x: Any) -> bool:
    """Whether `x` has kinks that its square has not, as a norm."""
    return isinstance(x, Tensor) and x.op is not None and x.op.at_kink is not None and x.op.squared is not None


negative = elementwise_row(np.negative, (lambda g, out, x: -g,), Layout("negative"))


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


_power = elementwise_row(np.power, (_power_base, _power_exponent), Layout("power"), POSITIVE, REAL)
_square = elementwise_row(np.square, (lambda g, out, x: g * (2.0 * x),), superscript("2"), numpy=())


@implements(np.square)
def square(x: Any) -> Any:
    """Return the square of `x`; of a norm, an absolute value or a deviation as the smooth function that it is."""
    if isinstance(x, Tensor) and x.op is not None and x.op.squared is not None:
        smooth = x.op.squared(*x.inputs, **x.attrs)
        if smooth is not None:
            return smooth
    return _square(x)


@implements(np.power)
def power(a: Any, b: Any) -> Any:
    """Return `a` to the power of `b`; small constant exponents become cheaper operations."""
    if isinstance(a, Tensor) and a.dtype.kind == "f" and type(b) in (int, float) and b in _CHEAPER:
        return _CHEAPER[b](a)
    return _power(a, b)


_CHEAPER: dict[float, Callable[[Any], Any]] = {1: lambda x: np.positive(x), 2: square, -1: lambda x: 1.0 / x}


@implements("**")
def power_operator(a: Any, b: Any) -> Any:
    """Return ``a**b``: as in NumPy, 0.5 is the square root (NaN of -inf), and 2 the square, also of integers."""
    number = isinstance(a, Tensor) and type(b) in (int, float)
    if number and b == 0.5 and a.dtype.kind == "f":
        return np.sqrt(a)
    return square(a) if number and b == 2 and type(b) is int else power(a, b)


@implements(np.float_power)
def float_power(a: Any, b: Any) -> Any:
    """As ``numpy.float_power``: `power` in float64."""
    return power(as_dtype(a, np.float64) if is_tensor(a) else a, as_dtype(b, np.float64))


@composed(np.reciprocal)
def reciprocal(x: Any) -> Any:
    """As ``numpy.reciprocal``, of floating-point numbers."""
    if x.dtype.kind != "f":
        raise TypeError(f"np.reciprocal of {x.dtype} rounds to 0 in NumPy and is not supported on tensors: use 1.0 / x")
    return 1.0 / x


# -- exponentials and logarithms -------------------------------------------------------------------

exp = elementwise_row(np.exp, (lambda g, out, x: g * out,), raised("e"))
expm1 = elementwise_row(np.expm1, (lambda g, out, x: g * (out + 1.0),), infix("−", raised("e", 0), "1"))
log = elementwise_row(np.log, (lambda g, out, x: g / x,), "log", POSITIVE)
log1p = elementwise_row(np.log1p, (lambda g, out, x: g / (1.0 + x),), call("log", infix("+", "1", 0)), (-0.7, 3.0))
sqrt = elementwise_row(np.sqrt, (lambda g, out, x: g * (0.5 / out),), root("√"), POSITIVE)
LN2, LN10 = math.log(2.0), math.log(10.0)
log2 = elementwise_row(np.log2, (lambda g, out, x: g / (x * LN2),), "log2", POSITIVE)
log10 = elementwise_row(np.log10, (lambda g, out, x: g / (x * LN10),), "log10", POSITIVE)
exp2 = elementwise_row(np.exp2, (lambda g, out, x: g * out * LN2,), raised("2"))


def _shift(out: Any) -> Any:
    return np.where(np.equal(out, -math.inf), 0.0, out)  # of two -inf the derivative is 0


logaddexp = elementwise_row(
    np.logaddexp,
    (lambda g, out, a, b: g * np.exp(a - _shift(out)), lambda g, out, a, b: g * np.exp(b - _shift(out))),
    call("log", infix("+", raised("e", 0), raised("e", 1))),
    commutative=True,
)
logaddexp2 = elementwise_row(
    np.logaddexp2,
    (lambda g, out, a, b: g * np.exp2(a - out), lambda g, out, a, b: g * np.exp2(b - out)),
    call("log2", infix("+", raised("2", 0), raised("2", 1))),
    commutative=True,
)
cbrt = elementwise_row(np.cbrt, (lambda g, out, x: g / (3.0 * out * out),), root("∛"), POSITIVE)

# -- trigonometry ----------------------------------------------------------------------------------

sin = elementwise_row(np.sin, (lambda g, out, x: g * np.cos(x),), "sin")
cos = elementwise_row(np.cos, (lambda g, out, x: -g * np.sin(x),), "cos")
tan = elementwise_row(np.tan, (lambda g, out, x: g * (1.0 + out * out),), "tan", (-1.2, 1.2))
arcsin = elementwise_row(np.arcsin, (lambda g, out, x: g / np.sqrt((1.0 - x) * (1.0 + x)),), "arcsin", UNIT)
arccos = elementwise_row(np.arccos, (lambda g, out, x: -g / np.sqrt((1.0 - x) * (1.0 + x)),), "arccos", UNIT)
arctan = elementwise_row(np.arctan, (lambda g, out, x: g / (1.0 + x * x),), "arctan")
arctan2 = elementwise_row(
    np.arctan2,
    (lambda g, out, y, x: g * x / (x * x + y * y), lambda g, out, y, x: -g * y / (x * x + y * y)),
    "arctan2",
    REAL,
    POSITIVE,
)
sinh = elementwise_row(np.sinh, (lambda g, out, x: g * np.cosh(x),), "sinh")
cosh = elementwise_row(np.cosh, (lambda g, out, x: g * np.sinh(x),), "cosh")
tanh = elementwise_row(np.tanh, (lambda g, out, x: g * (1.0 - out * out),), "tanh")
arcsinh = elementwise_row(np.arcsinh, (lambda g, out, x: g / np.sqrt(x * x + 1.0),), "arsinh")
arccosh = elementwise_row(np.arccosh, (lambda g, out, x: g / np.sqrt((x - 1.0) * (x + 1.0)),), "arcosh", (1.2, 3.0))
arctanh = elementwise_row(np.arctanh, (lambda g, out, x: g / ((1.0 - x) * (1.0 + x)),), "artanh", UNIT)


def _towards(g: Any, out: Any, a: Any) -> Any:
    """Return ``g * a / out``; at the origin, a kink, the subgradient 0."""
    exact = exact_quotient(g, out)
    return g * (a / np.where(np.equal(out, 0), np.inf, out)) if exact is None else exact * a


hypot = elementwise_row(
    np.hypot,
    (lambda g, out, a, b: _towards(g, out, a), lambda g, out, a, b: _towards(g, out, b)),
    root("√", infix("+", superscript("2", 0), superscript("2", 1))),
    POSITIVE,
    POSITIVE,
    commutative=True,
    kinks=(((0.0, 0.0), (0.0, 0.0)),),
    at_kink=lambda out, a, b: np.equal(out, 0),
    squared=lambda a, b: np.square(a) + np.square(b),
)

# -- kinks -----------------------------------------------------------------------------------------


def _absolute_rule(g: Any, out: Any, x: Any) -> Any:
    exact = exact_quotient(g, out)
    return g * np.sign(x) if exact is None else exact * x


absolute = elementwise_row(
    np.absolute,
    (_absolute_rule,),
    fences("| |"),
    kinks=(((0.0,), (0.0,)),),
    at_kink=lambda out, x: np.equal(x, 0),
    squared=lambda x: np.square(x),
)
fabs = composed(np.fabs)(absolute)
sign = elementwise_row(np.sign, (None,), "sign", flat=True)


def _winner(g: Any, wins: Any, tie: Any) -> Any:
    """Return `g` where this input wins, half of it at a tie, else 0."""
    return np.where(tie, 0.5 * g, np.where(wins, g, 0.0))


_maximum = elementwise_row(
    np.maximum,
    (
        lambda g, out, a, b: _winner(g, np.greater(a, b), np.equal(a, b)),
        lambda g, out, a, b: _winner(g, np.greater(b, a), np.equal(a, b)),
    ),
    "max",
    numpy=(),
    commutative=True,
    kinks=(((1.0, 1.0), (0.5, 0.5)),),
    at_kink=lambda out, a, b: np.equal(a, b),
    alone=(
        lambda g, out, a, b: np.where(np.greater(a, b), g, 0.0),
        lambda g, out, a, b: np.where(np.greater(b, a), g, 0.0),
    ),
    selects=lambda i, out, a, b: (lambda: np.equal((a, b)[i], out), True),
)


@implements(np.maximum)
def maximum(a: Any, b: Any) -> Any:
    """Return the larger of each pair; at a tie, two variables share the gradient; beside a constant it is 0."""
    if type(b) in (int, float) and b == 0 and isinstance(a, Tensor) and a.dtype.kind == "f":
        return FUNCTIONS["relu"](a)
    if type(a) in (int, float) and a == 0 and isinstance(b, Tensor) and b.dtype.kind == "f":
        return FUNCTIONS["relu"](b)
    return _maximum(a, b)


minimum = elementwise_row(
    np.minimum,
    (
        lambda g, out, a, b: _winner(g, np.less(a, b), np.equal(a, b)),
        lambda g, out, a, b: _winner(g, np.less(b, a), np.equal(a, b)),
    ),
    "min",
    commutative=True,
    kinks=(((1.0, 1.0), (0.5, 0.5)),),
    at_kink=lambda out, a, b: np.equal(a, b),
    alone=(
        lambda g, out, a, b: np.where(np.less(a, b), g, 0.0),
        lambda g, out, a, b: np.where(np.less(b, a), g, 0.0),
    ),
    selects=lambda i, out, a, b: (lambda: np.equal((a, b)[i], out), True),
)


def _extreme_number(ufunc: Any, beats: Any) -> Any:
    """Make the row of an extreme that is NaN only where both inputs are."""

    def wins(a: Any, b: Any) -> Any:
        return np.logical_or(beats(a, b), np.isnan(b))

    return elementwise_row(
        ufunc,
        (
            lambda g, out, a, b: _winner(g, wins(a, b), np.equal(a, b)),
            lambda g, out, a, b: _winner(g, wins(b, a), np.equal(a, b)),
        ),
        ufunc.__name__,
        commutative=True,
        kinks=(((1.0, 1.0), (0.5, 0.5)),),
        at_kink=lambda out, a, b: np.equal(a, b),
        alone=(
            lambda g, out, a, b: np.where(wins(a, b), g, 0.0),
            lambda g, out, a, b: np.where(wins(b, a), g, 0.0),
        ),
        selects=lambda i, out, a, b: (lambda: np.equal((a, b)[i], out), True),
    )


fmax = _extreme_number(np.fmax, np.greater)
fmin = _extreme_number(np.fmin, np.less)
floor = elementwise_row(np.floor, (None,), fences("⌊ ⌋"), flat=True)
ceil = elementwise_row(np.ceil, (None,), fences("⌈ ⌉"), flat=True)
rint = elementwise_row(np.rint, (None,), "round", flat=True)
trunc = elementwise_row(np.trunc, (None,), "trunc", numpy=(np.trunc, np.fix), flat=True)


@implements(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """As ``numpy.clip``; the derivative is 1 inside, and 0 at the bounds, as `maximum`'s and `minimum`'s."""
    low = a_min if a_min is not None else min
    high = a_max if a_max is not None else max
    if low is None and high is None:
        return np.positive(a)
    if low is not None:
        a = np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


@implements(np.round, np.around)
def round(a: Any, decimals: int = 0) -> Any:
    """As ``numpy.round``; the derivative is zero."""
    if a.dtype.kind in "iu" and decimals >= 0:
        return np.copy(a)
    if a.dtype.kind == "b" and decimals:
        raise TypeError("np.round of truth values to decimals is an error in NumPy: convert them first")
    if decimals == 0:
        return rint(a)
    scale = 10.0 ** abs(decimals)
    return as_dtype(rint(a * scale) / scale if decimals > 0 else rint(a / scale) * scale, a.dtype)


floor_divide = elementwise_row(
    np.floor_divide, (None, None), fences("⌊ ⌋", Layout("fraction")), REAL, POSITIVE, flat=True
)
remainder = elementwise_row(
    np.remainder,
    (lambda g, out, a, b: g, lambda g, out, a, b: -g * np.floor_divide(a, b)),
    "mod",
    REAL,
    POSITIVE,
    kinks=(((3.0, 1.5), (1.0, -2.0)),),
    at_kink=lambda out, a, b: np.equal(out, 0),
)
fmod = elementwise_row(
    np.fmod,
    # the quotient is whole: rounded, as the quotient of rounded numbers may be just below it
    (lambda g, out, a, b: g, lambda g, out, a, b: -g * np.rint((a - out) / b)),
    "fmod",
    REAL,
    POSITIVE,
    kinks=(((3.0, 1.5), (1.0, -2.0)),),
    at_kink=lambda out, a, b: np.equal(out, 0),
)


@implements(np.divmod)
def divmod(a: Any, b: Any) -> tuple[Any, Any]:
    """As ``numpy.divmod``: the quotient rounded down, and what remains."""
    return np.floor_divide(a, b), np.remainder(a, b)


for _function, _factor in (
    (np.deg2rad, math.pi / 180),
    (np.radians, math.pi / 180),
    (np.rad2deg, 180 / math.pi),
    (np.degrees, 180 / math.pi),
):
    composed(_function)(lambda x, _factor=_factor: x * _factor)


@implements(np.sinc)
def sinc(x: Any) -> Any:
    """As ``numpy.sinc``: sin(pi x) / (pi x), 1 at 0."""
    zero = np.equal(x, 0)
    scaled = np.where(zero, 1.0, x) * math.pi
    # around 0 the series to second order keeps value, slope and curvature
    return np.where(zero, 1.0 - (math.pi * x) ** 2 / 6.0, np.sin(scaled) / scaled)
