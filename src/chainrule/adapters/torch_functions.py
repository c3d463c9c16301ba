"""PyTorch's functions, modules and ``autograd.Function``, as functions with a gradient to check.

Only used where the caller has loaded PyTorch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.op import Array
from .containers import named_leaves
from .gradient_forms import CheckedFunction, Pullback, is_torch, labelled, leaves_of, name_of
from .signatures import argument_names


@dataclass
class TorchFunction(CheckedFunction):
    """A function on PyTorch's tensors, differentiated by PyTorch."""

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`."""
        return self.f(*self.rebuilt(_tensors(point)))

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`."""
        torch = sys.modules["torch"]
        leaves = _tensors(point)
        outputs = self.real_outputs(self.f(*self.rebuilt(leaves)))

        def pulled(parts: list[Array]) -> list[Any]:
            starts = [torch.from_numpy(np.array(p)).to(o.dtype) for o, p in zip(outputs, parts, strict=True)]
            return [g.detach().numpy() for g in _gradients(outputs, leaves, starts, retain_graph=True)]

        return pulled

    def gradients(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """Return the gradient for every leaf, on tensors."""
        outputs = self.real_outputs(self.f(*self.rebuilt(leaves)))
        return _gradients(outputs, leaves, cotangents, create_graph=True)


def _tensors(point: Sequence[Array]) -> list[Any]:
    torch = sys.modules["torch"]
    return [torch.from_numpy(np.array(x)).requires_grad_() for x in point]


def _gradients(outputs: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> list[Any]:
    """Return PyTorch's gradients, zeros where the outputs don't depend on an input."""
    torch = sys.modules["torch"]
    used = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not used:
        return [torch.zeros_like(x) for x in inputs]
    ends, starts = zip(*used, strict=True)
    return list(torch.autograd.grad(ends, inputs, starts, materialize_grads=True, **options))


def torch_function(
    f: Any, args: tuple[Any, ...], argnums: tuple[int, ...] | None, form: str | None
) -> TorchFunction | None:
    """Return what is PyTorch's as a function to check, None for anything else."""
    torch = sys.modules["torch"]
    if isinstance(f, torch.nn.Module):
        return _module(f, args, argnums)
    if isinstance(f, type) and issubclass(f, torch.autograd.Function):
        with_context = "setup_context" not in vars(f)
        names = argument_names(f.forward, len(args) + with_context)[with_context:]  # type: ignore[attr-defined]
        whose, function = "yours", f.apply  # type: ignore[attr-defined]
    elif form is None and any(is_torch(x, "Tensor") for x in named_leaves(args).values()):
        names, whose, function = argument_names(f, len(args)), "torch's", f
    else:
        return None
    return TorchFunction(name_of(f), whose, function, args, labelled(names), leaves_of(args, labelled(names), argnums))


def _module(module: Any, args: tuple[Any, ...], argnums: tuple[int, ...] | None) -> TorchFunction:
    torch = sys.modules["torch"]
    parameters = dict(module.named_parameters())
    buffers = {n: b.clone() for n, b in module.named_buffers()}

    def called(*values: Any) -> Any:
        given, inputs = values[: len(parameters)], values[len(parameters) :]
        dtype = given[0].dtype if given else torch.float64
        state = {n: b.to(dtype) if b.is_floating_point() else b.clone() for n, b in buffers.items()}
        return torch.func.functional_call(module, dict(zip(parameters, given, strict=True)) | state, inputs)

    labels = [*(f"parameter {n}" for n in parameters), *labelled(argument_names(module.forward, len(args)))]
    arguments = (*parameters.values(), *args)
    leaves = leaves_of(arguments, labels, argnums, len(parameters))
    return TorchFunction(type(module).__name__, "torch's", called, arguments, labels, leaves)
