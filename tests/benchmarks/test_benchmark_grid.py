"""The harness: its clock's order, its statistics, what it says of absent sides, and its files. No times."""

from __future__ import annotations

import gc
import json
import re

import pytest

from benchmarks import __main__ as command
from benchmarks.grid import Grid, write_json
from benchmarks.measure import LEAST_PAIRS, alternate, pair_ratios, runs_in, spread
from benchmarks.report import fastest, report, table
from benchmarks.sides import DEFAULT_PAIRS, SIDES, Side
from benchmarks.workloads import GRID, Workload, select

ITSELF = ("numpy_hand", "numpy_hand")


class Logged:
    """A runner that writes down what it is asked to do."""

    steps_per_run = 2

    def __init__(self, name, log):
        self.name, self.log = name, log

    def reset(self):
        self.log.append((self.name, "reset"))

    def run(self, count):
        self.log.append((self.name, "run"))

    def finish(self):
        self.log.append((self.name, "finish" if gc.isenabled() else "finish, uncollected"))


def result(pair, ratio, workload="w", threads=1):
    """A timed result with made-up figures: A takes 2 µs a step."""
    figures = [{"median": 2e-6 * f, "lower": 1e-6 * f, "upper": 4e-6 * f, "count": 9} for f in (1, ratio)]
    sides = [
        {"side": name, "seconds_per_step": figure, "multiply_share": 0.256}
        for name, figure in zip(pair, figures, strict=True)
    ]
    spread_of_ratio = {"median": ratio, "lower": ratio / 2, "upper": ratio * 2, "count": 9}
    found = {"workload": workload, "threads": threads, "pair": list(pair), "status": "timed"}
    found |= {"multiply_rate": {"rate": 5e10}, "load_average": [0.5, 0.4, 0.3]}
    return {**found, "sides": sides, "ratio": spread_of_ratio}


def test_spread_by_hand():
    found = spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.lower, found.median, found.upper, found.count) == (2.0, 3.0, 4.0, 5)
    found = spread([1.0, 2.0])
    assert (found.lower, found.median, found.upper) == (1.25, 1.5, 1.75)
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_ratios_are_taken_pair_by_pair():
    # A machine that becomes ten times slower half way leaves the ratios as they are.
    ratios = pair_ratios([1.0, 1.0, 10.0, 10.0], [2.0, 2.0, 20.0, 20.0])
    assert ratios == [2.0] * 4
    with pytest.raises(ValueError):
        pair_ratios([1.0], [1.0, 2.0])


def test_sides_alternate_each_block_from_the_start_with_the_collector_off():
    log = []
    a, b = Logged("A", log), Logged("B", log)
    times = alternate(a, b, seconds=0.0, block_seconds=0.0)
    assert [len(of) for of in times] == [LEAST_PAIRS, LEAST_PAIRS]
    block = ["reset", "run", "finish, uncollected", "run", "finish, uncollected"]
    blocks = [(side, what) for _ in range(LEAST_PAIRS) for side in "AB" for what in block]
    assert log[-len(blocks) :] == blocks
    assert gc.isenabled()


def test_the_collector_is_on_again_after_an_error():
    runner = Logged("A", [])
    failing = Logged("B", [])
    failing.run = lambda count: 1 / 0 if not gc.isenabled() else None
    with pytest.raises(ZeroDivisionError):
        alternate(runner, failing, seconds=0.0, block_seconds=0.0)
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_a_block_has_at_least_one_run():
    assert runs_in(Logged("A", []), seconds=0.0) >= 1


def test_the_fastest_peer_is_the_one_with_the_smallest_ratio():
    timed = [
        result(("ours", "slow"), 5.0),
        result(("ours", "fast"), 1.5),
        result(("other", "slow"), 0.5),
        result(("a", "a"), 1),
    ]
    assert fastest(timed) == [("w", "1", "ours", "fast", "1.50"), ("w", "1", "other", "slow", "0.50")]


def test_table_in_text_and_markdown():
    rows = [("one", "1.5"), ("three", "12.0")]
    assert table(("name", "µs"), rows, "text").splitlines() == [
        "name     µs",
        "-----  ----",
        "one     1.5",
        "three  12.0",
    ]
    assert table(("name", "µs"), rows, "markdown").splitlines()[1] == "| ----- | ---: |"


def test_report_has_figures_shares_and_what_is_missing():
    record = Grid([], [ITSELF], [1]).describe()
    missing = {"workload": "w", "threads": 1, "pair": ["a", "ghost"], "status": "skipped", "side": "ghost"}
    text = report(record, [result(("a", "b"), 3.0), {**missing, "reason": "ghost is not installed"}], "text")
    row = next(line for line in text.splitlines() if line.startswith("w  "))
    assert row.split() == [
        "w",
        "1",
        "a",
        "b",
        "2.00",
        "1.00–4.00",
        "6.00",
        "3.00–12.0",
        "3.00",
        "1.50–6.00",
        "50",
        "26%",
        "26%",
        "0.5",
    ]
    assert "- ghost: skipped: ghost is not installed" in text
    assert record["machine"]["cpu"] in text
    assert "1T: kept to as many processors; OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1" in text


