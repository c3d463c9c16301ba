"""Reading ONNX files: what is in them is checked before anything is made of it."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.op import Array
from .files import checksum, regular_file
from .onnx_arguments import dtype_of_type
from .onnx_operations import OPERATIONS

#: The operator sets whose operations are those of `OPERATIONS`; older ones broadcast differently.
OLDEST_OPSET = 7
#: A file that `to_onnx` wrote has this and a checksum of the rest of it as its producer's version.
DIGEST = "digest "
PRODUCER = "chainrule"
_MOST_BYTES = 2**31 - 1  # protobuf's own limit
_OURS = ("", "ai.onnx")
#: Inputs of these operations that are statistics, not weights: (operation, position).
_STATISTICS = {("BatchNormalization", 3), ("BatchNormalization", 4)}


@dataclass(frozen=True)
class Node:
    """One operation: which, on which values, giving which."""

    place: int
    name: str
    kind: str
    inputs: tuple[str, ...]  # "" for one that is left out
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"node {self.place}{f' ({self.name})' if self.name else ''}, {self.kind}"


@dataclass(frozen=True)
class Input:
    """A value that the graph is given; None stands for a length that is free."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Graph:
    """A checked graph: nodes in an order in which each finds its inputs."""

    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    weights: dict[str, Array]
    constants: dict[str, Array]
    opset: int


def require_onnx() -> None:
    """Raise ImportError, saying what to install, unless the package onnx is there."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ImportError("reading and writing ONNX needs the package onnx: pip install 'chainrule[onnx]'") from None


def read(source: Any) -> Graph:
    """Read an ONNX file, or an ``onnx.ModelProto``.

    Raises
    ------
    FileNotFoundError, ValueError
        See `chainrule.from_onnx`; the message begins with the file.
    """
    require_onnx()
    import onnx

    if not isinstance(source, str | os.PathLike | onnx.ModelProto):
        raise TypeError(f"source: expected a path or an onnx.ModelProto, got a {type(source).__name__}")
    model = source if isinstance(source, onnx.ModelProto) else _parsed(source)
    try:
        graph = _graph(model)
        with _shapes_filled_in(model.graph):
            onnx.checker.check_model(model)  # not its inference of shapes, which some graphs make abort the process
    except (ValueError, TypeError, onnx.checker.ValidationError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{called(source)}: {text[:500]}") from None
    return graph


@contextlib.contextmanager
def _shapes_filled_in(graph: Any) -> Iterator[None]:
    """Give the inputs and outputs that have no shape one for a while: ONNX's checker asks for it, programs don't."""
    without = [info.type.tensor_type for info in (*graph.input, *graph.output) if info.type.HasField("tensor_type")]
    without = [kind for kind in without if not kind.HasField("shape")]
    for kind in without:
        kind.shape.SetInParent()
    try:
        yield
    finally:
        for kind in without:
            kind.ClearField("shape")


def called(source: Any) -> str:
    """Return how messages call what is read."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "the model"


def _parsed(path: Any) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    file = regular_file(path, "an ONNX model")
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > _MOST_BYTES:
            raise ValueError(f"{file}: expected at most {_MOST_BYTES:,} bytes, got {size:,}")
        content = stream.read(size)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not an ONNX model, or truncated ({size:,} bytes): {error}") from None
    if not model.HasField("graph") or not model.opset_import:
        raise ValueError(
            f"{file} is not an ONNX model, or truncated ({size:,} bytes): no graph with an operator set in it"
        )
    version = model.producer_version
    ours = version.startswith(DIGEST) or (version and model.producer_name == PRODUCER)
    if ours and version != DIGEST + digest_of(model):
        raise ValueError(
            f"{file} is damaged, or was changed after chainrule wrote it: its digest does not match. If another "
            "program changed it on purpose, from_onnx(onnx.load(path)) reads it without this check"
        )
    return model


