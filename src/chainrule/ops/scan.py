"""`scan`: a loop whose steps pass on a carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.arguments import integer, unexpected
from ..core.arrays import checked_array
from ..core.memory import as_array
from ..core.node import FUNCTIONS, TRACE, Recording
from ..core.replay import computed, inside, one_of
from ..core.tensor import Tensor, constant, latest, original, traced_leaf
from ..core.trace import Replaced, Trace, put_back
from ..core.tree import Structure, flatten, leaves_as, paths, unflatten
from .loop import results
from .loop_body import Body, Part, leaf_like
from .scan_outside import Numbers


class _Step(Recording):
    """The recording of one step: its tensors have no values."""

    __slots__ = ()
    traces = True


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Run a function over the slices of arrays, each time with what the call before has passed on.

    The same as this loop, for arrays in place of containers::

        carry, ys = init, []
        for x in xs:
            carry, y = f(carry, x)
            ys.append(y)
        return carry, np.stack(ys)

    `compile` and `fit` record and plan one step, however many there are, and their loop does not need Python. The
    reverse pass is a loop, too; it keeps the values of each step that it reads. ``scan(checkpoint(f), …)`` computes
    them again instead, from the carry and the slice. Random numbers and the masks of dropout are new in each step, and
    what layers replace, such as running means, is passed on from step to step.

    Parameters
    ----------
    f : callable
        ``f(carry, x) -> (carry, y)``, written with NumPy functions. The carry keeps its structure, shapes and dtypes
        from step to step. `y` may be None.
    init : array, number or container of them
        The first carry.
    xs : array or container of arrays
        Their first axes are the steps. None: `f` gets None.
    length : int
        Number of steps; needed without `xs`.
    reverse : bool
        Start with the last slice; each `y` stands at the place of its `x`.

    Returns
    -------
    carry
        After the last step.
    ys
        The results of all steps, stacked along a new first axis.

    Raises
    ------
    ValueError
        If the arrays of `xs` differ in the number of steps, or `f` changes the structure or a shape of the carry; if a
        compiled loop changes a number outside of it, such as a counter.
    TypeError
        If `f` does not return a pair, or changes a dtype of the carry.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> def step(total, x):
    ...     return total + x, total * x
    >>> total, ys = cr.scan(step, 0.0, np.array([1.0, 2.0, 3.0]))
    >>> total.item(), ys
    (6.0, array([0., 2., 9.]))
    >>> cr.grad(lambda x: cr.scan(step, 0.0, x)[0] ** 2)(np.array([1.0, 2.0, 3.0]))
    array([12., 12., 12.])
    """
    name = str(getattr(f, "__name__", None) or type(f).__name__)
    if not callable(f):
        raise unexpected("f", "a function", f)
    slices, structure = flatten(xs)
    slices = [
        x if isinstance(x, Tensor) else checked_array(x, f"xs{p}") for x, p in zip(slices, paths(xs), strict=True)
    ]
    steps = _length(slices, paths(xs, "xs"), length)
    loop = _recorded if TRACE.get() is not None else _called
    return loop(f, init, (slices, structure), steps, reverse, name)


def _length(slices: Sequence[Any], places: Sequence[str], length: int | None) -> int:
    """Return the number of steps."""
    for x, place in zip(slices, places, strict=True):
        if not x.shape:
            raise ValueError(f"scan: {place} is a number; expected an array, whose first axis are the steps")
    found = {place: int(x.shape[0]) for place, x in zip(places, slices, strict=True)}
    if length is not None:
        found["length"] = integer("length", length, at_least=0)
    if not found:
        raise ValueError("scan: expected xs or length, which give the number of steps")
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{n} ({place})" for place, n in found.items())
        raise ValueError(f"scan: the numbers of steps differ: {listed}")
    return next(iter(found.values()))


def _pair(result: Any, name: str) -> tuple[Any, Any]:
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise TypeError(f"scan: expected {name} to return (carry, y), got {type(result).__name__}")
    return result[0], result[1]


def _called(
    f: Any, init: Any, xs: tuple[list[Any], Structure], steps: int, reverse: bool, name: str
) -> tuple[Any, Any]:
    """Call `f` once per step."""
    slices, structure = xs
    leaves, of_carry = flatten(init)
    places = paths(init, "carry")
    leaves = [_start(x, place) for x, place in zip(leaves, places, strict=True)]
    if not steps:
        return _no_steps(f, leaves, of_carry, xs, name)
    found: list[list[Any]] = [[] for _ in range(steps)]
    of_y: Structure | None = None
    for t in reversed(range(steps)) if reverse else range(steps):
        carry, y = _pair(f(unflatten(of_carry, leaves), unflatten(structure, [x[t] for x in slices])), name)
        after = leaves_as(of_carry, carry, f"scan: the carry that {name} returned")
        _compare(leaves, after, places, name)
        leaves = after
        if of_y is None:
            found[t], of_y = flatten(y)
        else:
            found[t] = leaves_as(of_y, y, f"scan: what {name} returned for another step")
    assert of_y is not None
    stacked = [np.stack(column) for column in zip(*found, strict=True)]
    return unflatten(of_carry, [_array(x) for x in leaves]), unflatten(of_y, stacked)


def _no_steps(
    f: Any, leaves: list[Any], of_carry: Structure, xs: tuple[list[Any], Structure], name: str
) -> tuple[Any, Any]:
    """Return the carry as it is, and arrays without elements, whose shapes `f` gives."""
    with Trace(f"scan of {name}"):  # what `f` replaces in modules stays as it is
        _, (_, found, of_y), _ = _step(f, leaves, of_carry, xs, name)
    return (
        unflatten(of_carry, [_array(x) for x in leaves]),
        unflatten(of_y, [np.zeros((0, *node.shape), node.dtype) for node in found]),
    )


