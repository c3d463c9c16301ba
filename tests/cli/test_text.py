"""Models of characters: trained, measured, sampled, exported; what is refused."""

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import runs

SMALL = ("--context", "8", "--width", "32", "--layers", "1", "--lr", "0.01")


@pytest.fixture
def text(tmp_path):
    """A text whose next character follows from the last two."""
    (tmp_path / "song.txt").write_text("one two four\n" * 240)
    return tmp_path / "song.txt"


def test_a_model_of_characters(run, text, tmp_path):
    result = run("train", text, *SMALL, "--epochs", "12", "--out", "run")
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    assert found["settings"]["model"] == "charlm" and found["settings"]["test"] == 0.1
    loss, counts = found["metrics"]["test"]["loss"], found["baselines"]
    assert loss < 0.5 * counts["pairs"] < counts["single characters"] and found["metrics"].keys() == {"test"}
    assert "2,808 characters to train, 312 to test" in result.stdout and "by counts of pairs" in result.stdout
    assert "transformer of width 32, layers: 1, heads: 1" in result.stdout and "val_loss" in result.stdout
    assert run("evaluate", "run", text).stdout.splitlines()[1].split()[1] == f"{loss:.4g}"
    written = run("sample", "run", "--prompt", "one t", "--length", "55", "--temperature", "0").stdout
    assert written == ("one two four\n" * 6)[:60] + "\n"
    assert found["sample"] == run("sample", "run", "--length", "300").stdout[:-1]
    first, again, other = (run("sample", "run", "--temperature", "3", "--seed", s).stdout for s in (1, 1, 2))
    assert first == again != other and len(first) == 501
    assert "none of: ß" in run("sample", "run", "--prompt", "ß", "--length", "1").stderr
    pytest.importorskip("onnx")
    run("export", "run", "model.onnx")
    model, _ = cr.load(tmp_path / "run" / "model.safetensors")
    ids = runs.Trained.load(tmp_path / "run").preprocessor.encode("one two ")[None]
    again = cr.from_onnx("model.onnx")
    assert np.allclose(cr.predict(again, ids), cr.predict(model, ids), atol=1e-4)


def test_the_report_of_a_text(run, text, tmp_path):
    pytest.importorskip("plotly")
    run("train", text, *SMALL, "--epochs", "1", "--out", "run", "--report", "-q")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Derivation of the network" in page and "could not be derived" not in page


def test_refused(refused, run, text, tmp_path):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    assert "not a text in UTF-8 (byte 128" in refused("train", "binary", "--model", "charlm")
    (tmp_path / "short.txt").write_text("not much")
    assert "short.txt: 7 characters to train, more than 64 are needed" in refused("train", "short.txt")
    assert "context: the model mlp does not take it (only charlm)" in refused("train", "digits", "--context", "9")
    assert "hidden: the model charlm does not take it" in refused("train", text, "--hidden", "9")
    assert "has its own validation split" in refused("train", text, *SMALL, "--validation", "0.1", "--out", "no")
    run("train", text, *SMALL, "--epochs", "1", "--out", "run", "-q")
    run("train", "digits", "--hidden", "4", "--epochs", "1", "--out", "digits", "-q")
    assert "use chainrule sample" in refused("predict", "run", text)
    assert "digits is no model of texts" in refused("sample", "digits")
    assert "temperature: " in refused("sample", "run", "--temperature", "-1")
    for option, value in (("--target", "x"), ("--task", "regression"), ("--size", "9x9")):
        assert f"{option[2:]}: is for tables and images" in refused("train", text, *SMALL, option, value)
    assert "cnn is no network for texts" in refused("train", text, "--model", "cnn")
    (tmp_path / "other.txt").write_text("one two öne\n" * 20)
    assert "20 of them are not in the training text" in run("evaluate", "run", "other.txt").stdout
