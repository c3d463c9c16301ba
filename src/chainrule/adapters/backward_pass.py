"""What is audited: a forward and a backward pass, run on any values of its arrays."""

from __future__ import annotations

import abc
import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.op import Array
from ..core.reverse import topological
from ..core.tensor import Tensor
from .containers import is_number_array, mapped, named_leaves
from .recorded_functions import Randomness, writable_numpy
from .recording import Traced, Untraceable, Watch


class AuditError(ValueError):
    """The audit cannot judge: its own reference does not hold, or what it was given does not fit together."""


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
    changed
        Names of the arrays that the backward pass changed.
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
    after: dict[str, Array] = field(default_factory=dict)
    rewritten: set[str] = field(default_factory=set)
    given: dict[str, Array] = field(default_factory=dict)
    aliases: list[tuple[str, str]] = field(default_factory=list)
    size: int | None = None
    random: bool = False
    inferred: set[str] = field(default_factory=set)
    why_not: str = ""


ALIASES = {
    "X": ("X", "x", "inputs", "input", "A0", "data", "X_batch", "xs"),
    "parameters": ("parameters", "params", "p", "P", "weights", "theta", "model", "param"),
    "Y": ("Y", "y", "target", "targets", "T", "t", "labels", "Y_batch", "y_true", "ys"),
    "cache": ("cache", "caches", "c", "store", "memory"),
    "output": ("output", "out", "A", "AL", "Y_hat", "y_hat", "y_pred", "pred", "yhat", "prediction", "predictions"),
}


