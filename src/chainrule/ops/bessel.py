"""Bessel functions, elliptic and exponential integrals of ``scipy.special``.

Derivatives are with respect to the last argument; asking for one in the order raises. Formulas: NIST Digital Library of
Mathematical Functions, chapters 6, 10 and 19.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from .elementwise import POSITIVE
from .special import refused, special_row, with_parameters


def _family(letter: str, below: float, above: float, scaled: str = "", low: float = 0.3) -> Callable[..., Any]:
    """Register the Bessel functions of one kind: of orders 0, 1 and any order.

    Their derivative is ``below`` times the function of the order below plus ``above`` times that of the order above.
    The scaled ones carry a factor, ``exp(-|x|)`` or ``exp(x)``.
    """

    def scaling(x: Any) -> Any:
        return np.sign(x) if scaled == "decreasing" else -1.0

    end = "e" if scaled else ""

    def derivative(out: Any, order: Any, x: Any) -> Any:
        slope = below * of_order(order - 1.0, x) + above * of_order(order + 1.0, x)
        return slope - scaling(x) * out if scaled else slope

    domain = (low, 3.0)
    for n in (0, 1):
        special_row(f"{letter}{n}{end}", (lambda g, out, x, n=n: g * derivative(out, float(n), x),), domain)
    name = f"{letter}v{end}"
    of_order = special_row(
        name,
        (refused(name, "v"), lambda g, out, v, x: g * derivative(out, v, x)),
        examples=with_parameters(2, low=low),
    )
    return of_order


jv = _family("j", 0.5, -0.5, low=-3.0)
yv = _family("y", 0.5, -0.5)
iv = _family("i", 0.5, 0.5, low=-3.0)
ive = _family("i", 0.5, 0.5, "decreasing")
kv = _family("k", -0.5, -0.5)
kve = _family("k", -0.5, -0.5, "increasing")
FUNCTIONS[np.i0] = FUNCTIONS["scipy.special.i0"]
FUNCTIONS["scipy.special.jn"] = jv
FUNCTIONS["scipy.special.yn"] = yv
FUNCTIONS["scipy.special.kn"] = kv

ellipk: Callable[..., Any] = special_row(
    "ellipk", (lambda g, out, m: g * ((ellipe(m) / (1.0 - m) - out) / (2.0 * m)),), (0.1, 0.9), notation="K"
)
ellipe: Callable[..., Any] = special_row(
    "ellipe", (lambda g, out, m: g * ((out - ellipk(m)) / (2.0 * m)),), (0.1, 0.9), notation="E"
)
exp1 = special_row("exp1", (lambda g, out, x: -g * np.exp(-x) / x,), POSITIVE, notation="E1")
expi = special_row("expi", (lambda g, out, x: g * np.exp(x) / x,), POSITIVE, notation="Ei")
spence = special_row("spence", (lambda g, out, z: g * np.log(z) / (1.0 - z),), (1.2, 3.0))
