"""Recording the forward and backward pass of a network or a function, with every value under its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..adapters.signatures import required
from ..core.apply import apply
from ..core.arrays import checked_array
from ..core.node import Recording
from ..core.op import Array
from ..core.reverse import reverse, topological
from ..core.tensor import Tensor, tensor, traced_leaf
from ..formula.expression import LONGEST, Expression
from ..formula.reading import Reader, as_symbols, evaluated, simplified
from ..formula.rows import IDENTITY
from ..nn import losses
from ..nn.functional import functional_call
from ..nn.module import Module
from ..nn.sequential import logits_part
from ..ops.activations import binary_cross_entropy_with_logits
from ..ops.logits import CROSS_ENTROPY, SOFTMAX
from ..ops.table import row_of
from .graph import unnamed_landmarks, users_of
from .naming import argument_names, name_buffers, name_landmarks, name_once, name_one_hot, named_again, read_only

LOSS = "loss"
#: Losses that take logits, and the activation that they contain.
LOGITS = {CROSS_ENTROPY: "softmax", row_of(binary_cross_entropy_with_logits): "sigmoid"}


@dataclass
class Formulas:
    """What was read from one recording: an expression for every name, and the names' values.

    Attributes
    ----------
    forward, backward : dict
        Name -> expression in terms of names before it, in the order of computation.
    values : dict
        Name -> array: inputs, parameters, all values, all gradients.
    inputs, parameters, constants : list of str
        What the forward pass is given.
    output : str
        The name of the network's output; `loss`, if there is one, is called "loss".
    alias : dict
        Another name of a value: ``{"A2": "Z2"}`` for a last layer without an activation.
    m : int or None
        Number of examples.
    """

    forward: dict[str, Expression]
    backward: dict[str, Expression]
    values: dict[str, Array]
    inputs: list[str]
    parameters: list[str]
    constants: list[str]
    output: str
    gradients: list[str]
    users: dict[str, list[str]] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    has_loss: bool = False
    activation: str | None = None
    m: int | None = None


def _double(x: Any) -> Array:
    array = np.asarray(x)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


class _Leaves:
    """The symbols of a recording, and the values that they stand for."""

    def __init__(self, recording: Recording, traced: bool) -> None:
        self.followed = frozenset({recording})
        self.traced = traced
        self.all: list[Tensor] = []
        self.values: dict[int, Array] = {}

    def make(self, value: Any, name: str | None) -> Tensor:
        array = _double(value)
        leaf = (
            traced_leaf(array.shape, array.dtype, self.followed, name=name)
            if self.traced
            else Tensor(array, name=name, recordings=self.followed)
        )
        self.all.append(leaf)
        self.values[id(leaf)] = array
        return leaf

    def found(self) -> tuple[list[Tensor], list[Array]]:
        """Return the symbols and their values."""
        return self.all, [self.values[id(t)] for t in self.all]


def record_network(model: Module, X: Any, Y: Any, loss: Any) -> Formulas:
    """Record a network on X in float64 and its backward pass, from the loss or a random gradient of the output."""
    model = logits_part(model, loss) if loss is not None else model
    given = checked_array(X.value if isinstance(X, Tensor) else X, "X")
    given = given if given.dtype.kind in "iu" and model.takes_ids else given.astype(np.float64)
    if given.ndim == 0 or given.shape[0] == 0:
        raise ValueError(f"X has shape {given.shape}, expected one or more examples in rows")
    _checked(model, given, Y, loss)
    try:
        return _network(model, given, Y, loss, traced=True)
    except TypeError:  # what depends on values cannot be traced
        return _network(model, given, Y, loss, traced=False)


def _checked(model: Module, X: Array, Y: Any, loss: Any) -> None:
    """Run the forward pass once on numbers, which checks shapes and labels."""
    taken = len(required(model.forward))
    if taken > 1:
        raise TypeError(
            f"explain: {type(model).__name__}.forward takes {taken} inputs, and a network's derivation is for one. "
            'As a function of its parameters: explain(lambda W: nn.functional_call(model, {"…": W}, X, Z)[0], W)'
        )
    if not any(True for _ in model.parameters()):
        raise ValueError(
            f"explain: the {type(model).__name__} has no parameters, so there is no gradient to derive; as a function "
            "of its input: explain(lambda X: model(X), X)"
        )
    output, _ = functional_call(model, {}, X)
    if not isinstance(output, Tensor):
        raise TypeError(f"explain: the model returned a {type(output).__name__}, expected one tensor")
    if loss is not None and np.shape(losses.get(loss)(output.detach(), Y)) != ():
        raise ValueError("explain: the loss is not a scalar")


def _network(model: Module, X: Array, Y: Any, loss: Any, *, traced: bool) -> Formulas:
    with Recording("explain") as recording:
        leaves = _Leaves(recording, traced)
        x = leaves.make(X, "X")
        parameters = {path: leaves.make(p.value, None) for path, p in model.named_parameters()}
        labels = model.parameter_names()
        buffers = {path: leaves.make(value, path) for path, value in model.named_buffers()}
        output, _ = functional_call(model, {**parameters, **buffers}, x)
        for path, p in parameters.items():
            p.name = p.name or labels[path]
        if output.name is None and output.op is not None:
            output.name = "output"
        name_buffers(buffers, output)
        end, activation, ending = output, None, ""
        if loss is not None:
            y = leaves.make(Y, "Y")
            total = losses.get(loss)(output, y)
            if not isinstance(total, Tensor) or total.op is None:
                raise ValueError("explain: the loss does not depend on the model's output")
            end = total.named(LOSS)
            name_one_hot(total, y)
            ending = _ending(total, output, loss)
            activation = _activated(output, ending)
        wanted = list(parameters.values())
        formulas = _formulas(_Recorded(*leaves.found(), end, output, activation, wanted, True), traced)
    formulas.has_loss = loss is not None
    formulas.m = x.shape[0] if x.shape else None
    out = formulas.output
    if loss is not None and activation is None and ending == "identity" and out[0] == "Z":
        formulas.alias["A" + out[1:]] = out
    formulas.activation = activation.name if activation is not None else None
    formulas.inputs = [n for n in ("X", "Y", "y") if any(t.name == n for t in leaves.all)]
    formulas.parameters = [str(t.name) for t in parameters.values()]
    return formulas


def _ending(total: Tensor, output: Tensor, loss: Any) -> str:
    """Return the activation that makes predictions of a network's output; for a function, by what it computes."""
    if isinstance(loss, str):
        return losses.output_activation(loss)
    for node in topological([total]):
        if node.op is not None and node.op in LOGITS and node.inputs[0] is output:
            return LOGITS[node.op]
    return losses.output_activation(loss)


