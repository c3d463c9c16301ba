"""The rules of plans, checked one by one. An engine may run any plan that passes."""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

from ..core.op import ELEMENTWISE, Array
from ..core.op import VIEW as VIEW_KIND
from .model import (
    ALIGNMENT,
    BUFFER,
    CONSTANT,
    INPUT,
    PASSED,
    STATE,
    VIEW,
    Fused,
    Loop,
    Plan,
    Step,
    Value,
    contiguous_strides,
)

_STORAGES = frozenset({INPUT, CONSTANT, STATE, BUFFER, VIEW, PASSED})


class PlanError(ValueError):
    """A plan breaks a rule; the message says where.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import numpy as np
    >>> import chainrule as cr
    >>> plan = cr.compile(lambda x: x + 1, engine="numpy").plan(np.zeros(2))
    >>> cr.verify(replace(plan, arena=0))
    Traceback (most recent call last):
    chainrule.plan.verify.PlanError: buffer %2 has bytes 0 to 16, the arena 0
    """


class Planned(Protocol):
    """What has made plans: a compiled function."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans made so far."""


def verify(plan: Plan | Planned) -> None:
    """Raise `PlanError` unless the plan, or each plan that a compiled function has made so far, keeps every rule.

    Values are numbered by their place, lie within their roots, and have the shape and dtype that their operation gives;
    every value is written once, before it is read; nothing that is still to be read is overwritten; states change only
    after their last read; registers stay within their fused step; no step is useless.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> step = cr.compile(lambda x: np.sum(x * x))
    >>> _ = step(np.ones(3))
    >>> cr.verify(step)
    """
    for one in (plan,) if isinstance(plan, Plan) else plan.plans:
        _values(one)
        steps = list(_numbered(one))
        _dataflow(one, steps)
        _memory(one, steps)
        _tiles(one)


def differs_in_sizes_only(one: Plan, other: Plan) -> bool:
    """Whether two plans have the same steps, on values in the same kinds of places: lengths and offsets may differ.

    Plans of one function for several batch sizes do. Once one of them is verified, so is the way in which all are made.
    """
    return all(map(operator.eq, _form(one), _form(other)))


def _form(plan: Plan) -> Iterator[Any]:
    """Yield all that is in a plan besides sizes and numbers."""
    yield from (plan.inputs, plan.states, plan.outputs, plan.updates, plan.kept, len(plan.values), len(plan.steps))
    yield [(len(v.shape), v.dtype, v.storage, v.root, v.state) for v in plan.values]
    for step in plan.steps:
        if isinstance(step, Fused):
            yield step.registers, step.register_dtypes, [(s.op, s.inputs, s.output) for s in step.steps]
        else:
            yield step.op, step.inputs, step.output, isinstance(step, Loop)


def _require(condition: bool, message: str, *parts: Any) -> None:
    """Raise unless a rule holds. Rules of every value and operation are checked in place, which takes less time."""
    if not condition:
        raise PlanError(message.format(*parts))


