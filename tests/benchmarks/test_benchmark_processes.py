"""Overhead and memory, each measured in processes of its own. No times, and no sizes but the order of magnitude."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import page
from benchmarks.memory import STATUS, Memory
from benchmarks.multiplies import Multiplies
from benchmarks.overhead import CASES, Overhead
from benchmarks.process import measured
from benchmarks.sides import Side
from benchmarks.workloads import select

LINUX = pytest.mark.skipif(not STATUS.exists(), reason=f"there is no {STATUS}")


def test_a_process_without_an_answer_is_failed_with_its_last_words():
    found = measured("benchmarks.no_such_module", {"threads": 1})
    assert found["status"] == "failed" and "No module named 'benchmarks.no_such_module'" in found["reason"]


@pytest.mark.slow
@LINUX
def test_memory_from_the_command_to_its_file(tmp_path, capsys):
    file = tmp_path / "memory.json"
    options = ["--memory", "--workload", "2-4-1", "--sides", "numpy_hand,chainrule_compiled", "--json", str(file)]
    assert command.main(options) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    first, second = found["results"]
    assert first["side"] == "numpy_hand" and first["steps"] == second["steps"] == 1024
    assert first["peak"]["median"] >= first["before"]["median"] > 10e6 and len(first["samples"]) == 3
    assert second["peak"]["median"] - second["before"]["median"] < 1e9
    row = next(line for line in capsys.readouterr().out.splitlines() if "chainrule_compiled" in line)
    assert row.split()[:3] == ["2-4-1/b4/sgd", "1", "chainrule_compiled"]


def test_a_side_that_takes_other_steps_is_wrong(monkeypatch):
    losses = {"numpy_hand": 0.5, "sklearn": 0.51, "autograd": float("nan"), "torch_eager": 0.501}

    def made_up(module, job):
        return {"status": "measured", "peak": 2e6, "before": 1e6, "steps": 64, "loss": losses[job["side"]]}

    monkeypatch.setattr("benchmarks.memory.measured", made_up)
    monkeypatch.setattr(Side, "absent", lambda side: None)
    memory = Memory(select(["2-4-1"]), list(losses), [1])
    results = list(memory.results())
    assert [r["status"] for r in results] == ["measured", "wrong", "wrong", "measured"]
    text = memory.report(memory.describe(), results, "text")
    assert "- sklearn: wrong: the last loss is 0.51, numpy_hand's 0.5" in text


@pytest.mark.slow
def test_overhead_needs_the_native_engine():
    pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")
    overhead = Overhead([1], seconds=0.01)
    results = list(overhead.results())
    assert [(r["case"], r["status"]) for r in results] == [(case, "timed") for case in CASES]
    empty, one = results
    assert empty["operations"] == 0 < one["operations"] and empty["steps_per_run"] == 256 * 64
    text = overhead.report(overhead.describe(), results, "markdown")
    assert text.count("\n| ") == 4


def test_the_page_has_a_table_for_each_measurement(monkeypatch, tmp_path, capsys):
    figures = {"median": 2e-6, "lower": 1e-6, "upper": 3e-6, "count": 3}
    sides = [{"seconds_per_step": figures, "multiply_share": 0.5}] * 2
    common = {"status": "timed", "threads": 1}

    def made_up(measurement, file):
        row = {**common, "case": "empty", "operations": 0, "seconds_per_step": figures}
        if isinstance(measurement, Memory):
            row = {**common, "workload": "w", "side": "s", "peak": {**figures, "median": 5e7}, "before": figures}
        elif isinstance(measurement, Multiplies):
            case = {"shape": page.SHAPES[0], "layout": "NN", "ratio": figures}
            case["times"] = dict.fromkeys(("native", "compiled", "numpy"), figures)
            row = {**common, "workload": "m", "cases": [case, {**case, "shape": [1, 1, 1]}]}
        elif not isinstance(measurement, Overhead):
            row = {**common, "workload": "w", "pair": ["a", "b"], "sides": sides, "ratio": figures}
            row |= {"load_average": [0.5], "multiply_rate": {"rate": 7e10}}
        return measurement.describe(), [row]

    runs = [{"seconds": 2.0, "test_accuracy": 0.9}]
    monkeypatch.setattr(page, "measure", made_up)
    monkeypatch.setattr(page.Programs, "results", lambda programs: [{**common, "program": "jax", "runs": runs}])
    assert page.main([str(tmp_path), "--json", str(tmp_path / "kept")]) == 0
    text = capsys.readouterr().out
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(headings) == 7 and text.count("\n| --") == 8 and "1×1×1" not in text
    assert text.count("Measured at: load average 0.5 to 0.5") == 3
    assert "multiply rate 70 to 70 Gflop/s on 1 thread" in text
    assert json.loads((tmp_path / "kept" / "programs.json").read_text(encoding="utf-8"))["results"][0]["runs"] == runs
