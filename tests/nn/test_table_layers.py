"""Layers of networks for tables, against NumPy and central differences."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from tests.tables import for_each

rng = np.random.default_rng(0)
IDS = rng.integers(0, 7, (6, 2))
NUMBERS = rng.normal(size=(6, 5))


@for_each(("numbers", "others", "categories"), [(3, 0, 0), (0, 5, 0), (0, 0, 2), (3, 2, 2), (5, 0, 1)])
def test_embedding_is_its_formula(numbers, others, categories):
    layer = nn.TableEmbedding(numbers, others, categories, 7, dtype=np.float64, seed=1)
    X = np.concatenate([NUMBERS[:, : numbers + others], IDS[:, :categories]], axis=1)
    parts = []
    for j in range(numbers):
        turns = 2 * np.pi * X[:, j, None] * layer.frequency.value[j] + layer.phase.value[j]
        parts.append(np.cos(turns) @ layer.weight.value[j] + layer.bias.value[j])
    parts.append(X[:, : numbers + others])
    parts += [layer.table.value[IDS[:, j]] for j in range(categories)]
    expected = np.concatenate(parts, axis=1)
    assert expected.shape[1] == layer.out_features
    np.testing.assert_allclose(layer(X).value, expected, rtol=1e-12, atol=1e-12)
    assert layer.num_parameters == nn.count_parameters(layer.config())


def test_gradients():
    emb = nn.TableEmbedding(2, 1, 2, 7, frequencies=3, width=2, dtype=np.float64)
    network = nn.Sequential(
        emb, nn.Scale(emb.out_features, dtype=np.float64), nn.Linear(emb.out_features, 3, dtype=np.float64),
        nn.MixedActivation("mish", 3, dtype=np.float64), nn.Linear(3, 1, dtype=np.float64), nn.OutputRange(-1.0, 1.0),
    )  # fmt: skip
    X, y = np.concatenate([NUMBERS[:, :3], IDS], axis=1), rng.normal(size=(6, 1))
    weights = {path: p.value for path, p in network.named_parameters()}

    def loss(weights):
        return nn.losses.mse(nn.functional_call(network, weights, X)[0], y)

    assert cr.gradcheck(loss, weights)
    assert nn.from_config(network.config()).config() == network.config()


def test_ids_outside_of_the_table_are_refused():
    layer = nn.TableEmbedding(0, categories=1, rows=3)
    with pytest.raises(ValueError, match=r"ids 3 … 3 .* rows 0 … 2"):
        layer(np.array([[3.0]]))
    with pytest.raises(ValueError, match=r"X has shape \(1, 2\), TableEmbedding expects \(m, 1\)"):
        layer(np.zeros((1, 2)))


def test_mixed_activation_between_the_function_and_the_identity():
    layer = nn.MixedActivation("selu", 5, dtype=np.float64)
    layer.weight.assign([1.0, 0.0, 0.5, 0.5, 0.5])
    selu = 1.0507009873554805 * np.where(NUMBERS > 0, NUMBERS, 1.6732632423543772 * np.expm1(NUMBERS))
    expected = NUMBERS + layer.weight.value * (selu - NUMBERS)
    np.testing.assert_allclose(layer(NUMBERS).value, expected, rtol=1e-12)


def test_output_range_holds_in_evaluation_only():
    layer = nn.OutputRange([-1.0, 0.0], [1.0, 2.0])
    x = np.array([[-5.0, -5.0], [5.0, 5.0], [0.5, 0.5]])
    np.testing.assert_array_equal(layer(x).value, x)
    np.testing.assert_array_equal(layer.eval()(x).value, np.clip(x, [-1, 0], [1, 2]))
    with pytest.raises(ValueError, match="low is 2"):
        nn.OutputRange(2.0, 1.0)


def test_dropout_fades_in_a_plan_as_in_calls():
    """Against the schedule in NumPy: shares of zeros of many values, in eager calls and in steps of `fit`."""
    layer = nn.FadingDropout(0.4, steps=10, seed=3)
    x = np.ones(20_000, np.float32)
    for call in range(12):
        late = min(max(2 * call / 10 - 1, 0), 1)
        p = 0.2 * (1 + np.cos(np.pi * late))
        value = layer(x).value
        assert abs((value == 0).mean() - p) < 0.02
        np.testing.assert_allclose(value[value > 0], 1 / (1 - p), rtol=1e-5)
    networks = [nn.Sequential(nn.Linear(4, 3, seed=1), nn.FadingDropout(0.4, 4, seed=2)) for _ in range(2)]
    losses = [
        cr.fit(network, NUMBERS[:, :4], NUMBERS[:, :3], loss="mse", epochs=6, progress=False, engine=engine)["loss"]
        for network, engine in zip(networks, ("numpy", "native"), strict=True)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
