"""A derivation as NumPy source: the forward and backward pass as written by hand."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.node import Recording
from ..core.op import ELEMENTWISE
from ..core.reverse import topological
from ..core.tensor import Tensor, traced_leaf
from ..formula.expression import LONGEST, Batch, Expression
from ..formula.reading import Reader, simplified
from ..formula.rules import simplify
from ..formula.source import NumpyPrinter, has_batch
from ..show.document import clean

if TYPE_CHECKING:
    from .derivation import Derivation

#: Numbers of an array that the loss reads from outside, up to which the source holds them.
_MOST_WRITTEN = 1000


def source_of(derivation: Derivation) -> str:
    """Return NumPy source: forward, loss and backward of a network, or a function and its gradients."""
    return _Source(derivation).text()


class _Source:
    def __init__(self, derivation: Derivation) -> None:
        self.steps = derivation.steps
        self.columns = derivation.layout == "columns"
        self.title, self.values = derivation.name, derivation.values
        self.written: list[str] = []
        self.targets = ("Y", "y") if self.steps.m is not None else ()
        self.identifiers = derivation.identifiers
        self.helpers = Helpers()
        self.expressions = {f.name: f.expression for f in self.steps.forward}
        self.expressions |= {b.name: b.expression for b in self.steps.backward}
        outputs = [s.name for s in self.steps.forward]
        self.ahead = [n for n in outputs if n in self._needed([self.steps.output], set())]
        self.printer = NumpyPrinter(self._name, self.helpers.name)

    def text(self) -> str:
        """Return the whole program."""
        s = self.steps
        parts = []
        network = s.m is not None
        if s.raw_loss is not None:
            read = self._needed(s.raw_loss.names(), {s.output})
            self.written = [n for n in s.constants if n in read and self.values[n].size <= _MOST_WRITTEN]
        parts.append(self._forward("X" if network else ", ".join(map(self._name, s.inputs)), network))
        if s.raw_loss is not None:
            parts.append(self._loss(s.raw_loss))
        parts.append(self._backward("Y" if s.given is None else self._name(s.given), network))
        says = f"{_plain(clean(self.title))}: forward and backward pass, derived by chainrule."
        imports = "".join(
            f"import {module}\n"
            for module in ("numpy as np", "scipy.linalg", "scipy.special")
            if module.startswith("numpy") or any(f"{module}." in part for part in parts)
        )
        head = f'"""{says}"""\n\n{imports}'
        arrays = "".join(f"\n{self._name(n)} = np.array({self.values[n].tolist()!r})\n" for n in self.written)
        return "\n\n".join([head + arrays, *self.helpers.texts, *parts])

    # -- the three functions -------------------------------------------------------------------------------------

    def _forward(self, arguments: str, network: bool) -> str:
        given = [n for n in self._read(self.ahead) if n in (*self.steps.parameters, *self.steps.constants)]
        lines = self._unpacked("parameters", given)
        lines += self._batch(self.ahead, f"X.shape[{self._examples('X')}]")
        lines += [self._statement(n) for n in self.ahead]
        kept = [*([n for n in self.steps.inputs if n not in self.targets]), *self.ahead]
        signature = f"{arguments}, parameters" if network else f"{arguments}, parameters=None"
        return _function("forward", signature, "Every value, by name; the last one is the output.", [
            *lines, *self._dictionary(kept)
        ])  # fmt: skip

    def _loss(self, e: Expression) -> str:
        output = self.steps.output
        needed = self._needed(e.names(), {output})
        order = [s.name for s in self.steps.forward if s.name in needed and s.name != output]
        free = {n for label in order for n in self.expressions[label].names()} | set(e.names())
        unknown = sorted(free - set(order) - {output, *self.targets})
        unknown = [n for n in unknown if n not in self.written]
        if unknown:
            raise ValueError(f"to_numpy(): the loss reads {', '.join(unknown)} besides the output and Y")
        lines = [f"{self._name(output)} = output"] if output in free else []
        if has_batch(e) or any(has_batch(self.expressions[n]) for n in order):
            lines.append(f"m = output.shape[{self._examples(output)}]")
        lines += [self._statement(n) for n in order]
        text = self.printer.form(e)
        return _function("loss", "output, Y", "The loss, a number.", [*lines, f"return {text}"])

    def _backward(self, start: str, network: bool) -> str:
        gradients = [s.name for s in self.steps.backward]
        needed = self._needed([n for g in gradients for n in self.expressions[g].names()], set(self.ahead))
        again = [s.name for s in self.steps.forward if s.name in needed and s.name not in self.ahead]
        read = self._read([*again, *gradients])
        inputs = [n for n in self.steps.inputs if n not in self.targets]
        lines = self._unpacked("cache", [n for n in read if n in (*inputs, *self.ahead)])
        given = [n for n in read if n in (*self.steps.parameters, *self.steps.constants)]
        lines += self._unpacked("parameters", given)
        if not network:
            lines.append(f"{start} = np.asarray({start})")
        first = self.ahead[0] if self.ahead else "X"
        known = inputs[0] if inputs else first
        lines += self._batch([*again, *gradients], f'cache["{known}"].shape[{self._examples(known)}]')
        lines += [self._statement(n) for n in (*again, *gradients)]
        signature = f"cache, {start}, parameters" + ("" if network else "=None")
        return _function("backward", signature, "Every gradient, by name, in the order in which they arise.", [
            *lines, *self._dictionary(gradients)
        ])  # fmt: skip

    def _dictionary(self, labels: list[str]) -> list[str]:
        entries = [f'"{_plain(n)}": {self._name(n)}' for n in labels]
        line = f"return {{{', '.join(entries)}}}"
        return [line] if len(line) <= 96 else ["return {", *(f"    {entry}," for entry in entries), "}"]

    def _examples(self, label: str) -> int:
        """Return the axis of a value along which its examples lie."""
        return 1 if self.columns and self.values[label].ndim == 2 else 0

    # -- parts ---------------------------------------------------------------------------------------------------

    def _needed(self, names: Iterable[str], known: set[str]) -> set[str]:
        """Return the names that are needed to compute others, down to the known ones."""
        found: set[str] = set()
        stack = list(names)
        while stack:
            n = stack.pop()
            if n in found:
                continue
            found.add(n)
            if n not in known and n in self.expressions:
                stack += self.expressions[n].names()
        return found

    def _read(self, labels: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(n for label in labels for n in self.expressions[label].names()))

    def _unpacked(self, source: str, names: list[str]) -> list[str]:
        return [f'{self._name(n)} = {source}["{_plain(n)}"]' for n in names if n not in self.written]

    def _batch(self, labels: Iterable[str], length: str) -> list[str]:
        return [f"m = {length}"] if any(has_batch(self.expressions[n]) for n in labels) else []

    def _statement(self, label: str) -> str:
        return f"{self._name(label)} = {self.printer.form(self.expressions[label])}"

    def _name(self, label: str) -> str:
        return "Y" if label == "y" and self.steps.m is not None else self.identifiers[label]


def _plain(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _function(name: str, arguments: str, says: str | None, lines: list[str]) -> str:
    body = [f'"""{says}"""', *lines] if says else lines
    return f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in body)


class Helpers:
    """The functions that source defines for operations that NumPy lacks.

    Attributes
    ----------
    texts : list of str
        Their definitions, in the order in which they are needed.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._names: dict[Any, str] = {}

    def name(self, e: Expression) -> str:
        """Return how the source calls an operation, writing its definition where it is new."""
        own = callable(e.op.numpy) or e.op.kind == ELEMENTWISE  # one function for all attributes and shapes
        key = (e.op,) if own else (e.op, e.attrs, tuple(len(x.shape) for x in e.inputs))
        if key not in self._names:
            used = sum(1 for op, *_ in self._names if op is e.op)
            self._names[key] = name = e.op.name if not used else f"{e.op.name}_{used + 1}"
            self.texts.append(_written_out(e.op.numpy, name) if callable(e.op.numpy) else _expanded(e, name, self.name))
        return self._names[key]


