"""Derivations: the formulas of a network's or a function's gradients, read off the gradient graph.

Only `explain` itself is defined here; what it needs is loaded when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..nn import Module
    from .derivation import Derivation

__all__ = ["explain"]


def explain(
    subject: Module | Callable[..., Any],
    *inputs: Any,
    Y: Any = None,
    loss: Any = None,
    layout: str = "rows",
    notation: str = "gradients",
) -> Derivation:
    """Derive the gradients of a network or a function, formula by formula.

    Parameters
    ----------
    subject : Module or callable
        A network, or a function of arrays, written with NumPy functions, that returns one array.
    *inputs
        For a network its inputs X, examples in rows, and then, if wanted, the targets Y and the loss. For a function
        one example of each argument; without any the function is called with the numbers 0.5, 1.5, ….
    Y, loss
        Targets, and a loss by name or as a function (output, target) -> scalar; with Y, the default is "cross_entropy".
        Without them the derivation begins with an upstream gradient of the output.
    layout : {"rows", "columns"}
        Examples in rows, ``X W``, or in columns, ``W X``.
    notation : {"gradients", "delta", "dict"}
        ``dZ₁``; δ₁ with outer products; or the cache and dictionary of a program, ``grads["dZ1"]``.

    Returns
    -------
    Derivation
        Printed, the derivation; see its methods for LaTeX, Markdown, HTML and NumPy source.

    Raises
    ------
    TypeError, ValueError
        For what cannot be differentiated, and for arguments that don't fit.

    Notes
    -----
    Computed in float64, on a recording of the network, which does not change. Every formula is evaluated when the
    derivation is made; `Derivation.failed` names those whose value is not the recorded one.

    Examples
    --------
    >>> import numpy as np
    >>> derivation = explain(lambda x, w: np.tanh(x * w), 0.5, 1.0)
    >>> derivation.formulas()
    {'v1': 'x * w', 'y': 'np.tanh(v1)', 'dv1': 'dy * (1.0 - y**2)', 'dx': 'dv1 * w', 'dw': 'dv1 * x'}
    >>> derivation.failed
    {}
    """
    from .derivation import derive

    return derive(subject, inputs, Y, loss, layout, notation)
