"""`backprop`: one forward and backward pass through a network, with every value and gradient by its name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from .core.arrays import FLOATS
from .core.node import FROZEN, Recording
from .core.op import Array
from .core.reverse import reverse, topological
from .core.tensor import Tensor
from .frames import as_inputs, as_targets, target_array
from .nn import losses
from .nn.functional import functional_call
from .nn.module import Module, require_module
from .nn.naming import repeats
from .nn.sequential import Sequential, logits_part
from .ops.logic import IDENTITY

_NUMBERED = re.compile(r"[A-Za-z]+(\d+)(\[.*)?")


class Backprop:
    """The values and gradients of one pass, by name: ``b["Z1"]``, ``b["W1"]``, ``b["dZ1"]``, ``b["dW1"]``.

    Made by `chainrule.backprop`. Reads like a dict (``in``, ``len``, iteration over names, ``keys``, ``items``,
    ``get``); printed, it is a table. A gradient is called "d" + the name of its value and has its shape.

    Attributes
    ----------
    loss : float
    values : dict
        Name -> array, in the order of the forward pass.
    gradients : dict
        Name -> array, in the order of the backward pass.
    output : str
        Name of the network's output among the values.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 1, weight_init="ones", dtype=np.float64))
    >>> print(cr.backprop(model, np.array([[1.0, 2.0]]), np.array([[1.0]]), loss="mse"))
    loss 4
    <BLANKLINE>
    name  shape   norm  min … max  zeros
    A0    1×2    2.236    1 … 2       0%
    W1    2×1    1.414    1 … 1       0%
    b1    1          0    0 … 0     100%
    Z1    1×1        3    3 … 3       0%
    A1    1×1        3    3 … 3       0%
    <BLANKLINE>
    dA1   1×1        4    4 … 4       0%
    dZ1   1×1        4    4 … 4       0%
    dW1   2×1    8.944    4 … 8       0%
    db1   1          4    4 … 4       0%
    dA0   1×2    5.657    4 … 4       0%
    """

    loss: float
    values: dict[str, Array]
    gradients: dict[str, Array]
    output: str

    def __init__(self, loss: float, values: dict[str, Array], gradients: dict[str, Array], output: str) -> None:
        for name, g in gradients.items():
            if g.shape != values[name[1:]].shape:
                raise AssertionError(f"{name} has shape {g.shape}, {name[1:]} has {values[name[1:]].shape}")
        self.loss, self.values, self.gradients, self.output = loss, values, gradients, output

    def __getitem__(self, name: str) -> Array:
        if name in self.values:
            return self.values[name]
        if name in self.gradients:
            return self.gradients[name]
        raise KeyError(f"no value {name!r} in this pass; expected one of {', '.join(self)}")

    def __contains__(self, name: object) -> bool:
        return name in self.values or name in self.gradients

    def __iter__(self) -> Iterator[str]:
        yield from self.values
        yield from self.gradients

    def __len__(self) -> int:
        return len(self.values) + len(self.gradients)

    def keys(self) -> list[str]:
        """Return all names, values first."""
        return list(self)

    def items(self) -> list[tuple[str, Array]]:
        """Return (name, array) for all, values first."""
        return [(name, self[name]) for name in self]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the array called `name`, or `default`."""
        return self[name] if name in self else default

    def to_dict(self) -> dict[str, Array]:
        """Return all arrays by name, in a new dict."""
        return dict(self.items())

    def table(self) -> list[dict[str, Any]]:
        """Return what is printed, one dict per name: name, shape, norm, min, max, zeros (share of exact zeros)."""
        return [{"name": name, "shape": array.shape, **_figures(array)} for name, array in self.items()]

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("name", "shape", "norm", "min", "max", "zeros")]
        for row in self.table():
            name, shape = str(row["name"]), "×".join(map(str, row["shape"])) or "()"
            numbers = [f"{row[k]:.4g}" for k in ("norm", "min", "max")]
            rows.append((_cut(name, 24), _cut(shape, 16), *numbers, f"{row['zeros']:.0%}"))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines = [
            f"{r[0]:<{widths[0]}}  {r[1]:<{widths[1]}}  {r[2]:>{widths[2]}}  "
            f"{r[3]:>{widths[3]}} … {r[4]:<{widths[4]}}  {r[5]:>5}"
            for r in rows
        ]
        at = 1 + len(self.values)
        return "\n".join([f"loss {self.loss:.6g}", "", *lines[:at], "", *lines[at:]])

    def __repr__(self) -> str:
        held = f"{len(self.values)} values, {len(self.gradients)} gradients"
        return f"<Backprop: loss {self.loss:.6g}, {held}; print it for a table>"


