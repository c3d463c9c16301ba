"""What every style of hand-written backpropagation becomes: arrays by name, a forward and a backward pass, a loss.

Subclasses say how the user's code is called (`network_functions`, `layer_functions`, `objects`). Each run is on copies
of that code (`code_copies`) and of the arrays: nothing of the user's changes, and every run starts from the same state.
"""

from __future__ import annotations

import abc
import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ..core.op import Array
from ..core.tensor import Tensor
from .code_copies import CodeCopies
from .containers import is_float_array, is_number_array, mapped, named_leaves
from .recorded_run import (
    AuditError,
    Point,
    drop_contradicted_names,
    name_layers,
    read_while_written,
    root_of,
    separate_names,
    separate_versions,
    target_of,
)
from .recording import Traced, Watch
from .source_lines import SourceLine, definition_of, making_lines

__all__ = ["AuditError", "BackwardPass", "Point", "copied", "same"]


class BackwardPass(abc.ABC):
    """Forward and backward pass as given by the caller, and the arrays that they are run on.

    Parameters
    ----------
    **code
        The user's functions and objects, by what they are for: forward, backward, loss, modules.

    Attributes
    ----------
    values : dict
        All arrays that go in, by name.
    exact : tuple of str
        The names of the arrays whose gradients are judged: parameters, or inputs of a layer.
    optional : tuple of str
        Those of them that may do without a gradient: data.
    targets : tuple of str
        Those of them that have no gradient by convention: None or zeros are the same as none.
    adding : tuple of str
        The keys of gradients that a second call adds to; set by the audit.
    adds_up : bool
        Whether there are such keys: gradients are then the difference of two calls.
    """

    title = "Audit"
    values: dict[str, Any]
    exact: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    adding: tuple[str, ...] = ()
    adds_up = False
    given: Mapping[str, Array] = {}  # the upstream gradients that the reference is computed with
    dout_changed = False  # the backward pass wrote into the upstream gradient
    updated: tuple[str, ...] = ()  # parameters that the backward pass updates
    own_penalty = False  # layers may add a penalty of their own
    fixed: tuple[str, ...] = ()  # values that are not drawn anew
    upstream: Any = None  # given in place of the upstream gradient that the adapter makes
    handed: Any = None  # the upstream gradient that backward was given, as it left it
    over_examples: tuple[int, bool] | None = (
        None  # parameters' gradients are of each example: the axis, averaged or not
    )
    single_along: int | None = None  # the axis along which a random upstream gradient has a single element

    def __init__(self, **code: Any) -> None:
        self.handed_over = code
        self.code = dict(code)
        self._random_state = np.random.get_state()

    def require(self, only: Sequence[str] | None) -> None:
        """Say which values must have a gradient."""
        if only is None:
            return
        unknown = [name for name in only if name not in self.exact]
        if unknown or isinstance(only, str):
            raise AuditError(f"only={only!r}; expected names among {', '.join(self.exact)}, such as {self.exact[:1]!r}")
        self.optional = tuple(n for n in self.exact if n not in only)
        self.targets = tuple(n for n in self.targets if n not in only)

    @abc.abstractmethod
    def describe(self) -> str:
        """Return how the code was understood, in a line."""

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
        """Return values to be named, beyond the inputs."""
        return named_leaves(cache)

    def drawn_upstream(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return a random upstream gradient."""
        draws = rng.normal(size=shape)
        if self.single_along is None or len(shape) <= self.single_along:
            return draws
        largest = np.max(np.abs(draws), axis=self.single_along, keepdims=True)
        return np.where(np.abs(draws) == largest, draws, 0.0)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def copied(self, *, recording: bool = False) -> Self:
        """Return the same with fresh copies of the user's code."""
        twin = copy.copy(self)
        copies = CodeCopies(self.handed_over.values(), self._random_state, recording)
        twin.code = copies.of(self.handed_over)
        return twin

    def plain_loss(self, values: Mapping[str, Any]) -> float:
        """Return the loss on plain arrays."""
        twin, values = self.copied(), copied(values)
        with np.errstate(all="ignore"):
            output, _ = twin.forward(values)
            return float(np.asarray(twin.loss_of(output, values)).sum())

    def first_run(self) -> Point:
        """Run both passes on the user's own data; an `AuditError` says which function fails."""
        twin, failing = self.copied(), "forward"
        try:
            with np.errstate(all="ignore"):
                output, _ = twin.forward(copied(self.values))
                if empty := [n for n, v in named_leaves(output, "output").items() if np.size(v) == 0]:
                    raise AuditError(f"forward returned an array without elements ({empty[0]}): the data are too small")
                failing = "loss"
                value = np.asarray(twin.loss_of(output, copied(self.values)))
            if value.dtype.kind not in "fiubc":
                kind = value.item() if value.size == 1 else value
                raise AuditError(f"the loss is of type {type(kind).__name__}; expected a number")
            failing = "backward"
            return self.run(self.values, "your data")
        except AuditError:
            raise
        except Exception as error:
            raise AuditError(f"{failing} fails on the data given: {type(error).__name__}: {error}") from error

    def lines_of(self, point: Point, names: Iterable[str]) -> dict[str, SourceLine]:
        """Return the statements of the user's that made the gradients of a run, by name; those that can be found."""
        wanted = {n: point.gradients[n] for n in names if point.gradients.get(n) is not None}
        twin, values = self.copied(), copied(point.values)
        with np.errstate(all="ignore"):
            return making_lines(twin.making_call(values), wanted, point.keys)

    def making_call(self, values: Mapping[str, Any]) -> Callable[[], Any]:
        """Return a call that makes the gradients."""
        output, cache = self.forward(values)
        return lambda: self.backward(cache, output, values)

    def backward_line(self) -> SourceLine | None:
        """Return where the backward pass is defined."""
        code = next((self.handed_over[k] for k in ("backward", "modules", "function") if k in self.handed_over), None)
        return definition_of(code[-1] if isinstance(code, list) else code)

    def repeated(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run both passes on the user's own data, without recording; return the gradients by name."""
        return self._run(values or self.values, "your data", record=False).gradients

    def backward_twice(self) -> list[dict[str, Any]]:
        """Run forward once and backward twice on what it keeps; return the gradients of both calls by key."""
        twin, values = self.copied(), copied(self.values)
        with np.errstate(all="ignore"):
            output, cache = twin.forward(values)
            calls = (twin.gradients_by_key(twin.backward(cache, output, values)) for _ in range(2))
            return [{k: None if v is None else np.array(v) for k, v in found.items()} for found in calls]

    def again(self) -> Point:
        """Run both passes twice on the same copies of the code, and return the second run."""
        twin = self.copied()
        twin._run(self.values, "your data", record=False)
        return twin._run(self.values, "your data", record=False)

    def run(self, values: Mapping[str, Any], label: str, *, record: bool = True) -> Point:
        """Run both passes on copies of the code and of `values`."""
        return self.copied()._run(values, label, record=record)

    def _run(self, values: Mapping[str, Any], label: str, *, record: bool) -> Point:
        point = Point(label, copied(values))
        with np.errstate(all="ignore"):
            arguments = copied(values)
            output, cache = self.forward(arguments)
            kept = point.cached = _arrays_of(self.extra_names(output, cache))
            if record and (traced := self._recorded(point)) is not None and self._is_random(point):
                output, cache = traced  # what the backward pass gets is what the graph was recorded with
                kept = point.cached = _arrays_of(self.extra_names(output, cache))
            self._call_backward(point, cache, output, arguments, kept)
        return point

    def _rebound(self, held: Mapping[str, Any], kept: Mapping[str, Array], after: Mapping[str, Any]) -> set[str]:
        """Return the names that mean another array after the backward pass, which left the first as it was."""
        return {n for n, old in kept.items() if after.get(n) is not held.get(n) and same(old, np.asarray(held[n]))}

    def _recorded(self, point: Point) -> tuple[Any, Any] | None:
        """Record the forward pass; return its output and cache as plain arrays, or None where it can't be recorded."""
        try:
            return self.copied(recording=True)._record(point)
        except AuditError:
            raise
        except Exception as error:  # whatever the user's code raises when it gets stand-ins for arrays
            point.loss = None
            point.why_not = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
            return None

    def _is_random(self, point: Point) -> bool:
        """Whether a second plain run gives other values, looked at where the recorded ones differ."""
        if not any(
            name in point.cached and node.value is not None and not _close(node.value, point.cached[name])
            for name, node in point.nodes.items()
        ):
            return False
        twin = self.copied()
        again = _arrays_of(twin.extra_names(*twin.forward(copied(point.values))))
        point.random = any(k in point.cached and not same(v, point.cached[k]) for k, v in again.items())
        return point.random

    def _call_backward(self, point: Point, cache: Any, output: Any, arguments: dict[str, Any], kept: Any) -> None:
        before = _arrays_of(arguments)
        held = self.extra_names(output, cache)
        earlier: dict[str, Any] = {}
        if self.adds_up:
            first = self.backward(copy.deepcopy(cache), copy.deepcopy(output), copied(arguments))
            earlier = {k: np.array(v) for k, v in self.gradients_by_key(first).items() if v is not None}
        grads = self.backward(cache, output, arguments)
        after = self.extra_names(output, cache)
        for group, now in ((before, arguments), (kept, after)):
            for name, old in group.items():
                if is_number_array(now.get(name)) and not same(old, now[name]):
                    point.after[name] = np.array(now[name])
                    point.inputs_changed |= {name} if group is before else set()
        rebound = self._rebound(held, kept, after)
        point.changed = [name for name in point.after if name not in self.updated and name not in rebound]
        if self.dout_changed:
            point.changed.append("dout")
            point.handed = self.handed
        arrays = self.gradients_by_key(grads)
        arrays = {k: v - earlier[k] if k in earlier and k in self.adding else v for k, v in arrays.items()}
        named = {**dict.fromkeys(point.nodes), **dict.fromkeys(kept), **dict.fromkeys(self.values)}
        for key, value in arrays.items():
            name = target_of(key, named)
            if name in self.targets and (value is None or not np.any(value)):
                continue
            if name is None or name in point.gradients:
                point.extra.append(key)
                continue
            point.keys[name] = key
            point.gradients[name] = np.array(value) if value is not None and _is_numeric(value) else None
            if self.over_examples is not None and name in self.exact:
                point.gradients[name] = _over_examples(point.gradients[name], arguments[name], *self.over_examples)
        drop_contradicted_names(point)
        point.aliases = _sharing_memory({n: arrays[k] for n, k in point.keys.items()})

    def _record(self, point: Point) -> tuple[Any, Any]:
        watch = Watch()
        leaves: dict[str, Any] = {}
        for name, value in point.values.items():
            if is_float_array(value) and name != "Y":
                node = Tensor(np.array(value, np.float64), name=name, recordings=frozenset({watch}))
                leaves[name] = Traced(node)
                point.nodes[name] = node
            else:
                leaves[name] = copy.deepcopy(value)
                if is_number_array(value):
                    point.constants[name] = value
        inputs = dict(point.nodes)
        output, cache = self.forward(leaves)
        arrays = {}
        for name, value in self.extra_names(output, cache).items():
            if isinstance(value, Traced):
                arrays[name] = value
                if id(value.node) not in {id(n) for n in inputs.values()} or name not in inputs:
                    point.nodes.setdefault(name, value.node)
            elif is_number_array(value):
                point.constants[name] = np.array(value)
        root = self.loss_of(output, leaves)
        separate_versions(point, arrays, set(inputs))
        point.loss = root_of(root, watch)
        separate_names(point)
        point.inferred = name_layers(point)
        point.rewritten = {
            n for n, a in arrays.items() if a.versions and read_while_written(point.loss, point.nodes[n], a.versions)
        }
        point.given = {k: v for k, v in self.given.items() if k in point.nodes}
        return _plain(output), _plain(cache)


def _over_examples(found: Any, value: Any, axis: int, averaged: bool) -> Any:
    """Return a gradient that is given for each example as that of the batch."""
    if found is None or found.ndim == 0 or found.shape == np.shape(value):
        return found
    whole = found.mean(axis=axis) if averaged else found.sum(axis=axis)
    return whole.reshape(np.shape(value)) if whole.size == np.size(value) else found


def _sharing_memory(named: Mapping[str, Any]) -> list[tuple[str, str]]:
    arrays = [(n, x) for n, x in named.items() if isinstance(x, np.ndarray) and x.size > 1]
    return [(a, b) for (a, x), (b, y) in itertools.combinations(arrays, 2) if np.may_share_memory(x, y)]


def _plain(nest: Any) -> Any:
    return mapped(nest, lambda name, x: np.array(x.node.value) if isinstance(x, Traced) else copy.deepcopy(x))


def copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of all arrays, floating ones in float64."""
    return {
        name: np.array(value, np.float64 if value.dtype.kind == "f" else value.dtype)
        if is_number_array(value)
        else copy.deepcopy(value)
        for name, value in values.items()
    }


def _arrays_of(named: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.array(value) for name, value in named.items() if is_number_array(value)}


def _is_numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "fiub"
    except Exception:
        return False


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, element by element, NaN being equal to NaN."""
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f"))


def _close(a: Array, b: Array) -> bool:
    allowed = 1e-9 * (1e-300 + float(np.max(np.abs(b), initial=0.0)))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=allowed, equal_nan=True))
