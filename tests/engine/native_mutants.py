"""Programs for the executor with something wrong in them."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.apply import apply
from chainrule.engine import _native
from chainrule.engine.native import described
from chainrule.ops import row
from chainrule.ops.index import Slot
from chainrule.plan import Plan
from tests.engine.native_cases import Training
from tests.plan.graphs import arrays, planned

EXTREMES = [
    -(2**63),
    -(2**31),
    -65,
    -64,
    -8,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    31,
    64,
    65,
    100,
    2**20,
    2**31 - 1,
    2**40,
    2**62,
    2**63 - 1,
]
NAMES = (
    "add tanh where cast identity sum max prod all argmax matmul concatenate place one_hot gather uniform copy "
    "cumsum argsort searchsorted scatter_add power any min argmin maximum logical_or nothing"
).split()


def plans() -> list[Plan]:
    """Return small plans in which every kind of step occurs."""

    def everything(x: Any, s: Any) -> Any:
        a, b, ids = x
        h = np.tanh(a @ b + s[0]) * 0.5
        c = np.concatenate([h, h[::-1]], axis=0)
        e = cr.one_hot(ids, 4)
        out = [
            np.sum(c, axis=0),
            np.max(h, axis=1),
            np.argmax(h, axis=1),
            c[ids],
            e @ b.T,
            np.where(h > 0, h, 1.0),
            h.T,
        ]
        out += [np.prod(h, axis=0), np.all(h > 0), h.astype(np.int64), np.sum(c.T, axis=1), np.cumsum(h, axis=0)]
        return out, {0: s[0] - 0.1 * np.sum(h, axis=0), 1: s[2].T, 2: s[1].T}

    def picking(x: Any, s: Any) -> Any:
        a, ids, small, flags = x
        b = a[:, ::-1]
        picked = [a[ids], a[:, small], b[ids, ..., small], a[ids[:, None], 1:, small], a[2, :, ids[:3]], a[abs(ids), 1]]
        weights = [np.cos(p) for p in picked]
        rows, corners = (Slot(0),), (Slot(0), slice(None), Slot(1))
        back = [
            apply(row("scatter_add"), (weights[0], ids), {"index": rows, "shape": (5, 6, 4)}),
            apply(row("scatter_add"), (weights[2].T, small, ids), {"index": corners, "shape": (4, 6, 5)}),
        ]
        out = [np.argsort(a, axis=1), np.cumsum(a, axis=0), np.cumsum(small, axis=0), np.sum(a, axis=1)]
        out += [np.searchsorted(a[0, 0], b[:, 0]), np.power(ids, 2), np.power(small, small), np.any(flags, axis=0)]
        out += [small * small - small, np.min(small, axis=0), flags | (ids > 0), np.argmin(a, axis=1)]
        out += [cr.one_hot(small, 4, np.int16)]
        return [*picked, *back, *out], {}

    ids = np.array([0, 3, 1, -1, 2])
    ints = [ids, np.array([1, 0, 3, 2, 1], np.uint8), np.array([True, False, True, True, False])]
    large = [*arrays([(5, 6), (6, 4)], float), ids]
    states = arrays([(4,), (3, 2), (2, 3)], float)

    return [
        planned(everything, large, states),
        planned(picking, [*arrays([(5, 6, 4)], float), *ints]),
        Training((6, 9, 3), nn.ReLU, optim.Adam(0.01), dropout=0.3).plan(),
        Training((3, 4, 1), nn.Sigmoid, optim.SGD(0.1), "binary_cross_entropy").plan(),
    ]


def numbers(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    """Return the paths to all that can be changed: numbers, names, lists."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from numbers(value, (*path, key))
        yield path
    elif isinstance(tree, list | tuple):
        for i, x in enumerate(tree):
            yield from numbers(x, (*path, i))
        if isinstance(tree, list):
            yield path
    else:
        yield path


def get(tree: Any, path: Any) -> Any:
    for p in path:
        tree = tree[p]
    return tree


def changed(tree: Any, path: Any, value: Any) -> Any:
    if not path:
        return value
    if isinstance(tree, dict):
        return {k: changed(x, path[1:], value) if k == path[0] else x for k, x in tree.items()}
    items = [changed(x, path[1:], value) if i == path[0] else x for i, x in enumerate(tree)]
    return tuple(items) if isinstance(tree, tuple) else items


def mutate(data: st.DataObject, rows: Any) -> Any:
    """Return the rows with one thing changed."""
    path = data.draw(st.sampled_from(list(numbers(rows))))
    old = get(rows, path)
    if isinstance(old, bool):
        new: Any = not old
    elif isinstance(old, int):
        near = st.sampled_from([old - 8, old - 4, old - 1, old + 1, old + 4, old + 8, old + 64, 2 * old, -old])
        new = data.draw(st.one_of(near, st.sampled_from(EXTREMES), st.integers(-5, 40)))
    elif isinstance(old, str):
        new = data.draw(st.sampled_from(NAMES))
    elif isinstance(old, dict):
        new = dict(list(old.items())[: data.draw(st.integers(0, max(len(old) - 1, 0)))])
    else:
        kind = data.draw(st.sampled_from(["shorter", "twice", "empty", "backwards", "longer"]))
        at = data.draw(st.integers(0, max(len(old) - 1, 0)))
        new = {
            "shorter": old[:at] + old[at + 1 :],
            "twice": old[:at] + old[at : at + 1] + old[at:],
            "empty": [],
            "backwards": old[::-1],
            "longer": [*old, *data.draw(st.lists(st.sampled_from([0, 1, 4, 2**40]), max_size=1))],
        }[kind]
    return changed(rows, path, new)


def attempt(plan: Plan, rows: Any, threads: int) -> bool:
    """Run the rows with memory as the plan needs it, no more; return whether they were accepted."""
    memory: list[Any] = [np.full(plan.values[n].shape, 0.5, plan.values[n].dtype) for n in plan.states]
    constants = {
        v.number: np.array(v.array, order="C") if any(v.strides) or not v.array.size else v.array
        for v in plan.values
        if v.array is not None
    }
    try:
        missing = _native.without_kernel(*rows)
        spans = {n: (_address(a), _extent(a)) for n, a in constants.items()}
        program = _native.Program(
            *rows, spans, [(_address(a), _extent(a)) for a in memory], missing, lambda group: None, threads, []
        )
    except (ValueError, TypeError, MemoryError):
        return False
    try:
        for _ in range(2):
            program.run()
    except (IndexError, ValueError):
        pass
    return True


def _address(a: Any) -> int:
    return int(a.__array_interface__["data"][0])


def _extent(a: Any) -> int:
    return 0 if not a.size else sum((d - 1) * s for d, s in zip(a.shape, a.strides, strict=True)) + a.itemsize


__all__ = ["attempt", "described", "mutate", "plans"]
