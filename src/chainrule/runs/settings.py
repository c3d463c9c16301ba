"""What a run is asked to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import nn, optim
from ..core.arguments import choice, integer, number
from ..nn import activations
from .judged import check_threshold
from .networks import NETWORKS

#: Schedules of the learning rate over a run: from its value to 0 along half a cosine, up and down in cycles, constant.
SCHEDULES: Mapping[str, Callable[[float, int], optim.Schedule]] = {
    "cosine": optim.Cosine,
    "cycles": optim.CosineCycles,
    "constant": lambda lr, steps: optim.schedules.Constant(lr),
}
#: The default loss of each task.
LOSSES = {"binary": "binary_cross_entropy", "multiclass": "cross_entropy", "regression": "mse"}
#: Settings that only some networks take; None for the others.
OF_SOME = ("hidden", "activation", "context", "width", "layers")


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do. The defaults are those of `mlp`; `defaults` gives those of other networks."""

    model: str = "mlp"
    hidden: tuple[int, ...] | None = (256, 128)
    activation: str | None = "relu"
    dropout: float = 0.1
    epochs: int = 30
    batch_size: int = 32
    optimizer: str = "adam"
    lr: float | None = 1e-3
    schedule: str = "cosine"
    l2: float = 0.0
    test: float = 0.2
    validation: float = 0.0
    patience: int | None = None
    seed: int = 0
    loss: str | None = None
    context: int | None = None
    width: int | None = None
    layers: int | None = None
    class_weight: str | None = None
    threshold: str | None = None
    calibrate: str | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        choice("model", self.model, tuple(NETWORKS))
        for width in self.hidden or ():
            integer("hidden", width, at_least=1)
        for name in ("epochs", "batch_size", "seed", "patience", "context", "width", "layers"):
            if (value := getattr(self, name)) is not None:
                integer(name, value, at_least=0 if name == "seed" else 1)
        number("dropout", self.dropout, at_least=0, below=1)
        number("test", self.test, above=0, below=1)
        number("validation", self.validation, at_least=0, below=1)
        number("l2", self.l2, at_least=0)
        number("label_smoothing", self.label_smoothing, at_least=0, below=1)
        choice("schedule", self.schedule, tuple(SCHEDULES))
        if self.calibrate is not None:
            choice("calibrate", self.calibrate, ("temperature",))
        check_threshold(self.threshold)
        if self.activation is not None:
            activations.get(self.activation)
        self.make_optimizer(1)

    @classmethod
    def of(cls, model: str, rows: int, given: Mapping[str, Any], *, own_validation: bool = False) -> Settings:
        """Return the settings of a run: what was `given`, and the network's defaults for this many examples.

        With `own_validation` the data has a validation split, so none is held out unless it is asked for.

        Raises
        ------
        ValueError
            For a setting that the network does not take, or that is out of its range.
        """
        row = NETWORKS[choice("model", model, tuple(NETWORKS))]
        share = 0.0 if own_validation else row.held_out(rows)
        trained = max(rows - round(rows * float(given.get("validation", share))), 1)
        by_size = {
            "epochs": row.default_epochs(rows), "validation": share, "batch_size": row.batch_size(trained)
        }  # fmt: skip
        settings = {"model": model, **dict.fromkeys(OF_SOME), **by_size, **row.defaults}
        for name in OF_SOME:
            if name in given and name not in row.defaults:
                others = ", ".join(n for n, other in NETWORKS.items() if name in other.defaults)
                raise ValueError(f"{name}: the model {model} does not take it (only {others})")
        return cls(**{**settings, **given})

    def make_optimizer(self, steps: int) -> optim.Optimizer:
        """Return the optimiser for a run of a number of steps."""
        return optim.get(self.optimizer, lr=self.rate(1e-3 if self.lr is None else self.lr, steps))

    def rate(self, lr: float, steps: int) -> optim.Schedule:
        """Return the schedule of the learning rate."""
        return SCHEDULES[self.schedule](lr, steps)

    def loss_for(self, task: str) -> str:
        """Return the name of the loss for a task."""
        return choice("loss", self.loss or LOSSES[task], nn.losses.names(task))


#: The settings of the networks, by name; other options are about the data.
SETTINGS = frozenset(Settings.__dataclass_fields__) - {"model"}
