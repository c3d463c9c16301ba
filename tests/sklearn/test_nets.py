"""NetClassifier and NetRegressor: modules, classes and functions that make them; outputs that don't fit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from chainrule import nn, optim
from chainrule.sklearn import MLPClassifier, NetClassifier, NetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
TWO = Y < 2
QUICK = {"max_epochs": 40, "random_state": 0, "learning_rate": 0.03}


class Residual(nn.Module):
    """A custom module, a class with parameters."""

    def __init__(self, n_features, n_outputs, width=6):
        self.first, self.second = nn.Linear(n_features, width), nn.Linear(width, width)
        self.last = nn.Linear(width, n_outputs)

    def forward(self, X):
        A = np.tanh(self.first(X))
        return self.last(A + np.tanh(self.second(A)))


def network(n_features, n_outputs, hidden=8):
    return nn.Sequential(nn.Linear(n_features, hidden), nn.Tanh(), nn.Linear(hidden, n_outputs))


def linear(outputs, *last):
    return nn.Sequential(nn.Linear(4, outputs), *last)


@pytest.mark.parametrize("module", [network, Residual, linear(3), linear(3, nn.Softmax())])
def test_classes_from_whatever_makes_a_module(module):
    found = NetClassifier(module, **QUICK).fit(X, Y)
    assert found.score(X, Y) > 0.85
    np.testing.assert_allclose(found.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize(("outputs", "last"), [(1, ()), (2, ()), (1, (nn.Sigmoid,)), (2, (nn.Softmax,))])
def test_two_classes_take_one_column_or_two(outputs, last):
    found = NetClassifier(linear(outputs, *[kind() for kind in last]), **QUICK).fit(X[TWO], Y[TWO])
    assert found.score(X[TWO], Y[TWO]) > 0.98 and found.predict_proba(X).shape == (150, 2)
    assert found.decision_function(X).shape == (150,)
    if last:
        np.testing.assert_allclose(found.module_(X).value, found.predict_proba(X)[:, 2 - outputs :], rtol=1e-9)


def test_an_output_without_a_column():
    class Flat(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(4, 1)

        def forward(self, X):
            return self.linear(X)[:, 0]

    found = NetClassifier(Flat(), **QUICK).fit(X[TWO], Y[TWO])
    assert found.score(X[TWO], Y[TWO]) > 0.98
    weighted = NetClassifier(Flat(), **QUICK).fit(X[TWO], Y[TWO], sample_weight=np.ones(100))
    np.testing.assert_allclose(weighted.predict_proba(X), found.predict_proba(X), rtol=1e-9)
    NetRegressor(Flat(), **QUICK).fit(X, Y.astype(float)).predict(X)


def test_several_labels_and_several_numbers():
    x, y = make_multilabel_classification(100, 4, n_classes=3, random_state=0)
    assert NetClassifier(linear(3), **QUICK).fit(x, y).predict(x).shape == (100, 3)
    targets = X[:, :2] * 2
    assert NetRegressor(network, **{**QUICK, "max_epochs": 200}).fit(X, targets).score(X, targets) > 0.9


def test_images_and_row_numbers():
    images = np.random.default_rng(0).normal(size=(60, 3, 4))
    labels = (images[:, 0, 0] > 0).astype(int)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    assert NetClassifier(layers, **QUICK).fit(images, labels).score(images, labels) > 0.8
    ids = np.arange(60).reshape(60, 1) % 5
    lookup = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(4, 1))
    assert NetClassifier(lookup, **QUICK).fit(ids, ids[:, 0] > 2).score(ids, ids[:, 0] > 2) > 0.9


def test_the_module_that_was_given_stays_as_it_is_and_is_where_training_begins():
    module = network(4, 3).initialize(5)
    before = module.state_dict()
    found = NetClassifier(module, **{**QUICK, "max_epochs": 1, "learning_rate": 1e-9}).fit(X, Y)
    for name, value in module.state_dict().items():
        assert np.array_equal(value, before[name])
        np.testing.assert_allclose(found.module_.state_dict()[name], value, atol=1e-6)
    assert module.dtype == np.float32 and module.training


def test_random_state_draws_the_weights_of_what_is_made():
    a, b, c = (NetClassifier(network, **{**QUICK, "random_state": s, "max_epochs": 2}).fit(X, Y) for s in (0, 0, 1))
    assert np.array_equal(a.predict_proba(X), b.predict_proba(X))
    assert not np.array_equal(a.predict_proba(X), c.predict_proba(X))


def test_batch_norm_and_dropout_train_and_are_still_in_prediction():
    layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    found = NetClassifier(layers, batch_size=30, early_stopping=True, **QUICK).fit(X, Y)
    assert found.score(X, Y) > 0.85 and np.any(found.module_[1].running_mean != 0)
    np.testing.assert_allclose(found.predict_proba(X[:3]), found.predict_proba(X)[:3], rtol=1e-10)


def test_a_net_like_the_perceptron_trains_like_it():
    mlp = MLPClassifier((6,), max_iter=20, random_state=0, alpha=0.1, learning_rate_init=0.01, batch_size=40)
    start = clone(mlp).set_params(max_iter=1, learning_rate_init=1e-300).fit(X, Y)
    net = NetClassifier(
        start.module_, optimizer=optim.Adam(0.01), alpha=0.1, shuffle=False, max_epochs=20, batch_size=40
    ).fit(X, Y)
    same = clone(mlp).set_params(shuffle=False).fit(X, Y)
    np.testing.assert_allclose(net.loss_curve_, same.loss_curve_, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", optim.RMSprop(0.01), optim.SGD(optim.Cosine(0.1, 200))])
def test_optimisers(optimizer):
    rate = {} if isinstance(optimizer, str) else {"learning_rate": None}
    assert NetClassifier(network, optimizer=optimizer, **{**QUICK, **rate}).fit(X, Y).score(X, Y) > 0.8


def test_a_learning_rate_by_epoch():
    found = []
    NetClassifier(
        network,
        learning_rate=lambda e: 0.1 / (1 + e),
        max_epochs=3,
        callbacks=[lambda r: found.append(r.history[-1]["lr"])],
    ).fit(X, Y)
    assert found == [0.1, 0.05, 0.1 / 3]


def test_parameters_of_the_module():
    estimator = NetClassifier(Residual, module__width=4)
    with pytest.raises(TypeError, match=r"no parameter 'epochs'; it has module, .*max_epochs.* begin with module__"):
        NetClassifier(Residual, epochs=4)
    assert estimator.get_params()["module__width"] == 4
    assert clone(estimator.set_params(module__width=9)).module__width == 9
    assert estimator.fit(X, Y).module_.first.out_features == 9


def test_a_function_may_return_the_same_module_again():
    module = linear(3)
    before = module.state_dict()
    a, b = (NetClassifier(lambda: module, **{**QUICK, "random_state": s}).fit(X, Y) for s in (0, 1))
    assert all(np.array_equal(value, before[name]) for name, value in module.state_dict().items())
    assert a.module_ is not b.module_ and not np.array_equal(a.predict_proba(X), b.predict_proba(X))


@pytest.mark.parametrize("rate", [0.5, np.float32(0.5), 1, np.int64(1)])
def test_a_learning_rate_goes_before_the_optimisers(rate):
    seen = []
    look = [lambda run: seen.append(run.history[-1]["lr"])]
    NetClassifier(linear(3), optimizer=optim.SGD(0.1), learning_rate=rate, max_epochs=1, callbacks=look).fit(X, Y)
    assert seen == [rate]


def test_what_did_not_fit_is_not_fitted():
    estimator = NetClassifier(linear(2), warm_start=True, **QUICK)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"module: expected 3 .*got 2"):
            estimator.partial_fit(X, Y, classes=[0, 1, 2])
        with pytest.raises(NotFittedError):
            estimator.predict(X)
    assert estimator.fit(X[TWO], Y[TWO]).score(X[TWO], Y[TWO]) > 0.98
    estimator.set_params(warm_start=False)
    with pytest.raises(ValueError, match=r"module: expected 3 .*got 2"):
        estimator.fit(X, Y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)


def test_a_module_that_was_trained_stays():
    estimator = NetClassifier(network, warm_start=True, **QUICK).fit(X, Y)
    again = pickle.loads(pickle.dumps(estimator)).fit(X, Y)
    with pytest.raises(ValueError, match="the module's parameters changed"):
        again.set_params(module__hidden=9).fit(X, Y)


def test_row_numbers_are_whole_and_there():
    ids = np.arange(60).reshape(60, 1) % 5
    lookup = NetClassifier(nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(4, 1)), **QUICK)
    for wrong, message in ((ids + 0.5, r"X holds 0\.5"), (ids - 1, "holds ids -1"), (ids + 1, "Embedding has rows")):
        with pytest.raises(ValueError, match=message):
            lookup.fit(ids, ids[:, 0] > 2).predict(np.tile(wrong, (2, 1)))
        with pytest.raises(ValueError, match=message):
            clone(lookup).fit(wrong, ids[:, 0] > 2)


def test_large_row_numbers_stay_exact():
    class Seen(nn.Module):
        def __init__(self):
            self.table = nn.Embedding(2, 1)

        def forward(self, X):
            return self.table(X - 2**24)[:, 0]

    estimator = NetRegressor(Seen(), batch_size=20, random_state=0, max_epochs=300, learning_rate=0.05)
    ids = 2**24 + np.arange(100).reshape(100, 1) % 2
    assert estimator.fit(ids, ids[:, 0] - 2.0**24).score(ids, ids[:, 0] - 2.0**24) > 0.9


def test_a_margin_has_no_activation():
    for outputs in (1, 2):
        assert NetClassifier(linear(outputs), loss="hinge", **QUICK).fit(X[TWO], Y[TWO]).out_activation_ == "identity"


def squares(output, target):
    return np.mean((output - target) ** 2)


@pytest.mark.parametrize(
    ("module", "loss", "message"),
    [
        (linear(1, nn.Sigmoid()), squares, "expected logits.*Sigmoid"),
        (linear(1, nn.Sigmoid()), "hinge", "expected logits.*Sigmoid"),
        (linear(2, nn.Softmax()), squares, "expected logits.*Softmax"),
        (nn.Sequential(linear(1, nn.Sigmoid())), "log_loss", "expected Sigmoid.*submodule that ends with Sigmoid"),
        (
            nn.Sequential(linear(1), nn.Sequential(nn.Sigmoid())),
            "log_loss",
            "expected Sigmoid.*submodule that ends with Sigmoid",
        ),
        (nn.Sequential(linear(2, nn.Sigmoid())), "log_loss", "expected Softmax.*ends with Sigmoid"),
    ],
)
def test_an_activation_that_would_count_twice_is_refused(module, loss, message):
    with pytest.raises(ValueError, match=message):
        NetClassifier(module, loss=loss, **QUICK).fit(X[TWO], Y[TWO])


WRONG = [
    ({"module": None}, "module.*got None"),
    ({"module": 3}, "module.*got 3"),
    ({"module": lambda n_features: "net"}, "module.*got type str"),
    ({"module": linear(3), "module__hidden": 4}, "module__hidden needs a class or function"),
    ({"module": network, "module__hiden": 4}, "module takes n_features, n_outputs, hidden; found module__hiden"),
    ({"module": linear(4)}, "module: expected 3 .*got 4"),
    ({"module": nn.Sequential(nn.Linear(5, 3))}, r"Linear expects \(…, 5\)"),
    ({"module": nn.Tanh()}, "got 4"),
    ({"module": nn.Linear}, "module: missing a required argument: 'in_features'.*module__"),
    ({"module": linear(3, nn.Sigmoid())}, "expected Softmax.*ends with Sigmoid"),
    ({"module": network, "callbacks": print}, "callbacks: .*got <built-in"),
    ({"module": network, "optimizer": "fast"}, "optimizer: no optimiser 'fast'"),
    ({"module": network, "learning_rate": -1}, "learning_rate: .*got -1"),
    ({"module": network, "learning_rate": "fast", "optimizer": optim.SGD(0.1)}, "learning_rate: .*got 'fast'"),
    ({"module": network, "max_epochs": 0}, "max_epochs: .*got 0"),
    ({"module": network, "loss": "mse"}, "loss: .*'hinge' or a function .*got 'mse'"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_what_does_not_fit_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NetClassifier(**settings).fit(X, Y)


def test_regressors_compare_columns():
    with pytest.raises(ValueError, match=r"module: expected 1 .*got 3"):
        NetRegressor(linear(3)).fit(X, Y.astype(float))


def test_a_module_that_returns_no_tensor():
    class Two(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(4, 3)

        def forward(self, X):
            return self.linear(X), X

    with pytest.raises(ValueError, match=r"module.*got type tuple"):
        NetClassifier(Two()).fit(X, Y)
