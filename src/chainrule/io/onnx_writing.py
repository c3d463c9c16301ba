"""From a traced network to an ONNX graph: the table of what writes an operation, and the writer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.tensor import Parameter, Tensor
from ..ops.table import row_of
from . import onnx_windows
from .onnx_idioms import Idiom, idioms, match
from .onnx_layer_rows import LAYER, LAYERS
from .onnx_operations import LOGICAL, PLAIN, REDUCTIONS

#: A network is traced with these numbers of examples, which no network has for another reason. What differs between
#: the traces depends on the number, and must be linear in it: with two numbers everything would be, and odd ones alone
#: would hide what happens for even ones.
EXAMPLES = (17, 19, 22)

_LAST, _FIRST = 2**63 - 1, -(2**63)  # how ONNX's slices say "to the end", forwards and backwards


Row = Callable[["Writer", "Step"], str]


class Step:
    """One operation, as recorded in each of the traces."""

    def __init__(self, nodes: tuple[Tensor, ...], needs: list[tuple[Tensor, ...]], row: Row) -> None:
        self.nodes = nodes
        self.needs = needs
        self.row = row
        self.inputs: list[str] = []  # names of what it needs, once they are written
        self.first = nodes[0]
        self.attrs = nodes[0].attrs

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of the result in each trace."""
        return [node.shape for node in self.nodes]

    def __str__(self) -> str:
        called = f", which gives {self.first.name}" if self.first.name else ""
        return f"operation {self.first.op.name if self.first.op else 'constant'!r}{called}"


