"""Data files, and the command line in this process."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import chainrule
from chainrule.cli import app

#: Of other processes: a terminal of 80 columns, and the package that is tested, wherever they run.
ENVIRONMENT = {
    **os.environ, "COLUMNS": "80", "TERM": "xterm", "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": str(Path(chainrule.__file__).parents[1]),
}  # fmt: skip

#: Small and quick.
QUICK = ("--hidden", "8", "--epochs", "2")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call the command line in an empty folder; expect an exit status."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, status=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == status, (result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return call


@pytest.fixture
def refused(run, tmp_path):
    """Call the command line wrongly: one line on standard error, status 1, nothing left behind."""

    def call(*arguments):
        before = sorted(tmp_path.rglob("*"))
        result = run(*arguments, status=1)
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
        assert "Traceback" not in result.output
        assert [f for f in sorted(tmp_path.rglob("*")) if f not in before and f.name != "runs"] == []
        return result.stderr.removeprefix("error: ").rstrip()

    return call


def table(task, rows=80):
    """Numbers, a category, missing values, a constant; a target of the task."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, rows))
    kind = rng.choice(["red", "green", "blue"], rows)
    target = {
        "binary": np.where(a + b > 0, "yes", "no"),
        "multiclass": np.array(["low", "middle", "high"])[np.digitize(a, [-0.5, 0.5])],
        "regression": np.round(100 + 20 * a - 5 * b + 3 * (kind == "red"), 3),
    }[task]
    lines = ["a,b,kind,always,target"]
    for i in range(rows):
        first = "" if i % 13 == 5 else f"{a[i]:.4f}"
        lines.append(f"{first},{b[i]:.4f},{'' if i % 17 == 3 else kind[i]},7,{target[i]}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def csv(tmp_path):
    def write(task="binary", name="data.csv", **more):
        pytest.importorskip("polars")
        file = tmp_path / name
        file.write_text(table(task, **more))
        return file

    return write


@pytest.fixture
def idx(tmp_path):
    """A folder as MNIST comes: 60 training and 20 test images of 4 × 4."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for part, n, zipped in (("train", 60, True), ("t10k", 20, False)):
        labels = np.arange(n, dtype=np.uint8) % 3
        images = rng.integers(0, 60, (n, 4, 4)).astype(np.uint8)
        images[np.arange(n), labels] += 150
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            name = f"{part}-{kind}-ubyte"
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return folder
