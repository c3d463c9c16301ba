"""The layers' benchmark: its networks, one pair in a process of its own, and its report. No times."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as command
from benchmarks.layers import measure
from benchmarks.layers.measure import Layers, run
from benchmarks.layers.workloads import BATCHES, NETWORKS, Training, trainings


def test_names_choose_networks_and_batches():
    assert len(trainings()) == len(NETWORKS) * len(BATCHES)
    assert [t.name for t in trainings(["gpt", "lenet/b16"])] == ["gpt/b8", "gpt/b32", "gpt/b128", "lenet/b16"]
    for name in ("alexnet", "alexnet/b8", "lenet/b", "lenet/b0", "lenet/b-8", "lenet/b8.0", "lenet/8"):
        with pytest.raises(ValueError, match=rf"--workload.*gpt/b16, got '{name}'"):
            trainings([name])


@pytest.mark.parametrize("network", NETWORKS)
def test_data_are_batches_of_the_same_examples_each_time(network):
    (x, y), (again, _) = Training(network, 8).data(), Training(network, 8).data()
    assert len(x) == len(y) == 32
    assert (x == again).all()
    assert 0 <= y.min() < y.max() < Training(network, 8).classes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "peer"), [*[(n, "torch_eager") for n in NETWORKS], ("lenet", "jax_scan"), ("makemore", "jax_scan")]
)
def test_sides_start_at_the_loss_of_a_guess(network, peer):
    pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")
    pytest.importorskip(peer.partition("_")[0])
    job = {
        "training": {"network": network, "batch": 8},
        "peer": peer,
        "threads": 1,
        "seconds": 0.0,
        "block_seconds": 0.0,
    }
    found = run(job)
    assert found["status"] == "timed", found
    assert [len(side["samples"]) for side in found["sides"]] == [found["ratio"]["count"]] * 2


def test_the_work_of_a_step_is_that_of_its_products():
    pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")
    from benchmarks.layers.chainrule_native import make

    # Forward and for the weights; the hidden layers and the embedding also have gradients of their inputs.
    assert make(Training("makemore", 8), 1).flops() == 2 * 3 * 8 * (80 * 200 + 200 * 27)
    conv = 2 * 8 * (28 * 28 * 6 * 25 * 2 + 10 * 10 * 16 * 6 * 25 * 3)  # none for the images
    affine = 2 * 3 * 8 * (400 * 120 + 120 * 84 + 84 * 10)
    assert make(Training("lenet", 8), 1).flops() == conv + affine


def test_from_the_command_to_its_file(tmp_path, capsys, monkeypatch):
    figure = {"median": 2e-5, "lower": 1e-5, "upper": 4e-5, "count": 9}
    side = {"seconds_per_step": figure, "multiply_share": 0.5}
    answers = {
        "torch_eager": {"status": "timed", "sides": [side] * 2, "ratio": {**figure, "median": 3.0}},
        "jax_scan": {"status": "wrong", "side": "jax_scan", "reason": "the first loss is 9"},
    }
    answers["torch_eager"] |= {"multiply_rate": {"rate": 5e10}, "load_average": [0.5, 0.1, 0.1]}
    monkeypatch.setattr(measure, "measured", lambda module, job, limit: answers[job["peer"]])
    monkeypatch.setattr("benchmarks.sides.Side.absent", lambda side: None)
    file = tmp_path / "layers.json"
    options = ["--layers", "--workload", "makemore/b8", "--threads", "1", "--json", str(file)]
    assert command.main(options) == 1
    printed = capsys.readouterr().out
    assert "makemore/b8        1  chainrule_native  torch_eager  20.0  10.0–40.0" in printed
    assert "- jax_scan: wrong: the first loss is 9" in printed
    assert [r["status"] for r in json.loads(file.read_text())["results"]] == ["timed", "wrong"]


def test_sides_that_have_no_networks_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--layers", "--sides", "sklearn"])
    assert "--layers: expected sides among torch_eager, jax_scan, got 'sklearn'" in capsys.readouterr().err
    assert Layers(trainings(["gru"]), ["jax_scan"], [1, 2]).size() == 6
