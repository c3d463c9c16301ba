"""How the articles write it: examples in columns, error signals δ, the cache and dictionary of a program."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from .columns import turned, turned_array
from .expression import Expression, is_name
from .latex import LatexPrinter, latex_name
from .numpy_form import NumpyPrinter
from .rules import simplify
from .steps import Backward, Steps
from .text import ATOM, MATRIX, POWER, PRODUCT, Printed, TextPrinter, dimensions, display_name, name_parts

if TYPE_CHECKING:
    from .derivation import Derivation

LAYOUTS, NOTATIONS = ("rows", "columns"), ("gradients", "delta", "dict")


def arranged(derivation: Derivation, layout: str, notation: str) -> Derivation:
    """Return the derivation in another layout and notation."""
    from .derivation import Derivation

    for name, value, known in (("layout", layout, LAYOUTS), ("notation", notation, NOTATIONS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; one of {', '.join(known)} would do")
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
        forward=tuple(replace(f, expression=turned(f.expression, own)) for f in steps.forward),
        loss=steps.loss and replace(steps.loss, expression=turned(steps.loss.expression, own)),
        backward=tuple(_turned_step(b, own) for b in steps.backward),
        values={label: turned_array(array, label in own) for label, array in steps.values.items()},
    )


def _turned_step(step: Backward, own: frozenset[str]) -> Backward:
    local = {u: turned(c, own) for u, c in step.local.items()}
    return replace(step, expression=turned(step.expression, own), local=local)


# -- error signals -------------------------------------------------------------------------------------------------


def signals(steps: Steps) -> Steps:
    """Return the steps with the gradients of activations put into the error signals: δ = (W^T δ) ⊙ f'(Z)."""
    kept: list[Backward] = []
    inner: dict[str, Expression] = {}
    for step in steps.backward:
        expression = simplify(step.expression.mapped(lambda e: inner.get(e["name"]) if e.op == "name" else None))
        names = expression.names()
        step = replace(step, expression=expression, reused=tuple(g for g in names if g[0] == "d" and g in steps.values))
        takers = [b.name for b in steps.backward if step.name in b.reused]
        if re.fullmatch(r"dA\d+", step.name) and len(takers) == 1 and re.fullmatch(r"dZ\d+", takers[0]):
            inner[step.name] = expression
        else:
            kept.append(step)
    return replace(steps, backward=tuple(kept))


def _signal(label: str) -> str | None:
    match = re.fullmatch(r"dZ(\d+)", label)
    return f"delta{match[1]}" if match else None


class DeltaText(TextPrinter):
    """Writes δ₁ for dZ₁ and ∂L/∂W₁ for dW₁."""

    def name(self, e: Expression) -> Printed:
        """Return a name."""
        label = e["name"]
        if _signal(label):
            return display_name(str(_signal(label))), ATOM
        parts = name_parts(label)
        return (f"∂L/∂{display_name(label[1:])}" if parts and parts[0] else display_name(label)), ATOM

    def _matmul(self, e: Expression) -> Printed:
        if outer_product(e):
            a, b = e.inputs
            return f"{self.bracketed(a, POWER)} ⊗ {self.bracketed(b.inputs[0], POWER)}", PRODUCT
        return super()._matmul(e)


class DeltaLatex(LatexPrinter):
    """The same as LaTeX."""

    def name(self, e: Expression) -> Printed:
        """Return a name."""
        label = e["name"]
        if _signal(label):
            return latex_name(str(_signal(label))), ATOM
        parts = name_parts(label)
        if parts and parts[0]:
            return rf"\frac{{\partial L}}{{\partial {latex_name(label[1:], self.spelled)}}}", ATOM
        return latex_name(label, self.spelled), ATOM

    def _matmul(self, e: Expression) -> Printed:
        if outer_product(e):
            a, b = e.inputs
            return rf"{self.bracketed(a, MATRIX)} \otimes {self.bracketed(b.inputs[0], MATRIX)}", PRODUCT
        return super()._matmul(e)


def outer_product(e: Expression) -> bool:
    """Whether a product is Σ δ ⊗ a over the examples: a gradient times a transposed value, examples in columns."""
    a, b = e.inputs
    return is_name(a) and a["name"].startswith("d") and b.op == "transpose" and is_name(b.inputs[0])


# -- a program's dictionaries --------------------------------------------------------------------------------------


def dictionary_text(derivation: Derivation) -> str:
    """Return the derivation as the lines of a program: cache and grads are dictionaries, as in an article's code."""
    from .wording import Style, headline, in_words, legend

    steps = derivation.steps
    where = {n: "parameters" for n in (*steps.parameters, *steps.constants)}
    where |= {f.name: "cache" for f in steps.forward} | {b.name: "grads" for b in steps.backward}

    def naming(label: str) -> str:
        return f'{where[label]}["{label}"]' if label in where and label not in ("Y", "y") else label

    write = NumpyPrinter(naming)
    lines = [headline(derivation), legend(derivation), "", "FORWARD"]
    lines += [f"  {naming(f.name)} = {write.text(f.expression)[0]}" for f in derivation.forward]
    if derivation.loss is not None:
        lines.append(f"  loss = {write.text(derivation.loss.expression)[0]}")
    lines += ["", "BACKWARD"]
    for step in derivation.backward:
        lines.append(f"  {naming(step.name)} = {write.text(step.expression)[0]}")
        lines.append(f"      # {dimensions(step.expression)}. {in_words(derivation, step, Style())}")
    return "\n".join([*lines, "", "COST", *(f"  {line}" for line in derivation.cost.lines())])
