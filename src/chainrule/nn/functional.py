"""Running a module with other tensors in place of its parameters and buffers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.habits import missing
from ..core.node import TRACE
from ..core.tensor import Tensor, constant
from .module import Module, _join
from .twins import States, Swap, Twins


@contextlib.contextmanager
def evaluation_mode(module: Module) -> Iterator[None]:
    """Put a module and its parts into evaluation mode, and restore each one's mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def functional_call(
    module: Module, values: Mapping[str, Any], *args: Any, **kwargs: Any
) -> tuple[Any, dict[str, Tensor]]:
    """Run ``module(*args)`` with the parameters and buffers at the paths of `values` replaced.

    Parameters
    ----------
    module
        Not changed: a copy is run that shares all objects except those replaced, so concurrent calls are safe. What
        `forward` assigns to attributes other than buffers is lost with the copy.
    values
        Dotted path (of ``named_parameters`` or ``named_buffers``) -> tensor or array of the same shape; any float
        dtype. A leaf without a name takes the parameter's (``W1``). Others keep their values.
    *args, **kwargs
        For the module.

    Returns
    -------
    output
        What the module returned.
    buffers : dict
        Dotted path -> tensor, for the buffers that ``forward`` replaced.

    Raises
    ------
    KeyError
        For a path that is neither a parameter nor a buffer.
    ValueError
        For a wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> output, buffers = nn.functional_call(model, {"0.weight": [[1.0], [2.0]]}, np.ones((1, 2)))
    >>> output.value, buffers
    (array([[3.]]), {})
    """
    parameters = dict(module.named_parameters())
    buffers = {_join(path, name): (m, name) for path, m in module.named_modules() for name in m._buffers}
    swap: Swap = {}
    states: States = {}
    for path, value in values.items():
        if path in parameters:
            old: Any = parameters[path]
            swap[id(old)] = _named(_fitting(path, value, old.shape), old.name)
        elif path in buffers:
            owner, name = buffers[path]
            states[id(owner), name] = _fitting(path, value, owner._buffers[name].shape)
        else:
            there = _some([*parameters, *buffers])
            raise KeyError(
                f"{path!r} is not a parameter or buffer of this {type(module).__name__}; expected one of {there}"
            )
    twins = Twins(swap, states, TRACE.get())
    twin = twins.of(module)
    before = {path: twins.of(m).__dict__[name] for path, (m, name) in buffers.items()}
    output = twin(*args, **kwargs)
    replaced = {}
    for path, (m, name) in buffers.items():
        now = twins.of(m).__dict__[name]
        if now is not before[path]:
            replaced[path] = constant(now)
    return output, replaced


def _some(names: list[str]) -> str:
    return (", ".join(names[:12]) + (" …" if len(names) > 12 else "")) or "none"


def _fitting(path: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    tensor = value if isinstance(value, Tensor) else Tensor(np.asarray(value))
    if tensor.shape != tuple(shape):
        raise ValueError(f"{path}: expected shape {tuple(shape)}, got {tensor.shape}")
    return tensor


def _named(tensor: Tensor, name: str | None) -> Tensor:
    if name is None or tensor.name == name:
        return tensor
    if tensor.name is None and tensor.op is None:
        tensor.name = name
        return tensor
    return tensor.named(name)


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, sys.modules[__name__])
