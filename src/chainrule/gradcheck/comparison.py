"""Comparison of a gradient with finite differences: element by element, and along random directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..adapters.gradient_forms import ChainruleFunction, CheckedFunction, HandWritten, Pullback
from ..core.op import Array
from .diagnosis import Block, shape_advice
from .result import GradcheckError, GradcheckResult, Kink, element, figure
from .slopes import Line, Slopes, in_rows, settled

FULL = 10_000  # inputs × outputs up to which the whole Jacobian is compared
FEW_OUTPUTS = 8  # up to this many are compared one by one; with more, random sums are
SAMPLED = 16  # elements of an argument that are compared if not all are
DIRECTIONS = 4
KINKS = 50  # greatest number of places with a bend in the slope that are examined
ENOUGH = 8  # wrong elements of an argument, after which the others are not examined

#: Where the gradient is computed in this precision: (relative to the entry, relative to the largest of its argument).
TOLERANCES = {2: (3e-2, 3e-3), 4: (1e-3, 1e-4), 8: (1e-6, 1e-7)}


@dataclass(frozen=True)
class Settings:
    """The caller's options."""

    full: bool | None
    rtol: float | None
    atol: float | None
    seed: int


@dataclass
class Comparison:
    """One check under way. A method raises `GradcheckError` when nothing further can be compared."""

    function: CheckedFunction
    settings: Settings
    kinks: list[Kink] = field(default_factory=list)
    outside: list[Kink] = field(default_factory=list)  # kinks where the gradient is not between the slopes
    notes: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    max_error: float = 0.0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.settings.seed)
        self.own_point = [leaf.value for leaf in self.function.leaves]
        self.point = [np.asarray(x, dtype=np.float64) for x in self.own_point]
        self.checked = [k for k, leaf in enumerate(self.function.leaves) if leaf.checked]

    def outcome(self) -> GradcheckResult | list[Block]:
        """Compare; return the result, or all blocks when some of them is wrong."""
        self._look_at_function()
        blocks = [self._block(k, gradients) for k, gradients in self.gradients(self.own_point).items()]
        for block in blocks:
            self._settle(block, np.flatnonzero(block.wrong.any(0)))
            self._look_for_kinks(block)
            if not block.wrong.any() and block.coordinates.size < block.leaf.value.size:
                self._directions(block)
        self._allow_for_rounding(blocks)
        for block in blocks:
            self._measure(block)
        if any(block.wrong.any() for block in blocks):
            return blocks
        if self.compared == 0:
            self.notes["There is nothing to compare: the arguments or the outputs are empty."] = 1
        if self.eps > 1e-9:
            name = self.function.name
            self.notes[f"{name} rounds like float32 even when it is given float64, so larger steps were used."] = 1
        places = {leaf.label: k for k, leaf in enumerate(self.function.leaves)}
        self.kinks.sort(key=lambda kink: (places[kink.argument], kink.input_index))
        return GradcheckResult(
            self.function.name,
            self.compared,
            self.max_error,
            self.full,
            tuple(self.kinks),
            tuple(self.notes),
            self.function.describe(),
        )

    # -- the function ------------------------------------------------------------------------------------------------

    def _look_at_function(self) -> None:
        function = self.function
        self.function.learn(self.point)
        self.f0, again = function.outputs(self.point), function.outputs(self.point)
        self.eps, self.rounding = self._rounding()
        if isinstance(function, ChainruleFunction) and function.note:
            self.notes[function.note] = 1
        self._compare_values()
        bad = np.flatnonzero(~np.isfinite(self.f0))
        if bad.size:
            more = f", and {bad.size - 1} more outputs are not finite" if bad.size > 1 else ""
            raise self.error(
                "nonfinite",
                f"{function.name} returns {self.f0[bad[0]]}{self._in_output(int(bad[0]))}{more} at this point.",
            )
        differ = np.flatnonzero(self.f0 != again)
        if differ.size:
            j = int(differ[0])
            raise self.error(
                "nondeterministic",
                f"{function.name} is not deterministic: called twice with the same arguments, it returns "
                f"{self.f0[j]:.8g} and {again[j]:.8g}{self._in_output(j)}. Finite differences need a fixed function: "
                "fix its random numbers (a seed, a mask drawn outside), or put dropout into evaluation mode.",
            )
        if isinstance(function, HandWritten) and (changed := self._changed_argument(function)):
            raise self.error(
                "mutates",
                f"{function.name} changes {changed} in place. Work on a copy: the caller still needs the values.",
            )
        inputs = sum(self.own_point[k].size for k in self.checked)
        self.full = inputs * self.f0.size <= FULL if self.settings.full is None else self.settings.full
        self.rows = None if self.full or self.f0.size <= FEW_OUTPUTS else self._random_rows()

    def _compare_values(self) -> None:
        """Raise if the function returns other values while its gradient is taken than on plain arrays."""
        values = self.function.differentiated(self.point)
        if values is None:
            return
        if values.shape != self.f0.shape:
            found = f"{values.size} numbers in place of {self.f0.size}"
            raise self.error("other-value", f"While its gradient is taken, {self.function.name} returns {found}.")
        allowed = max(1e-9, 1e3 * self.eps) * np.concatenate(
            [np.full(part.size, np.max(np.abs(part), initial=0.0)) for part in self.function.split(self.f0)]
        )
        with np.errstate(all="ignore"):
            same = (values == self.f0) | (np.abs(values - self.f0) <= allowed) | (np.isnan(values) & np.isnan(self.f0))
        if same.all():
            return
        j = int(np.flatnonzero(~same)[0])
        raise self.error(
            "other-value",
            f"{self.function.name} returns {self.f0[j]:.8g}{self._in_output(j)} on NumPy arrays, but {values[j]:.8g} "
            "while its gradient is taken: the gradient is that of another function. Look for memory that is written to "
            "in place, for conditions on the type of an array, and for a difference between NumPy and chainrule.",
        )

    def _in_output(self, j: int) -> str:
        label, index = self.function.place(j)
        return f" in output {label}{element(index)}" if label or index else ""

    def _rounding(self) -> tuple[float, Array]:
        """Return the rounding of the function, relative and output by output: of its dtype, or what shows, if more.

        Fourth differences over tiny steps leave nothing of a smooth function but its rounding. They are taken
        to one side of the point, where a kink would show.
        """
        eps, size = self.function.output_eps, float(np.max(np.abs(self.f0), initial=0))
        seen = []
        for _ in range(3):
            moves = [self.rng.choice([-2e-7, 2e-7], size=x.shape) * np.where(x == 0, 1, np.abs(x)) for x in self.point]
            points = [[x + t * m for x, m in zip(self.point, moves, strict=True)] for t in range(1, 6)]
            values = [self._outputs_near(point) for point in points]
            with np.errstate(all="ignore"):
                fourth = np.abs(values[0] - 4 * values[1] + 6 * values[2] - 4 * values[3] + values[4])
            seen.append(np.nan_to_num(fourth, nan=0.0, posinf=0.0) / 8)
        shown = np.median(seen, axis=0)
        relative = float(np.max(shown, initial=0)) / size if size else 0.0
        eps = min(relative, 1e-3) if relative > max(1e3 * eps, 1e-9) else eps  # smaller values may be due to kinks
        return eps, np.maximum(eps * np.abs(self.f0), np.minimum(2 * shown, 4 * eps * size))

    def _changed_argument(self, function: HandWritten) -> str | None:
        own = function.own_arrays(self.point)
        function.f(*function.rebuilt(own))
        for x, before, leaf in zip(own, self.point, function.leaves, strict=True):
            if not np.array_equal(x, before):
                return leaf.label
        return None

    def _random_rows(self) -> Array:
        """Return two cotangents of ±1 for each output array: (rows, outputs)."""
        rows = []
        for k, shape in enumerate(self.function.shapes):
            for _ in range(2):
                parts = [np.zeros(s) for s in self.function.shapes]
                parts[k] = self.rng.choice([-1.0, 1.0], size=shape)
                rows.append(np.concatenate([p.reshape(-1) for p in parts]))
        return np.array(rows)

    # -- the gradient in question --------------------------------------------------------------------------------------

    def _cotangents(self) -> Array:
        return np.eye(self.f0.size) if self.rows is None else self.rows

    def pulled(self, pullback: Pullback, row: Array, point: list[Array]) -> list[Any]:
        """Return the pullback of one row, in the dtype of the point."""
        low = all(point[k].dtype.itemsize < 8 for k in self.checked)
        parts = self.function.split(row)
        return pullback([p.astype(np.float32) for p in parts] if low else parts)

    def gradients(self, point: list[Array]) -> dict[int, Array]:
        """Return place of the leaf -> (rows, *shape), of the right shape, the same when computed again, and finite."""
        rows = self._cotangents()
        with np.errstate(all="ignore"):
            pullback = self.function.linearize(point)
            found: dict[int, list[Array]] = {k: [] for k in self.checked}
            for r, row in enumerate(rows):
                gradients = self.pulled(pullback, row, point)
                if r == 0:
                    self._look_at_gradients(gradients, self.pulled(pullback, row, point))
                for k in self.checked:
                    found[k].append(np.array(gradients[k]))
        blocks = {}
        for k, parts in found.items():
            shape = self.function.leaves[k].value.shape
            dtype = np.result_type(*parts) if parts else np.dtype(np.float64)
            blocks[k] = np.array(parts, dtype=dtype).reshape(len(parts), *shape)
            self._look_for_nonfinite(k, blocks[k])
        return blocks

    def _look_at_gradients(self, first: list[Any], second: list[Any]) -> None:
        wrong = [k for k in self.checked if np.shape(first[k]) != self.function.leaves[k].value.shape]
        if wrong:
            raise self._wrong_shape(first, wrong)
        for k in self.checked:
            if not np.allclose(first[k], second[k], rtol=1e-5, atol=0, equal_nan=True):
                ratio = np.max(np.abs(second[k])) / max(np.max(np.abs(first[k])), np.finfo(float).tiny)
                doubled = " It grows: is it added to the result of an earlier call?" if ratio > 1.5 else ""
                raise self.error(
                    "nondeterministic",
                    f"The gradient for {self.function.leaves[k].label} differs when it is computed a second time."
                    f"{doubled}",
                    k,
                )

    def _wrong_shape(self, gradients: list[Any], wrong: list[int]) -> GradcheckError:
        """Return a sentence on the shape found and how to correct it."""
        leaves, k = self.function.leaves, wrong[0]
        leaf, found = leaves[k], np.asarray(gradients[k])
        text = f"The gradient for {leaf.label} has shape {found.shape}, the argument has {leaf.value.shape}."
        for other in wrong[1:]:
            if found.shape == leaves[other].value.shape and np.shape(gradients[other]) == leaf.value.shape:
                text += f" It has the shape of {leaves[other].label}, and vice versa: the two are swapped."
                return self.error("swapped", text, k)
        right = None
        if leaf.value.size <= 200:
            row = self._cotangents()[0]
            slopes = [self._slope(self.line(k, i), row[None])[0][0] for i in range(leaf.value.size)]
            right = np.array(slopes).reshape(leaf.value.shape)
        advice = shape_advice(found, right, leaf.value.shape, self.function.whose)
        cause = "transposed" if advice.startswith("Transposed") else "wrong-shape"
        return self.error(cause, f"{text} {advice}".strip(), k)

    def _look_for_nonfinite(self, k: int, gradients: Array) -> None:
        bad = np.flatnonzero(~np.isfinite(gradients))
        if not bad.size:
            return
        where = np.unravel_index(bad[0], gradients.shape)
        r, index = int(where[0]), tuple(int(i) for i in where[1:])
        leaf = self.function.leaves[k]
        flat = int(np.ravel_multi_index(index, leaf.value.shape)) if index else 0
        close = in_rows(settled(self.line(k, flat), self.f0, self.eps, self.rounding), self._cotangents()[r : r + 1])
        error = self.error(
            "nonfinite",
            f"The gradient for {leaf.label} is {gradients.reshape(-1)[bad[0]]} in element {element(index) or '0'}"
            + (f", and not finite in {bad.size - 1} more" if bad.size > 1 else "")
            + f"; the finite difference is {figure(float(close.best[0]))} there.",
            k,
        )
        error.input_index, error.numeric = index, float(close.best[0])
        error.analytic = float(gradients.reshape(-1)[bad[0]])
        raise error

    # -- element by element ------------------------------------------------------------------------------------------

    def line(self, k: int, direction: int | Array) -> Line:
        """Return the function along an element or a direction of leaf `k`."""
        return Line(self._outputs_near, self.point, k, direction)

    def _outputs_near(self, point: list[Array]) -> Array:
        """Return the outputs; nan where the function refuses, as ``math.sqrt`` does just below 0."""
        try:
            return self.function.outputs(point)
        except (ArithmeticError, ValueError):
            return np.full(self.f0.shape, np.nan)

    def _slope(self, line: Line, rows: Array | None, shrink: float = 1) -> tuple[Array, Array, Array]:
        """Return for every row the central difference, how far rounding may have moved it, and how much it bends."""
        h = line.step(self.eps) / shrink
        with np.errstate(all="ignore"):
            above, below = line(h), line(-h)
            slopes, bend = (above - below) / (2 * h), np.abs(above + below - 2 * self.f0) / h
            # near a zero of the function its values at the ends, not that at the point, tell what is rounded away
            noise = np.fmax(self.rounding, self.function.output_eps * np.fmax(np.abs(above), np.abs(below)))
        if rows is not None:
            slopes, bend, noise = rows @ slopes, np.abs(rows) @ bend, np.abs(rows) @ noise
        return slopes, 8 * noise / h, bend

    def _block(self, k: int, gradients: Array) -> Block:
        leaf = self.function.leaves[k]
        eps = float(max(np.finfo(gradients.dtype).eps, np.finfo(leaf.value.dtype).eps, self.eps))
        analytic = gradients.astype(np.float64)
        coordinates = self._sample(analytic)
        columns = [self._slope(self.line(k, int(i)), self.rows) for i in coordinates]
        shape = (len(coordinates), len(analytic))
        numeric, noise, bend = (
            np.array(part).reshape(shape).T for part in (zip(*columns, strict=True) if columns else [[]] * 3)
        )
        finite = np.where(np.isfinite(numeric), np.abs(numeric), 0)
        scale = finite.max(axis=1, initial=0) if len(coordinates) else np.zeros(len(analytic))
        block = Block(k, leaf, analytic, eps, coordinates, numeric, noise, noise, np.zeros(numeric.shape, bool), scale)
        block.tolerance = self._allowed(block, numeric, block.theirs) + noise
        with np.errstate(invalid="ignore"):
            block.wrong = ~(np.abs(numeric - block.theirs) <= block.tolerance)
            bent = (bend > 1e-2 * np.maximum(scale[:, None], np.abs(block.theirs))) & (bend > 10 * noise)
        block.bent = bent & ~block.wrong
        return block

    def _sample(self, analytic: Array) -> Array:
        """Return the elements to look at: all, or the largest few gradients and some at random."""
        size = int(np.prod(analytic.shape[1:]))
        if self.full or size <= SAMPLED:
            return np.arange(size)
        largest = np.argsort(-np.abs(analytic).reshape(len(analytic), size).sum(0), kind="stable")[: SAMPLED // 4]
        drawn = self.rng.choice(size, SAMPLED, replace=False)
        return np.array(list(dict.fromkeys([*largest.tolist(), *drawn.tolist()]))[:SAMPLED])

    def _rtol(self, block: Block) -> tuple[float, float]:
        precision = 8 if block.eps < 1e-10 else 4 if block.eps < 1e-5 else 2
        rtol, share = TOLERANCES[precision]
        return (self.settings.rtol, self.settings.rtol / 10) if self.settings.rtol is not None else (rtol, share)

    def _allowed(self, block: Block, numeric: Array, theirs: Array) -> Array:
        """Return the largest difference that passes, (rows, n), the rounding of the differences left out."""
        rtol, share = self._rtol(block)
        larger = np.maximum(np.abs(numeric), np.abs(theirs))
        small = share * block.scale if self.settings.atol is None else np.full(len(block.scale), self.settings.atol)
        rounding = 64 * block.eps * float(np.max(np.abs(block.analytic), initial=0))
        return np.asarray(rtol * np.where(np.isfinite(larger), larger, 0) + small[:, None] + rounding)

    def _settle(self, block: Block, columns: Array) -> None:
        """Examine the elements that seem wrong, largest difference first; stop when enough are wrong."""
        with np.errstate(all="ignore"):
            excess = np.nan_to_num(np.abs(block.numeric - block.theirs) / block.tolerance, nan=np.inf)
        order = columns[np.argsort(-excess[:, columns].max(0, initial=0), kind="stable")]
        confirmed = 0
        for c in order:
            if confirmed >= ENOUGH:
                break
            slopes = self.closely(self.line(block.place, int(block.coordinates[c])))
            self._decide(block, int(c), slopes)
            confirmed += bool(block.wrong[:, c].any())

    def _allow_for_rounding(self, blocks: list[Block]) -> None:
        """Accept differences that are rounding beside the largest of all gradients, if in float64 there are none."""
        largest = max((float(np.max(np.abs(b.analytic), initial=0)) for b in blocks), default=0.0)
        small = {b.place: b.wrong & (np.abs(b.numeric - b.theirs) <= 64 * b.eps * largest) for b in blocks}
        tiny = [b for b in blocks if b.leaf.value.dtype.itemsize < 8 and small[b.place].any()]
        if not tiny:
            return
        again = self.gradients(self.point)
        for b in tiny:
            exact = b.at(again[b.place].astype(np.float64))
            agrees = np.abs(exact - b.numeric) <= 1e-5 * np.abs(b.numeric) + 10 * b.noise + 1e-9 * largest
            b.wrong &= ~(small[b.place] & agrees)
            b.tolerance = np.where(small[b.place] & agrees, 64 * b.eps * largest, b.tolerance)
            self.notes.setdefault(
                f"The gradient for {b.leaf.label} is rounding compared with the others; computed in float64 it agrees.",
                1,
            )

    def _look_for_kinks(self, block: Block) -> None:
        """Look closely where the slope bends though it agrees: at a kink other values would have passed, too."""
        for c in np.flatnonzero(block.bent.any(0) & ~block.wrong.any(0))[:KINKS]:
            slopes = self.closely(self.line(block.place, int(block.coordinates[c])))
            for r in np.flatnonzero(slopes.kinked & block.bent[:, c]):
                self._keep_kink(block, int(r), int(c), slopes)

    def _keep_kink(self, block: Block, r: int, c: int, slopes: Slopes) -> None:
        low, high, theirs = float(slopes.low[r]), float(slopes.high[r]), float(block.theirs[r, c])
        kink = Kink(block.leaf.label, self.index(block, c), low, high, theirs)
        (self.outside if block.wrong[r, c] else self.kinks).append(kink)

    def closely(self, line: Line) -> Slopes:
        """Return the slopes of the rows along a line, looked at with many steps."""
        return in_rows(settled(line, self.f0, self.eps, self.rounding), self.rows)

    def _decide(self, block: Block, c: int, slopes: Slopes) -> None:
        theirs = block.theirs[:, c]
        allowed = self._allowed(block, slopes.best[:, None], theirs[:, None])[:, 0]
        allowed += self._uncertainty(slopes, block.scale)
        before = block.wrong[:, c].copy()
        with np.errstate(invalid="ignore"):
            inside = (theirs >= slopes.low - allowed) & (theirs <= slopes.high + allowed)
            smooth = np.abs(theirs - slopes.best) <= allowed
        nearest = np.clip(theirs, slopes.low, slopes.high)
        block.numeric[:, c] = np.where(slopes.kinked, nearest, slopes.best)
        block.tolerance[:, c] = allowed
        block.wrong[:, c] = ~np.where(slopes.kinked, inside, smooth)
        for r in np.flatnonzero(slopes.kinked & (before | block.wrong[:, c])):
            self._keep_kink(block, int(r), c, slopes)
        passed = before & ~block.wrong[:, c] & ~slopes.kinked
        for step, taken, why in (
            ("smaller", slopes.shrunk < 0.9, "much curvature, or a kink nearby"),
            ("larger", slopes.shrunk > 1.1, "little slope, or much rounding"),
        ):
            if np.any(passed & taken):
                self.notes[f"Some elements agree only with a {step} step than the default ({why})."] = 1

    def _uncertainty(self, slopes: Slopes, scale: Array) -> Array:
        """Return how far the slopes are unknown, 0 where so far that they say nothing."""
        known = slopes.error <= 1e-3 * np.maximum(np.abs(slopes.best), scale)
        tiny = slopes.error <= 1e3 * self.eps * float(np.max(np.abs(self.f0), initial=0))
        return np.where(known | tiny, 10 * slopes.error, 0)

    def index(self, block: Block, c: int) -> tuple[int, ...]:
        """Return the index, in the block's leaf, of one of its columns."""
        shape = block.leaf.value.shape
        return tuple(int(i) for i in np.unravel_index(int(block.coordinates[c]), shape)) if shape else ()

    # -- along random directions -------------------------------------------------------------------------------------

    def _directions(self, block: Block) -> None:
        """Compare slopes along directions of ±1, in which no element can hide; find the element that is wrong."""
        for _ in range(DIRECTIONS):
            v = self.rng.choice([-1.0, 1.0], size=block.leaf.value.shape)
            wrong = self._along(block, v)
            self.compared += len(block.analytic)
            for r in np.flatnonzero(wrong):
                if not self._locate(block, int(r), v.copy()):
                    return

    def _along(self, block: Block, v: Array) -> Array:
        """Return which rows disagree along `v`."""
        line = self.line(block.place, v)
        numeric, noise, _ = self._slope(line, self.rows)
        gradients = block.analytic.reshape(len(block.analytic), block.leaf.value.size)
        theirs = gradients @ v.reshape(-1)
        norms = np.sqrt((gradients**2).sum(1))
        rtol, share = self._rtol(block)
        allowed = rtol * np.maximum(norms, np.abs(numeric)) + noise + 64 * block.eps * norms
        allowed += (share * block.scale if self.settings.atol is None else self.settings.atol) * np.sqrt(v.size)
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(numeric - theirs) <= allowed)
        if wrong.any():
            slopes = self.closely(line)
            difference = np.abs(slopes.best - theirs)
            unknown = wrong & (difference > allowed) & ~(difference > allowed + 5 * slopes.error)
            if unknown.any():
                self.notes[f"Along some directions for {block.leaf.label} finite differences do not converge."] = 1
            with np.errstate(invalid="ignore"):
                wrong &= difference > allowed + 5 * slopes.error
        return np.asarray(wrong)

    def _locate(self, block: Block, r: int, v: Array) -> bool:
        """Halve the direction where the row disagrees, down to elements; those that turn out right leave it.

        Return whether further directions are useful.
        """
        kinked = 0
        for _ in range(SAMPLED):
            i = self._worst_element(block, r, v)
            known = len(self.kinks)
            self._add(block, i)
            if block.wrong.any():
                return False
            kinked += len(self.kinks) > known
            v.reshape(-1)[i] = 0
            if not self._along(block, v)[r]:
                return True
        if kinked:
            self.notes[f"Along some directions for {block.leaf.label} there are too many kinks for a comparison."] = 1
            return False
        numeric = self.closely(self.line(block.place, v)).best[r]
        error = self.error(
            "unknown", "Every element looked at is right, but their sum along a direction is not.", block.place
        )
        error.numeric, error.analytic = float(numeric), float(np.sum(block.analytic[r] * v))
        raise error

    def _worst_element(self, block: Block, r: int, v: Array) -> int:
        row = None if self.rows is None else self.rows[r : r + 1]

        def error_of(part: Array) -> float:
            slopes, _, _ = self._slope(self.line(block.place, part.reshape(v.shape)), row, 16)
            return float(slopes[r if row is None else 0] - block.analytic[r].reshape(-1) @ part)

        return halved(v.reshape(-1), error_of)

    def _add(self, block: Block, i: int) -> None:
        """Examine one more element."""
        if i in block.coordinates:
            return
        block.coordinates = np.append(block.coordinates, i)
        block.wrong = np.append(block.wrong, np.ones((len(block.analytic), 1), bool), axis=1)
        for part in ("numeric", "noise", "tolerance"):
            setattr(block, part, np.append(getattr(block, part), np.zeros((len(block.analytic), 1)), axis=1))
        self._decide(block, len(block.coordinates) - 1, self.closely(self.line(block.place, i)))

    # -- the verdict -------------------------------------------------------------------------------------------------

    def _measure(self, block: Block) -> None:
        """Count what was compared, and keep the largest error relative to the largest entry."""
        self.compared += block.numeric.size
        if not block.numeric.size:
            return
        rtol, _ = self._rtol(block)
        floor = block.tolerance / max(rtol, 1e-15)  # below it a difference is rounding
        error = np.abs(block.numeric - block.theirs) / np.maximum(np.maximum(block.scale[:, None], floor), 1e-300)
        self.max_error = max(self.max_error, float(np.nan_to_num(error, nan=0, posinf=0).max()))

    def error(self, cause: str, explanation: str, k: int | None = None) -> GradcheckError:
        """Return an error about leaf `k`, or about the function."""
        leaf = None if k is None else self.function.leaves[k]
        return GradcheckError(
            cause,
            explanation,
            name=self.function.name,
            whose=self.function.whose,
            argument=leaf.argument if leaf else None,
            argument_name=leaf.label if leaf else "",
            kinks=tuple(self.kinks),
            checked=self.compared,
            read_as=self.function.describe(),
        )


def halved(weights: Array, error_of: Callable[[Array], float]) -> int:
    """Halve a weighted sum again and again, keeping the half with the larger error; return the element that is left."""
    support = np.flatnonzero(weights)
    while len(support) > 1:
        halves = np.array_split(support, 2)
        parts = [np.where(np.isin(np.arange(weights.size), half), weights, 0.0) for half in halves]
        errors = [abs(error_of(part)) for part in parts]
        support = halves[int(np.argmax(np.nan_to_num(errors, nan=np.inf)))]
    return int(support[0])
