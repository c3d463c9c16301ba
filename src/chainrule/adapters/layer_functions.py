"""Layers in functions: ``forward(*inputs) -> out | (out, cache)`` and ``backward(dout, cache) -> gradients``."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.reverse import topological
from ..ops.shape import reshaped
from .backward_pass import BackwardPass, copied, same
from .containers import Arguments, is_float_array, mapped, named_leaves, output_and_cache
from .object_methods import CACHE, OUTPUT, UPSTREAM, role
from .recorded_run import AuditError
from .recording import Traced, wrapped
from .signatures import argument_names, positional, required, signature_text
from .targets import is_target

#: The upstream gradients are drawn from this seed: the same for the same shapes.
SEED = 20180831


class LayerFunctions(BackwardPass):
    """``forward(*inputs) -> out | (out, cache) | (h, c, cache)``, ``backward(dout, cache) -> tuple | dict``."""

    def __init__(self, forward: Any, backward: Any, inputs: Sequence[Any]) -> None:
        super().__init__(forward=forward, backward=backward)
        self.names = argument_names(forward, len(inputs))
        self._arguments = Arguments(dict(zip(self.names, inputs, strict=True)))
        self.values = self._arguments.leaves()
        self.exact = tuple(n for n, v in self.values.items() if is_float_array(v))
        self.title = f"Audit of {getattr(backward, '__name__', type(backward).__name__)}"
        self._backward_takes = len(required(backward))
        self._takes_inputs = len(inputs) > 1 and self._backward_takes == len(inputs) + 1
        self._defaults = {p.name: p.default for p in positional(forward)[len(inputs) :] if p.default is not p.empty}
        optional = [p.name for p in positional(backward) if p.default is not p.empty]
        self._options = [n for n in optional if n in self.names]  # mode="max" in both: what forward is given
        self._by_name = self._meant([p.name for p in required(backward)])
        self._returns_cache = False
        self._passed_through: set[str] = set()
        self.targets = self._targets()
        data = [n for n in self.exact if re.split(r"[.\[]", n)[0] == self.names[0]]
        self.optional = tuple(n for n in self.exact if n in data or n in self.targets)

    def _targets(self) -> tuple[str, ...]:
        """Return the inputs that have no gradient by convention.

        A number made of two arrays of one shape is a loss, the second of them the targets if no name says otherwise.
        """
        found = tuple(n for i, n in enumerate(self.exact) if is_target(n, self.values[n] if i else None))
        if found or len(self.exact) != 2 or len({np.shape(self.values[n]) for n in self.exact}) > 1:
            return found
        try:
            output, _ = self.copied().forward(copied(self.values))
        except Exception:  # the first run of both passes says what fails
            return ()
        return self.exact[1:] if np.size(output) == 1 else ()

    def _meant(self, taken: Sequence[str]) -> dict[str, str]:
        """Return what the arguments of backward are where they are not (dout, cache): UPSTREAM, CACHE, OUTPUT, inputs.

        Those that forward takes, too, are known by their names; one of another name in the place of the cache is the
        input that is left: ``relu_backward(dA, Z)``, ``pool_backward(dpool, image, size)``.
        """
        same = {n.lower(): n for n in (*self.names, *self._defaults)}
        named = {t: same[t.lower()] for t in taken[1:] if t.lower() in same}
        caches = [t for t in taken if role(t) == CACHE]
        if caches[:1] == list(taken[:1]) and len(taken) == 2:  # backward(cache, dout)
            return {taken[0]: CACHE, taken[1]: UPSTREAM}
        if len(taken) < 2 or (not named and (caches or len(taken) > 2 or len(self.names) > 1)) or self._takes_inputs:
            return {}
        left = [n for n in self.names if n not in named.values()]
        meant = {taken[0]: UPSTREAM, **dict.fromkeys(caches, CACHE), **named}
        for t in taken:
            if t not in meant:
                meant[t] = OUTPUT if role(t) == OUTPUT or not left else left.pop(0)
        return {t: meant[t] for t in taken}

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        forward, backward = (signature_text(self.handed_over[k]) for k in ("forward", "backward"))
        return f"functions {forward} and {backward}; gradients of {', '.join(self.exact)}, as returned"

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache); without a cache, the backward pass gets the inputs."""
        parts = self._arguments.parts(values)
        result = self.code["forward"](*parts)
        self._find_passed_through(result, parts)
        if isinstance(result, tuple):
            if len(result) == self._backward_takes > 2:  # (h, c, cache), backward(dh, dc, cache)
                return apart(result[:-1]), result[-1]
            self._returns_cache = len(result) == 2
            if len(result) == 2 and not self._takes_inputs:
                return apart(result[0]), result[1]
            output, found = output_and_cache(result, self._backward_takes == 2)
            if found is not None:  # (out, cache, running_mean, running_var)
                return apart(output), found
        return apart(result), tuple(parts)

    def _find_passed_through(self, result: Any, parts: Sequence[Any]) -> None:
        """Note which outputs beside others are inputs as they are: the first state in a dict of all."""
        output = result[0] if isinstance(result, tuple) and result else result
        inputs = {id(x) for x in named_leaves(list(parts)).values()}
        outputs = named_leaves(output, "out") if isinstance(output, Mapping | list) else {}
        same = {n for n, x in outputs.items() if id(x) in inputs}
        self._passed_through = same if len(same) < len(outputs) else set()

    def _douts(self, output: Any) -> Any:
        rng = np.random.default_rng(SEED)
        drawn = mapped(output, lambda name, x: self.drawn_upstream(np.shape(x), rng), "out")
        return mapped(drawn, lambda name, x: np.zeros_like(x) if name in self._passed_through else x, "out")

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss: the outputs times random upstream gradients, summed."""
        douts = named_leaves(self._douts(output), "out")
        self.given = {n: x for n, x in douts.items() if n not in self._passed_through}
        return sum(
            (np.sum(out * self.given[name]) for name, out in named_leaves(output, "out").items() if name in self.given),
            0.0,
        )

    def extra_names(self, output: Any, cache: Any) -> dict[str, Any]:
        """Return values to be named, beyond the inputs."""
        named = named_leaves(cache, "" if isinstance(cache, Mapping) else "cache")
        return {**named, **named_leaves(output, "out")}

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the caller's function gives them."""
        self.handed = douts = self._douts(output) if self.upstream is None else copy.deepcopy(self.upstream)
        known = {*self.names} & {*self._by_name} or CACHE in self._by_name.values()
        inputs = dict(zip(self.names, self._arguments.parts(values), strict=True))
        options = {n: inputs[n] for n in self._options}
        if self._by_name and (known or not self._returns_cache):  # else backward(dout, c): c is what forward returned
            meant = {**self._defaults, **inputs, UPSTREAM: douts, CACHE: cache, OUTPUT: output}
            result = self.code["backward"](*(meant[kind] for kind in self._by_name.values()), **options)
        else:
            several = isinstance(douts, tuple) and self._backward_takes == len(douts) + 1
            upstream, rest = (douts, (cache,)) if several else ((douts,), cache if self._takes_inputs else (cache,))
            result = self.code["backward"](*upstream, *rest, **options)
        untouched = named_leaves(self._douts(output) if self.upstream is None else self.upstream, "out")
        self.dout_changed = any(not same(v, untouched[n]) for n, v in named_leaves(douts, "out").items())
        return result

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key; those in a tuple belong to the inputs, in their order."""
        if isinstance(grads, Mapping):
            return named_leaves(grads)
        parts = list(grads) if isinstance(grads, tuple | list) else [grads]
        floating = [n for n in self.names if any(e == n or e.startswith((n + "[", n + ".")) for e in self.exact)]
        if len(parts) not in (len(self.names), len(floating)):
            nested = list(named_leaves(parts).values())  # dx, [dW, db]
            parts = nested if len(nested) == len(floating) else parts
        names = self.names if len(parts) == len(self.names) else floating
        if len(parts) > len(names):
            raise AuditError(
                f"backward returned {len(parts)} gradients, forward takes {', '.join(self.names)}; expected one "
                "gradient per input, in their order"
            )
        found = {}
        for name, part in zip(names, parts, strict=False):
            if part is not None or name in floating:
                found.update(named_leaves(part, "d" + name))
        return found


def apart(output: Any) -> Any:
    """Return outputs of which one is computed from another as values of their own.

    What is handed to backward as dc is the gradient of the c that is returned; that of the c within the layer, from
    which h is computed, has a second part.
    """
    recorded = [x.node for x in named_leaves(output).values() if isinstance(x, Traced)]
    used = {id(x) for node in recorded for n in topological([node]) for x in n.inputs}

    def leaf(name: str, x: Any) -> Any:
        return wrapped(reshaped(x.node, x.node.shape)) if isinstance(x, Traced) and id(x.node) in used else x

    return mapped(output, leaf) if len(recorded) > 1 else output
