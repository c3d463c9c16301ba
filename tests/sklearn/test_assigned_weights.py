"""Weights assigned to an estimator take effect, however they are assigned."""

import copy
import pickle

import numpy as np
import pytest

theirs = pytest.importorskip("sklearn.neural_network", reason="needs scikit-learn")

from chainrule import nn  # noqa: E402
from chainrule.sklearn import MLPClassifier, MLPRegressor, NetRegressor  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(150, 3)), RNG.normal(size=(150, 2))
W, B = [RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))], [RNG.normal(size=4), RNG.normal(size=2)]


def fitted():
    return MLPRegressor(hidden_layer_sizes=4, max_iter=1, random_state=0, dtype="float64").fit(X[:20], Y[:20])


def whole(e):
    e.coefs_, e.intercepts_ = W, tuple(B)


def by_element(e):
    for i in range(2):
        e.coefs_[i], e.intercepts_[i - 2] = W[i].tolist(), B[i]


def by_slice(e):
    e.coefs_[:], e.intercepts_[0:] = W, B


def in_place(e):
    weights, biases = e.coefs_, e.intercepts_
    for i in range(2):
        weights[i][:], biases[i][...] = W[i], B[i]


def augmented(e):
    for i in range(2):
        e.coefs_[i] *= 0
        e.coefs_[i] += W[i]
        e.intercepts_[i] -= e.intercepts_[i] - B[i]


def by_module(e):
    other = MLPRegressor(hidden_layer_sizes=4, max_iter=1, random_state=3, dtype="float64").fit(X[:20], Y[:20])
    whole(other)
    e.module_ = other.module_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("assign", [whole, by_element, by_slice, in_place, augmented, by_module])