def digest_of(model: Any) -> str:
    """Return a checksum of all that a model holds besides its digest."""
    rest = type(model)()
    rest.CopyFrom(model)
    rest.ClearField("producer_version")
    return checksum(rest.SerializeToString(deterministic=True))


def _graph(model: Any) -> Graph:
    proto = model.graph
    opset = _opset(model)
    if any(function.domain in _OURS for function in model.functions):
        raise ValueError("the model gives operations of ONNX another meaning (functions), which is not read")
    if proto.sparse_initializer:
        raise ValueError("sparse initializers are not read")
    stored: dict[str, Array] = {}
    for tensor in proto.initializer:
        if not tensor.name or tensor.name in stored:
            raise ValueError(f"two initializers are called {tensor.name!r}")
        stored[tensor.name] = array_of(tensor, f"initializer {tensor.name}")
    inputs = tuple(_input(info) for info in proto.input if info.name not in stored)
    weights = set(stored)
    known = {*stored, *(i.name for i in inputs)}
    if len(known) != len(stored) + len(inputs):
        raise ValueError("two inputs have one name")
    used = {name for each in proto.node for name in each.input} | {info.name for info in proto.output}
    nodes = []
    for place, each in enumerate(proto.node):
        node = Node(place, each.name, each.op_type, tuple(each.input), _outputs(each, used), {})
        _check_place(node, each, known)
        node.attributes.update(_attributes(each, node))
        if node.kind == "Constant":
            stored[node.outputs[0]] = _constant(node)
            continue
        if node.kind == "Identity" and node.inputs[0] in stored and len(node.outputs) == 1:  # how equal ones are stored
            stored[node.outputs[0]] = stored[node.inputs[0]]
            weights |= {node.outputs[0]} if node.inputs[0] in weights else set()
            continue
        _check_schema(node, opset)
        weights -= {name for k, name in enumerate(node.inputs) if (node.kind, k) in _STATISTICS}
        nodes.append(node)
    outputs = tuple(info.name for info in proto.output)
    for name in outputs:
        if name not in known:
            raise ValueError(f"the output {name!r} is given by no node")
    if not inputs or not outputs:
        raise ValueError("expected a graph with inputs and outputs")
    needed = {name for node in nodes for name in node.inputs} | set(outputs)
    trained = {n for n in weights & needed if stored[n].dtype.kind == "f" and stored[n].ndim}
    return Graph(
        tuple(nodes),
        inputs,
        outputs,
        {name: array for name, array in stored.items() if name in trained},
        {name: array for name, array in stored.items() if name in needed - trained},
        opset,
    )


def _outputs(proto: Any, used: set[str]) -> tuple[str, ...]:
    """Return what a node gives, without the mask of a Dropout if nobody asks for it."""
    given = tuple(proto.output)
    return given[:1] if proto.op_type == "Dropout" and used.isdisjoint(given[1:]) else given


def _opset(model: Any) -> int:
    import onnx

    versions = [each.version for each in model.opset_import if each.domain in _OURS]
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        found = ", ".join(map(str, versions)) or "none"
        raise ValueError(f"ONNX's operator set: expected {OLDEST_OPSET} to {newest}, got {found}")
    return int(versions[0])


def _check_place(node: Node, proto: Any, known: set[str]) -> None:
    """Check a node against the values before it, and enter what it computes."""
    if proto.domain not in _OURS or (node.kind not in OPERATIONS and node.kind != "Constant"):
        domain = f" (of the domain {proto.domain!r})" if proto.domain not in _OURS else ""
        raise ValueError(
            f"{node}{domain}, is not read: chainrule has no such operation (docs/models.md lists those it has)"
        )
    for name in node.inputs:
        if name and name not in known:
            raise ValueError(f"{node} takes {name!r}, which no node before it gives")
    for name in node.outputs:
        if name and name in known:
            raise ValueError(f"{node} gives {name!r}, which is there already")
        known.add(name)
    known.discard("")


