"""What the layers do with the sample: filters and feature maps, gradients through time, and attention, as images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from ..backpropagation import Backprop, backprop
from ..core.op import Array
from ..nn import Module
from ..show import document as doc
from .examples import png
from .findings import number
from .storage import Stored

Blocks = tuple[doc.Block, ...]

#: Images of a kind on a page, tiles of an image, and pixels along the longer edge of a tile and of an image.
MOST_IMAGES, MOST_TILES, TILE, EDGE = 8, 32, 96, 480
#: A gradient that shrinks by more than this on its way through the steps has vanished.
VANISHES = 100.0

_BLUE, _WHITE, _RED = (np.array(c, np.float64) for c in ((33, 102, 172), (247, 247, 247), (178, 24, 43)))
_DARK, _BRIGHT = np.array((23, 28, 74), np.float64), np.array((253, 231, 117), np.float64)
_STEP = re.compile(r"d([hc])(\d*)((?:\[[^]\d][^]]*\])?)\[(\d+)\]")


def inside(stored: Stored) -> Blocks:
    """Return filters, feature maps, gradients by time step and attention; nothing for networks without any of them."""
    loss = stored.record.get("loss")
    if stored.model is None or "sample/X" not in stored.arrays or not isinstance(loss, str):
        return ()
    try:
        passed = backprop(stored.model, stored.arrays["sample/X"], stored.arrays["sample/y"], loss)
    except (ValueError, TypeError):  # of a custom network or loss: the derivation, which fails, too, says why
        return ()
    parts = (*_filters(stored.model), *_maps(passed), *_through_time(passed), *_attention(passed))
    return (doc.Heading("Inside the layers", anchor="inside"), *parts) if parts else ()


# -- convolutions ------------------------------------------------------------------------------------------------------


def _filters(model: Module) -> Iterator[doc.Block]:
    """Yield the filters of the first convolution of images, one tile for each filter and input channel."""
    first = next((p for p in model.parameters() if len(p.shape) == 4), None)
    if first is None:
        return
    tiles = np.moveaxis(np.asarray(first.value), (3, 0), (0, 1)).reshape(-1, *first.shape[1:3])
    name, channels = first.name or "the first convolution", f", {first.shape[0]} channels each" * (first.shape[0] > 1)
    words = f"The {first.shape[3]} filters of {name}{channels}, blue below zero, red above."
    yield doc.Heading("Filters", 3)
    yield doc.Paragraph(words + _left_out(len(tiles)), "dim")
    yield doc.Picture(png(_mosaic(_signed(tiles[:MOST_TILES]))), f"filters of {name}")


def _maps(passed: Backprop) -> Iterator[doc.Block]:
    """Yield the feature maps of the first example, and which of them no example of the sample reaches."""
    found = {n: v for n, v in passed.values.items() if v.ndim == 4 and re.fullmatch(r"[ZAP]\d+", n)}
    shown = {n: v for n, v in found.items() if not (n[0] == "Z" and f"A{n[1:]}" in found)}
    if not shown:
        return
    yield doc.Heading("Feature maps", 3)
    yield doc.Paragraph(
        "Of the first example of the sample, one tile for each channel: dark is the least value.", "dim"
    )
    dead = {n: int(np.sum(~np.any(v != 0, axis=(0, 2, 3)))) for n, v in shown.items() if n[0] == "A"}
    lines = [f"{k} of the {shown[n].shape[1]} maps of {n} are zero for all examples: these filters learn nothing."
             for n, k in dead.items() if k]  # fmt: skip
    if lines:
        yield doc.Section(doc.Paragraph("Dead filters:"), (doc.Items(tuple(lines)),), tone="bad")
    cards = []
    for name, value in list(shown.items())[:MOST_IMAGES]:
        size = "×".join(map(str, value.shape[1:]))
        image = doc.Picture(png(_mosaic(_shaded(value[0, :MOST_TILES]))), f"feature maps {name}")
        cards.append((doc.Heading(f"{name}, {size}", 4), image))
    yield doc.Columns(tuple(cards), least=30)


# -- loops -------------------------------------------------------------------------------------------------------------


def by_step(gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Return the norm of the gradient of each state of a loop by step: {"h1": [‖dh1[0]‖, ‖dh1[1]‖, …]}.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.reporting.inside import by_step
    >>> by_step({"dh1[1]": np.array([3.0, 4.0]), "dh1[0]": np.array([1.0, 0.0]), "dW1": np.ones(2)})
    {'h1': array([1., 5.])}
    """
    found: dict[str, dict[int, float]] = {}
    for name, g in list(gradients.items())[::-1]:
        if match := _STEP.fullmatch(name):
            norm = float(np.sqrt(np.sum(np.square(g, dtype=np.float64))))
            found.setdefault(match[1] + match[2] + match[3], {})[int(match[4])] = norm
    layers = [base[1:] for base in found]
    order = sorted(found, key=lambda base: (layers.index(base[1:]), base[0] != "h"))
    return {base: np.array([found[base][t] for t in sorted(found[base])]) for base in order if len(found[base]) > 1}