def _activated(output: Tensor, activation: str) -> Tensor | None:
    match = re.fullmatch(r"Z(\d+)", output.name or "")
    if activation == "identity":
        return None
    name = f"A{match[1]}" if match else "P"
    made: Tensor = (
        apply(SOFTMAX, (output,), {"axis": (output.ndim - 1,)})
        if activation == "softmax"
        else losses.activation_called(activation)(output)
    )
    made.name = name
    return made


def record_function(function: Callable[..., Any], inputs: Sequence[Any]) -> Formulas:
    """Record a function on example inputs, and its backward pass; every operation's result gets a name."""
    given = [_argument(label, x) for label, x in zip(argument_names(function, len(inputs)), inputs, strict=True)]
    with np.errstate(all="ignore"):
        function(*given)
    try:
        return _function(function, inputs, traced=True)
    except TypeError:  # what depends on values cannot be traced
        return _function(function, inputs, traced=False)


def _argument(label: str, value: Any) -> Tensor:
    try:
        return tensor(value)
    except TypeError as error:
        text = str(error).replace("value", label, 1)
        if isinstance(value, dict | tuple | list):
            text += "; give each array as an argument: explain(lambda a, b: f([a, b]), a, b)"
        raise TypeError(f"explain: {text}") from error


def _function(function: Callable[..., Any], inputs: Sequence[Any], *, traced: bool) -> Formulas:
    names = argument_names(function, len(inputs))
    with Recording("explain") as recording:
        leaves = _Leaves(recording, traced)
        for label, value in zip(names, inputs, strict=True):
            leaves.make(value, label)
        given = list(leaves.all)
        output = function(*given)
        if not isinstance(output, Tensor) or output.op is None:
            raise ValueError(f"explain: {_returned(output)}")
        taken, number = set(names), 0
        for node in topological([output]):
            named = node.op is None or node.name is not None or node.op.passes or not node.op.differentiable
            if named or node is output:
                continue
            number += 1
            while f"v{number}" in taken:
                number += 1
            node.name = f"v{number}"
        if output.name is None:
            output = output.named("y" if "y" not in taken else f"v{number + 1}")
        wanted = [t for t in given if t.dtype.kind == "f"]
        if not wanted:
            kinds = ", ".join(f"{t.name} is {t.dtype}" for t in given)
            raise ValueError(f"explain: derivatives are with respect to floating-point numbers, and {kinds}: 2.0, say")
        formulas = _formulas(_Recorded(*leaves.found(), output, output, None, wanted, False), traced)
    formulas.inputs = [str(t.name) for t in given]
    formulas.parameters = []
    return formulas