def test_a_tiny_grid_from_the_command_to_its_file(tmp_path, capsys):
    file = tmp_path / "found.json"
    options = ["--workload", "2-4-1", "--pairs", ":".join(ITSELF), "--threads", "1", "--seconds", "0.01"]
    assert command.main([*options, "--json", str(file)]) == 0
    printed = capsys.readouterr()
    assert "2-4-1/b4/sgd" in printed.out and "numpy_hand : numpy_hand" in printed.err
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["complete"] is True
    assert {"cpu", "cores", "affinity", "versions", "numpy_blas", "date"} <= found["machine"].keys()
    assert found["settings"]["environment"]["1"]["OPENBLAS_NUM_THREADS"] == "1"
    (pair,) = found["results"]
    assert pair["status"] == "timed" and pair["threads"] == 1
    assert pair["affinity"] is None or len(pair["affinity"]) == 1
    for side in pair["sides"]:
        assert len(side["samples"]) == side["seconds_per_step"]["count"] == pair["ratio"]["count"] >= LEAST_PAIRS
        assert all(seconds > 0 for seconds in side["samples"])
    assert pair["step_flops"] == GRID[0].flops() and pair["multiply_rate"]["rate"] > 0


def test_an_absent_library_is_skipped_and_named(monkeypatch, capsys):
    ghost = Side("ghost", "a_library_that_is_not_there", "ghost-of-a-library", "nothing")
    monkeypatch.setitem(SIDES, "ghost", ghost)
    assert command.main(["--workload", "2-4-1", "--sides", "numpy_hand,ghost", "--threads", "1"]) == 0
    assert "ghost: skipped: ghost-of-a-library is not installed" in capsys.readouterr().out


def test_a_side_that_cannot_run_a_workload_is_skipped_for_it_once():
    deep = Workload("deep", (3, 3, 3, 3, 3), "relu", 2, "sgd", "cross_entropy", 0.1)
    grid = Grid([deep], [ITSELF, ITSELF], [1], seconds=0.01)
    measured = []
    inner = grid._measure
    object.__setattr__(grid, "_measure", lambda *of: measured.append(of) or inner(*of))
    results = list(grid.results())
    assert [r["status"] for r in results] == ["skipped", "skipped"] and len(measured) == 1
    assert "one to three layers" in results[1]["reason"]


def test_a_side_that_raises_is_failed_not_the_grid():
    odd = Workload("odd", (2, 3, 2), "relu", 4, "sgd", "cross_entropy", 0.1, batches=0)
    (found,) = Grid([odd], [ITSELF], [1], seconds=0.01).results()
    assert found["status"] == "failed" and found["reason"]


def test_a_pair_that_takes_too_long_is_failed():
    (found,) = Grid(select(["2-4-1"]), [ITSELF], [1], time_limit=0.01).results()
    assert found["status"] == "failed" and "took over" in found["reason"]


def test_json_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "found.json"
    write_json(file, {"first": 1})
    with pytest.raises(TypeError):
        write_json(file, {"second": 2, "no JSON": object()})
    assert json.loads(file.read_text(encoding="utf-8")) == {"first": 1}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workload", "nine"], "--workload.*'nine'"),
        (["--sides", "numpy_hand"], "at least two sides"),
        (["--sides", "numpy_hand,matlab"], "chainrule_compiled.*'matlab'"),
        (["--pairs", "numpy_hand"], "--pairs.*'numpy_hand'"),
        (["--sides", "a,b", "--pairs", "a:b"], "exclude each other"),
        (["--threads", "1,x"], "--threads.*'1,x'"),
        (["--threads", "99999"], "--threads.*'99999'"),
        (["--seconds", "0"], "--seconds.*0.0"),
        (["--seconds", "nan"], "--seconds.*nan"),
        (["--overhead", "--workload", "2-4-1"], "--workload.*--overhead"),
        (["--memory", "--pairs", ":".join(ITSELF)], "--pairs.*--memory"),
        (["--memory", "--sides", "matlab"], "side.*'matlab'"),
        (["--memory", "--overhead"], "not allowed with argument"),
        (["--json", "no/such/folder/file.json"], "--json.*no/such/folder"),
    ],
)
def test_bad_options_are_named(options, message, capsys):
    with pytest.raises(SystemExit):
        command.main(options)
    assert re.search(message, capsys.readouterr().err)


def test_the_list_names_every_workload_and_side(capsys):
    assert command.main(["--list"]) == 0
    printed = capsys.readouterr().out
    for name in [*(w.name for w in GRID), *SIDES, *(":".join(pair) for pair in DEFAULT_PAIRS)]:
        assert name in printed


@pytest.mark.slow
@pytest.mark.parametrize("side", [name for name in SIDES if name != "numpy_hand"])
def test_every_installed_side_passes_the_gate(side):
    if SIDES[side].absent():
        pytest.skip(SIDES[side].absent())
    workloads = select(["2-4-1", "64-32-10/b32/adam", "4-32-16-4", "1024-512"])
    for found in Grid(workloads, [("numpy_hand", side)], [1], seconds=0.01).results():
        assert found["status"] in ("timed", "skipped"), found


def test_profile_names_every_step():
    pytest.importorskip("chainrule.engine._native")
    from benchmarks.profile import lines
    from benchmarks.workloads import GRID

    small = next(w for w in GRID if w.name == "64-32-10/b32/adam")
    printed = lines(small, 1, 0.01)
    assert printed[-1].endswith("the least of many runs each")
    assert sum("matmul" in line for line in printed) == 5
    assert all(float(line.split()[0]) >= 0 for line in printed)