def _array(x: Any) -> Any:
    return x if hasattr(x, "dtype") else np.asarray(x)


def _start(x: Any, place: str) -> Any:
    return x if _is_number(x) or isinstance(x, Tensor) else checked_array(x, f"scan: {place} of init")


def _is_number(x: Any) -> bool:
    """Whether the dtype of a value is that of the other operand."""
    return type(x) in (int, float) or (isinstance(x, Tensor) and x.weak)


def _compare(before: Sequence[Any], after: Sequence[Any], places: Sequence[str], name: str) -> None:
    """Raise unless the carry has the shapes and dtypes that it had; numbers of Python take those of a result."""
    for old, new, place in zip(before, after, places, strict=True):
        if np.shape(old) != np.shape(new):
            raise ValueError(f"scan: {place} has shape {np.shape(old)}, but {name} returned shape {np.shape(new)}")
        if not _is_number(old) and not _is_number(new) and old.dtype != _array(new).dtype:
            raise TypeError(f"scan: {place} has dtype {old.dtype}, but {name} returned {_array(new).dtype}")


def _step(
    f: Any,
    starts: Sequence[Any],
    of_carry: Structure,
    xs: tuple[list[Any], Structure],
    name: str,
    held: Sequence[Replaced] = (),
) -> tuple[tuple[Recording, list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor], Structure], list[Replaced]]:
    """Record one step.

    Returns the recording with its leaves; the new carry, whose last parts are the arrays `held` of modules, and `y`
    with its structure; and which other arrays of modules the step has replaced. They are put back.
    """
    slices, structure = xs
    trace = TRACE.get()
    with _Step(f"scan of {name}") as recording:
        mark = frozenset({recording})
        carry = [traced_leaf(np.shape(x), _array(x).dtype, mark, weak=_is_number(x)) for x in starts]
        parts = [traced_leaf(tuple(x.shape[1:]), x.dtype, mark) for x in slices]
        own = carry[: len(carry) - len(held)]
        given = [as_array(x) if not x.weak else x for x in (*own, *parts)]
        before = trace.buffers()
        put_back((twin, array, leaf) for (twin, array, _), leaf in zip(held, carry[len(own) :], strict=True))
        result = f(unflatten(of_carry, given[: len(own)]), unflatten(structure, given[len(own) :]))
        after, y = _pair(result, name)
        new = leaves_as(of_carry, after, f"scan: the carry that {name} returned")
        new += [twin.__dict__[array] for twin, array, _ in held]
        replaced = trace.replaced(before)
        put_back(replaced)
        carried = {(id(twin), array) for twin, array, _ in held}
        more = [r for r in replaced if (id(r[0]), r[1]) not in carried]
        ys, of_y = flatten(y)
    made = [constant(x) for x in new], [constant(x) for x in ys], of_y
    return (recording, [original(x) for x in carry], [original(x) for x in parts]), made, more


def _recorded(
    f: Any, init: Any, xs: tuple[list[Any], Structure], steps: int, reverse: bool, name: str
) -> tuple[Any, Any]:
    """Make a node of a loop from one recorded step."""
    leaves, of_carry = flatten(init)
    places = paths(init, "carry")
    starts = [_start(x, place) for x, place in zip(leaves, places, strict=True)]
    held: list[Replaced] = []
    numbers = Numbers(f, TRACE.get())
    while True:
        (recording, carry, parts), (new, ys, of_y), more = _step(f, starts, of_carry, xs, name, held)
        numbers.check(name)
        _compare(starts, new, places, name)
        settled = [_as(x, node) for x, node in zip(starts, new, strict=True)]
        if not more and all(a is b for a, b in zip(starts, settled, strict=True)):
            break
        # numbers of Python have the dtypes of results now; what the step replaces in modules is carried, too
        starts = [*settled, *(array for _, _, array in more)]
        places = [*places, *(f"{type(twin).__name__}.{array}" for twin, array, _ in more)]
        held += more
    order, outside = inside([*new, *ys], lambda node: recording not in node.recordings)
    captured = [node for node in outside if not _is_constant(node)]
    known = {id(node): leaf_like(node) for node in (*carry, *parts, *captured)}
    made = computed(order, known)
    found = [constant(made[id(latest(node))]) for node in (*new, *ys)]
    split = [[known[id(node)] for node in some] for some in (carry, parts, captured)]
    order, _ = inside(found, one_of([leaf for some in split for leaf in some]))
    body = Body((split[0], split[1], split[2]), found[: len(new)], order, steps, reverse)
    wanted = [*(Part(False, k) for k in range(len(new))), *(body.place(node) for node in found[len(new) :])]
    out = results([*starts, *xs[0], *captured], body, wanted)
    own = len(new) - len(held)
    put_back((twin, array, value) for (twin, array, _), value in zip(held, out[own : len(new)], strict=True))
    return unflatten(of_carry, out[:own]), unflatten(of_y, out[len(new) :])


def _as(start: Any, node: Tensor) -> Any:
    """Return the start of a carry; a number of Python as an array of the dtype that the carry takes."""
    if not _is_number(start) or (node.weak and node.dtype == _array(start).dtype):
        return start
    if not isinstance(start, Tensor):
        return np.asarray(start, node.dtype)
    made = FUNCTIONS["astype"](start, node.dtype)
    made.weak = False
    return made


def _is_constant(node: Tensor) -> bool:
    return node.op is None and node.value is not None and not node.recordings
