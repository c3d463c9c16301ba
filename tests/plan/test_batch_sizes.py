"""Plans of a training step for several batch sizes: each is what it is alone, and one of a kind is verified."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chainrule import nn, optim
from chainrule.plan import Fused, Plan, verify
from chainrule.plan.verify import differs_in_sizes_only
from chainrule.train import TrainingStep

RNG = np.random.default_rng(0)
SIZES = (16, 5, 1)


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3, seed=1), nn.Linear(16, 3))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3))


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        self.inner, self.head = nn.LSTM(6, 4), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.inner(x)[:, -1])


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, Any]] = {
    "dense, Adam": (dense, (6,), "cross_entropy", lambda: optim.Adam(1e-2)),
    "layer norm, momentum": (normed, (6,), "mse", lambda: optim.SGD(1e-2, momentum=0.9)),
    "convolution and batch norm": (convolution, (1, 6, 6), "cross_entropy", lambda: optim.SGD(1e-2)),
    "recurrence": (Recurrent, (4, 6), "cross_entropy", lambda: optim.AdamW(1e-2)),
}


def step_of(name: str) -> TrainingStep:
    make, _, loss, optimizer = NETWORKS[name]
    model = make()
    model.initialize(0)
    return TrainingStep(model, loss, optimizer(), l2=1e-3)


def batch(name: str, size: int) -> tuple[Any, Any]:
    X = RNG.normal(size=(size, *NETWORKS[name][1])).astype(np.float32)
    by_class = NETWORKS[name][2] == "cross_entropy"
    return X, RNG.integers(0, 3, size) if by_class else RNG.normal(size=(size, 3)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plan_is_the_same_after_plans_of_other_sizes(name: str) -> None:
    step = step_of(name)
    for size in SIZES:
        X, y = batch(name, size)
        later, alone = step.binding(X, y), step_of(name)
        assert str(later.plan) == str(alone.binding(X, y).plan)
        verify(later.plan)
        before = step.snapshot()
        assert step.run(X, y) == alone.run(X, y)
        for one, other in zip(step.states, alone.states, strict=True):
            np.testing.assert_array_equal(one, other)
        step.restore(before)


def test_one_plan_of_a_kind_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[Plan] = []
    monkeypatch.setattr(importlib.import_module("chainrule.plan.build"), "verify", verified.append)
    step = step_of("dense, Adam")
    first = step.binding(*batch("dense, Adam", 16)).plan
    second = step.binding(*batch("dense, Adam", 5)).plan
    assert verified == [first]
    assert differs_in_sizes_only(first, second)
    other = "layer norm, momentum"
    assert not differs_in_sizes_only(first, step_of(other).binding(*batch(other, 5)).plan)


def changed(plan: Plan) -> dict[str, Plan]:
    """Return plans of another form."""
    g, fused = next((g, s) for g, s in enumerate(plan.steps) if isinstance(s, Fused) and s.registers)
    k, plain = next((k, s) for k, s in enumerate(plan.steps) if not isinstance(s, Fused))
    n = next(v.number for v in plan.values if v.storage == "buffer" and v.state is None)

    def value(**changes: Any) -> Plan:
        values = [v._replace(**changes) if v.number == n else v for v in plan.values]
        return replace(plan, values=tuple(values))

    def step(at: int, new: Any) -> Plan:
        return replace(plan, steps=(*plan.steps[:at], new, *plan.steps[at + 1 :]))

    return {
        "a step fewer": replace(plan, steps=plan.steps[:-1]),
        "a value fewer": replace(plan, values=plan.values[:-1]),
        "another input": step(k, replace(plain, inputs=(*plain.inputs, 0))),
        "another output": step(k, replace(plain, output=plain.output + 1)),
        "another operation": step(k, replace(plain, op=fused.steps[0].op)),
        "other registers": step(g, replace(fused, registers={i: r + 1 for i, r in fused.registers.items()})),
        "other fused steps": step(g, replace(fused, steps=fused.steps[::-1])),
        "another storage": value(storage="register"),
        "another root": value(root=0),
        "another dtype": value(dtype=np.dtype(np.float16)),
        "another state": value(state=0),
        "an axis more": value(shape=(*plan.values[n].shape, 1)),
        "other updates": replace(plan, updates=plan.updates[:-1]),
        "other outputs": replace(plan, outputs=plan.inputs[:1]),
    }


def test_another_form_is_no_difference_in_sizes() -> None:
    plan = step_of("dense, Adam").binding(*batch("dense, Adam", 16)).plan
    assert differs_in_sizes_only(plan, plan)
    for what, other in changed(plan).items():
        assert not differs_in_sizes_only(plan, other), what
