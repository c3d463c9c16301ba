"""The step that the sides are held to, the gate, and the sides that come with the library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import reference
from benchmarks.measure import GATE_STEPS, disagreement
from benchmarks.sides import SIDES, Unsupported
from benchmarks.sides.side import StepByStep
from benchmarks.workloads import GRID, Workload, make_data, select


def small(workload: Workload) -> Workload:
    """The workload with layers, batch and data cut to a size that takes no time."""
    layers = tuple(min(size, 7) for size in workload.layers)
    return replace(workload, layers=layers, batch=min(workload.batch, 6), batches=min(workload.batches, 3))


SMALL = [small(workload) for workload in GRID]
EVERY_WORKLOAD = pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)


@EVERY_WORKLOAD
def test_reference_gradients_against_central_differences(workload):
    data = make_data(workload)
    weights = [(w.astype(np.float64), b.astype(np.float64)) for w, b in data.weights]
    x, y = data.inputs[0].astype(np.float64), data.targets[0]
    _, by_layer, dx = reference.loss_and_gradients(workload, weights, x, y)
    found = [dx, *(g for pair in by_layer for g in pair)]
    for array, gradient in zip([x, *(p for pair in weights for p in pair)], found, strict=True):
        for place in np.ndindex(array.shape):
            kept, losses = array[place], []
            for moved in (kept + 1e-6, kept - 1e-6):
                array[place] = moved
                losses.append(reference.loss_and_gradients(workload, weights, x, y)[0])
            array[place] = kept
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_reference_loss_by_hand():
    workload = Workload("by hand", (1, 2), "relu", 1, "sgd", "cross_entropy", 1.0)
    data = make_data(workload)
    data.inputs[...] = 1
    data.targets[...] = 0
    data.weights[0][0][...] = [[np.log(3), 0]]
    data.weights[0][1][...] = 0
    # softmax is (3/4, 1/4), so dz is (-1/4, 1/4); a step of 1 on weights and biases moves the logits by (1/2, -1/2).
    second = np.log(1 + np.exp(-np.log(3) - 1))
    assert reference.losses(workload, data, 2) == pytest.approx([np.log(4 / 3), second], rel=1e-6)


@EVERY_WORKLOAD
def test_hand_written_numpy_agrees_with_the_reference(workload):
    data = make_data(workload)
    assert disagreement(SIDES["numpy_hand"].make(workload, data, 1), workload, data) is None


@EVERY_WORKLOAD
@pytest.mark.parametrize("side", ["chainrule_eager", "chainrule_compiled"])
def test_the_library_agrees_with_the_reference(workload, side):
    if SIDES[side].absent():
        pytest.skip(SIDES[side].absent())
    data = make_data(workload)
    assert disagreement(SIDES[side].make(workload, data, 1), workload, data) is None


def test_reset_starts_over():
    workload = SMALL[3]  # Adam: moments and step count are to be forgotten as well
    runner = SIDES["numpy_hand"].make(workload, make_data(workload), 1)
    seen = []
    for _ in range(2):
        runner.reset()
        runner.run(4)
        seen.append(runner.losses())
    assert seen[0] == seen[1]


def test_the_gate_stops_a_wrong_loss():
    workload = SMALL[2]
    data = make_data(workload)
    expected = reference.losses(workload, data, GATE_STEPS)

    def runner(losses):
        found = iter(losses)
        return StepByStep(lambda x, y: next(found), [(None, None)], lambda: None, lambda: [])

    assert disagreement(runner(expected), workload, data) is None
    off = [*expected[:5], expected[5] * 1.002, *expected[6:]]
    assert "loss of step 5" in disagreement(runner(off), workload, data)
    assert "nan" in disagreement(runner([np.nan] * GATE_STEPS), workload, data)


def test_the_gate_stops_a_wrong_gradient():
    workload = SMALL[-1]
    data = make_data(workload)
    losses = iter(reference.losses(workload, data, GATE_STEPS))
    dx, dw, db = reference.gradients(workload, data, (GATE_STEPS - 1) % workload.batches)
    runner = StepByStep(lambda x, y: next(losses), [(None, None)], lambda: None, lambda: [dx, 1.01 * dw, db])
    assert "dW1 is off by 0.01" in disagreement(runner, workload, data)


def test_a_side_says_what_it_cannot_run():
    workload = Workload("deep", (3, 3, 3, 3, 3), "relu", 2, "sgd", "cross_entropy", 0.1)
    with pytest.raises(Unsupported, match="one to three layers, not for 4"):
        SIDES["numpy_hand"].make(workload, make_data(workload), 1)


def test_data_come_from_the_seed_alone():
    workload = SMALL[4]
    first, second = make_data(workload), make_data(workload)
    other = make_data(replace(workload, seed=1))
    assert np.array_equal(first.inputs, second.inputs) and np.array_equal(first.targets, second.targets)
    assert not np.array_equal(first.inputs, other.inputs)
    for mine, same in zip(first.weights, second.weights, strict=True):
        assert np.array_equal(mine[0], same[0]) and np.array_equal(mine[1], same[1])


def test_flops_by_hand():
    (workload,) = select(["64-32-10/b32/sgd"])
    # Forward and weight gradients of both layers, the signal through the second one.
    assert workload.flops() == 2 * 32 * (2 * 64 * 32 + 3 * 32 * 10)
    (linear,) = select(["1024-512"])
    assert linear.flops() == 3 * 2 * 256 * 1024 * 512


def test_workloads_are_chosen_by_whole_parts_of_their_names():
    assert [w.name for w in select(["784-128-10/b32"])] == ["784-128-10/b32/sgd", "784-128-10/b32/adam"]
    assert len(select(["2-4-1", "2-4-1/b4/sgd"])) == 1
    with pytest.raises(ValueError, match=r"2-4-1/b4/sgd.*'784-12'"):
        select(["784-12"])
