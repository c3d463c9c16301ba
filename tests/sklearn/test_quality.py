"""Held-out accuracy and R² on data sets beside scikit-learn's own perceptrons, fold by fold."""

from __future__ import annotations

import pytest

from benchmarks import estimators

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.slow
@pytest.mark.parametrize("name", estimators.DATA_SETS)
def test_as_good_as_scikit_learn(name):
    found = estimators.quality(name, 1)
    assert abs(found["difference"]) <= max(2 * found["standard_error"], 0.1 * found["spread"], 1e-3), found
    assert found["ours"] > (0.3 if name == "diabetes" else 0.95)


@pytest.mark.slow
def test_one_fold_of_a_small_data_set():
    (ours, theirs), *_ = estimators.fold_scores("wine", 0)
    assert ours == theirs > 0.9


def test_the_report_says_what_was_measured():
    spread = {"median": 0.1, "lower": 0.09, "upper": 0.12, "count": 3}
    side = {"seconds": spread, "epochs": 130, "training accuracy": 1.0}
    speed = {
        "status": "measured", "threads": 1, "dtype": "auto", "sides": [side, side], "ratio": spread,
        "processor_ratio": spread,
    }  # fmt: skip
    scored = {
        "status": "measured", "threads": 1, "data": "wine", "score": "accuracy", "folds": 5, "ours": 0.98,
        "theirs": 0.97, "spread": 0.01, "difference": 0.01, "standard_error": 0.004,
    }  # fmt: skip
    failed = {"status": "failed", "side": None, "reason": "took over 600 s"}
    record = {"machine": estimators.machine_record(estimators.PACKAGES), "settings": {"environment": {}}}
    text = estimators.report(record, [speed, failed], [scored], "markdown")
    assert "| float32" in text and "| wine" in text and "failed: took over 600 s" in text
