"""Shards of a batch, and the tree along which their parts are summed."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.processes import WHOLE, Group, Layout, _fair_share, checksum
from chainrule.core.shards import cut, summed, within
from chainrule.core.tensor import tensor
from chainrule.ops.collective import JOINED_ROWS, SHARED_SUM, joined_rows, shared_sum, sum_over_shards
from tests.communicator import in_ranks
from tests.tables import for_each

SIZES = (1, 2, 3, 5, 8, 11)


def by_hand(parts):
    """The tree as it is documented: the left half of a node is the largest power of two below its length."""
    if len(parts) == 1:
        return parts[0]
    half = 1
    while 2 * half < len(parts):
        half *= 2
    return by_hand(parts[:half]) + by_hand(parts[half:])


@for_each("count", range(1, 20))
def test_a_cut_covers_everything_evenly(count):
    for parts in range(1, 25):
        spans = cut(count, parts)
        lengths = [stop - start for start, stop in spans]
        assert [i for start, stop in spans for i in range(start, stop)] == list(range(count))
        assert len(spans) == parts and max(lengths) - min(lengths) <= 1


@for_each("shards", range(1, 18))
def test_nodes_of_all_processes_are_the_leaves_of_the_tree_and_sum_to_its_root(shards):
    parts = list(np.random.default_rng(shards).normal(size=shards).astype(np.float32) * 1e3)
    for size in SIZES:
        nodes = [node for rank in range(size) for node in Layout.of(shards, size).nodes(rank)]
        assert [i for start, stop in nodes for i in range(start, stop)] == list(range(shards))
        known = {node: by_hand(parts[slice(*node)]) for node in nodes}
        assert summed(known, (0, shards), lambda a, b: a + b) == by_hand(parts)


@for_each("lacking", [None, "memfd_create", "fstat"])
def test_processes_share_rows_for_their_nodes_where_the_system_lets_them(lacking):
    """It has no files in memory, or that of another process is not the one that was meant."""

    def refused(name):
        raise OSError

    found = {"memfd_create": refused, "fstat": lambda number: SimpleNamespace(st_ino=object())}
    like, layout = np.zeros(WHOLE, np.float32), Layout.of(5, 2)

    def rank(comm):
        group = Group(comm)
        rows = group.shared(layout, "a", like)
        if lacking:
            assert rows is None
            return
        own = group.own_rows(layout)
        rows[own] = group.rank + 1
        group.wait()
        assert rows.shape == (4, WHOLE) and rows[:, -1].tolist() == [1, 1, 2, 2]  # shards 0 and 1, 2 | 3, 4
        assert group.shared(layout, "a", like) is rows and not np.shares_memory(group.shared(layout, "b", like), rows)
        assert group.shared(layout, "c", like[:9]) is None and group.shared(Layout.of(1000, 2), "d", like) is None
        assert group.shared(layout, "e", np.broadcast_to(np.float32(0), 1 << 30)) is None  # there is no room

    with pytest.MonkeyPatch.context() as patch:
        if lacking:
            patch.setattr(os, lacking, found[lacking], raising=False)
        in_ranks(2, rank)
    assert Group().shared(layout, "a", like) is None


def test_the_order_of_a_sum_matters_so_that_the_tree_is_needed():
    parts = np.random.default_rng(0).normal(size=(8, 100)).astype(np.float32)
    chain = parts[0]
    for part in parts[1:]:
        chain = chain + part
    assert not np.array_equal(by_hand(list(parts)), chain)


def test_a_node_outside_of_a_span_is_not_in_it():
    assert within((2, 2), (0, 8)) == [] and within((6, 8), (0, 5)) == []


@for_each("size", SIZES)
def test_sums_over_processes_are_the_tree_for_short_and_long_arrays_of_each_dtype(size):
    assert_sums(size)


def assert_sums(size):
    single, double = np.float32, np.float64
    for shards, length, dtype in [
        (8, 3, single), (5, WHOLE, single), (8, WHOLE + 1, double), (3, WHOLE // 4 + 1, single), (8, 0, double)
    ]:  # fmt: skip
        parts = list(np.random.default_rng(shards).normal(size=(shards, length)).astype(dtype))
        layout = Layout.of(shards, size)

        def rank(comm, parts=parts, layout=layout):
            group = Group(comm)
            own = [parts[i] for i in layout.computed(group.rank)]
            twice = [sum_over_shards([tensor(p) for p in own], group, layout) for _ in range(2)]
            return [np.asarray(t.value) for t in twice]

        for found in in_ranks(size, rank):
            for one in found:
                assert one.dtype == dtype and one.tobytes() == by_hand(parts).tobytes()


@for_each("size", (1, 2, 3, 6))
def test_derivatives_of_what_shards_share_are_those_of_all_shards(size):
    """Against central differences of the function of all shards, each of which reads the sums over all."""
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    layout = Layout.of(4, size)

    def alone(X):
        return np.sum(weights * np.sin(np.sum(X, axis=0)) * X)

    def rank(comm):
        group = Group(comm)
        own = layout.computed(group.rank)
        counts = tuple(end - first for first, end in layout.owned)

        def loss(rows):
            totals = shared_sum([rows[i] for i in range(len(own))], group, layout)
            whole = joined_rows(weights[own.start : own.stop] * np.sin(totals) * rows, group, counts)
            return np.sum(whole)

        return own, cr.compile(cr.grad(loss))(X[own.start : own.stop])

    step = 1e-6
    expected = np.array(
        [(alone(X + step * e) - alone(X - step * e)) / (2 * step) for e in np.eye(12).reshape(12, 4, 3)]
    ).reshape(4, 3)
    for own, gradient in in_ranks(size, rank):
        np.testing.assert_allclose(gradient, expected[own.start : own.stop], rtol=1e-6, atol=1e-8)


def test_rows_are_joined_in_the_order_of_the_ranks():
    counts = (2, 0, 3)

    def rank(comm):
        own = np.full((max(counts[comm.Get_rank()], 1), 2), comm.Get_rank(), np.int64)
        return joined_rows(tensor(own), Group(comm), counts).value

    for found in in_ranks(3, rank):
        assert found.tolist() == [[0, 0]] * 2 + [[2, 2]] * 3


@for_each("op", [SHARED_SUM, JOINED_ROWS])
def test_operations_of_one_process_have_the_derivative_of_central_differences(op):
    example = op.points(np.random.default_rng(0))[0]
    assert cr.gradcheck(lambda *xs: cr.core.apply.apply(op, xs, dict(example.attrs)), *example.inputs)


def test_parts_of_a_sum_have_one_shape():
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(3,\)"):
        shared_sum([tensor(np.zeros(2)), tensor(np.zeros(3))], Group(), Layout.of(2, 1))


def test_threads_are_a_fair_share_of_the_processors_of_a_machine():
    assert _fair_share([("a", [0, 1]), ("a", [0, 1])], 0) == 1
    assert _fair_share([("a", [0, 1, 2, 3]), ("a", [0, 1, 2, 3]), ("b", [0, 1, 2, 3])], 1) == 2
    assert _fair_share([("a", [0]), ("a", [1])], 1) == 1  # bound by mpiexec
    assert _fair_share([("a", [0])] * 4, 3) == 1
    assert _fair_share([("a", [0, 1, 2, 3]), ("b", [0, 1])], 0) == 4


def test_a_checksum_sees_each_bit():
    arrays = [np.zeros(3, np.float32), np.zeros((), np.int64)]
    changed = [np.array([0, 0, np.float32(-0.0)], np.float32), arrays[1]]
    assert checksum(arrays) != checksum(changed) and checksum(arrays) == checksum([a.copy() for a in arrays])
