"""Nested containers of values: dicts and other mappings, lists, tuples, named tuples, dataclasses and None.

Dicts keep the order of their keys. A dict with the same keys in another order has another structure; `leaves_as` reads
its leaves in the order of a given structure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np


class Structure(NamedTuple):
    """The shape of a nest, without its leaves; hashable.

    `fixed` holds what is rebuilt as it was: the static fields of a dataclass, the factory of a defaultdict.
    """

    kind: Any
    keys: tuple[Hashable, ...] = ()
    children: tuple[Any, ...] = ()  # structures
    fixed: tuple[Any, ...] = ()

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is LEAF else sum(c.leaves for c in self.children)


class _Leaf:
    def __repr__(self) -> str:
        return "*"


LEAF = _Leaf()
A_LEAF = Structure(LEAF)
_NOTHING = Structure(None)
_SEQUENCES = (tuple, list)
_STATIC = (str, bytes, bool, np.dtype, type, enum.Enum)


def flatten(nest: Any) -> tuple[list[Any], Structure]:
    """Return the leaves of `nest`, left to right, and its structure.

    The fields of a dataclass are its children. A field is static, a part of the structure, if it holds a string, a
    truth value, an enum, a dtype or a function, is annotated as ``int``, or has ``metadata={"static": True}``.

    Examples
    --------
    >>> leaves, structure = flatten({"w": 1.0, "b": (2.0, None)})
    >>> leaves
    [1.0, 2.0]
    >>> unflatten(structure, [10.0, 20.0])
    {'w': 10.0, 'b': (20.0, None)}
    """
    if type(nest) is np.ndarray:
        return [nest], A_LEAF
    if nest is None:
        return [], _NOTHING
    if isinstance(nest, _SEQUENCES):
        return _collect(type(nest), (), nest, ())
    if type(nest) is dict:
        return _collect(dict, tuple(nest), nest.values(), ())
    if isinstance(nest, Mapping):
        fixed = (nest.default_factory,) if isinstance(nest, defaultdict) else ()
        return _collect(type(nest), tuple(nest), nest.values(), fixed)
    if is_dataclass(nest):
        names, static = _fields(nest)
        return _collect(type(nest), names, [getattr(nest, name) for name in names], static)
    return [nest], A_LEAF


def _collect(
    kind: Any, keys: tuple[Hashable, ...], items: Iterable[Any], fixed: tuple[Any, ...]
) -> tuple[list[Any], Structure]:
    leaves: list[Any] = []
    children = []
    for item in items:
        if type(item) is np.ndarray:
            leaves.append(item)
            children.append(A_LEAF)
            continue
        below, structure = flatten(item)
        leaves += below
        children.append(structure)
    return leaves, Structure(kind, keys, tuple(children), fixed)


def is_dataclass(x: Any) -> bool:
    """Whether `x` is an instance of a dataclass."""
    return hasattr(type(x), "__dataclass_fields__")


def _fields(nest: Any) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    """Return the names of a dataclass's fields that hold values, and the static ones with what they hold."""
    names, static = [], []
    for field in dataclasses.fields(nest):
        value = getattr(nest, field.name)
        is_static = isinstance(value, _STATIC) or field.type in (int, "int") or (
            callable(value) and not is_dataclass(value) and not hasattr(value, "dtype")
        )  # fmt: skip
        if field.metadata.get("static", is_static):
            static.append((field.name, value))
        else:
            names.append(field.name)
    return tuple(names), tuple(static)


