"""The whole programs: reading, the command for the library, and turns of programs that end well and badly."""

from __future__ import annotations

import gzip
import json
import re
import struct

import numpy as np
import pytest

from benchmarks.programs import __main__ as programs
from benchmarks.programs.dataset import read_folder, read_idx
from benchmarks.sides import SIDES


def idx(values: np.ndarray) -> bytes:
    return struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Four small files of the MNIST kind, one of them not compressed."""
    random = np.random.default_rng(0)
    for name, count in (("train", 300), ("t10k", 50)):
        images = idx(random.integers(0, 256, (count, 4, 4), dtype=np.uint8))
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx((np.arange(300) % 10).astype(np.uint8)))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx((np.arange(50) % 10).astype(np.uint8))))
    return tmp_path


def test_a_folder_is_read_and_scaled(folder):
    train_x, train_y, test_x, test_y = read_folder(folder)
    assert train_x.shape == (300, 16) and test_x.shape == (50, 16)
    assert train_x.dtype == np.float32 and train_x.min() == 0 and train_x.max() == 1
    assert train_y.dtype == np.int64 and train_y.tolist() == [i % 10 for i in range(300)] and len(test_y) == 50


def test_files_that_are_missing_or_broken_are_named(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(300, np.uint8))[:-1])
    with pytest.raises(ValueError, match="299 values"):
        read_folder(folder)
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="train-labels"):
        read_folder(folder)
    other = folder / "other"
    other.write_bytes(struct.pack(">HBBI", 0, 13, 1, 0))
    with pytest.raises(ValueError, match="not an IDX file of unsigned bytes"):
        read_idx(other)


def test_programs_take_turns_and_one_that_fails_is_left_out(folder, monkeypatch, capsys, tmp_path):
    turns = []

    def run(name, folder, epochs, seed, threads):
        turns.append((name, seed))
        if name == "torch":
            raise programs.Failed("torch is not installed")
        return programs.Finished(seconds={"chainrule": 2.0, "jax": 3.0}[name] + seed, test_accuracy=0.9)

    monkeypatch.setattr(programs, "run", run)
    file = tmp_path / "programs.json"
    assert programs.main([str(folder), "--rounds", "3", "--threads", "1", "--json", str(file)]) == 1
    warm_up = [("chainrule", 0), ("torch", 0), ("jax", 0)]
    assert turns == warm_up + [(n, s) for s in (1, 2, 3) for n in ("chainrule", "jax")]
    printed = capsys.readouterr().out
    assert "- torch: failed: torch is not installed" in printed
    row = next(line for line in printed.splitlines() if line.startswith("jax"))
    assert row.split() == ["jax", "1", "5.00", "4.50–5.50", "1.25", "90.00%", "90.00–90.00%"]
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [r["status"] for r in found["results"]] == ["timed", "failed", "timed"]
    assert len(found["results"][2]["runs"]) == 3 and found["settings"]["rounds"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--programs", "matlab"], "--programs.*chainrule, torch, jax.*'matlab'"),
        (["--rounds", "0"], "--rounds.* 0"),
        (["--threads", "x"], "--threads.*'x'"),
    ],
)
def test_bad_options_are_named(options, message, folder, capsys):
    with pytest.raises(SystemExit):
        programs.main([str(folder), *options])
    assert re.search(message, capsys.readouterr().err)


def test_the_library_runs_the_same_training(tmp_path):
    command = programs.chainrule_command(tmp_path, 10, 3, 2, tmp_path / "out")
    assert command[3:5] == ["train", str(tmp_path)]
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--hidden"] == "256,128" and options["--batch-size"] == "128" and options["--seed"] == "3"
    assert options["--dropout"] == "0" and options["--schedule"] == "constant" and options["--threads"] == "2"


@pytest.mark.slow
@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_each_program_runs_on_a_small_folder(name, folder):
    absent = SIDES[programs.PROGRAMS[name]].absent()
    if absent:
        pytest.skip(absent)
    finished = programs.run(name, folder, epochs=2, seed=0, threads=1)
    assert 0 <= finished.test_accuracy <= 1
