"""Which value of a training step is the first that is not finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.node import Recording
from ..core.op import Array
from ..core.reverse import reverse, topological
from ..core.tensor import Tensor
from ..core.tree import flatten, paths, unflatten
from .nests import called
from .step import TrainingStep


class NonFiniteError(FloatingPointError):
    """The loss, or a parameter, became NaN or infinite; the message names the first value that did.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> digits = cr.data.load_digits()
    >>> try:
    ...     cr.fit(nn.Linear(64, 1), digits.X, digits.y[:, None] * 1.0, loss="mse", optimizer=optim.SGD(1e30))
    ... except cr.NonFiniteError as error:
    ...     print(str(error)[:52])
    training stopped being finite in epoch 1, step 2 of
    """


def first_bad_state(training: TrainingStep) -> str | None:
    """Return which parameter, buffer or optimiser state is currently not finite; None if all are finite."""
    names = {path: p.name or path for path, p in training.model.named_parameters()}
    named = [(names[k], a) for k, a in training.parameters.items()] + list(training.buffers.items())
    named += [("the optimiser's state", a) for a in training.optimizer_state]
    return next((f"{name}, as updated ({_count(a)})" for name, a in named if _is_bad(a)), None)


def first_bad(training: TrainingStep, x: Any, y: Any) -> str | None:
    """Return which value or gradient of a step on this batch is the first that is not finite; None if all are."""
    training.write_back()
    with Recording("a search for non-finite values") as recording, np.errstate(all="ignore"), training.generator:
        mark = frozenset({recording})
        parameters = {k: Tensor(v, recordings=mark) for k, v in training.parameters.items()}
        leaves, structure = flatten(x)
        inputs = [Tensor(a, name=path) for a, path in zip(leaves, paths(x, "X"), strict=True)]
        output, _ = called(training.model, {**parameters, **training.buffers}, unflatten(structure, inputs))
        _, objective = training.objective(output, y, parameters)
        named = {id(p): p.name or name for name, p in parameters.items()}
        order = topological([objective])
        parts = _parts(order)
        for node in order:
            if _is_bad(node.value):
                return _described(node, named, parts)
        start = np.ones((), objective.dtype)
        _, passed = reverse([objective], [start], list(parameters.values()), keep=True)
        for node in reversed(order):
            if _is_bad(passed.get(id(node))):
                return "the gradient of " + _described(node, named, parts, passed[id(node)])
    return None


def _is_bad(value: Any) -> bool:
    return value is not None and value.dtype.kind == "f" and not np.isfinite(value).all()


def _count(value: Array) -> str:
    bad = int(np.count_nonzero(~np.isfinite(value)))
    kind = "nan" if np.isnan(value).any() else "inf"
    return f"shape {value.shape}: {kind} in {bad:,} of {value.size:,} element{'s' * (value.size != 1)}"


def _parts(order: Sequence[Tensor]) -> dict[int, str]:
    """Return, for values without a name, the name of the value that they are computed for."""
    users: dict[int, set[int]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), set()).add(id(node))
    parts: dict[int, str] = {}
    for node in reversed(order):
        if node.name is not None:
            parts[id(node)] = node.name
        elif len(using := users.get(id(node), set())) == 1 and (one := next(iter(using))) in parts:
            parts[id(node)] = parts[one]
    return parts


def _described(node: Tensor, named: Mapping[int, str], parts: Mapping[int, str], value: Any = None) -> str:
    value = node.value if value is None else value
    name = node.name or named.get(id(node))
    if name is None:
        within = f" in {parts[id(node)]}" if id(node) in parts else ""
        name = (f"the result of {node.op.name}" if node.op else "a constant") + within
    text = f"{name} ({_count(value)})"
    sources = []
    for x in node.inputs:
        if x.value is not None and x.value.dtype.kind == "f" and x.value.size:
            label = x.name or named.get(id(x)) or (x.op.name if x.op else "a constant")
            sources.append(f"{label} up to {np.max(np.abs(x.value)):.3g} in size")
    if node.op is not None and sources:
        text += f", computed by {node.op.name} from {' and '.join(sources)}"
    return text
