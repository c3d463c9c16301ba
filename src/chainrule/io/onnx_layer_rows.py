"""Layers that are one operation of ONNX, or a few: how a traced network remembers them, and what writes them.

A trace replaces each such layer by a copy whose result is a node of its own (`LAYER`), beside what computes it here. So
a layer in any module is found, whatever its definition is made of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..core.apply import apply
from ..core.op import Array, Operation
from ..core.tensor import Tensor, constant
from ..nn.naming import Layer, Namer
from ..nn.twins import Twins
from ..ops.convolution import paddings

if TYPE_CHECKING:
    from .onnx_writing import Step, Writer

#: What a layer gives: its inputs are the result, as computed here, and the layer's input.
LAYER = Operation(
    "layer", shape=lambda out, x, layer: (out.shape, out.dtype), kernel=lambda out, x, layer: out,
    vjp=(lambda g, *rest, **attrs: g, None),
    examples=lambda rng: [],
)  # fmt: skip


class Marking(Twins):
    """Copies of modules in which layers that ONNX has give nodes of `LAYER`."""

    def of(self, holder: Any) -> Any:
        """Return the copy of a module, made on first use."""
        twin = super().of(holder)
        if type(holder) in LAYERS:
            twin.__dict__["compute"] = functools.partial(_computed, holder, twin)
        return twin


def _computed(layer: Layer, twin: Layer, x: Tensor, name: Namer) -> Tensor:
    out = type(layer).compute(twin, x, name)
    x = constant(x)
    if not _is_written(layer, x, out):
        return out
    made: Tensor = apply(LAYER, (out, x), {"layer": layer})
    made.name = out.name
    return made


def _is_written(layer: Layer, x: Tensor, out: Tensor) -> bool:
    """Whether ONNX's operation takes what the layer takes."""
    if isinstance(layer, nn.Embedding):
        return x.dtype.kind in "iu"
    if isinstance(layer, nn.AdaptiveAvgPool2d) and any(
        d % k for d, k in zip(x.shape[2:], layer.output_size, strict=True)
    ):
        return False
    return x.dtype == out.dtype


# -- recurrent layers --------------------------------------------------------------------------------------------------

#: Recurrent layer -> the operator's name, its gates in its order, and further attributes.
RECURRENT: dict[type[nn.Module], tuple[str, tuple[str, ...], dict[str, Any]]] = {
    nn.RNN: ("RNN", ("h",), {}),
    nn.LSTM: ("LSTM", ("i", "o", "f", "g"), {}),
    nn.GRU: ("GRU", ("z", "r", "n"), {"linear_before_reset": 1}),
}


def reordered(array: Array, before: Sequence[str], after: Sequence[str]) -> Array:
    """Return an array with the gates, which stand one after another along the first axis, in another order."""
    parts = np.split(array, len(before))
    return np.concatenate([parts[before.index(gate)] for gate in after])


def _recurrent(w: Writer, layer: Any, s: Step) -> str:
    kind, gates, settings = RECURRENT[type(layer)]
    both = layer.bidirectional
    if isinstance(layer, nn.RNN):
        settings = {"activations": [layer.nonlinearity.capitalize()] * (1 + both)}
    x = w.node("Transpose", s.inputs[0], perm=[1, 0, 2])
    for k in range(layer.num_layers):
        ends = [f"_l{k}", f"_l{k}_reverse"][: 1 + both]

        def stacked(name: str, ends: Sequence[str] = tuple(ends)) -> Array:
            parts = [getattr(layer, name + end).value for end in ends]
            return np.stack([reordered(np.ascontiguousarray(p.T), layer.gates, gates) for p in parts])

        first = [getattr(layer, f"{name}{ends[0]}") for name in ("weight_ih", "weight_hh")]
        arrays = [w.stored(p, stacked(n)) for p, n in zip(first, ("weight_ih", "weight_hh"), strict=True)]
        if layer.bias:
            joined = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
            arrays.append(w.stored(getattr(layer, "bias_ih" + ends[0]), joined))
        direction = "bidirectional" if both else "forward"
        y = w.node(kind, x, *arrays, hidden_size=layer.hidden_size, direction=direction, **settings)
        if both:
            x = w.node("Reshape", w.node("Transpose", y, perm=[0, 2, 1, 3]), w.integers(0, 0, -1))
        else:
            x = w.node("Squeeze", y, w.integers(1))
    return w.node("Transpose", x, perm=[1, 0, 2])


