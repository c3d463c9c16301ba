"""PyTorch's weights in safetensors files, read and written without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import nn
from ..core.op import Array
from ..nn.module import _join, require_module
from .files import write_atomically
from .models import FORMAT
from .weights import load_arrays, with_texts

#: A count that PyTorch's batch norm keeps beside its statistics, for a setting that the library doesn't have.
_TRACKED = "num_batches_tracked"


#: Layers other than affine maps whose weights PyTorch holds with the last axis, that of the outputs, in another place.
_OUTPUTS_AT: dict[type[nn.Module], int] = {nn.Conv1d: 0, nn.Conv2d: 0, nn.ConvTranspose2d: 1}


def in_torch_layout(layer: nn.Module, name: str, array: Array) -> Array:
    """Return a layer's array as PyTorch holds it: weights with the axis of outputs first, not last."""
    place = _outputs_at(layer, name, array)
    return array if place is None else np.ascontiguousarray(np.moveaxis(array, -1, place))


def from_torch_layout(layer: nn.Module, name: str, array: Array) -> Array:
    """Return an array of PyTorch's as the layer holds it."""
    place = _outputs_at(layer, name, array)
    return array if place is None else np.ascontiguousarray(np.moveaxis(array, place, -1))


def _outputs_at(layer: nn.Module, name: str, array: Array) -> int | None:
    """Return where PyTorch has the axis of outputs, which is our last one; None where it is there, too."""
    if array.ndim < 2:
        return None
    if layer._matrices:
        return 0
    return _OUTPUTS_AT.get(type(layer)) if name == "weight" else None


def save_torch_weights(path: str | os.PathLike[str], model: nn.Module) -> None:
    """Write a model's weights as the state dict of the same network in PyTorch, to a safetensors file.

    There, ``module.load_state_dict(safetensors.torch.load_file(path))`` takes them, for the ``torch.nn.Sequential`` of
    the same layers. The architecture is not part of the file.

    Raises
    ------
    OSError
        When the file cannot be written; an existing one is unchanged then.

    Examples
    --------
    >>> import os, tempfile
    >>> from chainrule import io, nn
    >>> model, again = nn.Linear(4, 2, seed=1), nn.Linear(4, 2, seed=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "weights.safetensors")
    ...     io.save_torch_weights(file, model)
    ...     {name: array.shape for name, array in io.load_arrays(file)[0].items()}  # PyTorch transposes weights
    ...     io.load_torch_weights(file, again)
    {'bias': (2,), 'weight': (2, 4)}
    >>> bool((again.weight.value == model.weight.value).all())
    True
    """
    require_module(model)
    write_atomically(path, with_texts(torch_state(model), {"format": "pt"}))


def torch_state(model: nn.Module) -> dict[str, Array]:
    """Return the state dict of the same network in PyTorch."""
    state: dict[str, Array] = {}
    for prefix, layer in _places(model):
        for name, held in layer._members():
            if isinstance(held, nn.Parameter):
                state[_join(prefix, name)] = in_torch_layout(layer, name, np.asarray(held.value))
        for name in () if isinstance(layer, nn.Dropout) else layer._buffers:
            state[_join(prefix, name)] = np.asarray(getattr(layer, name))
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            state[_join(prefix, _TRACKED)] = np.zeros((), np.int64)
    return state


def load_torch_weights(path: str | os.PathLike[str], model: nn.Module) -> None:
    """Assign the weights of a PyTorch state dict in a safetensors file to the same network here.

    Parameters
    ----------
    path
        Written by ``safetensors.torch.save_file(module.state_dict(), path)``, for instance.
    model
        A network of the same layers under the same names (a `Sequential` of as many); its dtype is kept.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is damaged, or does not fit: missing, unexpected, wrong-shaped and wrong-typed
        arrays are named, and nothing is changed.

    Examples
    --------
    See `save_torch_weights`.
    """
    require_module(model)
    arrays, metadata = load_arrays(path)
    if metadata.get("format") == FORMAT:
        raise ValueError(f"{path} is a chainrule model, whose weights have another layout; cr.load reads it")
    layers, first = dict(_places(model)), _first_paths(model)
    state: dict[str, Any] = {}
    problems = []
    for full, array in arrays.items():
        prefix, _, name = full.rpartition(".")
        layer = layers.get(prefix)
        if name == _TRACKED and isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        if array.dtype.kind != "f":
            problems.append(f"{full} has dtype {array.dtype}, not float32 or float64")
        array = from_torch_layout(layer, name, array) if layer is not None else array
        known = first.get(full, full)
        if known in state and not np.array_equal(state[known], array, equal_nan=True):
            problems.append(f"{full} is {known} again in the network, but holds other numbers")
        state[known] = array
    for prefix, layer in model.named_modules():
        if isinstance(layer, nn.Dropout):  # PyTorch counts no draws
            state.setdefault(_join(prefix, "counter"), layer.counter)
    try:
        if problems:
            raise ValueError("; ".join(problems[:12]))
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error} (weights of Linear are given as (inputs, outputs))") from None


def _places(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (path, module); one that occurs several times once for each, as in PyTorch's state dicts."""
    stack = [("", model)]
    while stack:
        prefix, module = stack.pop()
        yield prefix, module
        inner = [(_join(prefix, name), m) for name, m in module._members() if isinstance(m, nn.Module)]
        stack.extend(inner[::-1])


def _first_paths(model: nn.Module) -> dict[str, str]:
    """Return each path of a parameter or a buffer -> the path by which the library knows it."""
    paths: dict[str, str] = {}
    known: dict[Any, str] = {}
    for prefix, module in _places(model):
        held = [(name, id(p)) for name, p in module._members() if isinstance(p, nn.Parameter)]
        for name, key in (*held, *((name, (id(module), name)) for name in module._buffers)):
            full = _join(prefix, name)
            paths[full] = known.setdefault(key, full)
    return paths
