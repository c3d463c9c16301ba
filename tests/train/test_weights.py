"""fit(sample_weight=…): a weight of two is the example twice, a weight of zero its absence."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
IDS, NUMBERS = RNG.integers(0, 3, 60), RNG.normal(size=(60, 2))
WEIGHTS = RNG.integers(0, 4, 60)

LOSSES = {
    "cross_entropy": (IDS, 3),
    "hinge": (IDS, 3),
    "binary_cross_entropy": ((IDS > 0).astype(int), 1),
    "mse": (NUMBERS, 2),
    "half_mse": (NUMBERS, 2),
    "mae": (NUMBERS, 2),
    "huber": (NUMBERS, 2),
}


def network(outputs, dtype=np.float64):
    layers = [nn.Linear(5, 8, dtype=dtype), nn.Tanh(), nn.Linear(8, outputs, dtype=dtype)]
    return nn.Sequential(*layers).initialize(1)


def fitted(outputs, X, y, **settings):
    model = network(outputs)
    history = cr.fit(model, X, y, **{"epochs": 12, "batch_size": None, "progress": False, **settings})
    return model, history


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("engine", ["numpy", None])
def test_weights_are_repetitions(loss, engine):
    y, outputs = LOSSES[loss]
    rows = np.repeat(np.arange(60), WEIGHTS)
    a, seen = fitted(outputs, X, y, loss=loss, sample_weight=WEIGHTS, engine=engine, l2=0.1)
    b, known = fitted(outputs, X[rows], y[rows], loss=loss, engine=engine, l2=0.1)
    for name, value in b.state_dict().items():
        np.testing.assert_allclose(a.state_dict()[name], value, rtol=1e-9, atol=1e-12)
        assert not np.array_equal(value, network(outputs).state_dict()[name])
    np.testing.assert_allclose(seen["loss"], known["loss"])


def test_the_loss_of_one_step_by_hand():
    weights = np.array([1.0, 3.0])
    model = nn.Sequential(nn.Linear(1, 1, dtype=np.float64, weight_init="zeros"))
    settings = {"loss": "mse", "optimizer": cr.optim.SGD(0.1), "epochs": 1, "progress": False}
    history = cr.fit(model, [[1.0], [2.0]], [2.0, 4.0], sample_weight=weights, **settings)
    assert history["loss"] == [(1 * 4 + 3 * 16) / 4]
    slope = -2 * (1 * 2 * 1 + 3 * 4 * 2) / 4
    np.testing.assert_allclose(model[0].weight.value, [[-0.1 * slope]])


def test_batches_metrics_and_validation():
    model, history = fitted(
        3, X, IDS, sample_weight=RNG.uniform(0.1, 2, 60), batch_size=16, validation=0.25, metrics=["accuracy"]
    )
    assert {"accuracy", "val_accuracy", "val_loss"} <= set(history.columns) and history["loss"][-1] < history["loss"][0]
    assert 0 <= history["accuracy"][-1] <= 1 and model.training


def test_float32_networks_and_weights_of_one():
    a, b = network(3, np.float32), network(3, np.float32)
    cr.fit(a, X, IDS, epochs=3, progress=False, sample_weight=np.ones(60))
    cr.fit(b, X, IDS, epochs=3, progress=False)
    for name, value in b.state_dict().items():
        np.testing.assert_allclose(a.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_a_checkpoint_belongs_to_its_weights(tmp_path):
    settings = {"batch_size": 16, "checkpoint": tmp_path / "run.safetensors"}
    fitted(3, X, IDS, epochs=2, sample_weight=WEIGHTS, **settings)
    with pytest.raises(ValueError, match="data"):
        fitted(3, X, IDS, epochs=4, sample_weight=WEIGHTS + 1, resume=True, **settings)
    whole, _ = fitted(3, X, IDS, epochs=4, sample_weight=WEIGHTS, batch_size=16)
    parts, _ = fitted(3, X, IDS, epochs=4, sample_weight=WEIGHTS, resume=True, **settings)
    for name, value in whole.state_dict().items():
        assert np.array_equal(parts.state_dict()[name], value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), r"sample_weight.*\(59,\)"),
        (np.where(np.arange(60) == 4, -1.0, 1.0), r"sample_weight.*-1.0 at \[4\]"),
        (np.where(np.arange(60) == 5, np.nan, 1.0), r"sample_weight.*nan at \[5\]"),
        (np.zeros(60), "sample_weight.*60"),
    ],
)
def test_weights_that_cannot_be(weights, message):
    with pytest.raises(ValueError, match=message):
        fitted(3, X, IDS, sample_weight=weights)


def test_a_loss_must_tell_its_examples_apart():
    with pytest.raises(ValueError, match="reduction='none'"):
        fitted(2, X, NUMBERS, loss=lambda o, t: np.mean((o - t) ** 2), sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="one row per example"):
        fitted(2, X, NUMBERS, loss=lambda o, t, *, reduction: np.mean((o - t) ** 2), sample_weight=WEIGHTS)


def test_examples_are_not_mixed():
    def squares(output, target, *, reduction="mean"):
        losses = (output - target) ** 2
        return losses if reduction == "none" else np.mean(losses)

    fitted(1, X, NUMBERS[:, :1], loss=squares, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="broadcasts the examples of the output"):
        fitted(1, X, NUMBERS[:, 0], loss=squares, sample_weight=WEIGHTS)


@pytest.mark.parametrize("size", [1e39, 1e-60])
def test_weights_that_the_networks_dtype_cannot_hold(size):
    with pytest.raises(ValueError, match=r"sample_weight.*float32"):
        cr.fit(network(3, np.float32), X, IDS, sample_weight=size * WEIGHTS, epochs=1, progress=False)
    fitted(3, X, IDS, sample_weight=size * WEIGHTS, epochs=1)
