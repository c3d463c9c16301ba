"""From a function as the caller has it, with its arguments, to a function with a gradient to check."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from ..nn import Module, functional_call
from .gradient_forms import ChainruleFunction, CheckedFunction, HandWritten, as_array, labelled, leaves_of, name_of
from .signatures import argument_names
from .torch_functions import torch_function


def checked_function(
    f: Any, args: tuple[Any, ...], form: str | None, derivative: Any, argnums: tuple[int, ...] | None
) -> CheckedFunction:
    """Return a function with its arguments and the gradient to check; without a `form` it is the library's own."""
    if "torch" in sys.modules and (found := torch_function(f, args, argnums, form)) is not None:
        return found
    if isinstance(f, Module):
        return _module_function(f, args, argnums)
    names = argument_names(f, len(args))
    labels = labelled(names)
    leaves = leaves_of(args, labels, argnums)
    if form is None:
        return ChainruleFunction(name_of(f), "chainrule's", f, args, labels, leaves)
    return HandWritten(name_of(f), "yours", f, args, labels, leaves, form=form, derivative=derivative, names=names)


def _module_function(module: Module, args: tuple[Any, ...], argnums: tuple[int, ...] | None) -> CheckedFunction:
    """Return a module as a function of its parameters and inputs; its buffers take the dtype of the point."""
    parameters = dict(module.named_parameters())
    buffers = {n: np.asarray(b) for n, b in module.named_buffers() if np.asarray(b).dtype.kind == "f"}
    dtype = module.dtype or np.dtype(np.float64)
    first = as_array(args[0]) if args and not module.takes_ids else None
    if first is not None and first.dtype.kind in "iub":  # the module would cast them, too
        args = (first.astype(dtype), *args[1:])

    def called(*values: Any) -> Any:
        given, inputs = values[: len(parameters)], values[len(parameters) :]
        kind = given[0].dtype if given else np.float64
        state = dict(zip(parameters, given, strict=True)) | {n: b.astype(kind) for n, b in buffers.items()}
        return functional_call(module, state, *inputs)[0]

    own = [f"parameter {n}" + (f" ({p.name})" if p.name and p.name != n else "") for n, p in parameters.items()]
    labels = [*own, *labelled(argument_names(module.forward, len(args)))]
    arguments = (*(np.array(p.value) for p in parameters.values()), *args)
    leaves = [
        leaf if leaf.argument is None else replace(leaf, value=leaf.value.astype(dtype), number=False)
        for leaf in leaves_of(arguments, labels, argnums, len(parameters))
    ]
    return ChainruleFunction(type(module).__name__, "chainrule's", called, arguments, labels, leaves, plain=False)
