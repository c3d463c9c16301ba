"""The audit: whether a backward pass that was written by hand is right, and if not, which step is wrong and why.

This module holds the three functions; what they need is loaded when one of them is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import Comparison
    from .report import Report

__all__ = [
    "Comparison",
    "assert_backward_right",
    "audit",
    "audit_layer",
    "audit_loss",
    "audit_module",
    "audit_optimizer",
]


def __getattr__(name: str) -> Any:
    if name != "Comparison":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .comparison import Comparison

    return Comparison


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
    only: Sequence[str] | None = None,
) -> Report:
    """Audit the backward pass of a network, step by step.

    Parameters
    ----------
    backward : callable
        ``backward(cache, Y, parameters) -> grads``: a dict of gradients called "d" and the name of a value, ``dZ2``,
        ``dW2``, …, any subset.
    forward : callable
        ``forward(X, parameters) -> cache``: a dict of named arrays, the last of them the output; or
        ``(output, cache)``.
    loss : callable or str
        ``loss(output, Y)`` or ``loss(output, Y, parameters)``, a scalar; or the name of one of ``chainrule.nn.losses``
        (they take logits).
    parameters : dict of arrays
    X, Y : array
        A few examples, in rows or in columns.
    output : str, optional
        The name of the output in the cache.
    ascent : bool
        The gradients are added to the parameters, so they have the opposite sign.
    only : sequence of str, optional
        The parameters that must have a gradient: ``("W1", "b1")``. By default all that the loss depends on.

    Returns
    -------
    Report

    Raises
    ------
    AuditError
        If the audit cannot judge: its reference gradients do not agree with finite differences, or the arguments
        are inconsistent.

    Notes
    -----
    The functions get copies of all arrays. They are also run on random values of the same kind and on batches of other
    sizes.

    Examples
    --------
    The derivative of tanh is forgotten:

    >>> import numpy as np
    >>> from chainrule.audit import audit
    >>> rng = np.random.default_rng(0)
    >>> X, Y, P = rng.normal(size=(9, 5)), rng.normal(size=(9, 3)), {"W1": rng.normal(size=(5, 3))}
    >>> def forward(X, P):
    ...     Z1 = X @ P["W1"]
    ...     return {"A0": X, "Z1": Z1, "A1": np.tanh(Z1)}
    >>> def loss(A1, Y):
    ...     return np.sum((A1 - Y) ** 2) / len(Y)
    >>> def backward(cache, Y, P):
    ...     dA1 = 2 * (cache["A1"] - Y) / len(Y)
    ...     dZ1 = dA1
    ...     return {"dA1": dA1, "dZ1": dZ1, "dW1": cache["A0"].T @ dZ1}
    >>> report = audit(backward, forward=forward, loss=loss, parameters=P, X=X, Y=Y)
    >>> report.ok
    False
    >>> print(report.findings[0].message)
    dZ1 is wrong: the derivative of tanh at Z1 is left out.
    >>> print(report.findings[0].formula)
    dZ1 = dA1 ⊙ (1 − A1²)
    >>> [(step.name, step.verdict) for step in report.steps]
    [('dA1', 'right'), ('dZ1', 'wrong'), ('dW1', 'inherited')]
    """
    from ..adapters.backward_pass import AuditError
    from ..adapters.network_functions import NetworkFunctions
    from .run import report_on

    for name, value in (("backward", backward), ("forward", forward)):
        if not callable(value):
            raise AuditError(f"{name}: expected a function, got a {type(value).__name__}")
    subject = NetworkFunctions(backward, forward, loss, parameters, X, Y, output)
    if not subject.exact:
        raise AuditError("parameters: expected arrays of floating-point numbers, got none")
    subject.require(only)
    return report_on(subject, ("X", "Y"), ascent)


def audit_layer(forward: Any, backward: Any, *inputs: Any, only: Sequence[str] | None = None) -> Report:
    """Audit the backward pass of a single layer.

    Parameters
    ----------
    forward : callable
        ``forward(*inputs) -> out`` or ``(out, cache)``.
    backward : callable
        ``backward(dout, cache) -> gradients``: a tuple in the order of the inputs, or a dict of names ("dx").
    *inputs
        Arrays, the first with the examples; values that are not arrays, or hold integers, have no gradient.
    only : sequence of str, optional
        The inputs that must have a gradient. By default all but the first and labels.

    Returns
    -------
    Report

    Raises
    ------
    AuditError
        If the audit cannot judge.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.audit import audit_layer
    >>> def forward(x, scale):
    ...     return x * scale, (x, scale)
    >>> def backward(dout, cache):
    ...     x, scale = cache
    ...     return dout * scale, dout * x
    >>> x, scale = np.arange(12.0).reshape(4, 3), np.array([1.0, 2.0, 4.0])
    >>> report = audit_layer(forward, backward, x, scale)
    >>> print(report.findings[0].name, report.findings[0].cause)
    dscale bias-not-summed
    """
    from ..adapters.backward_pass import AuditError
    from ..adapters.foreign_layers import ForeignLayer, library_of
    from ..adapters.layer_functions import LayerFunctions
    from .run import report_on

    library = library_of(*inputs)
    if library is None:
        subject = LayerFunctions(forward, backward, inputs)
    else:
        subject = ForeignLayer(library, forward, backward, inputs)
    if not subject.exact:
        raise AuditError("inputs: expected arrays of floating-point numbers, got none")
    subject.require(only)
    return report_on(subject, tuple(subject.names), False)


def audit_loss(f: Any, *args: Any, only: Sequence[str] | None = None, **options: Any) -> Report:
    """Audit one function that computes a loss and its gradients.

    Parameters
    ----------
    f : callable
        ``f(*args) -> (loss, gradients)``: a number, and a dict, a list, an array or several arrays, such as ``cost, dW,
        db``. Gradients are those of arguments, of attributes of a method's object, or of globals. They are known by
        their keys, by the names of the function's variables, or by their shapes in the order of the arguments.
    *args
        What it is called with.
    only : sequence of str, optional
        The parameters that must have a gradient.
    **options
        Further keyword arguments of the function.

    Returns
    -------
    Report
        Variables of the function called "d" and the name of another one are steps, too.

    Raises
    ------
    AuditError
        If the audit cannot judge.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.audit import audit_loss
    >>> def cost_and_gradient(w, X, y):
    ...     p = 1 / (1 + np.exp(-X @ w))
    ...     cost = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    ...     return cost, X.T @ (p - y)
    >>> X = np.random.default_rng(0).normal(size=(8, 3))
    >>> report = audit_loss(cost_and_gradient, np.array([0.5, 1.0, -2.0]), X, (X[:, 0] > 0) * 1.0)
    >>> print(report.findings[0].name, report.findings[0].cause)
    dw missing-mean
    """
    from ..adapters.backward_pass import AuditError
    from ..adapters.loss_functions import LossFunction
    from .run import report_on_loss

    subject = LossFunction(f, args, options)
    if not subject.exact:
        raise AuditError("none of the gradients that f returns belongs to an argument; return a dict such as {'W': dW}")
    subject.require(only)
    data = tuple(n for n in subject.names if n not in subject.exact)
    return report_on_loss(subject, data)


def audit_module(
    module: Any, *inputs: Any, only: Sequence[str] | None = None, batch: bool | None = True, **options: Any
) -> Report:
    """Audit objects with a forward and a backward method, as they are written.

    The report says how they were read: which methods, which parameters, and where their gradients are.

    Parameters
    ----------
    module : object or list of objects
        A layer, a network or a loss; a list is a network. The methods are found by their usual names (``forward`` and
        ``backward``, ``feed`` and ``learn``, ``loss`` and ``gradient``, …). Gradients are taken from what backward
        returns, from attributes (``dW``, ``grads["W"]``, ``W.grad``), or from the update of the parameters.
    *inputs
        The arguments of the forward method; the targets may follow.
    only : sequence of str, optional
        The values that must have a gradient; by default all parameters.
    batch : bool or None
        False or None: no axis of the inputs holds examples.
    **options
        ``loss`` and ``Y``: a loss of the output, and its targets; ``forward`` and ``backward``: the names of the
        methods; ``parameters``: the names of attributes; ``gradients``: parameter -> attribute that holds its gradient,
        or "update"; ``lr``: the learning rate of the update.

    Returns
    -------
    Report

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.audit import audit_module
    >>> __name__ = "__main__"  # a class of the user's, not of this library
    >>> class Linear:
    ...     def __init__(self):
    ...         self.W = np.arange(6.0).reshape(3, 2)
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x @ self.W
    ...     def backward(self, dout):
    ...         self.dW = self.x.T @ dout
    ...         return dout @ self.W.T
    >>> report = audit_module(Linear(), np.ones((4, 3)))
    >>> report.ok, [step.name for step in report.steps]
    (True, ['dx', 'dW'])
    """
    from ..adapters.foreign_layers import rule_as_layer
    from ..adapters.objects import Objects
    from .run import report_on

    layer = rule_as_layer(module, inputs)
    if layer is not None:
        return report_on(layer, tuple(layer.names), False)
    subject = Objects(module, inputs, **options)
    subject.require(only)
    return report_on(subject, ("X", "Y", *subject.names), False, batch=bool(batch))


def audit_optimizer(
    update: Any,
    rule: str = "adam",
    *,
    steps: int = 6,
    parameters: Any = None,
    config: Any = None,
    **settings: float,
) -> Report:
    """Audit the update of an optimiser against the rule that it is meant to be.

    Parameters
    ----------
    update : callable, object or class
        ``update(w, dw)`` or ``update(params, grads)``, with a state, settings or a step count behind them, in place or
        returning the new parameters (and the new state); or an object with ``update``, ``step`` or the like.
    rule : str
        ``"sgd"``, ``"momentum"``, ``"nesterov"``, ``"rmsprop"``, ``"adagrad"``, ``"adam"``, ``"amsgrad"``,
        ``"adamw"`` or ``"lion"``.
    steps : int
        How many steps are made, 3 to 10.
    parameters : dict of arrays, optional
        The parameters to start with; default: two matrices.
    config : dict, optional
        What the update takes as its settings and state: ``update(w, dw, config)``.
    **settings
        ``lr``, ``momentum``, ``alpha`` (of RMSprop), ``beta1``, ``beta2``, ``eps``, ``weight_decay``. Those not
        given are read from the object, its config or the function's defaults; else the usual ones are tried.

    Returns
    -------
    Report
        With one finding, "update", if the steps are not those of the rule in one of its published forms.

    Raises
    ------
    AuditError
        If no way of calling the update is found.

    Examples
    --------
    The correction of the bias never decays:

    >>> import numpy as np
    >>> import chainrule as cr
    >>> def adam(w, dw, state, lr=0.1):
    ...     state["m"] = 0.9 * state.get("m", 0) + 0.1 * dw
    ...     state["v"] = 0.999 * state.get("v", 0) + 0.001 * dw**2
    ...     m, v = state["m"] / (1 - 0.9), state["v"] / (1 - 0.999)
    ...     return w - lr * m / (np.sqrt(v) + 1e-8)
    >>> report = cr.audit_optimizer(adam, "adam")
    >>> print(report.findings[0].cause)
    never-decays
    >>> [step.verdict for step in report.steps[:3]]
    ['right', 'wrong', 'wrong']
    """
    from .update_audit import audit_update

    return audit_update(update, rule, steps, parameters, config, settings)


def assert_backward_right(backward: Any, *inputs: Any, forward: Any = None, **options: Any) -> Report:
    """Raise an AssertionError with the report if a backward pass is wrong: an audit for tests.

    Parameters
    ----------
    backward : callable or object
        A backward pass, or an object with ``forward`` and ``backward``.
    *inputs
        Those of a layer or of an object.
    forward : callable, optional
        The forward pass, if `backward` is a function.
    **options
        Of `audit`, where ``loss`` is among them, or of `audit_module`.

    Returns
    -------
    Report
        Of a backward pass that is right.

    Raises
    ------
    AssertionError
        If something is wrong, or was not judged; its message is the report.
    AuditError
        If the audit cannot judge.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> def forward(x):
    ...     return np.tanh(x), np.tanh(x)
    >>> def test_tanh():
    ...     cr.assert_backward_right(lambda dout, a: dout * (1 - a**2), np.ones((3, 2)), forward=forward)
    >>> test_tanh()
    """
    if forward is None:
        report = audit_module(backward, *inputs, **options)
    elif "loss" in options:
        report = audit(backward, forward=forward, **options)
    else:
        report = audit_layer(forward, backward, *inputs)
    if not report.ok:
        raise AssertionError(f"the backward pass is not right\n{report}")
    return report
