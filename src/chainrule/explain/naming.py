"""Names for values without one: targets, buffers, intermediate values, the arguments of a function."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..adapters.signatures import positional, required
from ..core.reverse import topological
from ..core.tensor import Parameter, Tensor
from ..formula.rows import CAST, IDENTITY, SQRT, SUBTRACT
from ..nn.naming import repeats
from ..ops.logits import ONE_HOT
from .graph import users_of


def name_one_hot(total: Tensor, y: Tensor) -> None:
    """Name class ids y, and their one-hot rows Y."""
    for node in topological([total]):
        if node.op is None or node.op is not ONE_HOT:
            continue
        source = node.inputs[0]
        while source.op is not None and source.op.passes:
            source = source.inputs[0]
        if source is y and node.name is None:
            y.name, node.name = "y", "Y"


def name_buffers(buffers: dict[str, Tensor], output: Tensor) -> None:
    """Name a layer's running_mean running_mean1, with the number of the layer, where it has one."""
    users = users_of(topological([output]))
    taken: set[str] = set()
    for path, buffer in buffers.items():
        name = path.rpartition(".")[2] + _layer_number(buffer, users)
        while name in taken:
            name += "_"
        taken.add(name)
        buffer.name = name


def _layer_number(node: Tensor, users: dict[int, list[Tensor]]) -> str:
    """Return the number of the first named value that a node leads to: "1" for Z1; "" if there is none."""
    return _place(node, users)[0]


def _place(node: Tensor, users: dict[int, list[Tensor]]) -> tuple[str, str]:
    """Return the number, and the part in brackets, of the layer of the first named value that a node leads to."""
    at = [node]
    for _ in range(30):
        at = [u for n in at for u in users.get(id(n), [])][:50]
        found = (re.fullmatch(r"[A-Za-z]+(\d+)((?:\[[^]]*\])*)", n.name) for n in at if n.name)
        named = next((match for match in found if match), None)
        if named or not at:
            return (named[1], re.sub(r"\[\d+\]$", "", named[2])) if named else ("", "")
    return "", ""


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of a function's first arguments."""
    names = [p.name for p in positional(function)][:count]
    return names + [f"x{i + 1}" for i in range(len(names), count)]


def example_numbers(function: Callable[..., Any]) -> tuple[float, ...]:
    """Return a number for each required argument of a function, after a trial call.

    Raises
    ------
    TypeError
        If it has no required arguments, or fails with numbers.
    """
    needed = "explain(function, …) needs an example of each argument: arrays or numbers"
    numbers = tuple(k + 0.5 for k in range(len(required(function))))
    if not numbers:
        raise TypeError(needed)
    try:
        with np.errstate(all="ignore"):
            function(*numbers)
    except Exception as error:
        tried = ", ".join(map(str, numbers))
        raise TypeError(f"{needed}; with {tried} it raises {type(error).__name__}: {error}") from error
    return numbers


def name_once(ends: list[Tensor], symbols: list[Tensor], parameters: list[Tensor]) -> None:
    """Rename all but the first of the values that share a name; the inputs of the function keep theirs."""
    order = topological(ends)
    weights = {id(p) for p in parameters}
    given = {id(t): t for t in symbols if id(t) not in weights}
    inside = (n for n in order if id(n) not in given and (n.op is None or n.op is not IDENTITY))
    named = [(n, n.name) for n in (*given.values(), *inside) if n.name]
    taken = {name for _, name in named}
    for (node, name), k in zip(named, repeats(named, order, weights), strict=True):
        if not k:
            continue
        again = k + 1
        while f"{name}_{again}" in taken:
            again += 1
        node.name = f"{name}_{again}"
        taken.add(node.name)


def read_only(nodes: list[Tensor], symbols: list[Tensor]) -> dict[str, Tensor]:
    """Return the parameters and arrays that are read but are not arguments, by name."""
    found: dict[str, Tensor] = {}
    taken = {str(n.name) for n in [*symbols, *topological(nodes)] if n.name}
    known = {id(t) for t in symbols}
    for node in topological(nodes):
        if node.op is not None or node.value is None or id(node) in known or node.value.dtype.kind != "f":
            continue
        value = node.value
        if np.all(value == value.flat[:1]) and not isinstance(node, Parameter):
            continue
        label, k = node.name, 1
        while label is None or label in found:
            label, k = (f"c{k}" if f"c{k}" not in taken else None), k + 1
        found[label] = node
    return found


def named_again(forward: list[Tensor], simple: list[Tensor], known: list[Tensor]) -> set[str]:
    """Return the names of values that equal one before them, such as ``x * 1``."""
    seen, again = {id(n) for n in known}, set()
    for node, simpler in zip(forward, simple, strict=False):
        while simpler.op is not None and simpler.op in (CAST, IDENTITY):
            simpler = simpler.inputs[0]
        if id(simpler) in seen:
            again.add(str(node.name))
        seen.add(id(simpler))
    return again


def name_landmarks(landmarks: list[Tensor], end: Tensor) -> None:
    """Name values by the number of the layer that they lead to."""
    order = topological([end])
    taken, users = {n.name for n in order if n.name}, users_of(order)
    for node in landmarks:
        number, part = _place(node, users)
        assert node.op is not None
        letter = {SQRT: "sigma", SUBTRACT: "C"}.get(node.op, "T")
        letters = [letter, *"TUVRS"] if number else [letter]
        name = next((x for x in (f"{x}{number or 1}{part}" for x in letters) if x not in taken), "T1")
        k = 1
        while name in taken:
            k += 1
            name = f"T{number}{k}{part}" if number else f"{letter}{k}"
        taken.add(name)
        node.name = name
