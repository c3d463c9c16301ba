"""The whole programs: reading, the command for the library, and turns of programs that end well and badly."""

from __future__ import annotations

import gzip
import json
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
    monkeypatch.setattr(programs, "pin", lambda threads: None)
    file = tmp_path / "programs.json"
    assert programs.main([str(folder), "--rounds", "3", "--json", str(file)]) == 1
    assert turns == [("chainrule", 0), ("torch", 0), ("jax", 0)] + [
        (n, s) for s in (1, 2) for n in ("chainrule", "jax")
    ]
    printed = capsys.readouterr().out
    assert "torch: not measured, torch is not installed" in printed
    row = next(line for line in printed.splitlines() if line.startswith("jax"))
    assert row.split() == ["jax", "4.00", "3.50–4.50", "1.33", "90.00%"]
    assert len(json.loads(file.read_text(encoding="utf-8"))["runs"]["jax"]) == 3


def test_the_library_runs_the_same_training(tmp_path):
    command = programs.chainrule_command(tmp_path, 10, 3, tmp_path / "out")
    assert command[1:3] == ["train", str(tmp_path)]
    options = dict(zip(command[3::2], command[4::2], strict=True))
    assert options["--hidden"] == "256,128" and options["--batch-size"] == "128" and options["--seed"] == "3"


@pytest.mark.slow
@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_each_program_runs_on_a_small_folder(name, folder):
    absent = SIDES[programs.PROGRAMS[name]].absent()
    if absent:
        pytest.skip(absent)
    finished = programs.run(name, folder, epochs=2, seed=0, threads=1)
    assert 0 <= finished.test_accuracy <= 1
