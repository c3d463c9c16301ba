"""Steps of time and gates: what is not carried back, and gradients that are those of another gate."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...adapters.backward_pass import Point
from ...core.apply import apply
from ...core.op import Array
from ...core.reverse import reverse
from ...core.tensor import Tensor
from ..reference import gradient, rebuilt
from ..scales import ratio
from .general import WrongLayer, WrongOperand
from .table import Cause, mistake
from .variants import Context, Variant, of_result, replaced, siblings

#: Numbers of gates that a matrix may hold side by side.
GATES = (4, 3, 2)
MOST_PARAMETERS, MOST_STATES = 16, 6


class Truncated(Cause):
    """The gradient of a state does not get what comes back from the next step of time.

    Wrong
    -----
        X, Y = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 6, 5))
        P = {"W": rng.normal(size=(3, 5)) / 2, "U": rng.normal(size=(5, 5)) / 2}


        def forward(X, P):
            h = [np.zeros((X.shape[1], 5))]
            for t in range(len(X)):
                h.append(np.tanh(X[t] @ P["W"] + h[-1] @ P["U"]))
            return {"X": X, "h": h, "out": np.stack(h[1:])}


        def loss(out, Y):
            return np.sum((out - Y) ** 2) / 2


        def backward(cache, Y, P):
            X, h = cache["X"], cache["h"]
            dW, dU, carried = 0, 0, 0
            for t in reversed(range(len(X))):
                dh = h[t + 1] - Y[t]  # wrong
                dz = dh * (1 - h[t + 1] ** 2)
                dW, dU = dW + X[t].T @ dz, dU + h[t].T @ dz
                carried = dz @ P["U"].T
            return {"dW": dW, "dU": dU}


        report = cr.audit(backward, forward=forward, loss=loss, parameters=P, X=X, Y=Y)

    Right
    -----
        dh = h[t + 1] - Y[t] + carried

    How it shows
    ------------
    The gradients are right for a sequence of one step, and too small or of another direction for longer ones.

    Why it is wrong
    ---------------
    A state is read twice: by the output of its step, and by the next step. `dh[t]` is the sum of both. The same
    holds for the cell of an LSTM: `dc[t]` gets `f[t+1] ⊙ dc[t+1]`.
    """

    code = "truncated"
    shown_in = "dW"
    rank = -1
    spreads = True


class WrongGate(Cause):
    """It is the gradient of another gate.

    Wrong
    -----
        x, s, W = rng.normal(size=(9, 3)), rng.normal(size=(9, 5)), rng.normal(size=(3, 10))


        def forward(x, s, W):
            a = x @ W
            z, c = 1 / (1 + np.exp(-a[:, :5])), np.tanh(a[:, 5:])
            return z * s + (1 - z) * c, (x, s, W, z, c)


        def backward(dout, cache):
            x, s, W, z, c = cache
            dz = dout * (s - c) * z * (1 - z)
            dc = dout * (1 - z) * (1 - c**2)
            dx = np.concatenate([dz, dc], axis=1) @ W.T
            dW = x.T @ np.concatenate([dc, dz], axis=1)  # wrong
            return dx, dout * z, dW


        report = cr.audit_layer(forward, backward, x, s, W)

    Right
    -----
        dW = x.T @ np.concatenate([dz, dc], axis=1)

    How it shows
    ------------
    Two gradients are equal, or two blocks of one are exchanged. All shapes agree, since gates have the same size.

    Why it is wrong
    ---------------
    Each gate has its own derivative, and its own place in the order in which the gates lie side by side. That order
    must be the same in both passes.
    """

    code = "wrong-gate"


# -- gates -------------------------------------------------------------------------------------------------------------


@mistake(WrongGate, "it is the gradient of {other}")
def _gradient_of_another(context: Context) -> Iterator[Variant]:
    own = context.graph.name
    if own not in context.point.values or context.found.size < 2:
        return
    for other in _others(context):
        cause = WrongLayer.code if siblings(own, other) else "" if own[0] == other[0] else WrongOperand.code
        yield replaced(_gradient_of(other), f"d{other}", cause, other=other)


def _others(context: Context) -> list[str]:
    point, own = context.point, context.graph.name
    same = [n for n in point.values if n != own and n in point.nodes and point.nodes[n].shape == context.shape]
    return same[:MOST_PARAMETERS]


def _gradient_of(other: str) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        found: dict[str, Array] = context.once(
            "gradients of others", lambda: _gradients(context.point, _others(context), context)
        )
        return found.get(other)

    return compute


def _gradients(point: Point, names: list[str], context: Context) -> dict[str, Array]:
    fixed = {id(point.nodes[n]): g for n, g in context.graph.given.items() if n not in names}
    start = np.ones(point.root.shape, point.root.dtype)
    found, _ = reverse([point.root], [start], [point.nodes[n] for n in names], given=fixed)
    return {n: np.asarray(g) for n, g in zip(names, found, strict=True) if g is not None}


@mistake(WrongGate, "{count} gates lie side by side in it, in another order than in the forward pass")
def _gates_in_other_order(context: Context) -> Iterator[Variant]:
    result = context.result
    for axis in range(result.ndim) if result.shape == context.found.shape else ():
        for count in GATES:
            if result.shape[axis] % count == 0 and result.shape[axis] > count:
                order = _order(context, axis, count)
                if order is not None:
                    yield of_result(_reordered(axis, count, order), count=count)


def _order(context: Context, axis: int, count: int) -> list[int] | None:
    """Return which block of the right gradient each block is, if that is another one."""
    found, right = (np.split(a, count, axis=axis) for a in (context.found, context.result))
    order = [next((k for k, b in enumerate(right) if ratio(a, b, context.tolerance)), -1) for a in found]
    return order if -1 not in order and order != list(range(count)) else None


def _reordered(axis: int, count: int, order: list[int]) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        blocks = np.split(context.result, count, axis=axis)
        return np.concatenate([blocks[k] for k in order], axis=axis)

    return compute


# -- what is carried back ----------------------------------------------------------------------------------------------


@mistake(Truncated, "what comes back to {state} from the next step is left out")
def _not_carried_back(context: Context) -> Iterator[Variant]:
    given = {id(context.point.nodes[n]) for n in context.graph.given if n in context.point.nodes}
    edges = {  # a state whose own gradient was returned is judged there
        state: pairs for state, pairs in _carried_of(context).items() if not any(node in given for node, _ in pairs)
    }
    for state in [*edges, ", ".join(edges)] if len(edges) > 1 else edges:
        yield replaced(_cut(state), state=state)


def _carried_of(context: Context) -> dict[str, set[tuple[int, int]]]:
    found: dict[str, set[tuple[int, int]]] = context.once("carried", lambda: _carried(context.point))
    return found


def _cut(states: str) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        edges = _carried_of(context)
        cut = set().union(*(edges.get(s, set()) for s in states.split(", ")))
        return _without(context.point, cut, context.graph.name, context.graph.given) if cut else None

    return compute


def _carried(point: Point) -> dict[str, set[tuple[int, int]]]:
    """Return for each state of a recurrence the (state, user) pairs through which a step reads that before it."""
    order = point.order
    users: dict[int, list[Tensor]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
    shared = [t for n, t in point.nodes.items() if n in point.values and len(users.get(id(t), ())) > 1]
    states = _states(point, order) if shared else {}
    step = {id(t): k for members in states.values() for k, t in enumerate(members)}
    found: dict[str, set[tuple[int, int]]] = {}
    taken: set[int] = set()
    for name, members in states.items():
        if any(id(t) in taken for t in members):
            continue
        edges = {
            (id(t), id(u)) for k, t in enumerate(members) for u in users.get(id(t), ()) if _leads_to(u, users, step) > k
        }
        if edges:
            taken |= {id(t) for t in members}
            found[name] = edges
    return dict(list(found.items())[:MOST_STATES])


def _states(point: Point, order: list[Tensor]) -> dict[str, list[Tensor]]:
    """Return the numbered values each of which depends on the one before it, of the most usual length."""
    families: dict[str, dict[int, Tensor]] = {}
    for name, node in point.nodes.items():
        if node.recordings and node.op is not None:
            for digits in re.finditer(r"\d+", name):
                family = f"{name[: digits.start()]}t{name[digits.end() :]}"
                families.setdefault(family, {})[int(digits[0])] = node
    found = {}
    for name, numbered in families.items():
        members = [numbered[k] for k in sorted(numbered)]
        if len(members) > 1 and len({t.shape for t in members}) == 1 and _is_chain(members, order):
            found[name] = members
    longest = max(map(len, found.values()), default=0)
    return {name: members for name, members in found.items() if len(members) == longest}


def _is_chain(members: list[Tensor], order: list[Tensor]) -> bool:
    after = {id(members[0])}
    following = iter(members[1:])
    wanted = next(following)
    for node in order:
        if id(node) not in after and any(id(x) in after for x in node.inputs):
            if node is wanted:
                after = {id(node)}
                wanted = next(following, members[0])
                if wanted is members[0]:
                    return True
            else:
                after.add(id(node))
    return False


def _leads_to(user: Tensor, users: dict[int, list[Tensor]], step: dict[int, int]) -> int:
    """Return the last of the steps whose states a value reaches directly."""
    stack, seen, last = [user], {id(user)}, -1
    while stack:
        node = stack.pop()
        if id(node) in step:
            last = max(last, step[id(node)])
            continue
        for u in users.get(id(node), ()):
            if id(u) not in seen:
                seen.add(id(u))
                stack.append(u)
    return last


def _without(point: Point, cut: set[tuple[int, int]], name: str, given: dict[str, Array]) -> Array | None:
    """Return the gradient with the states as constants where `cut` says so."""
    users = {u for _, u in cut}
    other: dict[int, Any] = {id(node): _apart(node, cut) for node in point.order if id(node) in users}
    new = rebuilt(point, other)
    nodes = {n: new.get(id(t), t) for n, t in point.nodes.items()}
    apart = dataclasses.replace(point, nodes=nodes, loss=new[id(point.root)])
    return gradient(apart, name, given)


def _apart(node: Tensor, cut: set[tuple[int, int]]) -> Callable[[dict[int, Tensor]], Any]:
    def make(new: dict[int, Tensor]) -> Any:
        assert node.op is not None
        pairs = ((x, (id(x), id(node)) in cut) for x in node.inputs)
        inputs = tuple(Tensor(np.asarray(x.value)) if constant else new[id(x)] for x, constant in pairs)
        return apply(node.op, inputs, dict(node.attrs))

    return make
