"""What a derivation shows, as a document: the forward pass, the backward pass, the cost."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.op import Array
from ..formula.dimensions import dimensions
from ..formula.names import display_name, shape_text
from ..formula.printer import cuts_into_heads, flattens, outer_product
from ..formula.rows import MATMUL, RESHAPE
from ..ops.random import UNIFORM
from ..show import document as doc
from ..show.document import joined, sentence
from .folding import Shown, folded
from .steps import Backward, Forward
from .wording import Writer, by_entry, chain_rule, in_words, local_derivatives

if TYPE_CHECKING:
    from .derivation import Derivation

#: Steps of either pass that are shown.
MOST_STEPS = 400

_AS_A_WHOLE = "no single factor: each entry depends on several, and the formula accounts for all of them at once"


def document(derivation: Derivation) -> doc.Document:
    """Return the title, what the signs mean, both passes step by step, and what they cost."""
    write, title = Writer(derivation), _title(derivation)
    blocks: list[doc.Block] = [doc.Heading(title, 1)]
    if derivation.failed:
        wrong = ", ".join(f"{name} (off by {error:.2g})" for name, error in derivation.failed.items())
        warning = f"THESE FORMULAS DO NOT HOLD: evaluated, they do not give the recorded values: {wrong}"
        blocks.append(doc.Paragraph(warning, "bad"))
    blocks += [doc.Paragraph(_legend(derivation, write), "dim"), doc.Heading("Forward")]
    blocks += _forward(derivation, write)
    blocks.append(doc.Heading("Backward"))
    backward = _shown(derivation, derivation.backward)
    shown = backward[:MOST_STEPS]
    blocks += [_step(derivation, step, write, k) for k, step in enumerate(shown, 1)]
    if (rest := len(backward) - len(shown)) > 0:
        blocks.append(doc.Paragraph(f"… {rest} more steps: derivation.backward"))
    columns = (doc.Column(""), doc.Column("", "number"), doc.Column("", "wide"))
    return doc.Document(title, (*blocks, doc.Heading("Cost"), doc.Table(columns, tuple(derivation.cost.rows()))))


def _title(derivation: Derivation) -> str:
    count = sum(int(np.size(derivation.values[p])) for p in derivation.steps.parameters)
    what = f"{derivation.name}, {count:,} parameters" if derivation.steps.parameters else derivation.name
    return f"Derivation of the gradients of {what}"


def _legend(derivation: Derivation, write: Writer) -> doc.Content:
    """Return what the signs mean, as far as they occur."""
    steps, forward = derivation.steps, [x for f in derivation.forward for x in f.expression.walk()]
    parts: list[doc.Content] = ["⊙ multiplies element by element"]
    if steps.m is not None:
        parts.append(f"m = {steps.m} examples in {derivation.layout}")
        parts.append(f"{'i' if derivation.layout == 'rows' else 'j'} runs over the examples")
        if derivation.layout == "columns" and any(len(f.shape) > 2 for f in derivation.forward):
            parts.append("arrays of three axes and more stay as they are, examples first")
    if derivation.notation == "delta":
        parts.append("δ₁ is ∂L/∂Z₁, and so on")
        if any(outer_product(x) for step in derivation.backward for x in step.expression.walk() if x.op is MATMUL):
            parts.append("⊗ is the outer product, summed over the examples")
    if any(x.op is RESHAPE and flattens(x) for x in forward):
        parts.append("flat(…) makes one row of what belongs to an example")
    if any(cuts_into_heads(x) for x in forward):
        parts.append("heads(…) cuts every row into one for each head, joined(…) puts them side by side again")
    if any(x.op.layout.sign == "⋆" for x in forward):
        parts.append(
            "⋆ multiplies every window by the filters (a correlation), ∗ is its adjoint: it adds the windows back"
        )
    if derivation.notation != "dict" and any(s.times for s in folded((*derivation.forward, *derivation.backward))):
        parts.append("t is the step of a loop; each of its formulas holds for the steps that are named")
    if any(x.op is UNIFORM for x in forward):
        parts.append("uniform(…) draws numbers from 0 to 1 from a seed and a counter")
    if steps.given:
        parts.append(sentence("{g} is the upstream gradient, which is given", g=write.name(steps.given)))
    if steps.fixed and steps.m is not None:
        parts.append("the formulas hold for this number of examples only")
    return sentence("{parts}.", parts=joined(parts, "; "))


def _forward(derivation: Derivation, write: Writer) -> Iterator[doc.Formula]:
    """Yield the formulas of the forward pass with their shapes, those of a function with their values."""
    values, of_a_function = derivation.values, derivation.steps.m is None
    for label in derivation.steps.inputs if of_a_function else ():
        value = values[label]
        yield doc.Formula(write.name(label), f"({shape_text(value.shape)}) = {_value(value)}")
    loss = (derivation.loss,) if derivation.loss else ()
    for shown in _shown(derivation, (*derivation.forward, *loss))[:MOST_STEPS]:
        step = shown.step
        value_text = f" = {_value(values[step.name])}" if of_a_function and shown.times is None else ""
        when = f", {shown.when}" if shown.times else ""
        yield doc.Formula(write.equation(step), f"{dimensions(step.expression)}{value_text}{when}")


def _shown(derivation: Derivation, steps: Sequence[Forward | Backward]) -> list[Shown]:
    """Return the steps as they are shown; the lines of a program are all there."""
    return [Shown(s, None, {}) for s in steps] if derivation.notation == "dict" else folded(steps)


def _step(derivation: Derivation, shown: Shown, write: Writer, number: int) -> doc.Section:
    step = shown.step
    assert isinstance(step, Backward)
    if shown.stands_for:
        derivation = copy.copy(derivation)
        derivation.values = derivation.values | {k: derivation.values[v] for k, v in shown.stands_for.items()}
    rows: list[tuple[str, doc.Content]] = [("chain rule", chain_rule(derivation, step, write))]
    rows += [("local", line) for line in local_derivatives(derivation, step, write) or (_AS_A_WHOLE,)]
    if (entry := by_entry(step, write)) is not None:
        rows.append(("by entry", entry))
    if derivation.steps.m is None and shown.times is None:
        rows.append(("value", _value(derivation.values[step.name])))
    if step.shape or derivation.steps.m is not None:
        rows.append(("shapes", f"{dimensions(step.expression)}, the shape of {display_name(step.of)}"))
    rows.append(("in words", in_words(derivation, step, write)))
    reused = joined([write.name(g) for g in step.reused])
    note = sentence("reuses {g}", g=reused) if step.reused else ""
    if shown.times:
        note = sentence("{when}, {note}", when=shown.when, note=note) if step.reused else shown.when
    return doc.Section(doc.Formula(write.equation(step), note), (doc.Fields(tuple(rows)),), number)


def _value(array: Array) -> str:
    """Return a value in few characters: a number, or what an array holds."""
    if array.size == 1:
        return f"{array.ravel()[0]:.6g}"
    if array.size <= 4:
        return np.array2string(array, precision=4, separator=", ").replace("\n", "")
    return f"array of {shape_text(array.shape)}, norm {float(np.sqrt(np.sum(np.square(array * 1.0)))):.4g}"
