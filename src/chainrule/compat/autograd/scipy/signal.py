"""``autograd.scipy.signal``: convolution over chosen axes, with sums over others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["convolve"]


def convolve(A: Any, B: Any, axes: Any = None, dot_axes: Any = ((), ()), mode: str = "full") -> Any:
    """Convolve over pairs of axes (default: all).

    Parameters
    ----------
    A, B
        Arrays or tensors.
    axes : pair of sequences, optional
        The axes of `A` and of `B` that are convolved with each other.
    dot_axes : pair of sequences
        The axes of `A` and of `B` whose products are summed.
    mode : {"full", "valid", "same"}
        Which part is returned: "valid" needs one array to be the larger along every axis.

    Returns
    -------
    array or tensor
        The other axes of `A`, then those of `B`, then the convolved axes.
    """
    if mode not in ("full", "valid", "same"):
        raise ValueError(f"mode: expected 'full', 'valid' or 'same', got {mode!r}")
    A, B = (x if hasattr(x, "shape") else np.asarray(x) for x in (A, B))
    over = tuple(map(tuple, axes)) if axes is not None else (tuple(range(A.ndim)), tuple(range(A.ndim)))
    A, rest_of_a = _arranged(A, over[0], tuple(dot_axes[0]))
    B, rest_of_b = _arranged(B, over[1], tuple(dot_axes[1]))
    k = len(over[0])
    lengths = [(A.shape[2 + i], B.shape[2 + i]) for i in range(k)]
    if mode == "valid" and any(a < b for a, b in lengths):
        if any(a > b for a, b in lengths):
            raise ValueError(f"mode='valid': one array must be the larger along every axis; lengths are {lengths}")
        product = np.swapaxes(_slid(B, A, lengths, mode), 0, 1)
        sizes = [b - a + 1 for a, b in lengths]
    else:
        product = _slid(A, B, [(b, a) for a, b in lengths], mode)
        sizes = {"full": [a + b - 1 for a, b in lengths], "same": [a for a, _ in lengths],
                 "valid": [a - b + 1 for a, b in lengths]}[mode]  # fmt: skip
    return np.reshape(product, (*rest_of_a, *rest_of_b, *sizes))


def _arranged(x: Any, over: tuple[int, ...], summed: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """Return `x` with axes (all others as one, summed as one, *over), and the lengths of the others."""
    others = tuple(i for i in range(x.ndim) if i not in over and i not in summed)
    lengths = tuple(x.shape[i] for i in others)
    inner = int(np.prod([x.shape[i] for i in summed], dtype=int))
    moved = np.transpose(x, (*others, *summed, *over))
    return np.reshape(moved, (int(np.prod(lengths, dtype=int)), inner, *(x.shape[i] for i in over))), lengths


def _slid(larger: Any, smaller: Any, lengths: list[tuple[int, int]], mode: str) -> Any:
    """Slide `smaller`, reversed, over `larger`; `lengths` has the pairs (of the smaller, of the larger)."""
    k = len(lengths)
    around = {"full": [(m - 1, m - 1) for m, _ in lengths], "valid": [(0, 0)] * k,
              "same": [(m // 2, (m - 1) // 2) for m, _ in lengths]}[mode]  # fmt: skip
    windows = np.pad(larger, [(0, 0), (0, 0), *around])
    if k:
        windows = sliding_window_view(windows, [m for m, _ in lengths], tuple(range(2, 2 + k)))
    reversed_ = smaller[(slice(None), slice(None), *[slice(None, None, -1)] * k)]
    # larger: (p, c, *places, *window); smaller: (q, c, *window) -> (p, q, *places)
    return np.moveaxis(np.tensordot(windows, reversed_, ([1, *range(2 + k, 2 + 2 * k)], [1, *range(2, 2 + k)])), -1, 1)
