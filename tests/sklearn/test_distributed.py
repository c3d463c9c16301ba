"""Estimators in several processes: the same bits for any number of them."""

import numpy as np
import pytest
from sklearn.base import clone

from chainrule import nn
from chainrule.sklearn import MLPClassifier, MLPRegressor, NetClassifier, TabularClassifier, TabularRegressor
from tests.communicator import World, in_ranks
from tests.tables import for_each

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5))
LABELS, VALUES = np.where(X[:, 0] > 0, "b", "a"), X[:, :2] - X[:, 2:4]


def network(n_features, n_outputs):
    return nn.Sequential(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, n_outputs))


HIDDEN = {"hidden_layer_sizes": (9,)}
ESTIMATORS = {
    "classifier": (
        MLPClassifier(**HIDDEN, max_iter=4, random_state=3, early_stopping=True, alpha=0.1, batch_size=50), LABELS,
    ),
    "weighted": (MLPClassifier(**HIDDEN, max_iter=3, random_state=3, solver="sgd", class_weight="balanced"), LABELS),
    "regressor": (MLPRegressor(**HIDDEN, max_iter=3, random_state=0, dropout=0.2, batch_size=37), VALUES),
    "module": (NetClassifier(network, max_epochs=3, random_state=0), LABELS),
}  # fmt: skip


def fitted(kind, comm=None, **more):
    estimator, y = ESTIMATORS[kind]
    estimator = clone(estimator).set_params(distributed=comm, shards=5, threads=1, **more)
    estimator.fit(X, y)
    state = {k: a.tobytes() for k, a in estimator.module_.state_dict().items()}
    return estimator.loss_curve_, estimator.validation_scores_, state


@for_each("kind", ESTIMATORS)
def test_any_number_of_processes_gives_the_same_bits(kind):
    expected = fitted(kind)
    assert in_ranks(3, lambda comm: fitted(kind, comm)) == [expected] * 3


def test_without_a_seed_the_processes_draw_one_together():
    found = in_ranks(2, lambda comm: fitted("classifier", comm, random_state=None))
    assert found[0] == found[1]


def test_other_seeds_and_lbfgs_are_refused():
    world = World(2)
    for error in world.run(lambda comm: fitted("classifier", comm, random_state=comm.Get_rank())):
        assert isinstance(error, ValueError) and "process 1 has other" in str(error) and "random_state" in str(error)
    for error in world.run(lambda comm: fitted("classifier", comm, solver="lbfgs", early_stopping=False)):
        assert isinstance(error, ValueError) and "solver 'lbfgs' runs in one process" in str(error)
    assert world.aborted is None
    with pytest.raises(ValueError, match="shards: expected an integer ≥ 1 or None, got 0"):
        MLPClassifier(shards=0).fit(X, LABELS)


def test_numbers_that_are_not_finite_are_an_error_in_all_processes():
    world = World(2)
    many = {"solver": "sgd", "learning_rate_init": 1e30, "early_stopping": False}
    for error in world.run(lambda comm: fitted("regressor", comm, **many)):
        assert isinstance(error, ValueError) and "Solver produced non-finite" in str(error)
    assert world.aborted is None


SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 1, "threads": 1, "shards": 3}
TABLES = {
    "classifier": (TabularClassifier(**SMALL, n_ens=2, class_weight="balanced"), LABELS),
    "regressor": (TabularRegressor(**SMALL), VALUES[:, 0]),
}
TABLE = {"kind": np.where(X[:, 1] > 0.5, "u", "v"), **{f"x{i}": np.where(X[:, i] > 2, np.nan, X[:, i]) for i in (0, 2)}}


def fitted_to_table(kind, comm=None, table=TABLE, **more):
    estimator, y = TABLES[kind]
    estimator = clone(estimator).set_params(distributed=comm, **more).fit(table, y)
    states = [{k: a.tobytes() for k, a in network.state_dict().items()} for network in estimator.networks_]
    predicted = estimator.predict_proba(table) if kind == "classifier" else estimator.predict(table)
    return states, [history["loss"] for history in estimator.histories_], predicted.tobytes()


@for_each("kind", TABLES)
@pytest.mark.slow
def test_estimators_of_tables_give_the_same_bits_in_any_number_of_processes(kind):
    expected = fitted_to_table(kind)
    assert in_ranks(3, lambda comm: fitted_to_table(kind, comm)) == [expected] * 3


def test_a_table_that_one_process_cannot_read_ends_the_training_in_all():
    world = World(3)
    bad = TABLE | {"x0": [[1, 2]] * len(X)}
    errors = world.run(lambda comm: fitted_to_table("regressor", comm, bad if comm.Get_rank() == 1 else TABLE))
    assert "x0" in str(errors[1])
    for error in (errors[0], errors[2]):
        assert isinstance(error, RuntimeError) and "since process 1 failed" in str(error) and "x0" in str(error)
    assert world.aborted is None
    found = in_ranks(2, lambda comm: fitted_to_table("regressor", comm, random_state=None))
    assert found[0] == found[1]
