"""Calls of NumPy functions on special values, run by NumPy, eagerly on tensors, and compiled for both engines."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.core.tensor import Tensor

WEAK = (0, 1, -1, 3, 300, 2**40, 0.0, -0.0, 2.5, -1.0, np.nan, np.inf, True)
DTYPES = tuple(np.dtype(n) for n in "float32 float64 bool int8 int16 int32 int64 uint8 uint16 uint32 uint64".split())
ENGINES = ("eager", "native", "numpy")


def special(dtype: Any, *, summable: bool = False) -> np.ndarray:
    """Return the values of a dtype at which functions go wrong; `summable`: sums of them are exact in any order."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.array([True, False])
    if dtype.kind in "iu":
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        return np.array([x for x in (low, low + 1, -2, -1, 0, 1, 2, 3, 7, 64, high - 1, high) if x >= low], dtype)
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1.5, np.nan, np.inf, -np.inf]
    if not summable:
        limits = np.finfo(dtype)
        least = float(limits.smallest_subnormal)
        values += [
            0.1,
            -0.1,
            0.3,
            least,
            -least,
            float(limits.tiny),
            float(limits.max),
            -float(limits.max),
            1e17,
            7.0,
            -1e5,
        ]
    return np.array(values).astype(dtype)


#: Errors that name what is not supported.
REFUSED = re.compile(
    r"np\.[\w.]+.*on tensors|of no elements|too few elements|out of bounds for|cannot convert float|were drawn"
)


@dataclass
class Trial:
    """A call on arrays and numbers; `ulp`: how many units in the last place its results may differ by."""

    name: str
    call: Callable[..., Any]
    args: tuple[Any, ...]
    ulp: float = 0
    traceable: bool = True
    signed: bool = True  # whether -0 differs from 0

    def __str__(self) -> str:
        given = ", ".join(f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else repr(x) for x in self.args)
        return f"{self.name}({given})"


def outcome(call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Return the results as a list of arrays, or the error."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = call(*args)
        except Exception as error:
            return error
    parts = found if isinstance(found, tuple | list) else [found]
    return [np.asarray(x.value if isinstance(x, Tensor) else x) for x in parts]


def found_by(trial: Trial, way: str) -> Any:
    """Return the outcome of a trial on tensors, or compiled for an engine."""
    if way == "eager":
        # a number stays one: at least one tensor makes the call ours
        args = tuple(Tensor(x) if isinstance(x, np.ndarray) else x for x in trial.args)
        return outcome(trial.call, args)
    return outcome(cr.compile(trial.call, engine=way), trial.args)


def difference(trial: Trial, way: str, expected: Any) -> str | None:
    """Return how a trial's outcome differs from NumPy's, or None."""
    found = found_by(trial, way)
    if isinstance(expected, ZeroDivisionError) and way != "eager":
        return None  # depends on values
    if isinstance(expected, Exception):
        wrong = None if isinstance(found, Exception) else f"NumPy raises {expected!r}, found {found}"
        return wrong
    unknown = sorted({str(x.dtype) for x in expected} - {str(d) for d in DTYPES})
    if isinstance(found, Exception):
        stated = any(d in str(found) for d in unknown) or (not trial.traceable and "traced" in str(found))
        stated = stated or REFUSED.search(str(found)) is not None
        return None if stated else f"raises {type(found).__name__}: {found}"
    if len(found) != len(expected):
        return f"{len(found)} results, NumPy {len(expected)}"
    for a, b in zip(found, expected, strict=True):
        if a.dtype != b.dtype:
            return f"dtype {a.dtype}, NumPy {b.dtype}"
        if a.shape != b.shape:
            return f"shape {a.shape}, NumPy {b.shape}"
        wrong = ~equal(a, b, trial.ulp, trial.signed)
        if wrong.any():
            return _described(trial, a, b, wrong)
    return None


def equal(a: np.ndarray, b: np.ndarray, ulp: float = 0, signed: bool = True) -> np.ndarray:
    """Whether elements are the same: the same bits up to `ulp`, any NaN like any other."""
    if a.dtype.kind != "f":
        return a == b
    with np.errstate(all="ignore"):
        same = (a == b) & (not signed or np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))
        if ulp:
            same |= (
                np.isfinite(a) & np.isfinite(b) & (np.abs(a - b) <= ulp * np.spacing(np.maximum(np.abs(a), np.abs(b))))
            )
    return same


def _described(trial: Trial, a: np.ndarray, b: np.ndarray, wrong: np.ndarray) -> str:
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    inputs = ""
    arrays = [x for x in trial.args if isinstance(x, np.ndarray)]
    if arrays and all(x.shape == a.shape for x in arrays):
        inputs = " at " + ", ".join(repr(x[at]) if isinstance(x, np.ndarray) else repr(x) for x in trial.args)
    return f"{a[at]!r}, NumPy {b[at]!r}{inputs} ({int(wrong.sum())} of {wrong.size})"
