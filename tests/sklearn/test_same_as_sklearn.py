"""With the same random_state the estimators take scikit-learn's own steps: same weights, losses, stops, to rounding."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from sklearn import neural_network as theirs
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

from chainrule import sklearn as ours
from tests import tables

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MULTI = make_classification(130, 12, n_informative=6, n_classes=3, random_state=1)
BINARY = make_classification(130, 12, n_informative=6, random_state=2)
LABELS = make_multilabel_classification(130, 12, n_classes=4, random_state=3)
NUMBER = make_regression(130, 12, noise=5.0, random_state=4)
NUMBERS = make_regression(130, 12, n_targets=3, noise=5.0, random_state=5)
COUNTS = NUMBER[0], np.random.default_rng(6).poisson(np.exp(0.4 * NUMBER[0][:, 0] + 0.2))

DATA = {
    "multiclass": ("MLPClassifier", MULTI),
    "binary": ("MLPClassifier", BINARY),
    "multilabel": ("MLPClassifier", LABELS),
    "number": ("MLPRegressor", (NUMBER[0], NUMBER[1] / 100)),
    "numbers": ("MLPRegressor", (NUMBERS[0], NUMBERS[1] / 100)),
    "poisson": ("MLPRegressor", COUNTS),
}
SMALL = {"hidden_layer_sizes": (9, 7), "max_iter": 25, "random_state": 3, "alpha": 0.3, "learning_rate_init": 0.01}

TWO, THREE = ("multiclass", "number"), ("multiclass", "binary", "number")

#: Settings that stand beside the usual ones.
SETTINGS = {
    "adam": {},
    "adam in batches": {"batch_size": 32},
    "adam in batches, in order": {"batch_size": 32, "shuffle": False},
    "adam's own numbers": {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3},
    "sgd": {"solver": "sgd"},
    "sgd in batches": {"solver": "sgd", "batch_size": 40},
    "no nesterov": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.6},
    "no momentum": {"solver": "sgd", "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2, "batch_size": 50},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 2, "tol": 0.02, "max_iter": 60},
    "no penalty": {"alpha": 0.0},
    "tanh": {"activation": "tanh"},
    "logistic": {"activation": "logistic", "hidden_layer_sizes": (11,)},
    "identity": {"activation": "identity"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "one number": {"hidden_layer_sizes": 6},
    "stops": {"tol": 0.02, "n_iter_no_change": 3, "max_iter": 300},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 4, "max_iter": 80, "batch_size": 20},
}  # fmt: skip


def pair(name, data, **settings):
    """Fit both sides alike."""
    X, y = data
    if name == "MLPRegressor" and y is COUNTS[1]:
        settings["loss"] = "poisson"
    both = []
    for module, more in ((theirs, {}), (ours, {"dtype": "float64"})):
        both.append(getattr(module, name)(**{**SMALL, **settings}, **more).fit(X, y))
    return both


def assert_same(a, b, rtol=1e-9):
    for theirs_, ours_ in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_allclose(ours_, theirs_, rtol=rtol, atol=rtol)
    assert (b.n_iter_, b.t_, b.n_layers_, b.n_outputs_) == (a.n_iter_, a.t_, a.n_layers_, a.n_outputs_)
    assert b.out_activation_ == a.out_activation_
    np.testing.assert_allclose(b.loss_, a.loss_, rtol=rtol)
    if hasattr(a, "loss_curve_"):
        np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=rtol)
        for name in ("best_loss_", "best_validation_score_", "validation_scores_"):
            mine, known = getattr(b, name), getattr(a, name)
            assert (mine is None) == (known is None), name
            if known is not None:
                np.testing.assert_allclose(mine, known, rtol=rtol)


@pytest.mark.parametrize(
    ("settings", "data"), tables.in_turn(product(["adam", "sgd in batches", "early stopping"], DATA), every=4)
)
def test_targets_of_every_kind(data, settings):
    assert_same(*pair(*DATA[data], **SETTINGS[settings]))


def in_turn():
    """Return all settings on two data sets; on one of the two, in turn, the test is slow."""
    cases = [(data, name, (data == "number") == k % 2) for k, name in enumerate(SETTINGS) for data in TWO]
    return [tables.slow(data, name) if later else (data, name) for data, name, later in cases]


@pytest.mark.parametrize(("data", "settings"), in_turn())
def test_settings(data, settings):
    assert_same(*pair(*DATA[data], **SETTINGS[settings]))


@pytest.mark.parametrize("data", tables.in_turn(["multiclass", "binary", "multilabel", "number", "poisson"], every=2))
def test_lbfgs(data):
    a, b = pair(*DATA[data], solver="lbfgs", max_iter=12)
    assert b.n_iter_ == a.n_iter_
    np.testing.assert_allclose(b.loss_, a.loss_, rtol=1e-6)
    for known, mine in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_allclose(mine, known, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "data"),
    tables.in_turn(
        product(["adam", "sgd in batches", "adam in batches", "early stopping"], ["multiclass", "binary", "number"]),
        every=2,
    ),
)
def test_weights_of_examples(data, settings):
    name, (X, y) = DATA[data]
    weights = np.random.default_rng(0).uniform(0.2, 3.0, len(X))
    both = []
    for module, more in ((theirs, {}), (ours, {"dtype": "float64"})):
        estimator = getattr(module, name)(**{**SMALL, **SETTINGS[settings]}, **more)
        both.append(estimator.fit(X, y, sample_weight=weights))
    assert_same(*both)


@pytest.mark.parametrize("data", ["multiclass", "multilabel", "number"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_parts_one_after_another(data, solver):
    name, (X, y) = DATA[data]
    both = [
        getattr(theirs, name)(**SMALL, solver=solver), getattr(ours, name)(**SMALL, solver=solver, dtype="float64")
    ]  # fmt: skip
    for estimator in both:
        more = {} if data == "number" else {"classes": np.unique(y) if data == "multiclass" else np.arange(4)}
        for start in (0, 50, 100, 20):
            estimator.partial_fit(X[start : start + 30], y[start : start + 30], **more)
            more = {}
    assert_same(*both)


@pytest.mark.parametrize(
    ("stalling", "schedule"),
    tables.in_turn(product([{}, {"tol": 1.0, "n_iter_no_change": 1}], ["constant", "invscaling", "adaptive"]), every=2),
)
def test_the_learning_rate_goes_on_from_part_to_part(schedule, stalling):
    name, (X, y) = DATA["multiclass"]
    settings = {**SMALL, "solver": "sgd", "learning_rate": schedule, "learning_rate_init": 0.1, **stalling}
    both = [getattr(theirs, name)(**settings), getattr(ours, name)(**settings, dtype="float64")]
    for estimator in both:
        for _ in range(6):
            estimator.partial_fit(X, y, classes=np.unique(y))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.set_params(warm_start=True).fit(X, y)
        estimator.partial_fit(X, y)
    assert_same(*both)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_iter": 2},
        {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 30},
        {"tol": 1.0, "n_iter_no_change": 2},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1, "max_iter": 60},
    ],
)
def test_what_is_printed(settings, capsys):
    shown = []
    name, (X, y) = DATA["multiclass"]
    for module, more in ((theirs, {}), (ours, {"dtype": "float64"})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            getattr(module, name)(**{**SMALL, "verbose": True, **settings}, **more).fit(X, y)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != ""


def test_one_weight_for_all_examples():
    name, (X, y) = DATA["multiclass"]
    settings = {**SMALL, "alpha": 1.0}
    a = getattr(theirs, name)(**settings).fit(X, y, sample_weight=3.0)
    b = getattr(ours, name)(**settings, dtype="float64").fit(X, y, sample_weight=3.0)
    assert_same(a, b)


@pytest.mark.parametrize("settings", ["adam", "sgd in batches"])
def test_warm_start(settings):
    name, (X, y) = DATA["multiclass"]
    both = []
    for module, more in ((theirs, {}), (ours, {"dtype": "float64"})):
        estimator = getattr(module, name)(**{**SMALL, **SETTINGS[settings]}, warm_start=True, **more)
        both.append(estimator.fit(X, y).fit(X, y).partial_fit(X, y))
    assert_same(*both)


def test_one_step_from_weights_that_were_assigned():
    name, (X, y) = DATA["multiclass"]
    a = getattr(theirs, name)(**SMALL).partial_fit(X, y, classes=np.unique(y))
    b = getattr(ours, name)(**{**SMALL, "random_state": 8}).partial_fit(X, y, classes=np.unique(y))
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape) for w in a.coefs_]
    del a._optimizer
    b.warm_start = a.warm_start = True
    a.max_iter = b.max_iter = 1
    for estimator in (a, b):
        for old, new in zip(estimator.coefs_, weights, strict=True):
            old[...] = new
        estimator.intercepts_ = [np.zeros_like(v) for v in estimator.intercepts_]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(X, y)
    for known, mine in zip(a.coefs_, b.coefs_, strict=True):
        np.testing.assert_allclose(mine, known, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("data", DATA)
def test_predictions(data):
    a, b = pair(*DATA[data])
    X = DATA[data][1][0]
    assert b.predict(X).dtype == a.predict(X).dtype and b.predict(X).shape == a.predict(X).shape
    np.testing.assert_allclose(b.predict(X), a.predict(X), rtol=1e-8)
    if hasattr(a, "predict_proba"):
        np.testing.assert_allclose(b.predict_proba(X), a.predict_proba(X), rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(b.predict_log_proba(X), a.predict_log_proba(X), rtol=1e-6, atol=1e-9)


def test_float32():
    X, y = MULTI
    a, b = pair("MLPClassifier", (X.astype(np.float32), y))
    assert [c.dtype for c in b.coefs_] == [c.dtype for c in a.coefs_]
    c = ours.MLPClassifier(**SMALL).fit(X.astype(np.float32), y)
    assert c.coefs_[0].dtype == np.float32 and c.predict_proba(X.astype(np.float32)).dtype == np.float32


def test_the_public_parameters_are_there():
    for name in ("MLPClassifier", "MLPRegressor"):
        known, mine = getattr(theirs, name)().get_params(), getattr(ours, name)().get_params()
        assert {k: mine[k] for k in known} == known
