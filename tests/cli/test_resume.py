"""Runs that are killed, terminated or run out of disk, and two processes in one folder."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from chainrule import io
from chainrule.io import files
from chainrule.io.locks import locked

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
