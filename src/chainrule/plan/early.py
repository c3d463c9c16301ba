"""Elementwise steps moved to where their operands are made, if fewer arrays then wait in memory for them.

A backward pass computes derivatives of activations from values of the forward pass. Where only a derivative still
wants these values, it is computed with them, and takes their place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence, Set

from ..core.op import ELEMENTWISE
from .model import BUFFER, Step, Value


def computed_early(groups: list[list[Step]], values: Sequence[Value], lasting: Set[int]) -> None:
    """Let groups compute what later ones compute of their results, if that leaves less in memory. Changes `groups`."""
    makers = {values[step.output].root: g for g, group in enumerate(groups) for step in group}
    readers: dict[int, set[int]] = defaultdict(set)  # root -> outputs of the steps that read it
    for group in groups:
        for step in group:
            for n in step.inputs:
                readers[values[n].root].add(step.output)
    for g, group in enumerate(groups):
        if group[0].op.kind != ELEMENTWISE:
            continue
        ready = _ready(g, group, values, makers)
        for home in sorted({at for n, at in ready.items() if n not in lasting and _alike(groups[at], group, values)}):
            moved = _with_inputs({n for n, at in ready.items() if at == home and n not in lasting}, group)
            steps = [step for step in group if step.output in moved]

            def later(n: int, home: int = home) -> set[int]:
                return {out for out in readers[n] if makers[out] > home}

            # through a view they would read what other tiles make
            views = any([values[n].root != n and makers.get(values[n].root) == home for s in steps for n in s.inputs])
            if views or len(moved) == len(group) or moved & lasting or not _saves(steps, values, lasting, later):
                continue
            groups[home] += steps
            group[:] = [step for step in group if step.output not in moved]
            makers.update(dict.fromkeys(moved, home))
            ready = {n: at for n, at in ready.items() if n not in moved}


def _ready(g: int, group: Sequence[Step], values: Sequence[Value], makers: dict[int, int]) -> dict[int, int]:
    """Return, by output, the group before group g that makes the last operand of a step, where there is one."""
    ready: dict[int, int] = {}
    for step in group:
        roots = [values[n].root for n in step.inputs]
        at = max([ready.get(root, makers.get(root, -1)) for root in roots])
        if 0 <= at < g:
            ready[step.output] = at
    return ready


def _alike(group: Sequence[Step], other: Sequence[Step], values: Sequence[Value]) -> bool:
    one, two = group[0], other[0]
    return one.op.kind == two.op.kind and values[one.output].shape == values[two.output].shape


def _with_inputs(outputs: set[int], group: Sequence[Step]) -> set[int]:
    """Return these outputs of a group and those that they are computed from."""
    found = set(outputs)
    for step in reversed(group):
        if step.output in found:
            found.update(set(step.inputs) & {other.output for other in group})
    return found


def _saves(steps: Sequence[Step], values: Sequence[Value], lasting: Set[int], later: Callable[[int], set[int]]) -> bool:
    """Whether fewer bytes wait for their readers if these steps are computed earlier.

    `later` gives the outputs of the steps that read a value after the place where they would be computed.
    """
    moved = {step.output for step in steps}
    results = [n for n in moved if not later(n) <= moved]
    operands = {values[n].root for step in steps for n in step.inputs} - moved
    gone = [n for n in operands - lasting if values[n].storage == BUFFER and later(n) <= moved]
    return sum([values[n].nbytes for n in results]) < sum([values[n].nbytes for n in gone])
