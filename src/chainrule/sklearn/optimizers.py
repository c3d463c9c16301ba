"""The solvers as scikit-learn defines them, and a learning rate that can be changed between epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .. import optim
from ..optim.optimizers import Optimizer, Slots
from ..optim.schedules import Schedule


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v ← μ v - lr g, p + v; Nesterov: p + μ v - lr g.

    The velocity holds the learning rates of its steps. With one that never changes this is ``optim.SGD``.

    Parameters
    ----------
    lr, weight_decay, clip_norm, clip_value
        See `Optimizer`.
    momentum : float
        From 0 to 1.
    nesterov : bool
    """

    momentum: float = 0.9
    nesterov: bool = True

    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""
        move = n["lr"] * g
        v = self.momentum * slots[0] - move
        return p + (self.momentum * v - move if self.nesterov else v), (v,)


@dataclass(frozen=True)
class Adam(optim.Adam):
    """Adam in the form of its article's last paragraph of section 2: `eps` is not scaled by sqrt(1-β₂ᵗ).

    Parameters as for ``optim.Adam``.
    """

    def numbers(self, lr: Any, t: Any) -> dict[str, Any]:
        """Return the scalars of update number `t`."""
        return {**super().numbers(lr, t), "eps": self.eps}


@dataclass(frozen=True)
class _Held(Schedule):
    """The learning rate that a state holds."""

    value: Any

    def __call__(self, step: Any) -> Any:
        return self.value


class Adjustable:
    """An optimiser whose learning rate is one of its states, so that it can change without a new plan.

    Parameters
    ----------
    rule : Optimizer
        Computes a step. Its own learning rate, a number, is the first; one that goes by a schedule stays the rule's.
    """

    def __init__(self, rule: Optimizer) -> None:
        self.rule = rule
        self.scheduled = isinstance(rule.lr, Schedule)

    def init(self, params: Any) -> dict[str, Any]:
        """Return the state to begin with."""
        return {**self.rule.init(params), "lr": np.array(first_rate(self.rule), np.float64)}

    def update(self, grads: Any, state: Mapping[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        """Make one step at the learning rate that the state holds."""
        rest = {k: v for k, v in state.items() if k != "lr"}
        rule = self.rule if self.scheduled else replace(self.rule, lr=_Held(state["lr"]))
        new, after = rule.update(grads, rest, params)
        return new, {**after, "lr": state["lr"]}

    def learning_rate(self, step: Any) -> Any:
        """Return the learning rate after `step` updates, unless training changed it."""
        return self.rule.learning_rate(step) if self.scheduled else self.rule.lr


def first_rate(rule: Optimizer) -> float:
    """Return the learning rate of the first step."""
    return float(rule.learning_rate(0))
