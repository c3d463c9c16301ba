"""From a graph to a plan: the order of the steps, views, and groups of elementwise steps."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.op import ELEMENTWISE, LOOP, OTHER, REDUCE, Shape
from ..core.op import VIEW as VIEW_KIND
from ..core.tensor import Parameter, Tensor, latest, original
from ..ops.logic import IDENTITY
from .common_factors import draw_out_factors
from .early import computed_early
from .factors import move_factors
from .loops import merge_loops
from .model import BUFFER, CONSTANT, INPUT, STATE, VIEW, Loop, Plan, Step, Value, contiguous_strides
from .recompute import computed_again
from .simplify import Rewriter
from .storage import Storage, states_in_place
from .sums import made_of_sums
from .verify import differs_in_sizes_only, verify


def build(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    *,
    states: Sequence[Tensor] = (),
    updates: Mapping[int, Tensor] | None = None,
    keep: Mapping[str, Tensor] | None = None,
    name: str = "function",
    own_outputs: bool = False,
    earlier: Iterable[Plan] = (),
) -> tuple[Plan, list[Parameter]]:
    """Plan the computation of traced `outputs` from traced `inputs` and `states`.

    Parameters
    ----------
    outputs, inputs, states
        Nodes of one graph; inputs and states are leaves without values.
    updates
        State number -> the node that gives the new value of the state. Updates and outputs are computed from the
        values that the states have before the run.
    keep
        Further values to keep until the end of a run, by name.
    name
        The name of the function, for printing.
    own_outputs
        Whether each output is in a buffer of its own.
    earlier
        Plans of the same function. One that differs from them in sizes only is not verified again.

    Returns
    -------
    plan
        Verified, itself or as one of a kind.
    captured
        Parameters that the graph uses in addition to its inputs; they are further inputs of the plan, in this order.

    Raises
    ------
    ValueError
        If the graph uses a traced tensor that is neither an input nor a state, or if an update does not have the shape
        and dtype of its state.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.core.node import Recording
    >>> from chainrule.core.tensor import traced_leaf
    >>> from chainrule.plan import build
    >>> with Recording("example") as recording:
    ...     x = traced_leaf((3,), np.dtype("float64"), frozenset({recording}))
    ...     plan, captured = build([np.sum(x * x)], [x])
    >>> [step.op.name for step in plan.operations], captured
    (['multiply', 'sum'], [])
    """
    updates = {s: latest(node) for s, node in (updates or {}).items()}
    keep = dict(keep or {})
    outputs = [latest(node) for node in outputs]
    inputs, states = [original(leaf) for leaf in inputs], [original(leaf) for leaf in states]
    _check_updates(states, updates)
    rewriter = Rewriter()
    with np.errstate(all="ignore"):  # constants are computed
        new = merge_loops(rewriter, rewriter.rewrite([*outputs, *updates.values(), *keep.values()]))
        new = move_factors(rewriter, new)
        if updates:  # a training step; what else is compiled overflows where NumPy does
            new = made_of_sums(rewriter, draw_out_factors(rewriter, new))
    rewriter.rewrite([*inputs, *states])  # registers their names
    builder = _Builder(name, own_outputs)
    captured = list(rewriter.captured.values())
    for leaf in (*inputs, *(leaf for _, leaf in captured)):
        builder.add_leaf(leaf, INPUT)
    for leaf in states:
        builder.add_leaf(leaf, STATE)
    n = len(outputs)
    finals = dict(zip(updates, new[n : n + len(updates)], strict=True))
    kept = dict(zip(keep, new[n + len(updates) :], strict=True))
    plan = builder.plan(new[:n], finals, kept, rewriter.names)
    if not any(differs_in_sizes_only(plan, one) for one in earlier):
        verify(plan)
    return plan, [p for p, _ in captured]


def _check_updates(states: Sequence[Tensor], updates: Mapping[int, Tensor]) -> None:
    for s, node in updates.items():
        if not 0 <= s < len(states):
            raise ValueError(f"updates: expected states 0 to {len(states) - 1}, got {s}")
        old = states[s]
        if node.shape != old.shape or node.dtype != old.dtype:
            raise ValueError(
                f"the update of state {s} has shape {node.shape}, {node.dtype}; the state has {old.shape}, {old.dtype}"
            )


#: How many groups a step looks at for one to join, so that planning takes time in proportion to the steps.
NEAR = 64
#: The distance of the labels of groups: that many bits are the insertions at one place before all are numbered anew.
GAP = 1 << 512


class _Builder:
    """Builds one plan from simplified nodes."""

    def __init__(self, name: str, own_outputs: bool = False) -> None:
        self.name, self.own_outputs = name, own_outputs
        self.values: list[Value] = []
        self.number: dict[int, int] = {}  # id(node) -> value
        self.inputs: list[int] = []
        self.states: list[int] = []
        self.steps: list[Step] = []
        self.dense: dict[int, int] = {}  # views -> copies of them in C order
        self.alive: list[Tensor] = []  # references to numbered nodes, so that their ids are not reused

    # -- values ------------------------------------------------------------------------------------------------------

    def add(
        self,
        shape: Shape,
        dtype: np.dtype[Any],
        storage: str,
        *,
        root: int | None = None,
        offset: int = 0,
        strides: tuple[int, ...] | None = None,
        array: Any = None,
    ) -> int:
        n = len(self.values)
        if strides is None:
            strides = contiguous_strides(shape, dtype.itemsize)
        self.values.append(Value(n, shape, dtype, storage, n if root is None else root, offset, strides, array))
        return n

    def add_leaf(self, leaf: Tensor, storage: str) -> None:
        self._enter(leaf, self.add(leaf.shape, leaf.dtype, storage))
        (self.inputs if storage == INPUT else self.states).append(self.number[id(leaf)])

    def _enter(self, node: Tensor, number: int) -> None:
        self.number[id(node)] = number
        self.alive.append(node)

    def of(self, node: Tensor) -> int:
        """Return the value of a leaf or an already numbered node."""
        number = self.number.get(id(node))
        if number is None:
            if node.value is None:
                raise ValueError(
                    f"the result depends on a traced tensor that is not an argument of the function: {node!r}. "
                    "A tensor from one trace was stored and used in another."
                )
            array = _own_copy(node.value)
            number = self.add(node.shape, node.dtype, CONSTANT, array=array, strides=array.strides)
            self._enter(node, number)
        return number

    # -- order and steps ---------------------------------------------------------------------------------------------

    def plan(
        self,
        outputs: Sequence[Tensor],
        finals: Mapping[int, Tensor],
        keep: Mapping[str, Tensor],
        names: Mapping[str, Tensor],
    ) -> Plan:
        """Build the plan."""
        results = [*outputs, *keep.values()]
        early, late = _updates_last(_ordered([*results, *finals.values()]), results)
        for node in early:
            self._emit(node)
        changing = {self.states[s] for s, node in finals.items() if self.number.get(id(node)) != self.states[s]}
        copies: dict[int, int] = {}
        out = [self._settled(self.of(node), changing, copies) for node in outputs]
        if self.own_outputs:
            out = self._owned(out)
        kept = {k: self._settled(self.of(node), changing, copies) for k, node in keep.items()}
        after = {id(node) for node in late}
        updates = {
            s: self._settled(self.of(node), changing, copies)
            for s, node in finals.items()
            if id(node) not in after and self.number.get(id(node)) != self.states[s]
        }
        for node in late:
            self._emit(node)
        updates |= {s: self.of(node) for s, node in finals.items() if id(node) in after}
        self._name(kept, names)
        groups = _grouped(self.steps, self.values, updates.values())
        lasting = {self.values[i].root for i in (*out, *kept.values(), *updates.values())}
        computed_early(groups, self.values, lasting)
        computed_again(groups, self.values, lasting)
        in_place = states_in_place(self.values, groups, self.states, updates)
        if self.own_outputs:
            in_place = {n: s for n, s in in_place.items() if n not in out}
        steps, arena = Storage(self.values, groups, lasting, in_place).assign()
        return Plan(
            values=tuple(self.values),
            steps=tuple(steps),
            inputs=tuple(self.inputs),
            states=tuple(self.states),
            outputs=tuple(out),
            updates=tuple(sorted(updates.items())),
            kept=kept,
            arena=arena,
            name=self.name,
        )

    def _settled(self, number: int, changing: set[int], copies: dict[int, int]) -> int:
        """Return a value that no update overwrites: a copy if `number` is in the memory of a state that is updated."""
        value = self.values[number]
        if value.root not in changing:
            return number
        if number not in copies:
            copies[number] = self._copied(value)
        return copies[number]

    def _owned(self, numbers: Sequence[int]) -> list[int]:
        """Return values of which each is a buffer, and no two are the same."""
        seen: set[int] = set()
        out = []
        for n in numbers:
            n = n if self.values[n].storage == BUFFER and n not in seen else self._copied(self.values[n])
            seen.add(n)
            out.append(n)
        return out

    def _copied(self, value: Value) -> int:
        """Add a step that copies `value`; return the number of the copy."""
        copy = self.add(value.shape, value.dtype, BUFFER)
        self.steps.append(Step(IDENTITY, (value.number,), copy))
        return copy

    def _emit(self, node: Tensor) -> None:
        assert node.op is not None
        number = self.number
        inputs = tuple([number[id(x)] if id(x) in number else self.of(x) for x in node.inputs])
        if node.op.kind == VIEW_KIND:
            source = self.values[inputs[0]]
            layout = _view_layout(node, source)
            if layout is None:  # no strides describe this view of the source: copy the source first
                if inputs[0] not in self.dense:
                    self.dense[inputs[0]] = self._copied(source)
                source = self.values[self.dense[inputs[0]]]
                layout = _view_layout(node, source)
                assert layout is not None
            offset, strides = layout
            offset += source.start
            self._enter(node, self.add(node.shape, node.dtype, VIEW, root=source.root, offset=offset, strides=strides))
            return
        if node.op.kind == LOOP:
            inputs = tuple([self._dense(i) for i in inputs])
        n = self.add(node.shape, node.dtype, BUFFER)
        self._enter(node, n)
        if node.op.kind == LOOP:
            self.steps.append(Loop(node.op, inputs, n, node.attrs, body=_body_plan(node)))
        else:
            self.steps.append(Step(node.op, inputs, n, node.attrs))

    def _dense(self, number: int) -> int:
        """Return a value in C order without gaps, a copy if need be: a step of a loop reads a slice where it is."""
        value = self.values[number]
        dense = value.strides == contiguous_strides(value.shape, value.dtype.itemsize)
        return number if dense or value.nbytes == 0 else self._copied(value)

    def _name(self, kept: Mapping[str, int], nodes: Mapping[str, Tensor]) -> None:
        names: dict[int, list[str]] = {}
        for name, node in nodes.items():
            if id(node) in self.number:
                names.setdefault(self.number[id(node)], []).append(name)
        for name, number in kept.items():
            if name not in names.setdefault(number, []):
                names[number].append(name)
        for number, given in names.items():
            self.values[number] = self.values[number]._replace(names=tuple(sorted(given)))


def _body_plan(node: Tensor) -> Plan:
    """Return the plan of one step of a loop."""
    body, parts = node.attrs["body"], node.attrs["parts"]
    plan, _ = build(
        [body.node(p) for p in parts if p.stacked],
        [*body.xs, *body.constants],
        states=body.carries,
        updates=dict(enumerate(body.new)),
        name="a step",
        own_outputs=True,
    )
    return plan


def _own_copy(array: Any) -> Any:
    """Return a read-only, C-ordered copy of a constant; a broadcast scalar is stored as one element."""
    if array.size > 1 and not any(array.strides):
        array = np.broadcast_to(array[(0,) * array.ndim].copy(), array.shape)
    else:
        array = np.array(array, order="C")
    array.setflags(write=False)
    return array


def _view_layout(node: Tensor, source: Value) -> tuple[int, tuple[int, ...]] | None:
    """Return the offset and strides of a view, as computed by NumPy; None if NumPy needs a copy."""
    assert node.op is not None
    if 0 in source.shape or 0 in node.shape:
        return 0, contiguous_strides(node.shape, node.dtype.itemsize)
    low, high = source.span
    memory = np.empty(high - low, np.uint8)  # never accessed, so no page is allocated
    array = np.ndarray(source.shape, source.dtype, buffer=memory, offset=-low, strides=source.strides)
    view = node.op.evaluate(array, **node.attrs)
    if not np.may_share_memory(view, memory):
        return None
    start = view.__array_interface__["data"][0] - array.__array_interface__["data"][0]
    return start, view.strides


def _ordered(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return all operations that the outputs depend on, inputs before users.

    Among the inputs of a node, elementwise operations come last, directly before their user: there they can be fused
    with it, and their results have the shortest lifetime.
    """
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[Tensor | None] = list(reversed(outputs))
    while stack:
        node = stack.pop()
        if node is None:  # marks that all inputs of the next node are in the order
            order.append(stack.pop())  # type: ignore[arg-type]
        elif id(node) not in seen:
            seen.add(id(node))
            if node.op is None:
                continue
            stack += (node, None)
            for late in (True, False):
                for x in reversed(node.inputs):
                    if x.op is not None and (x.op.kind == ELEMENTWISE) == late and id(x) not in seen:
                        stack.append(x)
    return order


