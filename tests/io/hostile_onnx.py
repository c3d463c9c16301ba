"""ONNX files that are damaged or made to do harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

import chainrule as cr
from tests.io import hostile


def model(
    nodes: list[Any], weights: dict[str, Any] | None = None, *, shape: tuple[Any, ...] = ("m", 3), opset: int = 17,
    kind: int = TensorProto.FLOAT, outputs: tuple[str, ...] = ("y",),
) -> Any:  # fmt: skip
    """Return a graph of one input x."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("m", "n")) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


node = helper.make_node
W, B = np.arange(12, dtype="f4").reshape(3, 4), np.arange(4, dtype="f4")


def intact() -> bytes:
    return cr.to_onnx(hostile.model()).SerializeToString()  # type: ignore[no-any-return]


def _linear() -> Any:
    return model([node("Gemm", ["x", "W", "B"], ["y"])], {"W": W, "B": B})


def _changed(change: Callable[[Any], Any]) -> Any:
    changed = _linear()
    change(changed)
    return changed


def _weight(**fields: Any) -> Any:
    """Return the model with another first weight."""

    def change(m: Any) -> None:
        tensor = m.graph.initializer[0]
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(tensor, name)[:] = value
            else:
                setattr(tensor, name, value)

    return _changed(change)


def _external(location: str) -> Any:
    def change(m: Any) -> None:
        tensor = m.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "48")):
            tensor.external_data.add(key=key, value=value)

    return _changed(change)


def _constants(kind: str, *constants: Any, **attributes: Any) -> Any:
    names = [f"c{i}" for i in range(len(constants))]
    return model([node(kind, ["x", *names], ["y"], **attributes)], dict(zip(names, constants, strict=True)))


def _asking(shape: list[int]) -> Any:
    nodes = [node("ConstantOfShape", ["shape"], ["c"]), node("ReduceSum", ["c"], ["s"]), node("Add", ["x", "s"], ["y"])]
    return model(nodes, {"shape": np.array(shape, np.int64)})


def _with_branch(kind: str, depth: int) -> Any:
    """Return graphs within graphs."""
    inner = helper.make_graph([node("Identity", ["x"], ["y"])], "inner", [], [])
    for _ in range(depth):
        part = node(kind, ["x"], ["y"])
        part.attribute.append(helper.make_attribute("body", inner))
        inner = helper.make_graph([part], "inner", [], [])
    return model(list(inner.node))


