"""Gradients that are not there: not returned, None, or zero in every element."""

from __future__ import annotations

from .table import Cause


class MissingGradient(Cause):
    """Backward returns no gradient for it, although the loss depends on it.

    Wrong
    -----
        db1 = None  # wrong

    Right
    -----
        db1 = dZ1.sum(axis=0) / m

    How it shows
    ------------
    The key is missing from the dict, its value is None, or no attribute holds the gradient. The parameter keeps its
    first value while all others learn.

    Why it is wrong
    ---------------
    Every parameter that the loss depends on has a gradient. If it is left out on purpose, say which ones are to be
    judged: `only=("W1", "W2")`.
    """

    code = "missing-gradient"


class ZeroGradient(Cause):
    """It is zero in every element, where the right gradient is not.

    Wrong
    -----
        db1 = np.zeros_like(P["b1"])  # wrong

    Right
    -----
        db1 = dZ1.sum(axis=0) / m

    How it shows
    ------------
    An array of zeros: it was made with `np.zeros_like` and never written into, or what it is computed from was.

    Why it is wrong
    ---------------
    The gradient is zero only where the loss does not change with the parameter. Look for a write into another array, a
    loop that never runs, or a `detach`-like copy between the loss and this parameter.
    """

    code = "zero-gradient"