def call(function: Callable[..., Any], order: Sequence[str], available: Mapping[str, Any]) -> Any:
    """Call `function` with what its parameters' names mean, or by position in `order`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return function(*[available[k] for k in order])
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return function(*[available[k] for k in order])
    needed = [p for p in positional if p.default is p.empty]
    meant = [next((k for k, names in ALIASES.items() if p.name in names and k in available), None) for p in positional]
    known = [k for p, k in zip(positional, meant, strict=True) if p.default is p.empty or k is not None]
    if known and None not in known and len(set(known)) == len(known):
        pairs = [(p.name, k) for p, k in zip(positional, meant, strict=True) if k is not None]
        if all(p.kind == p.POSITIONAL_OR_KEYWORD for p in positional):
            return function(**{name: available[k] for name, k in pairs})
    count = min(len(order), max(len(needed), min(len(positional), 2)))
    count = len(order) if len(needed) <= len(order) <= len(positional) and meant[len(order) - 1] is not None else count
    return function(*[available[k] for k in order[:count]])


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


class BackwardPass(abc.ABC):
    """Both passes, and the arrays they are run on. Subclasses say how they are called."""

    title = "Audit"
    functions: tuple[Any, ...] = ()
    values: dict[str, Any]
    exact: tuple[str, ...] = ()
    adding: tuple[str, ...] = ()  # the keys for which it does
    dout_changed = False  # backward wrote into the gradient that it was handed
    adds_up = False  # backward adds to what it returned before: its gradients are the difference of two calls

    @abc.abstractmethod
    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache)."""

    @abc.abstractmethod
    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""

    @abc.abstractmethod
    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the caller's function gives them."""

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key."""
        return named_leaves(grads)

    def extra_names(self, output: Any, cache: Any) -> dict[str, Any]:
        """Return values to be named, beyond the cache."""
        return named_leaves(cache)

    def again(self) -> Point:
        """Run both passes on equal copies once more."""
        return self.run(self.values, "your data", record=False)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def plain_loss(self, values: Mapping[str, Any]) -> float:
        """Return the loss on plain arrays; randomness is replayed."""
        randomness = Randomness(self.functions)
        values = copied(values)
        try:
            with np.errstate(all="ignore"):
                output, _ = self.forward(values)
                return float(np.asarray(self.loss_of(output, values)).sum())
        finally:
            randomness.restore()

    def run(self, values: Mapping[str, Any], label: str, *, record: bool = True, twice: bool = False) -> Point:
        """Run both passes on copies of `values`."""
        point = Point(label, copied(values))
        randomness = Randomness(self.functions)
        with np.errstate(all="ignore"):
            try:
                arguments = copied(values)
                output, cache = self.forward(arguments)
                kept = {k: np.array(v) for k, v in self.extra_names(output, cache).items() if is_number_array(v)}
                point.cached = dict(kept)
                if record:
                    randomness.restore()
                    try:
                        self._record(point)
                    except AuditError:
                        raise
                    except Exception as error:  # whatever the caller's code raises on tensors
                        point.loss = None
                        point.why_not = _in_short(error)
                    if point.loss is not None and self._differs(point):
                        randomness.restore()
                        again, cache_again = self.forward(copied(values))
                        second = {k: v for k, v in self.extra_names(again, cache_again).items() if is_number_array(v)}
                        if any(k in kept and not same(v, kept[k]) for k, v in second.items()):
                            point.random = True
                            output, cache = self._traced_cache
                            kept = {
                                k: np.array(v) for k, v in self.extra_names(output, cache).items() if is_number_array(v)
                            }
                            point.cached = dict(kept)
                randomness.restore()
                self._call_backward(point, cache, output, arguments, kept)
            finally:
                randomness.restore()
        return point

    def _call_backward(self, point: Point, cache: Any, output: Any, arguments: dict[str, Any], kept: Any) -> None:
        before = {k: np.array(v) for k, v in arguments.items() if is_number_array(v)}
        earlier: dict[str, Any] = {}
        if self.adds_up:
            first = self.backward(copy.deepcopy(cache), copy.deepcopy(output), copied(arguments))
            earlier = {k: np.array(v) for k, v in self.gradients_by_key(first).items() if v is not None}
        grads = self.backward(cache, output, arguments)
        after = {k: v for k, v in self.extra_names(output, cache).items() if is_number_array(v)}
        for group, now in ((before, arguments), (kept, after)):
            for name, old in group.items():
                if name in now and is_number_array(now[name]) and not same(old, now[name]):
                    if name not in point.changed:
                        point.changed.append(name)
                    point.after[name] = np.array(now[name])
        if self.dout_changed:
            point.changed.append("dout")
        named = {**dict.fromkeys(point.nodes), **dict.fromkeys(kept), **dict.fromkeys(self.values)}
        arrays = self.gradients_by_key(grads)
        arrays = {k: v - earlier[k] if k in earlier and k in self.adding else v for k, v in arrays.items()}
        for key, value in arrays.items():
            name = target_of(key, named)
            if name is None or name in point.gradients:
                point.extra.append(key)
                continue
            point.keys[name] = key
            point.gradients[name] = np.array(value) if value is not None and _numeric(value) else None
        _without_other_names(point)
        live = [(n, arrays[k]) for n, k in point.keys.items() if isinstance(arrays[k], np.ndarray)]
        for i, (a, first) in enumerate(live):
            for b, second in live[i + 1 :]:
                if first.size > 1 and second.size > 1 and np.may_share_memory(first, second):
                    point.aliases.append((a, b))

    def _differs(self, point: Point) -> bool:
        return any(
            name in point.cached and node.value is not None and not _close(node.value, point.cached[name])
            for name, node in point.nodes.items()
        )

    def _record(self, point: Point) -> None:
        watch = Watch()
        leaves: dict[str, Any] = {}
        for name, value in point.values.items():
            if is_number_array(value) and value.dtype.kind == "f" and name != "Y":
                node = Tensor(np.array(value, np.float64), name=name, recordings=frozenset({watch}))
                leaves[name] = Traced(node)
                point.nodes[name] = node
            else:
                leaves[name] = copy.deepcopy(value)
                if is_number_array(value):
                    point.constants[name] = value
        inputs = dict(point.nodes)
        with writable_numpy(self.functions):
            output, cache = self.forward(leaves)
            named = self.extra_names(output, cache)
            versions: dict[str, list[Tensor]] = {}
            for name, value in named.items():
                if isinstance(value, Traced):
                    if id(value.node) not in {id(n) for n in inputs.values()} or name not in inputs:
                        point.nodes.setdefault(name, value.node)
                    if value.versions:
                        versions[name] = value.versions
                elif is_number_array(value):
                    point.constants[name] = np.array(value)
            root = self.loss_of(output, leaves)
        arrays = {n: v for n, v in named.items() if isinstance(v, Traced)}
        _untangle(point, arrays, set(inputs))
        self._traced_cache = (_plain(output), _plain(cache))
        point.loss = _root(root, watch)
        _intended(point)
        point.inferred = _layers_named(point)
        point.rewritten = {n for n, old in versions.items() if _read_while_written(point.loss, point.nodes[n], old)}
        point.given = {k: v for k, v in getattr(self, "given", {}).items() if k in point.nodes}


def _untangle(point: Point, arrays: Mapping[str, Traced], inputs: set[str]) -> None:
    """Where two names hold one array that was written into, let the first name mean what it held before."""
    for name, array in arrays.items():
        others = [n for n, other in arrays.items() if other is array and n not in inputs]
        if name in inputs or len(others) < 2 or others[0] != name or not array.versions:
            continue
        if array.versions[0].recordings:
            point.nodes[name] = array.versions[0]


def _intended(point: Point) -> None:
    """Where Z1 and A1 name one value, and one of the two is there without a name, let them mean the two.

    What the cache holds under the wrong name is kept in `cached`, and compared.
    """
    assert point.loss is not None
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
        elementwise = node.op is not None and node.op.kind == "elementwise" and node.op.name not in ("add", "subtract")
        if elementwise and len(node.inputs) == 1 and id(node.inputs[0]) not in named:
            point.nodes[before] = node.inputs[0]
            continue
        for other in topological([point.loss]):
            single = other.op is not None and other.op.kind == "elementwise" and len(other.inputs) == 1
            if single and other.inputs[0] is node and id(other) not in named and other.recordings:
                point.nodes[after] = other


def _layers_named(point: Point) -> set[str]:
    """Name the values of layers that have parameters W1, b1, …, but no names of their own: Z1, A1.

    Caches are often tuples, ``((A_prev, W, b), Z)`` for each layer, while the gradients are called dA1 and dZ1.
    """
    assert point.loss is not None
    named = {id(t) for n, t in point.nodes.items() if "[" not in n}
    order = topological([point.loss])
    found: dict[str, Tensor] = {}
    for name, weights in list(point.nodes.items()):
        number = name[1:]
        if name[:1] != "W" or not number.isdigit() or weights.inputs:
            continue
        products = [n for n in order if n.op is not None and n.op.name == "matmul" and _is_of(weights, n)]
        if len(products) != 1:
            continue
        bias = point.nodes.get(f"b{number}")
        sums = [
            n for n in order if n.op is not None and n.op.name == "add" and _is_of(products[0], n) and _is_of(bias, n)
        ]
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
    views = ("transpose", "reshape", "identity", "cast", "broadcast_to")
    return value is not None and any(
        x is value or (x.op is not None and x.op.name in views and _is_of(value, x)) for x in node.inputs
    )


def _without_other_names(point: Point) -> None:
    """Drop gradients under names that were inferred, where their shapes show that another value is meant."""
    for letter in "AZ":
        names = [n for n in point.inferred if n.startswith(letter) and n in point.gradients]
        if any(np.shape(point.gradients[n]) != tuple(point.nodes[n].shape) for n in names):
            for name in names:
                point.gradients.pop(name)
                point.extra.append(point.keys.pop(name))


def _read_while_written(root: Tensor, last: Tensor, versions: list[Tensor]) -> bool:
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


def _root(value: Any, watch: Watch) -> Tensor:
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
        raise AuditError(f"the loss has shape {tuple(node.shape)}; a scalar would do: take np.mean or np.sum of it")
    return node


def _plain(nest: Any) -> Any:
    return mapped(nest, lambda name, x: np.array(x.node.value) if isinstance(x, Traced) else copy.deepcopy(x))


def copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of all arrays, floating ones in float64."""
    out = {}
    for name, value in values.items():
        if is_number_array(value):
            out[name] = np.array(value, np.float64 if value.dtype.kind == "f" else value.dtype)
        else:
            out[name] = copy.deepcopy(value)
    return out


def _numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "fiub"
    except Exception:
        return False


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, element by element, NaN being equal to NaN."""
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f"))


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    return bool(
        np.allclose(a, b, rtol=1e-9, atol=1e-9 * (1e-300 + float(np.max(np.abs(b), initial=0.0))), equal_nan=True)
    )


def _in_short(error: BaseException) -> str:
    text = str(error).split("\n")[0]
    return f"{type(error).__name__}: {text}"[:200]


def input_names(forward: Any, count: int) -> list[str]:
    """Return how a function calls its first `count` arguments."""
    try:
        names = [
            p.name
            for p in inspect.signature(forward).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    return (names + [f"x{i}" for i in range(len(names), count)])[:count]
