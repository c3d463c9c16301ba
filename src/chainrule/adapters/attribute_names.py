"""Where an object keeps the gradient of an attribute: ``dW``, ``grad_W``, ``grads["W"]``, ``grads[0]``, ``W.g``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Attributes named after the parameter.
PATTERNS = (
    "d{0} d_{0} grad_{0} {0}_grad g{0} {0}_g d{0}s {0}grad grad{0} D{0} {0}_gradient {0}_gradients gradient_{0} "
    "gradients_{0} grads_{0} {0}_grads nabla_{0} dL_d{0} dLd{0} d_L_d_{0} dJ_d{0} dJd{0} delta_{0}"
).split()
#: Containers of gradients, with the keys of the parameters or in their order.
STORES = ("grads", "grad", "gradients", "gradient", "dparams", "param_grads", "nabla", "d")
#: Names of all parameters of a layer in one array.
_WHOLE = ("parameters", "params", "parameter", "weights", "weight", "w", "theta")
_INITIALS = {"weights": "w", "weight": "w", "bias": "b", "biases": "b", "kernel": "k", "kernels": "k"}
#: Attributes that hold the output, where forward returns nothing.
KEPT_OUTPUTS = ("output", "out", "outputs", "y", "a", "A", "Y", "activation")
#: Attributes that hold the gradient of the input, where backward returns nothing.
RETURNED_INPUTS = ("dinputs", "dinput", "dx", "dX", "grad_input")


def attribute_of_gradient(name: str, attributes: Mapping[str, Any]) -> str | None:
    """Return which attribute holds the gradient of `name`; "W.g" where the array carries it."""
    found = next((key for key in _candidates(name) if key in attributes), None)
    head, dot, last = name.rpartition(".")
    initial = _INITIALS.get(last, "")
    if found is None and initial and head + dot + initial not in attributes:  # weights and w_gradient
        near = (head + dot + pattern.format(letter) for letter in (initial, initial.upper()) for pattern in PATTERNS)
        found = next((key for key in near if key in attributes), None)
    if found is None and name in attributes and value_of_gradient(attributes, name + ".g") is not None:
        return name + ".g"
    return found


def _candidates(name: str) -> Iterator[str]:
    for ending in (".grad", ".g", ".gradient"):
        yield name + ending
    head, dot, last = name.rpartition(".")
    base, bracket, index = last.partition("[")
    for pattern in PATTERNS:
        key = pattern.format(base) + bracket + index
        yield head + dot + key
        yield key
    outer = head.rpartition(".")[0]
    if base.strip("_").lower() in _WHOLE:  # _parameters and _gradient
        lead = "_" * (len(base) - len(base.lstrip("_")))
        yield from (head + dot + lead + store for store in STORES[:4])
    for store in STORES:
        for place in (store, f"{outer}.{store}" if outer else store, f"{head}.{store}" if head else store):
            yield f"{place}.{last}"
            yield f"{place}.d{last}"
            if bracket:  # parallel lists: params[0] and grads[0]
                yield f"{place}[{index}"


def value_of_gradient(attributes: Mapping[str, Any], key: str) -> Any:
    """Return the gradient under a key that `attribute_of_gradient` gave."""
    if key in attributes:
        return attributes[key]
    array = attributes[key.removesuffix(".g")]
    carried = getattr(array, "g", None)
    return carried if carried is not None else getattr(array, "grad", None)
