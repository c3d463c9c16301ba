"""Training over MPI itself: bits, kills, errors. Without mpi4py and mpiexec the tests are skipped."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chainrule.io import load_arrays

pytestmark = pytest.mark.slow
pytest.importorskip("mpi4py")

MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
if MPIEXEC is None:
    pytest.skip("mpiexec is not installed", allow_module_level=True)

#: As root, and with more processes than processors, Open MPI wants to be told so; waiting processes yield.
ENVIRONMENT = {
    **os.environ,
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])),
}

#: How often a process is killed: by hand, CHAINRULE_KILLS=50 pytest -m slow tests/train/test_mpi.py.
KILLS = int(os.environ.get("CHAINRULE_KILLS", "2"))
#: Seconds within which all processes end when one has.
SOON = 30

SCRIPT = """
import os, sys, time
import numpy as np
import chainrule as cr
from chainrule import nn
from mpi4py import MPI

folder, epochs, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
rank = MPI.COMM_WORLD.rank
with open(f"{folder}/pid{rank}", "w") as file:
    file.write(str(os.getpid()))
rng = np.random.default_rng(0)
X, y = rng.normal(size=(200, 8)).astype(np.float32), rng.integers(0, 3, 200)
model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)).initialize(0)

class Slow(cr.Callback):
    everywhere = True

    def on_step(self, run):
        time.sleep(pause)

cr.fit(
    model, X, y, epochs=epochs, batch_size=64, validation=0.2, distributed="mpi", shards=8, progress=False,
    callbacks=[Slow()], checkpoint=cr.Checkpoint(f"{folder}/run.safetensors", steps=3), resume=True,
)
"""


def started(size, *command):
    arguments = [MPIEXEC, "-n", str(size), sys.executable, *map(str, command)]
    return subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finished(process, seconds=120):
    """Return the exit status and what was printed; kill what hangs, and fail then."""
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"the processes did not end within {seconds} s")
    return process.returncode, out, errors


def arrays(file):
    found = load_arrays(file)[0]
    return {name: array.tobytes() for name, array in found.items()}


def test_two_and_four_processes_write_the_same_model_as_one(tmp_path):
    models = []
    for size in (1, 2, 4):
        folder = tmp_path / str(size)
        command = ("-m", "chainrule", "train", "digits", "--epochs", 2, "--shards", 4, "--out", folder)
        status, out, errors = finished(started(size, *command))
        assert status == 0, errors
        assert out.count("network") == 1 and out.count("epoch ") == 1  # printed once
        assert json.loads((folder / "run.json").read_text()).get("processes", 1) == size
        models.append(arrays(folder / "model.safetensors"))
    assert models[0] == models[1] == models[2]
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "4"]


def test_killed_processes_end_all_and_another_number_resumes_to_the_same_bits(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    (whole := tmp_path / "whole").mkdir()
    assert finished(started(1, script, whole, 5, 0))[0] == 0
    draw = random.Random(0)
    for number in range(KILLS):
        folder = tmp_path / f"killed{number}"
        folder.mkdir()
        size = draw.choice((2, 3, 4))
        process = started(size, script, folder, 5, 0.05)
        pids = [folder / f"pid{rank}" for rank in range(size)]
        wait_for(lambda files=(*pids, folder / "run.safetensors"): all(f.exists() and f.stat().st_size for f in files))
        time.sleep(draw.uniform(0, 0.5))
        victim, number_of_signal = int(draw.choice(pids).read_text()), draw.choice((signal.SIGKILL, signal.SIGSEGV))
        killed = time.monotonic()
        os.kill(victim, number_of_signal)
        status, _, errors = finished(process, SOON)
        assert status != 0 and "signal" in errors.lower() and time.monotonic() - killed < SOON
        status, _, errors = finished(started(draw.choice((1, 2, 3)), script, folder, 5, 0))
        assert status == 0, errors
        kept, expected = arrays(folder / "run.safetensors"), arrays(whole / "run.safetensors")
        assert kept == expected


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the run did not come so far"
        time.sleep(0.02)


def test_an_error_in_one_process_ends_all_with_its_message(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("time.sleep(pause)", "assert rank != 1 or run.step < 5, 'the disk of rank 1'"))
    status, _, errors = finished(started(3, script, tmp_path, 5, 0), SOON)
    assert status != 0
    assert "process 1 of 3 failed and ends all others: AssertionError: the disk of rank 1" in errors


def test_a_command_that_cannot_begin_says_so_once(tmp_path):
    status, _, errors = finished(started(3, "-m", "chainrule", "train", tmp_path / "nothing.csv"), SOON)
    assert status != 0 and errors.count("error: ") == 1 and "nothing.csv" in errors


def test_a_signal_to_one_process_ends_all_after_the_same_step_and_the_run_resumes(tmp_path):
    command = ("-m", "chainrule", "train", "digits", "--shards", 4, "--checkpoint-every", 1, "--epochs", 400)
    process = started(2, *command, "--out", tmp_path / "run")
    wait_for((tmp_path / "run" / "checkpoint.safetensors").exists)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("the processes of mpiexec are not known without /proc")
    os.kill(int(children.read_text().split()[-1]), signal.SIGTERM)
    status, out, errors = finished(process, SOON)
    assert status == 143, errors
    assert "interrupted in epoch" in out and "resume with the same command" in out
