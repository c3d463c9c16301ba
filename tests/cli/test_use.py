"""evaluate, predict and backprop on the file of a run, from another folder."""

import csv as table
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, runs

from .conftest import QUICK


def rows(text):
    return list(table.DictReader(io.StringIO(text)))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Go to another folder, so that nothing is found by a relative path."""

    def go():
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")

    return go


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_table(run, csv, tmp_path, elsewhere, task):
    file = csv(task)
    run("train", file, "--target", "target", "--hidden", "8", "--epochs", "10", "--seed", "4")
    folder = tmp_path / "runs" / "data"
    found = json.loads((folder / "run.json").read_text())["metrics"]
    elsewhere()
    shown = run("evaluate", folder, file).stdout
    assert "16 rows, the split held out in training" in shown
    assert f"{found['test']['rmse' if task == 'regression' else 'log_loss']:.4g}" in shown and "baseline" in shown
    columns = run("evaluate", folder, file, "--importance").stdout.split("worse by")[1]
    assert all(name in columns for name in runs.Trained.load(folder).preprocessor.input_names)
    assert "80 rows, all rows" in run("evaluate", folder / "model.safetensors", file, "--all").stdout

    result = run("predict", folder, file)
    assert "left aside" in result.stderr or "target" in result.stderr or result.stderr
    predicted = rows(result.stdout)
    model, metadata = cr.load(folder / "model.safetensors")
    preprocessor = data.Preprocessor.from_dict(metadata["preprocessing"])
    output = cr.predict(model, preprocessor.transform(data.read_features(file)))
    output = output / (1 if task == "regression" else metadata["rule"]["temperature"])
    assert len(predicted) == 80
    if task == "regression":
        expected = output[:, 0].astype(float) * preprocessor.target.std + preprocessor.target.mean
        assert [float(r["prediction"]) for r in predicted] == expected.tolist()
    else:
        if task == "binary":
            positive = 1 / (1 + np.exp(-output[:, 0].astype(float)))
            shares = np.stack([1 - positive, positive], axis=1)
        else:
            shares = np.exp(output - output.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
        classes = preprocessor.classes
        assert list(predicted[0]) == ["prediction", *(f"probability {c}" for c in classes)]
        assert [r["prediction"] for r in predicted] == [classes[i] for i in shares.argmax(axis=1)]
        written = [[float(r[f"probability {c}"]) for c in classes] for r in predicted]
        np.testing.assert_allclose(written, shares, rtol=1e-4, atol=1e-6)

    said = run("predict", folder, file, "--out", "out.csv").stdout
    assert "80 predictions to out.csv" in said and (tmp_path / "elsewhere" / "out.csv").read_text() == result.stdout
    shown = run("backprop", file, "--model", folder).stdout
    assert re.search(r"^dW2 +8×", shown, re.M) and "the first 32 rows" in shown


def test_columns_in_another_order_more_of_them_and_fewer(run, csv, tmp_path, refused):
    run("train", csv(), "--target", "target", *QUICK)
    expected = run("predict", "runs/data", "data.csv").stdout
    lines = [line.split(",") for line in (tmp_path / "data.csv").read_text().splitlines()]
    mixed = [[*reversed(line[:-1]), "extra" if i == 0 else str(i)] for i, line in enumerate(lines)]
    (tmp_path / "mixed.csv").write_text("\n".join(map(",".join, mixed)) + "\n")
    assert run("predict", "runs/data", "mixed.csv").stdout == expected
    (tmp_path / "fewer.csv").write_text("\n".join(line[0] + "," + line[3] for line in lines) + "\n")
    message = refused("predict", "runs/data", "fewer.csv")
    assert "fewer.csv" in message and "b" in message and "kind" in message
    assert "has no column 'target'" in refused("evaluate", "runs/data", "fewer.csv")


def test_rows_left_out_are_said(run, csv, tmp_path):
    run("train", csv(), "--target", "target", *QUICK)
    (tmp_path / "new.csv").write_text("a,b,kind\n1,2,red\n,,\n3,4,pink\n")
    result = run("predict", "runs/data", "new.csv")
    assert len(rows(result.stdout)) == 2
    assert "left out 1 row without any value" in result.stderr and "pink" in result.stderr


def test_npz_digits_and_idx(run, idx, tmp_path, elsewhere):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    np.savez(tmp_path / "a.npz", X=X, y=y)
    run("train", "a.npz", *QUICK, "--out", "npz")
    run("train", "digits", *QUICK, "--out", "digits-run")
    run("train", idx, *QUICK, "--out", "idx")
    elsewhere()
    assert "10 rows, the split held out" in run("evaluate", tmp_path / "npz", tmp_path / "a.npz").stdout
    assert len(rows(run("predict", tmp_path / "npz", tmp_path / "a.npz").stdout)) == 50
    assert "359 rows, the split held out" in run("evaluate", tmp_path / "digits-run", "digits").stdout
    assert len(rows(run("predict", tmp_path / "digits-run", "digits").stdout)) == 1797
    assert "20 rows, its own test split" in run("evaluate", tmp_path / "idx", idx).stdout
    assert len(rows(run("predict", tmp_path / "idx", idx / "t10k-images-idx3-ubyte").stdout)) == 20


def test_backprop_of_a_new_network(run):
    shown = run("backprop", "digits", "--hidden", "7", "--activation", "tanh", "--batch-size", "5").stdout
    lines = shown.splitlines()
    assert "the first 5 rows of the training split" in lines[0] and "64-7-10 Tanh, loss cross_entropy" in lines[1]
    for name, shape in (
        ("A0", "5×64"),
        ("W1", "64×7"),
        ("Z2", "5×10"),
        ("dZ2", "5×10"),
        ("dW1", "64×7"),
        ("db2", "10"),
    ):
        assert re.search(rf"^{name} +{shape} ", shown, re.M), name
    assert max(map(len, lines)) <= 80


@pytest.fixture
def trained(run, csv):
    run("train", csv(), "--target", "target", *QUICK)
    return runs.Trained.load("runs/data").metadata


def test_what_is_no_model_of_a_run(refused, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "runs" / "data" / "model.safetensors"
    whole = file.read_bytes()
    assert refused("evaluate", "nope", "digits") == "no file nope"
    assert "no file" in refused("predict", ".", "data.csv")
    for length in (0, 7, 100, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        for command in (
            ("evaluate", "cut", "data.csv"),
            ("predict", "cut", "data.csv"),
            ("backprop", "data.csv", "--model", "cut"),
        ):
            assert "cut is " in refused(*command)
    cr.save("plain", nn.Linear(2, 2))
    assert "without loss and preprocessing: it was not written by a training run" in refused(
        "predict", "plain", "data.csv"
    )

    def edited(edit):
        model, metadata = cr.load(file)
        edit(metadata)
        cr.save("edited", model, metadata)
        return refused("predict", "edited", "data.csv")

    assert "loss 'mse' does not fit a binary task" in edited(lambda m: m.update(loss="mse"))
    assert "edited: loss {}" in edited(lambda m: m.update(loss={}))
    assert "edited: " in edited(lambda m: m["preprocessing"]["features"].pop("kind"))
    assert "edited: " in edited(lambda m: m.update(preprocessing=3))
    assert "edited: " in edited(lambda m: m["preprocessing"]["target"].update(classes=["a", "b", "c"]))


def test_evaluate_says_what_was_special_in_the_rows(run, csv):
    file = csv()
    run("train", file, "--target", "target", *QUICK)
    header, first, second, *others = file.read_text().splitlines()
    changed = [first.replace(first.split(",")[2], "violet"), second.rpartition(",")[0] + ",", *others]
    file.write_text("\n".join([header, *changed]) + "\n")
    shown = run("evaluate", "runs/data", file).stdout
    assert "79 rows, all rows" in shown and "left out 1 row where the target 'target' is missing" in shown
    assert "1 row holds a category of kind that the training split did not have, encoded as zeros: violet" in shown


@pytest.mark.parametrize("lost", ["seed", "test", "fingerprint"])
def test_a_model_that_does_not_know_its_split_measures_all(run, trained, tmp_path, lost):
    file = tmp_path / "runs" / "data" / "model.safetensors"
    model, metadata = cr.load(file)
    del metadata[lost]
    cr.save("less", model, metadata)
    assert "80 rows, all rows" in run("evaluate", "less", "data.csv").stdout


def test_another_network_than_the_preprocessing_needs(refused, trained):
    for model in (nn.Sequential(nn.Linear(3, 1)), nn.Sequential(nn.Linear(6, 4))):
        cr.save("odd", model, trained)
        assert refused("predict", "odd", "data.csv").startswith("odd: ")


def test_more_of_what_is_refused(refused, csv, tmp_path):
    assert "batch_size: expected an integer ≥ 1, got 0" in refused("backprop", "digits", "--batch-size", "0")
    assert "activation 'x'" in refused("backprop", "digits", "--activation", "x")
    lines = csv().read_text().replace("target", "outcome")
    (tmp_path / "other.csv").write_text(lines)
    assert "target: expected the name of a column" in refused("backprop", "other.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
@pytest.mark.parametrize(
    "command",
    [["predict", "runs/data", "data.csv"], pytest.param(["backprop", "digits"], marks=pytest.mark.slow)],
    ids=lambda c: c[0],
)
def test_a_reader_that_has_seen_enough(trained, tmp_path, command):
    code = "from chainrule.cli import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, b"rror" in done.stderr) == (0, False), done.stderr


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures by class: a bright left or right half, 16 × 14."""
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for i in range(60):
        pixels = rng.integers(0, 60, (16, 14)).astype(np.uint8)
        name = ("left", "right", "none")[i % 3]
        pixels[:, slice(0, 7) if name == "left" else slice(7, 14) if name == "right" else slice(0)] += 150
        (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("network", ["lenet", "cnn"])
def test_pictures(run, pictures, network, tmp_path):
    """A network for images: trained, measured, applied to a file and a folder, shown, exported."""
    result = run("train", pictures, "--model", network, "--epochs", "6", "--lr", "0.003", "--out", "run")
    assert "48 rows to train, 12 to test" in result.stdout and "Conv2d 1-" in result.stdout
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    assert found["settings"]["model"] == network and found["settings"]["hidden"] is None
    assert found["metrics"]["test"]["accuracy"] >= 0.9, found["metrics"]
    assert "accuracy" in run("evaluate", "run", pictures).stdout
    lines = run("predict", "run", pictures).stdout.splitlines()
    assert lines[0] == "file,prediction,probability left,probability none,probability right" and len(lines) == 61
    right = [line.split("/")[0] == line.split(",")[1] for line in lines[1:]]
    assert np.mean(right) >= 0.9
    one = run("predict", "run", pictures / "left" / "0.png").stdout.splitlines()
    assert one[1].split(",")[1:] == lines[1:][[x.split(",")[0] for x in lines[1:]].index("left/0.png")].split(",")[1:]
    shown = run("backprop", pictures, "--model", "run", "--batch-size", "4").stdout
    assert "4×1×16×14" in shown and "dP1" in shown
    _, metadata = cr.load(tmp_path / "run" / "model.safetensors")
    assert metadata["preprocessing"]["features"]["channels_first"] is True
    pytest.importorskip("onnx")
    assert "takes X (batch, 1, 16, 14)" in run("export", "run", "images.onnx", "--network-only").stdout
    assert "takes X (float64); returns prediction, probabilities" in run("export", "run", "whole.onnx").stdout


def test_pictures_of_another_kind(run, pictures):
    Image = pytest.importorskip("PIL.Image")
    run("train", pictures, "--model", "cnn", "--epochs", "1", "--size", "8x8", "--out", "run", "-q")
    Image.new("RGB", (40, 30), "red").save("photo.jpg")
    result = run("predict", "run", "photo.jpg")
    assert "resized 1 image to 8×8" in result.stderr and "turned colours into grey" in result.stderr
    assert result.stdout.splitlines()[1].startswith("photo.jpg,")


def test_networks_that_do_not_fit(refused, pictures, csv):
    assert "lenet takes images of at least 12×12, these are 8×8; use cnn" in refused(
        "train", "digits", "--model", "lenet"
    )
    assert "cnn is a network for images" in refused("train", csv(), "--target", "target", "--model", "cnn")
    assert "expected 'mlp', 'tabular', 'lenet'" in refused("train", "digits", "--model", "resnet")
    assert "hidden: the model cnn does not take it" in refused("train", "digits", "--model", "cnn", "--hidden", "3")
    assert "size: only images in folders are resized" in refused("train", "digits", "--size", "4x4")
    assert "size: expected height and width such as 28x28, got '4'" in refused("train", pictures, "--size", "4")
