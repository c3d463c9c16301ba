"""Names as the literature gives them: A0 is the input, then Z1 = A0 W1 + b1, A1 = f(Z1) and so on."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from ..core.tensor import Tensor
from . import init
from .describe import KNOWN, settings_of
from .module import Module

Namer = Callable[[str, Tensor], Tensor]


def unnamed(role: str, value: Tensor) -> Tensor:
    """Leave a value without a name, as in a layer that is called on its own."""
    return value


def by_letter(role: str, value: Tensor) -> Tensor:
    """Name a value by its letter alone, as in a layer with steps or parts that a custom module calls."""
    return value if value.op is None else value.named(role)


class Layer(Module):
    """A module whose values have names in a `Sequential`.

    Attributes
    ----------
    starts
        Whether it begins layer l + 1 (affine maps do).
    roles
        Parameter -> the letter of its name: ``{"weight": "W", "bias": "b"}``.
    gives
        The letters of the values it computes.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> class Scale(nn.Layer):
    ...     roles = {"weight": "s"}
    ...     gives = ("S",)
    ...     def __init__(self, features):
    ...         self.make_parameter("weight", (features,), "ones")
    ...     def compute(self, x, name):
    ...         return name("S", x * name("s", self.weight))
    >>> nn.Sequential(nn.Linear(4, 3), Scale(3), nn.Tanh()).value_names()
    ['A0', 'W1', 'b1', 'Z1', 's1', 'S1', 'A1']
    """

    _takes_one = True
    starts: bool = False
    roles: ClassVar[dict[str, str]] = {}
    gives: tuple[str, ...] = ()

    def forward(self, X: Any) -> Any:
        """Compute the output."""
        return self.compute(X, unnamed)

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute the output, passing values through ``name(letter, value)``. To be written by subclasses."""
        raise TypeError(f"{type(self).__name__} has no method compute(self, x, name)")

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data: the type and the arguments that build such a layer again."""
        if KNOWN.get(type(self).__name__) is not type(self):
            return super().config()
        taken = [name for name in settings_of(type(self)) if hasattr(self, name)]
        settings = {name: _plain(name, getattr(self, name)) for name in taken}
        return {"type": type(self).__name__, **settings}


def _plain(name: str, value: Any) -> Any:
    """Return an argument of a layer, as its attribute tells it, as JSON-able data."""
    if name == "dtype":
        return str(value)
    if name.endswith("_init"):
        return init.config(value)
    if isinstance(value, tuple):
        return [_plain("", part) for part in value]
    if name == "bias" and not isinstance(value, bool):
        return value is not None
    return value


class Numbering:
    """Counts layers along a (nested) Sequential. Each name is given once; a second activation in a row gets none."""

    def __init__(self) -> None:
        self.number: int = 0
        self.used: set[str] = {"A0"}

    def enter(self, layer: Layer) -> None:
        """Begin the next number if `layer` begins one."""
        self.number += layer.starts

    def label(self, letter: str) -> str | None:
        """Return the name for `letter` in the current layer, None if it is taken."""
        base, bracket, rest = letter.partition("[")  # as in h[3], which becomes h1[3]
        label = f"{base}{self.number}{bracket}{rest}"
        if label in self.used:
            return None
        self.used.add(label)
        return label

    def name(self, letter: str, value: Tensor) -> Tensor:
        """Give `value` its name."""
        label = self.label(letter)
        return value if label is None else value.named(label)


def repeats(nodes: Sequence[tuple[Tensor, str]], order: Sequence[Tensor], parameters: set[int]) -> list[int]:
    """Return how many times each node's name occurred before it, for names that a custom module repeats.

    A `Sequential` inside such a module starts again at A0. Its values are numbered by how often the name occurred; its
    parameters take the number of the value that they lead to, so that the second Z1 is made of the second W1.

    Parameters
    ----------
    nodes
        Nodes and the names wanted for them, inputs before users.
    order
        All nodes, inputs before users.
    parameters
        The ids of those that are parameters.
    """
    if len({name for _, name in nodes}) == len(nodes):
        return [0] * len(nodes)
    seen: dict[str, int] = {}
    times: dict[int, int] = {}
    for node, name in nodes:
        if id(node) not in parameters:
            times[id(node)] = seen[name] = seen.get(name, -1) + 1
    users: dict[int, list[Tensor]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
    names = {id(node): name for node, name in nodes}
    layers: dict[str, set[int]] = {}
    for i in times:
        layers.setdefault(_number(names[i]), set()).add(i)
    taken: set[tuple[str, int]] = {(name, times[id(node)]) for node, name in nodes if id(node) in times}
    for node, name in nodes:
        if id(node) not in parameters:
            continue
        leads_to = _first(node, users, layers.get(_number(name), set()))
        again = times[id(leads_to)] if leads_to is not None else 0
        while (name, again) in taken:
            again += 1
        taken.add((name, again))
        times[id(node)] = again
    return [times[id(node)] for node, _ in nodes]


def _first(node: Tensor, users: dict[int, list[Tensor]], wanted: set[int]) -> Tensor | None:
    """Return the nearest node among those that `node` leads to whose id is wanted."""
    waiting, seen = deque([node]), {id(node)}
    while waiting:
        for user in users.get(id(waiting.popleft()), []):
            if id(user) in wanted:
                return user
            if id(user) not in seen:
                seen.add(id(user))
                waiting.append(user)
    return None


def _number(name: str) -> str:
    found = re.search(r"\d+$", name)
    return found[0] if found else ""


def labels(network: Iterable[Module]) -> Iterator[tuple[Layer, str, str]]:
    """Yield (layer, parameter's attribute or "" for a computed value, name), in the order of computation."""
    numbering = Numbering()
    stack: list[Module] = list(network)[::-1]
    while stack:
        layer = stack.pop()
        if isinstance(layer, Layer):
            numbering.enter(layer)
            for part, attribute, letter in _parameters(layer, ""):
                label = numbering.label(letter)
                if label:
                    yield part, attribute, label
            for letter in layer.gives:
                label = numbering.label(letter)
                if label:
                    yield layer, "", label
        elif hasattr(layer, "_layers"):
            stack.extend(list(layer._layers)[::-1])


def _parameters(layer: Layer, path: str) -> Iterator[tuple[Layer, str, str]]:
    """Yield (layer, attribute, letter) for the parameters of a layer, and of the layers that it consists of."""
    for attribute, letter in layer.roles.items():
        if getattr(layer, attribute) is not None:
            yield layer, attribute, f"{letter}[{path}]" if path else letter
    for name, part in vars(layer).items():
        if isinstance(part, Layer):
            yield from _parameters(part, f"{path}.{name}" if path else name)