class Writer:
    """Collects the nodes and initializers of one ONNX graph."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._paths = paths  # id of a parameter -> its name in the file
        self._taken: set[str] = set(paths.values())
        self._known: dict[int, tuple[tuple[Tensor, ...], str]] = {}  # holds the nodes, so that ids stay theirs
        self._constants: dict[Any, str] = {}
        self._stored: dict[Any, str] = {}  # (id of a parameter, shape) -> its name
        self._first = ""  # the input that gives the number of examples
        self._batch = ""  # that number
        self._outputs: set[str] = set()
        self._idioms: dict[int, list[Idiom]] = {}  # by number of axes

    # -- names and nodes ---------------------------------------------------------------------------------------------

    def name(self, wanted: str) -> str:
        """Return `wanted`, or with a number where it is taken."""
        free, n = wanted, 1
        while free in self._taken:
            n += 1
            free = f"{wanted}_{n}"
        self._taken.add(free)
        return free

    def reserve(self, what: str, name: str) -> None:
        """Reserve a name for an input or an output; raise if it is taken."""
        if name in self._taken:
            raise ValueError(f"{what} cannot be called {name!r}: the name is taken")
        self._taken.add(name)

    def node(self, kind: str, *inputs: str, **attrs: Any) -> str:
        """Add a node; return the name of its output."""
        return self.nodes_of(kind, inputs, 1, **attrs)[0]

    def nodes_of(self, kind: str, inputs: Sequence[str], outputs: int, **attrs: Any) -> list[str]:
        """Add a node with several outputs; return their names."""
        from onnx import helper

        names = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=self.name(f"/{kind}"), **attrs))
        return names

    def constant(self, value: Any, name: str = "") -> str:
        """Return the name of a constant; equal ones are one."""
        from onnx import numpy_helper

        array = np.array(value, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.node("Constant", value=numpy_helper.from_array(array))
            if name:
                self._constants[key] = self.nodes[-1].output[0] = name
        return self._constants[key]

    def integers(self, *numbers: int) -> str:
        """Return the name of a constant list of int64."""
        return self.constant(np.array(numbers, np.int64))

    def number(self, value: float, like: Tensor) -> str:
        """Return the name of a constant of the dtype of `like`."""
        return self.constant(np.asarray(value, like.dtype))

    def cast(self, x: str, dtype: Any) -> str:
        """Return `x` converted."""
        from onnx import helper

        return self.node("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    # -- what depends on the number of examples ----------------------------------------------------------------------

    def begin(self, name: str, leaves: tuple[Tensor, ...]) -> None:
        """Enter an input of the graph; the first one gives the number of examples."""
        self.reserve("an input", name)
        self.enter(name, leaves)

    def enter(self, name: str, leaves: tuple[Tensor, ...]) -> None:
        """Enter a value that is written already, with an example in each row."""
        self._known[id(leaves[0])] = leaves, name
        self._first = self._first or name

    def integers_of(self, lists: Sequence[Sequence[int]], what: Any) -> str:
        """Return the name of a list of integers given for each trace: constant, or computed from the batch."""
        if len({tuple(numbers) for numbers in lists}) == 1:
            return self.integers(*lists[0])
        parts = []
        for numbers in zip(*lists, strict=True):
            a, b = line(numbers, what)
            parts.append(self.integers(b) if a == 0 else self._of_batch(a, b))
        return self.node("Concat", *parts, axis=0)

    def _of_batch(self, a: int, b: int) -> str:
        if not self._batch:
            self._batch = self.node("Gather", self.node("Shape", self._first), self.integers(0), axis=0)
        scaled = self._batch if a == 1 else self.node("Mul", self._batch, self.integers(a))
        return scaled if b == 0 else self.node("Add", scaled, self.integers(b))

    # -- the graph ---------------------------------------------------------------------------------------------------

    def write(self, outputs: tuple[Tensor, ...]) -> str:
        """Write what one output (of each trace) depends on; return its name."""
        stack: list[tuple[tuple[Tensor, ...], Step | None]] = [(outputs, None)]
        while stack:
            nodes, step = stack.pop()
            if id(nodes[0]) in self._known:
                if any(a is not b for a, b in zip(self._known[id(nodes[0])][0], nodes, strict=True)):
                    raise ValueError(_DIFFERENT)
            elif step is None:
                step = self._step(nodes)
                stack.append((nodes, step))
                stack += [(x, None) for x in step.needs[::-1] if id(x[0]) not in self._known]
            else:
                step.inputs = [self._known[id(x[0])][1] for x in step.needs]
                self._known[id(nodes[0])] = nodes, self._written(step)
        return self._known[id(outputs[0])][1]

    def _step(self, nodes: tuple[Tensor, ...]) -> Step:
        """Return what writes an operation, and what it needs."""
        if len({(n.op, len(n.inputs), n.dtype) for n in nodes}) != 1:
            raise ValueError(_DIFFERENT)
        op = nodes[0].op
        if op is None:
            return Step(nodes, [], lambda w, s: w._leaf(s))
        if op is LAYER:
            layer = nodes[0].attrs["layer"]
            return Step(nodes, [tuple(n.inputs[1] for n in nodes)], lambda w, s: LAYERS[type(layer)](w, layer, s))
        idiom = self._idiom(nodes)
        if idiom is not None:
            return idiom
        step = Step(nodes, list(zip(*(n.inputs for n in nodes), strict=True)), ROWS.get(op.name, _defined))
        if step.row is _defined and op.definition is None:
            raise ValueError(f"{step} has no counterpart in ONNX (docs/models.md lists such operations)")
        attributes_may_change = step.row is _defined or op.name in _SHAPED
        if not attributes_may_change and any(n.attrs != step.attrs for n in nodes):
            raise ValueError(f"the attributes of {step} depend on the number of examples; ONNX's are constants")
        return step

    def _idiom(self, nodes: tuple[Tensor, ...]) -> Step | None:
        """Return the step of an operation that ONNX has and the table expresses through others."""
        first = nodes[0]
        if first.ndim not in self._idioms:
            self._idioms[first.ndim] = idioms(first.ndim)
        for idiom in self._idioms[first.ndim]:
            if idiom.root.op is not first.op:
                continue
            found = [f for f in (match(idiom, node) for node in nodes) if f is not None]
            if len(found) == len(nodes) and len({f.number for f in found}) == 1:
                needs = [tuple(f.inputs[id(stand_in)] for f in found) for stand_in in idiom.inputs]
                number = {idiom.attribute: found[0].number} if idiom.attribute else {}
                return Step(nodes, needs, _plain(idiom.kind, **dict(idiom.settings), **number))
        return None

    def _written(self, step: Step) -> str:
        """Write an operation; its value keeps its name, such as Z1."""
        before = len(self.nodes)
        made, wanted = step.row(self, step), step.first.name
        new = self.nodes[before:]
        if wanted and new and list(new[-1].output) == [made] and new[-1].op_type != "Constant":
            made = new[-1].output[0] = self.name(wanted)
        return made

    def finish(self, outputs: tuple[Tensor, ...], name: str) -> None:
        """Write one output of the graph, under its name."""
        made = self.write(outputs)
        inner = [node for node in self.nodes if made in node.output and node.op_type != "Constant"]
        if not inner or made in self._outputs:
            made = self.node("Identity", made)
        self._outputs.add(name)
        for node in self.nodes:
            node.input[:] = [name if n == made else n for n in node.input]
            node.output[:] = [name if n == made else n for n in node.output]
        for key, (nodes, known) in self._known.items():
            if known == made:
                self._known[key] = nodes, name

    def stored(self, parameter: Parameter, array: Any = None) -> str:
        """Return the name of an initializer with a parameter's numbers; `array` has them as an operator takes them."""
        from onnx import numpy_helper

        array = parameter.value if array is None else array
        key = id(parameter), array.shape
        if key not in self._stored:
            path = self._paths.get(id(parameter)) or parameter.name or "parameter"
            known = path in self._paths.values() and path not in self._stored.values()
            self._stored[key] = path if known else self.name(path)
            self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), self._stored[key]))
        return self._stored[key]

    def kept(self, array: Any) -> str:
        """Return the name of a constant with the numbers of a buffer."""
        return self.constant(array, self._paths.get(id(array), ""))

    def _leaf(self, step: Step) -> str:
        leaf = step.first
        if leaf.value is None:
            raise ValueError("the network uses a tensor of another trace")
        if isinstance(leaf, Parameter):
            return self.stored(leaf)
        values = [n.value for n in step.nodes]
        if all(v is leaf.value or _equal(v, leaf.value) for v in values):
            return self.kept(leaf.value)
        if leaf.dtype.kind in "iu" and leaf.ndim and all(v is not None and _counts_up(v) for v in values):
            whole = self.integers_of([[v.size] for v in values if v is not None], "a range")
            ends = [self.node("Squeeze", n, self.integers(0)) for n in (self.integers(0), whole, self.integers(1))]
            shapes = self.integers_of([v.shape for v in values if v is not None], "a range")
            return self.cast(self.node("Reshape", self.node("Range", *ends), shapes), leaf.dtype)
        if leaf.size and all(v is not None and v.size and np.all(v == leaf.value.flat[0]) for v in values):
            if leaf.shape:
                whole = self.integers_of([n.shape for n in step.nodes], "a constant")
                return self.node("Expand", self.constant(leaf.value.flat[0]), whole)
        if leaf.shape or not all(v is not None and float(v).is_integer() for v in values):
            raise ValueError(f"a constant of shape {leaf.shape} in it depends on the number of examples")
        whole = self.integers_of([[int(v)] for v in values if v is not None], "a constant")
        return self.cast(self.node("Squeeze", whole, self.integers(0)), leaf.dtype)