def _written_out(function: Callable[..., Any], name: str) -> str:
    """Return the source of a plain Python function under a name, without annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.name, node.returns = name, None
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree) + "\n"


def _expanded(e: Expression, name: str, defined: Callable[[Expression], str]) -> str:
    """Return a function that computes an operation from others: its row's own definition, line by line."""
    arguments = ["x", "t", "u", "w"][: len(e.inputs)]
    definition, elementwise = e.op.definition, e.op.kind == ELEMENTWISE
    if definition is None:
        raise ValueError(f"to_numpy(): NumPy has no {name}, and its row has no definition")
    with Recording("explain") as recording:
        leaves = [
            traced_leaf(() if elementwise else x.shape, np.dtype(np.float64), frozenset({recording}), name=a)
            for x, a in zip(e.inputs, arguments, strict=True)
        ]
        attrs = {k: v for k, v in e.attrs if not isinstance(v, Batch)}
        (result,) = simplified(dict(zip(arguments, leaves, strict=True)), [definition(*leaves, **attrs)])
    kept = _kept(result)
    labels = [f"t{i + 1}" for i in range(len(kept))]
    reader = Reader(zip(labels, kept, strict=True))
    plain = NumpyPrinter(str, defined)
    lines = [
        f"{label} = {plain.form(simplify(reader.read(node, label)))}" for label, node in zip(labels, kept, strict=True)
    ]
    lines.append(f"return {plain.form(simplify(reader.read(result, 'return')))}")
    says = (definition.__doc__ or "").partition("\n")[0] or None
    return _function(name, ", ".join(arguments), says, lines)


def _kept(result: Tensor) -> list[Tensor]:
    """Return the values within a definition that get a name: those used more than once, and every few operations."""
    order, users, length = topological([result]), Counter[int](), dict[int, int]()
    users.update(id(x) for node in order for x in node.inputs)
    kept = []
    for node in order:
        size = 1 + sum(length[id(x)] for x in node.inputs) if node.op is not None else 0
        named = node.op is not None and node is not result and (users[id(node)] > 1 or size > LONGEST)
        kept += [node] * named
        length[id(node)] = 0 if named else size
    return kept
