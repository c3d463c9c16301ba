"""Intervals, the baseline, sentences, temperatures and thresholds."""

import numpy as np
import pytest
from scipy import optimize, special

from chainrule.judging import (
    CHOICES,
    Baseline,
    Predictions,
    best_threshold,
    fit_temperature,
    intervals,
    judge,
    measure,
    of_overfitting,
)
from tests.tables import slow

RNG = np.random.default_rng(0)


def of_two(true, p, **more):
    return Predictions.of_probabilities(np.asarray(true), np.stack([1 - p, p], axis=1), ("no", "yes"), **more)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_intervals_are_those_of_theory():
    """Of a mean: 1.96 standard errors; also where only a part of the rows is drawn from."""
    for m in (500, 20_000):
        true = RNG.normal(size=m)
        said = Predictions.of_values(true, true + RNG.exponential(size=m))
        low, high = intervals(said)[0]["mae"]
        half = 1.96 / np.sqrt(m)
        assert high - low == pytest.approx(2 * half, rel=0.25) and low < measure(said)[0]["mae"] < high


@pytest.mark.slow
def test_intervals_hold_the_truth_mostly():
    inside = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        hits = rng.random(150) < 0.8
        low, high = intervals(of_two(np.ones(150, int), np.where(hits, 0.9, 0.1)), seed=trial, repeats=100)[0][
            "accuracy"
        ]
        inside += low <= 0.8 <= high
    assert inside >= 50


def test_the_seed_decides():
    said = Predictions.of_values(np.arange(50.0), np.arange(50.0) + RNG.normal(size=50))
    assert intervals(said, seed=1) == intervals(said, seed=1) != intervals(said, seed=2)


def test_the_baseline_is_scikit_learns_dummy():
    dummy = pytest.importorskip("sklearn.dummy")
    metrics = pytest.importorskip("sklearn.metrics")
    trained, y = RNG.choice(3, 200, p=[0.6, 0.3, 0.1]), RNG.choice(3, 90)
    prior = dummy.DummyClassifier(strategy="prior").fit(np.zeros((200, 1)), trained)
    found = Baseline.of_classes(trained, 3).measured(y)
    X = np.zeros((90, 1))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, prior.predict_proba(X)))
    assert found["accuracy"] == prior.score(X, y) and found["auc"] == 0.5
    values, target = RNG.exponential(size=200), RNG.exponential(size=90)
    found = Baseline.of_values(values).measured(target)
    for strategy, name, score in (
        ("mean", "rmse", "root_mean_squared_error"),
        ("median", "mae", "mean_absolute_error"),
    ):
        said = dummy.DummyRegressor(strategy=strategy).fit(np.zeros((200, 1)), values).predict(X)
        assert found[name] <= getattr(metrics, score)(target, said) + 1e-12


def test_words_of_a_good_and_a_bad_model():
    true = (RNG.random(400) < 0.1).astype(int)
    baseline = Baseline.of_classes(true, 2)
    good = judge(of_two(true, sigmoid(6 * true - 4)), baseline, split="the test split")
    assert good.is_better and good.findings() == []
    assert good.headline.startswith("Better than the baseline on the test split: log loss ")
    ranking = judge(of_two(true, sigmoid(2 * true + RNG.normal(size=400))), baseline, split="the test split")
    assert not ranking.is_better and "in AUC, but not in everything: log loss " in ranking.headline
    said = " ".join(ranking.findings())
    assert "ccuracy no better than guessing" in said and "Probabilities no better than the classes' shares" in said
    silent = judge(of_two(true, sigmoid(true - 4.0)), baseline)
    never = next(s for s in silent.findings() if s.startswith("Never predicted on the data: yes ("))
    assert ". Another threshold (--threshold f1) or weights of the examples (" in never
    reverse = judge(of_two(true, sigmoid(-3 - 2 * true + 0.1 * RNG.normal(size=400))), baseline)
    assert any(s.startswith("Ranked the wrong way") for s in reverse.findings())


def test_a_class_that_is_hardly_found():
    true = np.repeat([0, 1, 2], [50, 40, 30])
    predicted = true.copy()
    predicted[90:119] = 0
    said = Predictions.of_probabilities(true, np.eye(3)[predicted] * 0.9 + 0.03, ("a", "b", "c"))
    hardly = next(s for s in judge(said).findings() if "Hardly found on the data: c (1 of 30 examples)" in s)
    assert hardly.endswith(". Weights of the examples (sample_weight=, --class-weight) may help.")


