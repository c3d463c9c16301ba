"""What a derivation says beside its formulas, and the whole of it as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..core.op import Array
from ..formula.dimensions import dimensions
from ..formula.expression import Expression, is_name, is_number
from ..formula.names import Spelling, display_name, escaped, shape_text
from ..formula.printer import TextPrinter, flattens, outer_product, printer_of
from ..formula.rows import BROADCAST, CAST, GREATER, MATMUL, MULTIPLY, NEGATIVE, RESHAPE, SUBTRACT, SUM, TRANSPOSE
from ..ops.index import SCATTER
from ..ops.random import UNIFORM
from .recording import LOGITS, LOSS
from .steps import Backward

if TYPE_CHECKING:
    from .derivation import Derivation

WIDTH = 100
MOST_STEPS = 400


@dataclass(frozen=True)
class Style:
    """How formulas and names are written.

    Attributes
    ----------
    latex
        As LaTeX; else as plain text.
    delta
        With error signals.
    spelled
        How LaTeX writes a name that is set as text.
    begin, end
        What stands around a formula within a sentence.
    """

    latex: bool = False
    delta: bool = False
    spelled: Spelling = escaped
    begin: str = ""
    end: str = ""

    def name(self, label: str) -> str:
        """Return a name as it stands in a formula."""
        if label == LOSS:
            return "L"
        return self.printer.names(label)

    @property
    def printer(self) -> TextPrinter:
        """What writes formulas."""
        return printer_of(latex=self.latex, delta=self.delta, spelled=self.spelled)

    def inline(self, label: str) -> str:
        """Return a name as it stands in a sentence."""
        return f"{self.begin}{self.name(label)}{self.end}"

    def form(self, e: Expression) -> str:
        """Return a formula."""
        return self.printer.form(e)

    def math(self, e: Expression) -> str:
        """Return a formula as it stands in a sentence."""
        return f"{self.begin}{self.form(e)}{self.end}"

    def partial(self, of: str, by: str) -> str:
        """Return ∂of/∂by."""
        plain = Style(self.latex, False, self.spelled)
        a, b = plain.name(of), plain.name(by)
        return rf"\frac{{\partial {a}}}{{\partial {b}}}" if self.latex else f"∂{a}/∂{b}"

    def bracketed(self, formula: str) -> str:
        """Return a formula in brackets."""
        return rf"\left({formula}\right)" if self.latex else f"({formula})"

    @property
    def dot(self) -> str:
        """The sign between the factors of a chain."""
        return r" \cdot " if self.latex else " · "


def end_of(derivation: Derivation) -> str:
    """Return the name of what is differentiated; "loss" also where its gradient is given."""
    steps = derivation.steps
    return LOSS if derivation.loss is not None or steps.m is not None else steps.output


def chain_rule(derivation: Derivation, step: Backward, style: Style) -> str:
    """Return the chain rule for one value, as a sum over what it goes into."""
    end = end_of(derivation)
    if not step.users or end in step.users:
        return style.partial(end, step.of)
    ways = [u for u in step.users if f"d{u}" in step.reused]
    passed_on = set(step.reused) - {f"d{u}" for u in ways}  # a sum gives its own gradient to each of its terms
    if not ways or passed_on:
        ways = list(step.users)
    terms = [f"{_from_the_end(derivation, step, u, style)}{style.dot}{style.partial(u, step.of)}" for u in ways]
    return f"{style.partial(end, step.of)} = {' + '.join(terms)}"


def _from_the_end(derivation: Derivation, step: Backward, user: str, style: Style) -> str:
    """Return ∂L/∂user, or the chain that it consists of, where it was put into this step."""
    end, inner = end_of(derivation), step.inner
    if inner is None or inner.of != user or not inner.users or end in inner.users:
        return style.partial(end, user)
    chain = chain_rule(derivation, inner, style).partition(" = ")[2]
    return style.bracketed(chain) if " + " in chain else chain


def local_derivatives(derivation: Derivation, step: Backward, style: Style) -> list[str]:
    """Return the local derivatives that the formula uses; none where it is no single factor."""
    if not step.users or step.users == (LOSS,):
        return [f"{style.partial(end_of(derivation), step.of)} = {style.form(step.expression)}"]
    before = local_derivatives(derivation, step.inner, style) if step.inner is not None else []
    return [*before, *(f"{style.partial(u, step.of)} = {style.form(c)}" for u, c in step.local.items())]


AS_A_WHOLE = "no single factor: each entry has a part in several, and the formula takes all of them at once"


def dimension_check(step: Backward) -> str:
    """Return the shapes of the formula, and that they are those of the value."""
    return f"{dimensions(step.expression)}, the shape of {display_name(step.of)}"


def in_words(derivation: Derivation, step: Backward, style: Style) -> str:
    """Return a sentence of intuition: what a nudge of the value does."""
    if step.inner is not None:
        own = in_words(derivation, replace(step, inner=None), style)
        return f"{own} {in_words(derivation, step.inner, style)}"
    v, users, e = style.inline(step.of), step.users, bare(step.expression)
    examples = _examples(derivation)
    if not users or users == (LOSS,):
        return _at_the_loss(derivation, step, style)
    users = tuple(u for u in users if f"d{u}" in step.reused) or tuple(step.local) or users
    if len(users) > 1:
        both = " and ".join(filter(None, [", ".join(map(style.inline, users[:-1])), style.inline(users[-1])]))
        return f"A nudge of {v} acts through {both}; what it does on each way adds up."
    u, g = style.inline(users[0]), style.inline(f"d{users[0]}")
    if e.op is MATMUL and users[0] in step.local:
        other = style.math(step.local[users[0]])
        if derivation.steps.m is None:
            return (
                f"A nudge of one entry of {v} moves a row or a column of {u}, by its entries in {other}; the effects, "
                f"weighed by {g}, add up."
            )
        parameters = derivation.steps.parameters
        if step.of in parameters if parameters else is_name(e.inputs[1], f"d{users[0]}"):
            return (
                f"A nudge of one weight in {v} moves one unit of {u}, in each example by what comes in there, "
                f"{other}, times the nudge; summed over the {examples}."
            )
        return (
            f"A nudge of one entry of {v} moves every unit of {u} in its example, each by its weight in {other}; "
            f"the effects, weighed by {g}, add up."
        )
    if e.op is SUM and users[0] in step.local:
        c = step.local[users[0]]
        by = "as much" if is_number(c, 1.0) else f"{style.math(c)} times as much"
        where, over = _summed(derivation, e)
        return f"A nudge of {v} moves {u} by {by} in {where}; summed over the {over}."
    if users[0] in step.local:
        alike = derivation.values[users[0]].shape == derivation.values[step.of].shape
        return _by_element(step, style, v, u, step.local[users[0]], alike)
    if e.op is SCATTER:
        return f"A nudge of a row of {v} moves every place of {u} that looked it up; their gradients add up."
    return f"A nudge of one entry of {v} moves several of {u}; the effects, weighed by {g}, add up."


def _summed(derivation: Derivation, e: Expression) -> tuple[str, str]:
    """Return where a value that a sum goes to is used, and what the sum is over."""
    of, axes, examples = e.inputs[0].shape, e["axis"], 0 if derivation.layout == "rows" else 1
    if derivation.steps.m is not None and len(of) == 2 and len(axes) == 1:
        if axes == (examples,):
            return "every example", _examples(derivation)
        return "every unit of its example", f"{of[axes[0]]} units"
    places = int(np.prod([of[i] for i in axes]))
    return "every place that it is used in", f"{places} places"


def _by_element(step: Backward, style: Style, v: str, u: str, c: Expression, alike: bool) -> str:
    if not alike:
        by = "as much" if is_number(c, 1.0) else f"{style.math(c)} times as much"
        return f"A nudge of one entry of {v} moves {u} by {by}."
    truth = c.inputs[0] if c.op is CAST else c
    if truth.kind == "b" and truth.op is GREATER and is_number(truth.inputs[1], 0.0):
        where = style.math(truth.inputs[0])
        return f"A nudge of {v} moves {u} by as much where {where} is positive, and not at all elsewhere."
    if is_number(c, 1.0):
        return f"A nudge of {v} moves {u} by as much."
    place = "in the same place only, " if c.shape else ""
    return f"A nudge of {v} moves {u} {place}by {style.math(c)} times as much."


def _at_the_loss(derivation: Derivation, step: Backward, style: Style) -> str:
    v, e = style.inline(step.of), step.expression
    difference = e.inputs[1] if e.op is MULTIPLY and is_number(e.inputs[0]) else e
    plain = difference.op is SUBTRACT and all(is_name(_core(x)) for x in difference.inputs)
    if plain and derivation.loss is not None:
        told, true = (style.math(x) for x in difference.inputs)
        far, scale = f"how far {told} is above {true}", e.inputs[0] if e is not difference else None
        if scale is None:
            return f"A nudge of {v} moves the loss by {far}."
        if (scale["value"], scale["batch"]) == (1.0, -1):
            return (
                f"A nudge of {v} moves the loss by {far}, shared among the {_examples(derivation)}.{_fused(derivation)}"
            )
        return f"A nudge of {v} moves the loss by {style.math(scale)} times {far}."
    if derivation.loss is None and derivation.steps.m is None:
        return f"A nudge of {v} moves the result by this much times the nudge."
    return f"A nudge of {v} moves the loss by this much times the nudge."


def _fused(derivation: Derivation) -> str:
    """Return what to say of a loss that takes logits: its activation is a part of it."""
    loss = derivation.steps.raw_loss
    if loss is None or not any(x.op in LOGITS for x in loss.walk()):
        return ""
    return " With the logarithm in the loss, the activation's derivative reduces to this."


def _core(e: Expression) -> Expression:
    while e.op in (RESHAPE, CAST, BROADCAST):
        e = e.inputs[0]
    return e


def bare(e: Expression) -> Expression:
    """Return a formula without its sign, its factor and its change of shape."""
    while e.op in (RESHAPE, TRANSPOSE, NEGATIVE) or (e.op is MULTIPLY and is_number(e.inputs[0])):
        e = e.inputs[-1]
    return e


def _examples(derivation: Derivation) -> str:
    m = derivation.steps.m
    return "entries" if m is None else f"{m} examples" if m != 1 else "one example"


def reuse(step: Backward, style: Style) -> str:
    """Return which gradients from before the formula takes up."""
    return ", ".join(style.inline(g) for g in step.reused)


# -- plain text ----------------------------------------------------------------------------------------------------


def headline(derivation: Derivation) -> str:
    """Return what is derived."""
    count = sum(int(np.size(derivation.values[p])) for p in derivation.steps.parameters)
    what = f"{derivation.name}, {count:,} parameters" if derivation.steps.parameters else derivation.name
    title = f"Derivation of the gradients of {one_line(what)}"
    if not derivation.failed:
        return title
    wrong = ", ".join(f"{one_line(name)} (off by {error:.2g})" for name, error in derivation.failed.items())
    return f"{title} — DOES NOT HOLD: evaluated, these formulas do not give the recorded values: {wrong}"


def one_line(text: str) -> str:
    """Return a user's text without line breaks and control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def legend(derivation: Derivation) -> str:
    """Return what the signs mean."""
    parts = ["⊙ multiplies element by element"]
    if derivation.steps.m is not None:
        axes = "i runs over the examples" if derivation.layout == "rows" else "j runs over the examples"
        parts.append(f"m = {derivation.steps.m} examples in {derivation.layout}; {axes}")
        if derivation.layout == "columns" and any(len(f.shape) > 2 for f in derivation.forward):
            parts.append("arrays of three axes and more stay as they are, examples first")
    if derivation.notation == "delta":
        parts.append("δ₁ is ∂L/∂Z₁, and so on")
        if any(outer_product(x) for step in derivation.backward for x in step.expression.walk() if x.op is MATMUL):
            parts.append("⊗ is the outer product, summed over the examples")
    forward = [x for f in derivation.forward for x in f.expression.walk()]
    if any(x.op is RESHAPE and flattens(x) for x in forward):
        parts.append("flat(…) makes one row of what belongs to an example")
    if any(x.op is UNIFORM for x in forward):
        parts.append("uniform(…) draws numbers from 0 to 1, by a seed and a counter")
    if derivation.steps.given:
        given = Style(delta=derivation.notation == "delta").name(derivation.steps.given)
        parts.append(f"{given} is given from above")
    if derivation.steps.fixed and derivation.steps.m is not None:
        parts.append("the formulas hold for this number of examples only")
    return "; ".join(parts) + "."