def _updates_last(order: Sequence[Tensor], results: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Move the updates of states, and the elementwise operations that only updates use, to the end of the order.

    All other operations have then read the old values, so that updates can be done in place.
    """
    needed = {id(node) for node in results}  # before any state changes
    early, late = [], []
    for node in reversed(order):
        assert node.op is not None
        if node.op.kind == ELEMENTWISE and id(node) not in needed:
            late.append(node)
        else:
            early.append(node)
            needed.update(map(id, node.inputs))
    return early[::-1], late[::-1]


def _grouped(steps: Sequence[Step], values: Sequence[Value], last: Collection[int]) -> list[list[Step]]:
    """Group elementwise steps of the same shape; every other step is a group by itself.

    A step joins the last group of its shape, provided that its inputs are available there and that no group in between
    computes something large: values that wait for their reader occupy memory. Scalars need almost no memory; they are
    computed as early as possible, so that they do not split a group of larger steps. So are sums and the like, while
    what they read is in the cache. The steps that compute `last`, the new values of states, stay after all steps that
    read the old values.

    A step that reads a result of its group through a view begins a new group: fused steps run tile by tile, and the
    elements it reads may belong to a tile that has not been computed.
    """
    groups = _Groups()
    maker: dict[int, _Group] = {}  # root -> the group that computes it
    for step in steps:
        out = values[step.output]
        size = math.prod(out.shape)
        single = size == 1 and step.output not in last
        elementwise = step.op.kind == ELEMENTWISE
        before = [maker[root] for i in step.inputs if (root := values[i].root) in maker]
        ready = groups.index(max(before, key=_label)) if before else -1
        first, end = max(ready, 0), len(groups.ordered)
        chosen = None
        if elementwise:
            near = range(first, min(end, first + NEAR)) if single else range(end - 1, max(first, end - NEAR) - 1, -1)
            for at in near:
                if groups.ordered[at].takes(step, out.shape, values):
                    chosen = groups.ordered[at]
                    break
                if not single and 4 * groups.ordered[at].size > size:
                    break
        if chosen is None:
            chosen = _Group(out.shape if elementwise else None, size)
            early = single if elementwise else ready >= 0 and _makes_little(step, size, values)
            groups.insert(ready + 1 if early else end, chosen)
        chosen.steps.append(step)
        chosen.made.add(step.output)
        maker[out.root] = chosen
    return [g.steps for g in groups.ordered]


def _makes_little(step: Step, size: int, values: Sequence[Value]) -> bool:
    """Whether a step makes much less of arrays: done early, it may be the last that needs them."""
    if step.op.kind not in (REDUCE, OTHER):
        return False
    return all([4 * size <= math.prod(values[i].shape) for i in step.inputs])


class _Groups:
    """Groups in order, into which others are inserted; labels that grow with the position find a group's place."""

    def __init__(self) -> None:
        self.ordered: list[_Group] = []

    def index(self, group: _Group) -> int:
        last = len(self.ordered) - 1
        return last if group is self.ordered[last] else bisect_left(self.ordered, group.label, key=_label)

    def insert(self, at: int, group: _Group) -> None:
        low = self.ordered[at - 1].label if at else 0
        high = self.ordered[at].label if at < len(self.ordered) else low + 2 * GAP
        group.label = (low + high) // 2
        self.ordered.insert(at, group)
        if group.label == low:  # no number is left between the neighbours
            for k, g in enumerate(self.ordered):
                g.label = (k + 1) * GAP


@dataclass(eq=False, slots=True)
class _Group:
    """Steps that run together; `shape` is None for a group that other steps cannot join."""

    shape: Shape | None
    size: int
    label: int = 0
    steps: list[Step] = field(default_factory=list)
    made: set[int] = field(default_factory=set)

    def takes(self, step: Step, shape: Shape, values: Sequence[Value]) -> bool:
        if self.shape is None or self.shape != shape:
            return False
        # through a view it would read what other tiles make
        return not any([(root := values[i].root) != i and root in self.made for i in step.inputs])


_label = operator.attrgetter("label")
