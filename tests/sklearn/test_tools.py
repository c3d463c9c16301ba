"""The estimators inside scikit-learn's tools: pipelines, searches, copies, files, routed weights."""

from __future__ import annotations

import copy
import io

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next line possible
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule as cr
from chainrule import nn
from chainrule.sklearn import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
QUICK = {"max_iter": 8, "random_state": 0, "batch_size": 50}


def network(n_features, n_outputs, hidden=8):
    return nn.Sequential(nn.Linear(n_features, hidden), nn.Tanh(), nn.Linear(hidden, n_outputs))


FITTED = {
    "MLPClassifier": lambda: MLPClassifier((6,), **QUICK).fit(X, Y),
    "MLPRegressor": lambda: MLPRegressor(hidden_layer_sizes=(6,), **QUICK).fit(X, Y),
    "NetClassifier": lambda: NetClassifier(network, module__hidden=5, max_epochs=8, random_state=0).fit(X, Y),
    "NetRegressor": lambda: NetRegressor(network, max_epochs=8, random_state=0).fit(X, Y),
}


@pytest.mark.parametrize("name", FITTED)
def test_copies_and_files_predict_alike(name):
    estimator = FITTED[name]()
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    for other in (copy.deepcopy(estimator), joblib.load(file)):
        assert np.array_equal(other.predict(X), estimator.predict(X))
        assert other.get_params().keys() == estimator.get_params().keys()


@pytest.mark.parametrize("name", ["MLPClassifier", "NetClassifier"])
def test_a_copy_goes_on_training_as_the_original_does(name):
    a = FITTED[name]()
    b = copy.deepcopy(a)
    for estimator in (a, b):
        estimator.partial_fit(X, Y)
    assert np.array_equal(a.predict_proba(X), b.predict_proba(X))


@pytest.mark.parametrize("name", FITTED)
def test_clones_are_unfitted_and_alike(name):
    estimator = FITTED[name]()
    again = clone(estimator)
    assert not hasattr(again, "module_") and again.get_params() == estimator.get_params()
    assert np.array_equal(again.fit(X, Y).predict(X), estimator.predict(X))


@pytest.mark.parametrize("name", FITTED)
def test_representations(name):
    estimator = FITTED[name]()
    assert (
        name in repr(estimator)
        and name in estimator._repr_html_inner()
        and "<" in estimator._repr_mimebundle_()["text/html"]
    )


@pytest.mark.slow
def test_grid_search_in_two_processes():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((6,), **QUICK))
    grid = {"mlpclassifier__alpha": [1e-4, 1e-2], "mlpclassifier__activation": ["relu", "gelu"]}
    alone = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    both = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, Y)
    assert np.array_equal(alone.cv_results_["mean_test_score"], both.cv_results_["mean_test_score"])


def test_a_search_reaches_the_modules_parameters():
    search = GridSearchCV(NetClassifier(network, max_epochs=4, random_state=0), {"module__hidden": [3, 7]}, cv=2)
    search.fit(X, Y)
    assert search.best_estimator_.module_[0].out_features == search.best_params_["module__hidden"]


def test_a_halving_search_gives_the_better_half_more_epochs():
    grid = {"alpha": [1e-4, 1.0], "learning_rate_init": [1e-5, 1e-2]}
    perceptron = MLPClassifier((6,), **{**QUICK, "max_iter": 1})
    settings = {
        "resource": "max_iter",
        "min_resources": 6,
        "max_resources": 24,
        "factor": 2,
        "cv": 2,
        "random_state": 0,
    }
    search = HalvingGridSearchCV(perceptron, grid, **settings).fit(X, Y)
    found = search.cv_results_
    assert found["iter"].tolist() == [0, 0, 0, 0, 1, 1, 2] and found["n_resources"].tolist() == [6] * 4 + [12, 12, 24]
    tried = [(params["alpha"], params["learning_rate_init"]) for params in found["params"]]
    assert set(tried[4:6]) == {tried[i] for i in np.argsort(found["mean_test_score"][:4])[2:]}
    assert search.best_params_["learning_rate_init"] == 1e-2 and search.best_estimator_.n_iter_ == 24


def test_cross_validation_keeps_to_the_folds():
    scores = cross_val_score(
        make_pipeline(StandardScaler(), MLPClassifier((10,), solver="lbfgs", random_state=0)), X, Y
    )
    assert scores.mean() > 0.9


def test_weights_are_routed():
    weights = np.random.default_rng(0).uniform(0, 2, len(X))
    with config_context(enable_metadata_routing=True):
        estimator = (
            MLPClassifier((6,), **QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        found = cross_validate(estimator, X, Y, cv=2, params={"sample_weight": weights}, return_estimator=True)
    assert len(found["estimator"]) == 2
    plain = cross_validate(MLPClassifier((6,), **QUICK), X, Y, cv=2, return_estimator=True)
    assert not np.array_equal(found["estimator"][0].coefs_[0], plain["estimator"][0].coefs_[0])


def test_ensembles_and_calibration():
    BaggingClassifier(MLPClassifier((4,), **QUICK), 2, random_state=0).fit(X, Y).predict(X)
    CalibratedClassifierCV(MLPClassifier((4,), **QUICK), cv=2).fit(X, Y).predict_proba(X)


def test_sparse_and_dense_inputs_train_alike():
    for kind in (sparse.csr_array, sparse.csc_matrix, sparse.csr_matrix):
        a, b = MLPClassifier((6,), **QUICK).fit(X, Y), MLPClassifier((6,), **QUICK).fit(kind(X), Y)
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(kind(X)))


def test_column_names_are_kept_and_compared():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    estimator = MLPClassifier((6,), **QUICK).fit(table, Y)
    assert list(estimator.feature_names_in_) == list(estimator.module_.feature_names) == ["a", "b", "c", "d"]
    assert np.array_equal(cr.predict(estimator.module_, table), estimator.decision_function(table))
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(table[["b", "a", "c", "d"]])


def test_the_trained_network_can_be_saved_explained_and_taken_apart(tmp_path):
    estimator = MLPClassifier((6,), activation="tanh", **QUICK).fit(X, Y)
    cr.save(tmp_path / "iris.safetensors", estimator.module_)
    logits = cr.predict(cr.load(tmp_path / "iris.safetensors")[0], X)
    np.testing.assert_array_equal(estimator.decision_function(X), logits)
    assert "dZ2" in str(cr.backprop(estimator.module_, X, Y, loss="cross_entropy"))
    assert "51 parameters" in str(cr.explain(estimator.module_, X[:8], Y[:8], "cross_entropy"))


def test_rows_in_any_number_predict_alike():
    digits, numbers = load_digits(return_X_y=True)
    estimator = MLPClassifier((12,), max_iter=3, random_state=0).fit(digits, numbers)
    whole = estimator.predict_proba(digits)
    for rows in (1, 2, 63, 64, 65, 500, 1024, 1025, 1797):
        np.testing.assert_allclose(estimator.predict_proba(digits[:rows]), whole[:rows], rtol=1e-10, atol=1e-12)


def test_threads_follow_what_joblib_allows_its_workers(monkeypatch):
    from chainrule.sklearn.settings import usable_threads

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_threads(None) == 1 and usable_threads(3) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert usable_threads(None) is None


def test_two_python_threads_fit_at_once():
    data = make_classification(300, 10, random_state=0)
    alone = MLPClassifier((6,), **QUICK).fit(*data)
    both = joblib.Parallel(2, backend="threading")(joblib.delayed(clone(alone).fit)(*data) for _ in range(2))
    for estimator in both:
        assert np.array_equal(estimator.coefs_[0], alone.coefs_[0])
