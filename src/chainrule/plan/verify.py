"""The rules a plan keeps, checked one by one. An engine may run any plan that passes."""

from __future__ import annotations

from collections.abc import Sequence

from ..op import ELEMENTWISE
from ..op import VIEW as VIEW_KIND
from .model import BUFFER, CONSTANT, INPUT, PASSED, STATE, VIEW, Fused, Plan, Step, Value


class PlanError(ValueError):
    """A plan breaks a rule; the message says where."""


class _Shaped:
    """A shape and a dtype, to ask an operation's shape rule."""

    __slots__ = ("dtype", "shape", "value")

    def __init__(self, value: Value) -> None:
        self.shape, self.dtype, self.value = value.shape, value.dtype, value.array


def verify(plan: Plan) -> None:
    """Raise `PlanError` unless the plan keeps every rule.

    Values are numbered by their place, lie within their roots, and have the shape and dtype that their operation gives;
    every value is written once, before it is read; nothing that is still to be read is overwritten; states change only
    after their last read; registers stay within their fused step; no step is useless.
    """
    _values(plan)
    _dataflow(plan)
    _memory(plan)
    _tiles(plan)
    _useful(plan)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PlanError(message)


def _span(value: Value) -> tuple[int, int]:
    """Return the first and one past the last byte, relative to the value's own first element."""
    if 0 in value.shape:
        return 0, 0
    reach = [(d - 1) * s for d, s in zip(value.shape, value.strides, strict=True)]
    return sum(min(0, r) for r in reach), sum(max(0, r) for r in reach) + value.dtype.itemsize


def _values(plan: Plan) -> None:
    storages = {INPUT, CONSTANT, STATE, BUFFER, VIEW, PASSED}
    for place, v in enumerate(plan.values):
        _require(v.number == place, f"value {place} is numbered {v.number}")
        _require(v.storage in storages, f"{v} has unknown storage {v.storage!r}")
        _require(len(v.strides) == len(v.shape), f"{v} has {len(v.shape)} axes and {len(v.strides)} strides")
        _require(all(d >= 0 for d in v.shape), f"{v} has a negative length: {v.shape}")
        _require(0 <= v.root < len(plan.values), f"{v} has root {v.root}, there are {len(plan.values)} values")
        root = plan.values[v.root]
        if v.storage == VIEW:
            _require(root.storage not in (VIEW, PASSED), f"{v} is a view of {root}, which has no memory of its own")
            low, high = _span(v)
            start, end = _span(root)
            inside = start <= v.offset + low and v.offset + high <= end
            _require(inside or 0 in v.shape, f"{v} reaches bytes {v.offset + low}…{v.offset + high} of {root}: {end} bytes")
        else:
            _require(v.root == v.number, f"{v} is no view, but its root is {root}")
        if v.storage == CONSTANT:
            _require(v.array is not None, f"constant {v} has no content")
            assert v.array is not None
            _require(v.array.shape == v.shape and v.array.dtype == v.dtype, f"constant {v} is of another shape or dtype")
            _require(v.array.strides == v.strides, f"constant {v} has other strides")
            _require(not v.array.flags.writeable, f"constant {v} can be written")
        if v.storage == BUFFER and v.state is None:
            size = _span(v)[1]
            _require(0 <= v.offset and v.offset + size <= plan.arena, f"buffer {v} ends at {v.offset + size}, the arena at {plan.arena}")
        if v.state is not None:
            _require(v.storage == BUFFER and 0 <= v.state < len(plan.states), f"{v} is written into state {v.state}, which is none")
            old = plan.values[plan.states[v.state]]
            same = (old.shape, old.dtype, old.strides) == (v.shape, v.dtype, v.strides)
            _require(same, f"{v} is written into state {v.state}, whose layout differs")
    for title, numbers, storage in (("input", plan.inputs, INPUT), ("state", plan.states, STATE)):
        for n in numbers:
            _require(0 <= n < len(plan.values) and plan.values[n].storage == storage, f"{title} %{n} is none")


