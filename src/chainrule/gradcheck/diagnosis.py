"""Why a gradient is wrong: known mistakes are compared with the numbers, the simplest first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..adapters.gradient_forms import Leaf
from ..core.op import Array
from .result import figure

Diagnosis = tuple[str, str]  # cause, explanation


@dataclass
class Block:
    """The gradient for one array, and its finite differences.

    Attributes
    ----------
    place : int
        Which of the function's leaves it is.
    analytic : numpy.ndarray
        (rows, *shape of the leaf): the checked gradient for each cotangent.
    eps : float
        The precision with which it was computed.
    coordinates : numpy.ndarray
        The elements whose slope is known, by their positions in the flat array.
    numeric, noise, tolerance, wrong : numpy.ndarray
        (rows, coordinates): the slopes, their rounding error, the largest difference that passes, and whether it is
        exceeded.
    scale : numpy.ndarray
        (rows,): the largest slope of each row.
    bent : numpy.ndarray
        (rows, coordinates): where the slope agrees, but its two sides differ.
    """

    place: int
    leaf: Leaf
    analytic: Array
    eps: float
    coordinates: Array
    numeric: Array
    noise: Array
    tolerance: Array
    wrong: Array
    scale: Array
    bent: Array = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def theirs(self) -> Array:
        """The checked gradient at the coordinates, (rows, coordinates)."""
        return self.at(self.analytic)

    def at(self, gradient: Array) -> Array:
        """Return a gradient like `analytic` at the coordinates."""
        return np.asarray(gradient.reshape(len(gradient), self.leaf.value.size)[:, self.coordinates])

    def explained_by(self, values: Array) -> bool:
        """Whether the slopes are `values`, up to rounding."""
        scale = float(np.max(np.abs(self.numeric), initial=0))
        allowed = max(1e-4, 1e3 * self.eps) * scale + 10 * self.noise
        return bool(scale > 100 * np.max(self.noise, initial=0) and np.all(np.abs(values - self.numeric) <= allowed))


def diagnose(block: Block, blocks: Sequence[Block], whose: str) -> Diagnosis:
    """Return the first known mistake that explains a block's numbers, or which of them are wrong."""
    found = (mistake(block, blocks, whose) for mistake in (_zero, _factor, _transposed, _swapped, _added))
    return next(filter(None, found), ("unknown", _pattern(block)))


def _zero(block: Block, blocks: Sequence[Block], whose: str) -> Diagnosis | None:
    if np.any(block.analytic) or not np.any(block.numeric):
        return None
    return "zero", f"{_gradient(whose)} is 0 everywhere: does it reach {block.leaf.label}?"


def factor(block: Block) -> float | None:
    """Return c when the checked gradient is c times the slopes, throughout."""
    theirs, numeric = block.theirs, block.numeric
    known = np.isfinite(theirs) & np.isfinite(numeric)
    norm = float(np.sum(numeric[known] ** 2))
    if not known.all() or norm == 0:
        return None
    c = float(np.sum(theirs * numeric) / norm)
    return c if c != 0 and np.isfinite(c) and block.explained_by(theirs / c) and abs(c - 1) > 1e-6 else None


def _factor(block: Block, blocks: Sequence[Block], whose: str) -> Diagnosis | None:
    c = factor(block)
    if c is None:
        return None
    several = [b for b in blocks if (d := factor(b)) is not None and abs(d / c - 1) < 1e-4]
    which = "All entries" if block.numeric.size > 1 else "It"
    if len(several) > 1:
        which += " of " + " and ".join(b.leaf.label for b in several[:4]) + (", …" if len(several) > 4 else "")
    verb = "are" if block.numeric.size > 1 or len(several) > 1 else "is"
    if abs(c + 1) < 1e-4:
        return "sign", f"{which} {verb} right except for the sign: a minus sign is missing or superfluous."
    return "constant-factor", f"{which} {verb} {_times(c)}{_source(c, blocks)}."


def _times(c: float) -> str:
    sign = " and of the wrong sign" if c < 0 else ""
    size = abs(c)
    if size > 1:
        return f"{_whole(size)} times too large{sign}: a superfluous factor {_whole(size)}"
    return f"{_whole(1 / size)} times too small{sign}: a factor {_whole(1 / size)} is missing"


def _whole(x: float) -> str:
    return str(round(x)) if round(x) and abs(x / round(x) - 1) < 1e-4 else f"{x:.5g}"


def _source(c: float, blocks: Sequence[Block]) -> str:
    """Say which axis has the length of the factor; that of a batch is often the one forgotten."""
    for size, what in ((abs(c), "is the sum not divided by it"), (1 / abs(c), "is it divided by twice")):
        if round(size) < 3 or abs(size / round(size) - 1) > 1e-4:
            continue
        for block in blocks:
            for axis, length in enumerate(block.leaf.value.shape):
                if length == round(size):
                    return f" ({length} is the length of axis {axis} of {block.leaf.label}: {what}?)"
    return ""


