"""Searches of scikit-learn whose fits run on the workers of a cluster, through joblib."""

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from chainrule.sklearn import MLPClassifier

distributed = pytest.importorskip("distributed", reason="Dask is not installed")

# Dask warns of ports that others use, and of workers that take long.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_a_grid_search_on_a_dask_cluster_gives_the_same_scores():
    X, y = load_iris(return_X_y=True)
    grid = {"hidden_layer_sizes": [(4,), (16,)], "alpha": [1e-4, 1e-2]}
    search, alone = (GridSearchCV(MLPClassifier(max_iter=30, random_state=0), grid, cv=2) for _ in range(2))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        search.fit(X, y)
        assert client.cluster is cluster
    alone.fit(X, y)
    assert np.array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert search.best_params_ == alone.best_params_