def test_an_order_better_than_chance_with_few_right_classes():
    """As a threshold for F1 gives: more errors than the usual class, but the AUC is better."""
    true = (RNG.random(600) < 0.1).astype(int)
    p = sigmoid(2 * true - 2 + RNG.normal(size=600))
    said = Predictions.of_probabilities(true, np.stack([1 - p, p], axis=1), ("no", "yes"), threshold=0.2)
    found = [s for s in judge(said, Baseline.of_classes(true, 2)).findings() if "guessing" in s]
    assert len(found) == 1 and found[0].startswith("Accuracy no better than guessing: ")
    assert "is better than chance" in found[0]


@pytest.mark.parametrize("gap", [1.1, slow(3.0)])
def test_better_on_the_training_split(gap):
    true = RNG.normal(size=300)
    values = judge(Predictions.of_values(true, true + 0.6 * RNG.normal(size=300)), Baseline.of_values(true))
    p = sigmoid(2 * (true > 0) - 1 + 0.3 * RNG.normal(size=300))
    classes = judge(of_two((true > 0).astype(int), p), Baseline((0.5, 0.5)))
    for judged, name in ((values, "rmse"), (classes, "log_loss")):
        found = list(of_overfitting(judged, {name: judged.figures[name] / gap}))
        assert len(found) == (gap > 2)
        assert all(s.startswith("Much better on the training split than on the data: ") for s in found)
    assert list(of_overfitting(judge(values.said), {"rmse": 0.0})) == []


def test_few_examples_may_be_chance():
    true = np.arange(40) % 2
    p = np.where(np.arange(40) % 5 < 3, 0.51, 0.49) * true + np.where(np.arange(40) % 5 < 2, 0.51, 0.49) * (1 - true)
    judged = judge(of_two(true, p), Baseline((0.5, 0.5)))
    assert judged.is_better and "may be chance: it is 40 examples" in judged.headline


def test_words_of_regressions():
    true = RNG.exponential(size=300)
    baseline = Baseline.of_values(true)
    assert judge(Predictions.of_values(true, true + 0.1), baseline).findings() == []
    bad = judge(Predictions.of_values(true, RNG.permutation(true)), baseline)
    assert all(s.startswith("No better than a constant: the ") for s in bad.findings())
    assert len(bad.findings()) == 2 and bad.headline.startswith("No better than the baseline on the data: RMSE ")


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 7.0])
def test_temperature(k, temperature):
    """It is found again, and its log loss is the least of all."""
    logits = RNG.normal(size=(4000, k)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = (RNG.random((4000, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(0, k - 1)
    given = logits * temperature
    found = fit_temperature(given[:, 1:] - given[:, :1] if k == 2 else given, true)
    assert found == pytest.approx(temperature, rel=0.1)

    def loss(t):
        shares = np.exp(given / t) / np.exp(given / t).sum(axis=1, keepdims=True)
        return -np.mean(np.log(shares[np.arange(4000), true]))

    assert loss(found) <= min(loss(found * f) for f in (0.9, 0.99, 1.01, 1.1))


@pytest.mark.parametrize("n", [12, 3000])
def test_temperature_with_a_prior(n):
    """It is the least of log loss and penalty, found by SciPy: few examples, all right, change little."""
    logits = RNG.normal(size=(n, 3)) * 3
    true = logits.argmax(axis=1)
    if n > 12:
        true[:500] = RNG.integers(0, 3, 500)

    def penalised(logarithm):
        scaled = logits / np.exp(logarithm)
        log_shares = scaled - special.logsumexp(scaled, axis=1, keepdims=True)
        return -log_shares[np.arange(n), true].sum() + logarithm**2 / (2 * 0.2**2)

    expected = np.exp(optimize.minimize_scalar(penalised, bounds=(-3, 3), method="bounded").x)
    assert fit_temperature(logits, true, 0.2) == pytest.approx(expected, rel=1e-3)
    free = fit_temperature(logits, true)
    assert free < 0.02 < 0.8 < expected < 1 if n == 12 else free == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("by", CHOICES)
def test_thresholds(by):
    """The best of all thresholds, by trying them."""
    for trial in range(6):
        true = (RNG.random(80) < 0.2).astype(int)
        p = np.round(sigmoid(2 * true - 2 + RNG.normal(size=80)), 2 + 4 * (trial % 2))

        def figure(threshold, true=true, p=p):
            found = measure(of_two(true, p, threshold=threshold))[0]
            return found["f1" if by == "f1" else "balanced_accuracy"]

        found = best_threshold(of_two(true, p), by)
        assert figure(found) == pytest.approx(max(map(figure, [*p, 0.0, 1.1])))


def test_a_threshold_needs_two_classes():
    with pytest.raises(ValueError, match="every example is of one class, no"):
        best_threshold(of_two(np.zeros(5, int), np.linspace(0, 1, 5)), "f1")
