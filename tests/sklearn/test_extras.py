"""What scikit-learn's perceptrons lack: activations by layer, losses, dropout, weights of classes, curves, restarts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris, make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import losses
from chainrule.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
BINARY = make_classification(200, 8, weights=[0.9], random_state=1)
NUMBER = make_regression(200, 6, noise=1.0, random_state=0)
NUMBER = NUMBER[0], NUMBER[1] / 100
QUICK = {"max_iter": 30, "random_state": 0, "learning_rate_init": 0.02}


def test_another_activation_for_each_layer():
    found = MLPClassifier((7, 6, 5), ["gelu", nn.ELU(0.5), "tanh"], **QUICK).fit(X, Y)
    assert [type(layer).__name__ for layer in found.module_][1::2] == ["GELU", "ELU", "Tanh"]
    assert found.score(X, Y) > 0.9


def test_an_activation_that_was_given_is_not_shared():
    given = nn.ELU(0.5)
    a = MLPClassifier((5, 5), given, **QUICK).fit(X, Y)
    assert a.module_[1] is not given and a.module_[1] is not a.module_[3]


@pytest.mark.parametrize("loss", ["mae", "huber", "mse", "half_mse", "poisson", "squared_error"])
def test_losses_of_regressors(loss):
    x, y = NUMBER
    y = np.random.default_rng(0).poisson(np.exp(y / 4)) if loss == "poisson" else y
    found = MLPRegressor(loss, (20,), **{**QUICK, "max_iter": 150}).fit(x, y)
    assert found.score(x, y) > (0.3 if loss == "poisson" else 0.9)


def test_a_loss_of_ones_own():
    def quantile(output, target, *, reduction="mean"):
        error = target - output
        values = np.maximum(0.9 * error, -0.1 * error)
        return values if reduction == "none" else np.mean(values)

    x, y = NUMBER
    found = MLPRegressor(quantile, (20,), **{**QUICK, "max_iter": 300}).fit(
        x, y + np.random.default_rng(0).normal(size=200)
    )
    assert 0.8 < np.mean(y < found.predict(x)) <= 1
    weighted = MLPRegressor(quantile, (20,), **QUICK).fit(x, y, sample_weight=np.ones(200))
    np.testing.assert_allclose(
        weighted.loss_curve_, MLPRegressor(quantile, (20,), **QUICK).fit(x, y).loss_curve_, rtol=1e-8
    )


def test_a_loss_without_reduction_takes_no_weights():
    x, y = NUMBER
    with pytest.raises(ValueError, match="reduction='none'"):
        MLPRegressor(lambda o, t: np.mean(np.square(o - t)), **QUICK).fit(x, y, sample_weight=np.ones(200))


@pytest.mark.parametrize("classes", [2, 3])
def test_hinge(classes):
    rows = Y < classes
    found = MLPClassifier((8,), loss="hinge", **QUICK).fit(X[rows], Y[rows])
    assert found.score(X[rows], Y[rows]) > 0.9 and found.out_activation_ == "identity"
    assert found.decision_function(X).shape == ((150,) if classes == 2 else (150, 3))
    assert not hasattr(found, "predict_proba")


def test_dropout_drops_in_training_only():
    a, b = (MLPClassifier((20,), dropout=p, **QUICK).fit(X, Y) for p in (0.0, 0.5))
    assert [type(layer).__name__ for layer in b.module_] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert b.loss_ > a.loss_ and np.array_equal(b.predict_proba(X), b.predict_proba(X))
    again = MLPClassifier((20,), dropout=0.5, **QUICK).fit(X, Y)
    assert np.array_equal(again.coefs_[0], b.coefs_[0])


def test_class_weights_are_weights_of_examples():
    x, y = BINARY
    by_hand = np.where(y == 1, 5.0, 1.0)
    a = MLPClassifier((6,), class_weight={1: 5.0}, **QUICK).fit(x, y)
    b = MLPClassifier((6,), **QUICK).fit(x, y, sample_weight=by_hand)
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    balanced = MLPClassifier((6,), class_weight="balanced", **QUICK).fit(x, y)
    plain = MLPClassifier((6,), **QUICK).fit(x, y)
    assert balanced.predict(x).sum() > plain.predict(x).sum()


def test_class_weights_for_several_labels():
    x, y = make_multilabel_classification(100, 8, n_classes=3, random_state=0)
    x = StandardScaler().fit_transform(x)
    found = MLPClassifier((6,), class_weight=[{0: 1, 1: 3}] * 3, **QUICK).fit(x, y)
    plain = MLPClassifier((6,), **QUICK).fit(x, y)
    assert found.predict_proba(x).mean() > plain.predict_proba(x).mean() + 0.05


def test_an_example_of_weight_zero_is_left_out():
    weights = np.ones(150)
    weights[::3] = 0
    weights[:30] = 0  # whole batches of them, whose mean would be none
    settings = {**QUICK, "batch_size": 10, "dtype": "float64", "shuffle": False}
    a = MLPClassifier((6,), **settings).fit(X, Y, sample_weight=weights)
    b = MLPClassifier((6,), **settings).fit(X[weights > 0], Y[weights > 0])
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-8, atol=1e-10)


def test_the_held_out_part_has_curves():
    found = MLPClassifier((6,), early_stopping=True, validation_fraction=0.3, **QUICK).fit(X, Y)
    assert len(found.validation_loss_curve_) == len(found.validation_scores_) == found.n_iter_
    assert found.best_validation_score_ == max(found.validation_scores_)
    assert MLPClassifier((6,), **QUICK).fit(X, Y).validation_loss_curve_ is None


def rates(**settings):
    seen = []
    MLPClassifier((4,), callbacks=[lambda run: seen.append(run.history[-1]["lr"])], **{**QUICK, **settings}).fit(X, Y)
    return seen


def test_warm_restarts():
    seen = rates(learning_rate="warm_restarts", restart_every=4, max_iter=13)
    first = [0.01 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    second = [0.01 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    np.testing.assert_allclose(seen, [*first, *second, 0.02])


def test_warm_restarts_stop_at_the_end_of_a_cosine():
    found = MLPClassifier(
        (4,), learning_rate="warm_restarts", restart_every=5, tol=1e9, n_iter_no_change=1, max_iter=100, random_state=0
    ).fit(X, Y)
    assert found.n_iter_ == 5
    seen = rates(learning_rate="warm_restarts", restart_every=5, tol=1e9, n_iter_no_change=1)
    np.testing.assert_allclose(seen, [0.01 * (1 + math.cos(math.pi * i / 5)) for i in range(5)])


def test_a_learning_rate_of_ones_own():
    assert rates(learning_rate=lambda epoch: 0.1 / (epoch + 1), max_iter=3) == [0.1, 0.05, 0.1 / 3]


@pytest.mark.parametrize("solver", ["adamw", "rmsprop", "adagrad", optim.AdamW(0.02, weight_decay=0.1)])
def test_other_optimisers(solver):
    assert MLPClassifier((10,), solver=solver, **QUICK).fit(X, Y).score(X, Y) > 0.8


def test_an_optimiser_with_a_schedule_of_steps():
    seen = rates(solver=optim.SGD(optim.Step(0.1, every=2, factor=0.5)), max_iter=4)
    np.testing.assert_allclose(seen, [0.1, 0.1, 0.05, 0.05])


def test_poisson_is_the_deviance():
    from chainrule.nn.losses import poisson

    z, y = np.array([[0.3], [-1.0]]), np.array([[2.0], [0.0]])
    expected = np.mean([2 * math.log(2 / math.exp(0.3)) - 2 + math.exp(0.3), math.exp(-1.0)])
    assert abs(poisson(z, y) - expected) < 1e-15 and poisson(z, y, reduction="none").shape == (2,)
    assert abs(poisson(z, y, reduction="sum") - 2 * expected) < 1e-15
    assert losses.get(poisson)(z, y) == poisson(z, y)


def test_batches_train_in_float32_and_the_result_has_the_dtype_of_X():
    seen = []
    look = [lambda run: seen.append(run.model.dtype)]
    for size, dtype in ((150, "auto"), (50, "auto"), (50, "float64")):
        found = MLPClassifier((4,), batch_size=size, max_iter=1, dtype=dtype, callbacks=look).fit(X, Y)
        assert found.coefs_[0].dtype == found.predict_proba(X).dtype == np.float64
    assert [str(d) for d in seen] == ["float64", "float32", "float64"]


def test_verbose(capsys):
    MLPClassifier((4,), max_iter=2, verbose=True, random_state=0, early_stopping=True).fit(X, Y)
    shown = capsys.readouterr().out
    assert "Iteration 2, loss = " in shown and "Validation score: " in shown
    MLPClassifier((4,), solver="lbfgs", max_iter=2, verbose=True, random_state=0).fit(X, Y)
    assert "Iteration 1, loss = " in capsys.readouterr().out


def test_a_run_that_was_not_over_is_said():
    for settings in ({}, {"solver": "lbfgs"}):
        with pytest.warns(ConvergenceWarning, match="(?i)iteration"):
            MLPClassifier((4,), max_iter=2, **settings).fit(X, Y)


@pytest.mark.filterwarnings("error")
def test_a_run_that_stopped_says_nothing():
    MLPClassifier((4,), max_iter=500, tol=0.1, n_iter_no_change=2, random_state=0).fit(X, Y)


def test_an_interrupted_run_keeps_what_was_trained():
    def interrupt(run):
        if run.epoch == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted by user"):
        found = MLPClassifier((6,), callbacks=[interrupt], **QUICK).fit(X, Y)
    assert found.n_iter_ == 3 and found.predict(X).shape == Y.shape


def test_ctrl_c_in_lbfgs_keeps_what_was_trained(monkeypatch):
    iterations = MLPClassifier((6,), solver="lbfgs", max_iter=4, random_state=0).fit(X, Y)

    def shown(*text):
        if text[0].startswith("Iteration 4"):
            raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", shown)
    with pytest.warns(UserWarning, match="interrupted by user"):
        found = MLPClassifier((6,), solver="lbfgs", verbose=True, random_state=0).fit(X, Y)
    assert found.n_iter_ == len(found.loss_curve_) == 4
    np.testing.assert_allclose(found.coefs_[0], iterations.coefs_[0], rtol=1e-12)


def test_loggers_get_figures_and_parameters():
    class Board:
        def __init__(self):
            self.config, self.rows = {}, []

        def log(self, figures, step):
            self.rows.append((step, figures))

    board = Board()
    MLPClassifier((6, 5), early_stopping=True, callbacks=[cr.LogTo(board)], **{**QUICK, "max_iter": 2}).fit(X, Y)
    assert [step for step, _ in board.rows] == [1, 2] and {"loss", "val_score", "val_loss"} <= set(board.rows[0][1])
    assert board.config["hidden_layer_sizes"] == "(6, 5)" and board.config["alpha"] == 0.0001


def test_labels_come_in_the_same_form_each_time():
    x, y = make_multilabel_classification(60, 4, n_classes=3, random_state=0)
    a, b = MLPClassifier((6,), **QUICK).fit(x, y), MLPClassifier((6,), **QUICK).fit(x, sparse.csr_array(y))
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    with pytest.raises(ValueError, match="one label per example"):
        a.partial_fit(x, y[:, 0])
    with pytest.raises(ValueError, match=r"one label per example.*several"):
        MLPClassifier((6,), **QUICK).fit(x, y[:, 0]).partial_fit(x, y[:, :2])
    with pytest.raises(ValueError, match=r"Unknown label type.*continuous"):
        MLPClassifier((6,), **QUICK).fit(x, x[:, 0] + 0.5)


def test_labels_in_rows_are_yes_or_no():
    x, y = make_multilabel_classification(60, 4, n_classes=3, random_state=0)
    a, b = MLPClassifier((6,), **QUICK).fit(x, y), MLPClassifier((6,), **QUICK).fit(x, 2 * y - 1)
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    for wrong in (2 * y, y + 1):  # neither value, or either, would be yes
        with pytest.raises(ValueError, match=r"rows of 0 and 1.*\[.*2\]"):
            MLPClassifier((6,), **QUICK).fit(x, wrong)
    with pytest.raises(ValueError, match=r"y: expected 3 columns.*got 2"):
        a.partial_fit(x, y[:, :2])


def test_the_learning_rate_of_an_epoch_in_parts():
    seen = []
    part = MLPClassifier(
        (4,), learning_rate=lambda e: 0.1 / (e + 1), callbacks=[lambda run: seen.append(run.history[-1]["lr"])]
    )
    for _ in range(3):
        part.partial_fit(X, Y, classes=[0, 1, 2])
    assert seen == [0.1, 0.05, 0.1 / 3]
    part.set_params(learning_rate=lambda e: 0.5).partial_fit(X, Y)
    assert seen[-1] == 0.5


@pytest.mark.parametrize("changed", [{"hidden_layer_sizes": (7,)}, {"activation": "tanh"}, {"dropout": 0.5}])
def test_a_network_that_was_trained_keeps_its_form(changed):
    found = MLPClassifier((6,), warm_start=True, **QUICK).fit(X, Y).set_params(**changed)
    with pytest.raises(ValueError, match=next(iter(changed))):
        found.fit(X, Y)
    with pytest.raises(ValueError, match=next(iter(changed))):
        found.partial_fit(X, Y)
    assert found.predict(X).shape == Y.shape
    found.set_params(warm_start=False).fit(X, Y)


def test_a_callback_that_fails_leaves_what_was_trained():
    def fails(run):
        if run.epoch == 3:
            raise RuntimeError("no more")

    found = MLPClassifier((6,), callbacks=[fails], **QUICK)
    with pytest.raises(RuntimeError, match="no more"):
        found.fit(X, Y)
    assert found.n_iter_ == len(found.loss_curve_) == 3 and found.predict(X).shape == Y.shape


def test_another_solver_begins_with_a_state_of_its_own():
    found = MLPClassifier((6,), **{**QUICK, "solver": "rmsprop"})
    for _ in range(5):
        found.partial_fit(X * 100, Y, classes=[0, 1, 2])
    before = found.coefs_[0].copy()
    found.set_params(solver="sgd", learning_rate_init=1e-9).partial_fit(X, Y)  # mean squares are no velocity
    np.testing.assert_allclose(found.coefs_[0], before, atol=1e-5)


def test_predictions_are_those_of_the_loss_that_trained():
    found = MLPRegressor("poisson", (6,), **QUICK).fit(X, Y)
    before = found.predict(X)
    assert np.array_equal(found.set_params(loss="mae").predict(X), before)


def test_shares_as_targets():
    shares = 1 / (1 + np.exp(-X[:, 0]))
    settings = {**QUICK, "max_iter": 500, "hidden_layer_sizes": (6,)}
    found = MLPRegressor(losses.binary_cross_entropy, early_stopping=True, **settings).fit(X, shares)
    assert found.out_activation_ == "sigmoid" and found.best_validation_score_ > 0.9 and found.score(X, shares) > 0.9
    with pytest.raises(ValueError, match=r"binary_cross_entropy: .*got values from"):
        MLPRegressor(losses.binary_cross_entropy, **settings).fit(X, X[:, 0])


def test_names_as_classes():
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    found = MLPClassifier((6,), class_weight={"setosa": 2.0}, **QUICK).fit(X, names)
    assert set(found.predict(X)) == set(names) and found.score(X, names) > 0.9
    with pytest.raises(ValueError, match="class_weight names"):
        MLPClassifier((6,), class_weight={0: 2.0}, **QUICK).fit(X, names)


WRONG = {
    "hidden_layer_sizes": [(0,), (5, -1), "many", (2.5,), {5, 4}, iter([5])],
    "activation": ["rulu", 3, ["relu", "relu"]],
    "solver": ["newton", 3],
    "alpha": [-1, "big", math.nan],
    "batch_size": [0, "all", 2.5],
    "learning_rate": ["fast", 0.1],
    "learning_rate_init": [0, -1],
    "power_t": [-1],
    "max_iter": [0, 2.5],
    "shuffle": ["yes"],
    "tol": [-1],
    "momentum": [1.5],
    "nesterovs_momentum": [1],
    "early_stopping": ["yes"],
    "validation_fraction": [1.0, -0.1],
    "beta_1": [1.0],
    "beta_2": [-0.5],
    "epsilon": [0],
    "n_iter_no_change": [0, 1.5],
    "max_fun": [0],
    "loss": ["deviance", 3],
    "class_weight": ["equal", {7: 1.0}, {0: -1.0}],
    "dropout": [1.0, [0.1, 0.2]],
    "restart_every": [0],
    "dtype": ["float16"],
    "threads": [0],
    "warm_start": [2],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_settings_that_cannot_be_are_named(name, value):
    with pytest.raises(ValueError, match=name.removesuffix("s_") if name != "engine" else "engine"):
        MLPClassifier(**{"hidden_layer_sizes": (4,), "max_iter": 1, name: value}).fit(X, Y)


def test_data_that_cannot_be():
    with pytest.raises(ValueError, match=r"sample_weight.*shape"):
        MLPClassifier(max_iter=1).fit(X, Y, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match=r"sample_weight.*got -1"):
        MLPClassifier(max_iter=1).fit(X, Y, sample_weight=-np.ones(150))
    with pytest.raises(ValueError, match="poisson"):
        MLPRegressor("poisson", max_iter=1).fit(X, -Y)
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*smaller learning rate"):
        MLPRegressor(solver="sgd", learning_rate_init=1e10, random_state=0).fit(*NUMBER)
    with pytest.raises(ValueError, match="float32"):
        MLPClassifier(max_iter=1, batch_size=20).fit(X * 1e39, Y)
    trained = MLPClassifier((4,), max_iter=1).fit(X.astype(np.float32), Y)
    with pytest.raises(ValueError, match=r"X has values.*float32"):
        trained.predict(X * 1e39)
    with pytest.raises(ValueError, match=r"X has values.*float32"):
        trained.predict(sparse.csr_array(X * 1e39))
    with pytest.raises(ValueError, match=r"y has values.*float32"):
        MLPRegressor(max_iter=1, batch_size=20).fit(X, Y * 1e39)
    for size in (1e39, 1e-60):
        with pytest.raises(ValueError, match=r"sample_weight.*float32"):
            MLPClassifier(max_iter=1, batch_size=20).fit(X, Y, sample_weight=np.full(150, size))
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier().partial_fit(X, Y)
    with pytest.raises(ValueError, match="early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit  # noqa: B018
