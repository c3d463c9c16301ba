"""Functions with a derivative of their own: `custom_vjp`; and `checkpoint`, which computes values again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .apply import apply
from .arguments import unexpected
from .broadcasting import unbroadcast
from .derived import derives, place_of
from .node import FUNCTIONS, TRACE, Recording
from .op import Example, Operation
from .replay import computed, inside, one_of
from .reverse import reverse
from .tensor import Tensor, inputs_of, latest
from .tree import Structure, flatten, leaves_as, paths, unflatten
from .vmap import vmap

Gradients = Callable[..., Sequence[Any]]


class Pullback:
    """The reverse rule of one call.

    Parameters
    ----------
    compute : callable
        ``compute(g, *inputs)`` returns a gradient, or None, for each of the last `count` inputs. It is called with
        arrays or tensors, as rules are.
    count : int
        How many inputs are differentiated; those before them are the result and what was saved.
    unmapped : int
        How many of the last inputs the function uses without being passed them: `vmap` cannot map over these.
    """

    def __init__(self, compute: Gradients, count: int, unmapped: int = 0) -> None:
        self.compute, self.count, self.unmapped = compute, count, unmapped
        self._last: tuple[Any, Sequence[Any]] = (None, ())

    def gradient(self, index: int, g: Any, inputs: Sequence[Any]) -> Any:
        """Return the gradient of one input; those of all are computed together."""
        last, found = self._last
        if last is not g:
            found = self.compute(g, *inputs)
            self._last = (g, found)
        place = index - (len(inputs) - self.count)
        return None if place < 0 else found[place]

    def batched(self, flags: tuple[bool, ...]) -> Pullback:
        """Return the rule for a batch of calls; what all share gets the sum of the gradients."""
        if any(flags[len(flags) - self.unmapped :]):
            raise ValueError(
                "checkpoint in vmap: the function uses a tensor that is mapped over, and is not among its arguments; "
                "pass it as one"
            )

        def one(g: Any, *inputs: Any) -> list[Any]:
            found = self.compute(g, *inputs)
            return [
                np.zeros(x.shape, x.dtype) if part is None else unbroadcast(part, tuple(x.shape))
                for part, x in zip(found, inputs[-self.count :], strict=True)
            ]

        def compute(g: Any, *inputs: Any) -> list[Any]:
            axes = tuple([0 if flag else None for flag in flags])
            found = vmap(one, in_axes=(0, *axes))(g, *inputs)
            own = flags[-self.count :]
            return [part if flag else np.sum(part, axis=0) for part, flag in zip(found, own, strict=True)]

        return Pullback(compute, self.count, self.unmapped)


def _batch(flags: tuple[bool, ...], *inputs: Any, pullback: Pullback) -> Any:
    size = next(x.shape[0] for x, flag in zip(inputs, flags, strict=True) if flag)
    if not flags[0]:
        inputs, flags = (np.broadcast_to(inputs[0], (size, *inputs[0].shape)), *inputs[1:]), (True, *flags[1:])
    return apply(CUSTOM, inputs, {"pullback": pullback.batched(flags)})


# not in the table: its derivative is the caller's. Plans put the result, its first input, in its place.
CUSTOM = Operation(
    "custom",
    shape=lambda out, *inputs, pullback: (out.shape, out.dtype),
    vjp=lambda index, g, out, *inputs, pullback: pullback.gradient(index, g, inputs),
    expand=lambda out, *inputs, pullback: out,
    batch=_batch,
    examples=lambda rng: [
        Example((rng.normal(size=2), rng.normal(size=2)), {"pullback": Pullback(lambda g, out, x: [g * x], 1)})
    ],
)


def _joined(outputs: Sequence[Any]) -> Any:
    """Return one array of all real outputs."""
    if len(outputs) == 1:
        return outputs[0]
    return np.concatenate([np.reshape(o, -1) for o in outputs])


def _parted(whole: Any, outputs: Sequence[Any]) -> list[Any]:
    """Cut what `_joined` made."""
    if len(outputs) == 1:
        return [whole]
    parts, start = [], 0
    for o in outputs:
        stop = start + int(np.prod(o.shape))
        parts.append(FUNCTIONS["astype"](np.reshape(whole[start:stop], o.shape), o.dtype))
        start = stop
    return parts


def _is_real(x: Any) -> bool:
    return hasattr(x, "dtype") and x.dtype.kind == "f"


def _is_followed(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype.kind == "f" and (x.value is None or x.requires_grad)


def _with_rule(
    outputs: list[Any], saved: Sequence[Any], inputs: Sequence[Any], compute: Any, unmapped: int = 0
) -> list[Any]:
    """Return outputs whose derivative with respect to `inputs` is ``compute(cotangents, saved, inputs)``."""
    real = [o for o in outputs if _is_real(o)]
    if not real:
        return outputs
    count, kept = len(inputs), len(saved)

    def gradients(g: Any, out: Any, *rest: Any) -> Any:
        return compute(_parted(g, real), list(rest[:kept]), list(rest[kept:]))

    whole = apply(CUSTOM, (_joined(real), *saved, *inputs), {"pullback": Pullback(gradients, count, unmapped)})
    parts = iter(_parted(whole, real))
    return [next(parts) if _is_real(o) else o for o in outputs]


class custom_vjp:
    """A function whose derivative is written by its author, as a decorator.

    Parameters
    ----------
    f : callable
        Of arrays, numbers or containers of them, written with NumPy functions.
    nondiff_argnums : sequence of int
        Positions of arguments that are not differentiated: numbers, functions, strings. They are passed to `backward`
        first.

    Notes
    -----
    `defvjp` gives the derivative: ``forward(*args)`` returns ``(result, saved)``, with anything that the backward pass
    needs in a container; ``backward(*nondiff, saved, g)`` gets the cotangent of the result, in its structure, and
    returns a tuple with a gradient (or None for zeros) for each argument that is differentiated, in its structure. Both
    are called with tensors where a derivative of them is taken or they are traced: written with NumPy functions, they
    work in ``grad`` of any order, ``jvp``, ``vmap`` and ``compile``. Tensors that the functions use besides their
    arguments get no gradient from `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> @cr.custom_vjp
    ... def clipped(x):  # the identity, whose gradient is limited
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda saved, g: (np.clip(g, -1, 1),))
    >>> cr.grad(lambda x: np.sum(clipped(x) ** 2))(np.array([0.2, 3.0]))
    array([0.4, 1. ])
    """

    def __init__(self, f: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        if not callable(f):
            raise TypeError(f"f: expected a function, got a {type(f).__name__}")
        self._f = f
        self._fixed = tuple(nondiff_argnums)
        self._rules: tuple[Callable[..., Any], Callable[..., Any]] | None = None
        self.__name__: str = type(f).__name__  # unless f has one
        functools.update_wrapper(self, f, updated=())

    def __reduce__(self) -> Any:
        return place_of(self) or object.__reduce_ex__(self, 2)

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Define the derivative by `forward` and `backward`; see the class."""
        for name, function in (("forward", forward), ("backward", backward)):
            if not callable(function):
                raise unexpected(name, "a function", function)
        self._rules = (forward, backward)

    def passes(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Return the functions that were given to `defvjp`."""
        if self._rules is None:
            raise TypeError(f"custom_vjp of {self.__name__}: its derivative is missing; call defvjp(forward, backward)")
        return self._rules

    def __call__(self, *args: Any) -> Any:
        """Evaluate the function; with its own derivative where one is taken."""
        forward, backward = self.passes()
        fixed = [args[i] for i in self._fixed]
        nest = tuple([a for i, a in enumerate(args) if i not in {j % len(args) for j in self._fixed}])
        leaves, structure = flatten(nest)
        if not any(_is_followed(x) for x in leaves):
            return self._f(*args)
        pair = forward(*args)
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise TypeError(f"forward of {self.__name__} returned {type(pair).__name__}; expected (result, saved)")
        outputs, out_structure = flatten(pair[0])
        kept, saved_structure = flatten(pair[1])
        tensors = [i for i, x in enumerate(kept) if isinstance(x, Tensor)]
        inputs = [i for i, x in enumerate(leaves) if _is_followed(x)]
        name = self.__name__

        def compute(cotangents: list[Any], saved: list[Any], xs: list[Any]) -> list[Any]:
            parts = iter(cotangents)
            g = unflatten(out_structure, [next(parts) if _is_real(o) else None for o in outputs])
            values = list(kept)
            for i, x in zip(tensors, saved, strict=True):
                values[i] = x
            found = _checked(backward(*fixed, unflatten(saved_structure, values), g), structure, name)
            for i, x in zip(inputs, xs, strict=True):
                if found[i] is not None and tuple(np.shape(found[i])) != tuple(x.shape):
                    raise ValueError(
                        f"backward of {name}: the gradient for {paths(nest)[i]} of the arguments has shape "
                        f"{tuple(np.shape(found[i]))}, expected {tuple(x.shape)}"
                    )
            return [found[i] if found[i] is None or hasattr(found[i], "dtype") else np.asarray(found[i])
                    for i in inputs]  # fmt: skip

        made = _with_rule(outputs, [kept[i] for i in tensors], [leaves[i] for i in inputs], compute)
        return unflatten(out_structure, made)


def _checked(gradients: Any, structure: Structure, name: str) -> list[Any]:
    """Return the gradients of all leaves; None for the leaves of an argument that has None."""
    if not isinstance(gradients, tuple | list) or len(gradients) != len(structure.children):
        count = len(structure.children)
        raise TypeError(
            f"backward of {name}: expected a tuple of {count} gradient{'s' * (count != 1)}, one per differentiated "
            f"argument, got {len(gradients) if isinstance(gradients, tuple | list) else type(gradients).__name__}"
        )
    found: list[Any] = []
    for i, (part, child) in enumerate(zip(gradients, structure.children, strict=True)):
        what = f"backward of {name}: gradient {i}"
        found += [None] * child.leaves if part is None else leaves_as(child, part, what)
    return found


@derives
def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return `f` with a reverse pass that computes its intermediate values again instead of keeping them.

    Of a call only the arguments and the result are kept until the reverse pass, at the cost of a second evaluation.
    `f` must return the same for the same arguments. In compiled functions and training, random numbers, masks of
    dropout and running means are those of the first evaluation.

    Parameters
    ----------
    f : callable
        Of arrays, numbers or containers of them, written with NumPy functions; also a module. Parameters of modules and
        other tensors that it uses get their gradients, too, but only arguments can be mapped over by `vmap`.

    Raises
    ------
    ValueError
        If `f` returns other values when it is evaluated again.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> layer = cr.checkpoint(lambda x, w: np.tanh(np.tanh(x @ w) @ w))
    >>> w = np.eye(2)
    >>> bool(np.all(cr.grad(lambda w: np.sum(layer(np.ones(2), w)))(w) > 0))
    True
    """
    name = str(getattr(f, "__name__", None) or type(f).__name__)

    @functools.wraps(f, updated=())
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        inputs = [i for i, x in enumerate(leaves) if _is_followed(x)]

        def call(values: Iterable[Any]) -> Any:
            every = list(leaves)
            for i, x in zip(inputs, values, strict=True):
                every[i] = x
            some_args, some_kwargs = unflatten(structure, every)
            return f(*some_args, **some_kwargs)

        given = [leaves[i] for i in inputs]
        traced = TRACE.get() is not None or any(x.value is None for x in given)
        with Recording("a checkpoint") as recording:  # tells what depends on the arguments from what `f` has besides
            own = [FUNCTIONS["identity"](x) if traced else Tensor(x.concrete("a checkpoint")) for x in given]
            for node, x in zip(own, given, strict=True):
                node.recordings = x.recordings | {recording} if traced else frozenset()
            result = call(own)
        outputs, out_structure = flatten(result)
        captured, fixed = _outside(outputs, own, recording) if traced else (_captured(outputs), [])
        if not inputs and not captured:
            return result
        real = [o for o in outputs if _is_real(o)]

        def compute(cotangents: list[Any], saved: list[Any], xs: list[Any]) -> list[Any]:
            if traced:  # the same graph, with the numbers that were drawn, and the modules' arrays of then
                return _again(_replayed(real, [*own, *captured], fixed, saved), cotangents, xs, [])[1]
            found, gradients = _again(called, cotangents, xs[: len(inputs)], captured)
            _compare(found, real, name)
            return gradients

        def called(nodes: Iterable[Any]) -> list[Any]:
            return [o for o in flatten(call(nodes))[0] if _is_real(o)]

        constants = outputs if traced else [o.detach() if isinstance(o, Tensor) else o for o in outputs]
        unmapped = 0 if traced else len(captured)
        return unflatten(out_structure, _with_rule(constants, fixed, [*given, *captured], compute, unmapped))

    return checkpointed


def _captured(outputs: Sequence[Any]) -> list[Tensor]:
    """Return the variables and parameters of derivatives that outputs depend on: the last where a recording starts."""

    def starts(node: Tensor) -> bool:
        return bool(node.recordings.difference(*[x.recordings for x in inputs_of(node)]))

    _, leaves = inside([o for o in outputs if isinstance(o, Tensor)], starts)
    return [node for node in leaves if node.dtype.kind == "f"]


def _outside(outputs: Sequence[Any], own: Sequence[Tensor], recording: Recording) -> tuple[list[Tensor], list[Tensor]]:
    """Return what outputs are computed from that does not depend on the arguments: real numbers, and others."""
    arguments = one_of(own)
    tensors = [o for o in outputs if isinstance(o, Tensor) and _is_real(o)]
    _, leaves = inside(tensors, lambda node: recording not in node.recordings or arguments(node))
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for node in leaves:
        if not arguments(node) and (node.op is not None or node.value is None or node.recordings):
            found[node.dtype.kind != "f"].append(node)
    return found


def _replayed(
    outputs: Sequence[Any], leaves: Sequence[Tensor], fixed: Sequence[Tensor], values: Sequence[Any]
) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function that computes outputs again, from what stands for the leaves, and values of fixed ones."""
    tensors = [o for o in outputs if isinstance(o, Tensor)]
    order, _ = inside(tensors, one_of([*leaves, *fixed]))
    known = {id(leaf): x for leaf, x in zip(fixed, values, strict=True)}

    def evaluate(nodes: Sequence[Any]) -> list[Any]:
        made = computed(order, known | {id(leaf): node for leaf, node in zip(leaves, nodes, strict=True)})
        return [made[id(latest(o))] if isinstance(o, Tensor) else o for o in outputs]

    return evaluate


def _compare(found: Sequence[Any], before: Sequence[Any], name: str) -> None:
    """Raise if values that a function returned the second time are not those of the first time."""
    for new, old in zip(found, before, strict=True):
        a, b = (x.value if isinstance(x, Tensor) else x for x in (new, old))
        if a is not None and b is not None and not np.allclose(a, b, 1e-3, 1e-6, equal_nan=True):
            raise ValueError(
                f"checkpoint of {name}: it returned other values when it was evaluated again for the reverse pass. If "
                "it draws random numbers or contains dropout, compile the function that calls it, or pass what it "
                "draws as an argument"
            )


def _again(evaluate: Any, cotangents: list[Any], xs: list[Any], captured: list[Tensor]) -> tuple[list[Any], list[Any]]:
    """Evaluate once more, recorded, and pull the cotangents back; return the results, too."""
    recorded = any(isinstance(x, Tensor) for x in (*cotangents, *xs))
    with Recording("a checkpoint") as recording:
        nodes = []
        for x in xs:
            later = FUNCTIONS["barrier"](x, *cotangents) if recorded else x
            node = FUNCTIONS["identity"](later) if isinstance(later, Tensor) else Tensor(later)
            node.recordings = (later.recordings if isinstance(later, Tensor) else frozenset()) | {recording}
            nodes.append(node)
        outputs = evaluate(nodes)
    used = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if isinstance(o, Tensor)]
    starts = [*nodes, *captured]
    behind = [node.inputs for node in starts]
    try:
        for node in starts:
            node.inputs = ()  # what these depend on gets their gradients, not those of this pass again
        gradients, _ = reverse([o for o, _ in used], [g for _, g in used], starts)
    finally:
        for node, inputs in zip(starts, behind, strict=True):
            node.inputs = inputs
    real = [g for g in gradients if isinstance(g, Tensor)]
    if len(real) >= 2:
        # none is passed on before all are computed: then the values computed again can go
        gradients = [FUNCTIONS["barrier"](g, *real) if isinstance(g, Tensor) else g for g in gradients]
    return outputs, gradients
