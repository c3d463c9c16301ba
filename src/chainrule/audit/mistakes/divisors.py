"""A sum that is divided by another number than it should be, one that depends on the batch or on the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...core.op import Array
from .scaling import ConstantFactor
from .table import mistake
from .variants import Context, Variant, of_result


@mistake(ConstantFactor, "it is divided by m {sign} 1, not by m")
def _one_more_or_less(context: Context) -> Iterator[Variant]:
    if context.point.size and context.point.size > 2:
        yield of_result(_times(lambda c: (c.point.size or 0) / ((c.point.size or 0) - 1)), sign="−")
        yield of_result(_times(lambda c: (c.point.size or 0) / ((c.point.size or 0) + 1)), sign="+")


@mistake(ConstantFactor, "it is divided by the {number} of {name}, not by m")
def _count_of_the_data(context: Context) -> Iterator[Variant]:
    for name in (*context.signals, *context.values):
        yield of_result(_times(_by_count(name)), number="number of elements that are not 0", name=name)
        yield of_result(_times(_by_sum(name)), number="total", name=name)


def _array(context: Context, name: str) -> Array:
    return context.signals[name] if name in context.signals else context.values[name]


def _by_count(name: str) -> Callable[[Context], float]:
    """Return m divided by the number of examples that count, where each has as many elements."""
    return lambda context: _array(context, name).size / (np.count_nonzero(_array(context, name)) or np.nan)


def _by_sum(name: str) -> Callable[[Context], float]:
    return lambda context: (context.point.size or 1) / (float(np.sum(_array(context, name))) or np.nan)


def _times(factor: Callable[[Context], float]) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        by = factor(context)
        return context.result * by if np.isfinite(by) else None

    return compute
