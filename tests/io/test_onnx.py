"""ONNX: every operation there and back, other programs' models, what cannot be written or read."""

import contextlib
import io
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.ops import rows, special
from tests.io.gallery import CASES, outputs
from tests.tables import for_each

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from chainrule.io.onnx_operations import OPERATIONS as READERS  # noqa: E402
from chainrule.io.onnx_writing import ROWS  # noqa: E402

node = helper.make_node


def run(model, *inputs):
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


class Function(nn.Module):
    """A function as a module without parameters."""

    def __init__(self, function):
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


# -- writing -----------------------------------------------------------------------------------------------------------

rng = np.random.default_rng(0)
SMALL, POSITIVE = rng.uniform(-0.9, 0.9, (4, 6)).astype("f4"), rng.uniform(1.1, 3, (4, 6)).astype("f4")
IDS = rng.integers(0, 4, (4, 6))
TRUTHS = rng.random((4, 6)) < 0.5

#: Our operation -> a function that uses it, and the inputs to try it on.
WINDOW = np.array([[[1.0], [-2.0]]], np.float32)
OPERATIONS = {
    **{
        name: (getattr(np, name), SMALL)
        for name in "exp expm1 sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arctanh absolute sign floor "
        "ceil rint trunc square negative isnan isinf isfinite argsort".split()
    },
    **{name: (getattr(np, name), POSITIVE) for name in "log log1p log2 log10 exp2 sqrt cbrt arccosh".split()},
    **{
        name: (getattr(np, name), POSITIVE, SMALL)
        for name in "add subtract multiply divide power logaddexp hypot maximum minimum equal not_equal less "
        "less_equal greater greater_equal".split()
    },
    **{name: (getattr(np, name), TRUTHS, TRUTHS[:, ::-1]) for name in ("logical_and", "logical_or", "logical_xor")},
    **{name: (getattr(np, name), IDS - 1, IDS[:, ::-1]) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{
        function.__name__: (lambda a, b, i, f=function: (f(a, b), f(i, i[::-1] + 1)), SMALL, POSITIVE, IDS)
        for function in (np.floor_divide, np.remainder, np.fmod)
    },
    "invert": (np.invert, IDS),
    **{name: (getattr(np, name), TRUTHS) for name in ("logical_not", "all", "any")},
    **{name: (getattr(cr, name), SMALL) for name in ("relu", "sigmoid", "softplus", "erf")},
    **{name: (partial(getattr(np, name), axis=1), SMALL) for name in "sum max min prod argmax argmin cumsum".split()},
    "softmax": (lambda x: cr.softmax(x, 1) + cr.softmax(x, (0, 1)), SMALL),
    "logsumexp": (lambda x: cr.logsumexp(x, axis=1), SMALL),
    "matmul": (lambda a, b: a @ np.swapaxes(b, 0, 1), SMALL, POSITIVE),
    "concatenate": (lambda a, b: np.concatenate([a, b, a], 1), SMALL, POSITIVE),
    "transpose": (lambda a: np.transpose(a.reshape(-1, 2, 3), (2, 0, 1)), SMALL),
    "reshape": (lambda a: (a.reshape(-1), a.reshape(2, -1), a.reshape(len(a), 2, 3), a.reshape(3, len(a), 2)), SMALL),
    "broadcast_to": (lambda a: np.broadcast_to(a[:, None], (len(a), 5, 6)), SMALL),
    "where": (lambda c, a: np.where(c, a, -2 * a), TRUTHS, SMALL),
    "slice": (lambda a: a[:, 1:-1:2][..., None, ::-1, :1] + a[-1, None, 2], SMALL),
    "gather": (
        lambda a, i: (np.take(a, i, axis=1), a[:, [0, -1, 2]], a[np.arange(len(a)), i[:, 1]], a[..., 1:][i[:, 0]]),
        SMALL, IDS % 2,
    ),
    "one_hot": (lambda i: cr.one_hot(i, 4), IDS),
    "cast": (lambda i: i.astype(np.float32) + i.astype(bool).astype(np.float32), IDS),
    "identity": (lambda a: np.copy(a), SMALL),
    "stop_gradient": (lambda a: cr.stop_gradient(a) * 2, SMALL),
    "xlogy": (special.xlogy, SMALL, POSITIVE),
    "xlog1py": (special.xlog1py, SMALL, POSITIVE),
    "det": (lambda a: np.linalg.det(a[:, :4].reshape(-1, 2, 2)), SMALL),
    "binary_cross_entropy_with_logits": (
        lambda z, t: nn.losses.binary_cross_entropy(z, t, reduction="sum"), SMALL, np.abs(SMALL)
    ),
    "conv": (lambda x: cr.ops.conv(x[:, None], WINDOW, padding=((1, 0),)), SMALL),
    "conv_input": (lambda x: cr.ops.conv_transpose(x[:, None], WINDOW, stride=2, output_padding=1), SMALL),
    "max_pool": (lambda x: cr.ops.max_pool(x, 2, stride=1, n=1), SMALL),
    "place": (lambda x: cr.ops.zero_pad(x, ((1, 2),)), SMALL),
    "roll": (lambda x: np.roll(x, 2, axis=1), SMALL),
    "windows": (lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1), SMALL),
    "norm2": (lambda a: np.linalg.norm(a, axis=1), SMALL),
    "cross_entropy_with_logits": (lambda z: cr.ops.cross_entropy_with_logits(z, cr.softmax(z)), SMALL),
}  # fmt: skip

