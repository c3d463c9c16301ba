"""One training step as one plan: forward, backward and update; parameters and optimiser state change in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..core.guards import Guards, undisturbed
from ..core.op import Array, Shape
from ..core.processes import checksum
from ..core.tensor import Tensor, constant, traced_leaf
from ..core.trace import State, Trace
from ..core.tree import flatten, paths, tree_map, unflatten
from ..engine import bind
from ..engine.base import Binding
from ..nn import losses
from ..ops.collective import SharedSums
from ..ops.logic import identity
from ..ops.table import as_dtype
from ..plan import Plan, build
from ..random import Generator
from .blocks import Blocks
from .gradients import gradients_of
from .nests import called
from .sharded import Sharding, exchanges

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
    accumulate : bool
        Whether gradients of several batches may be added up before an update: then a step with ``last=False`` only adds
        its gradients, and the next one with ``last=True`` updates by their mean over all examples.
    weight_of : function or None
        Returns how much a batch of outputs and targets counts in this mean; None: what the loss divides by.
    ema : float or None
        Decay of a moving average of the parameters; `write_back` puts the average into the model.
    sharding : Sharding or None
        How batches are cut into shards, and which processes share them.

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
        accumulate: bool = False,
        weight_of: Scalar | None = None,
        ema: float | None = None,
        sharding: Sharding | None = None,
    ) -> None:
        self.model, self.loss, self.sharding = model, losses.get(loss), sharding
        self.l1, self.l2, self.metrics = l1, l2, dict(metrics or {})
        self._engine, self.threads = engine, threads
        self._accumulates, self._weight_of, self._ema = accumulate, weight_of, ema
        self._own = dict(model.named_parameters())
        if not self._own:
            raise ValueError("the model has no parameters: expected at least one")
        self._frozen = {name: p for name, p in self._own.items() if not p.requires_grad}
        if len(self._frozen) == len(self._own):
            raise ValueError("all parameters of the model are frozen; model.requires_grad_(True) trains them")
        given = {n: p.concrete("a parameter") for n, p in self._own.items() if n not in self._frozen}
        self.optimizer = optimizer.for_parameters(self._own)
        groups = self.optimizer.groups.of(list(self._own), self._frozen) if self.optimizer.groups else None
        self._blocks = Blocks(given, dict(zip(self._own, groups or [0] * len(self._own), strict=True)))
        self.parameters: dict[str, Array] = self._blocks.cut(self._blocks.vectors)
        self.frozen = {name: np.array(p.concrete("a parameter"), order="C") for name, p in self._frozen.items()}
        self._read = {name: p.value for name, p in self._frozen.items()}
        self.buffers: dict[str, Array] = {name: np.array(b, order="C") for name, b in _arrays(model.named_buffers())}
        self._further = self._further_states()
        #: What the model gets: the averages of the parameters, or the parameters.
        self.weights = self._blocks.cut(self._of_blocks("average", self._further)) if ema else self.parameters
        owners = dict(model.named_modules())
        self._homes: list[tuple[Callable[[Any], None], Array]] = [
            *[(self._own[name].assign, array) for name, array in self.weights.items()],
            *[(_setter(owners, path), array) for path, array in self.buffers.items()],
        ]
        # sorted by name: checkpoints number these arrays
        first = self.optimizer.init(self._blocks.vectors, self._blocks.groups)
        state, self._state_structure = flatten(dict(sorted(first.items())))
        self.optimizer_state: list[Array] = [np.array(s, order="C") for s in state]
        self._state: dict[str, Any] = unflatten(self._state_structure, self.optimizer_state)  # the same arrays
        self._bindings: dict[Any, tuple[Binding, Guards]] = {}
        self.generator = Generator(seed)
        self._outside: dict[tuple[int, str], tuple[State, Array]] = {}

    def _further_states(self) -> dict[str, Array]:
        """Return the sums of gradients, and the averages of parameters, under names for checkpoints."""
        vectors, further = self._blocks.vectors, {}
        if self._accumulates:
            further = {f"gradients {k}": np.zeros_like(v) for k, v in vectors.items()} | {
                "gradients counted": np.zeros(())
            }
        return further | ({f"average {k}": v.copy() for k, v in vectors.items()} if self._ema else {})

    def _of_blocks(self, what: str, further: Mapping[str, Any]) -> dict[str, Any]:
        return {k: further[f"{what} {k}"] for k in self._blocks.vectors}

    @property
    def trained(self) -> list[Array]:
        """The arrays that belong to the model: parameters, or their averages, and buffers."""
        return [*self.weights.values(), *self.buffers.values()]

    @property
    def kept(self) -> dict[str, Array]:
        """What a checkpoint needs, by name."""
        arrays = {f"parameters/{k}": v for k, v in (self.parameters | self.frozen).items()}
        arrays |= {f"buffers/{k}": v for k, v in self.buffers.items()}
        arrays |= {f"optimizer/{i}": v for i, v in enumerate(self.optimizer_state)}
        arrays |= {f"further/{k}": v for k, v in self._further.items()}
        return arrays | {f"outside/{i}": v for i, v in enumerate(self.outside)}

    @property
    def states(self) -> list[Array]:
        """All arrays that a step reads, and changes in place: parameters, buffers, optimiser state, those outside."""
        blocks = self._blocks.vectors.values()
        state, frozen, further = self.optimizer_state, self.frozen.values(), self._further.values()
        return [*blocks, *self.buffers.values(), *state, *frozen, *further, *self.outside]

    @property
    def outside(self) -> list[Array]:
        """State that steps read outside of the model: counters of random numbers, buffers of modules in the loss."""
        return [array for _, array in self._outside.values()]

    @property
    def rate(self) -> Array | None:
        """The learning rate among the optimiser's states, to be written to; None unless it is `Adjustable`."""
        return self._state.get("lr")

    @property
    def updates(self) -> int:
        """The number of updates that have been made."""
        return int(self._state["step"])

    def binding(self, x: Any, y: Any, last: bool = True) -> Binding:
        """Return the bound plan for batches of this shape and dtype, planned anew if what it depends on has changed."""
        self._look_at_frozen()
        leaves, structure = flatten((x, y))
        key = (structure, last, *[(a.shape, a.dtype.char) for a in leaves])
        found = self._bindings.pop(key, None)
        if found is None or found[1].changed() is not None:
            plan, shared, guards = undisturbed(lambda: self._guarded(x, y, last))
            states = self.states[: len(plan.states) - len(shared)]  # later plans may know more of them
            found = bind(plan, [*states, *shared], engine=self._engine, threads=self.threads), guards
        self._bindings[key] = found  # at the end: the first is the one that was not used for longest
        if len(self._bindings) > PLANS:
            del self._bindings[next(iter(self._bindings))]
        return found[0]

    def are_current(self, bindings: Collection[Binding]) -> bool:
        """Whether these are bindings of this step, and nothing that they depend on has changed."""
        self._look_at_frozen()
        found = [guards for binding, guards in self._bindings.values() if binding in bindings]
        return len(found) == len(bindings) and all(guards.changed() is None for guards in dict.fromkeys(found))

    def _guarded(self, x: Any, y: Any, last: bool) -> tuple[Plan, list[Array], Guards]:
        """Plan the step, and return the last of its states, which processes share.

        The guards are those of another plan, if tracing changes nothing that they guard.
        """
        for _, guards in self._bindings.values():
            if guards.complete and guards.changed() is None:
                guards.begin()
                planned = self._planned(x, y, last, guards)
                if guards.changed() is None:
                    return *planned, guards
                break
        guards = Guards([self.model, self.loss, self.optimizer, *self.metrics.values()])
        planned = self._planned(x, y, last, guards)
        guards.settle()
        return *planned, guards

    def _look_at_frozen(self) -> None:
        """Take over new values of frozen parameters; raise if others are frozen by now."""
        changed = [name for name, p in self._own.items() if p.requires_grad == (name in self._frozen)]
        if changed:
            raise ValueError(
                f"requires_grad of {', '.join(changed)} has changed since the training began, which has made room for "
                "what it trains; freeze before fit, and call fit again for what is to be trained then"
            )
        for name, p in self._frozen.items():
            if p.value is not self._read[name]:
                self.frozen[name][...] = self._read[name] = p.value

    def assign_frozen(self) -> None:
        """Put the values of frozen parameters into the model, as read from a checkpoint."""
        for name, p in self._frozen.items():
            p.assign(self.frozen[name])
            self._read[name] = p.value

    def run(self, x: Any, y: Any, last: bool = True) -> tuple[Any, ...]:
        """Make one step on a batch; return the loss and the metrics, taken before the update."""
        binding = self.binding(x, y, last)
        with np.errstate(all="ignore"):
            binding.run(flatten((x, y))[0])
        return self.results(binding)

    def results(self, binding: Binding) -> tuple[Any, ...]:
        """Return the loss and the metrics of a binding's last run."""
        return tuple([binding.value(n).item() for n in binding.plan.outputs])

    def exchanged(self) -> dict[str, Any]:
        """Return what the processes of a group must have alike: weights to begin with, and what plans exchange."""
        if self.sharding is None or self.sharding.group.size == 1:
            return {}
        return {
            "weights": checksum(self.states),
            "exchanges": [exchanges(binding.plan) for binding, _ in self._bindings.values()],
        }

    def plan(self, x_shape: Shape, x_dtype: Any, y_shape: Shape, y_dtype: Any) -> Plan:
        """Plan the step for batches of these shapes."""
        x, y = (np.broadcast_to(np.zeros((), d), s) for s, d in ((x_shape, x_dtype), (y_shape, y_dtype)))
        return self._guarded(x, y, True)[0]

    def _planned(self, x: Any, y: Any, last: bool, guards: Guards) -> tuple[Plan, list[Array]]:
        with Trace("a training step") as trace, self.generator:
            mark = frozenset({trace})
            x, y = (_inputs(nest, name, mark) for nest, name in ((x, "X"), (y, "Y")))
            blocks = {k: traced_leaf(v.shape, v.dtype, mark) for k, v in self._blocks.vectors.items()}
            frozen = {k: traced_leaf(v.shape, v.dtype, mark) for k, v in self.frozen.items()}
            buffers = {k: traced_leaf(v.shape, v.dtype, mark) for k, v in self.buffers.items()}
            state = [traced_leaf(v.shape, v.dtype, mark) for v in self.optimizer_state]
            further = {k: traced_leaf(v.shape, v.dtype, mark) for k, v in self._further.items()}

            def run(parameters: Mapping[str, Tensor], rows: Any) -> tuple[Any, dict[str, Tensor]]:
                return called(self.model, {**parameters, **frozen, **buffers}, rows)

            loss, output, new_buffers, gradients, sums = self._differentiated(trace, run, x, y, blocks)
            slopes, new_further = self._summed(gradients, further, (output, y), last)
            new_blocks, new_state = blocks, unflatten(self._state_structure, state)
            if last:
                new_blocks, new_state = self._updated(slopes, new_state, blocks)
                new_further |= self._averaged(new_blocks, further, new_state["step"])
            measured = [_measured(name, function, output, y) for name, function in self.metrics.items()]
            guards.require_no_draws(trace.purpose)
            found, replaced = self._read_outside(trace)
            updated = [new_blocks[k] for k in blocks] + [new_buffers.get(k, buffers[k]) for k in buffers]
            updated += [*flatten(new_state)[0], *frozen.values(), *[new_further.get(k, further[k]) for k in further]]
            updated += replaced
            leaves = [*blocks.values(), *buffers.values(), *state, *frozen.values(), *further.values(), *found]
            updates = {
                i: _like(new, old) for i, (new, old) in enumerate(zip(updated, leaves, strict=True)) if new is not old
            }
            for node, array in sums.finished(list(updates.values())) if sums else ():
                updates[len(leaves)] = node
                leaves.append(traced_leaf(array.shape, array.dtype, mark))
            inputs = flatten((x, y))[0]
            plan, captured = build(
                [loss, *measured], inputs, states=leaves, updates=updates, name="training step",
                earlier=[binding.plan for binding, _ in self._bindings.values()],
            )  # fmt: skip
        trace.hand_back()
        if captured:
            raise ValueError(
                "the model uses parameters that are not registered in it: assign their modules to attributes"
            )
        return plan, [array for _, array in sums.places] if sums else []

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

    def objective(self, output: Any, y: Any, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the loss of an output, and with the penalties what is minimised."""
        if not flatten(output)[0] or not all(isinstance(part, Tensor) for part in flatten(output)[0]):
            raise TypeError(f"the model returned a {type(output).__name__}, a loss needs tensors")
        loss = self.loss(output, y)
        if not isinstance(loss, Tensor) or loss.shape != () or loss.dtype.kind != "f":
            found = f"shape {loss.shape}, {loss.dtype}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"the loss returned {found}; expected one real number that depends on the output")
        objective = loss
        if self.l1 or self.l2:
            objective = loss + losses.penalty(parameters, l1=self.l1, l2=self.l2)
        return loss, objective

    def _differentiated(
        self, trace: Trace, run: Callable[[Mapping[str, Any], Any], Any], x: Any, y: Any, blocks: Mapping[str, Tensor]
    ) -> tuple[Tensor, Any, dict[str, Tensor], dict[str, Any], SharedSums | None]:
        """Trace both passes; return loss, output, new buffers, the gradients in blocks, and how they were summed."""
        parameters: dict[str, Tensor] = self._blocks.cut(blocks)
        if self.sharding is None:
            output, new_buffers = run(parameters, x)
            loss, objective = self.objective(output, y, parameters)
            (gradients,) = gradients_of(loss, objective, [parameters])
            return loss, output, new_buffers, self._blocks.joined(gradients), None
        passes = self.sharding.forward(trace, run, x, lambda: self._blocks.cut(tree_map(identity, dict(blocks))))
        output = passes.output()
        loss, objective = self.objective(output, y, parameters)
        *found, of_penalty = gradients_of(loss, objective, [*passes.copies, parameters])
        slopes = passes.sum([self._blocks.joined(of_shard) for of_shard in found])
        if any(g is not None for g in of_penalty.values()):
            zeros = {k: np.zeros(p.shape, p.dtype) for k, p in parameters.items()}
            given = {k: zeros[k] if g is None else g for k, g in of_penalty.items()}
            slopes = {name: slopes[name] + part for name, part in self._blocks.joined(given).items()}
        return loss, output, passes.buffers, slopes, passes.sums

    def updated(self, gradients: Mapping[str, Array]) -> dict[str, Array]:
        """Return the parameters after another update, with these gradients; the state does not change."""
        state = unflatten(self._state_structure, self.optimizer_state)
        state["step"] = np.maximum(state["step"] - 1, 0)  # a schedule may have ended
        new, _ = self._updated(self._blocks.joined(gradients), state, self._blocks.vectors)
        return self._blocks.cut(new)

    def _summed(
        self, slopes: dict[str, Any], further: Mapping[str, Any], results: tuple[Any, Any], last: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the gradients to update by, with those of earlier batches, and the new sums."""
        if not self._accumulates:
            return slopes, {}
        count = (self._weight_of or self._count)(*results)
        summed = further["gradients counted"] + as_dtype(count, np.float64)
        sums = {
            k: total + as_dtype(count, total.dtype) * slopes[k]
            for k, total in self._of_blocks("gradients", further).items()
        }
        if not last:
            return slopes, {f"gradients {k}": total for k, total in sums.items()} | {"gradients counted": summed}
        empty = {
            name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in further.items() if name.startswith("gradients")
        }
        return {k: total / as_dtype(summed, total.dtype) for k, total in sums.items()}, empty

    def _count(self, output: Any, y: Any) -> Any:
        """Return the number of examples in a batch, or what they count in all."""
        shares = losses.shares(self.loss, output, y)
        return flatten(y)[0][0].shape[0] if shares is None else np.sum(shares)

    def _averaged(self, blocks: Mapping[str, Any], further: Mapping[str, Any], step: Any) -> dict[str, Any]:
        """Return the new averages: of the first update the parameters themselves, as in PyTorch."""
        if not self._ema:
            return {}
        keep = np.where(step <= 1, 0.0, self._ema)
        return {
            f"average {k}": new + as_dtype(keep, new.dtype) * (further[f"average {k}"] - new)
            for k, new in blocks.items()
        }

    def _updated(self, slopes: Mapping[str, Any], state: Any, vectors: Any) -> tuple[Any, Any]:
        updated: tuple[Any, Any] = self.optimizer.update(slopes, state, vectors, self._blocks.groups)
        return updated

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


def _setter(modules: Mapping[str, nn.Module], path: str) -> Callable[[Any], None]:
    """Return a function that sets the buffer at a dotted path."""
    owner, _, name = path.rpartition(".")
    return lambda value: setattr(modules[owner], name, value)


def _inputs(nest: Any, name: str, mark: Any) -> Any:
    leaves, structure = flatten(nest)
    return unflatten(
        structure,
        [traced_leaf(a.shape, a.dtype, mark, name=path) for a, path in zip(leaves, paths(nest, name), strict=True)],
    )


def _arrays(named: Any) -> list[tuple[str, Any]]:
    return [(k, v.value if isinstance(v, Tensor) else v) for k, v in named]


def _like(new: Any, old: Tensor) -> Tensor:
    """Check the shape of an update and convert it to the dtype of the array it updates."""
    new = constant(new)
    if new.shape != old.shape:
        raise ValueError(f"an update of shape {new.shape} for a state of shape {old.shape}")
    return new if new.dtype == old.dtype else new.astype(old.dtype)  # type: ignore[no-any-return]


def _measured(name: str, function: Scalar, output: Any, y: Any) -> Tensor:
    """Trace a metric."""
    try:
        value = constant(function(output, y))
    except TypeError as error:
        raise TypeError(f"metrics: {name}: {error}") from None
    if value.shape != ():
        raise ValueError(f"metrics: {name}: expected a scalar, got shape {value.shape}")
    return value
