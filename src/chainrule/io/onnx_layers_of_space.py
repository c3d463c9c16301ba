"""ONNX operations on images and sequences as layers: convolutions, pools, recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..core.node import Recording
from ..core.op import Array
from ..core.tensor import traced_leaf
from .onnx_layer_rows import RECURRENT, reordered
from .onnx_windows import spread

if TYPE_CHECKING:
    from .onnx_layers import Chain
    from .onnx_reading import Node

#: What stands for a length that is free.
_FREE = 64


def lengths_after(layer: nn.Module, lengths: list[int | None]) -> list[int | None]:
    """Return the lengths of all axes but the first after a layer; after free ones, all but that of channels are."""
    with Recording("from_onnx") as recording:
        given = (2, *[_FREE if d is None else d for d in lengths])
        out = layer(traced_leaf(given, layer.dtype or np.dtype(np.float32), frozenset({recording})))
    return [d if k == 0 or None not in lengths else None for k, d in enumerate(out.shape[1:])]


def _pads(chain: Chain, node: Node, size: tuple[int, ...]) -> Any:
    """Return a layer's padding: one number for each axis, or "same"; None for another one."""
    a = node.attributes
    space = chain.lengths[1:]
    if len(space) != len(size) or (a.get("auto_pad", b"NOTSET") != b"NOTSET" and None in space):
        return None
    dilations, strides = a.get("dilations"), a.get("strides")
    _, _, pairs = spread((1, 1, *[d or _FREE for d in space]), size, strides, dilations, a.get("pads"),
                         a.get("auto_pad", b"NOTSET"))  # fmt: skip
    if all(before == after for before, after in pairs):
        return tuple([before for before, _ in pairs])
    whole = [(k - 1) * d for k, d in zip(size, dilations or [1] * len(size), strict=True)]
    same = pairs == tuple([(n // 2, n - n // 2) for n in whole]) and set(strides or [1]) == {1}
    return "same" if same else None


def convolution(chain: Chain, node: Node) -> nn.Module | None:
    """Of series or images, with the filters that only it uses."""
    n = len(chain.lengths) - 1
    weight = chain.weight(node.inputs[1], n + 2)
    named = [name for name in node.inputs[2:3] if name]
    bias = chain.weight(named[0], 1) if named else None
    back = node.kind == "ConvTranspose"
    kinds: dict[tuple[int, bool], Callable[..., nn.Module]] = {
        (1, False): nn.Conv1d, (2, False): nn.Conv2d, (2, True): nn.ConvTranspose2d
    }  # fmt: skip
    if weight is None or (named and bias is None) or (n, back) not in kinds or node.inputs[0] != chain.current:
        return None
    a = node.attributes
    padding = _pads(chain, node, weight.shape[2:])
    if padding is None or (back and (padding == "same" or {"auto_pad", "output_shape"} & a.keys())):
        return None
    groups, ones = a.get("group", 1), (1,) * n
    settings = {"stride": tuple(a.get("strides", ones)), "dilation": tuple(a.get("dilations", ones))}
    if back:
        settings["output_padding"] = tuple(a.get("output_padding", (0,) * n))
    first, last = weight.shape[:2]
    ends = (first, last * groups) if back else (last * groups, first)
    layer = kinds[n, back](
        *ends, weight.shape[2:], padding=padding, groups=groups, bias=bias is not None, dtype=weight.dtype, **settings
    )
    state = {"weight": np.ascontiguousarray(np.moveaxis(weight, 1 if back else 0, -1))}
    layer.load_state_dict(state if bias is None else {**state, "bias": bias})
    return layer


def pool(chain: Chain, node: Node) -> nn.Module | None:
    """The largest elements or the means of windows."""
    a, size = node.attributes, tuple(node.attributes["kernel_shape"])
    n, padding = len(size), _pads(chain, node, size)
    if n not in (1, 2) or padding in (None, "same") or len(node.outputs) > 1 or a.get("ceil_mode"):
        return None
    stride, dilation = tuple(a.get("strides", (1,) * n)), tuple(a.get("dilations", (1,) * n))
    if node.kind == "MaxPool":
        return (nn.MaxPool1d, nn.MaxPool2d)[n - 1](size, stride, padding, dilation)
    if set(dilation) != {1}:
        return None
    counted = bool(a.get("count_include_pad", 0)) or not any(padding)
    return (nn.AvgPool1d, nn.AvgPool2d)[n - 1](size, stride, padding, count_include_pad=counted)


def global_average(chain: Chain, node: Node) -> nn.Module | None:
    """The means over images."""
    return nn.AdaptiveAvgPool2d(1) if len(chain.lengths) == 3 else None


def padding(chain: Chain, node: Node) -> nn.Module | None:
    """Zeros around images."""
    given = chain.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get("pads")
    if given is None or len(chain.lengths) != 3 or len(node.inputs) > 2 or np.size(given) != 8:
        return None
    pads = [int(n) for n in np.reshape(given, -1)]
    mode = node.attributes.get("mode", b"constant")
    if any(pads[:2] + pads[4:6]) or min(pads) < 0 or mode != b"constant" or node.attributes.get("value"):
        return None
    return nn.ZeroPad2d((pads[3], pads[7], pads[2], pads[6]))


def enlargement(chain: Chain, node: Node) -> nn.Module | None:
    """Images with other lengths."""
    a = {"mode": b"nearest", "coordinate_transformation_mode": b"half_pixel", "nearest_mode": b"round_prefer_floor"}
    a |= node.attributes
    scales, sizes = (chain.graph.constants.get(name) for name in (*node.inputs, "", "", "")[2:4])
    if len(chain.lengths) != 3 or a.get("axes", [2, 3]) != [2, 3]:
        return None
    kinds = {
        (b"nearest", b"asymmetric"): ("nearest", False),
        (b"linear", b"half_pixel"): ("bilinear", False),
        (b"linear", b"pytorch_half_pixel"): ("bilinear", False),
        (b"linear", b"align_corners"): ("bilinear", True),
    }
    kind = kinds.get((a["mode"], a["coordinate_transformation_mode"]))
    odd = {"antialias", "exclude_outside", "keep_aspect_ratio_policy"} & node.attributes.keys()
    if kind is None or odd or (a["mode"] == b"nearest" and a["nearest_mode"] != b"floor"):
        return None
    if sizes is not None and sizes.size in (2, 4) and None not in chain.lengths:
        return nn.Upsample(tuple(int(n) for n in sizes[-2:]), mode=kind[0], align_corners=kind[1])
    if scales is None or scales.size not in (2, 4) or any(s % 1 for s in scales) or set(scales[:-2]) > {1.0}:
        return None
    return nn.Upsample(scale_factor=tuple(int(s) for s in scales[-2:]), mode=kind[0], align_corners=kind[1])


def slope(chain: Chain, node: Node) -> nn.Module | None:
    """A rectifier with a slope for each channel, or one for all."""
    array = chain.graph.weights.get(node.inputs[1])
    n = len(chain.lengths)
    if array is None or chain.uses[node.inputs[1]] != 1 or array.shape not in ((array.size, *(1,) * (n - 1)), (1,)):
        return None
    layer = nn.PReLU(array.size, dtype=array.dtype)
    layer.load_state_dict({"weight": np.reshape(array, -1)})
    return layer


# -- recurrent layers --------------------------------------------------------------------------------------------------

_KINDS: dict[str, Any] = {kind: layer for layer, (kind, _, _) in RECURRENT.items()}
#: Attributes that a layer has, and their only values.
_AS_HERE = {"layout": 0, "clip": None, "input_forget": 0, "activation_alpha": None, "activation_beta": None}


def without_zero_starts(nodes: Iterable[Node], outputs: Iterable[str]) -> list[Node]:
    """Leave out the zeros that recurrent layers start with, and the nodes that only compute these."""
    zeros: set[str] = set()
    shortened = []
    for node in nodes:
        value = node.attributes.get("value")
        zero = node.kind == "ConstantOfShape" and (value is None or not np.any(value))
        if zero or (node.kind in ("Slice", "Expand") and node.inputs[0] in zeros):
            zeros.add(node.outputs[0])
        if node.kind in _KINDS:
            node = replace(node, inputs=tuple(["" if k > 4 and x in zeros else x for k, x in enumerate(node.inputs)]))
        shortened.append(node)
    used, kept = set(outputs), []
    for node in reversed(shortened):
        if not used.isdisjoint(node.outputs):
            kept.append(node)
            used |= {*node.inputs} - {""}
    return kept[::-1]


def recurrent(chain: Chain, node: Node) -> nn.Module | None:
    """A stack of recurrent layers between two transpositions, which bring the steps first and back."""
    if node.attributes.get("perm") != [1, 0, 2] or len(chain.lengths) != 2 or node.inputs[0] != chain.current:
        return None
    current, found = node.outputs[0], list[nn.Module]()
    while chain.nodes and chain.nodes[0].kind in _KINDS and chain.nodes[0].inputs[0] == current:
        each = chain.nodes.pop(0)
        layer = _layer(chain, each)
        current = _joined(chain, each.outputs[0], bool(layer and layer.bidirectional))
        if layer is None or not current:
            return None
        found.append(layer)
    last = chain.nodes.pop(0) if chain.nodes else None
    if not found or last is None or last.inputs != (current,) or last.attributes.get("perm") != [1, 0, 2]:
        return None
    chain.current = last.outputs[0]
    return _stacked(found)


def _joined(chain: Chain, y: str, both: bool) -> str:
    """Take the nodes that bring (T, directions, m, hidden) to (T, m, directions · hidden); return what they give."""
    expected = ("Transpose", "Reshape") if both else ("Squeeze",)
    for kind in expected:
        node = chain.nodes.pop(0) if chain.nodes else None
        if node is None or node.kind != kind or node.inputs[0] != y or chain.uses[y] != 1:
            return ""
        numbers = node.attributes.get("axes") if len(node.inputs) < 2 else chain.graph.constants.get(node.inputs[1])
        told = node.attributes.get("perm") if kind == "Transpose" else None if numbers is None else list(numbers)
        if told not in {"Transpose": ([0, 2, 1, 3],), "Reshape": ([0, 0, -1],), "Squeeze": ([1],)}[kind]:
            return ""
        y = node.outputs[0]
    return y


def _layer(chain: Chain, node: Node) -> Any:
    """Return the layer of one operation, if it has no setting that layers lack."""
    kind = _KINDS[node.kind]
    _, order, settings = RECURRENT[kind]
    a = {"direction": b"forward", "linear_before_reset": 0, **node.attributes}
    names = (*node.inputs, *("",) * 8)
    arrays = [chain.weight(name, axes) for name, axes in zip(names[1:4], (3, 3, 2), strict=True)]
    w, r, b = arrays
    starts = [chain.graph.constants.get(name, chain.graph.weights.get(name)) for name in names[5:8] if name]
    if w is None or r is None or (names[3] and b is None) or names[4] or any(s is None or s.any() for s in starts):
        return None
    if any(a.get(k, v) != v for k, v in (_AS_HERE | settings).items()) or a["direction"] == b"reverse":
        return None
    if any(chain.uses[name] for name in node.outputs[1:] if name) or names[7]:
        return None
    activations, more = _nonlinearity(kind, a.get("activations"), len(w))
    if not activations:
        return None
    layer = kind(w.shape[2], r.shape[2], 1, b is not None, 0.0, len(w) == 2, dtype=w.dtype, **more)
    gates = layer.gates
    state: dict[str, Array] = {}
    for k, end in enumerate(("_l0", "_l0_reverse")[: len(w)]):
        given = {"weight_ih": w[k], "weight_hh": r[k]}
        if b is not None:
            given |= dict(zip(("bias_ih", "bias_hh"), np.split(b[k], 2), strict=True))
        state |= {name + end: np.ascontiguousarray(reordered(x, order, gates).T) for name, x in given.items()}
    layer.load_state_dict(state)
    return layer


def _nonlinearity(kind: type[nn.Module], given: Any, directions: int) -> tuple[bool, dict[str, str]]:
    """Return whether a layer has these activations, and its setting for them."""
    if kind is nn.RNN:
        names = {name.decode().lower() for name in given or [b"Tanh"]}
        return len(names) == 1, {"nonlinearity": names.pop()}
    usual = [b"Sigmoid", b"Tanh"] if kind is nn.GRU else [b"Sigmoid", b"Tanh", b"Tanh"]
    return given in (None, usual * directions), {}


def _stacked(found: list[Any]) -> nn.Module:
    """Return layers on top of each other as one, if they are alike."""
    first = found[0]
    described = [{**layer.config(), "input_size": 0} for layer in found]
    if len(found) == 1 or any(each != described[0] for each in described):
        return first if len(found) == 1 else nn.Sequential(*found)
    layer = nn.from_config({**first.config(), "num_layers": len(found)})
    state = {name.replace("_l0", f"_l{k}"): x for k, each in enumerate(found) for name, x in each.state_dict().items()}
    layer.load_state_dict(state)
    return layer


#: Operator -> what makes a layer of it.
OF_SPACE: dict[str, Callable[[Chain, Node], nn.Module | None]] = {
    "AveragePool": pool,
    "Conv": convolution,
    "ConvTranspose": convolution,
    "GlobalAveragePool": global_average,
    "MaxPool": pool,
    "PRelu": slope,
    "Pad": padding,
    "Resize": enlargement,
    "Transpose": recurrent,
}
