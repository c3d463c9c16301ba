"""Networks in functions: ``forward(X, parameters) -> cache``, ``backward(cache, Y, parameters) -> grads``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..nn import losses
from .backward_pass import BackwardPass, copied
from .containers import Arguments, as_arrays, is_float_array, is_number_array, mapped, named_leaves
from .recorded_run import AuditError
from .recording import Traced
from .signatures import ALIASES, call, positional, signature_text


class NetworkFunctions(BackwardPass):
    """``forward(X, parameters) -> cache``, ``backward(cache, Y, parameters) -> grads``, ``loss(output, Y)``."""

    def __init__(
        self, backward: Any, forward: Any, loss: Any, parameters: Any, X: Any, Y: Any, output: str | None = None
    ) -> None:
        self._named_loss = named_loss(loss)
        if self._named_loss is None and not callable(loss):
            raise AuditError(f"loss has type {type(loss).__name__}; expected a function (output, Y) or a loss's name")
        super().__init__(forward=forward, backward=backward, loss=loss)
        self._output = output
        if not any(hasattr(v, "dtype") for v in named_leaves(as_arrays(parameters)).values()):  # all are numbers
            parameters = mapped(parameters, lambda name, v: np.asarray(v) if isinstance(v, float) else v)
        unnamed = "parameters" if isinstance(parameters, Mapping) else None
        self._arguments = Arguments({"X": X, "Y": Y, "parameters": parameters}, unnamed)
        self.values = self._arguments.leaves()
        self.exact = tuple(n for n, v in self._arguments.leaves("parameters").items() if is_float_array(v))
        self.title = f"Audit of {getattr(backward, '__name__', type(backward).__name__)}"

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        forward, backward = (signature_text(self.handed_over[k]) for k in ("forward", "backward"))
        return f"functions {forward} and {backward}; parameters {', '.join(self.exact)}; gradients as returned"

    def _available(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._arguments.part(name, values) for name in ("X", "parameters", "Y")}

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache)."""
        result = call(self.code["forward"], ("X", "parameters"), self._available(values))
        if isinstance(result, Mapping):
            named = named_leaves(result)
            if not named:
                raise AuditError("forward returned an empty cache")
            if self._output is not None and self._output not in named:
                raise AuditError(f"output={self._output!r} is not in the cache, which holds {', '.join(named)}")
            return named[self._output] if self._output is not None else list(named.values())[-1], result
        if isinstance(result, tuple) and len(result) == 2:
            first, second = result
            return (second, first) if isinstance(first, Mapping) and not isinstance(second, Mapping) else result
        raise AuditError(
            f"forward returned a {type(result).__name__}; expected a dict of named arrays (the cache), or "
            "(output, cache)"
        )

    def returned_apart(self) -> set[str]:
        """Return the names in the cache of what forward returns beside it: the output, which is the caller's."""
        twin = self.copied()
        result = call(twin.code["forward"], ("X", "parameters"), twin._available(copied(self.values)))
        if isinstance(result, Mapping):
            return set()
        output, *cached = sorted(result, key=lambda part: isinstance(part, Mapping))
        named = named_leaves(cached[0])
        return {n for n, v in named.items() if is_number_array(v) and np.may_share_memory(v, output)}

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""
        Y = self._arguments.part("Y", values)
        if self._named_loss is not None:
            return loss_on_rows(self._named_loss, output, Y)
        taken = positional(self.code["loss"])
        third = len(taken) > 2 and (taken[2].default is taken[2].empty or taken[2].name in ALIASES["parameters"])
        return self.code["loss"](output, Y, *([self._arguments.part("parameters", values)] if third else []))

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the caller's function gives them."""
        available = {**self._available(values), "cache": cache, "output": output}
        return call(self.code["backward"], ("cache", "Y", "parameters"), available)

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key; those in a list belong to the parameters, in their order."""
        if isinstance(grads, tuple | list):
            if len(grads) == len(self.exact) and not any(isinstance(g, Mapping) for g in grads):
                return dict(zip(self.exact, grads, strict=True))
            grads = {k: v for g in grads if isinstance(g, Mapping) for k, v in g.items()}
        if not isinstance(grads, Mapping):
            raise AuditError(
                f"backward returned a {type(grads).__name__}; expected a dict of gradients such as {{'dW1': …}}"
            )
        return named_leaves(grads)


def named_loss(loss: Any) -> Any:
    """Return a loss of the library by its name, None for anything else."""
    try:
        return losses.get(loss) if isinstance(loss, str) else None
    except ValueError as error:
        raise AuditError(str(error)) from error


def loss_on_rows(loss: Any, output: Any, Y: Any) -> Any:
    """Return a loss of the library, which takes examples in rows, where they may lie in columns."""
    node = output.node if isinstance(output, Traced) else np.asarray(output)
    target = np.asarray(Y)
    if node.ndim == 2:
        labels = target.ndim == 1 and node.shape[0] != target.shape[0] and node.shape[1] == target.shape[0]
        if labels or (target.ndim == 2 and target.shape[0] == 1 and target.shape[1] > 1):
            node, target = node.T, target.T
    result = loss(node, target)
    return Traced(result) if isinstance(result, Tensor) else result
