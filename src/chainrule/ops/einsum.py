"""``numpy.einsum``, lowered to diagonals, sums, transposes, reshapes and (batched) matrix multiplies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .table import as_dtype, implements, promote, shape_of

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: An index: a letter of the subscripts, or ("…", k) for the k-th axis from the right under an ellipsis.
Label = Any
Labels = tuple[Label, ...]


def _written(labels: Sequence[Label]) -> str:
    return "".join(label if isinstance(label, str) else "…" for label in labels)


def _as_string(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """Turn the form ``einsum(a, [0, 1], b, [1, 2], [0, 2])`` into subscripts and operands."""

    def letters(sublist: Any) -> str:
        return "".join("..." if i is Ellipsis else _LETTERS[i] for i in sublist)

    pairs = len(operands) // 2
    subscripts = ",".join(letters(operands[2 * i + 1]) for i in range(pairs))
    if len(operands) % 2:
        subscripts += "->" + letters(operands[-1])
    return subscripts, list(operands[: 2 * pairs : 2])


def _labels(term: str, subscripts: str, covered: int) -> Labels:
    """Return the indices of one term; `covered` is how many axes an ellipsis in it stands for."""
    head, dots, tail = term.partition("...")
    for letter in head + tail:
        if not (letter.isascii() and letter.isalpha()):
            raise ValueError(
                f"einsum: unexpected {letter!r} in the subscripts {subscripts!r}; expected letters, ',', '...' and '->'"
            )
    under = [("…", k) for k in range(covered, 0, -1)] if dots else []
    return (*head, *under, *tail)


def parse(subscripts: str, shapes: Sequence[Sequence[int]]) -> tuple[list[Labels], Labels]:
    """Return the indices of every operand and of the output."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: the subscripts {subscripts!r} name {len(terms)} operands, {len(shapes)} were given")
    inputs = []
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        named = len(term.replace("...", ""))
        if ("..." not in term and named != len(shape)) or named > len(shape):
            raise ValueError(f"einsum: operand {i} has shape {tuple(shape)}, its subscripts {term!r} name {named} axes")
        inputs.append(_labels(term, subscripts, len(shape) - named))
    seen = [label for labels in inputs for label in labels]
    widest = max((k for _, k in (label for label in seen if not isinstance(label, str))), default=0)
    if arrow:
        output = _labels(right, subscripts, widest if "..." in right else 0)
        if len(set(output)) != len(output):
            raise ValueError(f"einsum: the output {right!r} of {subscripts!r} names an index twice")
        unknown = [label for label in output if label not in seen]
        if unknown:
            raise ValueError(f"einsum: the output index {_written(unknown)!r} of {subscripts!r} is not in any operand")
        if "..." not in right and widest:
            raise ValueError(
                f"einsum: the operands of {subscripts!r} have '...', the output has not; sum those axes first"
            )
        return inputs, output
    once = sorted(label for label in set(seen) if isinstance(label, str) and seen.count(label) == 1)
    return inputs, (*[("…", k) for k in range(widest, 0, -1)], *once)


def _extents(inputs: Sequence[Labels], shapes: Sequence[Sequence[int]], subscripts: str) -> dict[Label, int]:
    """Return each index's length; 1 gives way to any other, as in broadcasting."""
    extent: dict[Label, int] = {}
    for i, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        for label, n in zip(labels, shape, strict=True):
            known = extent.setdefault(label, n)
            if known == 1:
                extent[label] = n
            elif n not in (1, known):
                raise ValueError(
                    f"einsum: index {_written([label])!r} of {subscripts!r} has length {n} in operand {i} (shape "
                    f"{tuple(shape)}), but {known} before"
                )
    return extent


def _without_repeats(x: Any, labels: Labels) -> tuple[Any, Labels]:
    """Take the diagonal over axes with one index."""
    while len(set(labels)) < len(labels):
        first = next(i for i, label in enumerate(labels) if label in labels[i + 1 :])
        second = labels.index(labels[first], first + 1)
        label = labels[first]
        n, m = shape_of(x)[first], shape_of(x)[second]
        if n != m:
            raise ValueError(f"einsum: index {_written([label])!r} names axes of lengths {n} and {m} of one operand")
        x = np.diagonal(x, axis1=first, axis2=second)
        labels = (*[b for i, b in enumerate(labels) if i not in (first, second)], label)
    return x, labels


