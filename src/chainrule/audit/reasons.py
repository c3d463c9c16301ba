"""Right, because …: sentences for what people doubt in steps that are right, from a table."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..adapters.backward_pass import BackwardPass, Point
from ..adapters.objects import Objects
from ..adapters.program_parts import source_tree
from ..ops import relu, sigmoid
from .formulas import from_the_loss
from .regions import LEAKY, Region
from .report import RIGHT, Convention, Step
from .step import JudgedStep, Trial

#: So many sentences are enough for a report.
MOST = 6


@dataclass(frozen=True)
class Doubt:
    """A step that is right, and how it is written.

    Attributes
    ----------
    statement : ast.AST
        The statement of the user's that made it.
    region : Region or None
        The activation whose input it is the gradient of.
    updated : bool
        Whether it is the gradient of an input, in a backward pass that updates its parameters.
    unpacked : mapping
        Variables of the backward pass -> what they are of the cache: a -> "cache[1]".
    """

    point: Point
    step: JudgedStep
    statement: ast.AST
    region: Region | None
    updated: bool
    unpacked: Mapping[str, str]

    @property
    def texts(self) -> list[str]:
        """Every expression of the statement, as text."""
        return [ast.unparse(node) for node in ast.walk(self.statement) if isinstance(node, ast.expr)]

    @property
    def function(self) -> Callable[..., Any] | None:
        """The activation, if it is a known one."""
        known = self.region.activation if self.region is not None else None
        return None if known is None else known.function

    def names(self, *, source: bool = False) -> list[str]:
        """Return what the activation's output is called, or its input."""
        return [] if self.region is None else _names(self, self.region.z if source else self.region.a)


Reason = Callable[[Doubt], str]


def reasons_of(subject: BackwardPass, trial: Trial, own: Point, steps: list[Step]) -> list[Convention]:
    """Return the sentences on the steps that are right."""
    right = {s.name for s in steps if s.verdict == RIGHT}
    names = [n for n, s in trial.steps.items() if s.key in right]
    try:
        lines = subject.lines_of(own, names)
    except Exception:  # whatever the user's code raises when it is called once more
        return []
    found: dict[str, str] = {}
    passes = source_tree(_backward_of(subject))
    unpacked = _unpacked(passes)
    for name in names:
        doubt = _doubt(subject, trial, name, lines[name].statement if name in lines else "", unpacked)
        for reason in REASONS:
            if sentence := reason(doubt):
                found.setdefault(sentence, trial.steps[name].key)
    if names and len(names) == len(trial.steps):  # a mask in a signal that is not returned is right if all steps are
        doubt = Doubt(trial.points[0], trial.steps[names[0]], passes, None, False, unpacked)
        for region in trial.regions[0]:
            if sentence := _mask_by_the_output(replace(doubt, region=region)):
                found.setdefault(sentence, doubt.step.key)
    return [Convention(key, sentence) for sentence, key in found.items()][:MOST]


def _backward_of(subject: BackwardPass) -> Any:
    if isinstance(subject, Objects):
        return subject.methods[0].backward_of(subject.handed_over["modules"][0])
    return subject.handed_over.get("backward")


def _unpacked(passes: ast.AST) -> dict[str, str]:
    """Return what ``x, a, W = cache`` in a backward pass assigns: ``a`` is ``cache[1]``."""
    found: dict[str, str] = {}
    for node in ast.walk(passes):
        target = node.targets[0] if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) else None
        for i, part in enumerate(target.elts if isinstance(target, ast.Tuple | ast.List) else ()):
            if isinstance(part, ast.Name):
                found[part.id] = f"cache[{i}]"
    return found


def _names(doubt: Doubt, value: Any) -> list[str]:
    """Return the names of an array, in the forward pass and as a variable of the backward pass."""
    same = [n for n, t in doubt.point.nodes.items() if np.array_equal(np.asarray(t.value), value)]
    return [n for n in same if "[" not in n] + [v for v, n in doubt.unpacked.items() if n in same]


