"""Activations, and the cross entropy of a sigmoid's logits: stable over all of float range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.keywords import translates
from ..core.node import FUNCTIONS
from ..core.notation import call, infix, raised
from .elementwise import REAL, elementwise_row
from .erf import erf_array, erf_definition

_LOG_1_EXP = call("log", infix("+", "1", raised("e", 0)))


def _sigmoid_expand(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    # exp may overflow to infinity for very negative x; 1/inf is the right 0, and nothing cancels elsewhere
    return 1.0 / (1.0 + np.exp(-x))


_sigmoid = elementwise_row(
    None, (lambda g, out, x: g * (out * (1.0 - out)),), "σ", name="sigmoid", expand=_sigmoid_expand, floating=True
)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x), element by element; stable over all of float range.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 2.0])).round(4)
    array([0.    , 0.5   , 0.8808])
    """
    return _sigmoid(x)


def _softplus_kernel(x: Any, out: Any = None) -> Any:
    return np.logaddexp(x, x.dtype.type(0), out=out)


_softplus = elementwise_row(
    _softplus_kernel,
    (lambda g, out, x: g * _sigmoid(x),),
    _LOG_1_EXP,
    name="softplus",
    floating=True,
    spelling="np.logaddexp({0}, 0.0)",
    definition=_softplus_kernel,
)


def softplus(x: Any) -> Any:
    """Return log(1 + e^x), element by element: a smooth max(0, x), without overflow.

    Examples
    --------
    >>> softplus(np.array([-1.0, 0.0, 1000.0])).round(4)
    array([3.133e-01, 6.931e-01, 1.000e+03])
    """
    return _softplus(x)


def _relu_kernel(x: Any, out: Any = None) -> Any:
    return np.maximum(x, x.dtype.type(0), out=out)


_relu = elementwise_row(
    _relu_kernel,
    (lambda g, out, x: g * np.greater(x, 0.0),),
    call("max", "0", 0),
    name="relu",
    floating=True,
    spelling="np.maximum({0}, 0.0)",
    definition=_relu_kernel,
    kinks=(((0.0,), (0.0,)),),
    at_kink=lambda out, x: np.equal(x, 0),
    selects=lambda i, out, x: (lambda: np.greater(x, 0.0), True),
)
FUNCTIONS["relu"] = _relu  # np.maximum(x, 0) is this


def relu(x: Any) -> Any:
    """Return max(0, x), element by element; the subgradient at 0 is 0.

    Examples
    --------
    >>> relu(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """
    return _relu(x)


_erf = elementwise_row(
    erf_array,
    (lambda g, out, x: g * (2.0 / math.sqrt(math.pi) * np.exp(-x * x)),),
    "erf",
    name="erf",
    floating=True,
    definition=erf_definition,
    aliases=(),
    source="erf' (x) = 2/sqrt(pi) exp(-x^2), Abramowitz & Stegun 7.1.19",
)


def erf(x: Any) -> Any:
    """Return the error function, element by element.

    Examples
    --------
    >>> erf(np.array([0.0, 0.5])).round(4)
    array([0.    , 0.5205])
    """
    return _erf(x)


def _binary_cross_entropy_expand(z: Any, t: Any) -> Any:
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), without overflow."""
    # max(z, 0) - z t + log(1 + e^-|z|): neither overflows nor cancels for large |z|
    return np.maximum(z, 0.0) - z * t + np.log1p(np.exp(-np.absolute(z)))


_binary_cross_entropy = elementwise_row(
    None,
    (lambda g, out, z, t: g * (_sigmoid(z) - t), lambda g, out, z, t: -g * z),
    infix("−", _LOG_1_EXP, infix("⊙", 1, 0)),
    REAL,
    (0.0, 1.0),
    name="binary_cross_entropy_with_logits",
    expand=_binary_cross_entropy_expand,
    floating=True,
)


def binary_cross_entropy_with_logits(logits: Any, targets: Any) -> Any:
    """Return -t log σ(z) - (1 - t) log(1 - σ(z)) for logits z and targets t, element by element, without overflow.

    Examples
    --------
    >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 0.0])).round(4)
    array([6.931e-01, 1.000e+03])
    """
    return _binary_cross_entropy(logits, targets)


def silu(x: Any) -> Any:
    """Return x · sigmoid(x) (SiLU, also called swish), element by element.

    Examples
    --------
    >>> silu(np.array([-1.0, 0.0, 2.0])).round(4)
    array([-0.2689,  0.    ,  1.7616])
    """
    return x * sigmoid(x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """Return x · Φ(x), element by element, with Φ the normal distribution function; with `approximate`, by tanh.

    Source: Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.

    Examples
    --------
    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    if approximate:
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + erf(x * (1 / math.sqrt(2.0))))


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where it is positive, else alpha (e^x - 1); the subgradient at 0 is alpha.

    Source: Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units", 2015.

    Examples
    --------
    >>> elu(np.array([-1.0, 0.0, 2.0])).round(4)
    array([-0.6321,  0.    ,  2.    ])
    """
    positive = np.greater(x, 0)
    return np.where(positive, x, alpha * np.expm1(np.where(positive, 0.0, x)))


@translates
def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """Return x where it is positive, else slope · x; the subgradient at 0 is `slope`.

    Examples
    --------
    >>> leaky_relu(np.array([-2.0, 0.0, 3.0]), slope=0.1)
    array([-0.2,  0. ,  3. ])
    """
    return np.where(np.greater(x, 0), x, slope * x)
