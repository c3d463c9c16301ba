"""Building a network from its description: registered layers by name; nothing is imported or evaluated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from ..core.arguments import integer

Kind = TypeVar("Kind", bound=type[Any])

#: Name in a description -> class. Each layer enters itself where it is defined.
KNOWN: dict[str, type[Any]] = {}
_DEEPEST = 50
MOST_LAYERS = 2_000  # in a description from a file; a nested layer counts once per level, at which it is drawn again


def described(kind: Kind) -> Kind:
    """Register a layer class, so that descriptions and model files can name it; for use as a decorator.

    The class has ``config()``, which returns ``{"type": its name, **its arguments}``, and says how many parameters a
    layer with such arguments has (``_count_of``); arguments in ``_lengths`` are checked before that.
    """
    KNOWN[kind.__name__] = kind
    return kind


def check_size(config: Mapping[str, Any], max_parameters: int) -> None:
    """Raise ValueError for a description of more parameters, or of thousands of layers."""
    count = _count(config, MOST_LAYERS)
    if count > max_parameters:
        raise ValueError(f"the description asks for {count:,} parameters, expected at most {max_parameters:,}")


def count_parameters(config: Mapping[str, Any]) -> int:
    """Return the number of parameters of the network that `config` describes, without building it.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.count_parameters({"type": "Linear", "in_features": 784, "out_features": 10})
    7850
    """
    return _count(config, None)


def _count(config: Mapping[str, Any], most_layers: int | None) -> int:
    total, drawn, stack = 0, 0, [(config, 0)]
    while stack:
        part, depth = stack.pop()
        drawn += depth
        if most_layers is not None and drawn > most_layers:
            raise ValueError(f"the description has more than {most_layers:,} layers (nested ones count once per level)")
        kind, settings = _parts(part, depth)
        if kind._nests:
            stack += [(layer, depth + 1) for layer in _inner(settings)]
            continue
        for key in kind._lengths:
            if key not in settings:
                raise ValueError(f"{kind.__name__}: {key!r} is missing from the description")
            integer(f"{kind.__name__}: {key}", settings[key], at_least=1)
        total += kind._count_of(settings)
    return total


def build(config: Mapping[str, Any], depth: int = 0) -> Any:
    """Return the module that a description describes."""
    kind, settings = _parts(config, depth)
    name = kind.__name__
    if kind._nests:
        return kind(*[build(layer, depth + 1) for layer in _inner(settings)])
    taken = settings_of(kind)
    unknown = [key for key in settings if key not in taken]
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(map(str, unknown))}; it takes {', '.join(taken) or 'none'}")
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise ValueError(f"{name}: the parameters described do not fit into memory") from None


def settings_of(kind: type[Any]) -> list[str]:
    """Return the names of the arguments of a layer class."""
    arguments = inspect.signature(kind).parameters.values()
    return [a.name for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]


def _parts(config: Any, depth: int) -> tuple[type[Any], dict[str, Any]]:
    if depth > _DEEPEST:
        raise ValueError(f"the description nests Sequentials more than {_DEEPEST} deep")
    if not isinstance(config, Mapping):
        raise TypeError(f'a layer\'s description: expected a dict with a "type", got a {type(config).__name__}')
    settings = dict(config)
    name = settings.pop("type", None)
    if not isinstance(name, str) or name not in KNOWN:
        raise ValueError(f"unknown layer type {name!r}; expected one of {', '.join(KNOWN)}")
    if not all(isinstance(key, str) for key in settings):
        raise TypeError(f"{name}: expected settings by name, got {list(settings)}")
    return KNOWN[name], settings


def _inner(settings: dict[str, Any]) -> list[Any]:
    inner = settings.pop("layers", None)
    if settings or not isinstance(inner, list):
        found = ", ".join(settings) or type(inner).__name__
        raise ValueError(f'Sequential: expected a list "layers" alone, got {found}')
    return inner
