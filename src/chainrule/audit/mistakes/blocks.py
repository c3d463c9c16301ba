"""Softmax and normalisation in a forward pass, however they are written, and the known ways to derive them wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...adapters.backward_pass import Point
from ...core.op import Array
from ...core.reverse import topological
from ...core.tensor import Tensor
from .variants import Context, Variant


@dataclass
class Block:
    """A softmax or a normalisation: from `source` to `target`, along `axis`.

    Attributes
    ----------
    kind : str
        "softmax" or "normalisation".
    spread : Array
        For a normalisation, the standard deviation that is divided by.
    """

    kind: str
    source: Tensor
    target: Tensor
    axis: tuple[int, ...]
    spread: Array


def blocks(point: Point) -> list[Block]:
    """Find the softmaxes and normalisations of a recorded forward pass by their values."""
    assert point.loss is not None
    found: list[Block] = []
    order = [n for n in topological([point.loss]) if n.recordings and len(n.shape) >= 1 and n.value is not None]
    for i, node in enumerate(order):
        if node.op is None or node.op.name not in ("divide", "multiply", "softmax"):
            continue
        sources = [n for n in order[:i] if n.shape == node.shape][-12:]
        block = _softmax(node, sources) or _normalised(node, sources)
        if block is not None:
            found.append(block)
    return found


def _softmax(node: Tensor, sources: Sequence[Tensor]) -> Block | None:
    value = np.asarray(node.value)
    if value.min() < 0:
        return None
    for axis in range(value.ndim):
        if value.shape[axis] > 1 and np.allclose(value.sum(axis=axis), 1.0, rtol=1e-9):
            for source in sources:
                z = np.asarray(source.value)
                e = np.exp(z - z.max(axis=axis, keepdims=True))
                if np.allclose(e / e.sum(axis=axis, keepdims=True), value, rtol=1e-9):
                    return Block("softmax", source, node, (axis,), np.ones(()))
    return None


def _normalised(node: Tensor, sources: Sequence[Tensor]) -> Block | None:
    value = np.asarray(node.value)
    axes = [(k,) for k in range(value.ndim)] + (
        [(0, 2, 3), (2, 3), (1, 2, 3)] if value.ndim == 4 else [(0, 1)] if value.ndim == 3 else []
    )
    for axis in axes:
        size = int(np.prod([value.shape[k] for k in axis]))
        if size < 2 or not np.allclose(value.mean(axis=axis), 0.0, atol=1e-9):
            continue
        variance = value.var(axis=axis)
        if not (variance < 1 + 1e-9).all() or variance.min() < 0.5:
            continue
        for source in sources:
            z = np.asarray(source.value)
            centred = z - z.mean(axis=axis, keepdims=True)
            spread = np.sqrt(np.sum(centred**2, axis=axis, keepdims=True) / np.sum(value**2, axis=axis, keepdims=True))
            if np.allclose(centred / spread, value, rtol=1e-8, atol=1e-10) and not np.allclose(z, value):
                if np.allclose(z.mean(axis=axis), 0.0, atol=1e-12):
                    continue  # that is the centred value: look for what it came from
                return Block("normalisation", source, node, axis, spread)
    return None


Map = Callable[[Block, Array], Array]


def _right(block: Block, p: Array) -> Array:
    a = np.asarray(block.target.value)
    if block.kind == "softmax":
        return np.asarray(a * (p - np.sum(p * a, axis=block.axis, keepdims=True)))
    # the small ε under the root makes the second mean's weight a little less than 1
    weight = 1.0
    mean = p.mean(axis=block.axis, keepdims=True)
    return np.asarray((p - mean - weight * a * np.mean(p * a, axis=block.axis, keepdims=True)) / block.spread)


def _over(axis: int) -> Map:
    def other(block: Block, p: Array) -> Array:
        a = np.asarray(block.target.value)
        if block.kind == "softmax":
            return np.asarray(a * (p - np.sum(p * a, axis=axis, keepdims=True)))
        mean = p.mean(axis=axis, keepdims=True)
        return np.asarray((p - mean - a * np.mean(p * a, axis=axis, keepdims=True)) / block.spread)

    return other


def _maps(block: Block, z: str, a: str) -> Iterator[tuple[str, str, str, Map]]:
    if block.kind == "softmax":
        yield "missing-activation-derivative", "the derivative of the softmax is left out", "{p}", lambda b, p: p
        yield (
            "wrong-activation-derivative",
            "the softmax is derived like a sigmoid, a(1 − a): only the diagonal of its Jacobian",
            f"{{p}} ⊙ {a} ⊙ (1 − {a})",
            lambda b, p: p * np.asarray(b.target.value) * (1 - np.asarray(b.target.value)),
        )
        yield (
            "missing-term",
            "the sum in the derivative of the softmax is left out",
            f"{{p}} ⊙ {a}",
            lambda b, p: p * np.asarray(b.target.value),
        )
        yield (
            "missing-term",
            "the softmax' derivative lacks its factor outside of the sum",
            f"{{p}} − Σ {{p}} ⊙ {a}",
            lambda b, p: p - np.sum(p * np.asarray(b.target.value), axis=b.axis, keepdims=True),
        )
        yield (
            "sign",
            "the sum in the derivative of the softmax has the wrong sign",
            f"{a} ⊙ ({{p}} + Σ {{p}} ⊙ {a})",
            lambda b, p: (
                np.asarray(b.target.value) * (p + np.sum(p * np.asarray(b.target.value), axis=b.axis, keepdims=True))
            ),
        )
        yield (
            "missing-factor",
            "the sum in the derivative of the softmax is not weighted",
            f"{a} ⊙ ({{p}} − Σ {{p}})",
            lambda b, p: np.asarray(b.target.value) * (p - np.sum(p, axis=b.axis, keepdims=True)),
        )
    else:
        yield (
            "missing-term",
            "mean and variance are taken for constants",
            "{p} / σ",
            lambda b, p: p / b.spread,
        )
        yield (
            "missing-term",
            "the variance is taken for a constant",
            "({p} − mean({p})) / σ",
            lambda b, p: (p - p.mean(axis=b.axis, keepdims=True)) / b.spread,
        )
        yield (
            "missing-term",
            "the mean is taken for a constant",
            f"({{p}} − {a} ⊙ mean({{p}} ⊙ {a})) / σ",
            lambda b, p: (
                (p - np.asarray(b.target.value) * np.mean(p * np.asarray(b.target.value), axis=b.axis, keepdims=True))
                / b.spread
            ),
        )
        yield (
            "missing-factor",
            "the division by the standard deviation is left out",
            f"{{p}} − mean({{p}}) − {a} ⊙ mean({{p}} ⊙ {a})",
            lambda b, p: _right(b, p) * b.spread,
        )
        yield (
            "missing-activation-derivative",
            "the derivative of the normalisation is left out",
            "{p}",
            lambda b, p: p,
        )
    for axis in range(len(block.source.shape)):
        if (axis,) != block.axis:
            yield (
                "wrong-operand",
                f"the sums in the derivative of the {block.kind} run over the wrong axis",
                "",
                _over(axis),
            )


def block_variants(contexts: Sequence[Context]) -> Iterator[Variant]:
    """Yield wrong derivatives of softmaxes and normalisations."""
    lists = [blocks(c.point) for c in contexts]
    if not lists[0] or any(len(b) != len(lists[0]) for b in lists):
        return
    by_context = {id(c): b for c, b in zip(contexts, lists, strict=True)}
    first = contexts[0]
    names = first.graph.names_by_id
    for k, block in enumerate(lists[0]):
        p, q = first.graph.reached.get(id(block.target)), first.graph.reached.get(id(block.source))
        if p is None or q is None or p >= q:
            continue
        z, a = names.get(id(block.source), "Z"), names.get(id(block.target), "A")
        for cause, message, text, function in _maps(block, z, a):
            yield Variant(
                cause,
                message,
                _computed(by_context, k, function),
                text={q: _text(p, text)} if text else {},
            )
        if block.kind == "normalisation":
            yield from _scale_outside(by_context, first, k, block)


def _text(p: int, text: str) -> Any:
    return lambda graph, inner: text.replace("{p}", inner(p))


def _computed(by_context: dict[int, list[Block]], k: int, function: Map) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        block = by_context[id(context)][k]
        p, q = context.graph.reached.get(id(block.target)), context.graph.reached.get(id(block.source))
        if p is None or q is None:
            return None

        def change(graph: Any, i: int, inputs: list[Array], at: Any) -> Array:
            incoming = at(p)
            exact = graph.plain(i, inputs)
            whole = _right(block, incoming)
            base = 0.0 if np.allclose(exact, whole, rtol=1e-3, atol=1e-3 * np.abs(exact).max()) else exact - whole
            return np.asarray(base + function(block, incoming))

        return context.graph.evaluated({q: change})

    return compute


def _scale_outside(by_context: dict[int, list[Block]], first: Context, k: int, block: Block) -> Iterator[Variant]:
    """Yield the scale γ left out of the means, or left out altogether."""
    p = first.graph.reached[id(block.target)]
    node = first.graph.order[p]
    if node.op is None or node.op.name != "multiply":
        return
    inside = [j for j, d in enumerate(first.graph.dependent(p)) if d is None]
    if len(inside) != 1:
        return
    label = first.graph.names_by_id.get(id(node.inputs[inside[0]]), "the scale")

    def compute(context: Context, outside: bool) -> Array | None:
        graph = context.graph
        own = by_context[id(context)][k]
        p, q = graph.reached[id(own.target)], graph.reached[id(own.source)]
        scale = np.asarray(graph.order[p].inputs[inside[0]].value)
        before = graph.dependent(p)[1 - inside[0]]
        assert before is not None

        def change(g: Any, i: int, inputs: list[Array], at: Any) -> Array:
            return np.asarray(_right(own, at(before)) * (scale if outside else 1.0))

        return graph.evaluated({q: change})

    yield Variant("wrong-operand", f"{label} is multiplied in after the means, not before", lambda c: compute(c, True))
    yield Variant("missing-factor", f"the factor {label} is left out", lambda c: compute(c, False))