def _reduced(x: Any, labels: Labels, keep: set[Label], extent: dict[Label, int]) -> tuple[Any, Labels]:
    """Drop axes of length 1 that stand for a longer index, and sum over the indices that nothing else names."""
    drop = [i for i, b in enumerate(labels) if shape_of(x)[i] == 1 and extent[b] != 1]
    if drop:
        x = np.squeeze(x, axis=tuple(drop))
        labels = tuple(b for i, b in enumerate(labels) if i not in drop)
    alone = tuple(i for i, b in enumerate(labels) if b not in keep)
    if alone:
        x = np.sum(x, axis=alone, dtype=x.dtype)
        labels = tuple(b for b in labels if b in keep)
    return x, labels


def _pair(a: Any, la: Labels, b: Any, lb: Labels, keep: set[Label], extent: dict[Label, int]) -> tuple[Any, Labels]:
    """Contract two operands: a batched matrix multiply, or an elementwise product when no index is summed."""
    batch = [x for x in la if x in lb and x in keep]
    summed = [x for x in la if x in lb and x not in keep]
    left, right = [x for x in la if x not in lb], [x for x in lb if x not in la]

    def arranged(x: Any, labels: Labels, groups: Sequence[Sequence[Label]]) -> Any:
        order = [labels.index(i) for group in groups for i in group]
        lengths = [math.prod(extent[i] for i in group) for group in groups]
        return np.reshape(np.transpose(x, order), lengths if batch else lengths[1:])

    if summed:
        product = np.matmul(arranged(a, la, (batch, left, summed)), arranged(b, lb, (batch, summed, right)))
    else:
        product = arranged(a, la, (batch, left, ())) * arranged(b, lb, (batch, (), right))
    labels = (*batch, *left, *right)
    return np.reshape(product, [extent[i] for i in labels]), labels


def _cheapest(operands: Sequence[Labels], output: Labels, extent: dict[Label, int]) -> tuple[int, int]:
    """Return the pair to contract next: whose result grows least over its inputs (greedy), then the fewest products."""
    best: tuple[tuple[int, int], tuple[int, int]] | None = None
    for i in range(len(operands)):
        for j in range(i + 1, len(operands)):
            others = {x for k, labels in enumerate(operands) if k not in (i, j) for x in labels} | set(output)
            both = set(operands[i]) | set(operands[j])
            result = math.prod(extent[x] for x in both & others)
            inputs = sum(math.prod(extent[x] for x in operands[k]) for k in (i, j))
            cost = (result - inputs, math.prod(extent[x] for x in both))
            if best is None or cost < best[0]:
                best = (cost, (i, j))
    assert best is not None
    return best[1]


@implements(np.einsum)
def einsum(*operands: Any, out: None = None, optimize: Any = None, dtype: Any = None, **more: Any) -> Any:
    """As ``numpy.einsum``, in both calling forms; operands are contracted two by two in a cheap order."""
    more = {k: v for k, v in more.items() if k not in ("order", "casting")}
    if more or out is not None:
        raise TypeError(f"np.einsum on tensors does not take {', '.join(more) or 'out'}")
    if not operands:
        raise ValueError("einsum: no operands given")
    subscripts, given = (operands[0], list(operands[1:])) if isinstance(operands[0], str) else _as_string(operands)
    tensors = [x if isinstance(x, Tensor) else np.asarray(x) for x in given]
    inputs, output = parse(subscripts, [shape_of(x) for x in tensors])
    extent = _extents(inputs, [shape_of(x) for x in tensors], subscripts)
    promoted, _ = promote(*tensors)
    terms = [_without_repeats(as_dtype(x, dtype) if dtype else x, b) for x, b in zip(promoted, inputs, strict=True)]
    terms = [_reduced(x, b, _named_by_others(terms, i, output), extent) for i, (x, b) in enumerate(terms)]
    while len(terms) > 1:
        i, j = _cheapest([b for _, b in terms], output, extent)
        b, a = terms.pop(j), terms.pop(i)
        keep = {x for _, labels in terms for x in labels} | set(output)
        # a sum over an index that only one of the two names waits for its partner's axis of length 1 to have gone
        left, right = _reduced(*a, keep | set(b[1]), extent), _reduced(*b, keep | set(a[1]), extent)
        terms.append(_pair(*left, *right, keep, extent))
    x, labels = _reduced(*terms[0], set(output), extent)
    return np.transpose(x, [labels.index(i) for i in output])


def _named_by_others(terms: Sequence[tuple[Any, Labels]], this: int, output: Labels) -> set[Label]:
    return {x for k, (_, labels) in enumerate(terms) if k != this for x in labels} | set(output)
