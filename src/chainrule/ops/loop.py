"""The loop: one operation that runs a recorded step many times over a carry.

Its attributes are the step (`Body`) and which parts a node gives. Its reverse rule makes further nodes of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.node import NOTHING
from ..core.op import LOOP, Example, Operation, Shape
from ..core.replay import inside, one_of
from ..core.tensor import Tensor, constant, latest, traced_leaf
from ..core.vmap import evaluate, spread
from .loop_body import Body, Part, leaf_like, pieces, unrolled
from .loop_reverse import Reverse


def _shape(*inputs: Any, body: Body, parts: Sequence[Part]) -> tuple[Shape, np.dtype[Any]]:
    return (sum(math.prod(body.shape(p)) for p in parts),), body.node(parts[0]).dtype


def _kernel(*arrays: Any, out: Any = None, body: Body, parts: Sequence[Part]) -> Any:
    with np.errstate(all="ignore"):
        found = unrolled(arrays, body, parts)
    return np.concatenate([np.reshape(x, -1) for x in found], out=out)


def _rule(index: int, g: Any, out: Any, *inputs: Any, body: Body, parts: tuple[Part, ...]) -> Any:
    return pullback(body, parts, g, inputs).gradient(index)


def _batch(flags: tuple[bool, ...], *inputs: Any, body: Body, parts: tuple[Part, ...]) -> Any:
    """Run the loop on a batch: every carry has one, and so has all that depends on it."""
    size = next(x.shape[0] for x, flag in zip(inputs, flags, strict=True) if flag)
    first, last = len(body.carries), len(body.carries) + len(body.xs)
    given = [
        x if flag or k >= first else spread(x, size) for k, (x, flag) in enumerate(zip(inputs, flags, strict=True))
    ]
    flags = (*(True,) * first, *flags[first:])
    given[first:last] = [
        np.moveaxis(x, 1, 0) if flag else x for x, flag in zip(given[first:last], flags[first:last], strict=True)
    ]
    leaves = [
        traced_leaf((size, *leaf.shape), leaf.dtype, NOTHING) if flag else leaf
        for leaf, flag in zip(body.leaves, flags, strict=True)
    ]
    batches = {id(old): new for old, new, flag in zip(body.leaves, leaves, flags, strict=True) if flag}
    outputs = [*body.new, *(body.node(p) for p in parts)]
    found = [latest(o) for o in evaluate(outputs, batches, size)]
    order, _ = inside(found, one_of(leaves))
    split = leaves[:first], leaves[first:last], leaves[last:]
    batched = Body(split, found[:first], order, body.length, body.reverse)
    asked = [batched.place(node) if p.stacked else p for p, node in zip(parts, found[first:], strict=True)]
    rows = [
        np.reshape(np.moveaxis(x, 1, 0) if p.stacked else x, (size, math.prod(body.shape(p))))
        for p, x in zip(parts, results(given, batched, asked), strict=True)
    ]
    return np.concatenate(rows, axis=1)


def _numbers(out: Any, *inputs: Any, body: Body, parts: Sequence[Part]) -> list[int]:
    """Return the attributes as the native engine reads them, with the place of each part in the result."""
    numbers = [body.length, int(body.reverse), len(body.xs)]
    outputs, offset = 0, 0
    for p in parts:
        numbers += [int(p.stacked), outputs if p.stacked else p.position, offset]
        outputs += p.stacked
        offset += math.prod(body.shape(p)) * out.dtype.itemsize
    return numbers


# not in the table: what it computes is the caller's
SCAN = Operation(
    "scan",
    shape=_shape,
    vjp=_rule,
    kernel=_kernel,
    kind=LOOP,
    batch=_batch,
    native=_numbers,
    examples=lambda rng: [_example(rng)],
)


def results(inputs: Sequence[Any], body: Body, parts: Sequence[Part]) -> list[Any]:
    """Return parts of a loop, those of one dtype from one node."""
    found: dict[Part, Any] = {}
    for part in parts:
        if part in found:
            continue
        dtype = body.node(part).dtype
        alike = tuple(dict.fromkeys(p for p in parts if body.node(p).dtype == dtype))
        flat = apply(SCAN, tuple(inputs), {"body": body, "parts": alike})
        found |= zip(alike, pieces(flat, body, alike), strict=True)
    return [found[p] for p in parts]


def _example(rng: np.random.Generator) -> Example:
    leaves = [leaf_like(np.zeros(2)) for _ in range(3)]
    new = np.tanh(leaves[0] * leaves[2] + leaves[1])
    order, _ = inside([new], one_of(leaves))
    body = Body(([leaves[0]], [leaves[1]], [leaves[2]]), [new], order, 3, False)
    inputs = rng.normal(size=2), rng.normal(size=(3, 2)), rng.normal(size=2)
    return Example(inputs, {"body": body, "parts": (Part(False, 0), body.place(new))})


def pullback(body: Body, parts: tuple[Part, ...], g: Any, inputs: Sequence[Any]) -> Pullback:
    """Return the reverse pass of one node for a cotangent; the inputs of the node share it."""
    made, last = body.pullbacks.get(parts, (None, None))
    made = made or Reverse(body, parts)
    if last is None or last.g is not g:
        body.pullbacks[parts] = made, (last := Pullback(made, g, inputs))
    assert isinstance(last, Pullback)
    return last


class Pullback:
    """The cotangents of the inputs of one node, for one cotangent of it."""

    def __init__(self, made: Reverse, g: Any, inputs: Sequence[Any]) -> None:
        body, parts = made.body, made.parts
        self.made, self.g = made, g
        cut = dict(zip(parts, pieces(g, body, parts), strict=True))
        ends = [cut.get(Part(False, k)) for k in made.real]
        zeros = [np.zeros(leaf.shape, leaf.dtype) for leaf in made.loop.carries]
        starts = [zero if end is None else end for zero, end in zip(zeros, ends, strict=False)]
        saved = results(inputs, body, [body.place(node) for node in made.saved]) if made.saved else []
        upstream = [cut[parts[k]] for k in made.given]
        first = len(body.carries)
        slices = inputs[first : first + len(body.xs)]
        given = (*starts, *zeros[len(starts) :], *saved, *slices, *upstream, *inputs[first + len(body.xs) :])
        recorded = any(isinstance(x, Tensor) for x in given)
        self.inputs = tuple(constant(x) for x in given) if recorded else given  # the same nodes for all parts

    def gradient(self, index: int) -> Any:
        """Return the cotangent of one input; None for zero."""
        made, body = self.made, self.made.body
        leaf = body.leaves[index]
        if index < len(body.carries):
            return self._part(Part(False, made.real.index(index))) if index in made.real else None
        found = made.gradients.get(id(leaf))
        if found is None:
            return None
        if index < len(body.carries) + len(body.xs):
            return self._stacked(found)
        return made.sums.total(found)(self._stacked)

    def _part(self, part: Part) -> Any:
        return results(self.inputs, self.made.loop, [part])[0]

    def _stacked(self, node: Tensor) -> Any:
        """Return the values of a node in all steps; of a sum that is carried, the sum."""
        loop = self.made.loop
        for k, (_, carried) in enumerate(self.made.sums.carried):
            if carried is node:
                return self._part(Part(False, len(self.made.real) + k))
        for k, leaf in enumerate(loop.xs):
            if leaf is node:
                return self.inputs[len(loop.carries) + k]
        return self._part(loop.place(node))
