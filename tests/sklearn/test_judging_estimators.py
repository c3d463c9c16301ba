"""The estimators in what other packages judge them with: calibration, importances, Shapley values."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.calibration import CalibratedClassifierCV
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from chainrule.sklearn import MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 3))
Z = 1.5 * X[:, 0] + X[:, 1]
Y = (RNG.random(400) < 1 / (1 + np.exp(-Z))).astype(int)


def classifier():
    return MLPClassifier(hidden_layer_sizes=(16,), max_iter=60, random_state=0, learning_rate_init=0.02)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(method):
    """Calibrated by a hold-out, an overfitted network says no more than it knows; chance has a score of 0.25."""
    train, test = slice(0, 200), slice(200, 400)
    plain = classifier().fit(X[train], Y[train])
    calibrated = CalibratedClassifierCV(classifier(), method=method, cv=3).fit(X[train], Y[train])
    found = [brier_score_loss(Y[test], model.predict_proba(X[test])[:, 1]) for model in (plain, calibrated)]
    assert found[1] < found[0] + 0.01 < 0.25


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.slow
def test_thresholds_and_importances():
    model = classifier().fit(X, Y)
    fixed = FixedThresholdClassifier(model, threshold=0.9).fit(X, Y)
    assert fixed.predict(X).sum() < model.predict(X).sum()
    tuned = TunedThresholdClassifierCV(classifier().set_params(max_iter=20), scoring="f1", cv=2).fit(X[:150], Y[:150])
    assert 0 <= tuned.best_threshold_ <= 1
    worse = permutation_importance(model, X, Y, n_repeats=3, random_state=0).importances_mean
    assert worse[0] > worse[2] and worse[1] > worse[2]
    average = partial_dependence(model, X, [0], grid_resolution=5)["average"][0]
    assert average[-1] > average[0] + 0.2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", ["classes", "values"])
def test_shapley_values(task):
    """They add up to the prediction, and a column that has no influence gets the smallest."""
    shap = pytest.importorskip("shap")
    values = task == "values"
    model = (
        MLPRegressor(hidden_layer_sizes=(16,), max_iter=60, random_state=0).fit(X, Z)
        if values
        else classifier().fit(X, Y)
    )
    predict = model.predict if values else model.predict_proba
    for explainer in (shap.Explainer(predict, X[:30]), shap.KernelExplainer(predict, X[:10])):
        found = explainer(X[:4])
        sums = found.base_values + found.values.sum(axis=1)
        np.testing.assert_allclose(sums, predict(X[:4]), atol=1e-4)
        sizes = np.abs(found.values).mean(axis=0)
        sizes = sizes if values else sizes[:, 1]
        assert sizes.argmin() == 2
