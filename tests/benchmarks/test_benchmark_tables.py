"""The benchmark of real tables: its folds, errors, files and report. No times are judged."""

from __future__ import annotations

import re

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from benchmarks.tables import __main__ as command  # noqa: E402
from benchmarks.tables import measure, report  # noqa: E402
from benchmarks.tables.sets import BY_NAME, TABLES, expanded  # noqa: E402
from benchmarks.tables.sides import SIDES, few_levels, imputed, words  # noqa: E402


def result(table, side, fold, error, baseline=1.0, seconds=1.0, **more):
    more |= {"baseline": {"error": baseline, "wrong": 0.1}, "fit_seconds": seconds, "predict_seconds": 0.0}
    more |= {"fit_processor_seconds": 1.5 * seconds}
    return {"table": table, "side": side, "fold": fold, "error": error, "rows": 9, "columns": 2, **more}


def test_half_of_the_tables_are_classification_and_each_says_where_it_comes_from():
    assert len(BY_NAME) == len(TABLES) >= 15
    assert abs(sum(t.task == "regression" for t in TABLES) / len(TABLES) - 0.5) < 0.1
    assert all(t.package and t.licence and t.about for t in TABLES)


def test_errors_by_hand():
    y = np.array([0, 0, 1, 1])
    found = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]])
    # Of the four pairs of a 0 and a 1, the pair (0.6, 0.5) is in the wrong order; .5 and .5 count as class 0.
    got = measure.errors("binary", y, found)
    assert got == {
        "error": pytest.approx(1 / 4),
        "wrong": pytest.approx(2 / 4),
        "log_loss": pytest.approx(-np.log([0.9, 0.4, 0.5, 0.8]).mean()),
    }
    assert measure.errors("regression", np.array([1.0, 3.0]), np.array([1.0, 0.0])) == {
        "error": pytest.approx(np.sqrt(4.5)),
        "absolute": 1.5,
    }
    with pytest.raises(ValueError, match="1 outputs are not finite"):
        measure.errors("regression", np.zeros(2), np.array([0.0, np.nan]))


def test_a_baseline_has_the_error_1_and_half_the_pairs_in_the_wrong_order():
    y = np.array([0, 0, 0, 1])
    assert measure.errors("binary", y, measure.guesses("binary", y, 4))["error"] == 0.5
    assert measure.errors("regression", y, measure.guesses("regression", y, 4))["error"] == pytest.approx(y.std())


def test_folds_are_the_same_each_time_and_hold_each_row_out_once():
    y = np.arange(50) % 3
    for task in ("multiclass", "regression"):
        folds, again = measure.splits(y, task), measure.splits(y, task)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(50))
        assert all((a == b).all() for (_, a), (_, b) in zip(folds, again, strict=True))


def test_preparation_of_times_levels_and_gaps():
    times = pd.to_datetime(["1970-01-02 00:00", "1971-03-04 12:00"])
    frame = pd.DataFrame({"t": times, "x": [1.0, np.nan], "c": pd.Categorical(["a", None])})
    parts = expanded(frame)
    assert parts["t days"].tolist() == [1.0, 365 + 31 + 28 + 3 + 0.5]
    assert parts[["t month", "t day", "t hour"]].to_numpy().tolist() == [[1, 2, 0], [3, 4, 12]]
    assert parts["t day_of_week"].tolist() == [4, 3]  # a Friday and a Thursday
    assert words(frame)["c"].tolist() == ["a", "missing"]
    assert imputed(frame)["x"].tolist() == [1.0, 1.0] and imputed(frame)["x missing"].tolist() == [0.0, 1.0]
    many = pd.DataFrame({"c": pd.Categorical([f"{i:03}" for i in range(300)])})
    assert few_levels(many)["c"].tolist() == list(range(300))


