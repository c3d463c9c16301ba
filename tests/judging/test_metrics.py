"""Metrics against scikit-learn, on examples with weights, equal scores and rare classes; and where there are none."""

import itertools

import numpy as np
import pytest

from chainrule.judging import METRICS, Predictions, measure, precision_recall_curve, roc_curve

from ..tables import for_each

sk = pytest.importorskip("sklearn.metrics")
RNG = np.random.default_rng(0)


def some_classes(m, k, decimals=1, weighted=True):
    """Return predictions of k classes with equal scores among them, and weights, 0 of some."""
    scores = np.round(RNG.normal(size=(m, k)), decimals)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    true = np.concatenate([np.arange(k), np.arange(k), RNG.choice(k, m - 2 * k, p=RNG.dirichlet(np.ones(k)))])
    weight = RNG.integers(0, 3, m).astype(float) if weighted else np.ones(m)
    weight[: 2 * k] = 1.0
    return Predictions.of_probabilities(true, probabilities), weight


def ovr(said, weight, function, **more):
    return np.mean(
        [function(said.true == k, said.scores[:, k], sample_weight=weight, **more) for k in range(said.count)]
    )


def second(said):
    return said.scores[:, 1] if said.count == 2 else said.scores


def average(said):
    return "binary" if said.count == 2 else "macro"


OF_CLASSES = {
    "log_loss": lambda s, w: sk.log_loss(s.true, s.scores, sample_weight=w),
    "accuracy": lambda s, w: sk.accuracy_score(s.true, s.predicted, sample_weight=w),
    "balanced_accuracy": lambda s, w: sk.balanced_accuracy_score(s.true, s.predicted, sample_weight=w),
    "auc": lambda s, w: sk.roc_auc_score(s.true, second(s), multi_class="ovr", sample_weight=w),
    "average_precision": lambda s, w: (
        sk.average_precision_score(s.true, second(s), sample_weight=w)
        if s.count == 2
        else ovr(s, w, sk.average_precision_score)
    ),
    "f1": lambda s, w: sk.f1_score(s.true, s.predicted, average=average(s), sample_weight=w),
    "brier": lambda s, w: sk.brier_score_loss(s.true, second(s), sample_weight=w),
    "calibration_error": lambda s, w: expected_calibration_error(s, w),
}


def expected_calibration_error(said, weight):
    """By its definition, one bin after the other."""
    p = second(said) if said.count == 2 else said.scores.max(axis=1)
    right = said.true == (1 if said.count == 2 else said.scores.argmax(axis=1))
    edges = np.linspace(0, 1, 16)
    total = 0.0
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (p >= low) & ((p < high) | (i == 14))
        if weight[inside].sum():
            off = np.average(p[inside], weights=weight[inside]) - np.average(right[inside], weights=weight[inside])
            total += weight[inside].sum() * abs(off)
    return total / weight.sum()


OF_VALUES = {
    "r2": lambda s, w: sk.r2_score(s.true, s.predicted, sample_weight=w),
    "rmse": lambda s, w: sk.root_mean_squared_error(s.true, s.predicted, sample_weight=w),
    "mae": lambda s, w: sk.mean_absolute_error(s.true, s.predicted, sample_weight=w),
    "median_error": lambda s, w: quantile(np.abs(s.errors), w, 0.5),
    "error_90": lambda s, w: quantile(np.abs(s.errors), w, 0.9),
    "error_low": lambda s, w: quantile(s.errors, w, 0.05),
    "error_high": lambda s, w: quantile(s.errors, w, 0.95),
}


def quantile(values, weight, share):
    return np.quantile(values, share, weights=weight, method="inverted_cdf")


@for_each("name", [*OF_CLASSES, *OF_VALUES])
def test_metrics(name):
    for trial in range(8):
        if name in OF_CLASSES:
            said, weight = some_classes(200, (2, 2, 3, 7)[trial % 4], decimals=trial % 3, weighted=trial > 3)
        else:
            true = RNG.normal(size=101) * 10.0 ** RNG.integers(-3, 4)
            said, weight = Predictions.of_values(true, true + RNG.normal(size=101)), RNG.integers(0, 4, 101) + 0.0
        expected = (OF_CLASSES | OF_VALUES)[name](said, weight)
        assert METRICS[name].function(said, weight) == pytest.approx(expected, rel=1e-9), trial


def test_every_metric_has_an_oracle():
    assert METRICS.keys() == OF_CLASSES.keys() | OF_VALUES.keys()


def test_weights_are_repetitions():
    """What the bootstrap relies on."""
    said, weight = some_classes(60, 3)
    repeated = said.take(np.repeat(np.arange(60), weight.astype(int)))
    assert measure(said, weight)[0] == pytest.approx(measure(repeated)[0])


@pytest.mark.parametrize("k", [2, 3])
def test_one_class_in_the_part(k):
    true = np.full(30, k - 2)
    said = Predictions.of_probabilities(true, np.full((30, k), 1 / k), tuple("abc"[:k]))
    found, undefined = measure(said)
    only = "ab"[k - 2]
    assert undefined["auc"] == undefined["average_precision"] == f"every example is of one class, {only}"
    assert ("f1" in undefined) == (k == 2) and "log_loss" in found and np.isfinite(list(found.values())).all()


def test_an_absent_class_is_left_out_of_means():
    said, _ = some_classes(100, 3)
    rows = np.flatnonzero(said.true != 1)
    part = said.take(rows)
    expected = np.mean([sk.roc_auc_score(part.true == k, part.scores[:, k]) for k in (0, 2)])
    assert measure(part)[0]["auc"] == pytest.approx(expected)


def test_scores_that_are_no_probabilities():
    output, target = RNG.normal(size=(50, 1)), RNG.integers(0, 2, (50, 1))
    found, undefined = measure(Predictions.of_outputs(output, target, "hinge"))
    assert found.keys() == {"accuracy", "balanced_accuracy", "auc", "average_precision", "f1"} and not undefined
    assert found["auc"] == pytest.approx(sk.roc_auc_score(target[:, 0], output[:, 0]))


@pytest.mark.parametrize("decimals", [1, 8])
def test_curves(decimals):
    said, _ = some_classes(80, 2, decimals)
    false, true = roc_curve(said, 1)
    x, y, _ = sk.roc_curve(said.true, said.scores[:, 1], drop_intermediate=False)
    assert np.allclose(false, x) and np.allclose(true, y)
    recall, precision = precision_recall_curve(said, 1)
    p, r, _ = sk.precision_recall_curve(said.true, said.scores[:, 1])
    assert np.allclose(recall[::-1], r[:-1]) and np.allclose(precision[::-1], p[:-1])


def test_what_cannot_be_judged():
    zeros = np.zeros((4, 3))
    assert Predictions.of_outputs(zeros, zeros, lambda output, target: 0.0) is None
    assert Predictions.of_outputs(zeros, zeros, "binary_cross_entropy") is None  # several labels
    assert Predictions.of_outputs(zeros, zeros, "mse") is None
    assert Predictions.of_outputs(np.zeros((4, 5, 3)), np.zeros((4, 5), int), "cross_entropy") is None


def test_values_are_shown_as_a_person_reads_them():
    shown = METRICS["rmse"].shown
    assert [shown(x) for x in (22811.4, -9350.2, 999.96, 0.12345, 0.0, 1.2e-7)] == [
        *("22,810", "-9,350", "1000", "0.1235", "0", "1.2e-07")
    ]
    assert METRICS["accuracy"].shown(0.5) == "50.00 %"
