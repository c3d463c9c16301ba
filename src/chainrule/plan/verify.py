"""The rules of plans, checked one by one. An engine may run any plan that passes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

from ..core.op import ELEMENTWISE
from ..core.op import VIEW as VIEW_KIND
from .model import ALIGNMENT, BUFFER, CONSTANT, INPUT, PASSED, STATE, VIEW, Fused, Plan, Step, Value, contiguous_strides


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


class _Shaped:
    """A shape and a dtype, to ask an operation's shape rule."""

    __slots__ = ("dtype", "shape", "value")

    def __init__(self, value: Value) -> None:
        self.shape, self.dtype, self.value = value.shape, value.dtype, value.array


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
        _dataflow(one)
        _memory(one)
        _tiles(one)
        _useful(one)


def _require(condition: bool, message: str, *parts: Any) -> None:
    """Raise unless a rule holds. The message is put together only then: a plan is asked as much as 30 times a step."""
    if not condition:
        raise PlanError(message.format(*parts))


def _values(plan: Plan) -> None:
    storages = {INPUT, CONSTANT, STATE, BUFFER, VIEW, PASSED}
    for place, v in enumerate(plan.values):
        _require(v.number == place, "value {} is numbered {}", place, v.number)
        _require(v.storage in storages, "{} has unknown storage {!r}", v, v.storage)
        if v.dtype.kind not in "fbiu" or not v.dtype.isnative:  # a dtype's name takes long to make
            raise PlanError(f"{v} has dtype {v.dtype}, which no engine computes with")
        _require(min(v.shape, default=0) >= 0, "{} has a negative length: {}", v, v.shape)
        _require(len(v.strides) == len(v.shape), "{} has {} axes and {} strides", v, len(v.shape), len(v.strides))
        _require(0 <= v.root < len(plan.values), "{} has root {}, there are {} values", v, v.root, len(plan.values))
        _require(
            (v.storage == CONSTANT) == (v.array is not None),
            "{} ({}): constants, and only they, have content",
            v,
            v.storage,
        )
        _require(v.state is None or v.storage == BUFFER, "{} ({}) is written into a state", v, v.storage)
        if v.storage == VIEW:
            _view(plan, v)
            continue
        _require(v.root == v.number, "{} is not a view, but its root is %{}", v, v.root)
        if v.array is not None:
            _require(
                v.array.shape == v.shape and v.array.dtype == v.dtype,
                "constant {} is of another shape or dtype",
                v,
            )
            _require(v.array.strides == v.strides, "constant {} has other strides", v)
            _require(not v.array.flags.writeable, "constant {} can be written", v)
        else:
            _require(
                v.strides == contiguous_strides(v.shape, v.dtype.itemsize),
                "{} has memory of its own, but gaps in it",
                v,
            )
        if v.state is not None:
            _require(0 <= v.state < len(plan.states), "{} is written into state {}, which is none", v, v.state)
        elif v.storage == BUFFER:
            fits = 0 <= v.offset and v.offset + v.nbytes <= plan.arena
            _require(fits, "buffer {} has bytes {} to {}, the arena {}", v, v.offset, v.offset + v.nbytes, plan.arena)
            _require(
                v.offset % ALIGNMENT == 0, "buffer {} begins at byte {}, no multiple of {}", v, v.offset, ALIGNMENT
            )
    for title, numbers, storage in (("input", plan.inputs, INPUT), ("state", plan.states, STATE)):
        there = [v.number for v in plan.values if v.storage == storage]
        _require(
            sorted(numbers) == there,
            "the plan's {}s are {}, the values that are {}s {}",
            title,
            list(numbers),
            title,
            there,
        )


def _view(plan: Plan, v: Value) -> None:
    root = plan.values[v.root]
    _require(root.storage not in (VIEW, PASSED), "{} is a view of {}, which has no memory of its own", v, root)
    if root.dtype != v.dtype:
        raise PlanError(f"{v} is {v.dtype}, a view of {root}, which is {root.dtype}")
    size = v.dtype.itemsize
    _require(not any(s % size for s in (*v.strides, v.offset)), "{} lies across the elements of {}", v, root)
    low, high = v.span
    inside = 0 <= v.offset + low and v.offset + high <= root.span[1]
    _require(
        inside or 0 in v.shape,
        "{} reaches bytes {} to {} of {}: {} bytes",
        v,
        v.offset + low,
        v.offset + high,
        root,
        root.span[1],
    )


def _numbered(plan: Plan) -> list[tuple[int, Step, Fused | None]]:
    """Return every operation with the number of its step and, if it is inside one, the fused step."""
    out: list[tuple[int, Step, Fused | None]] = []
    for g, step in enumerate(plan.steps):
        if isinstance(step, Fused):
            _require(len(step.steps) > 0, "step {} fuses nothing", g)
            out += [(g, s, step) for s in step.steps]
        else:
            out.append((g, step, None))
    return out


