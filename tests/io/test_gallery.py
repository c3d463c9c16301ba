"""24 networks there and back: ONNX Runtime, ONNX, PyTorch, safetensors; five custom modules; random ones."""

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn
from tests.io.gallery import ACTIVATIONS, CASES, outputs

SEQUENTIAL = [name for name, case in CASES.items() if case.layered]
OWN = [name for name, case in CASES.items() if not case.layered]


def package(name: str) -> Any:
    pytest.importorskip(name)
    return importlib.import_module(name)


def session(model: Any) -> Any:
    runtime = package("onnxruntime")
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(started: Any, inputs: tuple[Any, ...]) -> list[Any]:
    return started.run(None, {i.name: x for i, x in zip(started.get_inputs(), inputs, strict=True)})  # type: ignore[no-any-return]


def same(found: list[Any], wanted: list[Any], tolerance: float) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


ALIKE = [name for name in SEQUENTIAL if CASES[name].alike]


def test_there_are_twenty_four():
    assert len(SEQUENTIAL) == 24 and len(OWN) == 5


@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_computes_the_same_for_any_number_of_examples(name):
    package("onnx")
    case = CASES[name]
    started = session(cr.to_onnx(case.model, example=case.inputs(3)))
    assert all(i.shape[0] == "batch" for i in started.get_inputs())
    for m in (1, 2, 7, 100):
        inputs = case.inputs(m, seed=m)
        same(run(started, inputs), outputs(case.model, inputs), 1e-5)


@pytest.mark.parametrize("name", CASES)
def test_from_onnx_computes_the_same(name, tmp_path):
    package("onnx")
    case = CASES[name]
    cr.to_onnx(case.model, tmp_path / "m.onnx", example=case.inputs(3))
    again = cr.from_onnx(tmp_path / "m.onnx")
    assert isinstance(again, nn.Sequential) == (case.layered and case.alike)
    for m in (1, 7):
        inputs = case.inputs(m, seed=m)
        same(outputs(again, inputs), outputs(case.model, inputs), 1e-6)


@pytest.mark.parametrize("name", ALIKE)
def test_layers_come_back_as_layers(name):
    package("onnx")
    case = CASES[name]
    again = cr.from_onnx(cr.to_onnx(case.model, example=case.inputs(3)))
    left_out = nn.Sequential | nn.Dropout | nn.Dropout2d | nn.Identity
    flat = [type(m) for m in case.model.modules() if not isinstance(m, left_out)]
    assert [type(m) for m in again if not isinstance(m, nn.Identity)] == flat
    assert again.num_parameters == case.model.num_parameters


@pytest.mark.parametrize("name", [name for name in SEQUENTIAL if name != "residual"])
def test_pytorch_computes_the_same_there_and_back(name):
    torch = package("torch")
    case = CASES[name]
    theirs = cr.to_torch(case.model)
    again = cr.from_torch(theirs)
    assert repr(again) == repr(case.model) and not theirs.training and not again.training
    for m in (2, 7):
        inputs = case.inputs(m, seed=m)
        wanted = outputs(case.model, inputs)
        with torch.no_grad():
            same([theirs(*map(torch.from_numpy, inputs)).numpy()], wanted, 5e-6)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(outputs(again, inputs), wanted, strict=True))


@pytest.mark.parametrize("name", ["residual", *OWN])
def test_modules_of_ones_own_are_no_layers_of_pytorch(name):
    package("torch")
    with pytest.raises(TypeError, match=r"(the module|layer 1) is a (\w+), which PyTorch does not have"):
        cr.to_torch(CASES[name].model)


