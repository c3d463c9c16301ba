"""The result of an audit: steps, findings with causes, and conventions; printed, or as Markdown, HTML, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from .. import show
from .document import document
from .mistakes import CAUSES
from .verdicts import INHERITED, RIGHT, UNSEEN, WRONG

__all__ = ["CAUSES", "INHERITED", "RIGHT", "UNSEEN", "WRONG", "Candidate", "Convention", "Finding", "Report", "Step"]


@dataclass(frozen=True)
class Candidate:
    """One explanation of the numbers that were found.

    Attributes
    ----------
    cause : str
        A key of ``CAUSES``.
    message : str
        A sentence: "the derivative of the activation is left out".
    formula : str
        The formula that fits those numbers, as "dZ1 = dA1"; empty if there is none.

    Examples
    --------
    >>> from chainrule.audit.report import Candidate
    >>> Candidate("sign", "the sign is wrong", "dW1 = -X.T @ dZ1").cause
    'sign'
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
        That of the first candidate; "unknown" if there is none.
    message : str
        What is wrong, in one or two sentences.
    formula : str
        The right formula of the step: "dW2 = A1ᵀ dZ2 / m".
    candidates : tuple of Candidate
        The simplest first.
    evidence : mapping
        Numbers and shapes by name: ratio, relative_error, expected_shape, found_shape, worst, pattern, ….
    file, line, statement : str, int, str
        The statement of your program that made it, or the line where the backward pass begins; empty if unknown. A
        cell of a notebook has the file ``<cell>``.

    Examples
    --------
    >>> from chainrule.audit.report import Candidate, Finding
    >>> sign = Candidate("sign", "the sign is wrong")
    >>> finding = Finding("dW1", "sign", "dW1 has the wrong sign.", candidates=(sign,))
    >>> finding.candidates[0].message
    'the sign is wrong'
    """

    name: str
    cause: str
    message: str
    formula: str = ""
    candidates: tuple[Candidate, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    line: int = 0
    statement: str = ""


@dataclass(frozen=True)
class Convention:
    """A choice that the pass makes and that is not wrong; `name` is the step, or empty for the whole pass.

    Examples
    --------
    >>> from chainrule.audit.report import Convention
    >>> Convention("", "The loss is summed over the examples, not averaged.").name
    ''
    """

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

    Examples
    --------
    >>> from chainrule.audit.report import RIGHT, Step
    >>> Step("dW1", RIGHT, (3, 2), error=1e-15).error
    1e-15
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
    """The result of an audit; can be printed, or shown in a notebook.

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
    read_as : str
        How the code was understood: its functions or classes, the parameters, where their gradients are.
    provisos : tuple of str
        Sentences that belong to the headline: what was assumed, what was not read.
    reasons : tuple of Convention
        Why steps are right that may be doubted.

    Examples
    --------
    >>> from chainrule.audit.report import Finding, Report, Step
    >>> report = Report(
    ...     findings=(Finding("dW", "sign", "dW has the wrong sign.", "dW = Xᵀ dZ"),),
    ...     conventions=(),
    ...     steps=(Step("dW", "wrong", (3, 2), 2.0, 2.0, ("dZ",), "dW = Xᵀ dZ"),),
    ...     notes=(),
    ...     loss=0.5,
    ...     title="An audit",
    ...     read_as="class Net; parameters W; gradients in dW",
    ... )
    >>> print(report)
    An audit
    1 error found: dW.
    loss 0.5
    Read as: class Net; parameters W; gradients in dW
    <BLANKLINE>
    1. dW sign
       dW has the wrong sign.
       right  dW = Xᵀ dZ
       see    docs/causes/sign.md
    <BLANKLINE>
    Steps
    step  verdict  shape  error  total  formula
    dW    ✗ wrong  3×2        2      2  dW = Xᵀ dZ
    error: relative, given your own upstream gradients; total: against the gradient
    of the loss.
    >>> report.ok
    False
    >>> report.to_markdown().splitlines()[0]
    '# An audit'
    >>> report.to_dict()["findings"][0]["cause"]
    'sign'
    """

    findings: tuple[Finding, ...]
    conventions: tuple[Convention, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    loss: float
    title: str
    read_as: str = ""
    provisos: tuple[str, ...] = ()
    reasons: tuple[Convention, ...] = ()

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
        """Return the report as a self-contained HTML page."""
        return show.as_page(document(self))

    def _repr_html_(self) -> str:
        return show.as_fragment(document(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, strings and numbers, as JSON has them.

        A number that is not finite becomes the string "nan", "inf" or "-inf".
        """
        return {"title": self.title, "ok": self.ok, "loss": plain(self.loss), **plain(self)}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_sarif(self) -> str:
        """Return the findings in SARIF 2.1.0, the format of code scanners."""
        from .formats import to_sarif

        return to_sarif(self)

    def to_github(self) -> str:
        """Return the findings as workflow commands, which GitHub shows at their lines."""
        from .formats import to_github

        return to_github(self)


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
