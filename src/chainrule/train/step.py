"""One training step as one plan: forward, backward and update; parameters and optimiser state change in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..core.guards import Guards
from ..core.node import Recording
from ..core.op import Array, Shape
from ..core.reverse import reverse, topological
from ..core.tensor import Tensor, constant, traced_leaf
from ..core.trace import State, Trace
from ..core.tree import flatten, unflatten
from ..engine import bind
from ..engine.base import Binding
from ..nn import losses
from ..nn.loss_checks import is_sensitive
from ..plan import Plan, build
from ..random import Generator

Scalar = Callable[[Any, Any], Any]

#: Plans that a step keeps, each with its memory: those of the batch shapes used last.
PLANS = 8


class TrainingStep:
    """A model, a loss and an optimiser, planned together.

    Parameters
    ----------
    model : nn.Module
        Its parameters and buffers are copied; `write_back` puts the trained values into the model.
    loss : str or callable
        A loss by name, or any function (output, target) -> scalar.
    optimizer
        From ``chainrule.optim``.
    l1, l2 : float
        Regularisation of the weights, added to the objective (not to the reported loss).
    metrics : mapping of name to function (output, target) -> scalar
        Computed with each step, from the same forward pass.
    engine, threads
        As for ``chainrule.compile``.
    seed : int
        Of the numbers that model and loss draw with `chainrule.random`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn, optim
    >>> from chainrule.train import TrainingStep
    >>> model = nn.Linear(1, 1, weight_init="zeros")
    >>> step = TrainingStep(model, "mse", optim.SGD(0.25))
    >>> X, y = np.ones((2, 1), np.float32), np.full((2, 1), 4, np.float32)
    >>> step.run(X, y), step.run(X, y)
    ((16.0,), (0.0,))
    >>> step.write_back()
    >>> model.weight.value
    array([[2.]], dtype=float32)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | Scalar,
        optimizer: Any,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        metrics: Mapping[str, Scalar] | None = None,
        engine: str | None = None,
        threads: int | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.loss, self.optimizer = model, losses.get(loss), optimizer
        self.l1, self.l2, self.metrics = l1, l2, dict(metrics or {})
        self._engine, self.threads = engine, threads
        own = dict(model.named_parameters())
        given = {name: p.concrete("a parameter") for name, p in own.items()}
        if not given:
            raise ValueError("the model has no parameters: expected at least one")
        # all parameters of a dtype lie in one vector: the optimiser then updates them by one chain of operations
        self._blocks, self._places = _in_blocks(given)
        self._shapes = {name: array.shape for name, array in given.items()}
        self.parameters: dict[str, Array] = self._cut(self._blocks)
        self.buffers: dict[str, Array] = {name: np.array(b, order="C") for name, b in _arrays(model.named_buffers())}
        owners = dict(model.named_modules())
        self._homes: list[tuple[Callable[[Any], None], Array]] = [
            *[(own[name].assign, array) for name, array in self.parameters.items()],
            *[(_setter(owners, path), array) for path, array in self.buffers.items()],
        ]
        # sorted by name: checkpoints number these arrays
        state, self._state_structure = flatten(dict(sorted(optimizer.init(self._blocks).items())))
        self.optimizer_state: list[Array] = [np.array(s, order="C") for s in state]
        self._bindings: dict[Any, tuple[Binding, Guards]] = {}
        self._generator = Generator(seed)
        self._outside: dict[tuple[int, str], tuple[State, Array]] = {}

    def _cut(self, blocks: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters as parts of the vectors that they lie in."""
        return {
            name: blocks[key][start:stop].reshape(self._shapes[name])
            for name, (key, start, stop) in self._places.items()
        }

    def _joined(self, gradients: Mapping[str, Any]) -> dict[str, Any]:
        """Return gradients of parameters in vectors like those of the parameters."""
        return {
            block: np.concatenate(
                [np.reshape(gradients[name], -1) for name, (key, *_) in self._places.items() if key == block]
            )
            for block in self._blocks
        }

    @property
    def trained(self) -> list[Array]:
        """The arrays that belong to the model: parameters and buffers."""
        return [*self.parameters.values(), *self.buffers.values()]

    @property
    def states(self) -> list[Array]:
        """All arrays that a step changes in place: parameters, buffers, optimiser state, state outside of the model."""
        return [*self._blocks.values(), *self.buffers.values(), *self.optimizer_state, *self.outside]

    @property
    def outside(self) -> list[Array]:
        """State that steps read outside of the model: counters of random numbers, buffers of modules in the loss."""
        return [array for _, array in self._outside.values()]

    @property
    def rate(self) -> Array | None:
        """The learning rate among the optimiser's states, to be written to; None unless it is `Adjustable`."""
        found: Array | None = unflatten(self._state_structure, self.optimizer_state).get("lr")
        return found

    def binding(self, x: Array, y: Array) -> Binding:
        """Return the bound plan for batches of this shape and dtype, planned anew if what it depends on has changed."""
        key = (x.shape, x.dtype.char, y.shape, y.dtype.char)
        found = self._bindings.pop(key, None)
        if found is None or found[1].changed() is not None:
            plan, guards = self._planned(x.shape, x.dtype, y.shape, y.dtype)
            states = self.states[: len(plan.states)]  # later plans may know more of them
            found = bind(plan, states, engine=self._engine, threads=self.threads), guards
        self._bindings[key] = found  # at the end: the first is the one that was not used for longest
        if len(self._bindings) > PLANS:
            del self._bindings[next(iter(self._bindings))]
        return found[0]

    def run(self, x: Array, y: Array) -> tuple[Any, ...]:
        """Make one step on a batch; return the loss and the metrics, taken before the update."""
        binding = self.binding(x, y)
        with np.errstate(all="ignore"):
            binding.run((x, y))
        return self.results(binding)

    def results(self, binding: Binding) -> tuple[Any, ...]:
        """Return the loss and the metrics of a binding's last run."""
        return tuple([binding.value(n).item() for n in binding.plan.outputs])

    def plan(self, x_shape: Shape, x_dtype: Any, y_shape: Shape, y_dtype: Any) -> Plan:
        """Plan the step for batches of these shapes."""
        return self._planned(x_shape, x_dtype, y_shape, y_dtype)[0]

    def _planned(self, x_shape: Shape, x_dtype: Any, y_shape: Shape, y_dtype: Any) -> tuple[Plan, Guards]:
        guards = Guards([self.model, self.loss, self.optimizer, *self.metrics.values()])
        with Trace("a training step") as trace, self._generator:
            mark = frozenset({trace})
            x = traced_leaf(x_shape, x_dtype, mark, name="X")
            y = traced_leaf(y_shape, y_dtype, mark, name="Y")
            blocks = {k: traced_leaf(v.shape, v.dtype, mark) for k, v in self._blocks.items()}
            parameters: dict[str, Tensor] = self._cut(blocks)
            buffers = {k: traced_leaf(v.shape, v.dtype, mark) for k, v in self.buffers.items()}
            state = [traced_leaf(v.shape, v.dtype, mark) for v in self.optimizer_state]
            output, new_buffers = nn.functional_call(self.model, {**parameters, **buffers}, x)
            loss, objective = self._objective(output, y, parameters)
            gradients = self._gradients(objective, parameters)
            if not is_sensitive(loss, parameters.values()):
                raise ValueError(
                    "the loss has no derivative with respect to any parameter: it uses the model's output only through "
                    "functions whose derivative is zero, such as argmax, comparisons and rounding"
                )
            slopes = self._joined(gradients)
            new_blocks, new_state = self.optimizer.update(slopes, unflatten(self._state_structure, state), blocks)
            measured = [_measured(name, function, output, y) for name, function in self.metrics.items()]
            guards.require_no_draws(trace.purpose)
            found, replaced = self._read_outside(trace)
            updated = [new_blocks[k] for k in blocks] + [new_buffers.get(k, buffers[k]) for k in buffers]
            updated += [*flatten(new_state)[0], *replaced]
            leaves = [*blocks.values(), *buffers.values(), *state, *found]
            updates = {
                i: _like(new, old) for i, (new, old) in enumerate(zip(updated, leaves, strict=True)) if new is not old
            }
            plan, captured = build([loss, *measured], [x, y], states=leaves, updates=updates, name="training step")
        trace.hand_back()
        guards.settle()
        if captured:
            raise ValueError(
                "the model uses parameters that are not registered in it: assign their modules to attributes"
            )
        return plan, guards

    def _read_outside(self, trace: Trace) -> tuple[list[Tensor], list[Any]]:
        """Return the leaves of all states outside of the model, and what this step replaces them with."""
        read = {(id(s.owner), s.name): s for s in trace.states}
        for key, s in read.items():
            self._outside.setdefault(key, (s, np.array(s.read(), order="C")))
        changed = trace.changed()
        leaves, new = [], []
        for key, (_, array) in self._outside.items():
            state = read.get(key)
            leaves.append(
                state.leaf if state is not None else traced_leaf(array.shape, array.dtype, frozenset({trace}))
            )
            new.append(state.new if state in changed else leaves[-1])
        return leaves, new

    def _objective(self, output: Any, y: Any, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        if not isinstance(output, Tensor):
            raise TypeError(f"the model returned {type(output).__name__}, a loss needs a tensor")
        loss = self.loss(output, y)
        if not isinstance(loss, Tensor) or loss.shape != () or loss.dtype.kind != "f":
            found = f"shape {loss.shape}, {loss.dtype}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"the loss returned {found}; expected one real number that depends on the output")
        objective = loss
        if self.l1 or self.l2:
            objective = loss + losses.penalty(parameters, l1=self.l1, l2=self.l2)
        return loss, objective

    def _gradients(self, objective: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
        start = constant(np.ones((), objective.dtype))
        gradients, _ = reverse([objective], [start], list(parameters.values()))
        unreached = [name for name, g in zip(parameters, gradients, strict=True) if g is None]
        if unreached:
            raise ValueError(
                f"the loss does not reach the parameter{'s' * (len(unreached) > 1)} {', '.join(unreached)}: they would "
                "not be trained. Use them in forward, or remove them."
            )
        return {name: constant(g) for name, g in zip(parameters, gradients, strict=True)}

    def updated(self, gradients: Mapping[str, Array]) -> dict[str, Array]:
        """Return the parameters after another update, with these gradients; the state does not change."""
        state = unflatten(self._state_structure, self.optimizer_state)
        state["step"] = np.maximum(state["step"] - 1, 0)  # a schedule may have ended
        new, _ = self.optimizer.update(self._joined(gradients), state, self._blocks)
        return self._cut(new)

    def write_back(self, trained: Sequence[Array] | None = None) -> None:
        """Put copies of the current parameters and buffers into the model; first set them, if `trained` is given."""
        if trained is not None:
            for array, value in zip(self.trained, trained, strict=True):
                array[...] = value
        for assign, array in self._homes:
            assign(array)
        for state, array in self._outside.values():
            state.write(array.copy())

    def snapshot(self) -> list[Array]:
        """Return copies of all arrays that steps change."""
        return [s.copy() for s in self.states]

    def restore(self, snapshot: Sequence[Array]) -> None:
        """Restore what `snapshot` returned."""
        for state, saved in zip(self.states, snapshot, strict=False):  # a later plan may have added some
            np.copyto(state, saved)

    def first_bad_state(self) -> str | None:
        """Return which parameter, buffer or optimiser state is currently not finite; None if all are finite."""
        names = {path: p.name or path for path, p in self.model.named_parameters()}
        named = [(names[k], a) for k, a in self.parameters.items()] + list(self.buffers.items())
        named += [("the optimiser's state", a) for a in self.optimizer_state]
        return next((f"{name}, as updated ({_count(a)})" for name, a in named if _is_bad(a)), None)

    def first_bad(self, x: Array, y: Array) -> str | None:
        """Return which value or gradient of a step on this batch is the first that is not finite; None if all are."""
        self.write_back()
        with Recording("a search for non-finite values") as recording, np.errstate(all="ignore"), self._generator:
            mark = frozenset({recording})
            parameters = {k: Tensor(v, recordings=mark) for k, v in self.parameters.items()}
            output, _ = nn.functional_call(self.model, {**parameters, **self.buffers}, Tensor(x, name="X"))
            _, objective = self._objective(output, y, parameters)
            named = {id(p): p.name or name for name, p in parameters.items()}
            order = topological([objective])
            parts = _parts(order)
            for node in order:
                if _is_bad(node.value):
                    return _described(node, named, parts)
            leaves = list(parameters.values())
            _, passed = reverse([objective], [np.ones((), objective.dtype)], leaves, keep=True)
            for node in reversed(order):
                if _is_bad(passed.get(id(node))):
                    return "the gradient of " + _described(node, named, parts, passed[id(node)])
        return None


def _in_blocks(arrays: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, tuple[str, int, int]]]:
    """Copy arrays into one vector per dtype; return the vectors, and the place of each array: (dtype, start, stop)."""
    places: dict[str, tuple[str, int, int]] = {}
    parts: dict[str, list[Array]] = {}
    for name, array in arrays.items():
        key = array.dtype.name
        start = sum(part.size for part in parts.setdefault(key, []))
        parts[key].append(array.reshape(-1))
        places[name] = (key, start, start + array.size)
    return {key: np.concatenate(vectors) for key, vectors in sorted(parts.items())}, places


def _setter(modules: Mapping[str, nn.Module], path: str) -> Callable[[Any], None]:
    """Return a function that sets the buffer at a dotted path."""
    owner, _, name = path.rpartition(".")
    return lambda value: setattr(modules[owner], name, value)


def _arrays(named: Any) -> list[tuple[str, Any]]:
    return [(k, v.value if isinstance(v, Tensor) else v) for k, v in named]


def _like(new: Any, old: Tensor) -> Tensor:
    """Check the shape of an update and convert it to the dtype of the array it updates."""
    new = constant(new)
    if new.shape != old.shape:
        raise ValueError(f"an update of shape {new.shape} for a state of shape {old.shape}")
    return new if new.dtype == old.dtype else new.astype(old.dtype)  # type: ignore[no-any-return]


def _is_bad(value: Any) -> bool:
    return value is not None and value.dtype.kind == "f" and not np.isfinite(value).all()


def _count(value: Array) -> str:
    bad = int(np.count_nonzero(~np.isfinite(value)))
    kind = "nan" if np.isnan(value).any() else "inf"
    return f"shape {value.shape}: {kind} in {bad:,} of {value.size:,} element{'s' * (value.size != 1)}"


def _measured(name: str, function: Scalar, output: Any, y: Any) -> Tensor:
    """Trace a metric."""
    try:
        value = constant(function(output, y))
    except TypeError as error:
        raise TypeError(f"metrics: {name}: {error}") from None
    if value.shape != ():
        raise ValueError(f"metrics: {name}: expected a scalar, got shape {value.shape}")
    return value


def _parts(order: Sequence[Tensor]) -> dict[int, str]:
    """Return, for values without a name, the name of the value that they are computed for."""
    users: dict[int, set[int]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), set()).add(id(node))
    parts: dict[int, str] = {}
    for node in reversed(order):
        if node.name is not None:
            parts[id(node)] = node.name
        elif len(using := users.get(id(node), set())) == 1 and (one := next(iter(using))) in parts:
            parts[id(node)] = parts[one]
    return parts


def _described(node: Tensor, named: Mapping[int, str], parts: Mapping[int, str], value: Any = None) -> str:
    value = node.value if value is None else value
    name = node.name or named.get(id(node))
    if name is None:
        within = f" in {parts[id(node)]}" if id(node) in parts else ""
        name = (f"the result of {node.op.name}" if node.op else "a constant") + within
    text = f"{name} ({_count(value)})"
    sources = []
    for x in node.inputs:
        if x.value is not None and x.value.dtype.kind == "f" and x.value.size:
            label = x.name or named.get(id(x)) or (x.op.name if x.op else "a constant")
            sources.append(f"{label} up to {np.max(np.abs(x.value)):.3g} in size")
    if node.op is not None and sources:
        text += f", computed by {node.op.name} from {' and '.join(sources)}"
    return text
