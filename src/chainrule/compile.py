"""compile: trace a function once per signature, plan it, run the plan."""

from __future__ import annotations

import functools
import itertools
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .core.arrays import checked_array
from .core.op import Array
from .core.reverse import topological
from .core.tensor import Parameter, Recording, Tensor, constant, traced_leaf
from .core.tree import Structure, flatten, paths, unflatten
from .engine import Binding, bind, choose, noted
from .plan import Followed, Plan, build

MOST_PLANS = 256
"""How many plans a compiled function keeps: those of the signatures used last."""

MANY_SIGNATURES = 64
"""How many signatures a function is compiled for without a warning."""

_STATIC = (str, bytes, bool, np.dtype, type)
_NATIVE = frozenset(np.dtype(c) for c in "fd?bBhHiIlLqQ")

_Signature = tuple[Any, ...]  # the arguments' structure, then for each leaf what its plan depends on


class _Planned:
    """One signature's plan, and its bindings that are not in use."""

    def __init__(
        self, plan: Plan, captured: list[Parameter], structure: Structure, fixed: list[tuple[int, Any]]
    ) -> None:
        self.plan = plan
        self.captured = captured
        self.structure = structure
        self.fixed = fixed
        self.idle: list[Binding] = []
        self.used = 0  # larger means used more recently
        self.noted = False


