"""A network read from an ONNX file: its operations one after another, differentiable and trainable as any module."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..core.arrays import checked_array
from ..core.tensor import Parameter, Tensor, constant
from ..ops.table import as_dtype
from .onnx_operations import OPERATIONS
from .onnx_reading import Graph, Node, filled_in


class OnnxModule(nn.Module):
    """The operations of an ONNX graph.

    Made by `chainrule.from_onnx` for graphs that are no plain chain of layers.

    Attributes
    ----------
    weights : dict
        Name in the file -> parameter: the graph's initializers of floating point with at least one axis. Other
        constants, among them running statistics, do not change in training.
    """

    weights: dict[str, Parameter]

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._ids = graph.inputs[0].dtype.kind in "iu"
        self._last_use = {name: node.place for node in graph.nodes for name in node.inputs}
        self.weights = {name: Parameter(array, name=name) for name, array in graph.weights.items()}
        self._stored = self.dtype

    def forward(self, *inputs: Any) -> Any:
        """Return the graph's output; several as a tuple."""
        graph = self._graph
        if len(inputs) != len(graph.inputs):
            names = ", ".join(i.name for i in graph.inputs)
            raise ValueError(f"the network takes {len(graph.inputs)} inputs ({names}), not {len(inputs)}")
        values: dict[str, Any] = {**graph.constants, **self.weights}
        for wanted, given in zip(graph.inputs, inputs, strict=True):
            _check(wanted.name, wanted.shape, tuple(given.shape))
            values[wanted.name] = given
        for node in graph.nodes:
            results = run(node, values, graph.opset)
            values.update(zip(node.outputs, results, strict=False))
            for name in node.inputs:
                if self._last_use[name] == node.place and name not in graph.outputs:
                    values.pop(name, None)
        outputs = tuple(constant(values[name]) for name in graph.outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _as_input(self, x: Any, position: int) -> Any:
        """Return an input in the type that the graph declares; one of the weights' type follows them."""
        wanted = self._graph.inputs[position].dtype if position < len(self._graph.inputs) else None
        if wanted is None or wanted.kind != "f" or (wanted == self._stored and position == 0):
            return super()._as_input(x, position)
        x = x if isinstance(x, Tensor) else Tensor(checked_array(x, f"argument {position}"))
        return as_dtype(x, self.dtype if wanted == self._stored else wanted)

    def config(self) -> dict[str, Any]:
        """Raise: to_onnx writes it."""
        raise TypeError("a network of ONNX operations has no description of layers; to_onnx(model, path) writes it")

    def _signature(self) -> str:
        return f"{len(self._graph.nodes)} operations"


def run(node: Node, values: dict[str, Any], opset: int) -> tuple[Any, ...]:
    """Return what a node gives on values by name; what goes wrong is said of the node."""
    arguments = [values[name] if name else None for name in node.inputs]
    try:
        result = OPERATIONS[node.kind](*arguments, **node.attributes, **filled_in(node, opset))
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{node}: {error}") from error
    return result if isinstance(result, tuple) else (result,)


def _check(name: str, wanted: tuple[int | None, ...] | None, found: tuple[int, ...]) -> None:
    if wanted is None:
        return
    if len(wanted) != len(found) or any(w is not None and w != f for w, f in zip(wanted, found, strict=True)):
        text = ", ".join("…" if w is None else str(w) for w in wanted)
        raise ValueError(f"{name} has shape {found}, the network expects ({text})")
