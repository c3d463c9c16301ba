"""Activations and the loss of a sigmoid: rows of their own, stable over all of float range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.notation import call, infix, raised
from ..core.tensor import FUNCTIONS
from .elementwise import REAL, elementwise_row
from .erf import erf_array, erf_definition


def _sigmoid_expand(x: Any) -> Any:
    # exp may overflow to infinity for very negative x; 1/inf is the right 0, and nothing cancels elsewhere
    return 1.0 / (1.0 + np.exp(-x))


sigmoid: Callable[..., Any] = elementwise_row(
    None,
    (lambda g, out, x: g * (out * (1.0 - out)),),
    "σ",
    REAL,
    name="sigmoid",
    expand=_sigmoid_expand,
    floating=True,
)
"""1 / (1 + e^-x), element by element; stable over all of float range."""


def _softplus_kernel(x: Any, out: Any = None) -> Any:
    return np.logaddexp(x, x.dtype.type(0), out=out)


softplus: Callable[..., Any] = elementwise_row(
    _softplus_kernel,
    (lambda g, out, x: g * sigmoid(x),),
    call("log", infix("+", "1", raised("e", 0))),
    REAL,
    name="softplus",
    floating=True,
    spelling="np.logaddexp({0}, 0.0)",
    definition=_softplus_kernel,
)
"""log(1 + e^x), element by element: a smooth max(0, x), without overflow."""


def _relu_kernel(x: Any, out: Any = None) -> Any:
    return np.maximum(x, x.dtype.type(0), out=out)


relu: Callable[..., Any] = elementwise_row(
    _relu_kernel,
    (lambda g, out, x: g * np.greater(x, 0.0),),
    call("max", "0", 0),
    REAL,
    name="relu",
    floating=True,
    spelling="np.maximum({0}, 0.0)",
    definition=_relu_kernel,
    kinks=(((0.0,), (0.0,)),),
)
"""max(0, x), element by element; the subgradient at 0 is 0."""
FUNCTIONS["relu"] = relu  # np.maximum(x, 0) is this
erf: Callable[..., Any] = elementwise_row(
    erf_array,
    (lambda g, out, x: g * (2.0 / math.sqrt(math.pi) * np.exp(-x * x)),),
    "erf",
    REAL,
    name="erf",
    floating=True,
    definition=erf_definition,
    aliases=(),
    source="erf' (x) = 2/sqrt(pi) exp(-x^2), Abramowitz & Stegun 7.1.19",
)
"""The error function, element by element."""


def _binary_cross_entropy_expand(z: Any, t: Any) -> Any:
    # max(z, 0) - z t + log(1 + e^-|z|): neither overflows nor cancels for large |z|
    return np.maximum(z, 0.0) - z * t + np.log1p(np.exp(-np.absolute(z)))


binary_cross_entropy_with_logits: Callable[..., Any] = elementwise_row(
    None,
    (lambda g, out, z, t: g * (sigmoid(z) - t), lambda g, out, z, t: -g * z),
    infix("−", call("log", infix("+", "1", raised("e", 0))), infix("⊙", 1, 0)),
    REAL,
    (0.0, 1.0),
    name="binary_cross_entropy_with_logits",
    expand=_binary_cross_entropy_expand,
    floating=True,
)
"""-t log σ(z) - (1 - t) log(1 - σ(z)) for logits z and targets t, element by element; stable."""


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
    """Return x where positive, else alpha (e^x - 1); the subgradient at 0 is alpha. Source: Clevert et al., 2015."""
    positive = np.greater(x, 0)
    return np.where(positive, x, alpha * np.expm1(np.where(positive, 0.0, x)))


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """Return x where positive, else slope · x; the subgradient at 0 is `slope`."""
    return np.where(np.greater(x, 0), x, slope * x)
