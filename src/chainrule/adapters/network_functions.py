"""Networks: ``forward(X, parameters) -> cache``, ``backward(cache, Y, parameters) -> grads``, ``loss(output, Y)``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..nn import losses
from .backward_pass import ALIASES, AuditError, BackwardPass, call
from .containers import as_arrays, is_number_array, mapped, named_leaves
from .recording import Traced


def _loss(loss: Any) -> Any:
    if isinstance(loss, str):
        try:
            return losses.get(loss)
        except ValueError as error:
            raise AuditError(str(error)) from error
    if not callable(loss):
        raise AuditError(
            f"loss is of type {type(loss).__name__}; a function (output, Y), or the name of a loss, would do"
        )
    return loss


class NetworkFunctions(BackwardPass):
    """``forward(X, parameters) -> cache``, ``backward(cache, Y, parameters) -> grads``, ``loss(output, Y)``."""

    def __init__(
        self, backward: Any, forward: Any, loss: Any, parameters: Any, X: Any, Y: Any, output: str | None = None
    ) -> None:
        self._backward, self._forward, self._output = backward, forward, output
        self._loss_name = loss if isinstance(loss, str) else None
        self._loss = _loss(loss)
        self.functions = (forward, backward) if isinstance(loss, str) else (forward, backward, loss)
        self._nests = {"X": as_arrays(X), "Y": as_arrays(Y), "parameters": as_arrays(parameters)}
        self._prefix = {"X": "X", "Y": "Y", "parameters": "" if isinstance(parameters, Mapping) else "parameters"}
        self.values = {}
        for part in ("X", "Y", "parameters"):
            for name, value in named_leaves(self._nests[part], self._prefix[part]).items():
                self.values[name] = value
        names = named_leaves(self._nests["parameters"], self._prefix["parameters"])
        self.exact = tuple(n for n, v in names.items() if is_number_array(v) and v.dtype.kind == "f")
        self.title = f"Audit of {getattr(backward, '__name__', type(backward).__name__)}"

    def _nest(self, part: str, values: Mapping[str, Any]) -> Any:
        return mapped(self._nests[part], lambda name, old: values[name], self._prefix[part])

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache)."""
        available = {k: self._nest(k, values) for k in ("X", "parameters", "Y")}
        result = call(self._forward, ("X", "parameters"), available)
        if isinstance(result, Mapping):
            named = named_leaves(result)
            if not named:
                raise AuditError("forward returned an empty cache")
            if self._output is not None and self._output not in named:
                raise AuditError(f"output={self._output!r} is not in the cache; it holds {', '.join(named)}")
            return named[self._output] if self._output is not None else list(named.values())[-1], result
        if isinstance(result, tuple) and len(result) == 2:
            first, second = result
            return (
                (second, first) if isinstance(first, Mapping) and not isinstance(second, Mapping) else (first, second)
            )
        raise AuditError(
            f"forward returned a {type(result).__name__}; a dict of named arrays (the cache), or (output, cache) would "
            "do"
        )

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""
        Y = self._nest("Y", values)
        if self._loss_name is not None:
            return _named_loss(self._loss, output, Y)
        available = {"output": output, "Y": Y, "parameters": self._nest("parameters", values)}
        try:
            needed = [
                p
                for p in inspect.signature(self._loss).parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            ]
        except (TypeError, ValueError):
            needed = [None, None]  # type: ignore[list-item]
        third = len(needed) > 2 and (needed[2].default is needed[2].empty or needed[2].name in ALIASES["parameters"])
        return self._loss(*[available[k] for k in ("output", "Y", "parameters")[: 3 if third else 2]])

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the caller's function gives them."""
        available = {k: self._nest(k, values) for k in ("X", "parameters", "Y")}
        return call(self._backward, ("cache", "Y", "parameters"), {**available, "cache": cache, "output": output})

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key."""
        if isinstance(grads, tuple | list):
            if len(grads) == len(self.exact) and not any(isinstance(g, Mapping) for g in grads):
                return dict(zip(self.exact, grads, strict=True))
            grads = {k: v for g in grads if isinstance(g, Mapping) for k, v in g.items()}
        if not isinstance(grads, Mapping):
            raise AuditError(
                f"backward returned a {type(grads).__name__}; a dict of gradients, as {{'dW1': …}}, would do"
            )
        found = {}
        for key, value in grads.items():
            found.update(named_leaves(value, str(key)))
        return found


def _named_loss(loss: Any, output: Any, Y: Any) -> Any:
    node = output.node if isinstance(output, Traced) else np.asarray(output)
    target = np.asarray(Y)
    columns = False
    if node.ndim == 2:
        columns = target.ndim == 1 and node.shape[0] != target.shape[0] and node.shape[1] == target.shape[0]
        columns = columns or (target.ndim == 2 and target.shape[0] == 1 and target.shape[1] > 1)
    if columns:
        node, target = node.T, target.T
    result = loss(node, target)
    return Traced(result) if isinstance(result, Tensor) else result
