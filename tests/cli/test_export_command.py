"""chainrule export: a run's model as ONNX."""

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, runs

from .conftest import QUICK

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_run_computes_the_same_there(run, csv, task):
    file = csv(task)
    run("train", file, "--target", "target", *QUICK)
    done = run("export", "runs/data", "model.onnx", "--network-only")
    assert "model.onnx: the network alone; takes X (batch, " in done.stdout
    assert "data preprocessed as its metadata describe; returns the network's outputs" in done.stdout
    trained = runs.Trained.load("runs/data")
    X = trained.preprocessor.transform(data.read_features(file))
    session = runtime.InferenceSession("model.onnx")
    np.testing.assert_allclose(session.run(None, {"X": X})[0], cr.predict(trained.model, X), rtol=1e-5, atol=1e-5)
    stored = {p.key: json.loads(p.value) for p in onnx.load("model.onnx").metadata_props}
    assert stored == json.loads(json.dumps(trained.metadata))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_probabilities(run, csv, task):
    file = csv(task)
    run("train", file, "--target", "target", *QUICK)
    assert "returns probabilities" in run("export", "runs/data", "model.onnx", "--probabilities").stdout
    trained = runs.Trained.load("runs/data")
    raw = data.read_features(file)
    found = runtime.InferenceSession("model.onnx").run(None, {"X": trained.preprocessor.transform(raw)})[0]
    columns = trained.predict(raw)
    shares = np.stack([v for k, v in columns.items() if k.startswith("probability")], axis=1)
    np.testing.assert_allclose(found, shares[:, -found.shape[1] :], rtol=1e-5, atol=1e-5)


def test_probabilities_of_a_network_without_preprocessing(run, tmp_path):
    model = nn.Sequential(nn.Linear(3, 4, seed=0))
    cr.save(tmp_path / "m", model, {"loss": "cross_entropy"})
    run("export", "m", "model.onnx", "--probabilities")
    X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = runtime.InferenceSession("model.onnx").run(None, {"X": X})[0]
    np.testing.assert_allclose(found, np.asarray(cr.softmax(cr.predict(model, X))), rtol=1e-5, atol=1e-6)


def test_columns_go_in_as_they_are(run, csv):
    """One input for each column, predictions and probabilities as predict writes them, with the stored threshold."""
    file = csv("binary")
    run("train", file, "--target", "target", "--threshold", "0.3", *QUICK)
    done = run("export", "runs/data", "model.onnx")
    trained, raw = runs.Trained.load("runs/data"), data.read_features(file)
    names = trained.preprocessor.input_names
    assert "takes " in done.stdout and all(f"{name} (" in done.stdout for name in names)
    assert "returns prediction, probabilities" in done.stdout
    feeds = {name: values[:, None] for name, values in raw.columns.items() if name in names}
    feeds = {name: np.array([[v[0] or ""] for v in x], object) if x.dtype == object else x for name, x in feeds.items()}
    labels, shares = runtime.InferenceSession("model.onnx").run(None, feeds)
    expected = trained.predict(raw)
    assert labels.tolist() == expected.pop("prediction").tolist()
    np.testing.assert_allclose(shares, np.stack([*expected.values()], axis=1), atol=1e-6)


def test_what_cannot_be_exported(run, refused, csv, tmp_path):
    run("train", csv("regression"), "--target", "target", *QUICK)
    assert "the loss 'mse': its outputs are not logits" in refused("export", "runs/data", "m.onnx", "--probabilities")
    assert "expected a name ending in .onnx, got m.bin" in refused("export", "runs/data", "m.bin")
    assert "no file" in refused("export", "absent.safetensors", "m.onnx")
    cr.save(tmp_path / "ids", nn.Sequential(nn.Embedding(3, 3)))
    assert "begins with a Embedding" in refused("export", "ids", "m.onnx")
