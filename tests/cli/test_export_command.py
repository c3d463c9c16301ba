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
    done = run("export", "runs/data", "model.onnx")
    assert "model.onnx: takes X (batch, " in done.stdout and "of data preprocessed as its metadata say" in done.stdout
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
    run("export", "runs/data/model.safetensors", "model.onnx", "--probabilities")
    trained = runs.Trained.load("runs/data")
    raw = data.read_features(file)
    found = runtime.InferenceSession("model.onnx").run(None, {"X": trained.preprocessor.transform(raw)})[0]
    columns = trained.predict(raw)
    shares = np.stack([v for k, v in columns.items() if k.startswith("probability")], axis=1)
    np.testing.assert_allclose(found, shares[:, -found.shape[1] :], rtol=1e-5, atol=1e-5)


def test_what_cannot_be_exported(run, refused, csv, tmp_path):
    run("train", csv("regression"), "--target", "target", *QUICK)
    assert "the loss 'mse': its outputs are not logits" in refused("export", "runs/data", "m.onnx", "--probabilities")
    assert "expected a name ending in .onnx, got m.bin" in refused("export", "runs/data", "m.bin")
    assert "no file" in refused("export", "absent.safetensors", "m.onnx")
    cr.save(tmp_path / "ids", nn.Sequential(nn.Embedding(3, 3)))
    assert "begins with a Embedding" in refused("export", "ids", "m.onnx")