@pytest.mark.parametrize("name", CASES)
def test_safetensors_holds_the_very_weights(name, tmp_path):
    case, inputs = CASES[name], CASES[name].inputs(7)
    if case.layered:
        cr.save(tmp_path / "m", case.model)
        again, _ = cr.load(tmp_path / "m")
    else:
        cr.io.save_arrays(tmp_path / "m", case.model.state_dict())
        again = type(case.model)().eval()
        again.load_state_dict(cr.io.load_arrays(tmp_path / "m")[0])
    assert [x.tobytes() for x in outputs(again, inputs)] == [x.tobytes() for x in outputs(case.model, inputs)]


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_pytorchs_weights_in_safetensors(name, tmp_path):
    case, inputs = CASES[name], CASES[name].inputs(7)
    cr.io.save_torch_weights(tmp_path / "m", case.model)
    again = nn.from_config(case.model.config()).initialize(3).eval()
    cr.io.load_torch_weights(tmp_path / "m", again)
    assert [x.tobytes() for x in outputs(again, inputs)] == [x.tobytes() for x in outputs(case.model, inputs)]


# -- random architectures ----------------------------------------------------------------------------------------------


@st.composite
def networks(draw: Any) -> tuple[nn.Sequential, int]:
    """Return a random network in evaluation mode, with random weights, and how many features it takes."""
    width = features = draw(st.integers(1, 6))
    dtype = draw(st.sampled_from(["f4", "f8"]))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["linear", "activation", "norm", "rest", "nest"]))
        if kind == "linear":
            following = draw(st.integers(1, 6))
            layers.append(nn.Linear(width, following, draw(st.booleans()), dtype=dtype))
            width = following
        elif kind == "activation":
            layers.append(draw(st.sampled_from(ACTIVATIONS))())
        elif kind == "norm":
            norm = draw(st.sampled_from([nn.LayerNorm, nn.BatchNorm1d]))
            layers.append(norm(width, eps=draw(st.sampled_from([1e-5, 1e-3, 0.1])), dtype=dtype))
        elif kind == "nest":
            layers = [nn.Sequential(*layers)]
        else:
            layers.append(draw(st.sampled_from([nn.Identity(), nn.Flatten(), nn.Dropout(0.4)])))
    model = nn.Sequential(*layers, nn.Linear(width, 2, dtype=dtype))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    model.load_state_dict({k: _redrawn(k, v, rng) for k, v in model.state_dict().items()})
    return model.eval(), features


def _redrawn(name: str, array: Any, rng: Any) -> Any:
    if name.endswith("counter"):
        return array
    return rng.uniform(0.5, 2, array.shape) if name.endswith("_var") else rng.normal(0, 1, array.shape)


@settings(max_examples=30, deadline=None)
@given(networks(), st.integers(1, 9))
def test_random_networks_in_onnx(drawn, m):
    package("onnx")
    model, features = drawn
    X = np.random.default_rng(m).normal(size=(m, features)).astype(model.dtype)
    exported, wanted = cr.to_onnx(model, example=X), outputs(model, (X,))
    same(outputs(cr.from_onnx(exported), (X,)), wanted, 1e-5)
    if model.dtype == np.float32:
        same(run(session(exported), (X,)), wanted, 1e-5)


@settings(max_examples=30, deadline=None)
@given(networks(), st.integers(1, 9))
def test_random_networks_in_pytorch(drawn, m):
    torch = package("torch")
    model, features = drawn
    X = np.random.default_rng(m).normal(size=(m, features)).astype(model.dtype)
    theirs, wanted = cr.to_torch(model), outputs(model, (X,))
    with torch.no_grad():
        same([theirs(torch.from_numpy(X)).numpy()], wanted, 1e-6 if model.dtype == np.float64 else 2e-5)
    assert outputs(cr.from_torch(theirs), (X,))[0].tobytes() == wanted[0].tobytes()


@settings(max_examples=30, deadline=None)
@given(networks())
def test_random_networks_in_files(tmp_path_factory, drawn):
    model, features = drawn
    file = tmp_path_factory.mktemp("random") / "m"
    X = np.random.default_rng(0).normal(size=(5, features)).astype(model.dtype)
    cr.save(file, model)
    again, _ = cr.load(file)
    assert outputs(again, (X,))[0].tobytes() == outputs(model, (X,))[0].tobytes()
    cr.io.save_torch_weights(file, model)
    again.initialize(1)
    cr.io.load_torch_weights(file, again)
    assert outputs(again, (X,))[0].tobytes() == outputs(model, (X,))[0].tobytes()