_DIFFERENT = "the computation changes with the number of examples; an ONNX model has one computation for all"


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _counts_up(value: Any) -> bool:
    return bool(np.array_equal(value.ravel(), np.arange(value.size)))


def line(numbers: Sequence[int], what: Any) -> tuple[int, int]:
    """Return (a, b) with a · m + b = each of `numbers` for m in EXAMPLES; raise where there are none."""
    a, rest = divmod(numbers[1] - numbers[0], EXAMPLES[1] - EXAMPLES[0])
    b = numbers[0] - a * EXAMPLES[0]
    if rest or any(a * m + b != n for m, n in zip(EXAMPLES, numbers, strict=True)):
        raise ValueError(f"a length in {what} depends on the number of examples, but is not linear in it")
    return a, b


# -- the rows ----------------------------------------------------------------------------------------------------------


def _defined(w: Writer, s: Step) -> str:
    """Write an operation that ONNX lacks through its definition by others."""
    with np.errstate(all="ignore"):
        return w.write(tuple(n.op.definition(*n.inputs, **n.attrs) for n in s.nodes))  # type: ignore[union-attr,misc]


def _plain(kind: str, **attributes: Any) -> Row:
    return lambda w, s: w.node(kind, *s.inputs, **attributes)


def _logical(kind: str) -> Row:
    def row(w: Writer, s: Step) -> str:
        truths = [
            x if node.dtype == bool else w.node("Not", w.node("Equal", x, w.number(0, node)))
            for x, node in zip(s.inputs, s.first.inputs, strict=True)
        ]
        return w.node(kind, *truths)

    return row