def _check_schema(node: Node, opset: int) -> None:
    """Check a node's inputs and attributes against what its operation takes here."""
    taken = inspect.signature(OPERATIONS[node.kind])
    given = node.attributes | filled_in(node, opset)
    try:
        taken.bind(*node.inputs, **given)
    except TypeError as error:
        raise ValueError(f"{node} has inputs or attributes that are not read: {error}") from None
    several = "outputs" in taken.parameters
    if not any(node.outputs) or (not several and (len(node.outputs) > 1 or not node.outputs[0])):
        raise ValueError(f"{node} gives {len(node.outputs)} values; one is read")


def filled_in(node: Node, opset: int) -> dict[str, int]:
    """Return the arguments of an operation's function besides the node's attributes."""
    taken = inspect.signature(OPERATIONS[node.kind]).parameters
    return {k: v for k, v in (("opset", opset), ("outputs", len(node.outputs))) if k in taken}


def _attributes(proto: Any, node: Node) -> dict[str, Any]:
    from onnx import AttributeProto, helper

    converters: dict[int, Callable[[Any], Any]] = {
        AttributeProto.FLOAT: _shortest,
        AttributeProto.INT: int,
        AttributeProto.STRING: bytes,
        AttributeProto.FLOATS: list,
        AttributeProto.INTS: list,
        AttributeProto.STRINGS: list,
        AttributeProto.TENSOR: lambda tensor: array_of(tensor, f"{node}, a tensor attribute"),
    }
    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.type not in converters or attribute.ref_attr_name or attribute.name in found:
            raise ValueError(f"{node} has the attribute {attribute.name!r} twice or of a type that is not supported")
        found[attribute.name] = converters[attribute.type](helper.get_attribute_value(attribute))
    return found


def _shortest(number: float) -> float:
    """Return the shortest decimal that is this float32: 0.01, not 0.009999999776."""
    return float(str(np.float32(number)))


def _constant(node: Node) -> Array:
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if len(node.attributes) == 1 and len(node.outputs) == 1 and not node.inputs:
        ((name, value),) = node.attributes.items()
        if name == "value":
            return np.asarray(value)
        if name in dtypes:
            return np.asarray(value, dtypes[name])
    raise ValueError(f"{node} has attributes that are not read: {', '.join(node.attributes) or 'none'}")


def _input(info: Any) -> Input:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        raise ValueError(f"the input {info.name!r} is not a tensor")
    shape = None
    if kind.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return Input(info.name, dtype_of_type(kind.elem_type, f"the input {info.name!r}"), shape)


def array_of(tensor: Any, what: str) -> Array:
    """Return a stored tensor as an array; its numbers are counted first, and none come from another file."""
    from onnx import TensorProto, helper, numpy_helper

    dtype = dtype_of_type(tensor.data_type, what)
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError(
            f"{what} is in another file, which is not read; "
            "torch.onnx.export(…, external_data=False), or onnx.save(onnx.load(path), one_file) makes one file of both"
        )
    shape = tuple(tensor.dims)
    too_large = 8 * math.prod(d for d in shape if d) >= 2**63
    if any(d < 0 for d in shape) or len(shape) > 64 or too_large or tensor.HasField("segment"):
        raise ValueError(f"{what} has the impossible shape {shape[:8]}")
    filled = [field.name for field, _ in tensor.ListFields() if field.name.endswith("_data")]
    if len(filled) > 1 or not {"raw_data", helper.tensor_dtype_to_field(tensor.data_type)}.issuperset(filled):
        raise ValueError(f"{what} has elements in {', '.join(filled)}, expected them in the field for {dtype}")
    held = getattr(tensor, filled[0]) if filled else ()
    found = len(held) / (dtype.itemsize if filled == ["raw_data"] else 1)
    if found != math.prod(shape):
        raise ValueError(f"{what} has shape {shape[:8]}, {math.prod(shape):,} numbers, but {found:,.12g} are there")
    return np.array(numpy_helper.to_array(tensor))
