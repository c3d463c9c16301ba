"""A derivation as NumPy source: the forward and backward pass as one would write them by hand."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..core.reverse import topological
from ..core.tensor import Recording, traced_leaf
from ..formula.expression import Batch, Expression
from ..formula.numpy_form import DEFINED, NumpyPrinter, has_batch
from ..formula.rules import simplify
from ..ops.erf import erf_array
from .graph import Reader, simplified
from .wording import one_line

if TYPE_CHECKING:
    from .derivation import Derivation

#: Numbers of an array that the loss reads from outside, up to which the source holds them.
_MOST_WRITTEN = 1000
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

#: What the functions that the source defines compute, in a line.
_SAYS = {
    "sigmoid": "1 / (1 + e^-x).",
    "softmax": "e^x over the sum of e^x, without overflow.",
    "logsumexp": "log of the sum of e^x, without overflow.",
    "cross_entropy_with_logits": "-sum of t log softmax(x), without overflow.",
    "binary_cross_entropy_with_logits": "-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), without overflow.",
    "erf": "The error function, within 2 ulp.",
}


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
        network = s.m is not None
        if s.raw_loss is not None:
            read = self._needed(s.raw_loss.names(), {s.output})
            self.written = [n for n in s.constants if n in read and self.values[n].size <= _MOST_WRITTEN]
        parts.append(self._forward("X" if network else ", ".join(map(self._name, s.inputs)), network))
        if s.raw_loss is not None:
            parts.append(self._loss(s.raw_loss))
        parts.append(self._backward("Y" if s.given is None else self._name(s.given), network))
        says = f"{_plain(one_line(self.title))}: forward and backward pass, derived by chainrule."
        head = f'"""{says}"""\n\nimport numpy as np\n'
        arrays = "".join(f"\n{self._name(n)} = np.array({self.values[n].tolist()!r})\n" for n in self.written)
        return "\n\n".join([head + arrays, *self.helpers, *parts])

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
        text = self.printer.text(e)[0]
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
        return [f'{self._name(n)} = {source}["{_plain(n)}"]' for n in names if n not in self.written]

    def _batch(self, labels: Iterable[str], length: str) -> list[str]:
        return [f"m = {length}"] if any(has_batch(self.expressions[n]) for n in labels) else []

    def _statement(self, label: str) -> str:
        return f"{self._name(label)} = {self.printer.text(self.expressions[label])[0]}"

    def _name(self, label: str) -> str:
        return "Y" if label == "y" and self.steps.m is not None else self.identifiers[label]

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
        return _function(name, ", ".join(arguments), _SAYS.get(e.op), lines)


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
        (result,) = simplified(dict(zip(arguments, leaves, strict=True)), [e.row.expand(*leaves, **attrs)])
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
    """Return the library's own error function as one would write it for arrays of float64."""
    tree = ast.parse(inspect.getsource(sys.modules[erf_array.__module__]))
    kept: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign):
            kept.append(_on_lines(node))
        elif isinstance(node, ast.FunctionDef):
            kept.append("\n\n" + ast.unparse(_InDouble().visit(node)))
    return "\n".join(kept) + "\n"


def _on_lines(node: ast.Assign) -> str:
    """Return the assignment of a table of numbers, three on a line."""
    assert isinstance(node.value, ast.Tuple)
    numbers = [ast.unparse(x) for x in node.value.elts]
    lines = [", ".join(numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
    return f"{ast.unparse(node.targets[0])} = (\n" + "".join(f"    {line},\n" for line in lines) + ")"


class _InDouble(ast.NodeTransformer):
    """Takes out of a function what serves other dtypes, outputs that are given, and annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns, node.args.defaults = None, []
        node.args.args = [ast.arg(a.arg) for a in node.args.args if a.arg != "out"]
        if node.name == "erf_array":
            node.name = "erf"
            says = ast.Expr(ast.Constant(_SAYS["erf"]))
            node.body = [says, *filter(_computes, node.body), *ast.parse("return result").body]
        self.generic_visit(node)
        return ast.fix_missing_locations(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return node.args[0] if ast.unparse(node.func) == "t.dtype.type" else node


def _computes(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) != "dtype"