def _returned(output: Any) -> str:
    if isinstance(output, tuple | list | dict):
        one = "[0]" if not isinstance(output, dict) else f"[{next(iter(output), None)!r}]"
        return f"the function returned a {type(output).__name__}, expected one array: explain(lambda x: f(x){one}, x)"
    return "the function's result does not depend on its arguments by any operation; there is nothing to differentiate"


@dataclass
class _Recorded:
    """A recorded graph, and what its formulas are about.

    Attributes
    ----------
    symbols, values
        The leaves, and the values that they stand for.
    end
        What is differentiated: the loss, or the output.
    wanted
        The leaves whose gradients are asked for.
    seed
        The gradient that the backward pass begins with.
    """

    symbols: list[Tensor]
    values: list[Array]
    end: Tensor
    output: Tensor
    activation: Tensor | None
    wanted: list[Tensor]
    network: bool
    seed: Tensor = field(default_factory=lambda: Tensor(np.ones(())))

    @property
    def ends(self) -> list[Tensor]:
        return [self.end, *([self.activation] if self.activation is not None else [])]


def _formulas(recorded: _Recorded, traced: bool) -> Formulas:
    """Differentiate, evaluate both passes, and read the formulas."""
    _detach(recorded, traced)
    if recorded.end.name != LOSS:
        _add_seed(recorded)
    name_once(recorded.ends, recorded.symbols, recorded.wanted if recorded.network else [])
    passed = _gradients(recorded)
    forward = _forward_order(recorded)
    back = _backward_order(recorded.end, recorded.wanted, passed)
    named = {str(n.name): n for n in forward} | {f"d{n.name}": _as_tensor(passed[id(n)]) for n in back}
    for symbol, value in zip(recorded.symbols, recorded.values, strict=True):
        symbol.value = value
    evaluated(list(named.values()))
    return _read(recorded, forward, named)


def _read(recorded: _Recorded, forward: list[Tensor], named: dict[str, Tensor]) -> Formulas:
    """Simplify the named values of both passes, and read each as an expression in terms of names before it."""
    leaves = {str(t.name): t for t in recorded.symbols}
    made = simplified(leaves, [*leaves.values(), *named.values()])
    known, simple = made[: len(leaves)], dict(zip(named, made[len(leaves) :], strict=True))
    if not recorded.network:
        again = named_again([n for n in forward if n is not recorded.end], list(simple.values()), known)
        simple = {k: n for k, n in simple.items() if k not in again and k[1:] not in again}
    reader = Reader([*zip(leaves, known, strict=True), *simple.items()])
    expressions = {label: reader.read(node, label) for label, node in simple.items()}
    ahead = [str(n.name) for n in forward if n.name in simple]
    arrays = {label: np.asarray(t.value) for label, t in leaves.items()} | reader.constants
    arrays |= {label: np.asarray(named[label].value) for label in simple}
    read = {name for e in expressions.values() for name in e.names()}
    free = [k for k, t in leaves.items() if k in read and all(t is not w for w in (recorded.seed, *recorded.wanted))]
    output = str(recorded.output.name)
    return Formulas(
        forward={label: expressions[label] for label in ahead},
        backward={label: e for label, e in expressions.items() if label not in ahead},
        values=arrays,
        inputs=[],
        parameters=[],
        constants=[n for n in [*free, *reader.constants] if not recorded.network or n not in ("X", "Y", "y")],
        output=output,
        gradients=list(dict.fromkeys([f"d{output}", *(label for label in expressions if label not in ahead)])),
    )