# -- layers of space ---------------------------------------------------------------------------------------------------


def _convolution(w: Writer, layer: Any, s: Step) -> str:
    pads = paddings(layer.padding, layer.kernel_size, layer.stride, layer.dilation)
    settings: dict[str, Any] = {"strides": layer.stride, "dilations": layer.dilation, "group": layer.groups}
    settings["pads"] = _flat(pads)
    kind, place = "Conv", 0
    if isinstance(layer, nn.ConvTranspose2d):
        kind, place = "ConvTranspose", 1
        settings["output_padding"] = layer.output_padding
    filters = w.stored(layer.weight, np.moveaxis(layer.weight.value, -1, place))
    bias = [] if layer.bias is None else [w.stored(layer.bias)]
    return w.node(kind, s.inputs[0], filters, *bias, kernel_shape=layer.kernel_size, **settings)


def _flat(pads: Sequence[tuple[int, int]]) -> list[int]:
    return [*[before for before, _ in pads], *[after for _, after in pads]]


def _average(w: Writer, layer: Any, s: Step) -> str:
    pads, counted = _flat([(p, p) for p in layer.padding]), int(layer.count_include_pad)
    settings = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": pads}
    return w.node("AveragePool", s.inputs[0], count_include_pad=counted, **settings)


def _adaptive(w: Writer, layer: Any, s: Step) -> str:
    size = layer.output_size
    if size == (1, 1):
        return w.node("GlobalAveragePool", s.inputs[0])
    lengths = s.first.inputs[1].shape[2:]
    each = [d // k for d, k in zip(lengths, size, strict=True)]
    return w.node("AveragePool", s.inputs[0], kernel_shape=each, strides=each)


def _upsample(w: Writer, layer: Any, s: Step) -> str:
    sizes = w.integers(*s.first.shape[2:])
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if layer.mode != "nearest":
        corners = "align_corners" if layer.align_corners else "half_pixel"
        how = {"mode": "linear", "coordinate_transformation_mode": corners}
    return w.node("Resize", s.inputs[0], "", "", sizes, axes=[2, 3], **how)


def _batch_norm(w: Writer, layer: Any, s: Step) -> str:
    given = w.stored(layer.weight), w.stored(layer.bias), w.kept(layer.running_mean), w.kept(layer.running_var)
    return w.node("BatchNormalization", s.inputs[0], *given, epsilon=layer.eps)


def _prelu(w: Writer, layer: Any, s: Step) -> str:
    ndim = s.first.ndim
    slope = np.reshape(layer.weight.value, (-1, *(1,) * (ndim - 2)) if ndim > 2 else -1)
    return w.node("PRelu", s.inputs[0], w.stored(layer.weight, slope))


#: Layer -> what writes it.
LAYERS: dict[type[nn.Module], Callable[[Writer, Any, Step], str]] = {
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), _recurrent),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d), _convolution),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d), _average),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), _batch_norm),
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.Embedding: lambda w, layer, s: w.node("Gather", w.stored(layer.weight), s.inputs[0], axis=0),
    nn.Hardswish: lambda w, layer, s: w.node("HardSwish", s.inputs[0]),
    nn.LogSoftmax: lambda w, layer, s: w.node("LogSoftmax", s.inputs[0], axis=-1),
    nn.Mish: lambda w, layer, s: w.node("Mish", s.inputs[0]),
    nn.PReLU: _prelu,
    nn.Upsample: _upsample,
}