def values_of(nest: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are not static."""
    return {name: getattr(nest, name) for name in _fields(nest)[0]}


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """Build the nest of `structure` from its leaves; a dataclass without running its ``__init__``."""
    return next(iter(leaves)) if structure is A_LEAF else _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Iterator[Any]) -> Any:
    kind = structure.kind
    if kind is LEAF:
        return next(leaves)
    if kind is None:
        return None
    items = [next(leaves) if c.kind is LEAF else _build(c, leaves) for c in structure.children]
    if kind is dict:
        return dict(zip(structure.keys, items, strict=True))
    if issubclass(kind, _SEQUENCES):
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    if hasattr(kind, "__dataclass_fields__"):
        made = object.__new__(kind)
        for name, value in (*zip(structure.keys, items, strict=True), *structure.fixed):
            object.__setattr__(made, name, value)  # also where the dataclass is frozen
        return made
    return _mapping(structure, dict(zip(structure.keys, items, strict=True)))


def _mapping(structure: Structure, content: dict[Any, Any]) -> Any:
    kind = structure.kind
    if kind is OrderedDict:
        return kind(content)
    makers: tuple[Callable[[], Any], ...] = (lambda: kind(*structure.fixed, content), lambda: kind(**content))
    for make in makers:
        with contextlib.suppress(TypeError):
            made = make()
            if list(made) == list(content):
                return made
    raise TypeError(
        f"a mapping of type {kind.__name__} cannot be rebuilt: {kind.__name__}({{…}}) does not give one with these "
        "keys. Pass dict(x)."
    )


def leaves_as(structure: Structure, nest: Any, what: str) -> list[Any]:
    """Return the leaves of `nest` in the order of `structure`; the keys of its dicts may have another order.

    Raises ValueError, naming `what`, for a nest of another structure.
    """
    leaves, found = flatten(nest)
    if found == structure:
        return leaves
    ordered: list[Any] = []
    if not _follow(structure, nest, ordered):
        raise ValueError(f"{what}: expected the structure {shown(structure)}, got {shown(found)}")
    return ordered


def _follow(structure: Structure, nest: Any, leaves: list[Any]) -> bool:
    """Append the leaves of `nest` in the order of `structure`; return whether it fits."""
    _, found = flatten(nest)
    if found.kind is not structure.kind or len(found.children) != len(structure.children):
        return False
    if found.kind is LEAF:
        leaves.append(nest)
        return True
    if isinstance(nest, Mapping):
        if set(found.keys) != set(structure.keys):
            return False
        items = [nest[k] for k in structure.keys]
    elif found.keys != structure.keys:
        return False
    else:
        items = [getattr(nest, str(k)) for k in structure.keys] if structure.keys else list(nest or ())
    return all(_follow(c, item, leaves) for c, item in zip(structure.children, items, strict=True))


def shown(structure: Structure) -> str:
    """Return a structure as text, with ``*`` for its leaves.

    Examples
    --------
    >>> shown(flatten({"w": 1.0, "b": [2.0, None]})[1])
    "{'w': *, 'b': [*, None]}"
    """
    kind, parts = structure.kind, [shown(c) for c in structure.children]
    if kind is LEAF or kind is None:
        return repr(kind)
    if kind is list:
        return f"[{', '.join(parts)}]"
    if kind is tuple:
        return f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    if issubclass(kind, Mapping):
        inside = "{" + ", ".join(f"{k!r}: {p}" for k, p in zip(structure.keys, parts, strict=True)) + "}"
        return inside if kind is dict else f"{kind.__name__}({inside})"
    if structure.keys:
        parts = [f"{k}={p}" for k, p in zip(structure.keys, parts, strict=True)]
    return f"{kind.__name__}({', '.join(parts)})"


def tree_map(function: Callable[..., Any], nest: Any, *others: Any) -> Any:
    """Apply `function` to corresponding leaves of nests of one structure; dicts are matched by their keys."""
    leaves, structure = flatten(nest)
    rest = [leaves_as(structure, other, "nests differ in structure") for other in others]
    return unflatten(structure, [function(*group) for group in zip(leaves, *rest, strict=True)])


def map_named(function: Callable[[str, Any], Any], nest: Any, prefix: str) -> Any:
    """Return a nest with each leaf replaced by ``function(path, leaf)``; `prefix` is the name of `nest`."""
    leaves, structure = flatten(nest)
    return unflatten(structure, map(function, paths(nest, prefix), leaves))


def named_leaves(nest: Any, prefix: str) -> dict[str, Any]:
    """Return the leaves of a nest by their paths; `prefix` is the name of `nest`."""
    return dict(zip(paths(nest, prefix), flatten(nest)[0], strict=True))


def paths(nest: Any, prefix: str = "") -> list[str]:
    """Return how each leaf is reached, as ``['W'][0]``, or ``.W`` in a dataclass."""
    if nest is None:
        return []
    if isinstance(nest, Mapping):
        return [p for k, item in nest.items() for p in paths(item, f"{prefix}[{k!r}]")]
    if isinstance(nest, _SEQUENCES):
        return [p for i, item in enumerate(nest) for p in paths(item, f"{prefix}[{i}]")]
    if is_dataclass(nest):
        return [p for name, item in values_of(nest).items() for p in paths(item, f"{prefix}.{name}")]
    return [prefix]
