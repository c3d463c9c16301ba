"""The audit: whether a backward pass that was written by hand is right, and if not, which step is wrong and why.

Only the three functions stand here; what they need is loaded when one of them is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import Report

__all__ = ["audit", "audit_layer", "audit_module"]


def audit(
    backward: Any,
    *,
    forward: Any,
    loss: Any,
    parameters: Any,
    X: Any,
    Y: Any,
    output: str | None = None,
    ascent: bool = False,
) -> Report:
    """Audit the backward pass of a network, step by step.

    Parameters
    ----------
    backward : callable
        ``backward(cache, Y, parameters) -> grads``: a dict of gradients called "d" and the name of a value, ``dZ2``,
        ``dW2``, …, any subset.
    forward : callable
        ``forward(X, parameters) -> cache``: a dict of named arrays, the last of them the output; ``(output, cache)``
        is taken, too.
    loss : callable or str
        ``loss(output, Y)`` or ``loss(output, Y, parameters)``, a scalar; or the name of one of ``chainrule.nn.losses``
        (they take logits).
    parameters : dict of arrays
    X, Y : array
        A few examples, in rows or in columns.
    output : str, optional
        The name of the output in the cache.
    ascent : bool
        The gradients are to be added to the parameters, so theirs have the opposite sign.

    Returns
    -------
    Report

    Raises
    ------
    AuditError
        Where the audit cannot judge: its reference gradients do not agree with finite differences, or the arguments
        don't fit together.

    Notes
    -----
    Everything that the functions are given is a copy. They are run on random values of the same kind and on other
    sizes of the batch, too.
    """
    from ..adapters.backward_pass import AuditError
    from ..adapters.network_functions import NetworkFunctions
    from .run import report_on

    for name, value in (("backward", backward), ("forward", forward)):
        if not callable(value):
            raise AuditError(f"{name} is a {type(value).__name__}; a function would do")
    subject = NetworkFunctions(backward, forward, loss, parameters, X, Y, output)
    if not subject.exact:
        raise AuditError("parameters hold no array of floating-point numbers")
    return report_on(subject, ("X", "Y"), ascent)


def audit_layer(forward: Any, backward: Any, *inputs: Any) -> Report:
    """Audit the backward pass of a single layer.

    Parameters
    ----------
    forward : callable
        ``forward(*inputs) -> out`` or ``(out, cache)``.
    backward : callable
        ``backward(dout, cache) -> gradients``: a tuple in the order of the inputs, or a dict of names ("dx").
    *inputs
        Arrays, the first with the examples; what is no array, or holds integers, has no gradient.

    Returns
    -------
    Report

    Raises
    ------
    AuditError
        Where the audit cannot judge.
    """
    from ..adapters.backward_pass import AuditError
    from ..adapters.layer_functions import LayerFunctions
    from .run import report_on

    subject = LayerFunctions(forward, backward, inputs)
    if not subject.exact:
        raise AuditError("the inputs hold no array of floating-point numbers")
    return report_on(subject, tuple(subject.names), False)


def audit_module(module: Any, *inputs: Any, **options: Any) -> Report:
    """Audit objects with ``forward`` and ``backward``; see `chainrule.adapters.objects`.

    Parameters
    ----------
    module : object or list of objects
        With ``forward(*inputs)`` and ``backward(dout)``; parameters are attributes that hold arrays, their gradients
        attributes such as ``dW``, ``grad_W``, ``W_grad``, ``grads["W"]``, or ``W.g``. A list is a network.
    *inputs
        What ``forward`` takes.
    **options
        ``loss`` and ``Y``: a loss of the output, in place of random gradients from above.

    Returns
    -------
    Report
    """
    from ..adapters.objects import Objects
    from .run import report_on

    subject = Objects(module, inputs, **options)
    return report_on(subject, ("X", "Y", *subject.names), False)
