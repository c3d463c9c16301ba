"""Learning rates as pure functions of the step, the number of updates already made: the first update has step 0.

Each works on a number (then the result is a float64 scalar) and on a traced tensor. Steps are updates, not epochs:
steps = epochs × batches per epoch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..core.arguments import integer, number, unexpected
from ..ops.table import as_dtype

#: Marks a field that descriptions omit at its default, so that those made before there was the field stay equal.
LATER = {"later": True}


@dataclass(frozen=True)
class Schedule(ABC):
    """A learning rate that changes with the step.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from chainrule import optim
    >>> @dataclass(frozen=True)
    ... class Halved(optim.Schedule):
    ...     lr: float
    ...     def __call__(self, step):
    ...         return self.lr / (step + 1)
    >>> rule = optim.SGD(Halved(0.1))
    >>> rule.learning_rate(1)
    0.05
    """

    @abstractmethod
    def __call__(self, step: Any) -> Any:
        """Return the learning rate after `step` updates, float64."""

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description, from which ``schedules.get`` builds it again."""
        return described(self)


def described(settings: Any) -> dict[str, Any]:
    """Return the name and the fields of a schedule or an optimiser, JSON-able."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    for f in fields(settings):
        if f.metadata == LATER and values[f.name] == f.default:
            del values[f.name]
    return {
        "name": type(settings).__name__,
        **{k: v.config() if hasattr(v, "config") else v for k, v in values.items()},
    }


@dataclass(frozen=True)
class Constant(Schedule):
    """Always `lr`.

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.Constant(0.1)
    >>> [round(float(rate(step)), 4) for step in range(5)]
    [0.1, 0.1, 0.1, 0.1, 0.1]
    """

    lr: float

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        return np.float64(self.lr)


@dataclass(frozen=True)
class Adjustable(Constant):
    """`lr` until another rate is written into the entry ``"lr"`` of the optimiser's state.

    A compiled step reads the rate from there; it is not planned again.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> from chainrule.optim.schedules import Adjustable
    >>> rule = optim.SGD(Adjustable(0.5))
    >>> state = rule.init(np.ones(2))
    >>> state["lr"][...] = 0.25
    >>> rule.update(np.ones(2), state, np.ones(2))[0]
    array([0.75, 0.75])
    """


@dataclass(frozen=True)
class Step(Schedule):
    """lr · factor ** floor(step / every).

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.Step(0.1, every=2)
    >>> [round(float(rate(step)), 4) for step in range(5)]
    [0.1, 0.1, 0.01, 0.01, 0.001]
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)
        integer("every", self.every, at_least=1)
        number("factor", self.factor, above=0)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        return self.lr * np.power(self.factor, np.floor(_real(step) / self.every))


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr · factor ** (step / every): the same decay, continuously.

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.Exponential(0.1, factor=0.5)
    >>> [round(float(rate(step)), 4) for step in range(5)]
    [0.1, 0.05, 0.025, 0.0125, 0.0063]
    """

    lr: float
    factor: float
    every: int = 1

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)
        number("factor", self.factor, above=0)
        integer("every", self.every, at_least=1)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        return self.lr * np.power(self.factor, _real(step) / self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """From `lr` down to `final` along half a cosine over `steps` updates, then `final`.

    final + (lr - final) · (1 + cos(π step / steps)) / 2. Source: Loshchilov & Hutter, "SGDR", 2017.

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.Cosine(0.1, steps=4)
    >>> [round(float(rate(step)), 4) for step in range(5)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0]
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)
        integer("steps", self.steps, at_least=1)
        number("final", self.final, at_least=0)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        share = np.minimum(_real(step) / self.steps, 1.0)
        return self.final + (0.5 * (self.lr - self.final)) * (1.0 + np.cos(math.pi * share))


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """`lr` for half of `steps` updates, then down to 0 along half a cosine.

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.FlatCosine(0.1, steps=4)
    >>> [round(float(rate(step)), 4) for step in range(5)]
    [0.1, 0.1, 0.1, 0.05, 0.0]
    """

    lr: float
    steps: int

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)
        integer("steps", self.steps, at_least=1)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        late = np.minimum(np.maximum(_real(step) * (2.0 / self.steps) - 1.0, 0.0), 1.0)
        return (0.5 * self.lr) * (1.0 + np.cos(math.pi * late))


