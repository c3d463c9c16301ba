"""Names for what has none: targets, buffers, values in between, a function's arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from ..reverse import topological
from ..tensor import Tensor
from .graph import PASSING


def name_one_hot(total: Tensor, y: Tensor) -> None:
    """Class ids are y, and the rows made of them Y."""
    for node in topological([total]):
        if node.op is None or node.op.name != "one_hot":
            continue
        source = node.inputs[0]
        while source.op is not None and source.op.name in PASSING:
            source = source.inputs[0]
        if source is y and node.name is None:
            y.name, node.name = "y", "Y"


def name_buffers(buffers: dict[str, Tensor], output: Tensor) -> None:
    """Call a layer's running_mean running_mean1, after the layer's number, where it has one."""
    users: dict[int, list[Tensor]] = {}
    for node in topological([output]):
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
    taken: set[str] = set()
    for path, buffer in buffers.items():
        base, at = path.rpartition(".")[2], users.get(id(buffer), [])
        number = ""
        for _ in range(12):
            if not at:
                break
            named = next((n.name for n in at if n.name and re.fullmatch(r"[A-Za-z]+\d+", n.name)), None)
            if named is not None:
                number = re.sub(r"\D", "", named)
                break
            at = [u for n in at for u in users.get(id(n), [])][:50]
        name = base + number
        while name in taken:
            name += "_"
        taken.add(name)
        buffer.name = name


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of a function's first arguments."""
    try:
        parameters = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        parameters = []
    return [parameters[i] if i < len(parameters) else f"x{i + 1}" for i in range(count)]


def name_landmarks(landmarks: list[Tensor], end: Tensor) -> None:
    """Name values by the layer that they belong to: the number of the named value that they lead to."""
    order = topological([end])
    taken = {n.name for n in order if n.name}
    users: dict[int, list[Tensor]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
    for node in landmarks:
        number, at = "", [node]
        for _ in range(30):
            at = [u for n in at for u in users.get(id(n), [])][:20]
            named = next((n.name for n in at if n.name and re.fullmatch(r"[A-Za-z]+\d+", n.name)), None)
            if named or not at:
                number = re.sub(r"\D", "", named or "")
                break
        assert node.op is not None
        letter = {"sqrt": "sigma", "subtract": "C"}.get(node.op.name, "T")
        name, k = letter + (number or "1"), 1
        while name in taken:
            k += 1
            name = f"{letter}{number or 1}_{k}"
        taken.add(name)
        node.name = name
