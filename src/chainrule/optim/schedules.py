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

from ..core.arguments import integer, number
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


_NAMES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (Constant, Adjustable, Step, Exponential, Cosine, WarmUp)
}


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
