"""Complex numbers within functions of real ones: a pair of tensors, its operators and NumPy functions.

Tensors are real. What is complex in between, such as a Fourier transform, is a `Complex`, whose operations are
compositions of real ones; so plans and engines know real numbers only, and gradients are those of the real inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .table import array_of, implements, is_tensor, shape_of

#: NumPy function -> implementation on complex pairs.
COMPLEX: dict[Any, Callable[..., Any]] = {}


class Complex:
    """Complex numbers as two real tensors (or arrays) of one shape.

    Attributes
    ----------
    real, imag : tensor
        The two parts.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> z = np.fft.rfft(cr.tensor([1.0, 2.0, 3.0]))
    >>> z.shape, np.abs(z).value.round(3)
    ((2,), array([6.   , 1.732]))
    """

    __slots__ = ("imag", "real")
    of_tensors = True  # functions of it and of tensors are its own

    def __init__(self, real: Any, imag: Any) -> None:
        self.real, self.imag = np.broadcast_arrays(array_of(real), array_of(imag))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of both parts."""
        return tuple(shape_of(self.real))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of these numbers in NumPy: complex64 for parts of float32, else complex128."""
        return np.result_type(self.real.dtype, np.complex64)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def T(self) -> Any:
        """The transpose: all axes reversed."""
        return np.transpose(self)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Complex(real={self.real!r}, imag={self.imag!r})"

    def __bool__(self) -> bool:
        raise TypeError("the truth value of a complex tensor is not defined; compare its real and imag parts")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if is_tensor(self.real, self.imag):
            raise TypeError(
                "a complex tensor cannot be converted to a plain array: compute its real result first, e.g. by np.abs, "
                "np.real or np.fft.irfft"
            )
        return self.real + 1j * self.imag

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs or ufunc not in COMPLEX:
            raise TypeError(_missing(ufunc, "" if method == "__call__" else f".{method}"))
        return COMPLEX[ufunc](*inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func not in COMPLEX:
            raise TypeError(_missing(func))
        return COMPLEX[func](*args, **kwargs)

    def __getitem__(self, index: Any) -> Complex:
        return Complex(self.real[index], self.imag[index])

    def __add__(self, other: Any) -> Any:
        return COMPLEX[np.add](self, other)

    def __sub__(self, other: Any) -> Any:
        return COMPLEX[np.subtract](self, other)

    def __rsub__(self, other: Any) -> Any:
        return COMPLEX[np.subtract](other, self)

    def __mul__(self, other: Any) -> Any:
        return COMPLEX[np.multiply](self, other)

    def __truediv__(self, other: Any) -> Any:
        return COMPLEX[np.divide](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return COMPLEX[np.divide](other, self)

    def __pow__(self, other: Any) -> Any:
        return COMPLEX[np.power](self, other)

    def __matmul__(self, other: Any) -> Any:
        return COMPLEX[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return COMPLEX[np.matmul](other, self)

    def __neg__(self) -> Any:
        return COMPLEX[np.negative](self)

    def __abs__(self) -> Any:
        return COMPLEX[np.absolute](self)

    __radd__: Callable[..., Any] = __add__
    __rmul__: Callable[..., Any] = __mul__

    def conj(self) -> Complex:
        """Return the complex conjugate."""
        return Complex(self.real, -self.imag)

    def reshape(self, *shape: Any) -> Any:
        """As ``numpy.ndarray.reshape``."""
        return Complex(self.real.reshape(*shape), self.imag.reshape(*shape))

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """As ``numpy.ndarray.sum``."""
        return np.sum(self, axis=axis, keepdims=keepdims)


def _missing(function: Any, method: str = "") -> str:
    known = ", ".join(sorted({f"np.{f.__name__}" for f in COMPLEX}))
    return f"np.{function.__name__}{method} is not available for complex tensors; there are {known}"


def is_complex(x: Any) -> bool:
    """Whether `x` is a number, an array or a pair of tensors that is complex."""
    return isinstance(x, Complex) or (not is_tensor(x) and np.iscomplexobj(x))


def pair(x: Any) -> Complex:
    """Return `x`, real or complex, as a pair."""
    if isinstance(x, Complex):
        return x
    if not is_complex(x):
        return Complex(x, np.zeros(shape_of(x), array_of(x).dtype))
    return Complex(np.real(x), np.imag(x))


@implements("complex")
def complex_operation(ufunc: Any, *xs: Any) -> Any:
    """Apply a ufunc to operands of which one is complex."""
    if ufunc not in COMPLEX:
        raise TypeError(_missing(ufunc))
    return COMPLEX[ufunc](*xs)


def _of(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(implementation: Callable[..., Any]) -> Callable[..., Any]:
        COMPLEX.update(dict.fromkeys(functions, implementation))
        return implementation

    return decorate


@_of(np.add)
def _add(a: Any, b: Any) -> Complex:
    a, b = pair(a), pair(b)
    return Complex(a.real + b.real, a.imag + b.imag)


@_of(np.subtract)
def _subtract(a: Any, b: Any) -> Complex:
    a, b = pair(a), pair(b)
    return Complex(a.real - b.real, a.imag - b.imag)


def _bilinear(function: Callable[..., Any], a: Any, b: Any) -> Complex:
    """Return what a product of two complex arguments gives, of any kind that is linear in both."""
    if not is_complex(b):
        return Complex(function(a.real, b), function(a.imag, b))
    if not is_complex(a):
        return Complex(function(a, b.real), function(a, b.imag))
    a, b = pair(a), pair(b)
    real = function(a.real, b.real) - function(a.imag, b.imag)
    return Complex(real, function(a.real, b.imag) + function(a.imag, b.real))


for _product in (np.multiply, np.matmul, np.dot, np.outer, np.convolve, np.tensordot):
    COMPLEX[_product] = lambda a, b, *rest, _f=_product: _bilinear(lambda x, y: _f(x, y, *rest), a, b)


@_of(np.divide)
def _divide(a: Any, b: Any) -> Complex:
    if not is_complex(b):
        return Complex(a.real / b, a.imag / b)
    b = pair(b)
    over: Any = COMPLEX[np.multiply](a, b.conj())
    length = np.square(b.real) + np.square(b.imag)
    return Complex(over.real / length, over.imag / length)


@_of(np.exp)
def _exp(z: Complex) -> Complex:
    size = np.exp(z.real)
    return Complex(size * np.cos(z.imag), size * np.sin(z.imag))


@_of(np.log)
def _log(z: Complex) -> Complex:
    return Complex(np.log(np.hypot(z.real, z.imag)), np.arctan2(z.imag, z.real))


@_of(np.power)
def _power(z: Any, exponent: Any) -> Any:
    if isinstance(exponent, int) and exponent >= 0:
        result: Any = pair(np.ones(shape_of(z)))
        for _ in range(exponent):
            result = result * z
        return result
    return _exp(_bilinear(np.multiply, _log(pair(z)), exponent))


COMPLEX[np.sqrt] = lambda z: _power(z, 0.5)
COMPLEX[np.square] = lambda z: z * z
COMPLEX[np.negative] = lambda z: Complex(-z.real, -z.imag)
COMPLEX[np.positive] = lambda z: z
COMPLEX[np.reciprocal] = lambda z: _divide(1.0, z)
COMPLEX[np.conjugate] = Complex.conj
COMPLEX[np.real] = lambda z: z.real
COMPLEX[np.imag] = lambda z: z.imag
COMPLEX[np.absolute] = lambda z: np.hypot(z.real, z.imag)
COMPLEX[np.shape] = lambda z: z.shape
COMPLEX[np.ndim] = lambda z: z.ndim
COMPLEX[np.iscomplexobj] = lambda z: True
COMPLEX[np.isrealobj] = lambda z: False


@_of(np.angle)
def _angle(z: Complex, deg: bool = False) -> Any:
    angle = np.arctan2(z.imag, z.real)
    return np.rad2deg(angle) if deg else angle


def _by_part(function: Any) -> Callable[..., Any]:
    return lambda z, *args, **kwargs: Complex(function(z.real, *args, **kwargs), function(z.imag, *args, **kwargs))


#: Functions that are linear in their first argument and real otherwise.
for _function in (
    np.sum, np.mean, np.cumsum, np.diff, np.trace, np.diagonal, np.reshape, np.ravel, np.transpose, np.swapaxes,
    np.moveaxis, np.expand_dims, np.squeeze, np.broadcast_to, np.roll, np.flip, np.take, np.tile, np.repeat, np.tril,
    np.triu, np.pad, np.copy,
):  # fmt: skip
    COMPLEX[_function] = _by_part(_function)


@_of(np.concatenate)
def _concatenate(arrays: Any, axis: int = 0) -> Complex:
    parts = [pair(x) for x in arrays]
    return Complex(np.concatenate([z.real for z in parts], axis), np.concatenate([z.imag for z in parts], axis))


@_of(np.stack)
def _stack(arrays: Any, axis: int = 0) -> Complex:
    parts = [pair(x) for x in arrays]
    return Complex(np.stack([z.real for z in parts], axis), np.stack([z.imag for z in parts], axis))


@_of(np.where)
def _where(condition: Any, a: Any, b: Any) -> Complex:
    a, b = pair(a), pair(b)
    return Complex(np.where(condition, a.real, b.real), np.where(condition, a.imag, b.imag))