#: Operations that ONNX has no counterpart for, or that no network computes in evaluation: those that the guide names.
GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
WRITING, READING = GUIDE.split("## Importing from ONNX")
WITHOUT = set(re.findall(r"`(\w+)`", WRITING[WRITING.index("These operations of the [table]") :]))


def test_every_operation_is_written_or_known_to_be_none():
    names = {row.name for row in rows()}
    assert set(ROWS) <= names
    assert set(OPERATIONS) == names - WITHOUT
    assert {name for name in names - set(ROWS) if cr.ops.row(name).expand is None} == WITHOUT


@for_each("name", OPERATIONS)
def test_every_operation_computes_the_same_in_onnx_runtime_and_back_here(name):
    function, *inputs = OPERATIONS[name]
    module = Function(function)
    module._ids = inputs[0].dtype.kind in "iub"
    wanted = outputs(module, tuple(inputs))
    model = cr.to_onnx(module, example=tuple(inputs))
    for found in (run(model, *inputs), outputs(cr.from_onnx(model), tuple(inputs))):
        for a, b in zip(found, wanted, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_names_weights_and_metadata(tmp_path):
    model = CASES["dense"].model
    written = cr.to_onnx(model, tmp_path / "m.onnx", metadata={"classes": ["a", "b"], "n": 1.5})
    assert onnx.load(tmp_path / "m.onnx") == written and [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    graph = written.graph
    assert {i.name: numpy_helper.to_array(i).tobytes() for i in graph.initializer} == {
        k: v.tobytes() for k, v in model.state_dict().items()
    }
    assert [n.op_type for n in graph.node] == ["MatMul", "Add", "Relu", "MatMul", "Add"]
    assert [n.output[0] for n in graph.node][1:3] == ["Z1", "A1"]
    assert {p.key: p.value for p in written.metadata_props} == {"classes": '["a", "b"]', "n": "1.5"}
    named = cr.to_onnx(model, input_names=["pixels"], output_names="logits").graph
    assert (named.input[0].name, named.output[0].name) == ("pixels", "logits")


def test_the_digest_of_a_file_reveals_changes(tmp_path):
    file = tmp_path / "m.onnx"
    cr.to_onnx(CASES["dense"].model, file)
    changed = onnx.load(file)
    changed.graph.initializer[0].raw_data = b"\1" * len(changed.graph.initializer[0].raw_data)
    onnx.save(changed, file)
    with pytest.raises(ValueError, match=r"m\.onnx is damaged, or was changed .* digest does not match"):
        cr.from_onnx(file)
    assert isinstance(cr.from_onnx(onnx.load(file)), nn.Sequential)  # on purpose
    for version, name in (("other", "chainrule"), ("digest 00", "")):
        changed.producer_version, changed.producer_name = version, name
        onnx.save(changed, file)
        with pytest.raises(ValueError, match="digest does not match"):
            cr.from_onnx(file)


def test_layers_of_pytorchs_recurrent_networks_come_back(tmp_path):
    torch = pytest.importorskip("torch")

    class Outputs(torch.nn.LSTM):
        def forward(self, x):
            return super().forward(x)[0]

    theirs = Outputs(3, 4, 2, batch_first=True, bidirectional=True).eval()
    x = rng.normal(size=(2, 5, 3)).astype("f4")
    exported(theirs, x, tmp_path / "m.onnx", False)
    ours = cr.from_onnx(tmp_path / "m.onnx")
    assert repr(ours[0]).startswith("LSTM(3, 4, num_layers=2, bidirectional=True)") and len(ours) == 1
    np.testing.assert_allclose(ours(x).value, theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    before = ours[0].weight_hh_l1.value.copy()
    cr.fit(ours, x, np.zeros((2, 5, 8), "f4"), loss="mse", epochs=1, progress=False)
    assert not np.array_equal(before, ours[0].weight_hh_l1.value)


def test_networks_of_operations_train_their_filters_and_recurrent_weights():
    graph_of = cr.to_onnx(CASES["residual"].model, example=CASES["residual"].inputs(2))
    network = cr.from_onnx(graph_of)
    inputs = CASES["residual"].inputs(4)
    wanted = np.zeros_like(outputs(network, inputs)[0])
    before = {name: p.value.copy() for name, p in network.named_parameters()}
    losses = cr.fit(network, inputs[0], wanted, loss="mse", epochs=5, progress=False)["loss"]
    assert losses[-1] < losses[0]
    assert all(not np.array_equal(before[name], p.value) for name, p in network.named_parameters())


def test_layers_are_one_operation_each_where_onnx_has_it():
    layers = [nn.Linear(3, 3), nn.BatchNorm1d(3), nn.LeakyReLU(), nn.ELU(), nn.GELU(), nn.LayerNorm(3), nn.GELU(True)]
    kinds = [n.op_type for n in cr.to_onnx(nn.Sequential(*layers)).graph.node if n.op_type != "Constant"]
    assert kinds == ["MatMul", "Add", "BatchNormalization", "LeakyRelu", "Elu", "Gelu", "LayerNormalization", "Gelu"]


class Unbiased(nn.LayerNorm):
    """A layer norm by the unbiased variance."""

    def compute(self, x, name):
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.sum(np.square(centred), axis=-1, keepdims=True) / (self.features - 1)
        return centred / np.sqrt(variance + self.eps) * self.weight + self.bias


@pytest.mark.parametrize(
    "function",
    [
        Unbiased(6).eval(),
        lambda x: np.where(np.greater(x, 0), x, 0.1 * (x + 1)),
        lambda x: np.where(np.greater(x, 0.5), x, 0.1 * x),
        lambda x: np.where(np.greater(x, 0), x, 0.1 * np.abs(x)),
        lambda x: 0.5 * x * (1.0 + cr.erf(x * 0.7)),
        lambda x: (x - np.mean(x, axis=-1, keepdims=True)) / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5),
    ],
)
def test_what_only_looks_like_a_layer_is_written_as_it_is(function):
    model = cr.to_onnx(Function(function), example=SMALL)
    np.testing.assert_allclose(run(model, SMALL)[0], outputs(Function(function), (SMALL,))[0], rtol=1e-5, atol=1e-6)
    assert not {n.op_type for n in model.graph.node} & {"LeakyRelu", "Elu", "Gelu", "LayerNormalization"}


def test_float64_keeps_its_numbers():
    model = nn.Sequential(nn.Linear(4, 3, dtype="f8"), nn.LeakyReLU(0.1), nn.Tanh()).eval()
    X = rng.normal(size=(5, 4))
    np.testing.assert_allclose(run(cr.to_onnx(model), X)[0], outputs(model, (X,))[0], rtol=1e-12)
    np.testing.assert_allclose(outputs(cr.from_onnx(cr.to_onnx(model)), (X,))[0], outputs(model, (X,))[0], rtol=1e-14)


def test_the_model_is_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
    model[1].eval()
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    cr.to_onnx(model)
    assert model.training and not model[1].training and model[2].training
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before


def test_outputs_that_are_inputs_constants_or_each_other():
    weight = nn.Parameter(np.ones((2, 3), "f4"))
    model = Function(lambda x: [x, x * 2.0, (x * 2.0, weight), cr.tensor(np.float32(3.0))])
    model.weight = weight
    X = np.ones((4, 3), "f4")
    found = run(cr.to_onnx(model, example=X), X)
    for a, b in zip(found, outputs(model, (X,)), strict=True):
        np.testing.assert_array_equal(a, b)
    same = Function(lambda x: (lambda y: (y, y))(x * 2.0))
    assert [x.tolist() for x in run(cr.to_onnx(same, example=X), X)] == [(X * 2).tolist()] * 2


def test_names_of_values_that_are_taken_or_given_twice():
    def function(x):
        h = np.tanh(x).named("output")
        again = h.named("again")
        return (again * 2.0 + h).named("X")

    model = cr.to_onnx(Function(function), example=SMALL)
    np.testing.assert_allclose(run(model, SMALL)[0], 3 * np.tanh(SMALL), rtol=1e-6)
    assert [n.output[0] for n in model.graph.node if n.op_type == "Tanh"] == ["output_2"]


def test_a_parameter_without_axes():
    class Scaled(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(np.float32(2.5))

        def forward(self, X):
            return X * self.scale

    model = cr.to_onnx(Scaled(), example=SMALL)
    assert [(i.name, list(i.dims)) for i in model.graph.initializer] == [("scale", [])]
    np.testing.assert_allclose(run(model, SMALL)[0], 2.5 * SMALL)
    np.testing.assert_allclose(outputs(cr.from_onnx(model), (SMALL,))[0], 2.5 * SMALL)


def test_what_the_network_takes_is_found_or_asked_for():
    for first in (nn.Linear(3, 2), nn.LayerNorm(3), nn.BatchNorm1d(3)):
        model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Dropout(0.1), first))
        assert cr.to_onnx(model).graph.input[0].type.tensor_type.shape.dim[1].dim_value == 3
    with pytest.raises(ValueError, match=r"begins with a Embedding.* example"):
        cr.to_onnx(nn.Sequential(nn.Embedding(3, 3)))
    with pytest.raises(ValueError, match="begins with a Convolution"):
        cr.to_onnx(CASES["convolution"].model)
    with pytest.raises(ValueError, match="X has shape"):
        cr.to_onnx(nn.Linear(3, 2), example=np.ones((2, 4)))
    with pytest.raises(ValueError, match="example 0: "):
        cr.to_onnx(nn.Linear(3, 2), example=3.0)
    integers = cr.to_onnx(nn.Linear(3, 2), example=np.ones((2, 3), int)).graph.input[0].type.tensor_type
    assert integers.elem_type == TensorProto.FLOAT  # a network of numbers casts them


REFUSED = [
    (lambda x: np.linalg.inv(x @ x.T), r"operation 'inv' has no counterpart in ONNX"),
    (lambda x: x[:2] if len(x) > 18 else x, "changes with the number of examples"),
    (lambda x: x * (1.0 / len(x)), "a constant of shape .* in it depends on the number of examples"),
    (lambda x: x * float(len(x) ** 2), "depends on the number of examples"),
    (lambda x: x[len(x) - 2 :], "the attributes of operation 'slice' depend on the number of examples"),
    (lambda x: x if len(x) % 2 else 2 * x, "changes with the number of examples"),
    (lambda x: sum(x[i] for i in range(len(x))), "changes with the number of examples"),
    (lambda x: x + np.eye(len(x), 6), "in it depends on the number of examples"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_written_is_named(tmp_path, function, message):
    with pytest.raises(ValueError, match=message):
        cr.to_onnx(Function(function), tmp_path / "m.onnx", example=np.ones((4, 6), "f4"))
    assert not list(tmp_path.iterdir())


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"model: .*Module.* got a function"):
        cr.to_onnx(lambda x: x)
    for names in ([], ["a", "b"], [3], [""]):
        with pytest.raises(ValueError, match="input_names: "):
            cr.to_onnx(nn.Linear(2, 2), input_names=names)
    with pytest.raises(ValueError, match="an input cannot be called 'weight'"):
        cr.to_onnx(nn.Linear(2, 2), input_names=["weight"])
    with pytest.raises(ValueError, match="an output cannot be called 'X'"):
        cr.to_onnx(nn.Linear(2, 2), output_names=["X"])


def test_more_wrong_arguments():
    with pytest.raises(TypeError, match="metadata 'a': JSON"):
        cr.to_onnx(nn.Linear(2, 2), metadata={"a": {1, 2}})
    for source in (b"m.onnx", 3, nn.Linear(2, 2), None):
        with pytest.raises(TypeError, match=r"got a "):
            cr.from_onnx(source)


def test_without_the_package(tmp_path):
    code = """
import sys
sys.modules["onnx"] = None
import chainrule as cr
for call in (lambda: cr.to_onnx(cr.nn.Linear(2, 2)), lambda: cr.from_onnx("m.onnx")):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'chainrule[onnx]'") == 2


# -- reading -----------------------------------------------------------------------------------------------------------


def graph(
    nodes, weights=None, *, opset=17, shape=("m", 4), out=("m", None), kind=TensorProto.FLOAT, to=TensorProto.FLOAT
):
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", to, out)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


X = rng.normal(size=(5, 4)).astype("f4")
W, B = rng.normal(size=(4, 3)).astype("f4"), rng.normal(size=3).astype("f4")
I64 = np.int64

READ = {
    "Gemm": (graph([node("Gemm", ["x", "w", "b"], ["y"])], {"w": W, "b": B}), nn.Sequential),
    "Gemm, transposed": (
        graph([node("Gemm", ["x", "w", "b"], ["y"], transB=1)], {"w": W.T.copy(), "b": B}),
        nn.Sequential,
    ),
    "Gemm, scaled": (graph([node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)], {"w": W, "b": B}), nn.Module),
    "Gemm, scaled product": (
        graph([node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5)], {"w": W, "b": B}),
        nn.Module,
    ),
    "SiLU and more": (
        graph([node("Sigmoid", ["x"], ["s"]), node("Mul", ["s", "x"], ["a"]), node("Sub", ["a", "x"], ["y"])]),
        nn.Module,
    ),
    "Gemm without bias": (graph([node("Gemm", ["x", "w"], ["y"])], {"w": W}), nn.Sequential),
    "MatMul": (graph([node("MatMul", ["x", "w"], ["y"])], {"w": W}), nn.Sequential),
    "MatMul, Add": (
        graph([node("MatMul", ["x", "w"], ["a"]), node("Add", ["b", "a"], ["y"])], {"w": W, "b": B}),
        nn.Sequential,
    ),
    "a weight used twice": (
        graph(
            [node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["a", "w"], ["y"])],
            {"w": W[:, :1] @ B[None, [0, 1, 2, 0]]},
        ),
        nn.Module,
    ),
    "a residual": (graph([node("Relu", ["x"], ["a"]), node("Add", ["a", "x"], ["y"])]), nn.Module),
    "Softmax of old": (
        graph(
            [node("Reshape", ["x", "s"], ["a"]), node("Softmax", ["a"], ["b"]), node("Flatten", ["b"], ["y"])],
            {"s": np.array([0, 2, 2], I64)},
            opset=11,
        ),
        nn.Module,
    ),
    "Softmax": (graph([node("Softmax", ["x"], ["y"], axis=1)]), nn.Sequential),
    "LogSoftmax": (graph([node("LogSoftmax", ["x"], ["y"], axis=1)]), nn.Sequential),
    "Clip": (graph([node("Clip", ["x", "", "h"], ["y"])], {"h": np.float32(0.5)}), nn.Module),
    "Clip of old": (graph([node("Clip", ["x"], ["y"], min=-0.5, max=0.5)], opset=10), nn.Module),
    "ReduceSum of old": (graph([node("ReduceSum", ["x"], ["y"], axes=[-1])], opset=12), nn.Module),
    "ReduceMean": (graph([node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)]), nn.Module),
    "ReduceL2": (graph([node("ReduceL2", ["x"], ["y"], axes=[1])]), nn.Module),
    "ReduceLogSumExp": (graph([node("ReduceLogSumExp", ["x"], ["y"], axes=[1])]), nn.Module),
    "Squeeze of old": (
        graph([node("Unsqueeze", ["x"], ["a"], axes=[0, 3]), node("Squeeze", ["a"], ["y"], axes=[3, 0])], opset=11),
        nn.Module,
    ),
    "Slice of old": (graph([node("Slice", ["x"], ["y"], starts=[1], ends=[9999], axes=[1])], opset=9), nn.Module),
    "Slice backwards": (
        graph(
            [node("Slice", ["x", "a", "b", "c", "d"], ["y"])],
            {
                "a": np.array([-1], I64),
                "b": np.array([-(2**62)], I64),
                "c": np.array([1], I64),
                "d": np.array([-2], I64),
            },
        ),
        nn.Module,
    ),
    "Split": (
        graph(
            [node("Split", ["x", "s"], ["a", "b"], axis=1), node("Concat", ["b", "a"], ["y"], axis=1)],
            {"s": np.array([1, 3], I64)},
        ),
        nn.Module,
    ),
    "Split evenly": (graph([node("Split", ["x"], ["a", "b"], axis=1), node("Sub", ["b", "a"], ["y"])]), nn.Module),
    "a shape that is computed": (
        graph(
            [
                node("Shape", ["x"], ["s"]),
                node("Constant", [], ["zero"], value_int=0),
                node("Gather", ["s", "zero"], ["m"], axis=0),
                node("Constant", [], ["axes"], value_ints=[0]),
                node("Unsqueeze", ["m", "axes"], ["n"]),
                node("Constant", [], ["rest"], value_ints=[2, 2]),
                node("Concat", ["n", "rest"], ["t"], axis=0),
                node("Reshape", ["x", "t"], ["u"]),
                node("Flatten", ["u"], ["y"]),
            ]
        ),
        nn.Module,
    ),
    "BatchNormalization": (
        graph(
            [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=0.1)],
            {"s": B[[0, 1, 2, 0]], "b": B[[2, 1, 0, 0]], "m": X[0], "v": X[1] ** 2},
        ),
        nn.Sequential,
    ),
    "LayerNormalization": (
        graph([node("LayerNormalization", ["x", "s", "b"], ["y"], epsilon=0.1)], {"s": X[0], "b": X[1]}),
        nn.Sequential,
    ),
    "BatchNormalization, epsilon 0": (
        graph(
            [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=0.0)],
            {"s": X[0], "b": X[1], "m": X[2], "v": X[3] ** 2},
        ),
        nn.Module,
    ),
    "LayerNormalization without bias": (graph([node("LayerNormalization", ["x", "s"], ["y"])], {"s": X[0]}), nn.Module),
    "Dropout": (graph([node("Dropout", ["x", "r"], ["y"])], {"r": np.float32(0.4)}), nn.Sequential),
    "TopK": (graph([node("TopK", ["x", "k"], ["y", "places"])], {"k": np.array([2], I64)}), nn.Module),
    "TopK, smallest": (
        graph([node("TopK", ["x", "k"], ["y", "places"], largest=0)], {"k": np.array([2], I64)}),
        nn.Module,
    ),
    "GlobalAveragePool": (
        graph(
            [
                node("Reshape", ["x", "s"], ["a"]),
                node("GlobalAveragePool", ["a"], ["b"]),
                node("Flatten", ["b"], ["y"]),
            ],
            {"s": np.array([0, 2, 2], I64)},
        ),
        nn.Module,
    ),
    "PRelu": (graph([node("PRelu", ["x", "s"], ["y"])], {"s": X[0]}), nn.Sequential),
    "ConstantOfShape": (
        graph(
            [
                node("Shape", ["x"], ["s"]),
                node("ConstantOfShape", ["s"], ["c"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2.0])),
                node("Add", ["x", "c"], ["y"]),
            ]
        ),
        nn.Module,
    ),
    "Sum, Mean, Max, Min": (
        graph(
            [
                node("Sum", ["x", "x", "x"], ["a"]),
                node("Mean", ["a", "x"], ["b"]),
                node("Max", ["b", "x", "a"], ["c"]),
                node("Min", ["c", "x"], ["y"]),
            ]
        ),
        nn.Module,
    ),
    "integer division": (
        graph(
            [node("Cast", ["x"], ["a"], to=7), node("Div", ["a", "t"], ["b"]), node("Cast", ["b"], ["y"], to=1)],
            {"t": np.array(-2, I64)},
        ),
        nn.Module,
    ),
    "HardSigmoid, Selu, Softsign, Mish, HardSwish": (
        graph(
            [
                node("HardSigmoid", ["x"], ["a"]),
                node("Selu", ["a"], ["b"]),
                node("Softsign", ["b"], ["c"]),
                node("HardSwish", ["c"], ["d"]),
                node("Mish", ["d"], ["y"]),
            ],
            opset=18,
        ),
        nn.Module,
    ),
    "float64": (
        graph(
            [node("MatMul", ["x", "w"], ["y"])], {"w": W.astype("f8")}, kind=TensorProto.DOUBLE, to=TensorProto.DOUBLE
        ),
        nn.Sequential,
    ),
    "scikit-learn's regressor": (
        graph(
            [
                node("Cast", ["x"], ["c"], to=1),
                node("MatMul", ["c", "w"], ["a"]),
                node("Add", ["a", "b"], ["h"]),
                node("Relu", ["h"], ["r"]),
                node("MatMul", ["r", "v"], ["s"]),
                node("Add", ["s", "d"], ["t"]),
                node("Reshape", ["t", "n"], ["y"]),
            ],
            {"w": W, "b": B[None], "v": W[:3, :1], "d": B[None, :1], "n": np.array([-1, 1], I64)},
        ),
        nn.Sequential,
    ),
}


INTEGERS = {"kind": TensorProto.INT32, "to": TensorProto.INT32}
COUNTS = rng.integers(-9, 9, (5, 4)).astype("i4")


def shapeless(nodes, weights=None, **how):
    model = graph(nodes, weights, **how)
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")
    return model


def with_dims(dims):
    model = graph([node("MatMul", ["x", "w"], ["y"])])
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=b""))
    return model


#: Where NumPy's or the library's own habits differ from ONNX's.
PARTICULAR = {
    "without shapes": (shapeless([node("Gemm", ["x", "w", "b"], ["y"])], {"w": W, "b": B}), X),
    "the mask of a Dropout": (graph([node("Dropout", ["x"], ["y", "mask"])], opset=13), X),
    "one number for all features": (
        graph([node("LayerNormalization", ["x", "s", "b"], ["y"])], {"s": B[:1], "b": B[1:2]}),
        X,
    ),
    "backwards from before the beginning": (
        graph(
            [node("Slice", ["x", "a", "b", "c", "d"], ["y"])],
            {"a": np.array([-99], I64), "b": np.array([-(2**63)], I64), "c": np.array([1], I64),
             "d": np.array([-1], I64)},
        ),
        X,
    ),
    "integers to a broken power": (
        graph([node("Pow", ["x", "p"], ["y"])], {"p": np.float32(0.5)}, **INTEGERS),
        np.abs(COUNTS),
    ),
    "sums of integers": (graph([node("ReduceSum", ["x"], ["y"])], **INTEGERS), COUNTS),
    "running sums of integers": (graph([node("CumSum", ["x", "a"], ["y"])], {"a": I64(1)}, **INTEGERS), COUNTS),
    "the largest of bytes": (
        graph([node("TopK", ["x", "k"], ["y", "i"])], {"k": np.array([3], I64)}, kind=TensorProto.UINT8,
              to=TensorProto.UINT8),
        np.array([[0, 5, 255, 3]], "u1"),
    ),
    "the largest of all integers": (
        graph([node("TopK", ["x", "k"], ["y", "i"])], {"k": np.array([3], I64)}, kind=TensorProto.INT64,
              to=TensorProto.INT64),
        np.array([[-(2**63), 2**63 - 1, 0, 5]]),
    ),
    "a range of floats": (
        graph([node("Range", ["a", "b", "d"], ["r"]), node("Mul", ["x", "r"], ["y"])],
              {"a": np.float32(-0.5), "b": np.float32(1.4), "d": np.float32(0.5)}),
        X,
    ),
    "weights of float64 for inputs of float32": (
        graph([node("Cast", ["w"], ["v"], to=1), node("MatMul", ["x", "v"], ["y"])], {"w": W.astype("f8")}),
        X,
    ),
    "inputs of float64 for weights of float32": (
        graph(
            [node("Cast", ["x"], ["f"], to=1), node("MatMul", ["f", "w"], ["h"]), node("Cast", ["f"], ["d"], to=11),
             node("Sub", ["x", "d"], ["lost"]), node("Mul", ["lost", "k"], ["y"])],
            {"w": W, "k": np.float64(1e9)}, kind=TensorProto.DOUBLE, to=TensorProto.DOUBLE,
        ),
        X.astype("f8") + 1e-9,
    ),
    **{
        f"{kind} over no axes": (graph([node(kind, ["x"], ["y"], noop_with_empty_axes=1)], opset=18), X)
        for kind in ("ReduceL1", "ReduceSumSquare", "ReduceMean", "ReduceLogSumExp")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PARTICULAR)
def test_particulars_of_onnx_are_kept(name):
    model, data = PARTICULAR[name]
    before = model.SerializeToString()
    wanted = run(model, data)[0]
    found = outputs(cr.from_onnx(model), (data,))[0]
    assert model.SerializeToString() == before
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (graph([node("Cast", ["x"], ["y"], to=TensorProto.STRING)]), r"node 0, Cast: .*STRING"),
        (
            graph([node("TopK", ["x", "k"], ["y", "i"])], {"k": np.array([-1], I64)}),
            "node 0, TopK: .*k=-1",
        ),
        (
            graph([node("TopK", ["x", "k"], ["y", "i"])], {"k": np.array([5], I64)}),
            "node 0, TopK: .*k=5",
        ),
        (graph([node("MatMul", ["x", "w"], ["y"])], {"w": np.zeros((0, 0), "f4")}), "node 0, MatMul"),
        (with_dims([0, 2**62]), r"initializer w has the impossible shape \(0, 4611686018427387904\)"),
        (graph([node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)]), r"node 0, Cast: .*FLOAT16"),
        (graph([node("MatMul", ["x", "w"], ["y"])], {"w": W.astype("f2")}), r"initializer w is of type FLOAT16"),
        (
            graph([node("Dropout", ["x", "", "t"], ["y"])], {"t": np.array(True)}, opset=13),
            "node 0, Dropout: training_mode is True",
        ),
    ],
)
def test_types_and_masks_that_are_not_read(made, message):
    with pytest.raises(ValueError, match=message):
        cr.from_onnx(made)


@for_each("name", READ)
def test_what_is_read_computes_what_onnx_runtime_does(name):
    model, kind = READ[name]
    module = cr.from_onnx(model)
    assert isinstance(module, nn.Sequential) == (kind is nn.Sequential) and not module.training
    data = X.astype("f8") if name == "float64" else X
    for m in (1, 5):
        (wanted,) = run(model, data[:m])
        (found,) = outputs(module, (data[:m],))
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_is_read_trains_and_can_be_planned():
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Mul", ["a", "a"], ["b"]), node("Gemm", ["b", "v", "c"], ["y"])]
    module = cr.from_onnx(graph(nodes, {"w": W, "v": W[:3, :1], "c": B[:1]}))
    assert set(module.weights) == {"w", "v", "c"}
    before = cr.evaluate(module, X, X[:, :1], loss="mse")["loss"]
    cr.fit(module, X, X[:, :1], loss="mse", optimizer="adam", epochs=50, progress=False)
    assert cr.evaluate(module, X, X[:, :1], loss="mse")["loss"] < before
    gradient = cr.grad(lambda x: np.sum(module(x)))
    np.testing.assert_allclose(np.asarray(cr.compile(gradient)(X)), np.asarray(gradient(X).detach()), rtol=1e-5)
    assert cr.gradcheck(cr.from_onnx(CASE_64), X.astype("f8"))


CASE_64 = graph(
    [node("MatMul", ["x", "w"], ["a"]), node("Mul", ["a", "a"], ["b"]), node("Add", ["a", "b"], ["c"]),
     node("Tanh", ["c"], ["y"])],
    {"w": W.astype("f8")}, kind=TensorProto.DOUBLE, to=TensorProto.DOUBLE,
)  # fmt: skip


def test_statistics_are_not_trained():
    names = {"s": B[[0, 1, 2, 0]], "b": B[[2, 1, 0, 0]], "m": X[0], "v": X[1] ** 2}
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["a"]), node("Add", ["a", "x"], ["y"])]
    assert set(cr.from_onnx(graph(nodes, names)).weights) == {"s", "b"}


def test_layers_of_others_have_their_settings():
    regressor = cr.from_onnx(READ["scikit-learn's regressor"][0])
    assert [type(m).__name__ for m in regressor] == ["Identity", "Linear", "ReLU", "Linear", "Flatten"]
    (dropout,) = cr.from_onnx(READ["Dropout"][0])
    assert type(dropout) is nn.Dropout and dropout.p == 0.4


def test_equal_weights_that_are_stored_once_are_trained_apart():
    nodes = [node("Identity", ["b"], ["c"]), node("Add", ["x", "b"], ["h"]), node("Mul", ["h", "c"], ["y"])]
    module = cr.from_onnx(graph(nodes, {"b": X[0]}))
    assert set(module.weights) == {"b", "c"} and module.weights["b"] is not module.weights["c"]


@pytest.mark.parametrize("inputs", [["x", "b"], ["y", "x"]])
def test_a_node_before_its_inputs_is_named(inputs):
    nodes = [node("Add", inputs, ["y"], name="first"), node("Relu", ["x"], ["b"])]
    with pytest.raises(ValueError, match=r"node 0 \(first\), Add takes '.', which no node before it gives"):
        cr.from_onnx(graph(nodes))


def test_the_first_node_that_is_not_read_is_named(tmp_path):
    nodes = [node("Relu", ["x"], ["a"]), node("NonZero", ["a"], ["b"], name="odd"), node("Unique", ["b"], ["y"])]
    onnx.save(graph(nodes), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"m.onnx: node 1 \(odd\), NonZero, is not read"):
        cr.from_onnx(tmp_path / "m.onnx")


def test_wrong_inputs_of_what_was_read():
    module = cr.from_onnx(READ["a residual"][0])
    with pytest.raises(ValueError, match=r"x has shape \(5, 3\), the network expects \(…, 4\)"):
        module(X[:, :3])
    with pytest.raises(ValueError, match=r"the network takes 1 inputs \(x\), not 2"):
        module(X, X)
    with pytest.raises(TypeError, match="no description of layers; to_onnx"):
        module.config()


def test_numbers_in_another_file_are_not_read(tmp_path):
    large = graph([node("MatMul", ["x", "w"], ["y"])], {"w": W})
    onnx.save(large, tmp_path / "m.onnx", save_as_external_data=True, location="data", size_threshold=0)
    with pytest.raises(ValueError, match=r"initializer w is in another file, .*torch.onnx.export"):
        cr.from_onnx(tmp_path / "m.onnx")
    onnx.save(onnx.load(tmp_path / "m.onnx"), tmp_path / "one.onnx")
    assert isinstance(cr.from_onnx(tmp_path / "one.onnx"), nn.Sequential)


# -- models of PyTorch -------------------------------------------------------------------------------------------------


def exported(module, X, path, dynamo):
    """Export by PyTorch's own exporter, which prints and warns."""
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    how = (
        {"dynamic_shapes": ({0: torch.export.Dim("m", min=2)},), "external_data": False, "verbose": False}
        if dynamo
        else {"dynamic_axes": {"x": {0: "m"}}}
    )
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.from_numpy(X),), str(path), input_names=["x"], dynamo=dynamo, **how)