def backprop(model: Module, X: Any, Y: Any, loss: Any = "cross_entropy") -> Backprop:
    """Run `model` forward on X and backward from the loss, and return every value and gradient, by name.

    Parameters
    ----------
    model : Module
        A `Sequential` names its values A0, W1, b1, Z1, A1, …. Values without a name are left out, parameters
        without one are listed by their dotted path; frozen ones have no gradient. The model is unchanged: mode,
        buffers and ``.grad`` stay.
    X, Y
        Inputs and targets, examples in rows: arrays or data frames.
    loss
        A name of ``nn.losses``, or a function (output, target) -> scalar.

    Returns
    -------
    Backprop
        The last layer's A is the prediction that belongs to the loss: softmax(Z) for cross_entropy, sigmoid(Z) for
        binary_cross_entropy, e^Z for poisson, else Z itself. (For the first three there is no dA: the loss is
        computed from Z.)

    Raises
    ------
    ValueError
        When a parameter does not reach the loss, or the loss is not a scalar; and any error of model and loss.

    Notes
    -----
    The gradients are those of ``reverse``, the library's one reverse pass, over the recorded graph.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 2, weight_init="ones", dtype=np.float64))
    >>> b = cr.backprop(model, np.array([[1.0, 2.0]]), np.array([0]), loss="cross_entropy")
    >>> b["dZ1"]
    array([[-0.5,  0.5]])
    >>> b["dW1"]
    array([[-0.5,  0.5],
           [-1. ,  1. ]])
    """
    require_module(model)
    X, _ = as_inputs(X, "X", model.feature_names)
    if not isinstance(Y, Tensor):
        Y = target_array(Y, "Y") if isinstance(loss, str) else as_targets(Y, "Y")
    model = logits_part(model, loss)
    with Recording("backprop") as recording:
        given = model._as_input(X, 0)
        x = Tensor(given.concrete("backprop"), name="A0" if isinstance(model, Sequential) else "X")
        followed = frozenset({recording})
        if x.dtype in FLOATS:
            x.recordings = followed
        parameters, trained = {}, []
        for path, parameter in model.named_parameters():
            recordings = followed if parameter.requires_grad else frozenset({FROZEN})
            parameters[path] = Tensor(np.array(parameter.value), recordings=recordings)
            trained += [path] * parameter.requires_grad
        output, _ = functional_call(model, parameters, x)
        if not isinstance(output, Tensor):
            raise TypeError(f"backprop: expected one tensor from the model, got a {type(output).__name__}")
        losses.check_custom(loss, output.shape, Y)
        total = losses.get(loss)(output, Y)
        if not isinstance(total, Tensor) or total.shape != ():
            raise ValueError("backprop: the loss does not depend on the model's output, or is not a scalar")
    wanted = [*(parameters[path] for path in trained), *([x] if x.recordings else [])]
    seed = np.ones((), total.dtype)
    gradients, passed = reverse([total], [seed], wanted, keep=True)
    lost = [path for path, g in zip(trained, gradients, strict=False) if g is None]
    if lost:
        raise ValueError(f"backprop: {', '.join(lost)} did not reach the loss and have no gradient")
    passed.update((id(t), g) for t, g in zip(wanted, gradients, strict=True) if g is not None)
    return _collected(x, parameters, output, total, passed, loss)


