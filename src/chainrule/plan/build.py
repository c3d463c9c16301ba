"""Graph to plan: order, views, fusion, registers, buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..op import ELEMENTWISE, Shape
from ..op import VIEW as VIEW_KIND
from ..ops.table import row
from ..reverse import topological
from ..tensor import Parameter, Tensor
from .model import (
    ALIGNMENT,
    BUFFER,
    CONSTANT,
    INPUT,
    PASSED,
    STATE,
    VIEW,
    Fused,
    Plan,
    Step,
    Value,
    contiguous_strides,
)
from .simplify import Rewriter
from .verify import verify


def build(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    *,
    states: Sequence[Tensor] = (),
    updates: Mapping[int, Tensor] | None = None,
    keep: Mapping[str, Tensor] | None = None,
    name: str = "function",
) -> tuple[Plan, list[Parameter]]:
    """Plan the computation of traced `outputs` from traced `inputs` and `states`.

    Parameters
    ----------
    outputs, inputs, states
        Nodes of one graph; inputs and states are leaves without values.
    updates
        State number -> the node whose value the state takes at the end of a run.
    keep
        Further values to hold to the end of a run, under these names.
    name
        Of the function, for printing.

    Returns
    -------
    plan
        Verified.
    captured
        Parameters that the graph reads besides its inputs; their values follow the inputs, in this order.
    """
    updates = dict(updates or {})
    keep = dict(keep or {})
    rewriter = Rewriter()
    roots = [*outputs, *updates.values(), *keep.values()]
    new = rewriter.rewrite(roots)
    for leaf in (*inputs, *states):
        rewriter.rewrite([leaf])
    builder = _Builder(name)
    captured = list(rewriter.captured.values())
    for leaf in (*inputs, *(leaf for _, leaf in captured)):
        builder.add_leaf(leaf, INPUT)
    for leaf in states:
        builder.add_leaf(leaf, STATE)
    n = len(outputs)
    builder.finals = dict(zip(updates, new[n : n + len(updates)], strict=True))
    builder.names = {k: v for k, v in rewriter.names.items()}
    plan = builder.plan(new[:n], dict(zip(keep, new[n + len(updates) :], strict=True)))
    verify(plan)
    return plan, [p for p, _ in captured]


class _Builder:
    """Carries one build from ordered nodes to the finished plan."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: list[Value] = []
        self.number: dict[int, int] = {}  # id(node) -> value
        self.inputs: list[int] = []
        self.states: list[int] = []
        self.finals: dict[int, Tensor] = {}
        self.names: dict[str, Tensor] = {}
        self.steps: list[Step] = []
        self.alive: list[Tensor] = []

    # -- values ------------------------------------------------------------------------------------------------------

    def add(self, shape: Shape, dtype: Any, storage: str, **more: Any) -> int:
        n = len(self.values)
        dtype = np.dtype(dtype)
        more.setdefault("strides", contiguous_strides(shape, dtype.itemsize))
        more.setdefault("root", n)
        more.setdefault("offset", 0)
        self.values.append(Value(n, tuple(shape), dtype, storage, **more))
        return n

    def add_leaf(self, leaf: Tensor, storage: str) -> None:
        n = self.add(leaf.shape, leaf.dtype, storage)
        self.number[id(leaf)] = n
        self.alive.append(leaf)
        (self.inputs if storage == INPUT else self.states).append(n)

    def of(self, node: Tensor) -> int:
        """Return the value of a leaf or an already numbered node."""
        if id(node) not in self.number:
            if node.op is not None or node.value is None:
                raise ValueError(
                    f"the function's result depends on a traced tensor that is none of its arguments: {node!r}. "
                    "A tensor of one trace was kept and used in another."
                )
            array = node.value
            if any(array.strides) or array.ndim == 0:
                array = np.array(array, order="C")
            array.setflags(write=False)
            n = self.add(node.shape, node.dtype, CONSTANT, array=array, strides=array.strides)
            self.number[id(node)] = n
            self.alive.append(node)
        return self.number[id(node)]

    # -- order and steps ---------------------------------------------------------------------------------------------

    def plan(self, outputs: Sequence[Tensor], keep: Mapping[str, Tensor]) -> Plan:
        """Build the plan."""
        finals = list(self.finals.values())
        order = [n for n in topological([*outputs, *keep.values(), *finals]) if n.op is not None]
        for node in _updates_last(order, finals, [*outputs, *keep.values()]):
            self._emit(node)
        kept = {name: self.of(node) for name, node in keep.items()}
        out = [self.of(node) for node in outputs]
        updates = {s: self.of(node) for s, node in self.finals.items()}
        self._name(kept)
        groups = _grouped(self.steps, self.values)
        lasting = {self.values[i].root for i in (*out, *kept.values(), *updates.values())}
        in_place = self._states_in_place(groups, updates, {self.values[i].root for i in (*out, *kept.values())})
        steps, arena = _Storage(self.values, groups, lasting, in_place).assign()
        return Plan(
            values=tuple(self.values),
            steps=tuple(steps),
            inputs=tuple(self.inputs),
            states=tuple(self.states),
            outputs=tuple(out),
            updates=tuple(updates.items()),
            kept=kept,
            arena=arena,
            name=self.name,
        )

    def _emit(self, node: Tensor) -> None:
        assert node.op is not None
        self.alive.append(node)
        inputs = [self.of(x) for x in node.inputs]
        if node.op.kind == VIEW_KIND:
            source = self.values[inputs[0]]
            layout = _view_layout(node, source)
            if layout is None:  # not expressible over these strides: copy first
                copy = self.add(source.shape, source.dtype, BUFFER)
                self.steps.append(Step(row("identity"), (source.number,), copy))
                source = self.values[copy]
                layout = _view_layout(node, source)
                assert layout is not None
            offset, strides = layout
            self.number[id(node)] = self.add(
                node.shape, node.dtype, VIEW, root=source.root, offset=source_offset(source) + offset, strides=strides
            )
            return
        n = self.add(node.shape, node.dtype, BUFFER)
        self.number[id(node)] = n
        self.steps.append(Step(node.op, tuple(inputs), n, dict(node.attrs)))

    def _name(self, kept: Mapping[str, int]) -> None:
        names: dict[int, list[str]] = {}
        for name, node in self.names.items():
            if id(node) in self.number:
                names.setdefault(self.number[id(node)], []).append(name)
        for name, number in kept.items():
            if name not in names.setdefault(number, []):
                names[number].append(name)
        for number, given in names.items():
            self.values[number] = _changed(self.values[number], names=tuple(sorted(given)))

    def _states_in_place(
        self, groups: Sequence[Sequence[Step]], updates: Mapping[int, int], taken: set[int]
    ) -> dict[int, int]:
        """Find the updates that may be written straight into their state: nobody reads the old value afterwards."""
        last_read: dict[int, tuple[int, int]] = {}
        written: dict[int, tuple[int, int]] = {}
        for g, group in enumerate(groups):
            for k, step in enumerate(group):
                for i in step.inputs:
                    last_read[self.values[i].root] = (g, k)
                written[step.output] = (g, k)
        place = {}
        for state, number in updates.items():
            old = self.states[state]
            new = self.values[number]
            if new.storage != BUFFER or number in taken or number not in written or old in taken or number in place:
                continue
            if any(old == self.values[v].root for s, v in updates.items() if s != state):
                continue  # another state takes the old value: it must still be there at the end
            read, (g, k) = last_read.get(old, (-1, -1)), written[number]
            step = groups[g][k]
            if read > (g, k):
                continue
            if read == (g, k) and not _may_alias(step, old, self.values):
                continue
            if not _read_in_place_only(groups[g], old, new, self.values):
                continue
            place[number] = state
        return place


