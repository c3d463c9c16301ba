"""Cross entropies with class weights, smoothing and padding, focal losses, and padded embeddings."""

import functools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import losses
from tests.tables import for_each

RNG = np.random.default_rng(5)
Z, IDS = RNG.normal(size=(3, 4, 5)), RNG.integers(0, 5, (3, 4))
WEIGHT = np.array([0.5, 2.0, 1.0, 0.0, 3.0])
PADDED = np.where(np.arange(4) < np.array([[4], [2], [1]]), IDS, -100)


def by_hand(z: Any, ids: Any, weight: Any = None, ignore_index: Any = None, label_smoothing: float = 0.0) -> Any:
    """One example at a time; return the losses and their weights in the mean."""
    found = []
    for row, y in zip(z.reshape(-1, z.shape[-1]), ids.reshape(-1), strict=True):
        if y == ignore_index:
            found.append((0.0, 0.0))
            continue
        w = np.ones(len(row)) if weight is None else weight
        logs = row - np.log(np.sum(np.exp(row)))
        t = np.full(len(row), label_smoothing / len(row))
        t[y] += 1 - label_smoothing
        found.append((-np.sum(t * w * logs), w[y]))
    return np.array(found).T


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"weight": WEIGHT},
    "smoothing": {"label_smoothing": 0.2},
    "padding": {"ignore_index": -100},
    "all": {"weight": WEIGHT, "label_smoothing": 0.1, "ignore_index": -100},
}


@for_each("name", SETTINGS)
def test_cross_entropy_of_sequences(name: str) -> None:
    settings = SETTINGS[name]
    ids = PADDED if "ignore_index" in settings else IDS
    each, weights = by_hand(Z, ids, **settings)
    loss = functools.partial(losses.cross_entropy, **settings)
    np.testing.assert_allclose(loss(Z, ids, reduction="none"), each.reshape(ids.shape), 1e-12, 1e-14)
    np.testing.assert_allclose(loss(Z, ids), each.sum() / weights.sum(), 1e-12)
    np.testing.assert_allclose(loss(Z, ids[..., None], reduction="sum"), each.sum(), 1e-12)
    assert cr.gradcheck(lambda z: loss(z, ids), Z)
    compiled = cr.compile(cr.grad(lambda z, y: loss(z, y)))
    np.testing.assert_allclose(compiled(Z, ids), cr.grad(lambda z: loss(z, ids))(Z), 1e-9, 1e-14)
    torch = pytest.importorskip("torch")
    more = {**settings, "weight": torch.tensor(WEIGHT)} if "weight" in settings else settings
    theirs = torch.nn.functional.cross_entropy(torch.tensor(Z).reshape(-1, 5), torch.tensor(ids).reshape(-1), **more)
    np.testing.assert_allclose(loss(Z, ids), theirs.numpy(), 1e-12)


def test_probabilities_with_weights_and_smoothing() -> None:
    torch = pytest.importorskip("torch")
    rows = RNG.dirichlet(np.ones(5), 6)
    z = RNG.normal(size=(6, 5))
    found = losses.cross_entropy(z, rows, weight=WEIGHT, label_smoothing=0.3)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(z), torch.tensor(rows), weight=torch.tensor(WEIGHT), label_smoothing=0.3
    )
    np.testing.assert_allclose(found, theirs.numpy(), 1e-12)


def test_positive_weight() -> None:
    z, y = RNG.normal(size=(6, 3)), RNG.integers(0, 2, (6, 3))
    p = 1 / (1 + np.exp(-z))
    for weight in (3.0, np.array([0.5, 1.0, 4.0])):
        expected = -(weight * y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)
        found = losses.binary_cross_entropy(z, y, pos_weight=weight, reduction="none")
        np.testing.assert_allclose(found, expected, 1e-12)
    far = losses.binary_cross_entropy(np.array([1e4, -1e4]), np.array([0, 1]), pos_weight=2.0, reduction="none")
    np.testing.assert_array_equal(far, [1e4, 2e4])


def test_focal_losses() -> None:
    each, _ = by_hand(Z, IDS)
    for gamma in (0.0, 2.0, 0.5):
        found = losses.focal(Z, IDS, gamma=gamma, reduction="none")
        np.testing.assert_allclose(found.reshape(-1), (1 - np.exp(-each)) ** gamma * each, 1e-12)
    z, y = RNG.normal(size=6), RNG.integers(0, 2, 6)
    p = np.where(y, 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)))
    expected = np.where(y, 0.25, 0.75) * (1 - p) ** 2 * -np.log(p)
    np.testing.assert_allclose(losses.binary_focal(z, y, alpha=0.25, reduction="none"), expected, 1e-12)
    assert cr.gradcheck(lambda z: losses.focal(z, IDS), Z)
    assert cr.gradcheck(lambda z: losses.binary_focal(z, y), z)
    assert np.isfinite(cr.grad(lambda z: losses.focal(z, [0]))(np.array([[1e4, -1e4]]))).all()


def test_padding_of_embeddings() -> None:
    layer = nn.Embedding(6, 3, padding_idx=2, dtype=np.float64)
    assert not layer.weight.value[2].any() and layer.weight.value[1].any()  # type: ignore[index]
    layer.weight.assign(RNG.normal(size=(6, 3)))
    ids = np.array([[1, 2, 1], [5, 1, 2]])
    weight = layer.weight.value
    assert weight is not None
    np.testing.assert_array_equal(layer(ids).value, weight[ids])
    g = RNG.normal(size=(2, 3, 3))
    for derivative in (cr.grad, lambda f: cr.compile(cr.grad(f))):
        found = derivative(lambda w: np.sum(nn.functional_call(layer, {"weight": w}, ids)[0] * g))(weight)
        expected = np.zeros((6, 3))
        np.add.at(expected, ids, np.where(ids[..., None] == 2, 0, g))
        np.testing.assert_allclose(found, expected)
    assert nn.from_config(layer.config()).config() == layer.config()
    assert nn.from_config(nn.Embedding(4, 2).config()).config() == nn.Embedding(4, 2).config()


MISTAKES = {
    "weights": (lambda: losses.cross_entropy(Z, IDS, weight=np.ones(4)), r"weight has shape \(4,\), expected \(5,\)"),
    "negative": (lambda: losses.cross_entropy(Z, IDS, weight=-WEIGHT), "weights ≥ 0, got -3"),
    "smoothing": (lambda: losses.cross_entropy(Z, IDS, label_smoothing=1.0), "label_smoothing: expected"),
    "ignored rows": (lambda: losses.cross_entropy(Z, np.full(Z.shape, 0.2), ignore_index=0), "is for class ids"),
    "ids": (lambda: losses.cross_entropy(Z, PADDED, ignore_index=-1), "class ids ≥ 0, got -100"),
    "positive": (
        lambda: losses.binary_cross_entropy([[0.0, 1.0]], [[0, 1]], pos_weight=np.ones(3)),
        r"\(3,\), .* 2 out",
    ),
    "padding": (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx: expected .* got 3"),
}


@for_each("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=message):
        call()
