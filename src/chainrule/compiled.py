"""compile: trace a function once per signature, plan it, run the plan."""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import itertools
import numbers
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .core.arrays import checked_array
from .core.derived import place_of
from .core.guards import Guards, undisturbed
from .core.keywords import translates
from .core.memory import as_array
from .core.node import TRACE
from .core.op import Array
from .core.reverse import topological
from .core.tensor import Parameter, Tensor, constant
from .core.trace import State, Trace
from .core.tree import Structure, flatten, paths, unflatten
from .engine import Binding, bind, choose, noted
from .ops.table import WITHIN
from .plan import Followed, Plan, build
from .random import Generator, in_force

MOST_PLANS = 256
"""How many plans a compiled function keeps: those of the signatures used last."""

MANY_SIGNATURES = 64
"""How often a function is traced without a warning."""

MOST_VERSIONS = 8
"""How many plans of one signature are kept: for what the function has read lately besides its arguments."""

_STATIC = (
    str,
    bytes,
    bool,
    np.dtype,
    type,
    enum.Enum,
)  # arguments of these types are static; results are returned as they are
_NATIVE = frozenset(np.dtype(c) for c in "fd?bBhHiIlLqQ")

_Signature = tuple[Any, ...]  # the arguments' structure, then for each leaf what its plan depends on


@dataclass(eq=False)
class _Planned:
    """One signature's plan, what it holds for, and its bindings that are not in use."""

    plan: Plan
    structure: Structure
    fixed: list[tuple[int, Any]]
    states: list[State]  # read at each call
    changed: list[State]  # the last outputs of the plan are stored in these
    captured: list[Parameter]
    guards: Guards
    pinned: dict[int, Any]  # position of an argument -> the integer that it must be
    within: list[tuple[int, Any]]  # position of an integer, dtype that it must fit into
    idle: list[Binding] = field(default_factory=list)
    used: int = 0  # larger means used more recently
    noted: bool = False

    def difference(self, arrays: list[Array]) -> str | None:
        """Return the name of something that the plan depends on and that is not as it was when it was made."""
        for position, value in self.pinned.items():
            if arrays[position].item() != value:
                return f"the integer {value}, on which shapes depend"
        return self.guards.changed()

    def outside(self) -> list[Any]:
        """Return the current arrays of states and parameters."""
        return [s.read() for s in self.states] + [p.value for p in self.captured]