@dataclass(frozen=True)
class CosineCycles(Schedule):
    """From 0 up to `lr` and down again, along a cosine, `cycles` times, each cycle twice as long as the one before.

    lr · (1 - cos(2π log₂(1 + (2^cycles - 1) step / steps))) / 2. Source: Holzmüller et al., "Better by default", 2024
    ("coslog").

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.CosineCycles(0.1, steps=15)
    >>> [step for step in range(16) if rate(step) < 1e-9]
    [0, 1, 3, 7, 15]
    """

    lr: float
    steps: int
    cycles: int = 4

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)
        integer("steps", self.steps, at_least=1)
        integer("cycles", self.cycles, at_least=1)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        cycle = np.log2(1.0 + ((2.0**self.cycles - 1.0) / self.steps) * np.minimum(_real(step), self.steps))
        return (0.5 * self.lr) * (1.0 - np.cos((2.0 * math.pi) * cycle))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """Rises linearly over `steps` updates to the first rate of another schedule, then follows that one.

    Update number i = 0 … steps - 1 has (i + 1) / (steps + 1) of it; after them `then` counts from its own step 0.

    Parameters
    ----------
    steps : int
    then : Schedule or float

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.WarmUp(3, then=0.1)
    >>> [round(float(rate(step)), 4) for step in range(5)]
    [0.025, 0.05, 0.075, 0.1, 0.1]
    """

    steps: int
    then: Any

    def __post_init__(self) -> None:
        integer("steps", self.steps, at_least=1)
        object.__setattr__(self, "then", get(self.then))

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        at = _real(step)
        after = self.then(np.maximum(at - self.steps, 0.0))
        return after * np.minimum((at + 1.0) / (self.steps + 1.0), 1.0)


@dataclass(frozen=True)
class Linear(Schedule):
    """From `lr` in a straight line to `final` over `steps` updates, then `final`.

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.Linear(0.1, steps=4)
    >>> [round(float(rate(step)), 4) for step in range(6)]
    [0.1, 0.075, 0.05, 0.025, 0.0, 0.0]
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)
        integer("steps", self.steps, at_least=1)
        number("final", self.final, at_least=0)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        return self.lr + (self.final - self.lr) * np.minimum(_real(step) / self.steps, 1.0)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to `lr` and down again, both along half a cosine, over `steps` updates.

    Starts at lr / start_factor, reaches `lr` after the share `rise` of the updates, and ends at
    lr / (start_factor · final_factor). Source: Smith & Topin, "Super-convergence", 2018; the rates are PyTorch's
    (``OneCycleLR``), which changes the momentum, too.

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.OneCycle(0.1, steps=10)
    >>> [round(float(rate(step)), 4) for step in (0, 1, 2, 5, 9)]
    [0.004, 0.052, 0.1, 0.0611, 0.0]
    """

    lr: float
    steps: int
    rise: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4

    def __post_init__(self) -> None:
        number("lr", self.lr, above=0)
        integer("steps", self.steps, at_least=2)
        number("rise", self.rise, above=0, below=1)
        number("start_factor", self.start_factor, at_least=1)
        number("final_factor", self.final_factor, at_least=1)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        top, last = self.rise * self.steps - 1.0, self.steps - 1.0
        first, final = self.lr / self.start_factor, self.lr / self.start_factor / self.final_factor
        at = np.minimum(_real(step), last)
        down = self._cosine(self.lr, final, (at - top) / (last - top))
        if top <= 0:
            return down
        return np.where(at <= top, self._cosine(first, self.lr, at / top), down)

    def _cosine(self, start: float, end: float, share: Any) -> Any:
        return end + (0.5 * (start - end)) * (1.0 + np.cos(math.pi * share))


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Constant between boundaries: ``rates[0]`` before step ``boundaries[0]``, ``rates[1]`` from there on, and so on.

    Examples
    --------
    >>> from chainrule import optim
    >>> rate = optim.Piecewise(boundaries=[2, 4], rates=[0.1, 0.05, 0.01])
    >>> [float(rate(step)) for step in range(6)]
    [0.1, 0.1, 0.05, 0.05, 0.01, 0.01]
    """

    boundaries: tuple[int, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        boundaries = tuple([integer("boundaries", b, at_least=1) for b in self.boundaries])
        rates = tuple([number("rates", r, above=0) for r in self.rates])
        if sorted(set(boundaries)) != list(boundaries) or len(rates) != len(boundaries) + 1:
            raise ValueError(
                f"boundaries: expected increasing steps and one more rate than steps, got {len(boundaries)} steps "
                f"{boundaries} and {len(rates)} rates"
            )
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "rates", rates)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate."""
        at = _real(step)
        rate: Any = np.float64(self.rates[-1])
        for boundary, before in zip(self.boundaries[::-1], self.rates[-2::-1], strict=True):
            rate = np.where(at < boundary, before, rate)
        return rate