def _values(plan: Plan) -> None:
    count, states = len(plan.values), len(plan.states)
    for place, v in enumerate(plan.values):
        number, shape, dtype, storage, root, offset, strides, array, state, _ = v
        if number != place:
            raise PlanError(f"value {place} is numbered {number}")
        if storage not in _STORAGES:
            raise PlanError(f"{v} has unknown storage {storage!r}")
        if dtype.kind not in "fbiu" or not dtype.isnative:
            raise PlanError(f"{v} has dtype {dtype}, which no engine computes with")
        if shape and min(shape) < 0:
            raise PlanError(f"{v} has a negative length: {shape}")
        if len(strides) != len(shape):
            raise PlanError(f"{v} has {len(shape)} axes and {len(strides)} strides")
        if not 0 <= root < count:
            raise PlanError(f"{v} has root {root}, there are {count} values")
        if (storage == CONSTANT) != (array is not None):
            raise PlanError(f"{v} ({storage}): constants, and only they, have content")
        if storage == VIEW:
            _view(plan, v)
        elif root != place:
            raise PlanError(f"{v} is not a view, but its root is %{root}")
        elif array is not None:
            _constant(v, array)
        elif strides != contiguous_strides(shape, dtype.itemsize):
            raise PlanError(f"{v} has memory of its own, but gaps in it")
        if state is not None:
            _require(storage == BUFFER, "{} ({}) is written into a state", v, storage)
            _require(0 <= state < states, "{} is written into state {}, which is none", v, state)
        elif storage == BUFFER:
            if not 0 <= offset <= plan.arena - v.nbytes:
                raise PlanError(f"buffer {v} has bytes {offset} to {offset + v.nbytes}, the arena {plan.arena}")
            if offset % ALIGNMENT:
                raise PlanError(f"buffer {v} begins at byte {offset}, no multiple of {ALIGNMENT}")
    for title, numbers in ((INPUT, plan.inputs), (STATE, plan.states)):
        there = [v.number for v in plan.values if v.storage == title]
        message = "the plan's {0}s are {1}, the values that are {0}s {2}"
        _require(sorted(numbers) == there, message, title, list(numbers), there)


def _constant(v: Value, array: Array) -> None:
    alike = array.shape == v.shape and array.dtype == v.dtype
    _require(alike, "constant {} is of another shape or dtype", v)
    _require(array.strides == v.strides, "constant {} has other strides", v)
    _require(not array.flags.writeable, "constant {} can be written", v)


def _view(plan: Plan, v: Value) -> None:
    root = plan.values[v.root]
    _require(root.storage not in (VIEW, PASSED), "{} is a view of {}, which has no memory of its own", v, root)
    if root.dtype != v.dtype:
        raise PlanError(f"{v} is {v.dtype}, a view of {root}, which is {root.dtype}")
    size = v.dtype.itemsize
    _require(not any(s % size for s in (*v.strides, v.offset)), "{} lies across the elements of {}", v, root)
    low, high = v.span
    inside = 0 <= v.offset + low and v.offset + high <= root.span[1]
    message = "{} reaches bytes {} to {} of {}: {} bytes"
    _require(inside or 0 in v.shape, message, v, v.offset + low, v.offset + high, root, root.span[1])


def _numbered(plan: Plan) -> Iterator[tuple[int, Step, Fused | None]]:
    """Yield every operation with the number of its step and, if it is inside one, the fused step."""
    for g, step in enumerate(plan.steps):
        if isinstance(step, Fused):
            for s in step.steps:
                yield g, s, step
        else:
            yield g, step, None


def _dataflow(plan: Plan, steps: Sequence[tuple[int, Step, Fused | None]]) -> None:
    """Every value is made once, before it is read, by an operation that gives its shape and dtype."""
    v = plan.values
    for g, part in enumerate(plan.steps):
        if isinstance(part, Fused):
            _require(len(part.steps) > 0, "step {} fuses nothing", g)
            made = [s.output for s in part.steps]
            here = {i for i in made if 0 <= i < len(v) and v[i].storage == PASSED}
            message = "step {} has registers for {}, not for {}"
            _require(part.registers.keys() == here, message, g, set(part.registers), here)
    ready = {x.number for x in v if x.storage in (INPUT, CONSTANT, STATE)}
    for g, step, fused in steps:
        for i in (*step.inputs, step.output):
            if not 0 <= i < len(v):
                raise PlanError(f"{_at(g, step)} names %{i}; there are {len(v)} values")
        for i in step.inputs:
            read = v[i]
            if read.root not in ready:
                raise PlanError(f"{_at(g, step)} reads %{i} before it is written")
            if read.storage == PASSED and (fused is None or i not in fused.registers):
                raise PlanError(f"{_at(g, step)} reads %{i}, a register of another step")
        out = v[step.output]
        if step.output in ready:
            raise PlanError(f"{_at(g, step)} writes {out} a second time")
        if out.storage != BUFFER and out.storage != PASSED:
            raise PlanError(f"{_at(g, step)} writes {out}, which is {out.storage}")
        if step.op.kernel is None:
            raise PlanError(f"{_at(g, step)}: a composite operation was left in")
        if step.op.kind == VIEW_KIND:
            raise PlanError(f"{_at(g, step)}: a view is a value, not a step")
        _fits(step, v, g)
        if fused is not None:
            _fits_into(fused, step, out, g)
        elif out.storage == PASSED:
            raise PlanError(f"{_at(g, step)} writes a register outside a fused step")
        ready.add(step.output)
    for i in plan.results:
        computed = 0 <= i < len(v) and v[i].root in ready and v[i].storage != PASSED
        _require(computed, "%{} is a result, but never computed", i)
    _updates(plan)


