"""Layers: ``forward(*inputs) -> out | (out, cache)``, ``backward(dout, cache) -> a tuple or dict of gradients``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.op import Array
from .backward_pass import AuditError, BackwardPass, input_names, same
from .containers import as_arrays, is_number_array, mapped, named_leaves


class LayerFunctions(BackwardPass):
    """``forward(*inputs) -> out | (out, cache)``, ``backward(dout, cache) -> tuple | dict``."""

    def __init__(self, forward: Any, backward: Any, inputs: Sequence[Any]) -> None:
        self._forward, self._backward = forward, backward
        self.functions = (forward, backward)
        self.names = input_names(forward, len(inputs))
        self.values = {}
        self._nests = [as_arrays(x) for x in inputs]
        for name, nest in zip(self.names, self._nests, strict=True):
            self.values.update(named_leaves(nest, name))
        self.exact = tuple(n for n, v in self.values.items() if is_number_array(v) and v.dtype.kind == "f")
        self.given: dict[str, Array] = {}
        self.title = f"Audit of {getattr(backward, '__name__', type(backward).__name__)}"
        self._with_cache = True

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache)."""
        parts = [
            mapped(nest, lambda name, old: values[name], name)
            for name, nest in zip(self.names, self._nests, strict=True)
        ]
        result = self._forward(*parts)
        self._with_cache = (
            isinstance(result, tuple) and len(result) == 2 and not _backward_takes(self._backward, len(parts))
        )
        if self._with_cache:
            return result[0], result[1]
        return result, tuple(parts)

    def douts(self, output: Any) -> Any:
        """Return the gradients that flow in from above: random, the same for the same shapes."""
        rng = np.random.default_rng(20180831)
        return mapped(output, lambda name, x: rng.normal(size=np.shape(x)), "out")

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""
        total: Any = 0.0
        outs, douts = named_leaves(output, "out"), named_leaves(self.douts(output), "out")
        for name, out in outs.items():
            total = total + np.sum(out * douts[name])
        self.given = douts
        return total

    def extra_names(self, output: Any, cache: Any) -> dict[str, Any]:
        """Return values to be named, beyond the cache."""
        named = named_leaves(cache) if isinstance(cache, Mapping) else named_leaves(cache, "cache")
        return {**{k: v for k, v in named.items() if k}, **named_leaves(output, "out")}

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the caller's function gives them."""
        douts = self.douts(output)
        extra = cache if not self._with_cache and _backward_takes(self._backward, len(cache)) else (cache,)
        result = self._backward(douts, *extra)
        pristine = named_leaves(self.douts(output), "out")
        self.dout_changed = any(not same(v, pristine[n]) for n, v in named_leaves(douts, "out").items())
        return result

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key."""
        if isinstance(grads, Mapping):
            return {k: v for key, value in grads.items() for k, v in named_leaves(value, str(key)).items()}
        parts = list(grads) if isinstance(grads, tuple | list) else [grads]
        floating = [n for n in self.names if any(e == n or e.startswith((n + "[", n + ".")) for e in self.exact)]
        names = self.names if len(parts) == len(self.names) else floating
        if len(parts) > len(names):
            raise AuditError(
                f"backward returned {len(parts)} gradients, forward has the inputs {', '.join(self.names)}; "
                "one gradient an input, in their order, would do"
            )
        found = {}
        for name, part in zip(names, parts, strict=False):
            if part is not None or name in floating:
                found.update(named_leaves(part, "d" + name))
        return found


def _backward_takes(backward: Any, inputs: int) -> bool:
    try:
        parameters = inspect.signature(backward).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(needed) == inputs + 1 and inputs > 1
