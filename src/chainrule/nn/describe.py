"""Building a network from its description. Only the library's own layers, by name; nothing is imported or evaluated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from . import activations, layers
from .module import Module
from .sequential import Sequential

#: Name in a description -> class.
KNOWN: dict[str, type[Module]] = {
    kind.__name__: kind
    for kind in (
        layers.Linear,
        layers.Identity,
        layers.Flatten,
        layers.Dropout,
        layers.LayerNorm,
        layers.BatchNorm1d,
        layers.Embedding,
        *{kind for kind in activations._NAMES.values()},
    )
}
_COUNTS: dict[str, Callable[[Mapping[str, Any]], int]] = {
    "Linear": lambda c: (c["in_features"] + bool(c.get("bias", True))) * c["out_features"],
    "LayerNorm": lambda c: 2 * c["features"],
    "BatchNorm1d": lambda c: 2 * c["features"],
    "Embedding": lambda c: c["rows"] * c["dimensions"],
}
_DEEPEST = 50
MOST_LAYERS = 2_000  # in a description from a file; one within a nest counts at each level, where it is drawn anew


def from_config(config: Mapping[str, Any], *, max_parameters: int | None = None) -> Module:
    """Build a module from what ``Module.config`` returned; its parameters have their first values.

    Parameters
    ----------
    config
        ``{"type": "Linear", "in_features": 64, …}``, for Sequential ``{"type": "Sequential", "layers": […]}``.
    max_parameters
        Refuse a larger network (or one of thousands of layers) before allocating anything: for descriptions from files.

    Raises
    ------
    ValueError, TypeError
        For unknown types, unknown, missing or unfit settings, and more than `max_parameters`.
    """
    if max_parameters is not None:
        check_size(config, max_parameters)
    return _build(config, 0)


def check_size(config: Mapping[str, Any], max_parameters: int) -> None:
    """Raise ValueError for a description that asks for more parameters, or for thousands of layers."""
    count = _count(config, MOST_LAYERS)
    if count > max_parameters:
        raise ValueError(f"the description asks for {count:,} parameters, at most {max_parameters:,} are expected")


def count_parameters(config: Mapping[str, Any]) -> int:
    """Return the number of parameters of the network that `config` describes, without building it."""
    return _count(config, None)


def _count(config: Mapping[str, Any], most_layers: int | None) -> int:
    total, drawn, stack = 0, 0, [(config, 0)]
    while stack:
        part, depth = stack.pop()
        drawn += depth
        if most_layers is not None and drawn > most_layers:
            raise ValueError(
                f"the description has more than {most_layers:,} layers (one in a nest counts at each level)"
            )
        name, settings = _parts(part, depth)
        if name == "Sequential":
            stack += [(layer, depth + 1) for layer in _inner(settings)]
        elif name in _COUNTS:
            for key, value in settings.items():
                if key in ("in_features", "out_features", "features", "rows", "dimensions"):
                    layers.positive(f"{name}: {key}", value)
            try:
                total += _COUNTS[name](settings)
            except KeyError as missing:
                raise ValueError(f"{name}: {missing} is missing from the description") from None
    return total


def _build(config: Mapping[str, Any], depth: int) -> Module:
    name, settings = _parts(config, depth)
    if name == "Sequential":
        return Sequential(*[_build(layer, depth + 1) for layer in _inner(settings)])
    kind = KNOWN[name]
    taken = inspect.signature(kind).parameters if "__init__" in kind.__dict__ else {}
    unknown = [key for key in settings if key not in taken]
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(map(str, unknown))}; it takes {', '.join(taken) or 'none'}")
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise ValueError(f"{name}: the parameters described do not fit into memory") from None


def _parts(config: Any, depth: int) -> tuple[str, dict[str, Any]]:
    if depth > _DEEPEST:
        raise ValueError(f"the description nests Sequentials more than {_DEEPEST} deep")
    if not isinstance(config, Mapping):
        raise TypeError(f'a layer\'s description is a dict with a "type", not a {type(config).__name__}')
    settings = dict(config)
    name = settings.pop("type", None)
    if not isinstance(name, str) or (name != "Sequential" and name not in KNOWN):
        raise ValueError(f"no layer type {name!r}; there are Sequential, {', '.join(KNOWN)}")
    if not all(isinstance(key, str) for key in settings):
        raise TypeError(f"{name}: settings go by names")
    return name, settings


def _inner(settings: dict[str, Any]) -> list[Any]:
    inner = settings.pop("layers", None)
    if settings or not isinstance(inner, list):
        raise ValueError(f'Sequential takes a list "layers" alone; found {", ".join(settings) or type(inner).__name__}')
    return inner
