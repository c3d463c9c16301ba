"""Groups of parameters with settings of their own."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ..core.arguments import number, unexpected
from ..core.tensor import Parameter
from . import schedules

#: Settings of all parameters together.
COMMON = ("clip_norm", "clip_value", "groups")

_FORM = '{"params": names, parameters or modules, "lr": …, "weight_decay": …}'


@dataclass(frozen=True)
class Group:
    """Which parameters, and the settings in which they differ from the others.

    Attributes
    ----------
    params : tuple
        Parameters, and patterns of their dotted paths: ``"head"`` is all of the module, ``"*.bias"`` every bias.
    settings : tuple of (name, value)
    lr_factor : float
        Their learning rate is this times that of the others.
    """

    params: tuple[Any, ...]
    settings: tuple[tuple[str, Any], ...]
    lr_factor: float = 1.0

    def config(self) -> dict[str, Any]:
        """Return the group as it was given, JSON-able if it names its parameters."""
        rates = {} if self.lr_factor == 1 else {"lr_factor": self.lr_factor}
        plain = {k: v.config() if hasattr(v, "config") else v for k, v in self.settings}
        return {"params": list(self.params), **plain, **rates}

    def matches(self, path: str) -> bool:
        """Whether a pattern of the group names the parameter at a dotted path."""
        return any(_matches(pattern, path) for pattern in self.params if isinstance(pattern, str))


@dataclass(frozen=True)
class Groups:
    """The groups of an optimiser; a parameter that is in none of them has the optimiser's own settings.

    `whole` says that each parameter must be in one, as for groups in PyTorch's form, which would leave out the others.
    """

    groups: tuple[Group, ...]
    whole: bool = False

    def config(self) -> list[dict[str, Any]]:
        """Return the groups as they were given."""
        return [group.config() for group in self.groups]

    def of(self, paths: Sequence[str], frozen: Container[str] = ()) -> list[int]:
        """Return the number of each path's group, 0 for none. What is frozen need not be in one."""
        found = []
        for path in paths:
            places = [i for i, group in enumerate(self.groups) if group.matches(path)]
            if len(places) > 1:
                raise ValueError(f"groups: the parameter {path} is in groups[{places[0]}] and in groups[{places[1]}]")
            found.append(places[0] + 1 if places else 0)
        for i, group in enumerate(self.groups):
            for pattern in group.params:
                if not any(_matches(pattern, path) for path in paths):
                    raise ValueError(
                        f"groups[{i}]: params: {pattern!r} matches no parameter; expected some of {_some(paths)}"
                    )
        left = [path for path, k in zip(paths, found, strict=True) if not k and path not in frozen]
        if self.whole and left:
            raise ValueError(
                f"groups: {_some(left)} is in none of them, so PyTorch would not train it: freeze it, "
                "parameter.requires_grad = False, or give the groups as groups=[…], after the learning rate: what is "
                "in none then has the optimiser's own settings"
            )
        return found

    def named(self, own: Mapping[str, Parameter]) -> Groups:
        """Return the groups with the paths of a model's parameters in place of the parameters themselves."""
        paths = {id(parameter): path for path, parameter in own.items()}
        groups = []
        for i, group in enumerate(self.groups):
            strange = [p for p in group.params if not isinstance(p, str) and id(p) not in paths]
            if strange:
                raise ValueError(
                    f"groups[{i}]: params holds a parameter of shape {strange[0].shape} that is not in the model; "
                    f"expected some of {_some(list(own))}"
                )
            params = tuple(p if isinstance(p, str) else paths[id(p)] for p in group.params)
            groups.append(Group(params, group.settings, group.lr_factor))
        return Groups(tuple(groups), self.whole)


def checked(given: Any, settings: Sequence[str], whole: bool = False) -> Groups:
    """Return what a caller gave as groups of an optimiser with these settings; raise saying what is wrong."""
    if isinstance(given, Groups):
        return given
    if isinstance(given, Mapping | str) or not isinstance(given, Iterable):
        raise unexpected("groups", f"a list of dicts {_FORM}", given)
    return Groups(tuple([_group(f"groups[{i}]", g, settings) for i, g in enumerate(given)]), whole)


def _group(place: str, given: Any, settings: Sequence[str]) -> Group:
    if not isinstance(given, Mapping) or "params" not in given:
        raise unexpected(place, f"a dict {_FORM}", given)
    takes = [name for name in settings if name not in COMMON]
    own = {k: v for k, v in given.items() if k not in ("params", "lr_factor")}
    for key in ("lr", "weight_decay"):
        if isinstance(own.get(key), Mapping):
            own[key] = schedules.get(dict(own[key]))
    if unknown := [k for k in own if k not in takes]:
        common = "; it is one for all parameters" if unknown[0] in COMMON else ""
        raise ValueError(f"{place} has no setting {unknown[0]!r}{common}; it takes {', '.join([*takes, 'lr_factor'])}")
    factor = number(f"{place}: lr_factor", given.get("lr_factor", 1.0), at_least=0)
    params = _params(place, given["params"])
    if not params:
        raise ValueError(f"{place}: params is empty; expected names, parameters or modules")
    return Group(params, tuple(own.items()), factor)


def _params(place: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, str | Parameter):
        return (given,)
    if hasattr(given, "named_parameters"):
        return tuple(given.parameters())
    if isinstance(given, Mapping) or not isinstance(given, Iterable) or hasattr(given, "shape"):
        raise unexpected(f"{place}: params", "names, parameters or modules", given)
    return tuple([p for part in given for p in _params(place, part)])


def _matches(pattern: str, path: str) -> bool:
    return path == pattern or path.startswith(f"{pattern}.") or fnmatchcase(path, pattern)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
