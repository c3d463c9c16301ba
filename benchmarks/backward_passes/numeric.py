"""Gradients by central differences, of parameters and of intermediate values of a forward pass.

It is what the cases are held to, so it shares nothing with the audit. A value in the middle of a forward pass is nudged
where it is: a trace of the running function waits until the value is there, and adds the step to one of its elements.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Gradients = dict[str, Array]

STEP = 1e-6
SAMPLED = 200  # elements of a larger array; the others are left nan
LARGE, SAMPLED_OF_LARGE = 20_000, 16  # in a network with so many numbers, of each array


def arrays(forward: Callable[..., Any], *inputs: Any) -> dict[str, Array]:
    """The arrays that a network's forward pass keeps, by their names."""
    kept = cache_of(forward(*copy.deepcopy(inputs)))
    return {name: np.array(value) for name, value in kept.items() if _is_float(value)}


def cache_of(result: Any) -> dict[str, Any]:
    return result[1] if isinstance(result, tuple) else result


def output_of(result: Any, name: str | None) -> Any:
    if isinstance(result, tuple):
        return result[0]
    return result[name] if name is not None else list(result.values())[-1]


def loss_of(setting: Any, result: Any, Y: Any, parameters: Any) -> float:
    """The declared loss of what a network's forward pass returned."""
    output = output_of(result, setting.output)
    if isinstance(setting.loss, str):
        from chainrule.nn import losses

        return float(losses.get(setting.loss)(output, Y))
    takes_parameters = len(inspect.signature(setting.loss).parameters) == 3
    return float(setting.loss(output, Y, parameters) if takes_parameters else setting.loss(output, Y))


def network_gradients(setting: Any) -> Gradients:
    """d loss / d of every float parameter and of every float entry of the cache."""
    parameters, X, Y = setting.data()
    kept = arrays(setting.forward, X, parameters)
    count = sum(value.size for value in (*parameters.values(), *kept.values()))
    sampled = SAMPLED if count < LARGE else SAMPLED_OF_LARGE
    found = {}
    for name, value in parameters.items():

        def of_parameter(moved: Array, name: str = name) -> float:
            changed = {**parameters, name: moved}
            return loss_of(setting, setting.forward(X, changed), Y, changed)

        if _is_float(value):
            found["d" + name] = differences(of_parameter, value, sampled)
    for name, value in kept.items():

        def with_nudge(index: tuple[int, ...], step: float, name: str = name) -> float:
            result = _nudged(setting.forward, name, index, step, X.copy(), parameters)
            return loss_of(setting, result, Y, parameters)

        def along(index: tuple[int, ...], nudged: Callable[..., float] = with_nudge) -> float:
            return (nudged(index, STEP) - nudged(index, -STEP)) / (2 * STEP)

        found["d" + name] = _each(value, along, sampled)
    return found


def input_gradients(forward: Callable[..., Any], inputs: tuple[Any, ...], dout: Array) -> list[Array | None]:
    """d Σ dout·out / d of every input of a layer; None for an input that is no array of floats."""

    def of_input(moved: Array, place: int) -> float:
        changed = [*copy.deepcopy(inputs)]
        changed[place] = moved
        return float(np.sum(dout * layer_output(forward(*changed))))

    return [
        differences(lambda moved, place=place: of_input(moved, place), value) if _is_float(value) else None
        for place, value in enumerate(inputs)
    ]


def layer_output(result: Any) -> Array:
    return np.asarray(result[0] if isinstance(result, tuple) else result)


def differences(f: Callable[[Array], float], x: Array, sampled: int = SAMPLED) -> Array:
    """Central differences of f at x, element by element."""

    def along(index: tuple[int, ...]) -> float:
        ahead, behind = x.copy(), x.copy()
        ahead[index] += STEP
        behind[index] -= STEP
        return (f(ahead) - f(behind)) / (2 * STEP)

    return _each(x, along, sampled)


def _each(x: Array, slope: Callable[[tuple[int, ...]], float], sampled: int) -> Array:
    found = np.full(x.shape, np.nan)
    indices = list(np.ndindex(x.shape))
    if len(indices) > sampled:
        chosen = np.random.default_rng(0).choice(len(indices), sampled, replace=False)
        indices = [indices[i] for i in chosen]
    for index in indices:
        found[index] = slope(index)
    return found


def _nudged(forward: Callable[..., Any], name: str, index: tuple[int, ...], step: float, *inputs: Any) -> Any:
    """Run `forward`, adding `step` to one element of the array called `name` as soon as it is there."""
    waiting = True

    def look(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal waiting
        if waiting:
            value = _named(frame.f_locals, name)
            if value is not None:
                waiting = False
                value[index] += step
        return look

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        return look if frame.f_code is forward.__code__ else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        result = forward(*inputs)
    finally:
        sys.settrace(before)
    if waiting:
        raise ValueError(f"{forward.__name__} returns {name}, but no local variable or cache entry has this name")
    return result


def _named(variables: dict[str, Any], name: str) -> Array | None:
    if isinstance(variables.get(name), np.ndarray):
        return variables[name]
    kept = variables.get("cache")
    return kept.get(name) if isinstance(kept, dict) else None


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def module_gradients(module: Any, gradients: dict[str, str], inputs: tuple[Any, ...], dout: Array) -> Gradients:
    """d Σ dout·out / d of a module's inputs, called dx and so on, and of its parameters."""

    def with_parameter(moved: Array, name: str) -> float:
        changed = copy.deepcopy(module)
        value = getattr(changed, name)
        if isinstance(value, np.ndarray):
            setattr(changed, name, moved)
        else:
            value.data = moved
        return float(np.sum(dout * np.asarray(changed.forward(*copy.deepcopy(inputs)))))

    names = list(inspect.signature(module.forward).parameters)
    of_inputs = input_gradients(lambda *xs: copy.deepcopy(module).forward(*xs), inputs, dout)
    found = {"d" + name: g for name, g in zip(names, of_inputs, strict=True) if g is not None}
    for name in gradients:
        value = getattr(module, name)
        value = value if isinstance(value, np.ndarray) else value.data
        found["d" + name] = differences(lambda moved, name=name: with_parameter(moved, name), value)
    return found


def run_module(module: Any, gradients: dict[str, str], inputs: tuple[Any, ...], dout: Array) -> dict[str, Any]:
    """Run a module forwards and backwards; its gradients under the names that `module_gradients` uses.

    `backward(dout)` returns the inputs' gradients; one without an argument reads `out.g` and leaves them in `args`.
    """
    names = list(inspect.signature(module.forward).parameters)
    if inspect.signature(module.backward).parameters:
        module.forward(*inputs)
        result = module.backward(dout)
        returned = result if isinstance(result, tuple) else (result,)
    else:
        module(*inputs).g = dout
        module.backward()
        returned = tuple(argument.g for argument in module.args)
    found = {"d" + name: g for name, g in zip(names, returned, strict=False) if g is not None}
    for name, where in gradients.items():
        value = module
        for part in where.split("."):
            value = getattr(value, part)
        found["d" + name] = value
    return found
