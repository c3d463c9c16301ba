"""TabularClassifier and TabularRegressor."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from chainrule import nn
from chainrule.sklearn import TabularClassifier, TabularRegressor, tabular_base
from chainrule.train import tables

RNG = np.random.default_rng(0)
SMALL = {"hidden_layer_sizes": (16,), "max_epochs": 8, "random_state": 0}


@pytest.mark.slow
@parametrize_with_checks([TabularClassifier((16,), max_epochs=40), TabularRegressor((16,), max_epochs=40)])
def test_estimator_checks(estimator, check):
    check(estimator)


def table(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "x": rng.normal(size=rows), "skewed": np.exp(3 * rng.normal(size=rows)),
        "few": rng.choice(["a", "b", "c"], rows), "many": rng.choice([f"c{i}" for i in range(20)], rows),
        "flag": rng.random(rows) < 0.5,
    }  # fmt: skip
    signal = columns["x"] + (columns["few"] == "b") - np.array([int(c[1:]) % 2 for c in columns["many"]])
    columns["x"] = np.where(rng.random(rows) < 0.1, np.nan, columns["x"])
    return columns, signal


def test_learns_numbers_categories_and_missing_values():
    X, y = table(400)
    regressor = TabularRegressor(hidden_layer_sizes=(32,), max_epochs=40, random_state=0).fit(X, y)
    assert regressor.score(X, y) > 0.8
    assert regressor.features_.layout == (3, 4, 1, 21)  # x, skewed, flag; x is missing, few; many
    classifier = TabularClassifier(hidden_layer_sizes=(32,), max_epochs=40, random_state=0).fit(X, y > 0)
    assert classifier.score(X, y > 0) > 0.85
    assert regressor.predict(X).min() >= y.min() - 1e-5
    assert regressor.predict(X).max() <= y.max() + 1e-5


def test_frames_arrays_and_dicts_are_the_same_table():
    pandas = pytest.importorskip("pandas")
    X, y = table(100)
    models = [TabularRegressor(**SMALL).fit(given, y) for given in (X, pandas.DataFrame(X))]
    first, second = (model.predict(X) for model in models)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(models[1].predict(pandas.DataFrame(X)[list(X)[::1]]), first)
    numbers = np.stack([X["x"], X["skewed"]], axis=1)
    named = TabularRegressor(**SMALL).fit(pandas.DataFrame(numbers, columns=["a", "b"]), y)
    with pytest.warns(UserWarning, match="feature names"):
        np.testing.assert_array_equal(
            named.predict(numbers), TabularRegressor(**SMALL).fit(numbers, y).predict(numbers)
        )


def test_same_seed_same_bits_and_copies_predict_the_same():
    X, y = table(100)
    model = TabularClassifier(**SMALL).fit(X, y > 0)
    again = clone(model).fit(X, y > 0)
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict_proba(X), copy.predict_proba(X))


@pytest.mark.parametrize("rows", [40, 200])
def test_a_weight_of_zero_leaves_a_row_out(rows):
    X, y = table(rows)
    weights = np.ones(rows)
    weights[: rows // 4] = 0
    kept = {name: column[rows // 4 :] for name, column in X.items()}
    all_rows = TabularRegressor(**SMALL).fit(X, np.where(weights > 0, y, 1e9), sample_weight=weights)
    np.testing.assert_allclose(
        all_rows.predict(kept), TabularRegressor(**SMALL).fit(kept, y[rows // 4 :]).predict(kept), atol=1e-3
    )


def test_class_weight_moves_predictions():
    X, _ = table(300)
    rare = np.random.default_rng(5).random(300) < 0.1
    shares = [
        TabularClassifier((16,), max_epochs=30, random_state=0, class_weight=given)
        .fit(X, rare)
        .predict_proba(X)[:, 1]
        .mean()
        for given in (None, "balanced")
    ]
    assert shares[0] < 0.2 < 0.3 < shares[1]


def test_ensembles_average_networks_of_different_folds():
    X, y = table(200)
    model = TabularClassifier(**SMALL, n_ens=3).fit(X, y > 0)
    assert len(model.networks_) == 3
    single = [network.state_dict()["2.weight"] for network in model.networks_]
    assert not np.array_equal(single[0], single[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_ens": 0}, "n_ens: expected an integer ≥ 1, got 0"),
        ({"dropout": 1.0}, "dropout: expected .*, got 1.0"),
        ({"batch_size": "big"}, "batch_size: expected .* or 'auto', got 'big'"),
        ({"activation": "cube"}, "unknown activation 'cube'"),
        ({"label_smoothing": -1.0}, "label_smoothing: expected"),
        ({"refit": "yes"}, "refit: expected True, False or 'auto', got 'yes'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    X, y = table(70)
    with pytest.raises(ValueError, match=message):
        TabularClassifier(**settings).fit(X, y > 0)


def test_probabilities_are_corrected_for_smoothed_labels():
    """Labels smoothed much, and classes that are certain: without the temperature no probability is near to 1."""
    X = RNG.normal(size=(400, 3))
    y = (X[:, 0] > 0) * 2 + (X[:, 1] > 0)
    X += 0.2 * np.sign(X)
    settings = {"hidden_layer_sizes": (32,), "max_epochs": 40, "random_state": 0}
    model = TabularClassifier(label_smoothing=0.3, n_ens=2, **settings).fit(X, y)
    assert len(model.temperatures_) == 2 and max(model.temperatures_) < 0.8
    found = log_loss(y, model.predict_proba(X))
    corrected, model.temperatures_ = model.temperatures_, [1.0, 1.0]
    assert found < 0.6 * log_loss(y, model.predict_proba(X))
    model.temperatures_ = corrected
    assert pickle.loads(pickle.dumps(model)).predict_proba(X).tolist() == model.predict_proba(X).tolist()
    assert TabularClassifier(label_smoothing=0.0, **settings).fit(X, y).temperatures_ == [1.0, 1.0]
    assert TabularRegressor(**settings).fit(X, y).temperatures_ == [1.0, 1.0]


def test_initial_weights_do_not_depend_on_threads_of_blas():
    X = RNG.normal(size=(1000, 6)).astype(np.float32)
    found = []
    for threads in (1, 2):
        layers = tables.layers(nn.TableEmbedding(6), (256, 256, 256), activation="mish", dropout=0.1)
        with threadpool_limits(threads):
            network = tables.begin(nn.Sequential(*layers, nn.Linear(256, 1)), X, steps=10)
        found.append(network.state_dict())
        z = network.eval()(X).detach().numpy()
        assert abs(z.std() - 1) < 0.02  # each unit has a deviation of 1 over the data
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_a_second_network_is_trained_on_all_rows(monkeypatch):
    X = RNG.normal(size=(120, 3))
    y = X[:, 0] + 0.5 * RNG.normal(size=120)

    def trained(**more):
        return TabularRegressor((16,), max_epochs=20, random_state=0, **more).fit(X, y)

    model, alone = trained(), trained(refit=False)
    first, second = model.histories_
    assert len(second) == first.best_epoch < len(first) and "val_loss" not in second[0]
    weights = [m.networks_[0].state_dict()["2.weight"] for m in (model, alone)]
    assert len(alone.networks_) == 1 and np.array_equal(*weights)
    of_second = model.predict(X) * 2 - alone.predict(X)
    model.networks_, model.temperatures_ = model.networks_[1:], model.temperatures_[1:]
    assert np.allclose(pickle.loads(pickle.dumps(model)).predict(X), of_second, atol=1e-5)
    assert [len(trained(**more).networks_) for more in ({"n_ens": 2}, {"validation_fraction": 0})] == [2, 1]
    assert all("val_loss" in history[0] for history in trained(n_ens=2).histories_)
    monkeypatch.setattr(tabular_base, "FEW_TO_REFIT", 100)
    assert [len(trained(refit=refit).networks_) for refit in ("auto", True)] == [1, 2]


def test_numbers_without_embeddings():
    table = {"x": RNG.normal(size=300), "z": RNG.normal(size=300), "kind": RNG.choice(["a", "b", "c"], 300)}
    y = table["x"] * (table["kind"] == "b")
    settings = {"hidden_layer_sizes": (32,), "max_epochs": 30, "random_state": 0}
    model = TabularRegressor(embed_numbers=False, learning_rate=0.07, **settings).fit(table, y)
    assert model.networks_[0][0].frequency is None and model.networks_[0][0].out_features == 5
    assert model.score(table, y) > 0.9
    assert TabularRegressor(**settings).fit(table, y).networks_[0][0].out_features == 4 * 2 + 3


def test_wrong_data_is_named():
    X, y = table(70)
    model = TabularRegressor(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="lacks 1 column of the training split: few"):
        model.predict({name: column for name, column in X.items() if name != "few"})
    with pytest.raises(ValueError, match="'x' holds 1 infinite value"):
        TabularRegressor(**SMALL).fit({**X, "x": np.r_[np.inf, X["x"][1:]]}, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples: X has 70 rows, y has 69"):
        TabularRegressor(**SMALL).fit(X, y[1:])


def test_texts_in_words_are_read():
    """As on the command line: by their n-grams, while texts that name rows are left out."""
    rng = np.random.default_rng(0)
    good = np.arange(600) % 2 == 0
    words = np.where(good, "works very well", "broke at once").astype(object)
    table = {"review": words + [f" {n}" for n in rng.integers(10**6, size=600)], "x": rng.normal(size=600)}
    model = TabularClassifier(max_epochs=5, random_state=0).fit(table, good)
    assert model.ngrams_.columns == ("review",) and "n-grams" in " ".join(model.notes_)
    new = {"review": np.array(["it works very well", "it broke at once"], object), "x": np.zeros(2)}
    assert model.predict(new).tolist() == [True, False]


def test_training_ends_when_the_loss_is_as_good_as_zero():
    """Of a column that tells the target the loss falls on and on, below any that matters."""
    y = np.arange(128) % 2
    model = TabularClassifier(random_state=0).fit(np.stack([y, np.sin(np.arange(128))], axis=1).astype(float), y)
    assert model.score(np.stack([y, y], axis=1).astype(float), y) == 1 and model.n_iter_ < 200
