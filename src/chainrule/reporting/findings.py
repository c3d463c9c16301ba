"""Diagnostics of the gradient flow, in words: it vanishes or explodes, units are dead, values are saturated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from .flow_file import Flow

#: Thresholds of the diagnoses: a factor between layers, shares of units and values, sizes of an update.
SHRINKS = 50.0
DEAD = 0.20
SATURATED, SATURATED_ONE_SIDED = 0.50, 0.90
LARGE_UPDATE, SMALL_UPDATE = 0.1, 1e-6

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def findings(flow: Flow) -> list[str]:
    """Return a sentence for each diagnosis of a flow with snapshots; none where nothing is unusual."""
    looks = (_not_finite, _none, _shrinking, _dead, _saturated, _updates)
    return [sentence for look in looks for sentence in look(flow)]


def number(x: float) -> str:
    """Return a number as text, very large and very small ones with a power of ten."""
    if x == 0 or 1e-3 <= abs(x) < 1e5:
        return f"{float(f'{x:.3g}'):,g}"
    digits, power = f"{x:.1e}".split("e")
    return f"{digits}·10{str(int(power)).translate(_SUPERSCRIPTS)}"


def _of(flow: Flow, name: str, snapshot: int = -1) -> dict[int, float]:
    """Return a figure for the layers that have it."""
    figures = flow.snapshots[snapshot].figures
    return {i: float(figures[i, name]) for i in range(len(flow.layers)) if (i, name) in figures}


def _named(flow: Flow, layers: Iterable[int]) -> str:
    names = [flow.layers[i]["name"] for i in layers]
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, … {names[-1]} ({len(names)} layers)"


def _not_finite(flow: Flow) -> Iterable[str]:
    figures = flow.snapshots[-1].figures
    bad = [
        i
        for i in range(len(flow.layers))
        if any((i, k) in figures and math.isnan(figures[i, k][0]) for k in ("Z", "A", "dZ", "dW"))
    ]
    if bad:
        yield f"Some values are infinite or NaN: {_named(flow, bad)}."


def _none(flow: Flow) -> Iterable[str]:
    if none := [i for i, x in _of(flow, "gradient").items() if x == 0]:
        yield f"No gradient reaches the weights of {_named(flow, none)}: they do not learn."


def _shrinking(flow: Flow) -> Iterable[str]:
    # of layers alone: how far other parameters, such as the phases of an embedding, have to move says nothing
    everywhere = _of(flow, "gradient")
    layers = [i for i in everywhere if (i, "Z") in flow.snapshots[-1].figures] or [*everywhere]
    if len(layers) > 3:  # nor does the last one: it has few units, and so small weights for the size of its gradient
        layers = layers[:-1]
    sizes = {i: x for i in layers if math.isfinite(x := everywhere[i]) and x > 0}
    if not sizes:
        return
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    factor = sizes[most] / sizes[least]
    if factor < SHRINKS:
        return
    ends = (
        f"‖dW‖/‖W‖ is {number(sizes[most])} in {flow.layers[most]['name']}, {number(sizes[least])} in "
        f"{flow.layers[least]['name']}: {number(factor)} times less."
    )
    yield f"The gradient {'vanishes' if least < most else 'grows'} on its way backward through the layers: {ends}"


def _dead(flow: Flow) -> Iterable[str]:
    if shares := {i: x for i, x in _of(flow, "dead").items() if x >= DEAD}:
        yield f"Dead units, which no example of the sample sends a gradient: {_shares(flow, shares)}."


def _saturated(flow: Flow) -> Iterable[str]:
    def usual(i: int) -> float:
        return SATURATED_ONE_SIDED if flow.layers[i].get("one_sided") else SATURATED

    if shares := {i: x for i, x in _of(flow, "saturated").items() if x >= usual(i)}:
        yield f"Saturated values, through which hardly any gradient passes: {_shares(flow, shares)}."


def _shares(flow: Flow, shares: dict[int, float]) -> str:
    worst = sorted(shares, key=lambda i: -shares[i])[:6]
    rest = f" and {len(shares) - 6} more layers" if len(shares) > 6 else ""
    return ", ".join(f"{100 * shares[i]:.0f}\u202f% in {flow.layers[i]['name']}" for i in sorted(worst)) + rest


def _updates(flow: Flow) -> Iterable[str]:
    """Look at the updates before the end, where a schedule may have reduced the learning rate to zero."""
    before = range(max(1, len(flow.snapshots) - 1))
    usual = {}
    for i in range(len(flow.layers)):
        sizes = sorted(x for k in before if math.isfinite(x := _of(flow, "update", k).get(i, math.nan)))
        if sizes:
            usual[i] = sizes[len(sizes) // 2]
    if large := [i for i, x in usual.items() if x > LARGE_UPDATE]:
        yield _update(flow, large, usual, max, "Large steps", "A smaller learning rate may help.")
    if small := [i for i, x in usual.items() if 0 < x < SMALL_UPDATE]:
        yield _update(flow, small, usual, min, "Small steps", "These layers hardly learn.")


def _update(
    flow: Flow, layers: Sequence[int], sizes: dict[int, float], far: Callable[..., int], said: str, what: str
) -> str:
    worst = far(layers, key=sizes.__getitem__)
    others = f", and much the same in {_named(flow, [i for i in layers if i != worst])}" if len(layers) > 1 else ""
    size, name = number(sizes[worst]), flow.layers[worst]["name"]
    return f"{said}: one moves the weights by {size} of their size in {name}{others}. {what}"
