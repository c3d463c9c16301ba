"""Optimisers: pure functions (gradients, state, parameters) -> (new parameters, new state).

They are written with NumPy functions, so that they run on arrays, and on traced tensors as part of a training step's
plan. Every parameter is updated from gradients and parameters as they were before the update. Formulas and defaults are
PyTorch's. A parameter keeps its dtype: rates and corrections are computed in float64 from the step, then cast.
"""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from ..core.arguments import number, unexpected
from ..core.habits import PARAMETERS, STEP, missing
from ..core.keywords import refuse
from ..core.tree import flatten, leaves_as, paths, unflatten
from ..ops.table import as_dtype
from . import schedules
from .clipping import clip_by_norm, clip_by_value
from .groups import checked

Slots = tuple[Any, ...]


def _answering(step: Any) -> Any:
    """Return the method `step`, which says what to do when it is called as in PyTorch, without arguments."""

    @functools.wraps(step)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs:
            raise TypeError(STEP)
        return step(self, *args, **kwargs)

    return called


class _Kind(ABCMeta):
    """The class of optimisers: takes groups of parameters as PyTorch has them, as the first argument."""

    def __call__(cls, *args: Any, **settings: Any) -> Any:
        first = args[0] if args else settings.get("params")
        if isinstance(first, list | tuple) and first and all(isinstance(group, Mapping) for group in first):
            names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
            settings = {k: v for k, v in settings.items() if k != "params"}
            return super().__call__(*args[1:], groups=checked(first, names, whole=True), **settings)
        return super().__call__(*args, **settings)

    @property
    def __signature__(cls) -> inspect.Signature:
        shown = inspect.signature(vars(cls)["__init__"])
        return shown.replace(parameters=list(shown.parameters.values())[1:])


