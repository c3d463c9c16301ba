"""Each step on its own: what a gradient should be, given the pass's own gradients downstream of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array
from ..core.reverse import _leading_to, reverse, topological
from ..core.tensor import Tensor, apply

TOLERANCE = 1e-6


@dataclass
class Judged:
    """What is known of one step, at every point.

    Attributes
    ----------
    found, expected
        The gradient as returned (brought to the value's shape), and as it follows from the upstream gradients.
    scale
        ``found / expected`` at each point where that is one number; else None.
    error
        The largest relative difference, with the scale taken out.
    """

    name: str
    key: str
    exact: bool
    upstream: tuple[str, ...] = ()
    found: list[Array | None] = field(default_factory=list)
    expected: list[Array | None] = field(default_factory=list)
    truth: list[Array | None] = field(default_factory=list)
    scale: list[float] | None = None
    constant: float = 1.0
    power: int = 0
    error: float | None = None
    plain_error: float | None = None
    shape_note: str = ""
    problem: str = ""  # "nonfinite", "shape", "missing", "wrong" or ""
    variants: list[Any] = field(default_factory=list)
    blamed: str = ""
    epsilon: bool = False
    masked: bool = False  # it is the gradient of what dropout was applied to, under the name of what it has left
    only_scaled: bool = False  # right but for a factor that is none of the usual ones
    unseen: str = ""
    contexts: list[Any] = field(default_factory=list)
    fault: tuple[float, int] = (1.0, 0)  # what its own formula has too much: k · m^p


def backward_order(point: Point) -> list[str]:
    """Return the names of the gradients in the order in which a backward pass reaches them."""
    assert point.loss is not None
    order = topological([point.loss])
    position = {id(n): i for i, n in enumerate(order)}
    first_use: dict[int, int] = {}
    for i, node in enumerate(order):
        for x in node.inputs:
            first_use[id(x)] = i
    inner = [n for n, t in point.nodes.items() if t.inputs and id(t) in position]
    ranks: dict[str, tuple[float, int]] = {}
    for k, name in enumerate(point.gradients):
        named = point.nodes.get(name)
        if named is None or id(named) not in position:
            continue
        rank = float(position[id(named)])
        if not named.inputs and name != "X":  # a parameter: right after the last signal that it is computed from
            above = [position[id(point.nodes[u])] for u in upstream_of(point, name, inner) if u != "loss"]
            rank = min(above, default=first_use[id(named)]) - 0.5
        ranks[name] = (-rank, k)
    return sorted(ranks, key=lambda n: ranks[n])


def gradient(point: Point, name: str, given: Mapping[str, Any]) -> Array | None:
    """Return the gradient of the loss at `name`, the cotangents of the names in `given` being as given."""
    root = point.loss
    assert root is not None
    node = point.nodes[name]
    fixed = {id(point.nodes[n]): g for n, g in given.items() if n != name and point.nodes[n] is not node}
    (g,), _ = reverse([root], [np.ones(root.shape, root.dtype)], [node], given=fixed)
    return None if g is None else np.asarray(g)


def upstream_of(point: Point, name: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return the names in `given` that are nearest to `name` on its paths to the loss, and "loss" if one has none."""
    assert point.loss is not None
    node = point.nodes[name]
    stops: dict[int, str] = {}
    for n in given:
        if n != name and point.nodes[n] is not node:
            stops.setdefault(id(point.nodes[n]), n)
    order, _ = _leading_to({id(node)}, [point.loss])
    reached = {id(node)}
    found: list[str] = []
    for user in order:
        if id(user) not in reached and not any(id(x) in reached for x in user.inputs):
            continue
        if id(user) in stops:
            if stops[id(user)] not in found:
                found.append(stops[id(user)])
            continue
        reached.add(id(user))
    if id(point.loss) in reached:
        found.append("loss")
    return tuple(found)


def conformed(found: Any, shape: tuple[int, ...], reference: Array | None) -> tuple[Array | None, str]:
    """Bring a gradient to its value's shape where that is a convention; else (None, what is wrong)."""
    array = np.asarray(found, np.float64)
    if array.shape == shape:
        return array, ""
    squeezed = tuple(d for d in shape if d != 1)
    if array.size == int(np.prod(shape)) and tuple(d for d in array.shape if d != 1) == squeezed and len(squeezed) <= 1:
        return array.reshape(shape), "reshaped"
    if array.ndim == 2 and array.shape == shape[::-1]:
        return array.T, "transposed"
    return None, "shape"


def fitted_scale(found: Array, expected: Array, upstream: float) -> tuple[float, float, float]:
    """Return the best c in found = c · expected, the relative error that it leaves, and the error for c = 1."""
    size = max(float(np.max(np.abs(expected), initial=0.0)), 1e-7 * upstream, 1e-300)
    square = float(np.sum(expected * expected))
    plain = float(np.max(np.abs(found - expected), initial=0.0)) / size
    if square == 0 or np.sqrt(square) < 1e-7 * upstream:
        return 1.0, plain, plain
    c = float(np.sum(found * expected)) / square
    if c == 0 or abs(c) < 1e-12:
        return 1.0, plain, plain
    left = float(np.max(np.abs(found - c * expected), initial=0.0)) / (abs(c) * size)
    return c, left, plain


def natural(scales: Sequence[float], sizes: Sequence[int | None]) -> tuple[float, int] | None:
    """Return (k, p) with scale = k · m^p at every point, m being the size of its batch; None if there are none."""
    if not scales:
        return 1.0, 0
    known = [m for m in sizes if m is not None]
    if len(set(known)) <= 1 or len(known) < len(scales):
        k = scales[0]
        if not np.allclose(scales, k, rtol=1e-5):
            return None
        m = known[0] if known else None
        for p in (1, -1):
            if m is not None and m > 1 and abs(k / m**p - 1) < 1e-6:
                return 1.0, p
        return float(k), 0
    for p in (0, 1, -1, 2, -2):
        constants = [s / float(m) ** p for s, m in zip(scales, known, strict=True)]
        if np.allclose(constants, constants[0], rtol=1e-5):
            return float(constants[0]), p
    return None


def without_epsilon(point: Point) -> tuple[Tensor, dict[str, Tensor], float] | None:
    """Return the loss and named nodes of the same graph with its small additive constants (ε) set to zero."""
    assert point.loss is not None
    order = topological([point.loss])
    small = {}
    for node in order:
        if node.op is None or node.op.name not in ("add", "subtract", "maximum", "minimum"):
            continue
        for i, x in enumerate(node.inputs):
            v = x.value
            if (
                x.op is None
                and not x.recordings
                and v is not None
                and v.size == 1
                and 0 < abs(float(v.ravel()[0])) <= 1e-3
            ):
                small[(id(node), i)] = float(v.ravel()[0])
    if not small:
        return None
    new: dict[int, Tensor] = {}
    with np.errstate(all="ignore"):
        for node in order:
            if node.op is None:
                new[id(node)] = node
                continue
            inputs = [
                Tensor(np.zeros_like(x.value)) if (id(node), i) in small else new[id(x)]
                for i, x in enumerate(node.inputs)
            ]
            new[id(node)] = apply(node.op, tuple(inputs), dict(node.attrs))
            if not isinstance(new[id(node)], Tensor):
                new[id(node)] = Tensor(np.asarray(new[id(node)]))
    return (
        new[id(point.loss)],
        {n: new[id(t)] for n, t in point.nodes.items() if id(t) in new},
        max(small.values(), key=abs),
    )


def has_kink(point: Point) -> bool:
    """Whether some value of the run lies exactly on a kink: relu at 0, a tie of a maximum."""
    assert point.loss is not None
    for node in topological([point.loss]):
        if node.op is None or not any(x.recordings for x in node.inputs):
            continue
        values = [x.value for x in node.inputs]
        name = node.op.name
        if name in ("relu", "absolute") and bool(np.any(values[0] == 0)):
            return True
        if name in ("maximum", "minimum", "greater", "greater_equal", "less", "less_equal") and bool(
            np.any(np.asarray(values[0]) == np.asarray(values[1]))
        ):
            return True
    return False