@dataclass(frozen=True)
class ReduceOnPlateau(Adjustable):
    """`lr`, multiplied by `factor` whenever a figure of the history has not improved for more than `patience` epochs.

    ``fit`` looks at the figure after each epoch. Rates of the optimiser's groups are multiplied as well.

    Parameters
    ----------
    lr : float
    factor : float
        Below 1.
    patience : int
        Epochs without improvement that are allowed.
    metric : str or None
        A column of the history; None: ``val_loss``, or ``loss`` without a validation split.
    threshold : float
        The smallest relative change that counts as an improvement.
    min_lr : float
        The rate does not fall below.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> digits = cr.data.load_digits()
    >>> rate = optim.ReduceOnPlateau(0.1, factor=0.5, patience=1, threshold=0.9)
    >>> model = nn.Sequential(nn.Linear(64, 10))
    >>> cr.fit(model, digits.X / 16, digits.y, optimizer=optim.SGD(rate), epochs=6, progress=False)["lr"]
    [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]
    """

    factor: float = 0.1
    patience: int = 10
    metric: str | None = None
    threshold: float = 1e-4
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("factor", self.factor, above=0, below=1)
        integer("patience", self.patience, at_least=0)
        number("threshold", self.threshold, at_least=0, below=1)
        number("min_lr", self.min_lr, at_least=0)
        if self.metric is not None and not isinstance(self.metric, str):
            raise unexpected("metric", "a column of the history or None", self.metric)


_NAMES: dict[str, type[Schedule]] = {
    kind.__name__: kind
    for kind in (
        Constant, Adjustable, Step, Exponential, Cosine, FlatCosine, CosineCycles, WarmUp, Linear, OneCycle, Piecewise,
        ReduceOnPlateau,
    )
}  # fmt: skip


def get(spec: Any) -> Schedule:
    """Return the schedule that `spec` describes: a number, a Schedule, or what ``config`` returned.

    Examples
    --------
    >>> from chainrule.optim import schedules
    >>> schedules.get(0.1)
    Constant(lr=0.1)
    >>> schedules.get({"name": "Cosine", "lr": 0.1, "steps": 100})
    Cosine(lr=0.1, steps=100, final=0.0)
    """
    if isinstance(spec, Schedule):
        return spec
    if isinstance(spec, dict):
        settings = dict(spec)
        name = settings.pop("name", None)
        if name not in _NAMES:
            raise ValueError(f"no schedule {name!r}; there are {', '.join(_NAMES)}")
        kind = _NAMES[name]
        try:
            return kind(**settings)
        except TypeError:
            takes = ", ".join(f.name for f in fields(kind))
            raise ValueError(
                f"schedule {name} takes {takes}; found {', '.join(map(str, settings)) or 'nothing'}"
            ) from None
    return Constant(number("lr", spec, above=0, alternative=" or a schedule"))


def _real(step: Any) -> Any:
    return as_dtype(step, np.float64)
