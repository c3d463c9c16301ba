"""chainrule train: every kind of data, what a run writes, and what is refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.io import load_arrays
from chainrule.judging import METRICS

from .conftest import ENVIRONMENT, QUICK

NAMES = {"model.safetensors", "history.jsonl", "run.json"}


def record(folder):
    return json.loads((folder / "run.json").read_text(), parse_constant=pytest.fail)


def test_the_line_of_the_training_split_has_the_figures_of_the_table_of_the_test_split(run, csv, tmp_path):
    for task, name in (("binary", "log_loss"), ("multiclass", "log_loss"), ("regression", "rmse")):
        shown = run("train", csv(task, f"{task}.csv").name, "--target", "target", *QUICK).stdout
        figures = record(tmp_path / "runs" / task)["metrics"]["train"]
        assert task == "regression" or figures["loss"] != figures[name]  # which a temperature has changed
        words = next(line for line in shown.splitlines() if line.startswith("train ")).removeprefix("train").strip()
        title = METRICS[name].title
        assert words.split(", ")[0] == f"{title} {METRICS[name].shown(figures[name])}"
        assert any(line[9:].startswith(f"{title} ") for line in shown.splitlines())


def test_what_a_run_writes(run, tmp_path):
    result = run("train", "digits", *QUICK, "--validation", "0.1", "--seed", "3")
    folder = tmp_path / "runs" / "digits"
    assert {f.name for f in folder.iterdir()} == NAMES and result.stderr == ""
    found = record(folder)
    assert found["settings"] == {
        "model": "mlp", "hidden": [8], "activation": "relu", "dropout": 0.1, "epochs": 2, "batch_size": 32,
        "optimizer": "adam", "lr": 0.001, "schedule": "cosine", "l2": 0.0, "test": 0.2, "validation": 0.1,
        "patience": None, "seed": 3, "loss": None, "context": None, "width": None, "layers": None,
        "class_weight": None, "threshold": None, "calibrate": None, "label_smoothing": 0.0,
    }  # fmt: skip
    assert found["seed"] == 3 and found["versions"]["chainrule"] == cr.__version__
    assert found["versions"].keys() == {"chainrule", "numpy", "python", "machine"}
    assert len(found["fingerprint"]) == 64 and found["seconds"] > 0
    assert found["examples"] == {"train": 1438, "test": 359} and found["epochs"] == 2 and found["stopped"] is None
    assert found["metrics"].keys() == {"train", "test"}
    for part in ("train", "test"):
        assert found["metrics"][part].keys() == {"loss", *(name for name in METRICS if METRICS[name].kind == "classes")}
        assert 0 < found["metrics"][part]["accuracy"] <= 1
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[0].keys() == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"}
    assert rows[0]["lr"] > rows[1]["lr"] > 0
    model, metadata = cr.load(folder / "model.safetensors")
    assert model[0].weight.shape == (64, 8) and metadata.keys() == {
        "fingerprint",
        "loss",
        "preprocessing",
        "rule",
        "seed",
        "test",
    }
    accuracy = f"{100 * found['metrics']['test']['accuracy']:.2f} %"
    assert accuracy in result.stdout and "1,438 rows to train, 359 to test" in result.stdout


def weights(folder):
    arrays, _ = load_arrays(folder / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_weights_in_two_processes(run, tmp_path):
    def arguments(number, seed):
        return ["train", "digits", *QUICK, "--seed", str(seed), "--out", f"run{number}", "-q"]

    command = [sys.executable, "-c", "from chainrule.cli import main; main()", *arguments(0, 1)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run(*arguments(1, 1)).output == run(*arguments(2, 2)).output == ""
    first, again, other = (weights(tmp_path / f"run{n}") for n in range(3))
    assert first == again != other
    figures = [record(tmp_path / f"run{n}")["metrics"] for n in range(3)]
    assert figures[0] == figures[1] != figures[2]


@pytest.mark.parametrize("network", [("--model", "mlp", "--epochs", "40", "--lr", "0.01"), ()])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_tables(run, csv, tmp_path, task, network):
    file = csv(task)
    result = run("train", file, "--target", "target", "--hidden", "16", *network)
    found = record(tmp_path / "runs" / "data")
    assert found["task"] == task and found["target"] == "target" and found["source"] == str(file)
    said = " ".join(result.stdout.split())
    for sentence in ("dropped 1 constant column: always", "missing value", f"{task}: target holds"):
        assert sentence in said
    figures = found["metrics"]["test"]
    if task == "regression":
        assert (
            figures.keys() == {"loss", *(name for name in METRICS if METRICS[name].kind == "values")}
            and figures["r2"] > (0.7 if network else 0.5)  # a fifth of the 64 rows is held out
        )
        assert figures["rmse"] < 19  # in the target's own unit, whose deviation is 20
    else:
        assert figures["accuracy"] > 0.6


def test_the_example_in_the_readme(run, csv):
    result = run("train", csv("regression", "cars.csv").name, "--target", "target", *QUICK)
    assert "runs/cars/" in result.stdout.replace(os.sep, "/")


def test_npz_and_idx(run, idx, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", X=rng.normal(size=(50, 3)), y=rng.integers(0, 4, 50))
    run("train", "a.npz", *QUICK)
    assert record(tmp_path / "runs" / "a")["task"] == "multiclass"
    result = run("train", idx, "--hidden", "16", "--epochs", "30", "--lr", "0.01")
    found = record(tmp_path / "runs" / "images")
    assert found["examples"] == {"train": 60, "test": 20} and found["metrics"]["test"]["accuracy"] > 0.9
    assert "60 rows to train, 20 to test" in result.stdout


def test_an_existing_run_is_not_overwritten(run, refused, tmp_path):
    run("train", "digits", *QUICK)
    run("train", "digits", *QUICK)
    run("train", "digits", *QUICK)
    assert sorted(os.listdir("runs")) == ["digits", "digits-2", "digits-3"]
    run("train", "digits", *QUICK, "--out", "mine")
    before = (tmp_path / "mine" / "run.json").read_bytes()
    assert "mine already holds a run" in refused("train", "digits", *QUICK, "--out", "mine")
    assert (tmp_path / "mine" / "run.json").read_bytes() == before
    run("train", "digits", "--hidden", "5", "--epochs", "1", "--out", "mine", "--overwrite")
    assert record(tmp_path / "mine")["settings"]["hidden"] == [5]


def test_another_loss_of_the_task(run, csv):
    for task, loss in (("binary", "hinge"), ("regression", "huber")):
        file = csv(task, name=f"{task}.csv")
        run("train", file, "--target", "target", "--loss", loss, "--out", task, *QUICK)
        lines = run("predict", task, file).stdout.splitlines()
        assert lines[0] == "prediction" and len(lines) == 81


def test_early_stopping_is_recorded(run, csv, tmp_path):
    result = run(
        "train", csv(), "--target", "target", "--validation", "0.3", "--patience", "1", "--lr", "0.1", "--epochs", "50"
    )
    found = record(tmp_path / "runs" / "data")
    assert "has not improved for 1 epoch" in found["stopped"] and found["best_epoch"] < found["epochs"] < 50
    assert f"weights  those of epoch {found['best_epoch']}, the best on" in result.stdout


REFUSED = [
    (["nope.csv"], "nope.csv: there is no such file or folder."),
    (["digits", "--hidden", "a"], "got 'a'"),
    (["digits", "--hidden", "8,,8"], "got '8,,8'"),
    (["digits", "--hidden", "0"], "hidden: expected an integer ≥ 1, got 0"),
    (["digits", "--hidden", "-3"], "got -3"),
    (["digits", "--lr", "0"], "lr: expected a number > 0, got 0.0"),
    (["digits", "--lr", "nan"], "got nan"),
    (["digits", "--epochs", "0"], "epochs: expected an integer ≥ 1, got 0"),
    (["digits", "--batch-size", "-1"], "batch_size: expected an integer ≥ 1, got -1"),
    (["digits", "--seed", "-1"], "seed: expected an integer ≥ 0, got -1"),
    (["digits", "--dropout", "1"], "dropout: expected a number ≥ 0 and < 1, got 1.0"),
    (["digits", "--l2", "-1"], "l2: expected a number ≥ 0, got -1.0"),
    (["digits", "--test", "0"], "test: expected a number > 0 and < 1, got 0.0"),
    (["digits", "--test", "0.0001"], "leaves the test split empty"),
    (["digits", "--validation", "1"], "validation: expected a number ≥ 0 and < 1, got 1.0"),
    (["digits", "--patience", "3"], "patience: needs a validation split"),
    (["digits", "--validation", "0.1", "--patience", "0"], "patience: expected an integer ≥ 1, got 0"),
    (["digits", "--activation", "nope"], "activation 'nope'"),
    (["digits", "--optimizer", "nope"], "no optimiser 'nope'; there are SGD"),
    (["digits", "--schedule", "nope"], "schedule: expected 'cosine', 'cycles' or 'constant', got 'nope'"),
    (["digits", "--engine", "nope"], "engine: expected one of"),
    (["digits", "--loss", "mse"], "loss: expected 'cross_entropy', 'focal' or 'hinge', got 'mse'"),
    (["digits", "--threads", "0"], "threads: expected an integer ≥ 1, got 0"),
    (["digits", "--target", "x"], "digits has its own labels"),
    (["digits", "--task", "regression"], "ten digits"),
    (["digits", "--optimizer", "sgd", "--lr", "1e30", *QUICK], "training stopped being finite in epoch 1, step"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(a) for a, _ in REFUSED])
def test_wrong_use_gets_one_line(refused, arguments, message):
    assert message in refused("train", *arguments)


def test_files_that_cannot_be_used(refused, run, csv, tmp_path, idx):
    file = csv()
    assert "has no column 'targt'; it has a, b, kind, always, target. Did you mean" in refused(
        "train", file, "--target", "targt"
    )
    (tmp_path / "empty.csv").write_text("")
    assert "the file is empty" in refused("train", "empty.csv", "--target", "x")
    (tmp_path / "header.csv").write_text("a,b\n")
    assert "no rows" in refused("train", "header.csv", "--target", "b")
    (tmp_path / "one.csv").write_text("a,b\n1,x\n2,x\n3,x\n")
    assert "holds one value only (x)" in refused("train", "one.csv", "--target", "b")
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04nothing")
    assert "noise.npz" in refused("train", "noise.npz")
    images = idx / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-20])
    assert "images" in refused("train", idx)
    (tmp_path / "folder").mkdir()
    assert "folder" in refused("train", "folder")
    (tmp_path / "x.xls").write_text("a")
    assert "unknown kind of file" in refused("train", "x.xls")


def test_places_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "--out: expected a folder, got the file file" in refused("train", "digits", *QUICK, "--out", "file")
    assert "Not a directory" in refused("train", "digits", *QUICK, "--out", "file/run")
    (tmp_path / "runs").write_text("x")
    assert "Not a directory" in refused("train", "digits", *QUICK)


def test_a_full_disk_leaves_no_run(refused, run, monkeypatch, tmp_path):
    run("train", "digits", *QUICK, "--out", "old")
    before = {f.name: f.read_bytes() for f in (tmp_path / "old").iterdir()}
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) % 3 == 0:  # the model and the history were written by then
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert "cannot write" in (message := refused("train", "digits", *QUICK)) and "No space left on device" in message
    assert os.listdir(tmp_path / "runs") == []
    refused("train", "digits", "--hidden", "3", "--epochs", "1", "--out", "old", "--overwrite")
    assert {f.name: f.read_bytes() for f in (tmp_path / "old").iterdir()} == before


def test_usage_errors_are_status_2(run):
    for arguments in (["train"], ["train", "digits", "--epochs", "x"], ["nope"], ["train", "digits", "--nope"]):
        result = run(*arguments, status=2)
        assert "Usage:" in result.stderr and "Traceback" not in result.stderr


def test_help_and_version(run):
    assert run("--version").stdout == f"chainrule {cr.__version__}\n"
    shown = run("--help").stdout
    for command in ("train", "evaluate", "predict", "backprop"):
        assert command in shown
        assert max(map(len, run(command, "--help").stdout.splitlines())) <= 80
    assert "..." not in shown.split("Commands:")[1]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a process is Unix's")
def test_ctrl_c_writes_the_run_so_far(tmp_path):
    code = "from chainrule.cli import main; main()"
    command = [sys.executable, "-c", code, "train", "digits", "--epochs", "100000", "--hidden", "8"]
    buffered = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered
    ) as process:
        lines = iter(process.stdout.readline, "")
        assert any(line.split() == ["epoch", "loss", "accuracy"] for line in lines)
        assert [next(lines).split()[0] for _ in range(3)] == ["1", "2", "3"]  # while the run goes on
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == "", err
    found = record(tmp_path / "runs" / "digits")
    assert found["stopped"].startswith("interrupted in epoch ") and "interrupted in epoch" in out
    assert found["epochs"] == len((tmp_path / "runs" / "digits" / "history.jsonl").read_text().splitlines()) > 0


def test_a_run_that_learns_nothing_is_told(run, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        f"{a:.3f},{b:.3f},{'rare' if i % 10 == 0 else 'usual'}" for i, (a, b) in enumerate(rng.normal(size=(300, 2)))
    ]
    (tmp_path / "noise.csv").write_text("a,b,kind\n" + "\n".join(rows), "utf-8")
    found = run("train", "noise.csv", "--target", "kind", "--epochs", "20", "--lr", "0.01")
    lines = [line for line in found.output.splitlines() if line.startswith("finding")]
    assert any("Never predicted on the test split: rare (6 examples)" in line for line in lines)
    assert any("always saying usual, the most frequent class, gives 90.0" in line for line in lines)
    assert json.loads((tmp_path / "runs/noise/run.json").read_text("utf-8"))["findings"]