def test_what_is_on_file_is_not_measured_again(tmp_path):
    job = {"table": "wine", "side": "baseline", "folds": [0, 3], "threads": 1, "folder": str(tmp_path)}
    assert measure.run(job)["status"] == "measured"
    found = measure.read_results(tmp_path)
    assert [r["fold"] for r in found] == [0, 3]
    # The shares of the training part, computed here anew: the log loss of the folds.
    y = BY_NAME["wine"].load()[1]
    train, test = measure.splits(y, "multiclass")[3]
    assert found[1]["error"] == pytest.approx(-np.log(np.bincount(y[train])[y[test]] / len(train)).mean())
    assert report.relative(found[1]) == pytest.approx(1)
    table = measure.Tables(tmp_path, [BY_NAME["wine"]], ["baseline"], [0, 3])
    assert list(table.results()) == []


def test_the_report_ranks_sides_and_says_where_ours_is_worse(capsys):
    ours = [result("caravan", "chainrule", fold, 0.2, wrong=0.3, seconds=2.0) for fold in range(5)]
    theirs = [result("caravan", "LightGBM", fold, 0.1 + fold / 1000, seconds=1.0) for fold in range(5)]
    bad = [result("wine", side, fold, 1.2) for fold in range(2) for side in ("chainrule", "LightGBM")]
    text = report.report([*ours, *theirs, *bad], "text")
    row = next(line for line in text.splitlines() if line.startswith("LightGBM")).split()
    assert row[1:] == ["1.00", f"{(0.102 + 1.2) / 2:.3f}", "7", "0.71", "10", "0.71", "0", "1", "1"]
    ours = next(line for line in text.splitlines() if line.startswith("chainrule")).split()
    assert ours[1:] == ["1.50", f"{(0.2 + 1.2) / 2:.3f}", "12", "1.00", "18", "1.00", "-", "-", "-"]
    times = next(line for line in text.splitlines() if line.startswith("caravan") and "(" in line).split()
    assert times == ["caravan", "2", "(3)", "1", "(1.5)"]
    assert "caravan: 30.0% of the predicted classes are wrong, 10.0% if the most frequent one is" in text
    assert "wine: worse than the baseline, with 1.200 of its error." in text


def test_a_side_with_fewer_folds_is_ranked_in_a_list_of_its_own_and_its_cells_say_so():
    errors = {"chainrule": [0.2, 0.2, 0.2], "LightGBM": [0.3, 0.3, 0.3], "CatBoost": [0.1, 0.1]}
    text = report.report([result("wine", s, k, e) for s, each in errors.items() for k, e in enumerate(each)], "text")
    first = next(line for line in text.splitlines() if line.startswith("wine"))
    assert "0.200 ±0.000  0.300 ±0.000  0.100 ±0.000 of 2" in first
    found = [line.split()[:3] for line in text.splitlines() if line.split()[0:1] and line.split()[0] in errors]
    assert found == [
        ["chainrule", "1.00", "0.200"],
        ["LightGBM", "2.00", "0.300"],
        ["chainrule", "2.00", "0.200"],  # on the first two folds, where there are results of all three
        ["LightGBM", "3.00", "0.300"],
        ["CatBoost", "1.00", "0.100"],
    ]


def test_differences_within_the_noise_of_the_folds_are_level():
    ours = {fold: result("wine", "chainrule", fold, error) for fold, error in enumerate([0.1, 0.3, 0.2])}
    worse = {fold: result("wine", "LightGBM", fold, r["error"] + 0.1) for fold, r in ours.items()}
    noisy = {fold: result("wine", "LightGBM", fold, error) for fold, error in enumerate([0.2, 0.1, 0.3])}
    assert report.compared(ours, worse, [0, 1, 2]) == "better"
    assert report.compared(worse, ours, [0, 1, 2]) == "worse"
    assert report.compared(ours, noisy, [0, 1, 2]) == "level"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sets", "moon"], "--sets.*'moon'"),
        (["--sides", "oracle"], "--sides.*'oracle'"),
        (["--folds", "6"], "--folds.*6"),
    ],
)
def test_wrong_options_are_named(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main([str(tmp_path), *options])
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize("side", [name for name in SIDES if "RealMLP" not in name])
def test_sides_learn(side, tmp_path):
    if SIDES[side].absent():
        pytest.skip(SIDES[side].absent())
    job = {"table": "wine", "side": side, "folds": [0], "threads": 1, "folder": str(tmp_path)}
    assert measure.run(job)["error"] < (2 if side == "baseline" else 0.5)