def _transposed(block: Block, blocks: Sequence[Block], whose: str) -> Diagnosis | None:
    shape = block.leaf.value.shape
    axes = range(1, len(shape) + 1)
    for a, b in itertools.combinations(axes, 2):
        if shape[a - 1] == shape[b - 1] > 1 and block.explained_by(block.at(np.swapaxes(block.analytic, a, b))):
            what = (
                "the transpose of the right one" if len(shape) == 2 else f"right with axes {a - 1} and {b - 1} swapped"
            )
            return "transposed", f"{_gradient(whose)} is {what}."
    return None


def _swapped(block: Block, blocks: Sequence[Block], whose: str) -> Diagnosis | None:
    for other in blocks:
        if other is block or other.analytic.shape != block.analytic.shape:
            continue
        if np.allclose(block.analytic, other.analytic, rtol=1e-5) and not other.wrong.any():
            return "swapped", f"It equals the gradient for {other.leaf.label}."
        if block.explained_by(block.at(other.analytic)):
            text = f"It is what was returned for {other.leaf.label}"
            if other.explained_by(other.at(block.analytic)):
                return "swapped", f"{text}, and vice versa: the two gradients are swapped."
            return "swapped", f"{text}."
    return None


def _added(block: Block, blocks: Sequence[Block], whose: str) -> Diagnosis | None:
    """Find an added multiple of the argument itself (weight decay), or an added constant."""
    difference = block.theirs - block.numeric
    if len(difference) != 1 or difference.size < 3:
        return None
    x = block.leaf.value.astype(np.float64).reshape(-1)[block.coordinates][None]
    for basis, what in ((x, f"times {block.leaf.label} itself"), (np.ones_like(x), "")):
        norm = float(np.sum(basis**2))
        c = float(np.sum(difference * basis)) / norm if norm else 0.0
        if c and block.explained_by(block.theirs - c * basis):
            if not what:
                return "added-multiple", f"It is right plus the constant {figure(c)} in every element."
            penalty = f"It is right plus {figure(c)} {what}: a penalty that the function does not have."
            if c < 0:
                penalty = f"It lacks {figure(-c)} {what}: the gradient of a penalty that the function has."
            return "added-multiple", penalty
    return None


def _pattern(block: Block) -> str:
    """Say which elements are wrong."""
    wrong = block.wrong.any(0)
    count, total = int(wrong.sum()), wrong.size
    shape = block.leaf.value.shape
    if count == 0:
        return ""
    if count == total:
        return "All elements differ, without a common factor." if total > 1 else ""
    if count == 1:
        return f"It is the only wrong one of the {total:,} elements compared."
    where = np.unravel_index(block.coordinates, shape) if shape else ()
    for axis, places in enumerate(where):
        if len(set(places[wrong].tolist())) == 1 and shape[axis] > 1:
            return f"{count:,} of {total:,} elements differ, all with index {int(places[wrong][0])} in axis {axis}."
    if len(shape) == 2 and shape[0] == shape[1]:
        diagonal = where[0] == where[1]
        if np.array_equal(wrong, diagonal):
            return f"{count:,} of {total:,} elements differ, those on the diagonal."
        if not np.any(wrong & diagonal):
            return f"{count:,} of {total:,} elements differ, none on the diagonal."
    x = block.leaf.value.reshape(-1)[block.coordinates]
    for condition, words in ((x < 0, "negative"), (x > 0, "positive"), (x == 0, "zero")):
        if np.array_equal(wrong, condition):
            return f"{count:,} of {total:,} elements differ: those where the argument is {words}."
    return f"{count:,} of {total:,} elements differ, without a common factor."


def shape_advice(found: Array, right: Array | None, shape: tuple[int, ...], whose: str) -> str:
    """Return how to correct a gradient's shape; `right` is the gradient by differences, if known."""
    candidates: list[tuple[str, Array]] = []
    if found.ndim >= 2 and found.T.shape == shape:
        candidates.append(("transposed", found.T))
    if found.size == int(np.prod(shape)):
        candidates.append(("reshaped", found.reshape(shape)))
    for count in range(1, found.ndim + 1):
        for axes in itertools.combinations(range(found.ndim), count):
            listed = f"axis {axes[0]}" if count == 1 else f"axes {', '.join(map(str, axes))}"
            for keep in (False, True):
                total = found.sum(axis=axes, keepdims=keep)
                if total.shape == shape:
                    kept = " with keepdims" if keep else ""
                    candidates.append((f"summed over {listed}{kept}", total))
    if not candidates:
        return ""
    if right is not None:
        scale = float(np.max(np.abs(right), initial=0))
        for how, values in candidates:
            if np.all(np.abs(values - right) <= 1e-4 * scale):
                return f"{how[0].upper()}{how[1:]} it has the right shape, and the right numbers."
    how = candidates[0][0]
    return f"{how[0].upper()}{how[1:]} it has the right shape, but not the right numbers."


def _gradient(whose: str) -> str:
    return "Your gradient" if whose == "yours" else f"{whose} gradient"