def pytorchs():
    """Return name -> a module of PyTorch, and whether it comes back as layers, from the old and the new exporter."""
    torch = pytest.importorskip("torch")
    tn = torch.nn

    class Residual(tn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm = tn.Linear(4, 4), tn.Linear(4, 6), tn.LayerNorm(4)

        def forward(self, x):
            h = self.norm(torch.relu(self.a(x)) + x)
            y = self.b(h).view(h.size(0), 2, 3)
            return torch.cat([torch.log_softmax(y.mean(1), -1), y[:, 1, 1:], h.chunk(2, 1)[1]], 1)

    class Steps(tn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = tn.LSTM(1, 3, 2, batch_first=True, bidirectional=True)
            self.gru, self.rnn = tn.GRU(6, 4, batch_first=True), tn.RNN(4, 2, batch_first=True)

        def forward(self, x):
            return self.rnn(self.gru(self.lstm(x[:, :, None])[0])[0])[0]

    return {
        "layers": tn.Sequential(
            tn.Flatten(), tn.Linear(4, 8), tn.ReLU(), tn.Dropout(0.2), tn.Linear(8, 3), tn.Softmax(-1)
        ),
        "batch norm": tn.Sequential(tn.Linear(4, 8, bias=False), tn.BatchNorm1d(8), tn.Tanh(), tn.Linear(8, 2)),
        "activations": tn.Sequential(
            tn.Linear(4, 8), tn.GELU(), tn.GELU("tanh"), tn.SiLU(), tn.ELU(0.5), tn.LeakyReLU(0.2), tn.Softplus(),
            tn.Hardswish(), tn.Hardsigmoid(), tn.Mish(), tn.PReLU(), tn.SELU(), tn.Softsign(), tn.LogSoftmax(1),
        ),
        "residual": Residual(),
        "images": tn.Sequential(
            tn.Unflatten(1, (1, 2, 2)), tn.Conv2d(1, 4, 3, padding=1), tn.BatchNorm2d(4), tn.ReLU(),
            tn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1), tn.MaxPool2d(2), tn.GroupNorm(1, 2), tn.Flatten(),
        ),
        "steps": Steps(),
    }  # fmt: skip


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", ["layers", "batch norm", "activations", "residual", "images", "steps"])
def test_models_that_pytorch_exports_load(name, dynamo, tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = pytorchs()[name].eval()
    exported(module, X, tmp_path / "m.onnx", dynamo)
    ours = cr.from_onnx(tmp_path / "m.onnx")
    assert isinstance(ours, nn.Sequential) == (name in ("layers", "batch norm"))
    for m in (2, 5):
        with torch.no_grad():
            wanted = module(torch.from_numpy(X[:m])).numpy()
        np.testing.assert_allclose(outputs(ours, (X[:m],))[0], wanted, rtol=1e-5, atol=1e-6)


# -- the guide ---------------------------------------------------------------------------------------------------------


def test_the_guide_names_what_is_read():
    rows_of_table = [line for line in READING.splitlines() if line.startswith("| ") and "`" in line]
    assert {name for line in rows_of_table for name in re.findall(r"`(\w+)`", line)} == {*READERS, "Constant"}
