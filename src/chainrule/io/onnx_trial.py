"""Running an ONNX graph on shapes alone, before anything is computed: what does not fit or would fill the memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.node import Recording
from ..core.op import Array
from ..core.tensor import Tensor, traced_leaf
from ..ops.table import dtype_of, shape_of
from .onnx_arguments import MOST_COMPUTED, MOST_NUMBERS
from .onnx_module import run
from .onnx_reading import Graph, Node
from .onnx_writing import EXAMPLES

#: Operations whose inputs, from this one on, are of one type.
_ONE_TYPE = {
    **dict.fromkeys("Add Sub Mul Div MatMul Gemm Max Min Sum Mean Concat PRelu And Or Xor".split(), 0),
    **dict.fromkeys("Equal Less LessOrEqual Greater GreaterOrEqual".split(), 0),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), 0),
    "Where": 1,
}


def check(graph: Graph) -> None:
    """Raise ValueError, naming the node, for shapes and types that do not fit and for values that are too large.

    Numbers of floating point are not computed; lengths that are free get a stand-in.
    """
    with Recording("from_onnx") as recording:
        _Trial(graph, frozenset({recording})).run()


class _Trial:
    def __init__(self, graph: Graph, mark: frozenset[Recording]) -> None:
        self.graph = graph
        self.mark = mark
        stored = {**graph.constants, **graph.weights}
        self.constant = set(stored)  # names of what does not depend on the input
        self.values = {name: self._without_numbers(array) for name, array in stored.items()}
        self.computed = 0
        # with other free lengths than that of the first axis, stand-ins may not fit where the real ones do
        self.certain = all(i.shape is not None and None not in i.shape[1:] for i in graph.inputs)
        for i in graph.inputs:
            shape = tuple(EXAMPLES[0] if d is None else d for d in i.shape or ())
            self._check_size(i.name, shape, MOST_NUMBERS)
            self.values[i.name] = traced_leaf(shape, i.dtype, mark)

    def _without_numbers(self, value: Any) -> Any:
        """Return what stands for a value: shapes and indices keep their numbers, for other shapes depend on them."""
        if isinstance(value, Tensor) or dtype_of(value).kind != "f":
            return value
        return traced_leaf(tuple(shape_of(value)), dtype_of(value), self.mark)

    def run(self) -> None:
        """Try every node whose inputs could be tried."""
        for node in self.graph.nodes:
            inputs = [self.values[name] for name in node.inputs if name in self.values]
            if len(inputs) < sum(map(bool, node.inputs)):
                continue
            self._check_types(node, inputs)
            self._check_product(node, inputs)
            try:
                results = run(node, self.values, self.graph.opset)
            except ValueError as error:
                if not self.certain or isinstance(error.__cause__, TypeError):  # a shape that depends on numbers
                    continue
                raise
            self._enter(node, results)

    def _enter(self, node: Node, results: tuple[Any, ...]) -> None:
        constant = self.constant.issuperset({*node.inputs} - {""})
        for name, value in zip(node.outputs, results, strict=False):
            self._check_size(name, tuple(shape_of(value)), MOST_COMPUTED if constant else MOST_NUMBERS)
            self.values[name] = self._without_numbers(value)
            if not isinstance(self.values[name], Tensor):
                self.computed += math.prod(shape_of(value))
        self.constant.update(node.outputs if constant else ())
        if self.computed > MOST_COMPUTED:
            raise ValueError(f"{node}: more than {MOST_COMPUTED:,} numbers are computed from constants")

    def _check_size(self, name: str, shape: tuple[int, ...], most: int) -> None:
        if min(shape, default=0) < 0 or math.prod(shape) > most:
            raise ValueError(f"the value {name!r} has shape {shape[:8]}; at most {most:,} numbers are read")

    def _check_types(self, node: Node, inputs: list[Any]) -> None:
        alike = inputs[_ONE_TYPE.get(node.kind, len(inputs)) :]
        if len({dtype_of(x) for x in alike}) > 1:
            raise ValueError(f"{node} takes numbers of several types: {', '.join(str(dtype_of(x)) for x in alike)}")

    def _check_product(self, node: Node, inputs: list[Any]) -> None:
        """Refuse what a few constants would become together, before it is computed."""
        arrays: list[Array] = [np.asarray(x) for x in inputs if not isinstance(x, Tensor)]
        if len(arrays) == len(inputs) and math.prod(max(a.size, 1) for a in arrays) > MOST_COMPUTED:
            raise ValueError(f"{node}: more than {MOST_COMPUTED:,} numbers are computed from constants")
