"""Which values the gradients belong to that a method returns, or keeps in attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .attribute_names import RETURNED_INPUTS
from .containers import is_float_array, named_leaves
from .recorded_run import target_of


def gradient_key(name: str) -> str:
    """Return what the gradient of a parameter is called."""
    head, dot, last = name.rpartition(".")
    return f"{head}.d{last}" if dot else f"d{name}"


def returned_gradients(result: Any, inputs: Sequence[str], parameters: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the gradients in what a backward method returned, by the name of the value.

    Parameters
    ----------
    result
        An array, a dict by name, or a tuple: the gradients of the inputs, then those of parameters in their order.
    inputs
        The inputs that may have gradients in it.
    parameters
        Shapes by name.
    """
    if result is None:
        return {}
    if isinstance(result, Mapping):
        return _by_key(result, [*inputs, *parameters])
    if not isinstance(result, tuple | list):
        return {inputs[0]: result} if inputs else _in_order([result], parameters)
    if isinstance(result, list) and len(inputs) == 1 and not _nests(result):
        return {inputs[0]: result}
    found = dict(zip(inputs, result, strict=False))
    rest = list(result[len(inputs) :])
    for part in [r for r in rest if isinstance(r, Mapping)]:
        found.update(_by_key(part, list(parameters)))
    rest = [r for r in rest if not isinstance(r, Mapping)]
    return {**found, **_in_order(rest, {n: s for n, s in parameters.items() if n not in found})}


def _by_shape(names: list[str], parts: list[Any], inputs: list[Any]) -> list[str]:
    """Return the inputs that gradients belong to: in their order, or in that of the shapes where no other fits."""
    shapes, given = [np.shape(v) for v in inputs], [np.shape(v) if is_float_array(v) else None for v in parts]
    if len(names) != len(parts) or len(set(shapes)) < len(names) or set(given) != set(shapes):
        return names
    return [names[shapes.index(shape)] for shape in given if shape is not None]


def _nests(parts: Sequence[Any]) -> bool:
    return any(isinstance(p, np.ndarray | list | tuple | Mapping) for p in parts)


def _by_key(grads: Mapping[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    short: dict[str, str] = {}
    for name in names:
        short.setdefault(name.rpartition(".")[2], name)
    found = {}
    for key, value in named_leaves(grads).items():
        target = target_of(key, dict.fromkeys(names)) or target_of(key.rpartition(".")[2], short)
        if target is not None:
            found[short.get(target, target)] = value
    return found


def _in_order(parts: Sequence[Any], parameters: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Match gradients with parameters: lists with lists, arrays with arrays of their shape, the others in order."""
    sizes = [int(np.prod(s)) for s in parameters.values()]
    whole = parts[0] if len(parts) == 1 < len(sizes) else None
    if isinstance(whole, np.ndarray) and whole.shape == (sum(sizes),):  # all in one vector
        pieces = np.split(whole, np.cumsum(sizes)[:-1])
        return {n: p.reshape(s) for (n, s), p in zip(parameters.items(), pieces, strict=True)}
    left = dict(parameters)
    found: dict[str, Any] = {}
    single: list[Any] = []
    for part in parts:
        leaves = list(part) if isinstance(part, list | tuple) else None
        shapes = [np.shape(v) for v in leaves or ()]
        group = next((g for g in _groups(left) if leaves and [left[n] for n in g] == shapes), None)
        if group is None or leaves is None:
            single += leaves or [part]
            continue
        found.update(zip(group, leaves, strict=True))
        left = {n: s for n, s in left.items() if n not in group}
    odd = []
    for leaf in single:
        name = next((n for n, s in left.items() if s == np.shape(leaf)), None)
        if name is None:
            odd.append(leaf)
        else:
            found[name] = leaf
            left.pop(name)
    found.update(zip(left, odd, strict=False))
    return found


def _groups(names: Mapping[str, Any]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("[")[0], []).append(name)
    return list(groups.values())


def gradients_of_inputs(
    result: Any, names: list[str], inputs: list[Any], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the gradients of inputs, by key: those that a method returned, or that its object keeps in attributes."""
    if isinstance(result, Mapping):
        parts = returned_gradients(result, names, {})
    else:
        several = list(result) if isinstance(result, tuple | list) else [result]
        if len(names) == 1 and isinstance(inputs[0], list | tuple) and len(several) == len(inputs[0]):
            several = [several]  # the gradients of a list of arrays
        parts = dict(zip(_by_shape(names, several, inputs), several, strict=False))
    grads = {}
    for name, whole in zip(names, inputs, strict=True):
        part = parts.get(name)
        if part is None:
            keys = ["d" + name, *(RETURNED_INPUTS if name == names[0] else ())]
            part = next((attributes[k] for k in keys if attributes.get(k) is not None), None)
        if part is None:
            part = _carried(whole, attributes)
        if isinstance(part, int | float) and isinstance(whole, np.ndarray):
            part = np.full(whole.shape, float(part))  # the derivative of what is linear
        if part is not None:
            grads.update({k: np.array(v) for k, v in named_leaves(part, "d" + name).items()})
    return grads


def kept_gradient(attributes: Mapping[str, Any], whole: Any) -> Any:
    """Return the gradient of an input that a backward method keeps in an attribute, or None."""
    found = next((attributes[k] for k in RETURNED_INPUTS if attributes.get(k) is not None), None)
    return found if found is not None else _carried(whole, attributes)


def _carried(whole: Any, attributes: Mapping[str, Any]) -> Any:
    """Return the gradient that an input carries in .g, or a view of it among the attributes does."""
    for array in (whole, *attributes.values()):
        shared = array is whole or (isinstance(array, np.ndarray) and np.shares_memory(array, whole))
        if shared and getattr(array, "g", None) is not None:
            return array.g
    return None
