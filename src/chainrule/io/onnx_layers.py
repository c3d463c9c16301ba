"""Chains of ONNX operations as a `Sequential` of layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from .. import nn
from ..core.op import Array
from .onnx_arguments import dtype_of_type
from .onnx_layers_of_space import OF_SPACE, lengths_after, without_zero_starts
from .onnx_reading import Graph, Node

_ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "Relu": nn.ReLU,
    "LeakyRelu": lambda alpha=0.01: nn.LeakyReLU(alpha),
    "Elu": lambda alpha=1.0: nn.ELU(alpha),
    "Gelu": lambda approximate=b"none": nn.GELU(approximate == b"tanh"),
    "HardSwish": nn.Hardswish,
    "Mish": nn.Mish,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "Softplus": nn.Softplus,
    "Identity": nn.Identity,
}


def as_sequential(graph: Graph) -> nn.Sequential | None:
    """Return the layers that a graph is a chain of; None if it is something else."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.inputs[0].shape is None:
        return None
    try:
        return Chain(graph).layers()
    except ValueError:  # a setting that a layer does not take, such as an epsilon of 0
        return None


class Chain:
    """Follows one value through a graph, layer by layer."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = without_zero_starts(graph.nodes, graph.outputs)
        self.uses = Counter(name for node in self.nodes for name in node.inputs)
        self.current = graph.inputs[0].name
        self.dtype = graph.inputs[0].dtype
        self.lengths: list[int | None] = list(graph.inputs[0].shape or ())[1:]  # of all axes but the first

    def layers(self) -> nn.Sequential | None:
        """Return the layers, None as soon as something is none."""
        found: list[nn.Module] = []
        while self.nodes:
            node = self.nodes.pop(0)
            alone = self.current in node.inputs and self.uses[self.current] == 1
            layer = self._layer(node) if alone else self.silu(node)
            if layer is None:
                return None
            found.append(layer)
        return nn.Sequential(*found) if found and self.current == self.graph.outputs[0] else None

    def _layer(self, node: Node) -> nn.Module | None:
        made = _LAYERS[node.kind](self, node) if node.kind in _LAYERS else None
        if node.kind in OF_SPACE and self.dtype.kind == "f" and (made := OF_SPACE[node.kind](self, node)) is not None:
            self.lengths = lengths_after(made, self.lengths)
        if node.kind in _ACTIVATIONS and len(node.inputs) == 1:
            made = _ACTIVATIONS[node.kind](**node.attributes)
        if made is not None and self.current in node.inputs:
            self.current = node.outputs[0]
        return made

    def weight(self, name: str, axes: int) -> Array | None:
        """Return a parameter that only one node uses."""
        array = self.graph.weights.get(name)
        return array if array is not None and array.ndim == axes and self.uses[name] == 1 else None

    def bias(self, name: str) -> Array | None:
        """Return a vector; on two axes, it may be stored as a row."""
        row = self.weight(name, 2) if len(self.lengths) == 1 else None
        return row[0] if row is not None and len(row) == 1 else self.weight(name, 1)

    def silu(self, node: Node) -> nn.Module | None:
        """A value times its sigmoid: two operations."""
        if node.kind != "Sigmoid" or not self.nodes or self.uses[self.current] != 2 or node.inputs[0] != self.current:
            return None
        product = self.nodes[0]
        if product.kind != "Mul" or set(product.inputs) != {self.current, node.outputs[0]}:
            return None
        self.current = self.nodes.pop(0).outputs[0]
        return nn.SiLU()

    def product(self, node: Node) -> nn.Module | None:
        """A product with a matrix, and the bias that the next node adds, if it does."""
        weight = self.weight(node.inputs[1], 2)
        if weight is None or node.inputs[0] != self.current:
            return None
        bias = None
        if self.nodes and self.nodes[0].kind == "Add" and self.uses[node.outputs[0]] == 1:
            others = [name for name in self.nodes[0].inputs if name != node.outputs[0]]
            bias = self.bias(others[0]) if len(others) == 1 else None
        layer = _linear(weight, bias)
        self.lengths[-1:] = [weight.shape[1]]
        if layer is not None and bias is not None:
            self.current = self.nodes.pop(0).outputs[0]
        return layer

    def gemm(self, node: Node) -> nn.Module | None:
        """The same in one operation, for two axes."""
        a = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **node.attributes}
        weight = self.weight(node.inputs[1], 2)
        has_bias = len(node.inputs) == 3 and bool(node.inputs[2])
        bias = self.bias(node.inputs[2]) if has_bias else None
        plain = a["alpha"] == 1 and (a["beta"] == 1 or not has_bias) and not a["transA"]
        if weight is None or (has_bias and bias is None) or not plain or node.inputs[0] != self.current:
            return None
        weight = np.ascontiguousarray(weight.T) if a["transB"] else weight
        self.lengths = [weight.shape[1]]
        return _linear(weight, bias)

    def flatten(self, node: Node) -> nn.Module | None:
        """All axes but the first joined."""
        if node.attributes.get("axis", 1) != 1:
            return None
        self.lengths = [self.joined()]
        return nn.Flatten()

    def joined(self) -> int | None:
        """Return the length of all axes but the first, joined."""
        known = [d for d in self.lengths if d is not None]
        return math.prod(known) if len(known) == len(self.lengths) else None

    def reshape(self, node: Node) -> nn.Module | None:
        """The same, said by a shape: (0, -1), or with the product of the lengths."""
        shape = self.graph.constants.get(node.inputs[1])
        if shape is None or shape.shape != (2,) or node.attributes.get("allowzero") or self.joined() is None:
            return None
        if tuple(shape) not in ((0, -1), (0, self.joined()), (-1, self.joined())):
            return None
        self.lengths = [self.joined()]
        return nn.Flatten()

    def softmax(self, node: Node) -> nn.Module | None:
        """Along the last axis; also its logarithm."""
        default = 1 if self.graph.opset < 13 else -1
        axis = node.attributes.get("axis", default)
        made = nn.Softmax() if node.kind == "Softmax" else nn.LogSoftmax()
        last = axis == len(self.lengths) and (default == -1 or axis == 1)
        return made if axis == -1 or last else None

    def batch_norm(self, node: Node) -> nn.Module | None:
        """By running statistics, of features on the last of two axes, or of channels."""
        weight, bias = (self.weight(name, 1) for name in node.inputs[1:3])
        mean, variance = (self.graph.constants.get(name) for name in node.inputs[3:5])
        a = {"epsilon": 1e-5, "momentum": 0.9, **node.attributes}
        if weight is None or bias is None or mean is None or variance is None or len(self.lengths) > 3:
            return None
        if a.get("training_mode") or len(node.outputs) > 1:
            return None
        kind = nn.BatchNorm2d if len(self.lengths) == 3 else nn.BatchNorm1d
        layer = kind(weight.size, eps=a["epsilon"], momentum=_rest(a["momentum"]), dtype=weight.dtype)
        layer.load_state_dict({"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance})
        return layer

    def layer_norm(self, node: Node) -> nn.Module | None:
        """Of the last axis."""
        weight, bias = (self.weight(name, 1) for name in (*node.inputs, "")[1:3])
        if weight is None or bias is None or node.attributes.get("axis", -1) != -1:
            return None
        if self.lengths[-1:] != [weight.size]:  # one number for all, or the first axis
            return None
        layer = nn.LayerNorm(weight.size, eps=node.attributes.get("epsilon", 1e-5), dtype=weight.dtype)
        layer.load_state_dict({"weight": weight, "bias": bias})
        return layer

    def dropout(self, node: Node) -> nn.Module | None:
        """Nothing in evaluation, and in training what it was made for."""
        ratio = self.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        return nn.Dropout(node.attributes.get("ratio", 0.5) if ratio is None else float(str(np.float32(ratio))))

    def cast(self, node: Node) -> nn.Module | None:
        """Nothing, for what has that type already."""
        given = self.graph.inputs[0]
        same = node.inputs[0] == given.name and dtype_of_type(node.attributes["to"], str(node)) == given.dtype
        return nn.Identity() if same else None

    def embedding(self, node: Node) -> nn.Module | None:
        """Rows of a matrix."""
        weight = self.weight(node.inputs[0], 2)
        if weight is None or node.inputs[1] != self.current or node.attributes.get("axis", 0) != 0:
            return None
        self.lengths.append(weight.shape[1])
        self.dtype = weight.dtype
        layer = nn.Embedding(*weight.shape, dtype=weight.dtype)
        layer.load_state_dict({"weight": weight})
        return layer


_LAYERS: dict[str, Callable[[Chain, Node], nn.Module | None]] = {
    "MatMul": Chain.product,
    "Gemm": Chain.gemm,
    "Flatten": Chain.flatten,
    "Reshape": Chain.reshape,
    "Softmax": Chain.softmax,
    "LogSoftmax": Chain.softmax,
    "BatchNormalization": Chain.batch_norm,
    "LayerNormalization": Chain.layer_norm,
    "Dropout": Chain.dropout,
    "Cast": Chain.cast,
    "Gather": Chain.embedding,
}


def _linear(weight: Array, bias: Array | None) -> nn.Module | None:
    if bias is not None and bias.shape != weight.shape[1:]:
        return None
    layer = nn.Linear(weight.shape[0], weight.shape[1], bias is not None, dtype=weight.dtype)
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return layer


def _rest(momentum: float) -> float:
    """Return 1 - momentum, the weight of a new batch, without the digits that float32 cost."""
    return float(str(np.float32(1 - momentum)))