def _reduce(kind: str) -> Row:
    def row(w: Writer, s: Step) -> str:
        (x,), dtype = s.inputs, s.first.dtype
        return _over_axes(w, s, kind, x if s.first.inputs[0].dtype == dtype else w.cast(x, dtype))

    return row


def _over_axes(w: Writer, s: Step, kind: str, x: str) -> str:
    axes = s.attrs["axis"]
    return w.node(kind, x, w.integers(*axes), keepdims=int(s.attrs["keepdims"])) if axes else x


def _truth(kind: str) -> Row:
    return lambda w, s: w.cast(_over_axes(w, s, kind, w.cast(_logical("Identity")(w, s), np.int32)), bool)


def _position(kind: str) -> Row:
    return lambda w, s: w.node(kind, *s.inputs, axis=s.attrs["axis"], keepdims=int(s.attrs["keepdims"]))


def _scaled_log(factor: float) -> Row:
    return lambda w, s: w.node("Mul", w.node("Log", *s.inputs), w.number(factor, s.first))


def _hypot(w: Writer, s: Step) -> str:
    a, b = (w.node("Mul", x, x) for x in s.inputs)
    return w.node("Sqrt", w.node("Add", a, b))


def _logaddexp(w: Writer, s: Step) -> str:
    distance = w.node("Abs", w.node("Sub", *s.inputs))
    return w.node("Add", w.node("Max", *s.inputs), w.node("Softplus", w.node("Neg", distance)))


def _floor_divide(w: Writer, s: Step) -> str:
    x, y = s.inputs
    if s.first.dtype.kind == "f":
        return w.node("Floor", w.node("Div", x, y))
    return w.node("Div", w.node("Sub", x, w.node("Mod", x, y)), y)


def _remainder(w: Writer, s: Step) -> str:
    x, y = s.inputs
    if s.first.dtype.kind == "f":  # Mod gives floats the sign of the dividend
        return w.node("Sub", x, w.node("Mul", _floor_divide(w, s), y))
    return w.node("Mod", x, y)


def _with_sign(of: Callable[[Writer, str, Tensor], str]) -> Row:
    """Return the row of an odd function, from its definition for positive numbers."""
    return lambda w, s: w.node("Mul", w.node("Sign", *s.inputs), of(w, w.node("Abs", *s.inputs), s.first))


def _isfinite(w: Writer, s: Step) -> str:
    return w.node("Not", w.node("Or", w.node("IsNaN", *s.inputs), w.node("IsInf", *s.inputs)))


def _softmax(w: Writer, s: Step) -> str:
    axes = s.attrs["axis"]
    return w.node("Softmax", *s.inputs, axis=axes[0]) if len(axes) == 1 else _defined(w, s)


def _reshape(w: Writer, s: Step) -> str:
    shapes = [tuple(n.attrs["shape"]) for n in s.nodes]
    changing = [i for i, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1]
    if len(changing) == 1 and 0 not in shapes[0]:
        return w.node("Reshape", *s.inputs, w.integers(*[-1 if i in changing else d for i, d in enumerate(shapes[0])]))
    return w.node("Reshape", *s.inputs, w.integers_of(shapes, s), allowzero=int(0 in shapes[0]))


