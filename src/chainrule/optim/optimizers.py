"""Optimisers: pure functions (gradients, state, parameters) -> (new parameters, new state).

They are written with NumPy functions, so that they run on arrays, and on traced tensors as part of a training step's
plan. Every parameter is updated from gradients and parameters as they were before the update. Formulas and defaults are
PyTorch's. A parameter keeps its dtype: rates and corrections are computed in float64 from the step, then cast.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..core.arguments import number, unexpected
from . import schedules
from .optimizer import Optimizer, Slots


def _decayed(g: Any, p: Any, weight_decay: float) -> Any:
    """Add the gradient of weight_decay/2 · p²."""
    return g + weight_decay * p if weight_decay else g


@dataclass(frozen=True)
class SGD(Optimizer):
    """p - lr g; with momentum μ: v ← μ v + g, p - lr v; Nesterov: p - lr (g + μ v).

    Parameters
    ----------
    lr : float or Schedule
    momentum : float
        In [0, 1); with `rate_in_velocity` in [0, 1].
    nesterov : bool
        Needs momentum. Source: Sutskever et al., 2013, in PyTorch's form.
    rate_in_velocity : bool
        Whether the velocity is a sum of steps, v ← μ v + lr g, p - v, as in Keras and scikit-learn, instead of a sum of
        gradients. It differs when the learning rate changes: earlier steps keep their rate.
    weight_decay : float
        Adds weight_decay · p to the gradient.
    clip_norm, clip_value, groups
        See `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> rule = optim.SGD(0.1, momentum=0.9)
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -4.0])}
    >>> params, state = rule.update(grads, rule.init(params), params)
    >>> params["w"].round(4)
    array([0.95, 2.4 ])
    """

    lr: Any = 1e-2
    momentum: float = 0.0
    nesterov: bool = False
    rate_in_velocity: bool = field(default=False, kw_only=True)

    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate_in_velocity:
            number("momentum", self.momentum, at_least=0, at_most=1)
        else:
            number("momentum", self.momentum, at_least=0, below=1)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs a momentum above 0, e.g. momentum=0.9")

    def active(self) -> tuple[str, ...]:
        """Return the slots that these settings need."""
        return self.slots if self.momentum else ()

    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""
        g = _decayed(g, p, self.weight_decay)
        if not self.momentum:
            return p - n["lr"] * g, ()
        if self.rate_in_velocity:
            g = n["lr"] * g
        v = self.momentum * slots[0] + g
        move = g + self.momentum * v if self.nesterov else v
        return p - (move if self.rate_in_velocity else n["lr"] * move), (v,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moments: m ← β₁ m + (1-β₁) g, v ← β₂ v + (1-β₂) g², p - lr m̂ / (sqrt(v̂) + eps).

    m̂ = m / (1-β₁ᵗ) and v̂ = v / (1-β₂ᵗ) correct the bias of the start. Computed as p - s m / (sqrt(v) + eps c) with
    c = sqrt(1-β₂ᵗ), s = lr c / (1-β₁ᵗ), which is equal and takes two array operations fewer.
    Source: Kingma & Ba, "Adam", 2015.

    Parameters
    ----------
    lr : float or Schedule
    beta1, beta2 : float
        Decay rates of the moments, in [0, 1).
    eps : float
        Prevents division by 0.
    eps_hat : bool
        Whether `eps` is ε̂ in the last paragraph of the article's section 2, s m / (sqrt(v) + eps), as in Keras and
        scikit-learn.
    amsgrad : bool
        Divide by the root of the largest v so far, so that the rate of no element grows. Source: Reddi et al., "On the
        convergence of Adam and beyond", 2018; in PyTorch's form.
    weight_decay : float
        Adds weight_decay · p to the gradient (`AdamW` decays the parameter itself).
    clip_norm, clip_value, groups
        See `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> rule = optim.Adam(1e-2)
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -4.0])}
    >>> params, state = rule.update(grads, rule.init(params), params)
    >>> params["w"].round(4)
    array([0.99, 2.01])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_hat: bool = field(default=False, kw_only=True, repr=False)
    amsgrad: bool = field(default=False, kw_only=True, repr=False, metadata=schedules.LATER)

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "largest v")

    def __post_init__(self) -> None:
        super().__post_init__()
        number("beta1", self.beta1, at_least=0, below=1)
        number("beta2", self.beta2, at_least=0, below=1)
        number("eps", self.eps, above=0)

    def active(self) -> tuple[str, ...]:
        """Return the slots that these settings need."""
        return self.slots if self.amsgrad else self.slots[:2]

    def numbers(self, lr: Any, t: Any) -> dict[str, Any]:
        """Return the scalars of update number `t`."""
        c = np.sqrt(1.0 - np.power(self.beta2, t))
        return {"rate": lr * c / (1.0 - np.power(self.beta1, t)), "eps": self.eps if self.eps_hat else self.eps * c}

    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""
        return self._moved(_decayed(g, p, self.weight_decay), p, slots, n)

    def _moved(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        m = slots[0] + (1.0 - self.beta1) * (g - slots[0])
        v = self.beta2 * slots[1] + (1.0 - self.beta2) * np.square(g)
        new = (m, v, np.maximum(slots[2], v)) if self.amsgrad else (m, v)
        return p - n["rate"] * (m / (np.sqrt(new[-1]) + n["eps"])), new


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p (1 - lr · weight_decay) first.

    Parameters as for `Adam`; `weight_decay` is 0.01 by default, and may be a schedule of its own. Source: Loshchilov &
    Hutter, "Decoupled weight decay regularization", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> rule = optim.AdamW(1e-2, weight_decay=0.1)
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -4.0])}
    >>> params, state = rule.update(grads, rule.init(params), params)
    >>> params["w"].round(4)
    array([0.989, 2.008])
    """

    weight_decay: Any = field(default=0.01, kw_only=True)

    decays_by_schedule: ClassVar[bool] = True

    def numbers(self, lr: Any, t: Any) -> dict[str, Any]:
        """Return the scalars of update number `t`."""
        decay = self.weight_decay
        share = decay(t - 1.0) if isinstance(decay, schedules.Schedule) else decay
        return {**super().numbers(lr, t), "kept": 1.0 - lr * share}

    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""
        return self._moved(g, p * n["kept"] if self.weight_decay else p, slots, n)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v ← α v + (1-α) g², p - lr g / (sqrt(v) + eps).

    Parameters
    ----------
    lr : float or Schedule
    alpha : float
        Decay rate of the mean square, in [0, 1).
    eps : float
    momentum : float
        On the scaled gradient: b ← momentum · b + g / (sqrt(v) + eps), p - lr b.
    centered : bool
        Divide by the deviation from the mean gradient instead, sqrt(v - mean²) + eps. Source: Graves, 2013.
    weight_decay : float
        Adds weight_decay · p to the gradient.
    clip_norm, clip_value, groups
        See `Optimizer`. Source: Tieleman & Hinton, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> rule = optim.RMSprop(1e-2)
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -4.0])}
    >>> params, state = rule.update(grads, rule.init(params), params)
    >>> params["w"].round(4)
    array([0.9, 2.1])
    """

    lr: Any = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    slots: ClassVar[tuple[str, ...]] = ("v", "mean", "velocity")

    def __post_init__(self) -> None:
        super().__post_init__()
        number("alpha", self.alpha, at_least=0, below=1)
        number("momentum", self.momentum, at_least=0, below=1)
        number("eps", self.eps, above=0)

    def active(self) -> tuple[str, ...]:
        """Return the slots that these settings need."""
        return ("v", *(("mean",) if self.centered else ()), *(("velocity",) if self.momentum else ()))

    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""
        g = _decayed(g, p, self.weight_decay)
        v = self.alpha * slots[0] + (1.0 - self.alpha) * np.square(g)
        new: list[Any] = [v]
        spread = v
        if self.centered:
            mean = slots[1] + (1.0 - self.alpha) * (g - slots[1])
            new.append(mean)
            # a difference of two mean squares, which rounding may make slightly negative
            spread = np.maximum(v - np.square(mean), 0.0)
        move = g / (np.sqrt(spread) + self.eps)
        if self.momentum:
            move = self.momentum * slots[-1] + move
            new.append(move)
        return p - n["lr"] * move, tuple(new)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g², p - lr / (1 + (t-1) lr_decay) · g / (sqrt(s) + eps).

    Parameters
    ----------
    lr : float or Schedule
    lr_decay : float
    initial : float
        Initial value of s.
    eps : float
    weight_decay : float
        Adds weight_decay · p to the gradient.
    clip_norm, clip_value, groups
        See `Optimizer`. Source: Duchi et al., 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> rule = optim.Adagrad(1e-2)
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -4.0])}
    >>> params, state = rule.update(grads, rule.init(params), params)
    >>> params["w"].round(4)
    array([0.99, 2.01])
    """

    lr: Any = 1e-2
    lr_decay: float = 0.0
    initial: float = 0.0
    eps: float = 1e-10

    slots: ClassVar[tuple[str, ...]] = ("sum",)

    def __post_init__(self) -> None:
        super().__post_init__()
        number("lr_decay", self.lr_decay, at_least=0)
        number("initial", self.initial, at_least=0)
        number("eps", self.eps, above=0)

    def first(self, slot: str) -> float:
        """Return the initial value of a slot."""
        return self.initial

    def numbers(self, lr: Any, t: Any) -> dict[str, Any]:
        """Return the scalars of update number `t`."""
        return {"lr": lr / (1.0 + (t - 1.0) * self.lr_decay) if self.lr_decay else lr}

    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""
        g = _decayed(g, p, self.weight_decay)
        total = slots[0] + np.square(g)
        return p - n["lr"] * (g / (np.sqrt(total) + self.eps)), (total,)


@dataclass(frozen=True)
class Lion(Optimizer):
    """Evolved sign momentum: p - lr sign(β₁ m + (1-β₁) g), m ← β₂ m + (1-β₂) g.

    Every element moves by the learning rate, so that this is 3 to 10 times smaller than Adam's, and the weight decay as
    many times larger. Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023.

    Parameters
    ----------
    lr : float or Schedule
    beta1, beta2 : float
        Weights of the past in the step and in m, in [0, 1).
    weight_decay : float
        Decoupled, as of `AdamW`: p ← p (1 - lr · weight_decay) first.
    clip_norm, clip_value, groups
        See `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> rule = optim.Lion(1e-2)
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -4.0])}
    >>> params, state = rule.update(grads, rule.init(params), params)
    >>> params["w"].round(4)
    array([0.99, 2.01])
    """

    lr: Any = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99

    slots: ClassVar[tuple[str, ...]] = ("m",)

    def __post_init__(self) -> None:
        super().__post_init__()
        number("beta1", self.beta1, at_least=0, below=1)
        number("beta2", self.beta2, at_least=0, below=1)

    def numbers(self, lr: Any, t: Any) -> dict[str, Any]:
        """Return the scalars of update number `t`."""
        return {"lr": lr, "kept": 1.0 - lr * self.weight_decay}

    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""
        direction = np.sign(slots[0] + (1.0 - self.beta1) * (g - slots[0]))
        m = slots[0] + (1.0 - self.beta2) * (g - slots[0])
        return (p * n["kept"] if self.weight_decay else p) - n["lr"] * direction, (m,)


_NAMES: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, Adam, AdamW, RMSprop, Adagrad, Lion)
}


def get(optimizer: Any, lr: Any = None, **settings: Any) -> Optimizer:
    """Return the optimiser that `optimizer` describes.

    Parameters
    ----------
    optimizer
        A name (``"adam"``, ``"sgd"``, …), what ``config`` returned, or an Optimizer.
    lr : float or Schedule, optional
        Learning rate that replaces its own.
    **settings
        Replace further settings.

    Examples
    --------
    >>> from chainrule import optim
    >>> optim.get("adam", lr=0.01)
    Adam(lr=0.01, weight_decay=0.0, clip_norm=None, clip_value=None, beta1=0.9, beta2=0.999, eps=1e-08)
    >>> optim.get({"name": "SGD", "lr": 0.1}, momentum=0.9).momentum
    0.9
    """
    changes = settings if lr is None else {"lr": lr, **settings}
    if isinstance(optimizer, Optimizer):
        return replace(optimizer, **changes) if changes else optimizer
    if isinstance(optimizer, str):
        return _built({"name": optimizer, **changes})
    if isinstance(optimizer, Mapping):
        return _built({**optimizer, **changes})
    hint = f"{optimizer.__name__}(lr=…)" if isinstance(optimizer, type) else _known()
    raise unexpected("optimizer", f"a name or an instance ({hint})", optimizer)


def _built(config: Mapping[str, Any]) -> Optimizer:
    settings = dict(config)
    name = settings.pop("name", None)
    kind = _NAMES.get(str(name).lower())
    if kind is None:
        raise ValueError(f"no optimiser {name!r}; there are {_known()}")
    takes = inspect.signature(kind).parameters
    unknown = [k for k in settings if k not in takes]
    if unknown:
        raise ValueError(f"{kind.__name__} has no setting {', '.join(unknown)}; it takes {', '.join(takes)}")
    for key in ("lr", "weight_decay"):
        if isinstance(settings.get(key), Mapping):
            settings[key] = schedules.get(dict(settings[key]))
    made: Optimizer = kind(**settings)
    return made


def _known() -> str:
    return ", ".join(kind.__name__ for kind in _NAMES.values())
