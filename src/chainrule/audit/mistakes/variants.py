"""The known ways to get a step wrong, made from its own gradient graph, and which of them give the numbers found."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...adapters.backward_pass import Point
from ...core.op import Array
from ..formulas import written
from ..graph import Change, GradientGraph, Region
from ..steps import natural

CLOSE = 1e-8
MOST_PAIRED = 80
PLAIN = frozenset(
    {
        "missing-activation-derivative",
        "derivative-applied-twice",
        "derivative-at-activation",
        "wrong-activation-derivative",
        "dropout-mask-missing",
        "transposed",
        "missing-term",
        "missing-factor",
        "wrong-layer",
    }
)

Text = Callable[[GradientGraph, Callable[[int], str]], str]


@dataclass
class Context:
    """A step at one point: its graph, and every value that might stand in the wrong place.

    Attributes
    ----------
    found
        The gradient as it was returned, in its own shape.
    values, signals
        Values of the forward pass, and the other gradients that were returned, by name.
    """

    point: Point
    graph: GradientGraph
    regions: list[Region]
    found: Array
    shape: tuple[int, ...]
    values: dict[str, Array] = field(default_factory=dict)
    signals: dict[str, Array] = field(default_factory=dict)
    loose: float = CLOSE

    @property
    def result(self) -> Array:
        """The right gradient."""
        return np.asarray(self.graph.order[-1].value)


Compute = Callable[[Context], Array | None]


@dataclass
class Variant:
    """One known mistake: what it computes at a point, and how to say it.

    Attributes
    ----------
    text
        How nodes of the graph are written in its formula, by position; `formula` is the whole, where that is simpler.
    change
        For a mistake at one place of the graph: how the node is computed.
    changes
        Every node that is computed differently, by position, so that two mistakes can be made at once.
    scale
        The factor that is left between what it gives and what was found, at each point.
    """

    cause: str
    message: str
    compute: Compute
    text: dict[int, Text] = field(default_factory=dict)
    formula: str = ""
    change: Change | None = None
    changes: Callable[[Context], dict[int, Change] | None] | None = None
    scale: list[float] = field(default_factory=list)

    @property
    def rank(self) -> int:
        """The simpler explanation has the lower rank."""
        if " as it is in the cache" in self.message or " as backward changed it" in self.message:
            return -2
        if self.cause == "missing-regularization":
            return -1  # it says more than that a term is missing
        return 1 if self.cause in ("wrong-operand", "missing-factor") else 0


Generator = Callable[[Sequence[Context]], Iterator[Variant]]


def explain(
    generators: Sequence[Generator],
    contexts: Sequence[Context],
    exact: bool,
    sizes: Sequence[int | None],
    until: float = float("inf"),
) -> list[Variant]:
    """Return the variants that give the found numbers at every point, the simplest first.

    With `exact`, those that give them but for one scale are tried when no other fits. The search ends at `until`, a
    time of ``time.monotonic``.
    """
    for strict in (True, False) if exact else (False,):
        fitting = []
        tried = []
        for variant in itertools.chain.from_iterable(generate(contexts) for generate in generators):
            if time.monotonic() > until:
                break
            tried.append(variant)
            if fits(variant, contexts, strict, sizes):
                fitting.append(variant)
        if fitting:
            return sorted(fitting, key=lambda v: v.rank)
    return _two_at_once(tried, contexts, exact, sizes, until)


def _two_at_once(
    tried: Sequence[Variant], contexts: Sequence[Context], exact: bool, sizes: Sequence[int | None], until: float
) -> list[Variant]:
    """Return the first pair of mistakes that give the numbers together; only the plain ones are paired."""
    plain = [v for v in tried if v.changes is not None and v.cause in PLAIN][:MOST_PAIRED]
    for a, b in itertools.combinations(plain, 2):
        if time.monotonic() > until:
            break
        pair = Variant(a.cause, f"{a.message}, and {b.message}", evaluated(_both(a, b)), {**a.text, **b.text})
        if fits(pair, contexts, exact, sizes):
            return [pair]
    return []


def _both(a: Variant, b: Variant) -> Callable[[Context], dict[int, Change] | None]:
    def changes(context: Context) -> dict[int, Change] | None:
        first = a.changes(context) if a.changes else None
        second = b.changes(context) if b.changes else None
        if not first or not second or set(first) & set(second):
            return None
        return {**first, **second}

    return changes


def fits(variant: Variant, contexts: Sequence[Context], exact: bool, sizes: Sequence[int | None]) -> bool:
    """Whether a variant gives what was found: exactly, or (for error signals) but for one natural scale."""
    scales = []
    for context in contexts:
        with np.errstate(all="ignore"):
            try:
                value = variant.compute(context)
            except (ValueError, IndexError, KeyError, TypeError, AttributeError, np.linalg.LinAlgError):
                return False  # shapes that do not go together: not what was computed
        if value is None:
            return False
        scale = ratio(context.found, np.asarray(value), context.loose)
        if scale is None or (exact and abs(scale - 1) > 1e-6):
            return False
        scales.append(scale)
    number = natural(scales, sizes)
    if number is None or not (exact or simple(number[0])):
        return False
    variant.scale = scales
    return True


def simple(k: float) -> bool:
    """Whether a constant is one that people leave out or write by mistake: 1, -1, 2, 1/2, a width, its inverse."""
    k = abs(k)
    ways = (k, 2 * k, 1 / k, 2 / k) if k else ()
    return any(abs(v - round(v)) < 1e-5 and 1 <= round(v) <= 4096 for v in ways)


def ratio(found: Array, value: Array, loose: float = CLOSE) -> float | None:
    """Return c where found = c · value (equal up to axes of length 1), else None."""
    if value.shape != found.shape:
        if value.size != found.size or [d for d in value.shape if d > 1] != [d for d in found.shape if d > 1]:
            return None
        value = value.reshape(found.shape)
    largest = float(np.max(np.abs(value), initial=0.0))
    if not np.isfinite(largest) or largest == 0:
        return None
    c = float(np.sum(found * value)) / float(np.sum(value * value))
    if c == 0 or not np.isfinite(c):
        return None
    return c if float(np.max(np.abs(found - c * value))) <= loose * abs(c) * largest else None


_STEM = re.compile(r"^(.*?)[_\[]?(\d+)\]?$")


def siblings(a: str, b: str) -> bool:
    """Whether two names differ in their layer's number only: W1 and W2."""
    if a.startswith("cache[") or b.startswith("cache["):  # places in a tuple, no layers
        return False
    first, second = _STEM.match(a), _STEM.match(b)
    return bool(first and second and first[1] == second[1] and a != b)


