"""Other layouts and notations: examples in columns, error signals δ, the cache and dictionary of a program."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from ..formula.columns import turned, turned_array
from ..formula.dimensions import dimensions
from ..formula.expression import Expression, is_name
from ..formula.rules import simplify
from ..formula.source import NumpyPrinter
from .steps import Backward, Steps

if TYPE_CHECKING:
    from .derivation import Derivation

LAYOUTS, NOTATIONS = ("rows", "columns"), ("gradients", "delta", "dict")


def arranged(derivation: Derivation, layout: str, notation: str) -> Derivation:
    """Return the derivation in another layout and notation."""
    from .derivation import Derivation

    for name, value, known in (("layout", layout, LAYOUTS), ("notation", notation, NOTATIONS)):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    if layout == "rows" and notation == "gradients":
        return derivation
    if derivation.steps.m is None:
        raise ValueError("layout and notation are those of networks; a function is written as it is")
    steps = derivation.steps if layout == "rows" else in_columns(derivation.steps)
    steps = signals(steps) if notation == "delta" else steps
    return Derivation(steps, derivation.name, derivation.passes, layout, notation)


def in_columns(steps: Steps) -> Steps:
    """Return the steps for examples in columns: Z = W X + b, with W of shape (out, in)."""
    own = steps.by_example
    return replace(
        steps,
        forward=tuple(replace(f, expression=turned(f.expression, own, f.name)) for f in steps.forward),
        loss=steps.loss and replace(steps.loss, expression=turned(steps.loss.expression, own)),
        backward=tuple(_turned_step(b, own) for b in steps.backward),
        raw_loss=steps.raw_loss and turned(steps.raw_loss, own),
        values={label: turned_array(array, label in own) for label, array in steps.values.items()},
    )


def _turned_step(step: Backward, own: frozenset[str]) -> Backward:
    local = {u: turned(c, own) for u, c in step.local.items()}
    return replace(step, expression=turned(step.expression, own, step.name), local=local)


# -- error signals -------------------------------------------------------------------------------------------------


def signals(steps: Steps) -> Steps:
    """Return the steps with the gradients of activations substituted into the error signals: δ = (W^T δ) ⊙ f'(Z)."""
    kept: list[Backward] = []
    inner: dict[str, Backward] = {}
    gradients = {b.name for b in steps.backward} | {steps.given}

    def put_in(e: Expression) -> Expression | None:
        return inner[e["name"]].expression if is_name(e) and e["name"] in inner else None

    for step in steps.backward:
        absorbed = next((inner[g] for g in step.reused if g in inner), None)
        expression = simplify(step.expression.mapped(put_in))
        reused = tuple(g for g in expression.names() if g in gradients)
        step = replace(step, expression=expression, reused=reused, inner=absorbed)
        takers = [b.name for b in steps.backward if step.name in b.reused]
        if re.fullmatch(r"dA\d+", step.name) and len(takers) == 1 and re.fullmatch(r"dZ\d+", takers[0]):
            inner[step.name] = step
        else:
            kept.append(step)
    return replace(steps, backward=tuple(kept))


# -- a program's dictionaries --------------------------------------------------------------------------------------


def dictionary_text(derivation: Derivation) -> str:
    """Return the derivation as the lines of a program: cache and grads are dictionaries, as in an article's code."""
    from .wording import WIDTH, Style, explanation, headline, legend, reuse

    steps = derivation.steps
    where = {n: "parameters" for n in (*steps.parameters, *steps.constants)}
    where |= {f.name: "cache" for f in steps.forward} | {b.name: "grads" for b in steps.backward}

    def naming(label: str) -> str:
        return f'{where[label]}["{label}"]' if label in where and label not in ("Y", "y") else label

    write = NumpyPrinter(naming)
    lines = [headline(derivation), *textwrap.wrap(legend(derivation), WIDTH), "", "FORWARD"]
    for f in (*derivation.forward, *([derivation.loss] if derivation.loss is not None else [])):
        lines.append(f"  {naming(f.name)} = {write.form(f.expression)}  # {dimensions(f.expression)}")
    lines += ["", "BACKWARD"]
    for step in derivation.backward:
        taken = f"  # reuses {reuse(step, Style())}" if step.reused else ""
        lines.append(f"  {naming(step.name)} = {write.form(step.expression)}{taken}")
        lines += [*explanation(derivation, step, Style(), "      # "), ""]
    return "\n".join([*lines, "COST", *(f"  {line}" for line in derivation.cost.lines())])