def _numbered(plan: Plan) -> list[tuple[int, int, Step, Fused | None]]:
    out = []
    for g, step in enumerate(plan.steps):
        if isinstance(step, Fused):
            _require(len(step.steps) > 0, f"step {g} fuses nothing")
            out += [(g, k, s, step) for k, s in enumerate(step.steps)]
        else:
            out.append((g, 0, step, None))
    return out


def _dataflow(plan: Plan) -> None:
    v = plan.values
    ready = {x.number for x in v if x.storage in (INPUT, CONSTANT, STATE)}
    for g, _, step, fused in _numbered(plan):
        where = f"step {g} ({step.op.name})"
        for i in (*step.inputs, step.output):
            _require(0 <= i < len(v), f"{where} names %{i}; there are {len(v)} values")
        for i in step.inputs:
            _require(v[i].root in ready, f"{where} reads %{i} before it is written")
            if v[i].storage == PASSED:
                inside = fused is not None and i in fused.registers
                _require(inside, f"{where} reads %{i}, a register of another step")
        out = v[step.output]
        _require(step.output not in ready, f"{where} writes {out} a second time")
        _require(out.storage in (BUFFER, PASSED), f"{where} writes {out}, which is {out.storage}")
        _require(step.op.kernel is not None, f"{where}: a composite operation was left in")
        _require(step.op.kind != VIEW_KIND, f"{where}: a view is a value, not a step")
        shape, dtype = step.op.shape(*[_Shaped(v[i]) for i in step.inputs], **step.attrs)
        _require((tuple(shape), dtype) == (out.shape, out.dtype), f"{where} gives {shape} {dtype}, {out} is {out.shape} {out.dtype}")
        if fused is None:
            _require(out.storage == BUFFER, f"{where} writes a register outside a fused step")
        else:
            _require(step.op.kind == ELEMENTWISE, f"{where} is not elementwise, but fused")
            _require(out.shape == fused.shape, f"{where} is of shape {out.shape} in a step over {fused.shape}")
            _require((out.storage == PASSED) == (step.output in fused.registers), f"{where}: {out} is half a register")
        ready.add(step.output)
    for i in (*plan.outputs, *plan.kept.values(), *(n for _, n in plan.updates)):
        _require(0 <= i < len(v) and v[i].root in ready and v[i].storage != PASSED, f"%{i} is a result, but never computed")
    states = [s for s, _ in plan.updates]
    _require(len(set(states)) == len(states), "a state is updated twice")
    for s, n in plan.updates:
        _require(0 <= s < len(plan.states), f"update of state {s}, which is none")
        old = v[plan.states[s]]
        _require((v[n].shape, v[n].dtype) == (old.shape, old.dtype), f"%{n} becomes state {s}, whose shape or dtype differs")
    for x in v:
        if x.state is not None:
            _require((x.state, x.number) in plan.updates, f"{x} is written into state {x.state}, but is not its update")