def _at(g: int, step: Step) -> str:
    """Return where a rule is broken, for messages."""
    return f"step {g} ({step.op.name})"


def _fits(step: Step, values: Sequence[Value], g: int) -> None:
    out, rules = values[step.output], step.op.vjp
    if not callable(rules) and len(rules) != len(step.inputs):
        raise PlanError(f"{_at(g, step)} has {len(step.inputs)} inputs")
    try:
        shape, dtype = step.op.shape(*[values[i] for i in step.inputs], **step.attrs)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise PlanError(f"{_at(g, step)}: {error}") from error
    if dtype != out.dtype or tuple(shape) != out.shape:
        raise PlanError(f"{_at(g, step)} gives {shape} {dtype}, {out} is {out.shape} {out.dtype}")


def _fits_into(fused: Fused, step: Step, out: Value, g: int) -> None:
    """Check that an operation can be part of a fused step."""
    if step.op.kind != ELEMENTWISE:
        raise PlanError(f"{_at(g, step)} is not elementwise, but fused")
    if out.shape != fused.shape:
        raise PlanError(f"{_at(g, step)} is of shape {out.shape} in a step over {fused.shape}")


def _updates(plan: Plan) -> None:
    """Each state is updated once, to a value like it; what is copied into states is read from no state that changes."""
    v = plan.values
    updated = [s for s, _ in plan.updates]
    _require(len(set(updated)) == len(updated), "a state is updated twice")
    known = all(0 <= s < len(plan.states) for s in updated)
    _require(known, "updates of states {}; there are {}", updated, len(plan.states))
    for s, n in plan.updates:
        old = v[plan.states[s]]
        alike = (v[n].shape, v[n].dtype) == (old.shape, old.dtype)
        _require(alike, "%{} becomes state {}, whose shape or dtype differs", n, s)
    in_place = [(x.state, x.number) for x in v if x.state is not None]
    for s, n in in_place:
        _require((s, n) in plan.updates, "%{} is written into state {}, but is not its update", n, s)
    changing = {plan.states[s] for s in updated}
    for i in plan.results:
        _require(v[i].root not in changing, "%{} is a result, but lies in a state that changes", i)