@pytest.mark.parametrize("rows", [5, 150])  # without and with a plan
def test_assigned_weights_predict(assign, rows):
    estimator = fitted()
    before = estimator.predict(X[:rows])
    assign(estimator)
    expected = np.maximum(X[:rows] @ W[0] + B[0], 0) @ W[1] + B[1]
    np.testing.assert_allclose(estimator.predict(X[:rows]), expected, rtol=1e-12)
    assert not np.allclose(before, expected)
    for again in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        np.testing.assert_allclose(again.predict(X[:rows]), expected, rtol=1e-12)
    np.testing.assert_array_equal(estimator.coefs_[0], W[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e: e.coefs_.__setitem__(0, np.zeros((4, 3))), r"coefs_\[0\]: expected an array of shape \(3, 4\)"),
        (lambda e: setattr(e, "coefs_", W[:1]), "coefs_: expected 2 arrays, one per layer, got 1"),
        (lambda e: setattr(e, "intercepts_", [B[0], 0.0]), r"intercepts_\[1\]: expected an array of shape \(2,\)"),
        (lambda e: e.intercepts_.__setitem__(slice(1), []), "intercepts_: expected 2 arrays, one per layer, got 1"),
        (lambda e: e.coefs_.__setitem__(1, W[1] * 1j), r"coefs_\[1\] is complex"),
        (lambda e: e.coefs_.append(W[1]), "coefs_ has one array for each of the 2 layers"),
        (lambda e: e.coefs_.pop(), "coefs_ has one array for each"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(change, message):
    estimator = fitted()
    before = estimator.predict(X)
    with pytest.raises((ValueError, TypeError), match=message):
        change(estimator)
    np.testing.assert_array_equal(estimator.predict(X), before)


def test_a_copy_of_the_list_is_its_own():
    with pytest.warns(match="Maximum iterations"):
        estimator = fitted()
    kept, before = copy.deepcopy(estimator.coefs_), estimator.predict(X)
    assert type(kept) is list
    kept[0] = np.zeros((3, 4))
    assert type(estimator.coefs_ + estimator.intercepts_) is list
    np.testing.assert_array_equal(estimator.predict(X), before)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_starts_from_weights_given_before_it():
    y = np.arange(150) % 2
    settings = {"hidden_layer_sizes": 4, "solver": "sgd", "momentum": 0, "max_iter": 1, "shuffle": False}
    weights, biases = [W[0], W[1][:, :1]], [B[0], B[1][:1]]
    first = theirs.MLPClassifier(**settings, random_state=0).partial_fit(X[:9], y[:9], classes=[0, 1])
    first.coefs_, first.intercepts_ = copy.deepcopy(weights), copy.deepcopy(biases)
    first.partial_fit(X, y)
    for warm in (False, True):
        ours = MLPClassifier(**settings, random_state=1, warm_start=warm, dtype="float64")
        assert not hasattr(ours, "coefs_")
        ours.coefs_ = [0, weights[1]]
        ours.coefs_[0] = weights[0]
        ours.intercepts_ = biases
        ours = pickle.loads(pickle.dumps(ours))
        ours.fit(X, y) if warm else ours.partial_fit(X, y, classes=[0, 1])
        for a, b in zip([*ours.coefs_, *ours.intercepts_], [*first.coefs_, *first.intercepts_], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10)
    wrong = MLPClassifier(**settings)
    wrong.coefs_ = [0, 0]
    with pytest.raises(ValueError, match=r"coefs_\[0\]: expected an array of shape \(3, 4\), got shape \(\)"):
        wrong.partial_fit(X, y, classes=[0, 1])
    assert not hasattr(wrong, "module_")


def test_another_module():
    net = NetRegressor(nn.Sequential(nn.Linear(3, 2)), max_epochs=1, random_state=0)
    with pytest.warns(match="Maximum iterations"):
        net.fit(X, Y)
    net.module_ = nn.Sequential(nn.Linear(3, 2, weight_init="zeros"))
    assert not net.predict(X).any() and not net.predict(X[:3]).any()


def test_divergence_with_early_stopping_keeps_the_best_weights():
    estimator = MLPRegressor(
        hidden_layer_sizes=50,
        activation="identity",
        solver="sgd",
        learning_rate_init=1,
        max_iter=50,
        early_stopping=True,
        random_state=0,
    )
    with pytest.warns(match="best validation score, .* are kept, since training stopped being finite"):
        estimator.fit(10 * X, Y)
    assert np.isnan(estimator.validation_scores_[-1]) and len(estimator.validation_scores_) == estimator.n_iter_
    assert np.isfinite(estimator.predict(X)).all()
    assert estimator.best_validation_score_ == np.nanmax(estimator.validation_scores_)


def test_labels_that_tie_in_probability_tie_in_its_logarithm():
    several = (RNG.normal(size=(150, 3)) > 0).astype(int)
    with pytest.warns(match="Maximum iterations"):
        estimator = MLPClassifier(hidden_layer_sizes=4, max_iter=1, random_state=0).fit(X, several)
    for array in estimator.coefs_:
        array *= 30
    p, log_p = estimator.predict_proba(X), estimator.predict_log_proba(X)
    assert (p == 1).sum() > 10
    np.testing.assert_array_equal(p.argmax(axis=1), log_p.argmax(axis=1))
    assert np.isfinite(log_p).all()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_classifier_whose_outputs_are_nan_predicts_no_class():
    for labels in (Y[:, 0] > 0, np.digitize(Y[:, 0], [-0.5, 0.5]), Y > 0):
        e = MLPClassifier(hidden_layer_sizes=4, max_iter=1, random_state=0).fit(X, labels)
        e.predict(X)
        e.coefs_[1] = np.full_like(e.coefs_[1], np.nan)
        for rows in (X[:1], X):
            with pytest.raises(ValueError, match=r"for \d+ of \d+ rows of X are NaN, .*2\.weight are not finite"):
                e.predict(rows)
    e = MLPClassifier(hidden_layer_sizes=4, max_iter=1, random_state=0).fit(X, Y[:, 0] > 0)
    e.coefs_[0] = np.full_like(e.coefs_[0], np.inf)
    with pytest.raises(ValueError, match=r"0\.weight are not finite"):
        e.predict(X)