def graphs() -> dict[str, Any]:
    """Return models that parse, and must not load."""
    relu, two = node("Relu", ["x"], ["y"]), np.array([1, 1], np.int64)
    files: dict[str, Any] = {
        "no outputs": model([relu], outputs=()),
        "no inputs": _changed(lambda m: m.graph.ClearField("input")),
        "no graph": _changed(lambda m: m.ClearField("graph")),
        "no operator set": _changed(lambda m: m.ClearField("opset_import")),
        "two operator sets": _changed(lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 9))),
        "no format version": _changed(lambda m: m.ClearField("ir_version")),
        "a format of the future": _changed(lambda m: setattr(m, "ir_version", 2**40)),
        "a cycle": model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]),
        "a node on itself": model([node("Add", ["x", "y"], ["y"])]),
        "out of order": model([node("Relu", ["a"], ["y"]), node("Relu", ["x"], ["a"])]),
        "a value given twice": model([relu, node("Tanh", ["x"], ["y"])]),
        "the input given again": model([node("Relu", ["x"], ["x"])], outputs=("x",)),
        "an output nobody gives": model([relu], outputs=("z",)),
        "an unknown operation": model([node("Relu", ["x"], ["a"]), node("LSTM", ["a", "a", "a"], ["y"])]),
        "an operation without a name": model([node("", ["x"], ["y"])]),
        "a domain": model([node("Relu", ["x"], ["y"], domain="com.evil")]),
        "a function": _changed(
            lambda m: m.functions.append(
                helper.make_function("", "Gemm", ["a"], ["b"], [node("Relu", ["a"], ["b"])], m.opset_import)
            )
        ),
        "too few inputs": model([node("Gemm", ["x"], ["y"])]),
        "too many inputs": model([node("Relu", ["x", "x"], ["y"])]),
        "no output": model([node("Relu", ["x"], [])], outputs=("x",)),
        "an output too many": model([node("Relu", ["x"], ["y", "z"])]),
        "an unknown attribute": model([node("Relu", ["x"], ["y"], slope=0.5)]),
        "an attribute of another type": model([node("Softmax", ["x"], ["y"], axis="last")]),
        "an attribute that is a list": model([node("LeakyRelu", ["x"], ["y"], alpha=[0.5])]),
        "an axis too far": model([node("Softmax", ["x"], ["y"], axis=7)]),
        "axes that are no permutation": model([node("Transpose", ["x"], ["y"], perm=[0, 0])]),
        "weights that do not fit": model([node("MatMul", ["x", "W"], ["y"])], {"W": W.T}),
        "a bias that does not fit": model([node("Gemm", ["x", "W", "B"], ["y"])], {"W": W, "B": B[:3]}),
        "weights of integers": model([node("MatMul", ["x", "W"], ["y"])], {"W": W.astype(np.int64)}),
        "weights of float64": model([node("MatMul", ["x", "W"], ["y"])], {"W": W.astype(np.float64)}),
        "texts": model([node("Identity", ["t"], ["y"])], {"t": np.array(["a"], object)}),
        "texts as input": model([relu], kind=TensorProto.STRING),
        "half precision": model([node("MatMul", ["x", "W"], ["y"])], {"W": W.astype(np.float16)}),
        "complex": model([node("Mul", ["x", "W"], ["y"])], {"W": W.astype(np.complex64)}),
        "a negative length": model([relu], shape=("m", -3)),
        "a huge input": model([relu], shape=(10**9, 10**9)),
        "a reshape that does not fit": _constants("Reshape", np.array([-1, 5, 2**40], np.int64)),
        "two free lengths": _constants("Reshape", np.array([-1, -1], np.int64)),
        "statistics that do not fit": model([node("BatchNormalization", ["x"] + ["v"] * 4, ["y"])], {"v": B}),
        "a choice that does not fit": model(
            [node("Greater", ["x", "W"], ["c"]), node("Where", ["c", "x", "x"], ["y"])], {"W": W}
        ),
        "many constants from few": model(
            [
                node("Add", ["a", "b"], ["c"]),
                node("Add", ["c", "d"], ["e"]),
                node("ReduceSum", ["e"], ["s"], keepdims=0),
                node("Mul", ["x", "s"], ["y"]),
            ],
            {"a": np.ones((400, 1, 1), "f4"), "b": np.ones((1, 400, 1), "f4"), "d": np.ones((1, 1, 400), "f4")},
        ),
        "many integers from few": model(
            [node("Add", ["a", "b"], ["c"]), node("Cast", ["c"], ["d"], to=1), node("Mul", ["x", "d"], ["y"])],
            {"a": np.ones((20_000, 1), np.int64), "b": np.ones((1, 20_000), np.int64)},
        ),
        "many ranges": model(
            [
                *[node("Range", ["a", "b", "c"], [f"r{i}"]) for i in range(120)],
                *[node("Cast", [f"r{i}"], [f"s{i}"], to=1) for i in range(120)],
                *[node("ReduceSum", [f"s{i}"], [f"t{i}"], keepdims=0) for i in range(120)],
                node("Sum", ["x", *[f"t{i}" for i in range(120)]], ["y"]),
            ],
            {"a": np.int64(0), "b": np.int64(400_000), "c": np.int64(1)},
        ),
        "a long range": model(
            [node("Range", ["a", "b", "c"], ["r"]), node("Cast", ["r"], ["s"], to=1), node("ReduceSum", ["s"], ["t"]),
             node("Add", ["x", "t"], ["y"])],
            {"a": np.int64(0), "b": np.int64(10**12), "c": np.int64(1)},
        ),
        "a huge constant of a computed shape": model(
            [node("Mul", ["a", "a"], ["shape"]), node("ConstantOfShape", ["shape"], ["c"]), node("Neg", ["c"], ["d"]),
             node("ReduceSum", ["d"], ["s"]), node("Mul", ["x", "s"], ["y"])],
            {"a": np.array([10**3, 10**3], np.int64)},
        ),
        "a split that does not fit": model([node("Split", ["x", "s"], ["a", "y"], axis=1)], {"s": two}),
        "a huge constant": _asking([10**6, 10**6]),
        "a constant of a negative shape": _asking([-5, 3]),
        "a huge expansion": _constants("Expand", np.array([10**6, 10**6, 3], np.int64)),
        "sparse": _changed(lambda m: m.graph.sparse_initializer.add()),
        "two of one name": _changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "an initializer without a name": _weight(name=""),
        "a segment": _changed(lambda m: setattr(m.graph.initializer[0].segment, "begin", 1)),
        "numbers in two places": _weight(float_data=[1.0] * 12),
        "graphs within": _with_branch("If", 3),
        "graphs within, deep": _with_branch("Loop", 25),
        "a constant of nothing": model([node("Constant", [], ["c"]), node("Add", ["x", "c"], ["y"])]),
        "a constant of two": model([node("Constant", [], ["c"], value_int=1, value_float=1.0), relu]),
        "a sparse constant": model([node("Constant", [], ["c"], value_strings=["a"]), relu]),
    }  # fmt: skip
    for version in (-1, 0, 1, 6, 99, 2**62):
        files[f"operator set {version}"] = model([relu], opset=version)
    for dims in (
        [],
        [12],
        [4, 4],
        [3, 5],
        [10**12],
        [2**40, 2**40],
        [-3, -4],
        [0, 4],
        [2**62, 4],
        [2**63 - 1],
        [1] * 80,
    ):
        files[f"dims {str(dims)[:30]}"] = _weight(dims=dims)
    for content in (b"", b"\0", bytes(44), bytes(52), bytes(47)):
        files[f"{len(content)} bytes of numbers"] = _weight(raw_data=content)
    for kind in (0, 2, 3, 8, 9, 10, 11, 14, 16, 17, 22, 99):
        files[f"type {kind}"] = _weight(data_type=kind)
    for location in ("../../etc/passwd", "/etc/passwd", "weights.bin", "file:///etc/passwd", "..\\x", "\0", "", "."):
        files[f"numbers in {location!r}"] = _external(location)
    for kind in AttributeProto.AttributeType.values():
        part = node("Relu", ["x"], ["y"])
        part.attribute.append(AttributeProto(name="a", type=kind))
        files[f"attribute of type {kind}"] = model([part])
    return files


def onnx_files() -> dict[str, bytes]:
    """Return all of them as bytes, with the truncated ones and those that are something else."""
    whole = intact()
    files = {f"cut off at byte {n}": whole[:n] for n in range(0, len(whole))}
    files |= {name: made.SerializeToString() for name, made in graphs().items()}
    files |= hostile.other_files()
    files |= {
        "safetensors": hostile.intact(),
        "nested messages": b"".join(b"\x3a" + _varint(5 * (20_000 - i)) for i in range(20_000)),
        "a length beyond the end": b"\x3a" + _varint(2**60),
        "a graph of zeros": b"\x08\x08\x3a" + _varint(10_000) + bytes(10_000) + b"\x42\x02\x10\x11",
        "nothing but an operator set": ModelProto(
            ir_version=8, opset_import=[helper.make_opsetid("", 17)]
        ).SerializeToString(),
    }
    return files


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])
