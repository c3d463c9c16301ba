"""Checks of a loss or a metric that somebody wrote: that it compares each output with its own target."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.node import Recording
from ..core.op import ELEMENTWISE, Array, Shape
from ..core.reverse import topological
from ..core.tensor import Tensor, traced_leaf

Function = Callable[[Any, Any], Any]

#: Relative error up to which twice the examples count as giving twice the loss.
CLOSE = 1e-3


def check_pairs(function: Function, output: Shape, target: Array, what: str) -> None:
    """Raise if `function` broadcasts the outputs of all examples against the targets of all examples.

    An output of shape (m, 1) minus a target of shape (m,) has shape (m, m), and its mean is a number like any other.
    The function is traced for m and for m + 1 examples, so that it is seen which axes are examples. Pairs of examples
    are taken as meant where both operands have the same number of axes, as ``y[:, None] - y[None, :]``.

    Parameters
    ----------
    function
        ``(output, target) -> scalar``. One that cannot be traced is not judged.
    output : tuple of int
        The shape of the model's output, (m, …).
    target : array
        Its values are not read.
    what : str
        What it is, for the message.
    """
    if not output or not target.ndim:
        return
    found = [_traced(function, output[1:], target, n) for n in (output[0], output[0] + 1)]
    first, second = found
    if not isinstance(first, list):
        return  # where it is used, it raises the same
    if isinstance(second, ValueError) and output[0] in (*output[1:], *target.shape[1:]):
        raise ValueError(
            f"{what}: an output of shape {output} and a target of shape {target.shape} fit by chance: with one example "
            f"more they do not ({second}). Give both the same shape, such as np.reshape(target, output.shape)"
        )
    if not isinstance(second, list) or [n.op for n in first] != [n.op for n in second]:
        return
    sides: dict[int, set[int]] = {}  # whether a node depends on the output (0), on the target (1)
    varying: dict[int, set[int]] = {}  # the axes of examples, counted from the last, -1
    for node, other in zip(first, second, strict=True):
        sides[id(node)] = set().union(*(sides[id(x)] for x in node.inputs)) if node.inputs else _side(node)
        varying[id(node)] = {i - node.ndim for i in range(node.ndim) if node.shape[i] != other.shape[i]}
        if node.op is not None and node.op.kind == ELEMENTWISE and _crosses(node.inputs, sides, varying):
            shapes = " and ".join(str(x.shape) for x in node.inputs if x.ndim)
            raise ValueError(
                f"{what}: {node.op.name} of shapes {shapes} gives {node.shape}: it broadcasts the examples of the "
                f"output {output} against those of the target {target.shape}. Give both the same shape, such as "
                "np.reshape(target, output.shape); for pairs of examples, both the same number of axes"
            )


def _traced(function: Function, rest: Shape, target: Array, examples: int) -> list[Tensor] | Exception:
    """Return the graph of a function in the order of computation, or what it raised."""
    with Recording("a check of the loss") as recording:
        mark = frozenset({recording})
        dtype = target.dtype if target.dtype.kind == "f" else np.float32
        output = traced_leaf((examples, *rest), dtype, mark, name="output")
        given = traced_leaf((examples, *target.shape[1:]), target.dtype, mark, name="target")
        try:
            result = function(output, given)
            return topological([result]) if isinstance(result, Tensor) else []
        except Exception as error:  # whatever a user's function raises
            return error


def _side(leaf: Tensor) -> set[int]:
    return {("output", "target").index(leaf.name)} if leaf.recordings and leaf.name in ("output", "target") else set()


def _crosses(inputs: Sequence[Tensor], sides: dict[int, set[int]], varying: dict[int, set[int]]) -> bool:
    """Return whether examples of the output meet all those of the target, by shapes of different lengths."""
    for a in inputs:
        for b in inputs:
            mine, theirs = varying[id(a)], varying[id(b)]
            if a.ndim != b.ndim and mine - theirs and theirs - mine and {0, 1} <= sides[id(a)] | sides[id(b)]:
                return sides[id(a)] != sides[id(b)]
    return False


def is_sensitive(loss: Tensor, leaves: Iterable[Any]) -> bool:
    """Return whether `loss` depends on one of the leaves through operations with a derivative."""
    moving = {id(leaf) for leaf in leaves}
    for node in topological([loss]):
        if node.op is not None and node.op.differentiable and not node.op.flat:
            moving |= {id(node)} if any(id(x) in moving for x in node.inputs) else set()
    return id(loss) in moving


def warn_of_sum(function: Function, output: Array, target: Array, what: str) -> None:
    """Warn if twice the examples give twice the loss: it is a sum then, not a mean."""
    with np.errstate(all="ignore"):
        try:
            once, twice = (float(function(np.repeat(output, n, 0), np.repeat(target, n, 0))) for n in (1, 2))
        except Exception:  # where it is used, it raises the same
            return
    if once != 0 and np.isfinite(once) and abs(twice / once - 2) < CLOSE:
        warnings.warn(
            f"{what} is a sum over the examples, not their mean: the steps grow with the batch size, and the losses of "
            "batches and of the validation split cannot be compared. Divide by len(output), or use np.mean",
            stacklevel=4,
        )
