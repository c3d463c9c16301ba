"""Nested containers of values: dict, list, tuple (also named), None."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Structure:
    """The shape of a nest, without its leaves; hashable."""

    kind: Any
    keys: tuple[Hashable, ...] = ()
    children: tuple[Structure, ...] = ()

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is LEAF else sum(c.leaves for c in self.children)


class _Leaf:
    def __repr__(self) -> str:
        return "*"


LEAF = _Leaf()
_A_LEAF = Structure(LEAF)
_NOTHING = Structure(None)


def flatten(nest: Any) -> tuple[list[Any], Structure]:
    """Return the leaves of `nest`, left to right (dicts in the order of their keys), and its structure."""
    if nest is None:
        return [], _NOTHING
    if isinstance(nest, dict):
        try:
            keys = tuple(sorted(nest))
        except TypeError:
            keys = tuple(nest)
        return _collect(type(nest), keys, [nest[k] for k in keys])
    if isinstance(nest, tuple | list):
        return _collect(type(nest), (), nest)
    return [nest], _A_LEAF


def _collect(kind: Any, keys: tuple[Hashable, ...], items: Iterable[Any]) -> tuple[list[Any], Structure]:
    leaves: list[Any] = []
    children = []
    for item in items:
        if hasattr(item, "dtype"):  # an array or a tensor: the common leaf
            leaves.append(item)
            children.append(_A_LEAF)
            continue
        below, structure = flatten(item)
        leaves += below
        children.append(structure)
    return leaves, Structure(kind, keys, tuple(children))


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """Build the nest of `structure` from its leaves."""
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure.kind is LEAF:
        return next(leaves)
    if structure.kind is None:
        return None
    items = [next(leaves) if c.kind is LEAF else _build(c, leaves) for c in structure.children]
    if issubclass(structure.kind, dict):
        return dict(zip(structure.keys, items, strict=True))
    if hasattr(structure.kind, "_fields"):
        return structure.kind(*items)
    return structure.kind(items)


def tree_map(function: Callable[..., Any], nest: Any, *others: Any) -> Any:
    """Apply `function` to corresponding leaves of nests of one structure."""
    leaves, structure = flatten(nest)
    rest = []
    for other in others:
        below, same = flatten(other)
        if same != structure:
            raise ValueError(f"nests differ in structure: {structure} and {same}")
        rest.append(below)
    return unflatten(structure, [function(*group) for group in zip(leaves, *rest, strict=True)])


def paths(nest: Any, prefix: str = "") -> list[str]:
    """Return how each leaf is reached, as ``['W'][0]``."""
    if nest is None:
        return []
    if isinstance(nest, dict):
        _, structure = flatten(nest)
        return [p for k in structure.keys for p in paths(nest[k], f"{prefix}[{k!r}]")]
    if isinstance(nest, tuple | list):
        return [p for i, item in enumerate(nest) for p in paths(item, f"{prefix}[{i}]")]
    return [prefix]