def _doubt(subject: BackwardPass, trial: Trial, name: str, statement: str, unpacked: Mapping[str, str]) -> Doubt:
    try:
        tree = ast.parse(statement if not statement.endswith(":") else f"{statement} pass")
    except SyntaxError:
        tree = ast.parse("")
    point = trial.points[0]
    region = next((r for r in trial.regions[0] if r.source is point.nodes[name] and r.activation is not None), None)
    region = region or next((r for r in trial.regions[0] if r.source is point.nodes[name] and r.kind == LEAKY), None)
    updated = isinstance(subject, Objects) and bool(subject.found.rates) and name in subject.names
    return Doubt(point, trial.steps[name], tree, region, updated, unpacked)


# -- the table ---------------------------------------------------------------------------------------------------------


def _sigmoid_by_its_output(doubt: Doubt) -> str:
    """A ⊙ (1 − A), where A is the output."""
    if doubt.function is not sigmoid:
        return ""
    texts = set(doubt.texts)
    by_output = any(f"1 - {t}" in texts or f"1.0 - {t}" in texts for t in texts)
    return "the derivative of sigmoid may be written with its output, σ′(z) = a (1 − a)" if by_output else ""


def _tanh_by_its_output(doubt: Doubt) -> str:
    """1 − A², where A is the output."""
    if doubt.function is not np.tanh:
        return ""
    squares = ("{} ** 2", "{0} * {0}", "np.square({})", "np.power({}, 2)")
    texts = set(doubt.texts)
    by_output = any(f"{one} - {square.format(t)}" in texts for t in texts for square in squares for one in ("1", "1.0"))
    return "the derivative of tanh may be written with its output, tanh′(z) = 1 − a²" if by_output else ""


def _mask_by_the_output(doubt: Doubt) -> str:
    """A > 0 in place of Z > 0."""
    if doubt.region is None or not (doubt.function is relu or doubt.region.kind == LEAKY):
        return ""
    compared = [n for n in ast.walk(doubt.statement) if isinstance(n, ast.Compare) and isinstance(n.ops[0], _ORDERS)]
    sides = [_last_name(side) for n in compared for side in (n.left, *n.comparators)]
    output = next((name for name in doubt.names() if name in sides), "")
    below = (*doubt.names(source=True), "its input")[0]
    return f"the mask may be taken from the output: {output} > 0 exactly where {below} > 0" if output else ""


_ORDERS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)


def _last_name(node: ast.expr) -> str:
    """Return what an array is called: ``A1`` in A1, self.A1, cache["A1"]."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _difference_of_output_and_target(doubt: Doubt) -> str:
    """A − Y, as the derivatives of the loss and of the output's activation cancel."""
    step, point = doubt.step, doubt.point
    if step.upstream != ("loss",) or step.exact or not step.expected or step.expected[0] is None:
        return ""
    text = from_the_loss(point, step.name, step.expected[0])
    output = text.lstrip("(0123456789./ ·").partition(" − ")[0] if " − " in text else ""
    if not output or output == step.name or point.nodes.get(output) is point.nodes[step.name]:
        return ""
    return (
        f"no derivative of the output's activation is missing: it and that of the loss cancel to {output} − the target"
    )


def _mean_in_the_signal(doubt: Doubt) -> str:
    """1/m kept in dZ, so that the parameters need none."""
    step = doubt.step
    if step.upstream != ("loss",) or step.exact or not step.scale.is_one or (doubt.point.size or 1) < 2:
        return ""
    counts = [n.right for n in ast.walk(doubt.statement) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div)]
    named = set(doubt.point.nodes) | set(doubt.point.constants)
    divided = any(_counts(n) and _last_name(n) not in named for n in counts)
    return f"1/m is kept in {step.key}: all later steps are linear in it, and need none" if divided else ""


def _counts(node: ast.expr) -> bool:
    """Whether an expression may be a number of examples: m, len(Y), Y.shape[0]."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "len"
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    return isinstance(node, ast.Name)


def _formed_before_the_update(doubt: Doubt) -> str:
    """The gradient of the input, in a pass that updates its weights."""
    return "it is formed with the weights before their update" if doubt.updated else ""


REASONS: tuple[Reason, ...] = (
    _sigmoid_by_its_output,
    _tanh_by_its_output,
    _mask_by_the_output,
    _difference_of_output_and_target,
    _mean_in_the_signal,
    _formed_before_the_update,
)
