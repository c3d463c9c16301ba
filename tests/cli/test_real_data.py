"""What the command line is held to on real data."""

import json
import os
import statistics
from pathlib import Path

import pytest

FASHION = (os.environ.get("CHAINRULE_FASHION_MNIST"), "/usr/share/datasets/fashion-mnist", "fashion-mnist")


@pytest.mark.slow
def test_digits(run, tmp_path):
    for seed in range(5):
        run("train", "digits", "--seed", seed, "--out", f"seed{seed}", "-q")
    figures = [
        json.loads((tmp_path / f"seed{s}" / "run.json").read_text())["metrics"]["test"]["accuracy"] for s in range(5)
    ]
    assert statistics.median(figures) >= 0.975, figures


@pytest.mark.slow
def test_fashion_mnist(run, tmp_path):
    folder = next((f for f in FASHION if f and Path(f).is_dir()), None)
    if folder is None:
        pytest.skip(
            "no Fashion-MNIST: install Debian's dataset-fashion-mnist, or set CHAINRULE_FASHION_MNIST to its folder"
        )
    run("train", Path(folder).resolve(), "--hidden", "256,128", "--epochs", "10", "--out", "run", "-q")
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    assert found["examples"] == {"train": 60_000, "test": 10_000}
    assert found["metrics"]["test"]["accuracy"] >= 0.885, found["metrics"]