class Compiled:
    """A function that is traced once per signature (structure, shapes, dtypes) and then runs as a plan.

    Made by `compile`. Arrays that the function uses besides its arguments are constants, with the values that they have
    when it is traced; parameters (`Parameter`) are read at each call.

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
    ) -> None:
        if not callable(f):
            raise TypeError(f"f: expected a function, got a {type(f).__name__}")
        self._f = f
        self._keep = tuple([keep] if isinstance(keep, str) else keep)
        self._engine, self._threads = choose(engine), threads
        self._plans: dict[_Signature, _Planned] = {}
        self._lock = threading.RLock()  # f may call its own compiled form
        self._last: _Planned | None = None
        self._uses = itertools.count()
        self._traced = 0
        self.__name__: str = type(f).__name__  # unless f has one
        functools.update_wrapper(self, f, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function. With `keep`, return ``(result, {name: array})``."""
        leaves, structure = flatten((args, kwargs))
        if any(isinstance(x, Tensor) and (x.value is None or x.requires_grad) for x in leaves):
            return self._inline(args, kwargs)
        planned, arrays = self._planned(leaves, structure)
        if planned is None:
            return self._inline(args, kwargs)
        return self._run(planned, arrays)

    def _inline(self, args: Any, kwargs: Any) -> Any:
        """Within another derivative or trace, call the function itself, so that the outer one records its graph."""
        result = self._f(*args, **kwargs)
        if not self._keep:
            return result
        outputs = [constant(o) for o in flatten(result)[0]]
        return result, _named(topological(outputs), self._keep, self.__name__)

    def __repr__(self) -> str:
        n = len(self._plans)
        made = "not traced yet" if not n else "1 plan" if n == 1 else f"{n} plans"
        return f"<compiled {self.__name__}: {made}, {self._engine} engine>"

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans kept, one per signature, in the order in which they were made."""
        return tuple(planned.plan for planned in self._plans.copy().values())

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """Return the plan for such arguments, made on first use; without arguments, the last one used."""
        if not args and not kwargs:
            if self._last is None:
                raise ValueError("no plan yet: call the function first, or pass example arguments to plan(…)")
            return self._shown(self._last)
        leaves, structure = flatten((args, kwargs))
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
                key.append((kind, x))
            else:
                array = checked_array(x.value if isinstance(x, Tensor) else x, "an argument")
                arrays.append(array)
                key.append((array.shape, array.dtype, isinstance(x, Tensor) and x.weak))
        signature = tuple(key)
        planned = self._plans.get(signature)
        if planned is None:
            with self._lock:
                planned = self._plans.get(signature) or self._trace(leaves, structure, iter(arrays))
                if planned is None:
                    return None, arrays
                self._add(signature, planned)
        if planned is not self._last:
            planned.used, self._last = next(self._uses), planned
        return planned, arrays

    def _add(self, signature: _Signature, planned: _Planned) -> None:
        """Keep a new plan, replacing the least recently used one if there are too many."""
        if len(self._plans) >= MOST_PLANS:
            del self._plans[min(self._plans, key=lambda s: self._plans[s].used)]
        planned.used = next(self._uses)
        self._plans[signature] = planned
        self._traced += 1
        if self._traced == MANY_SIGNATURES:
            warnings.warn(
                f"{self.__name__} was compiled for {MANY_SIGNATURES} signatures, which differ in "
                f"{_differences(list(self._plans))}. Each new signature is traced and planned, which takes much longer "
                f"than a call, and only the last {MOST_PLANS} plans are kept. Call it with fewer different shapes and "
                "constants, for example by padding arrays",
                stacklevel=4,
            )

    def _trace(self, leaves: list[Any], structure: Structure, arrays: Iterator[Array]) -> _Planned | None:
        inputs = []
        call = []
        with Recording(f"compile of {self.__name__}") as recording:
            mark = frozenset({recording})
            for x in leaves:
                if _is_static(x):
                    call.append(x)
                    continue
                array = next(arrays)
                weak = x.weak if isinstance(x, Tensor) else type(x) in (int, float)
                leaf = traced_leaf(array.shape, array.dtype, mark, weak=weak)
                inputs.append(leaf)
                call.append(leaf)
            args, kwargs = unflatten(structure, call)
            result = self._f(*args, **kwargs)
        outputs, out_structure = flatten(result)
        fixed = [(i, o) for i, o in enumerate(outputs) if _is_fixed(o)]
        nodes = [constant(o) for o in outputs if not _is_fixed(o)]
        keep = _named(topological(nodes), self._keep, self.__name__)
        try:
            plan, captured = build(nodes, inputs, keep=keep, name=self.__name__)
        except Followed:
            return None
        return _Planned(plan, captured, out_structure, fixed)

    def _run(self, planned: _Planned, arrays: list[Array]) -> Any:
        try:
            binding = planned.idle.pop()
        except IndexError:
            binding = bind(planned.plan, engine=self._engine, threads=self._threads)
        try:
            with np.errstate(all="ignore"):
                if planned.captured:
                    arrays = [*arrays, *(p.concrete("a parameter") for p in planned.captured)]
                binding.run(arrays)
            results: list[Any] = [binding.value(n).copy() for n in planned.plan.outputs]
            kept = {name: binding.value(n).copy() for name, n in planned.plan.kept.items()}
        finally:
            binding.release()
            planned.idle.append(binding)
        for i, o in planned.fixed:
            results.insert(i, o)
        result = unflatten(planned.structure, results)
        return (result, kept) if self._keep else result


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
    """Whether an argument is part of the signature, not an input: strings, booleans, dtypes, functions."""
    return isinstance(x, _STATIC) or (callable(x) and not isinstance(x, Tensor))


def _is_fixed(x: Any) -> bool:
    """Whether a result is returned as it was when the function was traced."""
    return isinstance(x, _STATIC) or type(x) in (int, float)


def _named(nodes: Iterable[Tensor], names: Iterable[str], function: str) -> dict[str, Tensor]:
    wanted = tuple(names)
    if not wanted:
        return {}
    found = {n.name: n for n in nodes if n.name is not None}
    absent = [name for name in wanted if name not in found]
    if absent:
        there = ", ".join(sorted(found)) or "none"
        raise ValueError(f"keep: {function} has no value named {', '.join(absent)}; known are {there}")
    return {name: found[name] for name in wanted}


def compile(
    f: Callable[..., Any], *, keep: Iterable[str] = (), engine: str | None = None, threads: int | None = None
) -> Compiled:
    """Return `f` as a function that is traced once per signature and then runs as a plan.

    The plans of the 256 signatures used last are kept; a function with very many signatures gets a warning.

    Parameters
    ----------
    f : callable
        Of arrays, numbers, or dicts, lists and tuples of them; written with NumPy functions. Side effects (printing,
        changing lists) happen only while it is traced; a number read from a parameter then, with ``.item()``, is a
        constant of the plan.
    keep : iterable of str
        Names of values to return as well: the result becomes ``(result, {name: array})``.
    engine : {"native", "numpy"} or None
        Which engine runs the plan; None for the fastest available.
    threads : int or None
        How many threads it may use.

    Returns
    -------
    Compiled
        Called like `f`; results are new arrays. ``.plan(*args)`` shows the plan.

    Raises
    ------
    TypeError
        While tracing, where `f` needs a value (``if x > 0``); ``np.where`` expresses such a choice.

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
    return Compiled(f, keep=keep, engine=engine, threads=threads)
