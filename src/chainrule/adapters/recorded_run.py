"""One run of a forward and a backward pass: what went in, the recorded graph, and the names of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.op import Array
from ..core.reverse import topological
from ..core.tensor import Tensor
from ..ops.table import row_of
from .recording import Traced, Untraceable, Watch

ADD, MATMUL = row_of(np.add), row_of(np.matmul)


class AuditError(ValueError):
    """The audit cannot judge: its own reference does not hold, or what it was given does not fit together.

    Examples
    --------
    >>> import chainrule as cr
    >>> try:
    ...     cr.audit_layer(lambda x: (2 * x, None), lambda dout, cache: 2 * dout, 3)
    ... except cr.AuditError as error:
    ...     print(error)
    inputs: expected arrays of floating-point numbers, got none
    """


@dataclass
class Point:
    """One run of both passes: values by name, the recorded graph, and what the backward pass returned.

    Attributes
    ----------
    values
        Every array that went in, by name.
    nodes
        The nodes of the graph that have a name.
    constants
        Named arrays that are not in the graph: masks, labels.
    cached
        The cache as the backward pass was handed it.
    loss
        The root of the graph; None where the forward pass could not be recorded.
    gradients
        What the backward pass returned, by the name of the value: ``{"W1": …}``.
    keys
        Under which key: ``{"W1": "dW1"}``.
    changed, inputs_changed
        Names of the arrays that the backward pass changed; those of them that went in.
    handed
        The upstream gradient, where backward has changed it.
    inferred
        Names that the forward pass does not use, given by the layers' parameters: Z2 = W2 A1 + b2.
    """

    label: str
    values: dict[str, Any]
    nodes: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    cached: dict[str, Array] = field(default_factory=dict)
    loss: Tensor | None = None
    gradients: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    inputs_changed: set[str] = field(default_factory=set)
    after: dict[str, Array] = field(default_factory=dict)
    rewritten: set[str] = field(default_factory=set)
    given: dict[str, Array] = field(default_factory=dict)
    aliases: list[tuple[str, str]] = field(default_factory=list)
    size: int | None = None
    random: bool = False
    inferred: set[str] = field(default_factory=set)
    handed: Any = None
    why_not: str = ""

    @property
    def root(self) -> Tensor:
        """The loss of a run that was recorded."""
        assert self.loss is not None
        return self.loss

    @property
    def order(self) -> list[Tensor]:
        """The nodes of the recorded forward pass, inputs before their users."""
        return topological([self.root])


def target_of(key: str, names: Mapping[str, Any]) -> str | None:
    """Return the name of the value whose gradient is called `key`: "dW1", "grad_W1", "W1_grad", "delta2", "W1"."""
    candidates = [key[1:]] if key.startswith("d") else []
    for prefix in ("d_", "grad_", "grad", "g_", "D"):
        if key.startswith(prefix):
            candidates.append(key[len(prefix) :])
    for suffix in ("_grad", ".g", ".grad", "_g", ".gradient"):
        if key.endswith(suffix):
            candidates.append(key[: -len(suffix)])
    for prefix in ("delta_", "delta", "δ"):
        if key.startswith(prefix):
            candidates += ["Z" + key[len(prefix) :], "z" + key[len(prefix) :]]
    head, dot, last = key.rpartition(".")
    if dot and last.startswith("d"):
        candidates.append(head + "." + last[1:])
    candidates.append(key)
    return next((c for c in candidates if c in names), None)


def separate_versions(point: Point, arrays: Mapping[str, Traced], inputs: set[str]) -> None:
    """Where two names hold one array that was written into, let the first name mean what it held before.

    A position in a tuple, ``cache[2]``, says nothing of what it means.
    """
    for name, array in arrays.items():
        if "[" in name:
            continue
        others = [n for n, other in arrays.items() if other is array and n not in inputs]
        if name in inputs or len(others) < 2 or others[0] != name or not array.versions:
            continue
        if array.versions[0].recordings:
            point.nodes[name] = array.versions[0]


def separate_names(point: Point) -> None:
    """Where Z1 and A1 name one value, and one of the two is there without a name, let them mean the two.

    What the cache holds under the wrong name is kept in `cached`, and compared.
    """
    by_node: dict[int, list[str]] = {}
    for name, node in point.nodes.items():
        if node.inputs:
            by_node.setdefault(id(node), []).append(name)
    named = {id(n) for n in point.nodes.values()}
    for names in by_node.values():
        before = next((n for n in names if n[:1] in "zZ"), None)
        after = next((n for n in names if n[:1] in "aAhH" and before and n[1:] == before[1:]), None)
        if before is None or after is None:
            continue
        node = point.nodes[before]
        elementwise = node.op is not None and node.op.kind == "elementwise"
        if elementwise and len(node.inputs) == 1 and id(node.inputs[0]) not in named:
            point.nodes[before] = node.inputs[0]
            continue
        for other in point.order:
            single = other.op is not None and other.op.kind == "elementwise" and len(other.inputs) == 1
            if single and other.inputs[0] is node and id(other) not in named and other.recordings:
                point.nodes[after] = other


def name_layers(point: Point) -> set[str]:
    """Name the values of layers that have parameters W1, b1, …, but no names: Z1, A1.

    Caches are often tuples, ``((A_prev, W, b), Z)`` for each layer, while the gradients are called dA1 and dZ1.
    """
    named = {id(t) for n, t in point.nodes.items() if "[" not in n}
    order = point.order
    found: dict[str, Tensor] = {}
    for name, weights in list(point.nodes.items()):
        number = name[1:]
        if name[:1] != "W" or not number.isdigit() or weights.inputs:
            continue
        products = [n for n in order if n.op is MATMUL and _is_of(weights, n)]
        if len(products) != 1:
            continue
        bias = point.nodes.get(f"b{number}")
        sums = [n for n in order if n.op is ADD and _is_of(products[0], n) and _is_of(bias, n)]
        below = next((x for x in products[0].inputs if x is not weights and not _is_of(weights, x)), None)
        if len(sums) == 1:
            found[f"Z{number}"] = sums[0]
        if below is not None and below.op is not None and below.op.kind == "elementwise" and int(number) > 1:
            found[f"A{int(number) - 1}"] = below
    new = {n: t for n, t in found.items() if n not in point.nodes and id(t) not in named}
    point.nodes.update(new)
    return set(new)


def _is_of(value: Tensor | None, node: Tensor) -> bool:
    """Whether a value, or a view of it, is an input of a node."""
    return value is not None and any(
        x is value or (x.op is not None and x.op.passes and _is_of(value, x)) for x in node.inputs
    )


def drop_contradicted_names(point: Point) -> None:
    """Drop gradients under names that were inferred, where their shapes show that another value is meant."""
    for letter in "AZ":
        names = [n for n in point.inferred if n.startswith(letter) and n in point.gradients]
        if any(np.shape(point.gradients[n]) != tuple(point.nodes[n].shape) for n in names):
            for name in names:
                point.gradients.pop(name)
                point.extra.append(point.keys.pop(name))


def read_while_written(root: Tensor, last: Tensor, versions: list[Tensor]) -> bool:
    """Whether an earlier version of an array reaches the loss other than through the later ones."""
    stop = {id(last), *(id(v) for v in versions)}
    earlier = {id(v) for v in versions}
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if id(node) in earlier and node.recordings:
            return True
        if id(node) not in stop:
            stack += node.inputs
    return False


def root_of(value: Any, watch: Watch) -> Tensor:
    """Return the node of the loss; raise where the graph does not lead to it."""
    if isinstance(value, Traced):
        node = value.node
    elif isinstance(value, float | np.floating):
        matching = [node for number, node in watch.escaped if number == float(value)]
        if not matching:
            raise Untraceable("the loss was computed from plain numbers: float(…) of an array loses the graph")
        node = matching[-1]
        watch.escaped = [(n, t) for n, t in watch.escaped if t is not node]
    else:
        raise Untraceable("the loss does not depend on the parameters in a way that can be recorded")
    if watch.escaped:
        raise Untraceable("the forward pass turns arrays into plain numbers: float(…), math.…")
    if node.size != 1:
        raise AuditError(f"the loss has shape {tuple(node.shape)}; expected a scalar: take np.mean or np.sum of it")
    return node
