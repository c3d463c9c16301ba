"""What a derivation says of one step: its formula, the chain rule, the local derivatives, and a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..formula.expression import Expression, is_name, is_number
from ..formula.names import display_name, latex_name
from ..formula.printer import latex_signs, printer_of
from ..formula.rows import (
    BROADCAST,
    CAST,
    DIVIDE,
    GREATER,
    MATMUL,
    MULTIPLY,
    NEGATIVE,
    RESHAPE,
    SUBTRACT,
    SUM,
    TRANSPOSE,
)
from ..formula.source import NumpyPrinter
from ..ops.index import SCATTER
from ..show.document import Content, Math, joined, sentence
from .recording import LOGITS, LOSS
from .steps import Backward, Forward

if TYPE_CHECKING:
    from .derivation import Derivation

_DOT = Math(" · ", r" \cdot ")


class Writer:
    """Writes the names and formulas of a derivation in its notation, as text and as LaTeX at once."""

    def __init__(self, derivation: Derivation) -> None:
        delta = derivation.notation == "delta"
        self.text, self.latex = printer_of(delta=delta), printer_of(latex=True, delta=delta)
        self.source = _dictionaries(derivation) if derivation.notation == "dict" else None

    def name(self, label: str) -> Math:
        """Return a name."""
        return Math("L", "L") if label == LOSS else Math(self.text.names(label), self.latex.names(label))

    def form(self, e: Expression) -> Math:
        """Return a formula."""
        return Math(self.text.form(e), self.latex.form(e))

    def equation(self, step: Forward | Backward) -> Math:
        """Return the formula of a step; in dict notation its text is a line of a program."""
        shown = self.name(step.name) + " = " + self.form(step.expression)
        if self.source is None:
            return shown
        return Math(f"{self.source.naming(step.name)} = {self.source.form(step.expression)}", shown.latex)

    def partial(self, of: str, by: str) -> Math:
        """Return ∂of/∂by, never in δ notation."""
        (a, b), (c, d) = (
            ("L" if x == LOSS else display_name(x), "L" if x == LOSS else latex_name(x)) for x in (of, by)
        )
        return Math(f"∂{a}/∂{c}", rf"\frac{{\partial {b}}}{{\partial {d}}}")


def _dictionaries(derivation: Derivation) -> NumpyPrinter:
    """Return what writes formulas with the dictionaries of a program: ``grads["dZ1"]``."""
    steps = derivation.steps
    where = {n: "parameters" for n in (*steps.parameters, *steps.constants)}
    where |= {f.name: "cache" for f in steps.forward} | {b.name: "grads" for b in steps.backward}

    def naming(label: str) -> str:
        return f'{where[label]}["{label}"]' if label in where and label not in ("Y", "y") else label

    return NumpyPrinter(naming)


def end_of(derivation: Derivation) -> str:
    """Return the name of what is differentiated; "loss" also where its gradient is given."""
    steps = derivation.steps
    return LOSS if derivation.loss is not None or steps.m is not None else steps.output


def chain_rule(derivation: Derivation, step: Backward, write: Writer) -> Math:
    """Return the chain rule for one value, as a sum over what it goes into."""
    whole = write.partial(end_of(derivation), step.of)
    if not step.users or end_of(derivation) in step.users:
        return whole
    over = Math("Σₜ ", r"\sum_{t} ") if over_steps(step) else Math("", "")
    return whole + " = " + over + _sum(_terms(derivation, step, write))


def over_steps(step: Backward) -> bool:
    """Whether a value is used in every step of a loop, and what it is used in is written once, for step t."""
    return "[t" not in step.of and any(u.endswith("[t]") for u in step.users)


def _sum(terms: Sequence[Math]) -> Math:
    total = terms[0]
    for term in terms[1:]:
        total = total + " + " + term
    return total


def _terms(derivation: Derivation, step: Backward, write: Writer) -> list[Math]:
    ways = [u for u in step.users if f"d{u}" in step.reused]
    passed_on = set(step.reused) - {f"d{u}" for u in ways}  # a sum gives its own gradient to each of its terms
    if not ways or passed_on:
        ways = list(step.users)
    return [_from_the_end(derivation, step, u, write) + _DOT + write.partial(u, step.of) for u in ways]


def _from_the_end(derivation: Derivation, step: Backward, user: str, write: Writer) -> Math:
    """Return ∂L/∂user, or the chain that it consists of, where it was put into this step."""
    end, inner = end_of(derivation), step.inner
    if inner is None or inner.of != user or not inner.users or end in inner.users:
        return write.partial(end, user)
    terms = _terms(derivation, inner, write)
    return _sum(terms).in_brackets() if len(terms) > 1 else terms[0]


def local_derivatives(derivation: Derivation, step: Backward, write: Writer) -> list[Math]:
    """Return the local derivatives that the formula uses; none if it is not a single factor."""
    if not step.users or step.users == (LOSS,):
        return [write.partial(end_of(derivation), step.of) + " = " + write.form(step.expression)]
    before = local_derivatives(derivation, step.inner, write) if step.inner is not None else []
    return [*before, *(write.partial(u, step.of) + " = " + write.form(c) for u, c in step.local.items())]


def by_entry(step: Forward | Backward, write: Writer) -> Content | None:
    """Return one element of a result in terms of elements of its inputs; None if there is no short formula."""
    e = step.expression
    found = e.op.entry(**dict(e.attrs)) if e.op.entry is not None and all(is_name(x) for x in e.inputs) else None
    if found is None:
        return None
    index, text, over = found
    names = [write.name(x["name"]) for x in e.inputs]
    shown = re.sub(r"\{(\d)\}", lambda found: names[int(found[1])].latex, latex_signs(text))
    left = write.name(step.name) + Math(f"[{index}]", f"[{latex_signs(index)}]")
    right = Math(text.format(*(n.text for n in names)), shown)
    return sentence("{formula} over {over}", formula=left + " = " + right, over=over)


# -- sentences ---------------------------------------------------------------------------------------------------------


def in_words(derivation: Derivation, step: Backward, write: Writer) -> Content:
    """Return a sentence of intuition: what a change in the value does to the loss."""
    if step.inner is not None:
        both = (replace(step, inner=None), step.inner)
        return joined([in_words(derivation, one, write) for one in both], " ")
    v, users = write.name(step.of), step.users
    if not users or users == (LOSS,):
        return _at_the_loss(derivation, step, write)
    users = tuple(u for u in users if f"d{u}" in step.reused) or tuple(step.local) or users
    if over_steps(step):
        template = "A change in {v} affects the {end} through {u} in every step; the contributions of all steps add up."
        return sentence(template, v=v, u=joined([write.name(u) for u in users], " and "), end=_end(derivation))
    if len(users) > 1:
        first, last = joined([write.name(u) for u in users[:-1]]), write.name(users[-1])
        template = "A change in {v} affects the {end} through {first} and {last}; the contributions add up."
        return sentence(template, v=v, first=first, last=last, end=_end(derivation))
    return _through(derivation, step, users[0], write)


def _through(derivation: Derivation, step: Backward, user: str, write: Writer) -> Content:
    """Return what a change in a value does to the one value that it goes into."""
    v, u, g, e = write.name(step.of), write.name(user), write.name(f"d{user}"), bare(step.expression)
    local = step.local.get(user)
    if local is not None and e.op is MATMUL:
        return sentence(_of_a_product(derivation, step, e, user), v=v, u=u, g=g, c=write.form(local))
    if local is not None and e.op is SUM:
        where, over = _summed(derivation, e)
        template = "A change in {v} changes {u} {by} in " + where + "; summed over the " + over + "."
        return sentence(template, v=v, u=u, by=_by(local, write))
    if local is not None:
        alike = derivation.values[user].shape == derivation.values[step.of].shape
        return _by_element(v, u, local, alike, write)
    if e.op is SCATTER:
        template = "A change in a row of {v} changes every entry of {u} looked up there; their gradients add up."
    else:
        template = "A change in one entry of {v} changes several entries of {u}; the effects, weighted by {g}, add up."
    return sentence(template, v=v, u=u, g=g)


def _of_a_product(derivation: Derivation, step: Backward, e: Expression, user: str) -> str:
    """Return the sentence for an operand of a matrix product."""
    if derivation.steps.m is None:
        return (
            "A change in one entry of {v} changes a row or a column of {u}, in proportion to the entries of {c}; the "
            "effects, weighted by {g}, add up."
        )
    parameters = derivation.steps.parameters
    if step.of in parameters if parameters else is_name(e.inputs[1], f"d{user}"):
        return (
            "A change in one weight of {v} changes one unit of {u}, in each example in proportion to the input of the "
            f"weight there, an entry of {{c}}; summed over the {_examples(derivation)}."
        )
    return (
        "A change in one entry of {v} changes every unit of {u} in its example, each in proportion to its weight in "
        "{c}; the effects, weighted by {g}, add up."
    )


def _by(local: Expression, write: Writer) -> Content:
    return "by the same amount" if is_number(local, 1.0) else sentence("by {c} times as much", c=write.form(local))


def _summed(derivation: Derivation, e: Expression) -> tuple[str, str]:
    """Return where a value that a sum goes to is used, and what the sum is over."""
    of, axes, examples = e.inputs[0].shape, e["axis"], 0 if derivation.layout == "rows" else 1
    if derivation.steps.m is not None and len(of) == 2 and len(axes) == 1:
        if axes == (examples,):
            return "every example", _examples(derivation)
        return "every unit of its example", f"{of[axes[0]]} units"
    places = int(np.prod([of[i] for i in axes]))
    return "every place that it is used in", f"{places} places"


def _by_element(v: Math, u: Math, local: Expression, alike: bool, write: Writer) -> Content:
    if not alike:
        return sentence("A change in one entry of {v} changes {u} {by}.", v=v, u=u, by=_by(local, write))
    truth = local.inputs[0] if local.op is CAST else local
    if truth.kind == "b" and truth.op is GREATER and is_number(truth.inputs[1], 0.0):
        template = "A change in {v} changes {u} by the same amount where {where} is positive, and not at all elsewhere."
        return sentence(template, v=v, u=u, where=write.form(truth.inputs[0]))
    elementwise = "element by element, " if local.shape and not is_number(local, 1.0) else ""
    return sentence("A change in {v} changes {u} " + elementwise + "{by}.", v=v, u=u, by=_by(local, write))


def _at_the_loss(derivation: Derivation, step: Backward, write: Writer) -> Content:
    v, e = write.name(step.of), step.expression
    difference = e.inputs[1] if e.op is MULTIPLY and is_number(e.inputs[0]) else e
    plain = difference.op is SUBTRACT and all(is_name(_core(x)) for x in difference.inputs)
    if not plain or derivation.loss is None:
        return sentence("This is the rate at which the {end} changes with {v}.", end=_end(derivation), v=v)
    a, b = (write.form(x) for x in difference.inputs)
    if e is difference:
        return sentence("The loss changes with {v} at a rate of {a} minus {b}, the error.", v=v, a=a, b=b)
    scale = e.inputs[0]
    if (scale["value"], scale["batch"]) != (1.0, -1):
        template = "The loss changes with {v} at a rate of {c} times the error, {a} minus {b}."
        return sentence(template, v=v, a=a, b=b, c=write.form(scale))
    template = "The loss changes with {v} at a rate of {a} minus {b}, the error, divided among the {m}.{fused}"
    return sentence(template, v=v, a=a, b=b, m=_examples(derivation), fused=_fused(derivation))


def _end(derivation: Derivation) -> str:
    return "result" if derivation.loss is None and derivation.steps.m is None else "loss"


def _fused(derivation: Derivation) -> str:
    """Return what to say of a loss that takes logits: its activation is a part of it."""
    loss = derivation.steps.raw_loss
    if loss is None or not any(x.op in LOGITS for x in loss.walk()):
        return ""
    return " Together with the logarithm in the loss, the derivative of the activation reduces to this."


def _core(e: Expression) -> Expression:
    while e.op in (RESHAPE, CAST, BROADCAST):
        e = e.inputs[0]
    return e


def bare(e: Expression) -> Expression:
    """Return a formula without its sign, its factor, its divisor and its change of shape."""
    while e.op in (RESHAPE, TRANSPOSE, NEGATIVE, DIVIDE) or (e.op is MULTIPLY and is_number(e.inputs[0])):
        e = e.inputs[0] if e.op is DIVIDE else e.inputs[-1]
    return e


def _examples(derivation: Derivation) -> str:
    m = derivation.steps.m
    return "entries" if m is None else f"{m} examples" if m != 1 else "one example"
