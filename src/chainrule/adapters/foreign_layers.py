"""Layers on the tensors of other libraries: functions, ``autograd.Function`` of PyTorch, ``custom_vjp`` of JAX.

The passes run in their own library, on copies; their forward pass is recorded by `torch_recording` or `jax_recording`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.custom import custom_vjp
from . import jax_recording, torch_recording
from .containers import mapped, named_leaves
from .layer_functions import LayerFunctions
from .recorded_run import AuditError


def library_of(*nests: Any) -> Any:
    """Return the module that records the library whose tensors are among the arguments; None for NumPy's arrays."""
    leaves = list(named_leaves(list(nests)).values())
    return next((m for m in (torch_recording, jax_recording) if any(map(m.is_tensor, leaves))), None)


def rule_as_layer(rule: Any, inputs: Sequence[Any]) -> LayerFunctions | None:
    """Return a function with a custom derivative (of PyTorch, JAX or chainrule) as a layer; None for anything else."""
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and isinstance(rule, type) and issubclass(rule, torch.autograd.Function):
        passes: Any = _AutogradFunction(rule, len(inputs))
        library: Any = torch_recording
        kind = "autograd.Function"
    elif jax is not None and isinstance(rule, jax.custom_vjp):
        passes, library, kind = _CustomVjp(rule), jax_recording, "jax.custom_vjp"
    elif isinstance(rule, custom_vjp):
        forward, backward = rule.passes()
        return _named(LayerFunctions(forward, lambda dout, cache: backward(cache, dout), inputs), rule)
    else:
        return None
    layer = ForeignLayer(library, passes.forward, passes.backward, inputs, passes.names)
    layer.read_as = f"{kind} {name_of(rule)}"
    return _named(layer, rule)


def name_of(rule: Any) -> str:
    """Return the name of a class or function."""
    return str(getattr(rule, "__name__", type(rule).__name__))


def _named(layer: LayerFunctions, rule: Any) -> LayerFunctions:
    layer.title = f"Audit of {name_of(rule)}"
    return layer


class ForeignLayer(LayerFunctions):
    """A layer whose passes take and return another library's tensors; the audit sees arrays.

    Parameters
    ----------
    library : module
        `torch_recording` or `jax_recording`.
    forward, backward : callable
        As for `LayerFunctions`, on tensors.
    inputs
        Tensors, arrays, numbers.
    names : sequence of str, optional
        The names of the inputs; those of the parameters of `forward` by default.
    """

    read_as = ""

    def __init__(
        self, library: Any, forward: Any, backward: Any, inputs: Sequence[Any], names: Sequence[str] | None = None
    ) -> None:
        arrays = [mapped(x, lambda _, leaf: library.left(leaf)) for x in inputs]
        dtype = library.dtype_for(forward, arrays)

        def on_arrays(*values: Any) -> Any:
            return library.call_recorded(forward, values, dtype)

        def back_on_arrays(*arguments: Any) -> Any:
            with library.without_gradients():
                tensors = [mapped(x, lambda _, leaf: library.entered(leaf, dtype)) for x in arguments]
                return mapped(backward(*tensors), lambda _, leaf: library.left(leaf))

        names = names or list(inspect.signature(forward).parameters)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(n, kind) for n in names[: len(inputs)]])
        on_arrays.__signature__ = signature  # type: ignore[attr-defined]
        back_on_arrays.__signature__ = inspect.signature(backward)  # type: ignore[attr-defined]
        self.read_as = f"functions {name_of(forward)} and {name_of(backward)} of {library.NAME}'s tensors"
        super().__init__(on_arrays, back_on_arrays, arrays)
        self.title = f"Audit of {name_of(backward)}"

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        return f"{self.read_as}; gradients of {', '.join(self.exact)}, as returned"


class Context:
    """What ``ctx`` is in PyTorch: it keeps what ``forward`` saves for ``backward``."""

    saved_tensors: tuple[Any, ...] = ()
    needs_input_grad: tuple[bool, ...] = ()

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        """The former name of ``saved_tensors``."""
        return self.saved_tensors

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors."""
        self.saved_tensors = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Accept what forward-mode differentiation would read."""

    def mark_dirty(self, *tensors: Any) -> None:
        """Accept the names of inputs that are written into; they are copies."""

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Accept outputs without a derivative."""

    def set_materialize_grads(self, value: bool) -> None:
        """Accept the setting; upstream gradients are always there."""


class _AutogradFunction:
    """``forward(*inputs) -> (output, cache)`` and ``backward(dout, cache)`` of an ``autograd.Function``."""

    def __init__(self, function: Any, count: int) -> None:
        self._function, self._count = function, count
        self._apart = "setup_context" in vars(function)  # ctx is filled outside of forward
        names = [p.name for p in inspect.signature(function.forward).parameters.values()][0 if self._apart else 1 :]
        self.names = names + [f"x{i}" for i in range(len(names), count)]

    def forward(self, *inputs: Any) -> tuple[Any, Any]:
        context = Context()
        context.needs_input_grad = tuple(torch_recording.is_tensor(x) and x.is_floating_point() for x in inputs)
        if self._apart:
            output = self._function.forward(*inputs)
            self._function.setup_context(context, inputs, output)
        else:
            output = self._function.forward(context, *inputs)
        return output, dict(vars(context))

    def backward(self, dout: Any, cache: Any) -> Any:
        context = Context()
        vars(context).update(cache)
        result = self._function.backward(context, *(dout if isinstance(dout, tuple) else (dout,)))
        return result if isinstance(result, tuple) else (result,)


class _CustomVjp:
    """``forward(*inputs) -> (output, cache)`` and ``backward(dout, cache)`` of JAX's ``custom_vjp``."""

    def __init__(self, rule: Any) -> None:
        if rule.fwd is None or rule.bwd is None:
            raise AuditError(f"{name_of(rule)} has no backward pass; call defvjp(forward, backward) first")
        self._rule, self._fixed = rule, sorted(rule.nondiff_argnums)
        self.names = list(inspect.signature(rule.fun).parameters)
        self._constants: tuple[Any, ...] = ()

    def forward(self, *inputs: Any) -> tuple[Any, Any]:
        self._constants = tuple(inputs[i] for i in self._fixed)
        output, (again, residuals) = self._rule.fun(*inputs), self._rule.fwd(*inputs)
        pairs = list(zip(named_leaves([output]).values(), named_leaves([again]).values(), strict=True))
        for a, b in pairs if not any(_is_traced(x) for x, _ in pairs) else []:
            if np.shape(a) != np.shape(b) or not np.allclose(a, b, 1e-5, 1e-6, equal_nan=True):
                raise AuditError(f"the forward pass of defvjp returns another output than {name_of(self._rule)}")
        return output, residuals

    def backward(self, dout: Any, cache: Any) -> Any:
        found = iter(self._rule.bwd(*self._constants, cache, dout))
        total = len(self.names)
        return tuple(None if i in self._fixed else next(found, None) for i in range(total))


def _is_traced(x: Any) -> bool:
    jax = sys.modules["jax"]
    return isinstance(x, jax.core.Tracer)
