"""Calls that an object needs before its forward pass: ``initialize(input_shape)``, ``build``, ``set_optimizer``."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .object_methods import INPUT, RATE, Methods, method_names, role
from .signatures import required, signature_text

#: Methods that set an object up, in the order in which they are called.
_SET_UP = (
    r"set_?(input_?)?(shape|size|dims?|units)",
    r"(set|add|attach|init|initialize)_?(optimi[sz]ers?|optim|opt)",
    r"(init|initiali[sz]e|build|create|make|reset|setup|set_up|prepare|allocate)(_?(self|layers?|network|model))?",
    r"(init|initiali[sz]e|build|create|make|reset|setup|set_up)_?(weights?|params?|parameters|weights_and_biases|state)",
    r"compile|finali[sz]e",
)
_OPTIMIZER = re.compile(r"optim|^opt$", re.IGNORECASE)
_SHAPE = re.compile(r"shape|dims", re.IGNORECASE)
_LENGTH = re.compile(r"size|dim|features|units|neurons|channels|^n_|nodes|inputs?$|^(prev|input)_", re.IGNORECASE)


class Descent:
    """The optimiser that is handed to an object that asks for one: plain gradient descent."""

    def __init__(self) -> None:
        self.lr = 0.1

    def update(self, weights: Any, gradients: Any, *rest: Any) -> Any:
        """Return new weights, or change those in a dict or a list."""
        if isinstance(weights, dict | list):
            for key in weights if isinstance(weights, dict) else range(len(weights)):
                weights[key] = weights[key] - self.lr * gradients[key]
            return weights
        return weights - self.lr * gradients

    __call__ = step = apply = update


def set_up(
    modules: Sequence[Any], methods: Sequence[Methods], inputs: Sequence[Any]
) -> tuple[list[Any], dict[str, None]]:
    """Return the objects with what they need before forward, and the calls that were made; the originals stay.

    Parameters
    ----------
    modules : sequence of objects
        One after the other.
    methods
        Of each.
    inputs
        Arguments of the first forward method.
    """
    ready: list[Any] = []
    calls: dict[str, None] = {}
    given = list(inputs)
    for module, method in zip(modules, methods, strict=True):
        made, output, said = _ready(module, method, given)
        ready.append(made)
        calls |= dict.fromkeys(said)
        if output is None:  # what comes out of this one is not known
            return [*ready, *modules[len(ready) :]], calls
        given = [output]
    return ready, calls


def _ready(module: Any, method: Methods, inputs: list[Any]) -> tuple[Any, Any, list[str]]:
    """Return an object on which forward works, its output, and the calls for it."""
    names = _methods_for(module)
    if not names:
        return module, _output(module, method, inputs)[0], []
    wanting = [n for n in names if _asks_for_optimizer(module, n)]
    output, error = _output(module, method, inputs)
    if error is None and not wanting:
        return module, output, []
    for sizes in _readings_of(inputs[0] if inputs else None):
        twin = copy.deepcopy(module)
        said = []
        for name in names if error is not None else wanting:
            arguments = _arguments(twin, getattr(twin, name), inputs, sizes)
            if arguments is None:
                continue
            try:
                with np.errstate(all="ignore"):
                    getattr(twin, name)(**arguments)
            except Exception:  # whatever the user's code raises: the next call may do
                continue
            said.append(f"{name}({', '.join(f'{k}={_shown(v)}' for k, v in arguments.items())})")
            output, failing = _output(twin, method, inputs)
            if failing is None and not [n for n in wanting if n not in "".join(said)]:
                return twin, output, said
    return module, output, []


def set_up_hint(modules: Sequence[Any]) -> str:
    """Return which methods of the objects may have to be called before the audit, in a sentence; empty for none."""
    for module in modules:
        if names := _methods_for(module):
            calls = " or ".join(signature_text(getattr(module, n)) for n in names)
            return f". Is {type(module).__name__} to be set up first? Call {calls} before the audit"
    return ""


def _methods_for(module: Any) -> list[str]:
    held = [n for n in dict.fromkeys(method_names(module)) if not n.startswith("__")]
    return [n for pattern in _SET_UP for n in held if re.fullmatch(pattern, n.strip("_"), re.IGNORECASE)]


def _output(module: Any, method: Methods, inputs: list[Any]) -> tuple[Any, Exception | None]:
    """Return what forward gives on copies of the object and its inputs, or how it fails."""
    try:
        twin = copy.deepcopy(module)
        with np.errstate(all="ignore"):
            result = method.forward_of(twin)(*copy.deepcopy(inputs))
        return result[0] if isinstance(result, tuple) and result else result, None
    except Exception as error:  # whatever the user's code raises
        return None, error


def _asks_for_optimizer(module: Any, name: str) -> bool:
    """Whether a method takes an optimiser that the object does not have yet."""
    empty = any(_OPTIMIZER.search(k) and v is None for k, v in vars(module).items()) if _has_state(module) else False
    return empty and any(_OPTIMIZER.search(p.name) for p in required(getattr(module, name)))


def _has_state(module: Any) -> bool:
    return hasattr(module, "__dict__")


Sizes = tuple[tuple[int, ...], int]  # what a shape is, what a length


def _readings_of(x: Any) -> Iterator[Sizes]:
    """Yield the shape and the length of an input: of an example in rows, of all, in columns, with channels first."""
    shape = np.shape(x[0]) if isinstance(x, list | tuple) and len(x) else np.shape(x)
    if not shape:
        yield (), 1
        return
    yield shape[1:] or shape, shape[-1]
    yield shape, shape[-1]
    yield shape[:1], shape[0]
    yield shape, shape[min(1, len(shape) - 1)]


def _arguments(module: Any, method: Any, inputs: list[Any], sizes: Sizes) -> dict[str, Any] | None:
    """Return what a method is called with, by the names of what it requires; None where one says nothing."""
    found: dict[str, Any] = {}
    for p in required(method):
        if _OPTIMIZER.search(p.name):
            found[p.name] = _optimizer_for(module)
        elif role(p.name) == RATE:
            found[p.name] = 0.1
        elif _SHAPE.search(p.name):
            found[p.name] = sizes[0]
        elif _LENGTH.search(p.name):
            found[p.name] = sizes[1]
        elif role(p.name) == INPUT and inputs:
            found[p.name] = copy.deepcopy(inputs[0])
        elif p.name in ("rng", "seed", "random_state"):
            found[p.name] = np.random.default_rng(0) if p.name == "rng" else 0
        else:
            return None
    return found


def _optimizer_for(module: Any) -> Any:
    """Return an optimiser of the object's own program that needs no arguments; else plain gradient descent."""
    space: Mapping[str, Any] = vars(sys.modules.get(type(module).__module__, inspect))
    for name, kind in list(space.items()):
        known = isinstance(kind, type) and re.search(r"sgd|descent", name, re.IGNORECASE) is not None
        if known and kind.__module__ == type(module).__module__ and not required(kind):
            return kind()
    return Descent()


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return repr(value) if isinstance(value, int | float | tuple | str) else type(value).__name__