def misplaced(other: str, right: str) -> str:
    """Return the cause for `other` in the place of `right`."""
    return "wrong-layer" if siblings(other, right) else "wrong-operand"


def of_shape(context: Context, shape: tuple[int, ...]) -> list[str]:
    """Return the names of the values of a shape, except those that are the same number everywhere."""
    return [n for n, v in context.values.items() if v.shape == shape and (v.size < 2 or np.ptp(v) > 0)]


def formula_of(variant: Variant, context: Context, key: str, right: str) -> str:
    """Return the formula that fits, as text."""
    if variant.text:
        text = written(context.graph, context.regions, variant.text)
        if text:
            return f"{key} = {text}"
    if variant.formula.startswith("× ") and right:
        return f"{right} ⊙ {variant.formula[2:]}"
    return f"{key} = {variant.formula}" if variant.formula else ""


def closing(text: str) -> Text:
    """Return a way to write a node as `text`, whatever it is computed from."""

    def write(graph: GradientGraph, inner: Callable[[int], str]) -> str:
        return text

    return write


def at_site(cause: str, message: str, site: int, change: Change, text: Text | None = None) -> Variant:
    """Return the variant in which one node of the graph is computed differently."""

    def changes(context: Context) -> dict[int, Change] | None:
        return {site: change} if site < len(context.graph.order) else None

    texts = {site: text} if text is not None else {}
    return Variant(cause, message, evaluated(changes), texts, change=change, changes=changes)


def evaluated(changes: Callable[[Context], dict[int, Change] | None]) -> Compute:
    """Return what computes the graph with some nodes changed."""

    def compute(context: Context) -> Array | None:
        made = changes(context)
        return context.graph.evaluated(made) if made else None

    return compute


def number(value: Any) -> str:
    """Return a number as it is written in a message."""
    return f"{float(value):.4g}"