def plain_text(derivation: Derivation) -> str:
    """Return the derivation as plain text."""
    if derivation.notation == "dict":
        from .notation import dictionary_text

        return dictionary_text(derivation)
    style = Style(delta=derivation.notation == "delta")
    lines = [headline(derivation), *textwrap.wrap(legend(derivation), WIDTH), "", "FORWARD"]
    forward = [*derivation.forward, *([derivation.loss] if derivation.loss else [])]
    by_value = derivation.steps.m is None
    for label in derivation.steps.inputs if by_value else ():
        given = derivation.values[label]
        lines += _beside(f"  {style.name(label)}", f"({shape_text(given.shape)})   = {value_text(given)}")
    for f in _shortened(forward):
        value = f"   = {value_text(derivation.values[f.name])}" if by_value else ""
        lines += _beside(f"  {style.name(f.name)} = {style.form(f.expression)}", f"{dimensions(f.expression)}{value}")
    lines += ["", "BACKWARD"]
    for k, step in enumerate(_shortened(derivation.backward)):
        lines += _step(derivation, step, style, k + 1)
    if len(derivation.backward) > MOST_STEPS:
        lines.append(f"  … {len(derivation.backward) - MOST_STEPS} more steps: derivation.backward")
    lines += ["COST", *(f"  {line}" for line in derivation.cost.lines())]
    return "\n".join(lines)


