"""What the passes cost, measured from their plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiled import compile
from ..core.op import CONTRACT, Array
from ..core.transforms import jvp, value_and_grad
from ..nn import losses
from ..nn.functional import functional_call
from ..nn.module import Module
from ..nn.sequential import logits_part
from ..plan import Plan

if TYPE_CHECKING:
    from .derivation import Derivation

Passes = tuple[Callable[..., Any], list[Array]]


@dataclass(frozen=True)
class Cost:
    """Multiply–adds and bytes.

    Attributes
    ----------
    forward, backward : int
        Multiply–adds of one forward pass, and of backpropagation after it. A matrix product counts one for each pair
        of numbers that it multiplies, everything else as its row in the operation table says: an addition one for each
        element, a sigmoid four.
    forward_mode : int
        Of forward-mode differentiation: a forward pass, and one pass of tangents for each parameter.
    nudging : int
        Of finite differences, nudging every parameter: a forward pass for each, and one to compare with.
    parameters : int
        How many numbers are differentiated by.
    cache : int
        Bytes of the values that the backward pass reads (in float64).
    """

    forward: int
    backward: int
    forward_mode: int
    nudging: int
    parameters: int
    cache: int

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (what, amount, compared with what)."""
        whole = self.forward + self.backward
        return [
            ("forward pass", f"{self.forward:,} multiply–adds", ""),
            (
                "backpropagation",
                f"{self.backward:,} multiply–adds",
                _times(self.backward, self.forward, "a forward pass"),
            ),
            (
                "forward mode",
                f"{self.forward_mode:,} multiply–adds",
                f"a pass for each of {_count(self.parameters)}: {_times(self.forward_mode, whole, 'both passes')}",
            ),
            (
                "finite differences",
                f"{self.nudging:,} multiply–adds",
                f"{self.parameters + 1:,} forward passes: {_times(self.nudging, whole, 'both passes')}",
            ),
            ("cache", f"{self.cache:,} bytes", "kept for the backward pass, in float64"),
        ]


def _count(parameters: int) -> str:
    return f"{parameters:,} parameters" if parameters != 1 else "1 parameter"


def _times(a: int, b: int, what: str) -> str:
    return f"{a / b:,.3g} × {what}" if b else "nothing to compare with"


def multiply_adds(plan: Plan) -> int:
    """Return the multiply–adds of one run of a plan."""
    total = 0
    for step in plan.operations:
        if step.op.flops is not None:
            shapes = [plan.values[i].shape for i in step.inputs]
            flops = step.op.flops(plan.values[step.output].shape, *shapes, **step.attrs)
            total += flops // 2 if step.op.kind == CONTRACT else flops
    return total


def network_passes(model: Module, X: Any, Y: Any, loss: Any) -> Passes:
    """Return the function that the passes of a network are planned for, and its arguments: the parameters."""
    model = logits_part(model, loss) if loss is not None else model
    paths = [path for path, _ in model.named_parameters()]
    values = [np.asarray(p.value, np.float64) for p in model.parameters()]
    buffers = {path: np.asarray(b) for path, b in model.named_buffers()}

    def run(*parameters: Any) -> Any:
        output, _ = functional_call(model, {**dict(zip(paths, parameters, strict=True)), **buffers}, X)
        return losses.get(loss)(output, Y) if loss is not None else output

    return run, values


def function_passes(function: Callable[..., Any], inputs: Sequence[Any]) -> Passes:
    """Return the function that the passes are planned for, and its arguments."""
    arrays = [np.asarray(x) for x in inputs]
    at = [i for i, x in enumerate(arrays) if x.dtype.kind == "f"]

    def run(*given: Any) -> Any:
        arguments: list[Any] = list(arrays)
        for i, x in zip(at, given, strict=True):
            arguments[i] = x
        return function(*arguments)

    return run, [arrays[i].astype(np.float64) for i in at]


def cost_of(derivation: Derivation) -> Cost:
    """Plan a forward pass, one with its backward pass, and one with tangents, and count their multiply–adds."""
    function, values = derivation.passes
    try:
        plan = compile(function).plan(*values)
    except TypeError:  # it depends on values, and cannot be traced; the formulas of the branches taken can
        function, values = _by_formulas(derivation)
        plan = compile(function).plan(*values)
    forward = multiply_adds(plan)
    every = tuple(range(len(values)))

    def tangents(*given: Any) -> Any:
        return jvp(function, given[: len(values)], given[len(values) :])

    shape = plan.values[plan.outputs[0]].shape
    weights = np.ones(shape)

    def weighted(*given: Any) -> Any:
        """Return a scalar whose gradient is a backward pass from given gradients of the output."""
        return np.sum(function(*given[:-1]) * given[-1]) if shape else function(*given[:-1])

    both = multiply_adds(compile(value_and_grad(weighted, argnums=every)).plan(*values, weights))
    both -= 2 * weights.size if shape else 0
    one = multiply_adds(compile(tangents).plan(*values, *values))
    count = sum(v.size for v in values)
    return Cost(
        forward,
        max(both - forward, 0),
        forward + count * max(one - forward, 0),
        (count + 1) * forward,
        count,
        cache_bytes(derivation),
    )


def _by_formulas(derivation: Derivation) -> Passes:
    steps = derivation.steps
    wanted = [n for n in (*steps.parameters, *steps.inputs) if f"d{n}" in derivation.values]
    end = derivation.loss.name if derivation.loss is not None else steps.output

    def run(*given: Any) -> Any:
        known: dict[str, Any] = {n: derivation.values[n] for n in (*steps.inputs, *steps.constants)}
        known.update(zip(wanted, given, strict=True))
        for f in (*derivation.forward, *([derivation.loss] if derivation.loss else [])):
            known[f.name] = f.expression.value(known, steps.m)
        return known[end]

    return run, [derivation.values[n] for n in wanted]


def cache_bytes(derivation: Derivation) -> int:
    """Return the bytes of the forward values and inputs that the backward formulas read."""
    steps = derivation.steps
    computed = {s.name for s in steps.forward} | set(steps.inputs)
    read = {n for s in steps.backward for n in s.expression.names()} & computed
    unique = {id(derivation.values[n]): derivation.values[n] for n in read}
    return sum(int(v.nbytes) for v in unique.values())