def _slice(w: Writer, s: Step) -> str:
    x, ndim = s.inputs[0], s.first.inputs[0].ndim
    index = _without_ellipsis(s.attrs["index"], ndim)
    cuts: list[tuple[int, int, int, int]] = []
    dropped: list[int] = []
    added: list[int] = []
    axis = 0
    for position, part in enumerate(index):
        if part is None:
            added.append(position - len(dropped))
            continue
        if isinstance(part, slice):
            step = 1 if part.step is None else part.step
            start = part.start if part.start is not None else (0 if step > 0 else _LAST)
            stop = part.stop if part.stop is not None else (_LAST if step > 0 else _FIRST)
            if part != slice(None):
                cuts.append((start, stop, axis, step))
        else:
            cuts.append((part, part + 1 if part != -1 else _LAST, axis, 1))
            dropped.append(axis)
        axis += 1
    if cuts:
        x = w.node("Slice", x, *(w.integers(*column) for column in zip(*cuts, strict=True)))
    if dropped:
        x = w.node("Squeeze", x, w.integers(*dropped))
    return w.node("Unsqueeze", x, w.integers(*added)) if added else x


def _without_ellipsis(index: tuple[Any, ...], ndim: int) -> list[Any]:
    parts = list(index)
    missing = ndim - sum(part is not None and part is not Ellipsis for part in parts)
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    place = dots[0] if dots else len(parts)
    parts[place : place + bool(dots)] = [slice(None)] * missing
    return parts


def _gather(w: Writer, s: Step) -> str:
    x, *arrays = s.inputs
    index = _without_ellipsis(s.attrs["index"], s.first.inputs[0].ndim)
    places = [i for i, part in enumerate(index) if part != slice(None)]
    arrays = [
        name if node.dtype in (np.int32, np.int64) else w.cast(name, np.int64)
        for name, node in zip(arrays, s.first.inputs[1:], strict=True)
    ]
    if len(arrays) == len(places) == 1:
        return w.node("Gather", x, arrays[0], axis=places[0])
    if len(arrays) != len(places) or places != list(range(len(places))):
        raise ValueError(
            f"{s} has an index that ONNX does not support: expected index arrays on the first axes or on one axis"
        )
    shapes = [np.broadcast_shapes(*[a.shape for a in n.inputs[1:]]) for n in s.nodes]
    spread = [w.node("Expand", w.cast(a, np.int64), w.integers_of(shapes, s)) for a in arrays]
    columns = [w.node("Unsqueeze", a, w.integers(-1)) for a in spread]
    return w.node("GatherND", x, w.node("Concat", *columns, axis=-1))


def _conv(w: Writer, s: Step) -> str:
    n = s.first.ndim - 2
    kernel = w.node("Transpose", s.inputs[1], perm=[n + 1, *range(n + 1)])
    return w.node("Conv", s.inputs[0], kernel, **onnx_windows.settings(s.attrs))


def _conv_input(w: Writer, s: Step) -> str:
    n, (y, filters) = s.first.ndim - 2, s.first.inputs
    more = onnx_windows.output_padding(s.attrs["space"], y.shape[2:], filters.shape[1:-1], s.attrs)
    kernel = w.node("Transpose", s.inputs[1], perm=[n + 1, *range(n + 1)])
    return w.node("ConvTranspose", s.inputs[0], kernel, output_padding=more, **onnx_windows.settings(s.attrs))


def _over_space(w: Writer, s: Step, kind: str, x: str, **attributes: Any) -> str:
    """Write an operation of the last axes: in ONNX they have examples and channels before them."""
    n, shape = len(s.attrs["size"]), s.first.inputs[0].shape
    if len(shape) == n + 2:
        return w.node(kind, x, **attributes)
    x = w.node("Reshape", x, w.integers(1, -1, *shape[len(shape) - n :]))
    return w.node("Reshape", w.node(kind, x, **attributes), w.integers_of(s.shapes, s))