def _memory(plan: Plan, steps: Sequence[tuple[int, Step, Fused | None]]) -> None:
    """Simulate the run: what is written over a byte, a state or a register must not be read any more.

    What is computed must be read; as every step is checked, that makes all of them useful.
    """
    v = plan.values
    last: dict[int, int] = {}
    for t, (_, step, _) in enumerate(steps):
        for i in step.inputs:
            last[v[i].root] = t
    for i in plan.results:
        last[v[i].root] = len(steps)
    arena = _Stretches()
    registers: dict[int, int] = {}
    current = -1
    for t, (g, step, fused) in enumerate(steps):
        if g != current:
            current, registers = g, {}
        out = v[step.output]
        if step.output not in last:
            raise PlanError(f"{_at(g, step)} computes {out}, which nobody reads")
        if fused is not None and fused.registers:
            for i in step.inputs:
                if i in fused.registers and registers.get(fused.registers[i]) != i:
                    owner = registers.get(fused.registers[i])
                    raise PlanError(f"{_at(g, step)} reads %{i} from a register that holds %{owner}")
            if step.output in fused.registers:
                r = fused.registers[step.output]
                count = len(fused.register_dtypes)
                if not 0 <= r < count:
                    raise PlanError(f"{_at(g, step)} writes register {r} of {count}")
                if fused.register_dtypes[r] != out.dtype:
                    raise PlanError(f"{_at(g, step)}: register {r} is of another dtype")
                _overwrites(step, registers.get(r), last, t, v, g)
                registers[r] = step.output
                continue
        if out.state is not None:
            _overwrites(step, plan.states[out.state], last, t, v, g)
            continue
        if out.nbytes:
            for start, owner in arena.claim(out.offset, out.offset + out.nbytes, step.output):
                if start == out.offset:
                    _overwrites(step, owner, last, t, v, g)
                elif last[owner] >= t:
                    raise PlanError(f"{_at(g, step)} overwrites %{owner}, which is still to be read")


class _Stretches:
    """Who wrote which stretch of the arena last; stretches never overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._rest: list[tuple[int, int]] = []  # (stop, owner)

    def claim(self, start: int, stop: int, owner: int) -> list[tuple[int, int]]:
        """Give a stretch to `owner`; return (start, owner) of all that it overlaps."""
        low = bisect_right(self._starts, start)
        if low and self._rest[low - 1][0] > start:
            low -= 1
        high = bisect_left(self._starts, stop)
        lost = [(self._starts[k], self._rest[k][1]) for k in range(low, high)]
        self._starts[low:high] = [start]
        self._rest[low:high] = [(stop, owner)]
        return lost


def _overwrites(step: Step, owner: int | None, last: dict[int, int], t: int, v: Sequence[Value], g: int) -> None:
    """Check that `owner` may be overwritten: it is not read later, and if it is an input, the kernel allows it."""
    if owner is None or last.get(owner, -1) < t:
        return
    message = "{} overwrites %{}, which is still to be read"
    _require(last[owner] == t and step.op.may_overwrite, message, _at(g, step), owner)
    for k, i in enumerate(step.inputs):
        if v[i].root == owner:
            allowed = step.op.aliases is None or k in step.op.aliases
            _require(v[i].same_layout(v[step.output]) and allowed, message, _at(g, step), owner)


def _extent(plan: Plan, value: Value) -> tuple[str, int, int]:
    """Return which memory a value lies in, and its first and last byte there."""
    root = plan.values[value.root]
    low, high = value.span
    if root.state is not None:
        return f"%{plan.states[root.state]}", value.start + low, value.start + high
    if root.storage == BUFFER:
        return "arena", root.offset + value.start + low, root.offset + value.start + high
    return f"%{root.number}", value.start + low, value.start + high


def _tiles(plan: Plan) -> None:
    """What a fused step writes, it reads and writes element by element only: its tiles run in any order."""
    for g, fused in enumerate(plan.steps):
        if not isinstance(fused, Fused):
            continue
        written = {_extent(plan, plan.values[o]): plan.values[o] for o in fused.outputs}
        places = sorted(p for p in written if p[1] < p[2])
        for one, other in pairwise(places):
            apart = one[0] != other[0] or one[2] <= other[1]
            _require(apart, "step {} writes {} and {} over each other across tiles", g, written[one], written[other])
        for i in {i for s in fused.steps for i in s.inputs if i not in fused.registers}:
            read = plan.values[i]
            memory, low, high = _extent(plan, read)
            at = bisect_left(places, (memory, high, -1)) - 1
            if low < high and at >= 0 and places[at][0] == memory and low < places[at][2]:
                out = written[places[at]]
                same = (read.shape, read.strides, low) == (out.shape, out.strides, places[at][1])
                _require(same, "step {} reads {} across tiles while it writes {} over it", g, read, out)
