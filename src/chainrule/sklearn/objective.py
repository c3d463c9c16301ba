"""The objective: the weighted mean loss of the examples plus a penalty divided by their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..core.op import Array
from ..nn import losses
from ..train import TrainingStep
from ..train.sharded import Sharding
from ..train.weights import WeightedTargets


class PenalizedStep(TrainingStep):
    """A training step on mean loss + alpha/2 Σ W² / (the batch's sum of weights).

    Parameters
    ----------
    model, loss, optimizer, engine, threads, sharding
        As for `TrainingStep`.
    alpha : float
        Strength of the penalty.
    targets : WeightedTargets or None
        If y is packed with weights.
    reported : float
        Factor of the reported loss; the objective is not multiplied by it.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | Callable[[Any, Any], Any],
        optimizer: Any,
        *,
        alpha: float,
        targets: WeightedTargets | None,
        reported: float = 1.0,
        engine: str | None = None,
        threads: int | None = None,
        sharding: Sharding | None = None,
    ) -> None:
        given = loss if targets is None else targets.loss(loss)
        super().__init__(model, given, optimizer, engine=engine, threads=threads, sharding=sharding)
        self.targets, self.engine = targets, engine
        self._alpha, self._reported = alpha, reported

    def measured(self, output: Array, y: Array) -> float:
        """Return the loss of outputs as it is reported, without the penalty."""
        with np.errstate(all="ignore"):
            return self._reported * float(self.loss(output, y))

    def objective(self, output: Any, y: Any, parameters: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the loss of an output, and what is minimised, both with the penalty."""
        loss, objective = super().objective(output, y, parameters)
        shown = loss if self._reported == 1.0 else self._reported * loss
        if not self._alpha:
            return shown, objective
        total = y.shape[0] if self.targets is None else np.sum(self.targets.unpack(y)[1])
        penalty = losses.penalty(parameters, l2=self._alpha) / total
        return shown + penalty, objective + penalty