def _place(w: Writer, s: Step) -> str:
    """Write zeros around a value; slices with gaps have no counterpart."""
    before, after = [], []
    for part, d, whole in zip(s.attrs["index"], s.first.inputs[0].shape, s.attrs["shape"], strict=False):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise ValueError(f"{s} has an index that ONNX does not support: expected zeros around a value")
        before.append(part.indices(whole)[0])
        after.append(whole - before[-1] - d)
    return w.node("Pad", s.inputs[0], w.integers(*before, *after))


def _one_hot(w: Writer, s: Step) -> str:
    ids = w.node("Unsqueeze", w.cast(s.inputs[0], np.int64), w.integers(-1))
    return w.cast(w.node("Equal", ids, w.integers(*range(s.attrs["classes"]))), s.first.dtype)


def _argsort(w: Writer, s: Step) -> str:
    axis = s.attrs["axis"]
    count = w.integers_of([[shape[axis]] for shape in s.shapes], s)
    return w.nodes_of("TopK", (*s.inputs, count), 2, axis=axis, largest=0, sorted=1)[1]


#: Our operation -> what writes it. Operations that are not here are written through their definitions.
ROWS: dict[str, Row] = {
    **{row_of(function).name: _plain(name) for name, function in PLAIN.items()},
    **{row_of(function).name: _logical(name) for name, function in LOGICAL.items()},
    **{row_of(function).name: _reduce(name) for name, function in REDUCTIONS.items()},
    "divide": _plain("Div"),
    "power": _plain("Pow"),
    "maximum": _plain("Max"),
    "minimum": _plain("Min"),
    "where": _plain("Where"),
    "identity": lambda w, s: s.inputs[0],
    "stop_gradient": lambda w, s: s.inputs[0],
    "cast": lambda w, s: w.cast(s.inputs[0], s.attrs["dtype"]),
    "square": lambda w, s: w.node("Mul", *s.inputs * 2),
    "expm1": lambda w, s: w.node("Sub", w.node("Exp", *s.inputs), w.number(1, s.first)),
    "log1p": lambda w, s: w.node("Log", w.node("Add", *s.inputs, w.number(1, s.first))),
    "log2": _scaled_log(1 / math.log(2)),
    "log10": _scaled_log(1 / math.log(10)),
    "exp2": lambda w, s: w.node("Pow", w.number(2, s.first), *s.inputs),
    "logaddexp": _logaddexp,
    "hypot": _hypot,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "fmod": _plain("Mod", fmod=1),
    "cbrt": _with_sign(lambda w, x, like: w.node("Pow", x, w.number(1 / 3, like))),
    "trunc": _with_sign(lambda w, x, like: w.node("Floor", x)),
    "not_equal": lambda w, s: w.node("Not", w.node("Equal", *s.inputs)),
    "isfinite": _isfinite,
    "all": _truth("ReduceMin"),
    "any": _truth("ReduceMax"),
    "argmax": _position("ArgMax"),
    "argmin": _position("ArgMin"),
    "softmax": _softmax,
    "concatenate": lambda w, s: w.node("Concat", *s.inputs, axis=s.attrs["axis"]),
    "transpose": lambda w, s: w.node("Transpose", *s.inputs, perm=list(s.attrs["axes"])),
    "reshape": _reshape,
    "broadcast_to": lambda w, s: w.node("Expand", *s.inputs, w.integers_of(s.shapes, s)),
    "cumsum": lambda w, s: w.node("CumSum", *s.inputs, w.constant(np.array(s.attrs["axis"], np.int64))),
    "slice": _slice,
    "gather": _gather,
    "one_hot": _one_hot,
    "argsort": _argsort,
    "conv": _conv,
    "conv_input": _conv_input,
    "max_pool": lambda w, s: _over_space(w, s, "MaxPool", s.inputs[0], **onnx_windows.settings(s.attrs)),
    "place": _place,
    "windows": _defined,
}  # fmt: skip

#: Rows that handle attributes that depend on the number of examples.
_SHAPED = {"reshape", "broadcast_to", "place"}