def _detach(recorded: _Recorded, traced: bool) -> None:
    """Replace leaves that have values, those that are only read among them, by symbols."""
    symbols = recorded.symbols
    ends = [recorded.end, recorded.output, *recorded.ends[1:]]
    outside = read_only(ends, symbols)
    if traced and not outside:
        return
    places = [next(i for i, t in enumerate(symbols) if t is w) for w in recorded.wanted]
    names = [*[None] * len(symbols), *outside]
    recorded.symbols, made = as_symbols([*symbols, *outside.values()], ends, names)
    recorded.values = [*recorded.values, *(_double(leaf.value) for leaf in outside.values())]
    recorded.end, recorded.output, recorded.activation = made[0], made[1], made[2] if len(made) > 2 else None
    recorded.wanted = [recorded.symbols[i] for i in places]


def _add_seed(recorded: _Recorded) -> None:
    """Begin with a gradient of the output that is an input: drawn for a network, ones for a function."""
    output = recorded.output
    given = np.random.default_rng(0).normal(size=output.shape) if recorded.network else np.ones(output.shape)
    recorded.seed = traced_leaf(output.shape, given.dtype, frozenset(), name=f"d{output.name}")
    recorded.symbols = [*recorded.symbols, recorded.seed]
    recorded.values = [*recorded.values, given]


def _gradients(recorded: _Recorded) -> dict[int, Any]:
    """Return the gradients of all values that the backward pass reaches, after naming those that need a name."""
    end, seed, wanted = [recorded.end], [recorded.seed], recorded.wanted
    _, first = reverse(end, seed, wanted, keep=True)
    found = [g for g in first.values() if isinstance(g, Tensor)]
    name_landmarks(unnamed_landmarks(end, found, LONGEST, recorded.output), recorded.end)
    gradients, passed = reverse(end, seed, wanted, keep=True)
    lost = [str(t.name) for t, g in zip(wanted, gradients, strict=True) if g is None]
    if lost:
        raise ValueError(f"explain: the result does not depend on {', '.join(lost)}, so there is no gradient to derive")
    return passed | {id(t): g for t, g in zip(wanted, gradients, strict=True)}


def _forward_order(recorded: _Recorded) -> list[Tensor]:
    """Return the named values in the order of computation, an added activation right after the output."""
    order, activation = topological(recorded.ends), recorded.activation
    forward = [n for n in order if n.op is not None and n.name and n.op is not IDENTITY and n is not activation]
    if activation is not None:
        at = next((i + 1 for i, n in enumerate(forward) if n is recorded.output), len(forward))
        forward.insert(at, activation)
    return forward


def _as_tensor(g: Any) -> Tensor:
    return g if isinstance(g, Tensor) else Tensor(np.asarray(g))


def _backward_order(end: Tensor, wanted: list[Tensor], passed: dict[int, Any]) -> list[Tensor]:
    """Return the named values that get a gradient, in backward order; parameters as early as possible."""
    order = topological([end])
    reached = [n for n in order if id(n) in passed and n.name and (n.op is None or n.op is not IDENTITY)]
    position = {id(n): i for i, n in enumerate(order)}
    earliest: dict[int, int] = {}
    leaves = {id(t) for t in wanted}
    boundary = {id(n) for n in reached}
    users = users_of(order)
    for t in wanted:  # the first named value that the parameter leads to, over all ways
        stack, first = [t], len(order)
        seen: set[int] = set()
        while stack:
            for u in users.get(id(stack.pop()), []):
                if id(u) in seen:
                    continue
                seen.add(id(u))
                if id(u) in boundary:
                    first = min(first, position[id(u)])
                else:
                    stack.append(u)
        earliest[id(t)] = first
    result = []
    for node in reversed([n for n in reached if id(n) not in leaves]):
        if node is not end:
            result.append(node)
        result += [t for t in wanted if earliest[id(t)] == position[id(node)]]
    return result + [t for t in wanted if not any(t is r for r in result)]
