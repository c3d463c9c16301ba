"""`explain`: the derivation of a network's or a function's gradients, read off the gradient graph."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from .. import show
from ..core.op import Array, rows
from ..formula.expression import Expression, deviation
from ..formula.source import numpy_form, numpy_name
from ..nn.module import Module
from .cost import Cost, Passes, cost_of, function_passes, network_passes
from .document import document
from .naming import example_numbers
from .notation import arranged
from .recording import Formulas, record_function, record_network
from .source import source_of
from .steps import Backward, Forward, Steps, second_batch, steps_of


def derive(subject: Any, inputs: tuple[Any, ...], Y: Any, loss: Any, layout: str, notation: str) -> Derivation:
    """Return the derivation of a network or a function; see `chainrule.explain`."""
    if isinstance(subject, Module):
        X, Y, loss = _network_arguments(inputs, Y, loss)
        first = record_network(subject, X, Y, loss)
        second = _with_another_batch(subject, X, Y, loss, first)
        if second is None and np.ndim(X) == 1:
            raise ValueError(f"X has shape {np.shape(X)}: a single example? Examples go in rows: X[None]")
        steps, name, passes = steps_of(first, second), type(subject).__name__, network_passes(subject, X, Y, loss)
    elif callable(subject):
        if Y is not None or loss is not None:
            raise TypeError("Y and loss belong to a network; a function contains its loss")
        inputs = inputs or example_numbers(subject)
        name = getattr(subject, "__name__", type(subject).__name__)
        steps, passes = steps_of(record_function(subject, inputs), None), function_passes(subject, inputs)
    else:
        raise TypeError(f"explain takes a network or a function, not a {type(subject).__name__}")
    return Derivation(arranged(steps, layout, notation), name, passes, layout, notation)


def _network_arguments(inputs: tuple[Any, ...], Y: Any, loss: Any) -> tuple[Any, Any, Any]:
    if not 1 <= len(inputs) <= 3:
        raise TypeError(f"explain(model, X, Y, loss): {len(inputs)} arguments after the model; expected 1 to 3")
    Y = inputs[1] if len(inputs) > 1 else Y
    loss = inputs[2] if len(inputs) > 2 else loss
    if Y is None and loss is not None:
        raise ValueError("a loss without targets: expected Y, too")
    if Y is not None and loss is None:
        loss = "cross_entropy"
    return inputs[0], Y, loss


def _with_another_batch(model: Module, X: Any, Y: Any, loss: Any, first: Formulas) -> Formulas | None:
    """Return the formulas for one more example, or None where the network takes no other number."""
    try:
        more = None if Y is None else second_batch(Y)
        return record_network(model, second_batch(X), more, loss) if first.m else None
    except (ValueError, TypeError, IndexError):
        return None


class Derivation:
    """The derivation of the gradients of a network or a function, step by step; print it, or show it in a notebook.

    Attributes
    ----------
    forward : tuple of Forward
        Every named value, in the order of computation.
    loss : Forward or None
    backward : tuple of Backward
        Every gradient, in the order in which the backward pass computes them.
    values : dict
        Name -> array (float64): inputs, parameters, values and gradients of this example.
    name : str
        Of the network's class or the function.
    failed : dict
        Formulas whose value is not the recorded one, with their relative errors; empty unless something is wrong. What
        is printed begins with them.

    Examples
    --------
    >>> import chainrule as cr
    >>> derivation = cr.explain(lambda x: 3.0 * x**2, 2.0)
    >>> print(str(derivation).partition("Cost")[0].rstrip())
    Derivation of the gradients of <lambda>
    ⊙ multiplies element by element; dy is the upstream gradient, which is given.
    <BLANKLINE>
    Forward
    x                                             (1) = 2
    v₁ = x²                                       (1) → 1 = 4
    y = 3 v₁                                      (1) → 1 = 12
    <BLANKLINE>
    Backward
    1. dv₁ = 3 dy                                    reuses dy
       chain rule  ∂y/∂v₁
       local       ∂y/∂v₁ = 3
       value       3
       in words    A change in v₁ changes y by 3 times as much.
    <BLANKLINE>
    2. dx = 2 dv₁ · x                                reuses dv₁
       chain rule  ∂y/∂x = ∂y/∂v₁ · ∂v₁/∂x
       local       ∂v₁/∂x = 2 x
       value       12
       in words    A change in x changes v₁ by 2 x times as much.
    """

    def __init__(
        self, steps: Steps, name: str, passes: Passes, layout: str = "rows", notation: str = "gradients"
    ) -> None:
        self.steps, self.name, self.passes, self.layout, self.notation = steps, name, passes, layout, notation
        self.forward, self.loss, self.backward = steps.forward, steps.loss, steps.backward
        self.values: dict[str, Array] = steps.values
        self.failed = {label: error for label, error in self.errors().items() if not error <= TOLERANCE}

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: what the passes cost in place of the function, which need not be a module's."""
        return {**self.__dict__, "cost": self.cost, "passes": None}

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters (and what else the generated source is given), by name."""
        return {n: self.values[n] for n in (*self.steps.parameters, *self.steps.constants)}

    def formulas(self) -> dict[str, str]:
        """Return every formula in NumPy form, by the name of what it computes.

        Examples
        --------
        >>> import chainrule as cr
        >>> cr.explain(lambda x: 3.0 * x**2, 2.0).formulas()
        {'v1': 'x**2', 'y': '3.0 * v1', 'dv1': '3.0 * dy', 'dx': '2.0 * dv1 * x'}
        """
        return {label: numpy_form(e, self.identifiers.__getitem__) for label, e in self._expressions().items()}

    @cached_property
    def identifiers(self) -> dict[str, str]:
        """Every name as formulas in NumPy form write it."""
        return identifiers(self.values)

    def _expressions(self) -> dict[str, Expression]:
        parts: list[Forward | Backward] = [*self.forward, *([self.loss] if self.loss else []), *self.backward]
        return {step.name: step.expression for step in parts}

    def errors(self) -> dict[str, float]:
        """Evaluate every formula; return the largest deviation from its recorded value, relative to the value's size.

        Examples
        --------
        >>> import chainrule as cr
        >>> max(cr.explain(lambda x: 3.0 * x**2, 2.0).errors().values())
        0.0
        """
        values, m = self.values, self.steps.m
        return {label: deviation(e, values[label], values, m) for label, e in self._expressions().items()}

    @cached_property
    def cost(self) -> Cost:
        """What the passes cost: see `chainrule.explain.cost.Cost`."""
        return cost_of(self)

    def to_numpy(self) -> str:
        """Return the forward and backward pass as NumPy source, as one would write them by hand.

        Examples
        --------
        >>> import chainrule as cr
        >>> source = cr.explain(lambda x: 3.0 * x**2, 2.0).to_numpy()
        >>> [line.strip() for line in source.splitlines() if line.startswith("    dx")]
        ['dx = 2.0 * dv1 * x']
        """
        return source_of(self)

    def to_markdown(self) -> str:
        r"""Return the derivation as Markdown, with formulas in LaTeX.

        Examples
        --------
        >>> import chainrule as cr
        >>> text = cr.explain(lambda x: 3.0 * x**2, 2.0).to_markdown()
        >>> [line for line in text.splitlines() if line.startswith("$$dx")]
        ['$$dx = 2 \\, dv_{1} \\cdot x$$']
        """
        return show.as_markdown(document(self))

    def to_latex(self) -> str:
        r"""Return the derivation as a LaTeX document for pdflatex.

        Examples
        --------
        >>> import chainrule as cr
        >>> cr.explain(lambda x: 3.0 * x**2, 2.0).to_latex().splitlines()[0]
        '\\documentclass{article}'
        """
        return show.as_latex(document(self))

    def to_html(self) -> str:
        """Return the derivation as one HTML file, with formulas in MathML where latex2mathml is installed.

        Examples
        --------
        >>> import chainrule as cr
        >>> cr.explain(lambda x: 3.0 * x**2, 2.0).to_html().splitlines()[0]
        '<!DOCTYPE html>'
        """
        return show.as_page(document(self))

    def _repr_html_(self) -> str:
        return show.as_fragment(document(self))

    def __repr__(self) -> str:
        return f"<Derivation of {self.name}: {len(self.forward)} values, {len(self.backward)} gradients; print it>"

    def __str__(self) -> str:
        return show.as_text(document(self))

    def __rich__(self) -> Any:
        return show.as_rich(document(self))


def identifiers(labels: Iterable[str]) -> dict[str, str]:
    """Return each name as Python takes it, no two alike."""
    found: dict[str, str] = {}
    taken = {*_TAKEN} | {op.name for op in rows() if op.numpy is None or not numpy_name(op.numpy)}
    for label in labels:
        word = re.sub(r"\W+", "_", label.removesuffix("]"), flags=re.ASCII)
        word = word if re.match(r"[A-Za-z_]", word) else f"p_{word}"
        while keyword.iskeyword(word) or word in taken:
            word += "_"
        taken.add(word)
        found[label] = word
    return found


#: What the generated source calls its own.
_TAKEN = frozenset({"np", "m", "cache", "parameters", "loss", "forward", "backward", "output"})
#: Relative error of a formula's value, above which it does not hold.
TOLERANCE = 1e-8