def _through_time(passed: Backprop) -> Iterator[doc.Block]:
    """Yield a heat map of the norms of the states' gradients over the steps, and which of them vanish."""
    norms = by_step(passed.gradients)
    if not norms:
        return
    yield doc.Heading("Gradients through time", 3)
    vanished = [line for base, row in norms.items() if (line := _vanished(base, row))]
    if vanished:
        yield doc.Section(doc.Paragraph("Vanishing gradients:"), (doc.Items(tuple(vanished)),), tone="bad")
    rows = list(norms.items())[:MOST_TILES]
    positive = np.concatenate([row[row > 0] for _, row in rows])
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    words = (
        f"The norm of each state's gradient, from step 0 at the left to step {len(rows[0][1]) - 1} at the right, on a "
    )
    yield doc.Paragraph(words + f"logarithmic scale from {number(low)} (dark) to {number(high)} (bright).", "dim")
    with np.errstate(divide="ignore"):
        shares = [(np.log(np.maximum(row, low)) - np.log(low)) / (np.log(high / low) or 1.0) for _, row in rows]
    cards = tuple(
        (doc.Heading(f"‖d{base}[t]‖", 4), doc.Picture(png(_strip(share)), f"norms of d{base} by step"))
        for (base, _), share in zip(rows, shares, strict=True)
    )
    yield doc.Columns(cards, least=30)


def _vanished(base: str, row: Array) -> str:
    """Return what to say of a state whose gradient shrinks from the last step, or from the first, to the other end."""
    first, last = ("0", f"{len(row) - 1}") if "reverse" not in base else (f"{len(row) - 1}", "0")
    early, late = float(row[int(first)]), float(row[int(last)])
    if not late or early * VANISHES >= late:
        return ""
    share = f"1/{number(late / early)} of" if early else "zero, unlike"
    return f"‖d{base}[{first}]‖ is {share} ‖d{base}[{last}]‖: the loss hardly reaches the first steps of the sequence."


# -- attention ---------------------------------------------------------------------------------------------------------


def _attention(passed: Backprop) -> Iterator[doc.Block]:
    """Yield the weights of attention of the first example, one tile for each head."""
    found = {n: v for n, v in passed.values.items() if v.ndim == 4 and re.match(r"A\d*(\[|$)", n)
             and n.replace("A", "S", 1) in passed.values}  # fmt: skip
    if not found:
        return
    yield doc.Heading("Attention", 3)
    words = "Of the first example of the sample, one tile for each head: a row for each query, a column for each key; "
    yield doc.Paragraph(words + "bright is a weight of 1.", "dim")
    cards = tuple(
        (doc.Heading(f"{n}, {v.shape[1]} heads, {v.shape[2]}×{v.shape[3]}", 4),
         doc.Picture(png(_mosaic(_heat(np.asarray(v[0, :MOST_TILES], np.float64)))), f"attention {n}"))
        for n, v in list(found.items())[:MOST_IMAGES]
    )  # fmt: skip
    yield doc.Columns(cards, least=30)


# -- pixels ------------------------------------------------------------------------------------------------------------


def _left_out(count: int) -> str:
    return f" The first {MOST_TILES} of {count} tiles." if count > MOST_TILES else ""


def _signed(values: Array) -> Array:
    """Return colours from blue through white, for zero, to red."""
    shares = np.nan_to_num(values / (np.max(np.abs(values), initial=0.0) or 1.0))[..., None]
    colours: Array = np.where(shares < 0, _WHITE + (_WHITE - _BLUE) * shares, _WHITE + (_RED - _WHITE) * shares)
    return colours


def _shaded(values: Array) -> Array:
    """Return colours from dark for each tile's least value to bright for its greatest."""
    low, high = (f(values, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    return _heat(np.nan_to_num((values - low) / np.where(high > low, high - low, 1.0)))


def _heat(shares: Array) -> Array:
    colours: Array = _DARK + (_BRIGHT - _DARK) * np.clip(np.nan_to_num(shares), 0.0, 1.0)[..., None]
    return colours


def _mosaic(tiles: Array) -> Array:
    """Return tiles of colours (n, height, width, 3) beside and below each other, enlarged, with lines between them."""
    n, height, width = tiles.shape[:3]
    every = -(-max(height, width) // EDGE)
    tiles = tiles[:, ::every, ::every]
    columns = min(n, 8 if n > 4 else n)
    factor = max(1, min(TILE // max(tiles.shape[1:3]), EDGE // (columns * tiles.shape[2])))
    tiles = np.repeat(np.repeat(tiles, factor, axis=1), factor, axis=2)
    tiles = np.pad(tiles, ((0, -n % columns), (1, 1), (1, 1), (0, 0)), constant_values=255)
    rows, (h, w) = len(tiles) // columns, tiles.shape[1:3]
    whole = tiles.reshape(rows, columns, h, w, 3).swapaxes(1, 2).reshape(rows * h, columns * w, 3)
    return np.round(whole).astype(np.uint8)


def _strip(shares: Array) -> Array:
    """Return one row of colours as a strip, each step some pixels wide."""
    every = -(-len(shares) // EDGE)
    colours = _heat(shares[::every])
    row = np.repeat(colours, max(1, EDGE // len(colours)), axis=0)
    return np.round(np.repeat(row[None], 24, axis=0)).astype(np.uint8)
