"""Metrics against scikit-learn, and their names."""

import numpy as np
import pytest

from chainrule.train.metrics import METRICS, resolve


def test_accuracy():
    accuracy = METRICS["accuracy"]
    output = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert accuracy(output, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert accuracy(output, np.array([[1], [0], [0]])) == pytest.approx(2 / 3)
    assert accuracy(output, np.array([[0, 1], [1, 0], [1, 0]])) == pytest.approx(2 / 3)
    logits = np.array([[2.0], [-1.0], [3.0], [-2.0]])
    for target in ([1, 0, 0, 0], [[1], [0], [0], [0]], [1, -1, -1, -1], [True, False, False, False]):
        assert accuracy(logits, np.array(target)) == 0.75
    assert accuracy(logits[:, 0], np.array([1, 0, 0, 0])) == 0.75


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regression_metrics(dtype):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    target = rng.normal(1000, 1, 50).astype(dtype)
    output = (target + rng.normal(0, 0.5, 50)).astype(dtype)[:, None]
    wide = target.astype(float), output.astype(float)[:, 0]
    assert METRICS["r2"](output, target) == pytest.approx(sklearn.r2_score(*wide), rel=1e-6)
    assert METRICS["rmse"](output, target) == pytest.approx(sklearn.root_mean_squared_error(*wide), rel=1e-4)
    assert METRICS["mae"](output, target) == pytest.approx(sklearn.mean_absolute_error(*wide), rel=1e-4)
    assert METRICS["r2"](output, np.full(50, 3, dtype)) == 0.0


def test_names():
    def mine(output, target):
        return 0.0

    assert list(resolve(None, "cross_entropy")) == ["accuracy"] and resolve(None, "mse") == {}
    assert resolve("r2", "mse") == {"r2": METRICS["r2"]} and resolve(mine, "mse") == {"mine": mine}
    assert list(resolve({"a": mine, "b": mine}, "mse")) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (["acuracy"], ValueError, "metrics names 'acuracy'; there are accuracy, r2, rmse, mae"),
        ([3], ValueError, "metrics names 3"),
        (3, TypeError, "metrics: .*int"),
        ({"loss": np.mean}, ValueError, "the name 'loss'"),
        ([lambda o, t: 0, lambda o, t: 1], ValueError, "the name '<lambda>'"),
        ({"a": "r2"}, TypeError, "'a': expected a function.*str"),
    ],
)
def test_what_is_no_metric(given, kind, message):
    with pytest.raises(kind, match=message):
        resolve(given, "mse")


def test_a_metric_that_gives_no_number_or_leaves_the_graph(data, make, train):
    with pytest.raises(ValueError, match=r"metrics: <lambda>.*\(16, 3\)"):
        train(make(), *data, metrics=[lambda output, target: output])
    with pytest.raises(TypeError, match="metrics: outside: "):
        train(make(), *data, metrics={"outside": lambda output, target: np.asarray(output).mean()})
