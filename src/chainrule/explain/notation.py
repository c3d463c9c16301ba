"""How others arrange a derivation: examples in columns, and error signals δ."""

from __future__ import annotations

import re
from dataclasses import replace

from ..core.arguments import choice
from ..formula.columns import turned, turned_array
from ..formula.expression import Expression, is_name
from ..formula.rules import simplify
from .steps import Backward, Steps

LAYOUTS, NOTATIONS = ("rows", "columns"), ("gradients", "delta", "dict")


def arranged(steps: Steps, layout: str, notation: str) -> Steps:
    """Return the steps in another layout and notation."""
    choice("layout", layout, LAYOUTS)
    choice("notation", notation, NOTATIONS)
    if steps.m is None and (layout, notation) != ("rows", "gradients"):
        raise ValueError("layout and notation are for networks; a function is written as it is")
    steps = steps if layout == "rows" else in_columns(steps)
    return signals(steps) if notation == "delta" else steps


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
