"""The error function on arrays, by polynomials: NumPy has no erf, and SciPy is optional.

Coefficients: Chebyshev interpolation in 60-digit arithmetic. On [0, 1] erf(x)/x in x²; on [1, 6] the scaled
complement erfc(x) exp(x²), which is smooth, in the variable (x - 4)/(x + 4). Beyond 6 erf is 1 in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import stored

_SMALL = (
    1.1283791670955125739, -0.3761263890318375238, 0.11283791670955120298, -0.026866170645129854479,
    0.0052239776254234543525, -0.00085483270219454273153, 0.00012055332903350668265, -0.000014925647581008592978,
    1.6462045711013025157e-6, -1.6364645854816387701e-7, 1.4792435426962471013e-8, -1.2164764337224505578e-9,
    8.709755232851789716e-11, -4.2320376764874592264e-12,
)  # fmt: skip
_LARGE = (
    0.1990726309938656411, -0.14812992991458330435, 0.055891085566080487674, -0.018078437227012169543,
    0.0049902860410835888448, -0.0011615374405664437485, 0.00022259643181862716238, -0.000033461277068951865238,
    3.4988173552338480533e-6, -1.4320648197952078046e-7, -2.5771433206629284071e-8, 4.9564523828196587061e-9,
    -1.0702134121980264434e-10, -6.9168408502013506909e-11, 6.566694151977580227e-12, 7.9454984896420036151e-13,
    -1.4304555864064150285e-13,
)  # fmt: skip


def erf_definition(x: Any) -> Any:
    """Return erf in terms of other operations, in the dtype of x."""
    size = np.minimum(np.absolute(x), 6.0)
    inner, outer = np.minimum(size, 1.0), np.maximum(size, 1.0)
    small = inner * _polynomial(_SMALL, inner * inner)
    large = 1.0 - np.exp(-outer * outer) * _polynomial(_LARGE, ((outer - 4.0) / (outer + 4.0) + 0.2) / 0.4)
    return np.sign(x) * np.where(size < 1.0, small, large)


def _polynomial(coefficients: tuple[float, ...], t: Any) -> Any:
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * t + c
    return total


def erf_array(x: Any, out: Any = None) -> Any:
    """Return erf of an array of float32 or float64, within 2 ulp of float64's and 1 of float32's."""
    x = np.asarray(x)
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    v = x.astype(np.float64)
    size = np.minimum(np.absolute(v), 6.0)
    inner = np.minimum(size, 1.0)
    small = inner * _polynomial(_SMALL, inner * inner)
    outer = np.maximum(size, 1.0)
    u = (outer - 4.0) / (outer + 4.0)
    large = 1.0 - np.exp(-outer * outer) * _polynomial(_LARGE, (u + 0.2) / 0.4)
    result = np.where(np.isnan(v), v, np.copysign(np.where(size < 1.0, small, large), v))
    return result.astype(dtype) if out is None else stored(result, out)
