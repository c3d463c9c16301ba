"""Other values for the same passes: random ones of the same kind, and other sizes of the batch.

What is drawn keeps what the values mean: labels stay labels, one-hot rows one-hot, probabilities probabilities, what is
positive stays positive; zeros, ones and equal columns of an initialisation do not survive.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.op import Array
from .containers import is_number_array

SIZES = (7, 11, 13, 5, 17, 19)

Axes = dict[str, int]


def redrawn(
    values: Mapping[str, Any], weights: tuple[str, ...], axes: Axes | None, size: int | None, rng: np.random.Generator
) -> dict[str, Any]:
    """Return other values by name; with `axes`, the arrays in it get `size` examples along their axis."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if not is_number_array(value) or value.size == 0:
            out[name] = value
            continue
        if name in weights and not (axes and name in axes):
            out[name] = _weights(value, rng)
            continue
        axis = axes.get(name) if axes else None
        array = value
        if axis is not None and size is not None:
            picked = rng.permutation(np.resize(np.arange(value.shape[axis]), max(size, value.shape[axis])))[:size]
            array = np.take(value, picked, axis=axis)
        out[name] = _data(array, value, axis, rng)
    return out


def _weights(value: Array, rng: np.random.Generator) -> Array:
    if value.dtype.kind != "f":
        return value
    shape = value.shape
    if value.ndim < 2 or (1 in shape and value.ndim == 2):
        scale = 0.4
    elif value.ndim == 2:
        scale = (shape[0] * shape[1]) ** -0.25
    else:
        scale = (value.size / shape[0]) ** -0.5
    scale = max(scale, 0.02) * 1.2
    if np.min(value) > 0:
        return np.asarray(rng.uniform(0.5, 1.5, size=shape) * (1.0 if value.ndim < 2 else float(np.median(value))))
    return np.asarray(scale * rng.normal(size=shape))


def _data(array: Array, original: Array, axis: int | None, rng: np.random.Generator) -> Array:
    if original.dtype.kind != "f":
        return _labels(array, axis, rng)
    whole = bool(np.all(original == np.round(original)))
    if whole and np.unique(original).size <= max(3, original.size // 2):
        return _labels(array, axis, rng).astype(np.float64)
    for along in range(array.ndim):
        if array.shape[along] > 1 and original.min() >= 0 and np.allclose(original.sum(axis=along), 1.0):
            return _probabilities(array.shape, along, rng)
    if original.min() > 0 or (original.min() >= 0 and original.max() <= 1):
        low, high = float(original.min()), float(original.max())
        spread = (high - low) or 0.5 * high or 1.0
        return np.asarray(rng.uniform(low + 0.03 * spread, low + 0.97 * spread, size=array.shape))
    scale = float(np.std(original)) or 1.0
    return np.asarray(rng.normal(size=array.shape) * min(max(scale, 0.3), 3.0) + float(np.mean(original)))


def _probabilities(shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> Array:
    draws = rng.gamma(2.0, size=shape) + 0.05
    return np.asarray(draws / draws.sum(axis=axis, keepdims=True))


def _labels(array: Array, axis: int | None, rng: np.random.Generator) -> Array:
    """Resample whole examples, so that one-hot rows and the like survive; single numbers one by one."""
    for along in range(array.ndim):  # one-hot along an axis: exchange the classes
        if (
            array.ndim > 1
            and along != axis
            and array.shape[along] > 1
            and np.all(array.sum(axis=along) == 1)
            and array.min() >= 0
        ):
            moved = np.moveaxis(np.zeros_like(array), along, -1)
            flat = moved.reshape(-1, array.shape[along])
            flat[np.arange(len(flat)), rng.integers(array.shape[along], size=len(flat))] = 1
            return np.ascontiguousarray(np.moveaxis(flat.reshape(moved.shape), -1, along))
    values = np.unique(array)
    if array.ndim == 2 and set(values) == {0, 1} and min(array.shape) > 1 and array.any(axis=1).all():
        rows, columns = (rng.permutation(n) for n in array.shape)
        return array[rows][:, columns]  # a mask, of which no row is without a 1
    if values.size == 1 and array.dtype.kind == "f" and values[0] in (0.0, 1.0):
        values = np.array([0.0, 1.0])
    drawn = rng.choice(values, size=array.shape)
    flat = drawn.reshape(-1)
    for i, v in enumerate(rng.permutation(values)[: flat.size]):  # every value occurs, where there is room
        flat[i * flat.size // max(values.size, 1) if values.size <= flat.size else i] = v
    return np.asarray(drawn, array.dtype)


def nudged(values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return values close to the given ones: for passes that only work near their own data."""
    out = {}
    for name, value in values.items():
        if is_number_array(value) and value.dtype.kind == "f" and not np.all(value == np.round(value)):
            scale = float(np.std(value)) or float(np.abs(value).max()) or 1.0
            out[name] = value + 0.05 * scale * rng.normal(size=value.shape)
        else:
            out[name] = value
    return out


def batch_axes(values: Mapping[str, Any], data: tuple[str, ...]) -> Iterator[Axes]:
    """Yield guesses along which axes the arrays named in `data` hold their examples; the first array has an axis.

    The likeliest come first: all arrays of a length that they share, the same axis in all.
    """
    arrays = {n: values[n] for n in data if is_number_array(values.get(n)) and values[n].ndim > 0}
    if not arrays:
        return
    first = next(iter(arrays))
    for i in _axis_order(arrays[first]):
        length = arrays[first].shape[i]
        options: list[list[int | None]] = []
        for name, array in arrays.items():
            if name == first:
                options.append([i])
                continue
            same = [j for j in range(array.ndim) if array.shape[j] == length]
            last = array.ndim - 1 if i == arrays[first].ndim - 1 else i
            options.append([*sorted(same, key=_nearest(i, last)), None])
        for choice in itertools.islice(itertools.product(*options), 8):
            yield {n: a for n, a in zip(arrays, choice, strict=True) if a is not None}


def _nearest(*likely: int) -> Callable[[int], tuple[bool, int]]:
    return lambda j: (j not in likely, j)


def _axis_order(array: Array) -> list[int]:
    return sorted(range(array.ndim), key=lambda j: (j not in (0, array.ndim - 1), j))