def _changed(value: Value, **changes: Any) -> Value:
    fields = {f: getattr(value, f) for f in Value.__dataclass_fields__}
    return Value(**{**fields, **changes})


def source_offset(value: Value) -> int:
    """Return the bytes from the root's first element to this value's."""
    return value.offset if value.storage == VIEW else 0


def _view_layout(node: Tensor, source: Value) -> tuple[int, tuple[int, ...]] | None:
    """Ask NumPy for the strides and offset of a view; None if it would have to copy."""
    assert node.op is not None
    if 0 in source.shape or 0 in node.shape:
        return 0, contiguous_strides(node.shape, node.dtype.itemsize)
    low = sum(min(0, (d - 1) * s) for d, s in zip(source.shape, source.strides, strict=True))
    high = sum(max(0, (d - 1) * s) for d, s in zip(source.shape, source.strides, strict=True))
    memory = np.empty(high - low + source.dtype.itemsize, np.uint8)  # never touched: costs no pages
    array = np.ndarray(source.shape, source.dtype, buffer=memory, offset=-low, strides=source.strides)
    view = node.op.evaluate(array, **node.attrs)
    if not np.may_share_memory(view, memory):
        return None
    start = view.__array_interface__["data"][0] - array.__array_interface__["data"][0]
    return start, view.strides