class _Static:
    """A value that is part of the signature: a leaf, whatever it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Compiled:
    """A function that is traced once per signature (structure, shapes, dtypes) and then runs as a plan.

    Made by `compile`. Parameters, buffers of modules and counters of random numbers are read at each call, and what the
    function assigns to buffers is stored after it. Everything else that it reads besides its arguments (globals,
    variables of enclosing functions, attributes, methods, environment variables, arrays) is part of the plan; once it
    has changed, the function is traced again. So it is when a parameter changes whose value the function asks for
    (``w.value``, ``if w[0] > 0``).

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> step = cr.compile(lambda x: x * 2, engine="numpy")
    >>> step
    <compiled <lambda>: not traced yet, numpy engine>
    >>> step(np.ones(2)), step(np.ones(3))
    (array([2., 2.]), array([2., 2., 2.]))
    >>> len(step.plans)
    2
    """

    def __init__(
        self,
        f: Callable[..., Any],
        *,
        keep: Iterable[str] = (),
        engine: str | None = None,
        threads: int | None = None,
        seed: int = 0,
        static_argnames: str | Iterable[str] = (),
        static_argnums: int | Iterable[int] = (),
    ) -> None:
        if not callable(f):
            raise TypeError(f"f: expected a function, got a {type(f).__name__}")
        self._f = f
        self._settings: dict[str, Any] = {
            "keep": keep if isinstance(keep, str) else (keep := tuple(keep)), "engine": engine, "threads": threads,
            "static_argnames": static_argnames if isinstance(static_argnames, str) else tuple(static_argnames),
            "static_argnums": static_argnums if isinstance(static_argnums, int) else tuple(static_argnums),
        }  # fmt: skip
        self._keep = tuple([keep] if isinstance(keep, str) else keep)
        self._engine, self._threads = choose(engine), threads
        self._generator = Generator(seed)
        self._static = _static_arguments(f, self._settings["static_argnames"], self._settings["static_argnums"])
        self._plans: dict[_Signature, list[_Planned]] = {}
        self._lock = threading.RLock()  # f may call its own compiled form
        self._last: _Planned | None = None
        self._uses = itertools.count()
        self._traced = 0
        self._changes: dict[str, None] = {}  # why it was traced again
        self.__name__: str = type(f).__name__  # unless f has one
        functools.update_wrapper(self, f, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function. With `keep`, return ``(result, {name: array})``."""
        leaves, structure = self._flat(args, kwargs)
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        if TRACE.get() is not None or (tensors and any(x.value is None or x.requires_grad for x in tensors)):
            return self._inline(args, kwargs)
        planned, arrays = self._planned(leaves, structure)
        if planned is None:
            return self._inline(args, kwargs)
        return self._run(planned, arrays)

    def _flat(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Structure]:
        """Return the leaves of the arguments, of which static ones are single leaves, and their structure."""
        if self._static:
            args = tuple([_static(x, k) if k in self._static else x for k, x in enumerate(args)])
            kwargs = {k: _static(x, k) if k in self._static else x for k, x in kwargs.items()}
        return flatten((args, kwargs))

    def _inline(self, args: Any, kwargs: Any) -> Any:
        """Within another derivative or trace, call the function itself, so that the outer one records its graph."""
        with contextlib.nullcontext() if in_force() is not None else self._generator:
            result = self._f(*args, **kwargs)
        if not self._keep:
            return result
        outputs = [constant(o) for o in flatten(result)[0]]
        return result, _named(outputs, self._keep, self.__name__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle or copy the function and the settings; plans are made anew. A decorated function is kept by name."""
        place = place_of(self)
        if place is not None:
            return place
        return _restored, (self._f, self._settings, self._generator)

    def __repr__(self) -> str:
        n = len(self.plans)
        made = "not traced yet" if not n else "1 plan" if n == 1 else f"{n} plans"
        return f"<compiled {self.__name__}: {made}, {self._engine} engine>"

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans kept: one per signature, more if what the function reads besides its arguments has changed."""
        return tuple(planned.plan for made in self._plans.copy().values() for planned in made)

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """Return the plan for such arguments, made on first use; without arguments, the last one used."""
        if not args and not kwargs:
            if self._last is None:
                raise ValueError("no plan yet: call the function first, or pass example arguments to plan(…)")
            return self._shown(self._last)
        leaves, structure = self._flat(args, kwargs)
        planned, _ = self._planned(leaves, structure)
        if planned is None:
            raise ValueError("the function uses a tensor of an outer derivative; call it within that derivative")
        return self._shown(planned)

    def _shown(self, planned: _Planned) -> Plan:
        """Return a signature's plan, with the engine's notes once it is looked at: calls don't need them."""
        if not planned.noted:
            planned.plan, planned.noted = noted(planned.plan, self._engine), True
        return planned.plan

    def _planned(self, leaves: list[Any], structure: Structure) -> tuple[_Planned | None, list[Array]]:
        arrays: list[Array] = []
        key: list[Any] = [structure]
        for x in leaves:
            kind = type(x)
            if kind is np.ndarray and x.dtype in _NATIVE:
                arrays.append(x)
                key.append((x.shape, x.dtype))
            elif kind is float or kind is int:
                arrays.append(_number(x))
                key.append(kind)
            elif _is_static(x):
                key.append((type(x.value), x.value) if kind is _Static else (kind, x))
            else:
                array = checked_array(x.value if isinstance(x, Tensor) else x, "an argument")
                arrays.append(array)
                key.append((array.shape, array.dtype, isinstance(x, Tensor) and x.weak))
        signature = tuple(key)
        planned = self._kept(signature, arrays)
        if planned is None:
            with self._lock:
                planned = self._kept(signature, arrays) or undisturbed(lambda: self._trace(leaves, structure, arrays))
                if planned is None:
                    return None, arrays
                self._add(signature, planned, arrays)
        for i, dtype in planned.within:
            np.asarray(arrays[i].item(), dtype)  # raises OverflowError, as NumPy does
        if planned is not self._last:
            planned.used, self._last = next(self._uses), planned
        return planned, arrays

    def _kept(self, signature: _Signature, arrays: list[Array]) -> _Planned | None:
        """Return the plan of a signature, provided that nothing else that it depends on has changed."""
        for planned in self._plans.get(signature, ()):
            if planned.difference(arrays) is None:
                return planned
        return None

    def _add(self, signature: _Signature, planned: _Planned, arrays: list[Array]) -> None:
        """Keep a new plan, replacing the least recently used one if there are too many."""
        former = self._plans.get(signature, [])
        if planned not in former:
            self._changes |= {reason: None for old in former[-1:] if (reason := old.difference(arrays)) is not None}
            of_same_integers = [old for old in former if old.pinned == planned.pinned]
            dropped = of_same_integers[0] if len(of_same_integers) >= MOST_VERSIONS else None
            if sum(map(len, self._plans.values())) >= MOST_PLANS and dropped is None:
                dropped = min((p for made in self._plans.values() for p in made), key=lambda p: p.used)
            planned.used = next(self._uses)
            self._plans = {s: [p for p in made if p is not dropped] for s, made in self._plans.items()}
            self._plans = {s: made for s, made in self._plans.items() if made}
            self._plans[signature] = [*self._plans.get(signature, []), planned]
            self._traced += 1
            if self._traced == MANY_SIGNATURES:
                self._warn_of_many()

    def _warn_of_many(self) -> None:
        consequence = (
            f"is traced and planned, which takes much longer than a call, and only the last {MOST_PLANS} plans are kept"
        )
        if len(self._plans) <= MANY_SIGNATURES // 2:
            message = (
                f"{self.__name__} was traced {MANY_SIGNATURES} times, because what it reads has changed: "
                f"{', '.join(list(self._changes)[:3])}. After each change it {consequence}. Pass what changes as an "
                "argument, as an array or a float"
            )
        else:
            message = (
                f"{self.__name__} was compiled for {MANY_SIGNATURES} signatures, which differ in "
                f"{_differences(list(self._plans))}. Each new signature {consequence}. Call it with fewer different "
                "shapes and constants, for example by padding arrays"
            )
        warnings.warn(message, stacklevel=6)

    def _trace(self, leaves: list[Any], structure: Structure, arrays: list[Array]) -> _Planned | None:
        statics = [x.value if isinstance(x, _Static) else x for x in leaves if _is_static(x)]
        guards = Guards([self._f, *statics])
        rest = iter(enumerate(arrays))
        inputs, call = [], []
        with Trace(f"compile of {self.__name__}") as trace, self._generator:
            for x in leaves:
                if _is_static(x):
                    call.append(x.value if isinstance(x, _Static) else x)
                    continue
                weak = x.weak if isinstance(x, Tensor) else type(x) in (int, float)
                inputs.append(trace.argument(*next(rest), weak=weak))
                call.append(as_array(inputs[-1]) if type(x) is np.ndarray else inputs[-1])
            args, kwargs = unflatten(structure, call)
            outputs, out_structure = flatten(trace.method(self._f)(*args, **kwargs))
            guards.require_no_draws(trace.purpose)
            fixed = [(i, o) for i, o in enumerate(outputs) if _is_fixed(o)]
            nodes = [constant(o) for o in outputs if not _is_fixed(o)]
            keep = _named(nodes, self._keep, self.__name__)
            changed = trace.changed()
            nodes += [constant(s.new) for s in changed]
            try:
                plan, captured = build(nodes, [*inputs, *(s.leaf for s in trace.states)], keep=keep, name=self.__name__)
            except Followed:
                return None
        trace.hand_back()
        guards.settle()
        guards.watch("a parameter", [*captured], "dtype")
        guards.watch("the value of a parameter", [*trace.parameters.values(), *guards.parameters], "value")
        within = [(i, dtype) for i, leaf in enumerate(inputs) for dtype in leaf.attrs.get(WITHIN, ())]
        return _Planned(plan, out_structure, fixed, trace.states, changed, captured, guards, trace.pinned, within)

    def _run(self, planned: _Planned, arrays: list[Array]) -> Any:
        try:
            binding = planned.idle.pop()
        except IndexError:
            binding = bind(planned.plan, engine=self._engine, threads=self._threads)
        try:
            with np.errstate(all="ignore"):
                if planned.captured or planned.states:
                    arrays = arrays + planned.outside()
                binding.run(arrays)
            results: list[Any] = [binding.value(n).copy() for n in planned.plan.outputs]
            kept = {name: binding.value(n).copy() for name, n in planned.plan.kept.items()}
        finally:
            binding.release()
            planned.idle.append(binding)
        for state in reversed(planned.changed):
            state.write(results.pop())
        for i, o in planned.fixed:
            results.insert(i, o)
        result = unflatten(planned.structure, results)
        return (result, kept) if self._keep else result


def _restored(f: Callable[..., Any], settings: dict[str, Any], generator: Generator) -> Compiled:
    """Return the compiled function that was pickled or copied."""
    compiled = Compiled(f, **settings)
    compiled._generator = generator
    return compiled


def _differences(signatures: Sequence[_Signature]) -> str:
    """Return the arguments in which signatures differ, with examples."""
    structure = signatures[0][0]
    if any(s[0] != structure for s in signatures):
        return "the structure of their arguments (how many there are, keys of dicts, lengths of lists)"
    places = paths(unflatten(structure, range(structure.leaves)))
    found = []
    for place, facts in zip(places, zip(*(s[1:] for s in signatures), strict=True), strict=True):
        different = list(dict.fromkeys(facts))
        if len(different) > 1:
            examples = ", ".join(_described(x) for x in different[:3])
            found.append(f"{_argument(place)} ({examples}{', …' if len(different) > 3 else ''})")
    return " and ".join(found[:3])


def _argument(place: str) -> str:
    """Return the name of a path into ``(args, kwargs)``."""
    match = re.fullmatch(r"\[0\]\[(\d+)\](.*)|\[1\]\['(\w+)'\](.*)", place)
    assert match is not None
    number, below, keyword, below_keyword = match.groups()
    return f"argument {number}{below}" if number else f"argument {keyword}{below_keyword}"


def _described(fact: Any) -> str:
    if isinstance(fact, type):  # a number
        return fact.__name__
    first, second = fact[:2]
    return repr(second) if isinstance(first, type) else f"{second} of shape {first}"


def _number(x: float) -> Array:
    if not isinstance(x, int) or -(2**63) <= x < 2**63:
        return np.asarray(x)
    raise ValueError(f"an argument: expected an integer within int64, got {x}; float(…) converts")


def _is_static(x: Any) -> bool:
    """Whether an argument is part of the signature, not an input: a string, boolean, function, other hashable value."""
    if isinstance(x, _STATIC) or isinstance(x, _Static):
        return True
    if hasattr(x, "dtype") or isinstance(x, numbers.Number):
        return False
    kind: Any = type(x)
    return callable(x) or (kind.__eq__ is not object.__eq__ and kind.__hash__ is not None)


def _static(x: Any, argument: int | str) -> _Static:
    try:
        hash(x)
    except TypeError:
        raise TypeError(
            f"argument {argument} is static: expected a hashable value, such as a number, a string or a tuple of them, "
            f"got a {type(x).__name__}"
        ) from None
    return _Static(x)


def _static_arguments(f: Any, names: str | Iterable[str], numbers: int | Iterable[int]) -> frozenset[int | str]:
    """Return positions and names of the static arguments, each one both ways where `f` has a signature."""
    wanted: set[int | str] = {names} if isinstance(names, str) else set(names)
    wanted |= {numbers} if isinstance(numbers, int) else set(numbers)
    if not wanted:
        return frozenset()
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return frozenset(wanted)
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    more = {p.kind for p in parameters}
    for one in list(wanted):
        if isinstance(one, str):
            if one not in (p.name for p in parameters) and inspect.Parameter.VAR_KEYWORD not in more:
                raise ValueError(
                    f"static_argnames: the function has no argument {one!r}; it has {', '.join(positional)}"
                )
            wanted |= {positional.index(one)} if one in positional else set()
        elif -len(positional) <= one < len(positional):
            wanted |= {one % len(positional), positional[one]}
        elif inspect.Parameter.VAR_POSITIONAL not in more:
            raise ValueError(f"static_argnums: the function has no argument {one}; it has {len(positional)}")
    return frozenset(wanted)


def _is_fixed(x: Any) -> bool:
    """Whether a result is returned as it was when the function was traced."""
    return isinstance(x, _STATIC) or type(x) in (int, float)


def _named(outputs: Sequence[Tensor], wanted: Sequence[str], function: str) -> dict[str, Tensor]:
    """Return the nodes of these names that the outputs depend on."""
    if not wanted:
        return {}
    found = {n.name: n for n in topological(outputs) if n.name is not None}
    absent = [name for name in wanted if name not in found]
    if absent:
        there = ", ".join(sorted(found)) or "none"
        raise ValueError(f"keep: {function} has no value named {', '.join(absent)}; expected one of {there}")
    return {name: found[name] for name in wanted}


@translates
def compile(
    f: Callable[..., Any],
    *,
    keep: Iterable[str] = (),
    engine: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    static_argnames: str | Iterable[str] = (),
    static_argnums: int | Iterable[int] = (),
) -> Compiled:
    """Return `f` as a function that is traced once per signature and then runs as a plan.

    The plans of the 256 signatures used last are kept; a function with very many signatures gets a warning.

    Parameters
    ----------
    f : callable
        Of arrays, numbers, or dicts, lists and tuples of them; written with NumPy functions. Strings, booleans,
        functions, enums and other values that can be hashed are part of the signature. Side effects (printing,
        changing lists) happen only while it is traced.
    keep : iterable of str
        Names of values to return as well: the result becomes ``(result, {name: array})``.
    engine : {"native", "numpy"} or None
        Which engine runs the plan; None for the fastest available.
    threads : int or None
        How many threads it may use.
    seed : int
        Of the numbers that `chainrule.random` draws within `f`: new ones at each call, the same ones in each run of a
        program.
    static_argnames, static_argnums : names and positions
        Arguments that are part of the signature as they are: `f` is traced for each of their values. An integer on
        which a shape, an axis, an index or a loop depends becomes static by itself.

    Returns
    -------
    Compiled
        Called like `f`; results are new arrays. ``.plan(*args)`` shows the plan.

    Raises
    ------
    TypeError
        While tracing, where `f` needs a value (``if x > 0``): ``np.where`` expresses such a choice. Where `f` draws
        from a generator of NumPy, whose numbers would be the same at each call: `chainrule.random` draws new ones.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> def loss(W, X, y):
    ...     return np.mean((X @ W - y) ** 2)
    >>> step = cr.compile(cr.value_and_grad(loss))
    >>> step(np.zeros(2), np.eye(2), np.array([1.0, 2.0]))
    (array(2.5), array([-1., -2.]))
    """
    return Compiled(
        f, keep=keep, engine=engine, threads=threads, seed=seed, static_argnames=static_argnames,
        static_argnums=static_argnums,
    )  # fmt: skip