def _dataflow(plan: Plan) -> None:
    """Every value is made once, before it is read, by an operation that gives its shape and dtype."""
    v = plan.values
    ready = {x.number for x in v if x.storage in (INPUT, CONSTANT, STATE)}
    for g, step in enumerate(plan.steps):
        if isinstance(step, Fused):
            here = {s.output for s in step.steps if 0 <= s.output < len(v) and v[s.output].storage == PASSED}
            _require(
                set(step.registers) == here,
                "step {} has registers for {}, not for {}",
                g,
                set(step.registers),
                here,
            )
    for g, step, fused in _numbered(plan):
        where = f"step {g} ({step.op.name})"
        for i in (*step.inputs, step.output):
            _require(0 <= i < len(v), "{} names %{}; there are {} values", where, i, len(v))
        for i in step.inputs:
            _require(v[i].root in ready, "{} reads %{} before it is written", where, i)
            inside = v[i].storage != PASSED or (fused is not None and i in fused.registers)
            _require(inside, "{} reads %{}, a register of another step", where, i)
        out = v[step.output]
        _require(step.output not in ready, "{} writes {} a second time", where, out)
        _require(out.storage in (BUFFER, PASSED), "{} writes {}, which is {}", where, out, out.storage)
        _require(step.op.kernel is not None, "{}: a composite operation was left in", where)
        _require(step.op.kind != VIEW_KIND, "{}: a view is a value, not a step", where)
        _fits(step, plan, where)
        if fused is None:
            _require(out.storage == BUFFER, "{} writes a register outside a fused step", where)
        else:
            _require(step.op.kind == ELEMENTWISE, "{} is not elementwise, but fused", where)
            _require(out.shape == fused.shape, "{} is of shape {} in a step over {}", where, out.shape, fused.shape)
        ready.add(step.output)
    for i in plan.results:
        _require(
            0 <= i < len(v) and v[i].root in ready and v[i].storage != PASSED,
            "%{} is a result, but never computed",
            i,
        )
    _updates(plan)


def _fits(step: Step, plan: Plan, where: str) -> None:
    out = plan.values[step.output]
    rules = step.op.vjp
    _require(callable(rules) or len(rules) == len(step.inputs), "{} has {} inputs", where, len(step.inputs))
    try:
        shape, dtype = step.op.shape(*[_Shaped(plan.values[i]) for i in step.inputs], **step.attrs)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise PlanError(f"{where}: {error}") from error
    if (tuple(shape), dtype) != (out.shape, out.dtype):
        raise PlanError(f"{where} gives {shape} {dtype}, {out} is {out.shape} {out.dtype}")


def _updates(plan: Plan) -> None:
    """Each state is updated once, to a value like it; what is copied into states is read from no state that changes."""
    v = plan.values
    updated = [s for s, _ in plan.updates]
    _require(len(set(updated)) == len(updated), "a state is updated twice")
    _require(
        all(0 <= s < len(plan.states) for s in updated),
        "updates of states {}; there are {}",
        updated,
        len(plan.states),
    )
    for s, n in plan.updates:
        old = v[plan.states[s]]
        _require(
            (v[n].shape, v[n].dtype) == (old.shape, old.dtype),
            "%{} becomes state {}, whose shape or dtype differs",
            n,
            s,
        )
    in_place = [(x.state, x.number) for x in v if x.state is not None]
    for s, n in in_place:
        _require((s, n) in plan.updates, "%{} is written into state {}, but is not its update", n, s)
    changing = {plan.states[s] for s in updated}
    for i in plan.results:
        _require(v[i].root not in changing, "%{} is a result, but lies in a state that changes", i)


def _memory(plan: Plan) -> None:
    """Simulate the run: what is written over a byte, a state or a register must not be read any more."""
    v = plan.values
    numbered = _numbered(plan)
    last: dict[int, int] = {}
    for t, (_, step, _) in enumerate(numbered):
        for i in step.inputs:
            last[v[i].root] = t
    for i in plan.results:
        last[v[i].root] = len(numbered)
    arena = _Stretches()
    registers: dict[int, int] = {}
    current = -1
    for t, (g, step, fused) in enumerate(numbered):
        if g != current:
            current, registers = g, {}
        out = v[step.output]
        where = f"step {g} ({step.op.name})"
        if fused is not None:
            for i in step.inputs:
                if i in fused.registers:
                    owner = registers.get(fused.registers[i])
                    _require(owner == i, "{} reads %{} from a register that holds %{}", where, i, owner)
            if step.output in fused.registers:
                r = fused.registers[step.output]
                _require(
                    0 <= r < len(fused.register_dtypes),
                    "{} writes register {} of {}",
                    where,
                    r,
                    len(fused.register_dtypes),
                )
                _require(fused.register_dtypes[r] == out.dtype, "{}: register {} is of another dtype", where, r)
                _overwrites(step, registers.get(r), last, t, v, where)
                registers[r] = step.output
                continue
        if out.state is not None:
            _overwrites(step, plan.states[out.state], last, t, v, where)
            continue
        if out.nbytes:
            for start, owner in arena.claim(out.offset, out.offset + out.nbytes, step.output):
                if start == out.offset:
                    _overwrites(step, owner, last, t, v, where)
                else:
                    _require(last.get(owner, -1) < t, "{} overwrites %{}, which is still to be read", where, owner)


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


def _overwrites(step: Step, owner: int | None, last: dict[int, int], t: int, v: Sequence[Value], where: str) -> None:
    """Check that `owner` may be overwritten: it is not read later, and if it is an input, the kernel allows it."""
    if owner is None or last.get(owner, -1) < t:
        return
    message = "{} overwrites %{}, which is still to be read"
    _require(last[owner] == t and step.op.may_overwrite, message, where, owner)
    for k, i in enumerate(step.inputs):
        if v[i].root == owner:
            allowed = step.op.aliases is None or k in step.op.aliases
            _require(v[i].same_layout(v[step.output]) and allowed, message, where, owner)


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


def _useful(plan: Plan) -> None:
    v = plan.values
    wanted = {v[i].root for i in plan.results}
    for g, step, _ in reversed(_numbered(plan)):
        _require(step.output in wanted, "step {} ({}) computes %{}, which nobody reads", g, step.op.name, step.output)
        wanted |= {v[i].root for i in step.inputs}
