"""What an audit found: steps, findings and their causes, conventions; printed, or as Markdown, HTML, JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import show
from .document import document
from .verdicts import INHERITED, RIGHT, UNSEEN, WRONG

__all__ = ["CAUSES", "INHERITED", "RIGHT", "UNSEEN", "WRONG", "Candidate", "Convention", "Finding", "Report", "Step"]

#: Cause -> what it means, in one line. Each has a page in docs/causes/.
CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "sign": "the sign is wrong",
        "constant-factor": "it is off by a constant factor",
        "missing-mean": "the sum over the batch is not divided by its size, although the loss is a mean",
        "double-mean": "it is divided by the size of the batch twice",
        "missing-factor": "a factor of the product is left out",
        "missing-term": "a term of the sum is left out: a path from the value to the loss",
        "missing-activation-derivative": "the derivative of the activation is left out",
        "derivative-at-activation": "the derivative of the activation is taken at its output A, not at its input Z",
        "derivative-applied-twice": "the derivative of the activation is multiplied in twice",
        "wrong-activation-derivative": "it is the derivative of another activation",
        "transposed": "an operand of the product, or the result, is transposed",
        "wrong-shape": "its shape is not that of the value it is the gradient of",
        "wrong-operand": "another array of the pass stands where an operand should be",
        "wrong-layer": "the value of another layer is used",
        "updated-weights": "the weights are those after the update, not those of the forward pass",
        "bias-not-summed": "the bias' gradient is not summed over the examples",
        "bias-all-summed": "the bias' gradient is summed over the units too",
        "missing-regularization": "the gradient of the regularisation is left out",
        "wrong-regularization": "the gradient of the regularisation has the wrong factor",
        "regularized-bias": "the bias is regularised, although the loss does not say so",
        "dropout-mask-missing": "the dropout mask of the forward pass, or its scale, is not applied to the gradient",
        "mutates-input": "the backward pass changes the arrays that it is given",
        "accumulates": "a second call adds to the gradients of the first",
        "inconsistent-cache": "the cache does not hold what the forward pass computes",
        "nonfinite": "it has values that are not finite",
        "unknown": "it is wrong in a way that none of the known mistakes explains",
    }
)


@dataclass(frozen=True)
class Candidate:
    """One way to get the numbers that were found.

    Attributes
    ----------
    cause : str
        A key of ``CAUSES``.
    message : str
        A sentence: "the derivative of the activation is left out".
    formula : str
        The formula that fits those numbers, as "dZ1 = dA1"; empty where there is none.
    """

    cause: str
    message: str
    formula: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and why.

    Attributes
    ----------
    name : str
        The step, as "dW2"; an entry of the cache, as "A1"; or "backward", for how it behaves when called.
    cause : str
        That of the first candidate; "unknown" where there is none.
    message : str
        What is wrong, in a sentence or two.
    formula : str
        The right formula of the step: "dW2 = A1ᵀ dZ2 / m".
    candidates : tuple of Candidate
        The simplest first.
    evidence : mapping
        Numbers and shapes by name: ratio, relative_error, expected_shape, found_shape, worst, pattern, ….
    """

    name: str
    cause: str
    message: str
    formula: str = ""
    candidates: tuple[Candidate, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Convention:
    """A choice that the pass makes and that is not wrong; `name` is the step, or empty for the whole pass."""

    name: str
    message: str


@dataclass(frozen=True)
class Step:
    """A gradient that the backward pass returns, and its verdict.

    Attributes
    ----------
    name : str
    verdict : str
        RIGHT, WRONG, INHERITED (it follows correctly from gradients that are wrong) or UNSEEN.
    shape : tuple of int
    error : float or None
        Relative, against what follows from the pass's own upstream gradients.
    total_error : float or None
        Relative, against the gradient of the declared loss, with conventions of scale taken out.
    upstream : tuple of str
        The gradients that it was recomputed from.
    formula : str
        The right formula.
    """

    name: str
    verdict: str
    shape: tuple[int, ...]
    error: float | None = None
    total_error: float | None = None
    upstream: tuple[str, ...] = ()
    formula: str = ""


@dataclass(frozen=True)
class Report:
    """What an audit found; print it, or show it in a notebook.

    Attributes
    ----------
    findings : tuple of Finding
        What is wrong: the forward pass first, then the steps in the order of the backward pass, then its behaviour. The
        first is the one to fix first.
    conventions : tuple of Convention
    steps : tuple of Step
        Every gradient, in the order of the backward pass.
    notes : tuple of str
        What could not be checked, and why.
    loss : float
    title : str
    """

    findings: tuple[Finding, ...]
    conventions: tuple[Convention, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    loss: float
    title: str

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def __str__(self) -> str:
        return show.as_text(document(self))

    def __repr__(self) -> str:
        return f"<Report: {len(self.findings)} findings, {len(self.steps)} steps; print it>"

    def __rich__(self) -> Any:
        return show.as_rich(document(self))

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        return show.as_markdown(document(self))

    def to_html(self) -> str:
        """Return the report as a page of HTML that needs nothing else."""
        return show.as_page(document(self))

    def _repr_html_(self) -> str:
        return show.as_fragment(document(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, strings and numbers, as JSON has them.

        A number that is not finite becomes the string "nan", "inf" or "-inf".
        """
        return {"title": self.title, "ok": self.ok, "loss": plain(self.loss), **plain(self)}


def plain(value: Any) -> Any:
    """Return `value` as JSON has it: dicts, lists, strings, booleans, integers, finite numbers."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