def _updates_last(order: Sequence[Tensor], finals: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Put each state's update, and what only updates need, last, one after another.

    Then the old value has been read by everybody else, and the update can overwrite it.
    """
    if not finals:
        return list(order)
    users: dict[int, list[Tensor]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
    final_ids = {id(f) for f in finals}
    out_ids = {id(o) for o in outputs}
    late: set[int] = set()
    for node in reversed(order):
        if id(node) in out_ids or node.op is None or node.op.kind != ELEMENTWISE:
            continue
        using = users.get(id(node), [])
        if all(id(u) in late for u in using) and (using or id(node) in final_ids):
            late.add(id(node))
    return [n for n in order if id(n) not in late] + [n for n in order if id(n) in late]


def _may_alias(step: Step, number: int, values: Sequence[Value]) -> bool:
    """Whether `step` may write its result over its input `number`: elementwise, of one layout, allowed by the kernel."""
    out = values[step.output]
    if step.op.kind != ELEMENTWISE:
        return False
    for k, i in enumerate(step.inputs):
        v = values[i]
        if v.root != values[number].root:
            continue
        if v.shape != out.shape or v.dtype != out.dtype or v.strides != out.strides or source_offset(v):
            return False
        if step.op.aliases is not None and k not in step.op.aliases:
            return False
    return True


def _grouped(steps: Sequence[Step], values: Sequence[Value]) -> list[list[Step]]:
    """Gather neighbouring elementwise steps of one shape; every other step stands alone.

    A step that reads a result of its group other than element by element (through a view) begins a new group: tile by
    tile, what it reads may not be there yet.
    """
    groups: list[list[Step]] = []
    made: set[int] = set()
    shape: Shape | None = None
    for step in steps:
        own = values[step.output].shape
        through_view = any(i not in made and values[i].root in made for i in step.inputs)
        if step.op.kind == ELEMENTWISE and groups and shape == own and not through_view:
            groups[-1].append(step)
        else:
            groups.append([step])
            made = set()
        made.add(step.output)
        shape = own if step.op.kind == ELEMENTWISE else None
    return groups


def _read_in_place_only(group: Sequence[Step], root: int, out: Value, values: Sequence[Value]) -> bool:
    """Whether a group reads `root` only at the element it writes: then `root` may be overwritten tile by tile."""
    return all(
        values[i].shape == out.shape and values[i].strides == out.strides and not source_offset(values[i])
        for step in group
        for i in step.inputs
        if values[i].root == root
    )


class _Storage:
    """Gives registers and buffers by lifetimes."""

    def __init__(
        self, values: list[Value], groups: Sequence[Sequence[Step]], lasting: set[int], in_place: Mapping[int, int]
    ) -> None:
        self.values, self.groups, self.in_place = values, groups, in_place
        self.last: dict[int, tuple[int, int]] = {}
        for g, group in enumerate(groups):
            for k, step in enumerate(group):
                for i in step.inputs:
                    self.last[values[i].root] = (g, k)
        end = (len(groups), 0)
        for root in lasting:
            self.last[root] = end
        self.viewed = {v.root for v in values if v.storage == VIEW}
        self.free: list[tuple[int, int]] = []  # (offset, size)
        self.top = 0
        self.held: dict[int, tuple[int, int]] = {}  # buffer -> (offset, size)

    def assign(self) -> tuple[list[Step | Fused], int]:
        """Return the finished steps and the size of the arena."""
        out: list[Step | Fused] = []
        for g, group in enumerate(self.groups):
            if len(group) == 1:
                self._store(group[0], g, 0, fused=False)
                out.append(group[0])
            else:
                out.append(self._fuse(group, g))
            self._release(g)
        return out, self.top

    def _fuse(self, group: Sequence[Step], g: int) -> Fused:
        registers: dict[int, int] = {}
        dtypes: list[np.dtype[Any]] = []
        idle: list[int] = []
        for k, step in enumerate(group):
            number = step.output
            value = self.values[number]
            last = self.last.get(number, (g, k))
            dying = [i for i in dict.fromkeys(step.inputs) if i in registers and self.last[i] == (g, k)]
            local = last[0] == g and number not in self.viewed and number not in self.in_place
            if local:
                self.values[number] = _changed(value, storage=PASSED)
                reusable = [registers[i] for i in dying if _may_alias(step, i, self.values)]
                chosen = next((r for r in (*reusable, *idle) if dtypes[r] == value.dtype), None)
                if chosen is None:
                    chosen = len(dtypes)
                    dtypes.append(value.dtype)
                if chosen in idle:
                    idle.remove(chosen)
                registers[number] = chosen
            else:
                self._store(step, g, k, fused=True)
            idle += [registers[i] for i in dying if registers[i] != registers.get(number) and registers[i] not in idle]
        return Fused(self.values[group[0].output].shape, tuple(group), registers, tuple(dtypes))

    def _store(self, step: Step, g: int, k: int, *, fused: bool) -> None:
        """Find memory for a step's result: its state, a dying input's buffer, or a gap in the arena."""
        number = step.output
        value = self.values[number]
        if number in self.in_place:
            self.values[number] = _changed(value, state=self.in_place[number])
            return
        for i in dict.fromkeys(step.inputs):
            v = self.values[i]
            ends_here = self.last.get(v.root) == (g, k)
            alone = _read_in_place_only(self.groups[g], v.root, value, self.values)
            if v.storage == BUFFER and i in self.held and ends_here and alone and _may_alias(step, i, self.values):
                self.held[number] = self.held.pop(i)
                self.values[number] = _changed(value, offset=self.held[number][0])
                return
        size = -(-max(value.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        offset = self._take(size)
        self.held[number] = (offset, size)
        self.values[number] = _changed(value, offset=offset)

    def _take(self, size: int) -> int:
        fits = [(s, o) for o, s in self.free if s >= size]
        if fits:
            have, offset = min(fits)
            self.free.remove((offset, have))
            if have > size:
                self.free.append((offset + size, have - size))
            return offset
        tail = [(o, s) for o, s in self.free if o + s == self.top]
        if tail:  # grow the free block at the end
            offset, have = tail[0]
            self.free.remove(tail[0])
            self.top += size - have
            return offset
        offset = self.top
        self.top += size
        return offset

    def _release(self, g: int) -> None:
        """Free the buffers whose last reader was group g (or that nobody reads)."""
        for number in list(self.held):
            if self.last.get(number, (-1, -1))[0] <= g:
                self._give(*self.held.pop(number))

    def _give(self, offset: int, size: int) -> None:
        for o, s in list(self.free):
            if o + s == offset:
                self.free.remove((o, s))
                offset, size = o, s + size
            elif offset + size == o:
                self.free.remove((o, s))
                size += s
        self.free.append((offset, size))