def _memory(plan: Plan) -> None:
    """Simulate the run: who owns each byte, each state and each register, and is it still to be read?"""
    v = plan.values
    numbered = _numbered(plan)
    end = len(numbered)
    last: dict[int, int] = {}
    for t, (_, _, step, _) in enumerate(numbered):
        for i in step.inputs:
            last[v[i].root] = t
    copied = [n for s, n in plan.updates if v[n].state is None]
    for i in (*plan.outputs, *plan.kept.values(), *(n for _, n in plan.updates)):
        last[v[i].root] = end
    live: list[tuple[int, int, int]] = []  # (start, stop, value)
    registers: dict[int, int] = {}
    current: int = -1
    for t, (g, _, step, fused) in enumerate(numbered):
        if g != current:
            current, registers = g, {}
        out = v[step.output]
        where = f"step {g} ({step.op.name})"
        if fused is not None:
            for i in step.inputs:
                if i in fused.registers:
                    owner = registers.get(fused.registers[i])
                    _require(owner == i, f"{where} reads %{i} from a register that holds %{owner}")
            if step.output in fused.registers:
                r = fused.registers[step.output]
                _require(0 <= r < len(fused.register_dtypes), f"{where} writes register {r} of {len(fused.register_dtypes)}")
                _require(fused.register_dtypes[r] == out.dtype, f"{where}: register {r} is of another dtype")
                _overwrites(step, registers.get(r), last, t, v, where)
                registers[r] = step.output
                continue
        if out.state is not None:
            old = plan.states[out.state]
            _overwrites(step, old, last, t, v, where)
            continue
        start, stop = out.offset, out.offset + max(_span(out)[1], 0)
        for a, b, owner in list(live):
            if a < stop and start < b:
                exact = a == start and _overwrites(step, owner, last, t, v, where, same_place=True)
                _require(exact or last.get(owner, -1) < t, f"{where} overwrites %{owner}, which is still to be read")
                live.remove((a, b, owner))
        live.append((start, stop, step.output))
    for n in copied:
        _require(v[n].state is None, f"%{n} is copied into a state it was written into")
    kept_states = {plan.states[v[n].state] for _, n in plan.updates if v[n].state is not None}  # type: ignore[index]
    for i in (*plan.outputs, *plan.kept.values(), *copied):
        _require(v[i].root not in kept_states, f"%{i} is a result, but its state is overwritten in place")


def _extent(plan: Plan, value: Value) -> tuple[object, int, int]:
    """Return which memory a value lies in, and its first and last byte there."""
    root = plan.values[value.root]
    low, high = _span(value)
    start = value.offset if value.storage == VIEW else 0
    if root.state is not None:
        return ("value", plan.states[root.state]), start + low, start + high
    if root.storage == BUFFER:
        return "arena", root.offset + start + low, root.offset + start + high
    return ("value", root.number), start + low, start + high


def _tiles(plan: Plan) -> None:
    """What a fused step writes, it reads only element by element: tiles run one after another, in any order."""
    for g, fused in enumerate(plan.steps):
        if not isinstance(fused, Fused):
            continue
        written = [(plan.values[o], _extent(plan, plan.values[o])) for o in fused.outputs]
        for i in {i for s in fused.steps for i in s.inputs if i not in fused.registers}:
            read = plan.values[i]
            memory, low, high = _extent(plan, read)
            for out, (where, start, stop) in written:
                if memory == where and low < stop and start < high:
                    same = (read.shape, read.strides, low) == (out.shape, out.strides, start)
                    _require(same, f"step {g} reads {read} across tiles while it writes {out} over it")


def _overwrites(
    step: Step, owner: int | None, last: dict[int, int], t: int, v: Sequence[Value], where: str, same_place: bool = True
) -> bool:
    """Hold writing over `owner` to the rules: it is dead, or dies here as an input that the kernel may overwrite."""
    if owner is None or last.get(owner, -1) < t:
        return True
    message = f"{where} overwrites %{owner}, which is still to be read"
    _require(last[owner] == t, message)
    out = v[step.output]
    for k, i in enumerate(step.inputs):
        if v[i].root == owner:
            same = v[i].shape == out.shape and v[i].dtype == out.dtype and v[i].strides == out.strides
            whole = v[i].storage != VIEW or v[i].offset == 0
            allowed = step.op.aliases is None or k in step.op.aliases
            _require(step.op.kind == ELEMENTWISE and same and whole and allowed, message)
    return True


def _useful(plan: Plan) -> None:
    v = plan.values
    wanted = {v[i].root for i in (*plan.outputs, *plan.kept.values(), *(n for _, n in plan.updates))}
    for g, _, step, _ in reversed(_numbered(plan)):
        _require(step.output in wanted, f"step {g} ({step.op.name}) computes %{step.output}, which nobody reads")
        wanted |= {v[i].root for i in step.inputs}
