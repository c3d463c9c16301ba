"""The data on a backward pass and on each of its steps, at every point."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array
from .composites import with_rows
from .deliberate import Clipping
from .mistakes.search import PAIRS_WORK, WORK, Budget
from .mistakes.variants import Context, Variant
from .reference import gradient, without_epsilon
from .regions import Region, regions
from .scales import ONE, Scale
from .ties import with_all_of_equals

TOLERANCE = 1e-6
NONFINITE, SHAPE, TRANSPOSED, WRONG = "nonfinite", "shape", "transposed", "wrong"


@dataclass
class JudgedStep:
    """The gradient of one value, compared with what follows from the upstream gradients of the same pass.

    Attributes
    ----------
    exact
        Whether it is the gradient of a parameter: its scale counts.
    found, expected, truth
        At each point: the gradient as returned (brought to the value's shape); as it follows from the pass's own
        upstream gradients; as it follows from the loss.
    scales
        ``found / expected`` at each point where that is one number; else None.
    scale
        The same as one law.
    error, plain_error
        The largest relative difference, with the scale taken out and without.
    problem
        NONFINITE, SHAPE, TRANSPOSED, WRONG or "".
    variants
        The known mistakes that give its numbers.
    fault
        The superfluous factor k · m^p of its formula; None if the scale is not the error.
    epsilon
        It is right with the small constants of the forward pass left out.
    masked
        It is the gradient of what dropout was applied to, under the name of what is left.
    only_scaled
        It is right except for an unusual factor.
    deliberate
        What was done on purpose to a gradient that is right but for that.
    unseen
        Why it was not judged.
    formula
        The right formula; None until it is written.
    """

    name: str
    key: str
    exact: bool
    upstream: tuple[str, ...] = ()
    found: list[Array | None] = field(default_factory=list)
    expected: list[Array | None] = field(default_factory=list)
    truth: list[Array | None] = field(default_factory=list)
    scales: list[float] | None = None
    scale: Scale = ONE
    error: float | None = None
    plain_error: float | None = None
    shape_note: str = ""
    problem: str = ""
    variants: list[Variant] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)
    fault: Scale | None = None
    epsilon: bool = False
    masked: bool = False
    only_scaled: bool = False
    deliberate: str = ""
    unseen: str = ""
    formula: str | None = None


@dataclass
class Trial:
    """All points, and what is known of the steps so far.

    Attributes
    ----------
    exact
        The parameters.
    ascent
        Whether their gradients have the opposite sign.
    loose
        By how much tolerances are loosened.
    own_penalty
        Whether a layer may add the gradient of a penalty of its own.
    scaled
        At each point, the pass's own gradients by name, brought to the scale of the loss.
    budgets
        Limits of the search for causes, for single mistakes and pairs; None: no search.
    """

    points: list[Point]
    exact: frozenset[str]
    ascent: bool = False
    loose: float = 1.0
    own_penalty: bool = False
    scaled: list[dict[str, Array]] = field(default_factory=list)
    steps: dict[str, JudgedStep] = field(default_factory=dict)
    budgets: tuple[Budget, Budget] | None = field(default_factory=lambda: (Budget(WORK), Budget(PAIRS_WORK)))

    @property
    def sizes(self) -> list[int | None]:
        """The size of the batch at each point."""
        return [p.size for p in self.points]

    @cached_property
    def regions(self) -> list[list[Region]]:
        """The elementwise regions of the forward pass, at each point."""
        return [regions(p) for p in self.points]

    @cached_property
    def composites(self) -> list[Point]:
        """The points with rows of the table in place of what the forward pass computes step by step."""
        return [with_rows(p) for p in self.points]

    @cached_property
    def composite_regions(self) -> list[list[Region]]:
        """The elementwise regions of `composites`."""
        pairs = zip(self.composites, self.points, self.regions, strict=True)
        return [found if new is old else regions(new) for new, old, found in pairs]

    @cached_property
    def clipping(self) -> Clipping:
        """How the gradients of all parameters are clipped."""
        sign = -1.0 if self.ascent else 1.0
        parameters = []
        for name in self.exact:
            found = [p.gradients.get(name) for p in self.points]
            right = [gradient(p, name, p.given) if name in p.nodes else None for p in self.points]
            pairs = [
                (sign * np.asarray(g, np.float64), r)
                for g, r in zip(found, right, strict=True)
                if g is not None and r is not None and np.shape(g) == r.shape and np.isfinite(g).all()
            ]
            parameters += [pairs] if len(pairs) == len(self.points) else []
        return Clipping.of(parameters)

    @cached_property
    def with_all_of_equals(self) -> list[Point | None]:
        """The points with each of equal extrema counted fully; None where none are equal."""
        return [with_all_of_equals(p) for p in self.points]

    @cached_property
    def without_epsilon(self) -> list[tuple[Point, float]] | None:
        """The points without the small constants of the forward pass, if it has any."""
        found = [f for p in self.points if (f := without_epsilon(p)) is not None]
        return found if len(found) == len(self.points) else None


def conformed(found: Any, shape: tuple[int, ...]) -> tuple[Array | None, str]:
    """Bring a gradient to its value's shape where that is a convention; else (None, what is wrong)."""
    array = np.asarray(found, np.float64)
    if array.shape == shape:
        return array, ""
    squeezed = tuple(d for d in shape if d != 1)
    if array.size == int(np.prod(shape)) and tuple(d for d in array.shape if d != 1) == squeezed and len(squeezed) <= 1:
        return array.reshape(shape), "reshaped"
    if array.ndim == 2 and array.shape == shape[::-1]:
        return array.T, "transposed"
    return None, "shape"
