"""Runs that are killed, terminated or run out of disk, and two processes in one folder."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from chainrule import io
from chainrule.io import files
from chainrule.io.locks import locked
from tests.data.test_arrow import write as write_arrow

from . import kills
from .conftest import ENVIRONMENT, QUICK

unix = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
CHECKPOINT = "checkpoint.safetensors"


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def killed(folder, count):
    command = [sys.executable, kills.__file__, str(folder), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=1200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@unix
@pytest.mark.slow
def test_killed_runs_resume_to_the_same_bits(tmp_path):
    """CHAINRULE_KILLS=200 kills 200 times."""
    count = int(os.environ.get("CHAINRULE_KILLS", "40"))
    found = killed(tmp_path, count)
    assert found["kills"] == count and found["different"] == []
    assert found["saved"] > count / 10  # many kills came when there was something to resume from


@unix
def test_sigterm_ends_a_run_as_ctrl_c_does_and_it_can_be_resumed(run, tmp_path):
    file = tmp_path / "run" / CHECKPOINT

    def when_saved(before):
        while not file.exists() or file.stat().st_mtime_ns == before:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    def terminated(*more):
        timer = threading.Thread(target=when_saved, args=[file.stat().st_mtime_ns if file.exists() else 0], daemon=True)
        timer.start()
        shown = run("train", "digits", "--hidden", "4", "--epochs", "100000", "--out", "run", *more, status=143)
        timer.join()
        return shown.stdout, json.loads((tmp_path / "run" / "run.json").read_text())

    shown, first = terminated("--checkpoint-every", "50")
    assert first["stopped"].startswith("interrupted in epoch") and "resume with the same command and --resume" in shown
    assert {f.name for f in (tmp_path / "run").iterdir()} == {
        "model.safetensors",
        "history.jsonl",
        "run.json",
        CHECKPOINT,
    }
    shown, second = terminated("--resume")
    assert "resumed" in shown and second["epochs"] > first["epochs"] > 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def written(folder, kind, rows=4000):
    """Write a data set of a kind; return the arguments that train on it."""
    rng = np.random.default_rng(0)
    a, b = rng.choice(["left", "right"], rows), rng.normal(size=rows)
    columns = {"a": a, "b": b, "y": 3 * b + (a == "left")}
    if kind == "images":
        pillow = pytest.importorskip("PIL.Image")
        for i, side in enumerate(a[:300]):
            (folder / "images" / side).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (6, 6), dtype=np.uint8)
            pixels[:, 3 * (side == "right") :][:, :3] //= 2
            pillow.fromarray(pixels).save(folder / "images" / side / f"{i}.png")
        return ["images"]
    if kind == "csv.gz":
        pytest.importorskip("polars")
        lines = ["a,b,y", *(f"{x},{y},{z}" for x, y, z in zip(*columns.values(), strict=True))]
        (folder / "data.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
        return ["data.csv.gz", "--target", "y"]
    write_arrow(pytest.importorskip("pyarrow").table(columns), folder / f"data.{kind}", 500)
    return [f"data.{kind}", "--target", "y", "--on-disk"]


@unix
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv.gz", "images"])
def test_ctrl_c_and_resume_give_the_files_of_a_run_left_alone(tmp_path, kind):
    command = [sys.executable, "-m", "chainrule", "train", *written(tmp_path, kind), "--model", "mlp", "--hidden", "8"]
    command += ["--epochs", "60", "--validation", "0.2", "--checkpoint-every", "1", "--resume", "--out"]

    outputs = {"cwd": tmp_path, "env": ENVIRONMENT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def interrupted(folder, press):
        """Run it, and press Ctrl-C after a checkpoint; return what it says."""
        file = tmp_path / folder / CHECKPOINT
        before = file.stat().st_mtime_ns if file.exists() else 0
        with subprocess.Popen([*command, folder], **outputs) as process:
            while press and process.poll() is None:
                if file.exists() and file.stat().st_mtime_ns != before:
                    process.send_signal(signal.SIGINT)
                    break
                time.sleep(0.001)
            shown, errors = process.communicate(timeout=120)
        assert (process.returncode, errors.count("Traceback")) == (0, 0), errors
        return shown

    interrupted("whole", press=False)
    for number in range(3):
        shown = interrupted("run", press=True)
        assert "resume with the same command and --resume" in shown and ("resumed" in shown) == (number > 0)
    assert "resumed" in interrupted("run", press=False)
    found, wanted = (kills.files(tmp_path / name) for name in ("run", "whole"))
    assert found == wanted


def test_resume_without_an_earlier_run_and_after_its_end(run, tmp_path):
    run("train", "digits", *QUICK, "--out", "plain")
    shown = run("train", "digits", *QUICK, "--out", "run", "--resume")
    assert "resumed" not in shown.stdout and weights(tmp_path / "run") == weights(tmp_path / "plain")
    before = (tmp_path / "run" / "run.json").read_bytes()
    assert "the run has ended already" in run("train", "digits", *QUICK, "--out", "run", "--resume").stdout
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    shown = run("train", "digits", *QUICK, "--lr", "0.5", "--out", "run", "--resume", status=1)
    assert "run belongs to another run: lr was 0.001, is 0.5" in shown.stderr


def test_a_run_is_resumed_with_the_same_settings_only(run, refused, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(io, "write_together", lambda contents: 1 / 0)  # it fails at its very end
        run("train", "digits", *QUICK, "--out", "runs/a", "--checkpoint-every", "1", status=1)
    assert (tmp_path / "runs" / "a" / CHECKPOINT).exists()
    said = refused("train", "digits", *QUICK, "--lr", "0.5", "--out", "runs/a", "--resume")
    assert "belongs to another run: optimizer lr" in said
    assert "--resume, choose another --out" in refused("train", "digits", *QUICK, "--out", "runs/a")
    assert "expected an integer ≥ 1" in refused("train", "digits", "--checkpoint-every", "0")


# -- locks and what is left behind -------------------------------------------------------------------------------------


def test_two_processes_cannot_train_into_one_folder(run, refused, tmp_path):
    (tmp_path / "runs").mkdir()
    folder = tmp_path / "runs" / "run"
    folder.mkdir()
    with locked(folder):
        for more in ((), ("--overwrite",), ("--resume",)):
            said = refused("train", "digits", *QUICK, "--out", "runs/run", *more)
            assert said == f"runs/run is in use by another training run (process {os.getpid()})"
        (folder / "kept").write_text("")
    assert [f.name for f in folder.iterdir()] == ["kept"]
    (folder / ".lock").write_text("1\n")  # of a process that was killed
    run("train", "digits", *QUICK, "--out", "runs/run")
    assert not (folder / ".lock").exists()


@unix
def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = "import os, sys, pathlib, signal\nfrom chainrule.io.locks import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=ENVIRONMENT)
    assert done.returncode == -signal.SIGKILL and (tmp_path / ".lock").exists()
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_half_written_files_of_killed_runs_are_swept(run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    names = [f".{name}.0123456789abcdef.partial" for name in ("model.safetensors", "run.json", CHECKPOINT, "mine.csv")]
    for name in names:
        (folder / name).write_text("")
    run("train", "digits", *QUICK, "--out", "run")
    assert {f.name for f in folder.glob(".*")} == {names[-1]}


def test_resume_and_overwrite_exclude_each_other(refused):
    assert "give --resume or --overwrite" in refused("train", "digits", *QUICK, "--resume", "--overwrite")


@unix
def test_a_report_of_a_resumed_run(run, tmp_path):
    pytest.importorskip("plotly")
    arguments = ("train", "digits", *QUICK, "--out", "run", "--report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "write_together", lambda contents: 1 / 0)  # it fails at its very end
        run(*arguments, "--checkpoint-every", "1", status=1)
    run(*arguments, "--resume")
    assert 'id="flow"' in (tmp_path / "run" / "report.html").read_text("utf-8")


@pytest.mark.filterwarnings("always")
def test_a_full_disk_at_a_checkpoint_is_a_warning(run, tmp_path, monkeypatch):
    run("train", "digits", *QUICK, "--out", "whole")
    write, tried = files._write, []

    def full(path, *rest):
        tried.append(path)
        if CHECKPOINT in path.name and len(tried) == 2:
            path.write_bytes(b"some of it")
            raise OSError(28, "No space left on device")
        write(path, *rest)

    monkeypatch.setattr(files, "_write", full)
    arguments = ("train", "digits", "--hidden", "8", "--epochs", "3", "--out", "run", "--checkpoint-every", "1")
    shown = run(*arguments)
    assert shown.stderr.startswith(
        "warning: after step 90 no checkpoint was saved, training continues: cannot write run"
    )
    assert "No space left on device. What it held before is unchanged." in shown.stderr
    assert shown.stderr.count("warning") == 1 and len(tried) == 6
    assert {f.name for f in (tmp_path / "run").iterdir()} == {"model.safetensors", "history.jsonl", "run.json"}