def _shortened(items: Iterable) -> list:  # type: ignore[type-arg]
    return list(items)[:MOST_STEPS]


def _step(derivation: Derivation, step: Backward, style: Style, number: int) -> list[str]:
    taken = reuse(step, style)
    first = f"{number:3}. {style.name(step.name)} = {style.form(step.expression)}"
    return [*_beside(first, f"reuses {taken}" if taken else ""), *explanation(derivation, step, style, " " * 7), ""]


def explanation(derivation: Derivation, step: Backward, style: Style, margin: str) -> list[str]:
    """Return what stands under a formula: chain rule, local derivatives, shapes and a sentence."""
    rows = [("chain rule", chain_rule(derivation, step, style))]
    rows += [("local", line) for line in local_derivatives(derivation, step, style) or [AS_A_WHOLE]]
    if derivation.steps.m is None:
        rows.append(("value", value_text(derivation.values[step.name])))
    if step.shape or derivation.steps.m is not None:
        rows.append(("shapes", dimension_check(step)))
    rows.append(("in words", in_words(derivation, step, style)))
    lines = []
    for label, text in rows:
        begin, on = f"{margin}{label:<11}", margin + " " * 11
        lines += textwrap.wrap(text, WIDTH, initial_indent=begin, subsequent_indent=on, break_long_words=False)
    return lines


def _beside(left: str, right: str) -> list[str]:
    """Return both on a line, the second on one of its own where it does not fit."""
    if not right:
        return [left]
    if len(left) < 46:
        return [f"{left:<46}  {right}"]
    return [left, f"{'':48}{right}"]


def value_text(array: Array) -> str:
    """Return a value in few characters: a number, or what an array holds."""
    if array.size == 1:
        return f"{array.ravel()[0]:.6g}"
    if array.size <= 4:
        return np.array2string(array, precision=4, separator=", ").replace("\n", "")
    return f"array of {shape_text(array.shape)}, norm {float(np.sqrt(np.sum(np.square(array * 1.0)))):.4g}"
