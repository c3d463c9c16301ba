"""From wrong numbers to a `GradcheckError`: which element, of which output, and why."""

from __future__ import annotations

import numpy as np

from ..core.op import Array
from .comparison import Comparison, halved
from .diagnosis import Block, Diagnosis, diagnose
from .engines import engine_mistake
from .result import GradcheckError, Mismatch, figure
from .second_order import Mirrored

Where = tuple[Block, int, int]  # a block, its row and its column


def failure(comparison: Comparison, blocks: list[Block]) -> GradcheckError:
    """Return the error for blocks of which some are wrong."""
    wrong = [b for b in blocks if b.wrong.any()]
    where = _worst(wrong)
    block, r, c = where
    diagnoses = {b.place: diagnose(b, blocks, comparison.function.whose) for b in wrong}
    special = _mirrored(comparison) or _kink(comparison, where) or _rounding(comparison, wrong)
    special = special or engine_mistake(comparison)
    if special is None and diagnoses[block.place][0] == "unknown":
        special = _noise(comparison, where)
    cause, explanation = special or diagnoses[block.place]
    error = comparison.error(cause, explanation, block.place)
    error.mismatches = tuple(
        Mismatch(b.leaf.label, int(b.wrong.sum()), b.wrong.size, *(special or diagnoses[b.place])) for b in wrong
    )
    error.input_index = comparison.index(block, c)
    error.numeric, error.analytic = float(block.numeric[r, c]), float(block.theirs[r, c])
    if comparison.rows is None:
        error.output, error.output_index = comparison.function.place(r)
    else:
        _name_output(comparison, error, where)
    return error


def _worst(wrong: list[Block]) -> Where:
    """Return the wrong element that differs most, relative to the largest entry of its gradient."""
    found = []
    for block in wrong:
        scale = np.maximum(np.maximum(block.scale[:, None], np.abs(block.numeric)), 1e-300)
        with np.errstate(all="ignore"):
            error = np.where(block.wrong, np.nan_to_num(np.abs(block.numeric - block.theirs) / scale, nan=np.inf), -1)
        row, column = divmod(int(np.argmax(error)), error.shape[1])
        found.append((float(error[row, column]), block, row, column))
    _, block, r, c = max(found, key=lambda item: item[0])
    return block, r, c


def _name_output(comparison: Comparison, error: GradcheckError, where: Where) -> None:
    """Halve a random sum of outputs down to the one whose slope is wrong."""
    block, r, c = where
    assert comparison.rows is not None
    row = comparison.rows[r]
    i = int(block.coordinates[c])
    line = comparison.line(block.place, i)
    numeric = line.central(line.step(comparison.eps))
    pullback = comparison.function.linearize(comparison.own_point)

    def theirs(part: Array) -> float:
        gradient = comparison.pulled(pullback, part, comparison.own_point)[block.place]
        return float(np.asarray(gradient).reshape(-1)[i])

    place = halved(row, lambda part: float(part @ numeric) - theirs(part))
    one = (np.arange(row.size) == place).astype(row.dtype)
    error.output, error.output_index = comparison.function.place(place)
    error.numeric, error.analytic = float(one @ numeric), theirs(one)


def _mirrored(comparison: Comparison) -> Diagnosis | None:
    if not isinstance(comparison.function, Mirrored):
        return None
    return "unknown", (
        "The derivative of a gradient is symmetric; this one's is not, so it is not the gradient of any function."
    )


def _kink(comparison: Comparison, where: Where) -> Diagnosis | None:
    block, r, c = where
    index = comparison.index(block, c)
    for kink in comparison.outside:
        if kink.argument == block.leaf.label and kink.input_index == index and kink.analytic == block.theirs[r, c]:
            low, high = sorted((kink.low, kink.high))
            return "kink", (
                f"There is a kink: the slope is {figure(low)} on one side and {figure(high)} on the other. Any value "
                f"between them passes; {figure(kink.analytic)} is not."
            )
    return None


def _rounding(comparison: Comparison, wrong: list[Block]) -> Diagnosis | None:
    """Compute the gradient again in float64, where it was computed in less."""
    if not any(b.leaf.value.dtype.itemsize < 8 for b in wrong):
        return None
    try:
        again = comparison.gradients(comparison.point)
    except GradcheckError:
        return None
    errors = []
    for b in wrong:
        difference = np.abs(b.at(again[b.place].astype(np.float64)) - b.numeric)
        allowed = 1e-5 * np.maximum(np.abs(b.numeric), b.scale[:, None]) + 1e-3 * b.tolerance
        if not np.all(difference <= np.maximum(allowed, 1e3 * comparison.eps * np.abs(b.numeric))):
            return None
        errors.append(float(np.max(difference / np.maximum(b.scale[:, None], 1e-300))))
    return "float32", (
        f"This is float32 rounding, not the formula: computed in float64 the gradient agrees to {max(errors):.0e}. "
        "Look for a difference of nearly equal numbers, or a long sum."
    )


def _noise(comparison: Comparison, where: Where) -> Diagnosis | None:
    block, r, c = where
    slopes = comparison.closely(comparison.line(block.place, int(block.coordinates[c])))
    if slopes.error[r] <= 0.05 * max(abs(float(slopes.best[r])), float(block.scale[r])):
        return None
    return "noise", (
        "The finite differences do not converge for any step: the function is rough or noisy there (does it round to "
        "float32, or stop an iteration early?), so this value is not reliable."
    )
