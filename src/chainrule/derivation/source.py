"""A derivation as NumPy source: the forward and backward pass as one would write them by hand."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..ops.erf import erf_array
from ..reverse import topological
from ..tensor import Recording, traced_leaf
from .expression import Batch, Expression
from .graph import Reader, simplified
from .numpy_form import DEFINED, NumpyPrinter, has_batch
from .rules import simplify

if TYPE_CHECKING:
    from .derivation import Derivation

#: What NumPy has no function for, and no composition of others either.
_WRITTEN = {
    "scatter_add": '''
def scatter_add(values, index, shape):
    """Zeros, with the values added where the index points."""
    total = np.zeros(shape)
    np.add.at(total, index, values)
    return total
''',
    "place": '''
def place(values, index, shape):
    """Zeros, with the values where the index points."""
    total = np.zeros(shape)
    total[index] = values
    return total
''',
    "uniform": '''
def uniform(counter, seed, stream, shape):
    """Numbers in [0, 1) that depend on the arguments alone."""
    key, start = np.array([seed, stream], np.uint64), np.array([0, int(counter), 0, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=start)).random(shape)
''',
}


def source_of(derivation: Derivation) -> str:
    """Return NumPy source: forward, loss and backward of a network, or a function and its gradients."""
    if derivation.layout != "rows" or derivation.notation == "delta":
        raise ValueError("to_numpy() writes examples in rows, and gradients by name: explain(…) without layout")
    return _Source(derivation).text()


class _Source:
    def __init__(self, derivation: Derivation) -> None:
        self.steps = derivation.steps
        self.title = derivation.name
        self.identifiers = derivation.identifiers
        self.defined: dict[Any, str] = {}
        self.helpers: list[str] = []
        self.expressions = {f.name: f.expression for f in self.steps.forward}
        self.expressions |= {b.name: b.expression for b in self.steps.backward}
        outputs = [s.name for s in self.steps.forward]
        self.ahead = [n for n in outputs if n in self._needed([self.steps.output], set())]
        self.printer = NumpyPrinter(self._name, self._defined_name)

    def text(self) -> str:
        """Return the whole program."""
        s = self.steps
        parts = []
        network = "X" in s.inputs
        parts.append(self._forward("X" if network else ", ".join(map(self._name, s.inputs)), network))
        if s.raw_loss is not None:
            parts.append(self._loss(s.raw_loss))
        parts.append(self._backward("Y" if s.given is None else self._name(s.given), network))
        title = " ".join(ast.unparse(ast.Constant(self.title)).strip("'\"").split())
        head = f'"""{title}: forward and backward pass, derived by chainrule."""\n\nimport numpy as np\n'
        return "\n\n".join([head, *self.helpers, *parts])

    # -- the three functions -------------------------------------------------------------------------------------

    def _forward(self, arguments: str, network: bool) -> str:
        given = [n for n in self._read(self.ahead) if n in (*self.steps.parameters, *self.steps.constants)]
        lines = self._unpacked("parameters", given)
        lines += self._batch(self.ahead, "X.shape[0]")
        lines += [self._statement(n) for n in self.ahead]
        kept = [*([n for n in self.steps.inputs if n not in ("Y", "y")]), *self.ahead]
        signature = f"{arguments}, parameters" if network else f"{arguments}, parameters=None"
        return _function("forward", signature, "Every value, by name; the last one is the output.", [
            *lines, *self._dictionary(kept)
        ])  # fmt: skip

    def _loss(self, e: Expression) -> str:
        output = self.steps.output
        needed = self._needed(e.names(), {output})
        order = [s.name for s in self.steps.forward if s.name in needed and s.name != output]
        free = {n for label in order for n in self.expressions[label].names()} | set(e.names())
        unknown = sorted(free - set(order) - {output, "Y", "y"})
        if unknown:
            raise ValueError(f"to_numpy(): the loss reads {', '.join(unknown)} besides the output and Y")
        lines = [f"{self._name(output)} = output"] if output in free else []
        if has_batch(e) or any(has_batch(self.expressions[n]) for n in order):
            lines.append("m = output.shape[0]")
        lines += [self._statement(n) for n in order]
        text = self.printer.text(e)[0]
        return _function("loss", "output, Y", "The loss, a number.", [*lines, f"return {text}"])

    def _backward(self, start: str, network: bool) -> str:
        gradients = [s.name for s in self.steps.backward]
        needed = self._needed([n for g in gradients for n in self.expressions[g].names()], set(self.ahead))
        again = [s.name for s in self.steps.forward if s.name in needed and s.name not in self.ahead]
        read = self._read([*again, *gradients])
        inputs = [n for n in self.steps.inputs if n not in ("Y", "y")]
        lines = self._unpacked("cache", [n for n in read if n in (*inputs, *self.ahead)])
        given = [n for n in read if n in (*self.steps.parameters, *self.steps.constants)]
        lines += self._unpacked("parameters", given)
        if not network:
            lines.append(f"{start} = np.asarray({start})")
        first = self.ahead[0] if self.ahead else "X"
        lines += self._batch([*again, *gradients], f'cache["{inputs[0] if inputs else first}"].shape[0]')
        lines += [self._statement(n) for n in (*again, *gradients)]
        signature = f"cache, {start}, parameters" + ("" if network else "=None")
        return _function("backward", signature, "Every gradient, by name, in the order in which they arise.", [
            *lines, *self._dictionary(gradients)
        ])  # fmt: skip

    def _dictionary(self, labels: list[str]) -> list[str]:
        entries = [f'"{_plain(n)}": {self._name(n)}' for n in labels]
        line = f"return {{{', '.join(entries)}}}"
        return [line] if len(line) <= 96 else ["return {", *(f"    {entry}," for entry in entries), "}"]

    # -- parts ---------------------------------------------------------------------------------------------------

    def _needed(self, names: Iterable[str], known: set[str]) -> set[str]:
        """Return the names that are needed to compute others, those included, down to what is known."""
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
        return [f'{self._name(n)} = {source}["{_plain(n)}"]' for n in names]

    def _batch(self, labels: Iterable[str], length: str) -> list[str]:
        return [f"m = {length}"] if any(has_batch(self.expressions[n]) for n in labels) else []

    def _statement(self, label: str) -> str:
        return f"{self._name(label)} = {self.printer.text(self.expressions[label])[0]}"

    def _name(self, label: str) -> str:
        return "Y" if label == "y" and "X" in self.steps.inputs else self.identifiers[label]

    def _defined_name(self, e: Expression) -> str | None:
        """Return how the source calls an operation that NumPy lacks, writing its definition where it is new."""
        if e.op not in DEFINED:
            return None
        attrs = tuple((k, v) for k, v in e.attrs if k not in ("shape", "index", "seed", "stream"))
        key = (e.op, attrs, tuple(len(x.shape) for x in e.inputs)) if e.op not in _WRITTEN else e.op
        if key not in self.defined:
            used = sum(1 for k in self.defined if (k[0] if isinstance(k, tuple) else k) == e.op)
            name = e.op if not used else f"{e.op}_{used + 1}"
            self.defined[key] = name
            self.helpers.append(self._definition(name, e))
        return self.defined[key]

    def _definition(self, name: str, e: Expression) -> str:
        if e.op in _WRITTEN:
            return _WRITTEN[e.op].strip() + "\n"
        if e.op == "erf":
            return _erf_source()
        if e.row.expand is None:
            raise ValueError(f"to_numpy() has no NumPy source for {e.op}")
        lines, arguments = _expanded(e, self.printer)
        return _function(name, ", ".join(arguments), None, lines)


def _plain(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _function(name: str, arguments: str, says: str | None, lines: list[str]) -> str:
    body = [f'"""{says}"""', *lines] if says else lines
    return f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in body)


def _expanded(e: Expression, printer: NumpyPrinter) -> tuple[list[str], list[str]]:
    """Return the lines that compute a composite operation from others: its row's own expansion."""
    arguments = ["x", "t"][: len(e.inputs)]
    with Recording("explain") as recording:
        leaves = [
            traced_leaf(x.shape, float, frozenset({recording}), name=a)
            for x, a in zip(e.inputs, arguments, strict=True)
        ]
        attrs = {k: v for k, v in e.attrs if not isinstance(v, Batch)}
        assert e.row.expand is not None
        (result,) = simplified(leaves, [e.row.expand(*leaves, **attrs)])
    users: dict[int, int] = {}
    order = topological([result])
    for node in order:
        for x in node.inputs:
            users[id(x)] = users.get(id(x), 0) + 1
    shared = [n for n in order if n.op is not None and users.get(id(n), 0) > 1]
    labels = [f"t{i + 1}" for i in range(len(shared))]
    reader = Reader(zip(labels, shared, strict=True))
    plain = NumpyPrinter(str, printer.defined)
    lines = [
        f"{label} = {plain.text(simplify(reader.read(node, label)))[0]}"
        for label, node in zip(labels, shared, strict=True)
    ]
    return [*lines, f"return {plain.text(simplify(reader.read(result, 'return')))[0]}"], arguments


def _erf_source() -> str:
    """Return the library's own error function, without annotations."""
    tree = ast.parse(inspect.getsource(sys.modules[erf_array.__module__]))
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
            if ast.get_docstring(node):
                node.body = node.body[1:]
            node.name = "erf" if node.name == "erf_array" else node.name
            kept.append(node)
        elif isinstance(node, ast.Assign):
            kept.append(node)
    return "\n\n".join(ast.unparse(node) for node in kept) + "\n"