@dataclass(frozen=True)
class Optimizer(ABC, metaclass=_Kind):
    """Base of all optimisers.

    Attributes
    ----------
    lr : float or Schedule
        Learning rate, above 0.
    clip_value : float, optional
        Limit every gradient element to ± this value, before `clip_norm`.
    clip_norm : float, optional
        Scale all gradients down to this global norm if theirs is larger.
    groups : list of dict, optional
        Parameters with settings of their own: ``{"params": "head", "lr": 1e-2, "weight_decay": 0.0}``. ``params`` are
        patterns of dotted paths (``"head"``, ``"*.bias"``), parameters, modules, or a list of these; the other entries
        replace the optimiser's settings. ``"lr_factor": 0.1`` multiplies its learning rate, also that of a schedule.
        All other parameters have the optimiser's settings. PyTorch's form is taken as well,
        ``Adam([{"params": model.head}, …], lr=1e-3)``; each parameter must then be in a group.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> rule = optim.SGD(0.5)
    >>> params = {"w": np.array([1.0, 2.0])}
    >>> state = rule.init(params)
    >>> params, state = rule.update({"w": np.array([1.0, 0.0])}, state, params)
    >>> params["w"], int(state["step"])
    (array([0.5, 2. ]), 1)
    """

    lr: Any = 1e-3
    weight_decay: float = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    groups: Any = field(default=None, kw_only=True, repr=False, metadata=schedules.LATER)

    #: Names of the arrays kept for each parameter, each of its shape.
    slots: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """Refuse what other libraries' optimisers take: the parameters themselves."""
        first = args[0] if args else settings.get("params")
        if not isinstance(first, str) and (isinstance(first, Iterable) or "params" in settings):
            raise TypeError(PARAMETERS)
        refuse(cls, settings)
        if "betas" in settings:
            raise TypeError("betas=(a, b) is beta1=a, beta2=b")
        return super().__new__(cls)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "step" in cls.__dict__:
            cls.step = _answering(cls.step)  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        raise missing("Optimizer", name, self)

    def __post_init__(self) -> None:
        lr = self.lr
        if not isinstance(lr, schedules.Schedule):
            lr = number("lr", lr, above=0, alternative=" or a schedule")
        object.__setattr__(self, "lr", lr)
        number("weight_decay", self.weight_decay, at_least=0)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), above=0, alternative=" or None")
        if self.groups is not None:
            object.__setattr__(self, "groups", checked(self.groups, [f.name for f in fields(self)]))
            self._rules()

    # -- use ---------------------------------------------------------------------------------------------------------

    def for_parameters(self, own: Mapping[str, Any]) -> Self:
        """Return the optimiser for a model's parameters, by path: its groups name them."""
        return self if self.groups is None else replace(self, groups=self.groups.named(own))

    def init(self, params: Any, groups: Sequence[int] | None = None) -> dict[str, Any]:
        """Return the initial state: ``{"step": 0, slot: nest like params, …}``, all arrays.

        With an `Adjustable` learning rate also ``"lr"``: a value written there is the rate of the following steps.

        Parameters
        ----------
        params
            A dict (or any nest) of arrays or tensors.
        groups
            The number of each leaf's group, 0 for none; None: by the keys of the nest, which are dotted paths.
        """
        state: dict[str, Any] = {"step": np.zeros((), np.int64)}
        if isinstance(self.lr, schedules.Adjustable):
            state["lr"] = np.array(self.lr.lr, np.float64)
        given, structure = flatten(params)
        rules = self._rules()
        of = [rules[k] for k in self._group_of_each(params, groups)]
        for name in self.active():
            first = [np.full(p.shape, rule.first(name), p.dtype) for p, rule in zip(given, of, strict=True)]
            state[name] = unflatten(structure, first)
        return state

    def update(
        self, grads: Any, state: Mapping[str, Any], params: Any, groups: Sequence[int] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Make one step.

        Parameters
        ----------
        grads, params
            Nests of one structure, of arrays or tensors of equal shapes.
        state
            The result of `init` or of the last `update`.
        groups
            As for `init`.

        Returns
        -------
        params, state
            New objects; nothing is changed in place.
        """
        if self.clip_value is not None:
            grads = clip_by_value(grads, self.clip_value)
        if self.clip_norm is not None:
            grads = clip_by_norm(grads, self.clip_norm)
        given, structure = flatten(params)
        gradients = leaves_as(structure, grads, "grads, compared with params")
        names = self.active()
        kept = [leaves_as(structure, state[name], f"state[{name!r}], compared with params") for name in names]
        step, rules, rates = state["step"], self._rules(), self._rates(state)
        cast: dict[Any, dict[str, Any]] = {}
        new_params, new_slots = [], []
        of = self._group_of_each(params, groups)
        for i, (p, g, k) in enumerate(zip(given, gradients, of, strict=True)):
            if tuple(g.shape) != tuple(p.shape):
                raise ValueError(f"a gradient has shape {tuple(g.shape)}, its parameter {tuple(p.shape)}")
            if (k, p.dtype) not in cast:
                numbers = rules[k].numbers(rates[k], as_dtype(step, np.float64) + 1.0)
                cast[k, p.dtype] = {name: as_dtype(v, p.dtype) for name, v in numbers.items()}
            new, slots = rules[k].step(as_dtype(g, p.dtype), p, tuple(s[i] for s in kept), cast[k, p.dtype])
            new_params.append(new)
            new_slots.append(slots)
        new_state: dict[str, Any] = {**state, "step": as_dtype(step + 1, np.int64)}
        for k, name in enumerate(names):
            new_state[name] = unflatten(structure, [slots[k] for slots in new_slots])
        return unflatten(structure, new_params), new_state

    def learning_rate(self, step: Any) -> Any:
        """Return the learning rate after `step` updates, float64."""
        return schedules.get(self.lr)(step)

    def _rules(self) -> list[Self]:
        """Return the optimiser without groups, and for each group the optimiser with its settings."""
        if self.groups is None:
            return [self]
        rules = [
            replace(self, groups=None, **dict(settings)) for settings in ((), *(g.settings for g in self.groups.groups))
        ]
        for i, rule in enumerate(rules):
            if rule.active() != self.active():
                raise ValueError(
                    f"groups[{i - 1}] needs the arrays {rule.active()}, the other parameters {self.active()}; settings "
                    "that decide which arrays are kept, such as momentum above 0, must be the same in all groups"
                )
        return rules

    def _rates(self, state: Mapping[str, Any]) -> list[Any]:
        """Return the learning rates of the optimiser and of its groups."""
        step = state["step"]
        rates = [state["lr"] if "lr" in state else self.learning_rate(step)]
        for group in self.groups.groups if self.groups is not None else ():
            rate = rates[0]
            if "lr" in dict(group.settings):
                rate = schedules.get(dict(group.settings)["lr"])(step)
                if "lr" in state:  # has changed by a factor, which holds for all
                    rate = rate * (state["lr"] / self.lr.lr)
            rates.append(rate * group.lr_factor if group.lr_factor != 1 else rate)
        return rates

    def _group_of_each(self, params: Any, groups: Sequence[int] | None) -> Sequence[int]:
        if groups is not None:
            return groups
        if self.groups is None:
            return [0] * len(flatten(params)[0])
        of: list[int] = self.groups.of([re.sub(r"\['?|'?\](?:\['?)?", ".", p).strip(".") for p in paths(params)])
        return of

    # -- overridden by each optimiser ----------------------------------------------------------------------------------

    def active(self) -> tuple[str, ...]:
        """Return the slots that these settings need."""
        return self.slots

    def first(self, slot: str) -> float:
        """Return the initial value of a slot."""
        return 0.0

    def numbers(self, lr: Any, t: Any) -> dict[str, Any]:
        """Return the scalars of update number `t` = 1, 2, …: float64, to be cast to each parameter's dtype."""
        return {"lr": lr}

    @abstractmethod
    def step(self, g: Any, p: Any, slots: Slots, n: Mapping[str, Any]) -> tuple[Any, Slots]:
        """Return a new parameter and its slots."""

    # -- description -------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return a JSON-serialisable description, from which `get` builds it again."""
        return schedules.described(self)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Optimizer:
        """Build an optimiser from what `config` returned."""
        settings = dict(config)
        name = settings.pop("name", None)
        kind = _NAMES.get(str(name).lower())
        if kind is None:
            raise ValueError(f"no optimiser {name!r}; there are {_known()}")
        takes = inspect.signature(kind).parameters
        unknown = [k for k in settings if k not in takes]
        if unknown:
            raise ValueError(f"{kind.__name__} has no setting {', '.join(unknown)}; it takes {', '.join(takes)}")
        if isinstance(settings.get("lr"), Mapping):
            settings["lr"] = schedules.get(dict(settings["lr"]))
        made: Optimizer = kind(**settings)
        return made


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
    clip_norm, clip_value
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
    weight_decay : float
        Adds weight_decay · p to the gradient (`AdamW` decays the parameter itself).
    clip_norm, clip_value
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

    slots: ClassVar[tuple[str, ...]] = ("m", "v")

    def __post_init__(self) -> None:
        super().__post_init__()
        number("beta1", self.beta1, at_least=0, below=1)
        number("beta2", self.beta2, at_least=0, below=1)
        number("eps", self.eps, above=0)

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
        return p - n["rate"] * (m / (np.sqrt(v) + n["eps"])), (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p (1 - lr · weight_decay) first.

    Parameters as for `Adam`; `weight_decay` is 0.01 by default. Source: Loshchilov & Hutter, "Decoupled weight decay
    regularization", 2019.

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

    weight_decay: float = field(default=0.01, kw_only=True)

    def numbers(self, lr: Any, t: Any) -> dict[str, Any]:
        """Return the scalars of update number `t`."""
        return {**super().numbers(lr, t), "kept": 1.0 - lr * self.weight_decay}

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
    clip_norm, clip_value
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
    clip_norm, clip_value
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


_NAMES: dict[str, type[Optimizer]] = {kind.__name__.lower(): kind for kind in (SGD, Adam, AdamW, RMSprop, Adagrad)}


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
        return Optimizer.from_config({"name": optimizer, **changes})
    if isinstance(optimizer, Mapping):
        return Optimizer.from_config({**optimizer, **changes})
    hint = f"{optimizer.__name__}(lr=…)" if isinstance(optimizer, type) else _known()
    raise unexpected("optimizer", f"a name or an instance ({hint})", optimizer)


def _known() -> str:
    return ", ".join(kind.__name__ for kind in _NAMES.values())
