"""Networks to and from ONNX."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from ..core.arrays import FLOATS
from ..core.node import Recording
from ..core.tensor import Tensor, constant, traced_leaf
from ..core.tree import flatten
from ..nn.functional import evaluation_mode
from ..nn.module import require_module
from . import onnx_trial
from .files import write_atomically
from .onnx_labels import DOMAIN, VERSION, labels_at, positions_of
from .onnx_layer_rows import Marking
from .onnx_layers import as_sequential
from .onnx_module import OnnxModule
from .onnx_reading import DIGEST, PRODUCER, called, digest_of, read, require_onnx
from .onnx_writing import EXAMPLES, Writer, line
from .weights import texts_of

#: The operator set that is written, and the file format that came with it: what ONNX Runtime reads since 1.17.
OPSET, IR_VERSION = 20, 9

BATCH = "batch"


def to_onnx(
    model: nn.Module,
    path: str | os.PathLike[str] | None = None,
    *,
    example: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    """Return a network as an ONNX model, for any number of examples; with `path`, write it there too.

    The model is traced in evaluation mode (no dropout, batch norm by running statistics) and written operation by
    operation, so custom modules can be exported, too. Preprocessing (scaling, encoding) is not part of the file, and
    neither is the loss's activation: logits stay logits, and ``nn.Sequential(model, nn.Softmax())`` makes them
    probabilities.

    Parameters
    ----------
    model : nn.Module
    path
        The file; replaced atomically if it exists.
    example
        One input (m, …), or a tuple of them: the ONNX model's inputs have their shapes except for the first axis, and
        are integers where they are (the first if the model takes ids). Without an example, the number of features is
        that of the first layer.
    input_names, output_names
        Default: the names of ``forward``'s arguments (``X``); ``output``, or ``output_0`` and so on for several.
    metadata
        Name -> anything JSON can hold, for the model's ``metadata_props``.

    Returns
    -------
    onnx.ModelProto
        Checked by ``onnx.checker``. The weights are initializers under their dotted paths (``0.weight``), as
        (inputs, outputs); values have their names (``Z1``).

    Raises
    ------
    ImportError
        Without the package onnx.
    ValueError
        For an operation that ONNX does not have, and for a computation that changes with the number of examples; the
        message names it.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> written = cr.to_onnx(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
    >>> [node.op_type for node in written.graph.node]
    ['MatMul', 'Add', 'Relu']
    """
    require_onnx()
    require_module(model)
    props = texts_of(metadata or {})
    shapes = _inputs(model, example)
    names = _names("input_names", input_names, _arguments(model, len(shapes)))
    return export(
        model, [Input(name, *given) for name, given in zip(names, shapes, strict=True)], output_names, props, path
    )


@dataclass(frozen=True)
class Input:
    """An input of a graph: of each example an array of this shape and dtype.

    Attributes
    ----------
    labels : sequence of str
        If the graph takes texts: those whose positions in this sequence the model takes, -1 for others.
    missing : int
        The position that stands for an empty text.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    labels: Sequence[str] = ()
    missing: int = -1


def export(
    model: nn.Module,
    inputs: Sequence[Input],
    output_names: Sequence[str] | None,
    props: dict[str, str],
    path: str | os.PathLike[str] | None,
    labels: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Trace a model on inputs and return it as an ONNX model; `to_onnx` has the arguments.

    Of an output in `labels`, which is positions in a sequence, the graph returns what stands there.
    """
    from onnx import TensorProto, checker, helper

    statistics = {path: np.asarray(array) for path, array in model.named_buffers()}
    with evaluation_mode(model):
        traces = [_traced(model, [(given.shape, given.dtype) for given in inputs], m) for m in EXAMPLES]
    named = (*model.named_parameters(), *statistics.items())
    writer = Writer({id(held): path for path, held in named})
    taken = []
    for i, given in enumerate(inputs):
        leaves = tuple(leaves[i] for leaves, _ in traces)
        taken.append(_info(given.name, leaves, helper.np_dtype_to_tensor_dtype(given.dtype)))
        if given.labels:
            taken[-1].type.tensor_type.elem_type = TensorProto.STRING
            writer.reserve("an input", given.name)
            writer.enter(positions_of(writer, given.name, given.labels, given.missing), leaves)
        else:
            writer.begin(given.name, leaves)
    results = list(zip(*(outputs for _, outputs in traces), strict=True))
    defaults = ["output"] if len(results) == 1 else [f"output_{i}" for i in range(len(results))]
    outputs = _names("output_names", output_names, defaults)
    for name in outputs:
        writer.reserve("an output", name)
    returned = []
    for name, nodes in zip(outputs, results, strict=True):
        kind: int = helper.np_dtype_to_tensor_dtype(nodes[0].dtype)
        if labels and name in labels:
            kind = labels_at(writer, writer.write(nodes), labels[name], name)
        else:
            writer.finish(nodes, name)
        returned.append(_info(name, nodes, kind))
    graph = helper.make_graph(writer.nodes, type(model).__name__, taken, returned, writer.initializers)
    domains = [helper.make_opsetid("", OPSET)]
    domains += [helper.make_opsetid(DOMAIN, VERSION)] * any(given.labels for given in inputs)
    made = helper.make_model(graph, opset_imports=domains, ir_version=IR_VERSION, producer_name=PRODUCER)
    helper.set_model_props(made, props)
    checker.check_model(made, full_check=True)
    if path is not None:
        made.producer_version = DIGEST + digest_of(made)
        write_atomically(path, made.SerializeToString(deterministic=True))
    return made


def _inputs(model: nn.Module, example: Any) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the shape (without the first axis) and the dtype of each input."""
    if example is None:
        return [((_features(model),), model.dtype or FLOATS[0])]
    found = []
    for i, given in enumerate(example if isinstance(example, tuple) else (example,)):
        array = given.value if isinstance(given, Tensor) else np.asarray(given)
        if array is None or not array.ndim or array.dtype.kind not in "fiub":
            raise ValueError(f"example {i}: expected a batch of examples, a numeric array of shape (m, …)")
        as_numbers = array.dtype.kind == "f" or (i == 0 and not model.takes_ids)
        kept = np.dtype(bool if array.dtype == bool else np.int64)
        found.append((array.shape[1:], (model.dtype or FLOATS[0]) if as_numbers else kept))
    return found


def _features(model: nn.Module) -> int:
    """Return how many features a network of chainrule's layers takes."""
    layer = model
    while isinstance(layer, nn.Sequential) and len(layer):
        layer = next((part for part in layer if not isinstance(part, nn.Flatten | nn.Identity | nn.Dropout)), layer[0])
    for attribute in ("in_features", "features"):
        if isinstance(layer, nn.Layer) and hasattr(layer, attribute):
            return int(getattr(layer, attribute))
    raise ValueError(
        f"the network begins with a {type(layer).__name__}, whose number of inputs is not known: pass to_onnx an "
        "example, one batch of inputs"
    )


def _arguments(model: nn.Module, count: int) -> list[str]:
    """Return the names of forward's first arguments."""
    taken = inspect.signature(model.forward).parameters.values()
    positional = [p.name for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = ["X"] if count == 1 else [f"X_{i}" for i in range(count)]
    return [*positional, *rest[len(positional) :]][:count]


def _names(argument: str, given: Sequence[str] | None, default: list[str]) -> list[str]:
    if given is None:
        return default
    names = [given] if isinstance(given, str) else list(given)
    if len(names) != len(default) or len(set(names)) != len(names) or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"{argument}: expected {len(default)} different name(s), got {given!r}")
    return names


Trace = tuple[list[Tensor], list[Tensor]]


def _traced(model: nn.Module, inputs: Sequence[tuple[tuple[int, ...], Any]], examples: int) -> Trace:
    """Return the inputs and outputs of one trace; it records what is computed from the statistics, too."""
    with Recording("to_onnx") as recording:
        mark = frozenset({recording})
        leaves = [traced_leaf((examples, *shape), dtype, mark) for shape, dtype in inputs]
        buffers = [(part, name) for part in model.modules() for name in part._buffers]
        held = {(id(part), name): Tensor(np.asarray(getattr(part, name)), recordings=mark) for part, name in buffers}
        outputs, _ = flatten(Marking({}, held, None).of(model)(*leaves))
    return leaves, [constant(output) for output in outputs]


def _info(name: str, nodes: Sequence[Tensor], kind: int) -> Any:
    """Return the description of an input or output of this element type."""
    from onnx import helper

    shape: list[Any] = []
    for sizes in zip(*(node.shape for node in nodes), strict=True):
        a, b = line(sizes, name) if len(set(sizes)) > 1 else (0, sizes[0])
        shape.append(b if a == 0 else BATCH if (a, b) == (1, 0) else f"{a}*{BATCH}+{b}")
    return helper.make_tensor_value_info(name, kind, shape)


def from_onnx(source: str | os.PathLike[str] | Any) -> nn.Module:
    """Return the network in an ONNX file, in evaluation mode.

    Parameters
    ----------
    source
        A path, or an ``onnx.ModelProto``.

    Returns
    -------
    nn.Module
        A `Sequential` where the graph is a chain of layers that chainrule has; otherwise a module that runs the graph's
        operations. Both can be differentiated and trained.

    Raises
    ------
    ImportError
        Without the package onnx.
    FileNotFoundError, ValueError
        If there is no such file, or it is not an ONNX model, damaged, or has numbers in other files; for the first node
        that is not supported: the message names its position, name and operation. Nothing in the file is executed.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> cr.from_onnx(cr.to_onnx(nn.Sequential(nn.Linear(4, 2), nn.ReLU())))
    Sequential()
      (0) Linear(4, 2)  weight (4, 2), bias (2,)  10
      (1) ReLU()
    10 parameters, float32
    """
    graph = read(source)
    try:
        onnx_trial.check(graph)
    except ValueError as error:
        raise ValueError(f"{called(source)}: {error}") from None
    layers = as_sequential(graph)
    return (OnnxModule(graph) if layers is None else layers).eval()
