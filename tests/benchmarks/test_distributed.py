"""The cost model of training in several processes, beside its simulation and values computed by hand."""

import pytest

from benchmarks.distributed.costs import SUMS, Network, Work, batch_for, joined, most, pieces, ring, speedup, step, tree
from benchmarks.distributed.simulation import overlapped, simulated
from tests.tables import for_each

LINE = Network("line", latency=20e-6, bandwidth=1e9, overhead=1e-6)
WORK = Work("mlp", batch=256, fixed=1e-3, per_row=35e-6, gradients=2_680_000, outputs=40)


def test_sums_of_two_and_four_processes_by_hand():
    assert ring(2, 1e6, LINE) == pytest.approx(2 * (20e-6 + 1e-6 + 0.5e-3))
    assert ring(4, 1e6, LINE) == pytest.approx(6 * (21e-6 + 0.25e-3))
    assert tree(4, 1e6, LINE) == pytest.approx(4 * (21e-6 + 1e-3))
    assert pieces(4, 1e6, LINE) == pytest.approx(2 * (20e-6 + 3 * (1e-6 + 0.25e-3)))
    assert joined(1, 1e6, LINE) == ring(1, 1e6, LINE) == tree(1, 1e6, LINE) == pieces(1, 1e6, LINE) == 0


@for_each("processes", (1, 2, 4, 16, 64, 256))
def test_the_model_is_the_simulation_without_jitter_and_near_it_with_some(processes):
    for kind in SUMS:
        predicted = step(WORK, processes, LINE, kind)
        assert simulated(WORK, processes, LINE, kind, jitter=0.0, steps=3) == pytest.approx(predicted, rel=2e-3)
        assert simulated(WORK, processes, LINE, kind, jitter=0.1, steps=10) == pytest.approx(predicted, rel=0.1)


def test_more_processes_help_up_to_a_number_and_larger_batches_use_more():
    best = most(WORK, LINE)
    assert 1 < best < 256
    assert speedup(WORK, best, LINE) >= max(speedup(WORK, 2 * best, LINE), speedup(WORK, best // 2, LINE))
    assert batch_for(WORK, 16, LINE) > WORK.batch >= batch_for(WORK, 2, LINE)


@for_each("processes", (1, 2, 16))
def test_sums_that_overlap_hide_what_is_computed_after_them(processes):
    """By hand, with two layers, of which the first to be summed has a tenth of the bytes; no delays."""
    sizes, rows = (268_000, 2_412_000), WORK.per_row * -(-256 // processes)
    sums, half = [pieces(processes, size, LINE) for size in sizes], rows / 3  # each layer half of the backward pass
    begun = WORK.fixed / 2 + rows / 3 + joined(processes, WORK.outputs * 256, LINE)
    by_hand = begun + half + max(half, sums[0]) + sums[1] + WORK.fixed / 2
    layers = [(size, 0.5) for size in sizes]
    assert overlapped(WORK, layers, processes, LINE, jitter=0.0, steps=3) == pytest.approx(by_hand)
    one = overlapped(WORK, [(WORK.gradients, 1.0)], processes, LINE, jitter=0.0, steps=3)
    assert one == pytest.approx(step(WORK, processes, LINE)), "a single layer has nothing to overlap with"