def _collected(
    x: Tensor, parameters: dict[str, Tensor], output: Tensor, total: Tensor, passed: dict[int, Any], loss: Any
) -> Backprop:
    named = _names(x, parameters, output, total)
    leaves = {id(t) for t in parameters.values()}
    rows = [(name, node.value, passed.get(id(node)), id(node) in leaves) for name, node in named.items()]
    entries = {name: (value, g, leaf) for name, value, g, leaf in rows}
    for name, (value, g, _) in list(entries.items()):
        letter, number = name[0], name[1:]
        alias = f"A{number}"
        if letter not in "ZN" or not number.isdigit() or alias in entries:
            continue
        if named[name] is output and losses.activation_of(loss) is not None:
            entries[alias] = (losses.activate(loss, value), None, False)
        elif letter == "N" or f"N{number}" not in entries:
            entries[alias] = (value, g, False)
    last = next((n for n, node in named.items() if node is output), "output")
    closing = f"A{last[1:]}"
    order = _ordered(entries, named, parameters)
    values = {name: np.asarray(entries[name][0]) for name in order}
    back: list[str] = []
    for _, names in groupby(order[::-1], lambda n: (_number(n), _part(n))):
        group = list(names)
        back += [n for n in group if not entries[n][2]] + [n for n in group[::-1] if entries[n][2]]
    gradients = {"d" + n: np.asarray(entries[n][1]) for n in back if entries[n][1] is not None}
    assert total.value is not None
    return Backprop(float(total.value), values, gradients, closing if closing in values else last)


def _ordered(entries: dict[str, Any], named: dict[str, Tensor], parameters: dict[str, Tensor]) -> list[str]:
    """Return the names layer by layer, and in each part or step of a layer the parameters, then the values."""
    registered = {id(t): i for i, t in enumerate(parameters.values())}
    place = {name: float(i) for i, name in enumerate(named)}
    for name in entries:
        if name not in place:  # another name of Z
            place[name] = place[next(n for n in (f"N{name[1:]}", f"Z{name[1:]}") if n in place)] + 0.5
    begins: dict[tuple[float, str, bool], float] = {}
    for name, (_, _, leaf) in entries.items():
        key = (_number(name), _part(name), leaf)
        begins[key] = min(place[name], begins.get(key, place[name]))

    def position(name: str) -> tuple[float, float, bool, int, float]:
        number, part, leaf = _number(name), _part(name), entries[name][2]
        begin = begins.get((number, part, False), begins.get((number, part, True), 0.0))
        begin = -1.0 if leaf and math.isinf(number) else begin  # parameters without a layer's number come first
        return number, begin, not leaf, _rank(name), registered[id(named[name])] if leaf else place[name]

    return sorted(entries, key=position)


def _names(x: Tensor, parameters: dict[str, Tensor], output: Tensor, total: Tensor) -> dict[str, Tensor]:
    """Return {name: node}: parameters under their name in the network or their path, then what else has a name."""
    order = topological([total])
    paths = {id(t): path for path, t in parameters.items()}
    inside = {id(n.inputs[0]): n.name for n in order if n.op is IDENTITY and n.name}
    named: list[tuple[Tensor, str]] = []
    for node in order:
        name = node.name
        if id(node) in paths:
            name = inside.get(id(node)) or node.name or paths[id(node)]
        elif node.op is IDENTITY and id(node.inputs[0]) in paths:
            continue  # the same parameter is listed under its name
        elif name is None and node is output:
            name = "output"
        if name is not None:
            named.append((node, name))
    times = repeats(named, order, set(paths))
    return {f"{name}({k + 1})" if k else name: node for (node, name), k in zip(named, times, strict=True)}


def _number(name: str) -> float:
    match = _NUMBERED.fullmatch(name)
    return int(match[1]) if match else (-1 if name == "X" else float("inf"))


def _part(name: str) -> str:
    """Return the part of a layer, or the step of a loop, that a name belongs to: "[norm1]", "[3]"."""
    return "".join(name.partition("[")[1:])


def _rank(name: str) -> int:
    """Return the place of a letter among those of its kind that have a customary order; others follow the graph."""
    letters: Sequence[str] = ("W", "U", "gamma", "b", "d", "beta", "Q", "K", "V", "S")
    letter = name.partition("[")[0].rstrip("0123456789")
    return letters.index(letter) if letter in letters else len(letters)


def _figures(array: Array) -> dict[str, float]:
    if not array.size:
        return {"norm": 0.0, "min": float("nan"), "max": float("nan"), "zeros": 0.0}
    wide = array.astype(np.float64)
    return {
        "norm": float(np.sqrt(np.sum(np.square(wide)))),
        "min": float(wide.min()),
        "max": float(wide.max()),
        "zeros": float(np.count_nonzero(wide == 0) / wide.size),
    }


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
