"""Several operations here that are one operation of ONNX, found in a traced graph by the layers' own definitions.

A pattern is the graph that a layer gives on stand-ins. Where a network's graph has the same operations in the same
places, the values that stand where the stand-ins are become the inputs of ONNX's operation, the numbers its attributes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .. import nn
from ..core.arrays import FLOATS
from ..core.node import Recording
from ..core.op import Array
from ..core.tensor import Tensor, traced_leaf
from ..ops.logic import IDENTITY

#: The setting of a layer in its pattern, by which it is recognised; nobody else writes this number.
_NUMBER = 0.7182818284
_FEATURES = 7


@dataclass(frozen=True)
class Idiom:
    """An operation of ONNX, and the graph that means it."""

    kind: str
    root: Tensor
    inputs: tuple[Tensor, ...]  # the stand-ins, in the order of the operation's inputs
    attribute: str = ""  # what the number is called there
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass
class Found:
    """What a graph has in the places of a pattern."""

    inputs: dict[int, Tensor] = field(default_factory=dict)  # by the id of the stand-in
    number: float | None = None


def idioms(ndim: int) -> list[Idiom]:
    """Return the patterns on values with so many axes. Their attributes are float32, and so are the values."""
    with Recording("to_onnx") as recording:
        mark = frozenset({recording})

        def stand_in(*shape: int) -> Tensor:
            return traced_leaf(shape, FLOATS[0], mark)

        x, vectors = stand_in(*[_FEATURES] * ndim), [stand_in(_FEATURES) for _ in range(4)]

        def normalised(layer: nn.Module, *names: str) -> Tensor:
            given = dict(zip(names, vectors, strict=False))
            return nn.functional_call(layer.eval(), given, x)[0]  # type: ignore[no-any-return]

        def activated(layer: nn.Activation) -> Tensor:
            return layer.function(x)  # type: ignore[no-any-return]

        found = [
            Idiom("LeakyRelu", activated(nn.LeakyReLU(_NUMBER)), (x,), "alpha"),
            Idiom("Elu", activated(nn.ELU(_NUMBER)), (x,), "alpha"),
            Idiom("Gelu", activated(nn.GELU()), (x,)),
            Idiom("Gelu", activated(nn.GELU(approximate=True)), (x,), settings=(("approximate", "tanh"),)),
        ]
        if ndim:
            root = normalised(nn.LayerNorm(_FEATURES, eps=_NUMBER), "weight", "bias")
            found.append(Idiom("LayerNormalization", root, (x, *vectors[:2]), "epsilon", (("axis", -1),)))
    return found


def match(idiom: Idiom, node: Tensor) -> Found | None:
    """Return what the graph of `node` has in the pattern's places, if it matches."""
    found = Found()
    if not _same(idiom.root, node, found):
        return None
    x, *vectors = (found.inputs[id(stand_in)] for stand_in in idiom.inputs)
    return found if all(v.shape == x.shape[-1:] for v in vectors) else None


def _same(pattern: Tensor, node: Tensor, found: Found) -> bool:
    while node.op is IDENTITY and pattern.op is not IDENTITY:
        node = node.inputs[0]
    if pattern.op is None:
        if pattern.value is not None:
            return _same_number(pattern.value, node, found)
        return node.dtype == pattern.dtype and found.inputs.setdefault(id(pattern), node) is node
    return (
        pattern.op is node.op
        and pattern.attrs == node.attrs
        and len(pattern.inputs) == len(node.inputs)
        and all(_same(p, n, found) for p, n in zip(pattern.inputs, node.inputs, strict=True))
    )


def _same_number(pattern: Array, node: Tensor, found: Found) -> bool:
    """Compare a constant; the pattern's own number stands for any, and its features for those there are."""
    if node.op is not None or node.value is None or node.shape or pattern.shape:
        return False
    if pattern == pattern.dtype.type(_NUMBER):
        found.number = float(node.value)
        return True
    if pattern == _FEATURES:
        x = next(iter(found.inputs.values()), None)
        return x is not None and bool(node.value == x.shape[-1])
    return bool(pattern == node.value)
