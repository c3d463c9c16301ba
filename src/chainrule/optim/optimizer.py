"""What all optimisers have in common: state, clipping, groups of parameters, the learning rate."""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from ..core.arguments import number
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
    weight_decay: Any = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    groups: Any = field(default=None, kw_only=True, repr=False, metadata=schedules.LATER)

    #: Names of the arrays kept for each parameter, each of its shape.
    slots: ClassVar[tuple[str, ...]] = ()
    #: Whether the weight decay may be a schedule.
    decays_by_schedule: ClassVar[bool] = False

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
        if not (self.decays_by_schedule and isinstance(self.weight_decay, schedules.Schedule)):
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
