"""Which rows train and test, and the order of an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import batches, epoch_order, split
from chainrule.data.splits import folds


@given(n=st.integers(2, 500), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**70))
def test_split_is_a_partition(n, fraction, seed):
    size = round(n * fraction)
    if not 0 < size < n:
        with pytest.raises(ValueError, match=r"fraction=.* leaves the (test|training) split empty"):
            split(n, fraction, seed)
        return
    train, test = split(n, fraction, seed)
    assert len(test) == size
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    again = split(n, fraction, seed)
    np.testing.assert_array_equal(test, again[1])
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 1000),
)
def test_stratified_split_keeps_proportions(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat([f"c{i}" for i in range(len(counts))], counts))
    n = len(labels)
    if not 0 < round(n * fraction) < n or max(counts) == 1:
        return
    train, test = split(n, fraction, seed, stratify=labels)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    for i, count in enumerate(counts):
        tested = int((labels[test] == f"c{i}").sum())
        # Each class keeps a row to learn from, so a small class may have to leave its place to a larger one.
        assert tested <= count - 1
        if count * fraction + 1 < count and min(counts) * (1 - fraction) > 1:
            assert abs(tested - count * round(n * fraction) / n) <= 1
    if min(counts) * (1 - fraction) > 1:
        assert len(test) == round(n * fraction)


def test_stratified_split_by_hand():
    labels = [0] * 50 + [1] * 30 + [2] * 20
    _, test = split(100, 0.2, seed=3, stratify=labels)
    assert np.bincount(np.array(labels)[test]).tolist() == [10, 6, 4]


def test_split_differs_between_seeds_and_is_spread_out():
    first, second = split(1000, 0.3, 0)[1], split(1000, 0.3, 1)[1]
    assert not np.array_equal(first, second)
    # 300 of 1000 rows drawn at random: each tenth holds 30, with a deviation of about 4.6.
    assert (abs(np.histogram(first, bins=10, range=(0, 1000))[0] - 30) < 23).all()


def test_orders_are_the_same_for_good():
    """Numbers written down once: a run of last year can be repeated with the NumPy of next year."""
    assert epoch_order(8, seed=0, epoch=0).tolist() == [1, 4, 5, 6, 2, 0, 3, 7]
    assert epoch_order(8, seed=0, epoch=1).tolist() == [7, 6, 2, 3, 1, 0, 4, 5]
    assert epoch_order(8, seed=1, epoch=0).tolist() == [0, 5, 7, 4, 2, 6, 3, 1]
    assert split(10, 0.3, seed=0)[1].tolist() == [0, 8, 9]


@given(n=st.integers(1, 300), seed=st.integers(0, 2**64), epoch=st.integers(0, 10_000))
def test_epoch_order_is_a_permutation(n, seed, epoch):
    order = epoch_order(n, seed, epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(order, epoch_order(n, seed, epoch))


def test_every_epoch_and_seed_has_its_own_order():
    orders = {tuple(epoch_order(20, seed, epoch).tolist()) for seed in range(5) for epoch in range(20)}
    assert len(orders) == 100
    assert epoch_order(4, shuffle=False).tolist() == [0, 1, 2, 3]


def test_epoch_order_is_uniform():
    counts = np.zeros((4, 4))
    for epoch in range(4000):
        counts[np.arange(4), epoch_order(4, 7, epoch)] += 1
    # Binomial(4000, 1/4): deviation 27.
    assert (abs(counts - 1000) < 140).all()


@given(n=st.integers(1, 200), size=st.integers(1, 250), epoch=st.integers(0, 5), shuffle=st.booleans())
def test_batches_cover_the_epoch(n, size, epoch, shuffle):
    parts = list(batches(n, size, 3, epoch, shuffle))
    np.testing.assert_array_equal(np.concatenate(parts), epoch_order(n, 3, epoch, shuffle))
    assert len(parts) == -(-n // size)
    assert all(len(part) == size for part in parts[:-1])


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=20), fraction=st.floats(0.1, 0.9), seed=st.integers(0, 99)
)
def test_groups_stay_together(sizes, fraction, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat([f"g{i}" for i in range(len(sizes))], sizes))
    n, wanted = len(groups), round(len(groups) * fraction)
    if not 0 < wanted < n:
        return
    train, test = split(n, fraction, seed, groups=groups)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    assert len(train) and len(test) and not set(groups[train]) & set(groups[test])
    assert abs(len(test) - wanted) <= max(sizes)
    k = min(len(sizes), 4)
    found = folds(n, k, seed, groups=groups)
    assert set(found.tolist()) == set(range(k))
    assert all(len(set(found[groups == group].tolist())) == 1 for group in set(groups))
    assert np.ptp(np.bincount(found)) <= max(sizes)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: split(0, 0.2), ValueError, "n: .*got 0"),
        (lambda: split(10, 0.0), ValueError, "fraction: .*got 0.0"),
        (lambda: split(10, 1.0), ValueError, "fraction: .*got 1.0"),
        (lambda: split(10, float("nan")), ValueError, "fraction: .*got nan"),
        (lambda: split(10, 0.01), ValueError, "fraction=0.01 of 10 rows leaves the test split empty"),
        (lambda: split(10, 0.99), ValueError, "fraction=0.99 of 10 rows leaves the training split empty"),
        (lambda: split(10, 0.2, -1), ValueError, "seed: .*got -1"),
        (lambda: split(10, 0.2, 1.5), TypeError, "seed: .*got 1.5"),
        (
            lambda: split(10, 0.2, 0, [1, 2]),
            ValueError,
            r"stratify has shape \(2,\)",
        ),
        (lambda: split(9, 0.01, called="test"), ValueError, "test=0.01 of 9 rows leaves the test split empty"),
        (lambda: split(3, 0.4, groups=["a", "b"]), ValueError, r"groups has shape \(2,\)"),
        (lambda: split(3, 0.4, groups=["a"] * 3), ValueError, "groups: expected at least 2 different ones, got 1"),
        (lambda: folds(4, 3, groups=list("aabb")), ValueError, "groups: expected at least 3 different ones, got 2"),
        (lambda: split(3, 0.4, 0, [1, 2, 3]), ValueError, "3 classes in 3 rows, one row each"),
        (lambda: epoch_order(5, 0, -1), ValueError, "epoch: .*got -1"),
        (lambda: batches(5, 0), ValueError, "batch_size: .*got 0"),
        (lambda: batches("5", 1), TypeError, "n: .*got '5'"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
