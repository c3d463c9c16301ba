"""Intervals of metrics by the bootstrap: examples are drawn again and again, each as often as chance has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.arguments import integer
from ..core.op import Array
from .baseline import best
from .metrics import METRICS, measure
from .predictions import Predictions

#: How often examples are drawn, and from how many at most; the intervals of more examples are narrower by √(rows / m).
REPEATS, ROWS = 200, 5_000
#: The share of the draws that an interval holds, and of those in which a metric must have a value.
INSIDE, DEFINED = 0.95, 0.5

Intervals = dict[str, tuple[float, float]]


def intervals(
    said: Predictions, constant: Sequence[Predictions] = (), *, seed: int = 0, repeats: int = REPEATS
) -> tuple[Intervals, Intervals]:
    """Return 95 % intervals of the metrics, and of their differences from those of constant predictions.

    Parameters
    ----------
    said : Predictions
    constant : sequence of Predictions
        For the same examples; of several, the best by each metric is compared.
    seed : int
    repeats : int

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions, intervals
    >>> true = np.arange(100.0)
    >>> low, high = intervals(Predictions.of_values(true, true + np.where(true % 2, 1, -3)))[0]["mae"]
    >>> low < 2 < high
    True
    """
    rng = np.random.default_rng(integer("seed", seed, at_least=0))
    integer("repeats", repeats, at_least=2)
    narrower = np.sqrt(min(1.0, ROWS / len(said)))
    whole = measure(said)[0], best([measure(c)[0] for c in constant]) if constant else {}
    if len(said) > ROWS:
        rows = rng.choice(len(said), ROWS, replace=False)
        said, constant = said.take(rows), [c.take(rows) for c in constant]
    weights = [np.ones(len(said)), *(_drawn(rng, len(said)) for _ in range(repeats))]
    figures = [measure(said, weight)[0] for weight in weights]
    others = [best([measure(c, weight)[0] for c in constant]) for weight in weights] if constant else []
    found = {name: _interval([f.get(name) for f in figures], x, narrower) for name, x in whole[0].items()}
    apart = {
        name: _interval([_difference(f, o, name) for f, o in zip(figures, others, strict=True)], x, narrower)
        for name in whole[1]
        if (x := _difference(*whole, name)) is not None
    }
    return _known(found), _known(apart)


def _drawn(rng: np.random.Generator, m: int) -> Array:
    return np.bincount(rng.integers(m, size=m), minlength=m).astype(np.float64)


def _difference(figures: dict[str, float], others: dict[str, float], name: str) -> float | None:
    """Return by how much a metric is better than another."""
    return METRICS[name].better * (figures[name] - others[name]) if name in figures and name in others else None


def _interval(values: list[float | None], whole: float, narrower: float) -> tuple[float, float] | None:
    """Return the interval around the value of all examples; the first of `values` is that of the rows drawn from."""
    centre, *drawn = values
    defined = [x for x in drawn if x is not None]
    if centre is None or len(defined) < DEFINED * len(drawn):
        return None
    low, high = np.quantile(defined, [(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    return float(whole + narrower * (low - centre)), float(whole + narrower * (high - centre))


def _known(found: dict[str, tuple[float, float] | None]) -> Intervals:
    return {name: interval for name, interval in found.items() if interval is not None}
