"""What a traced function reads besides its arguments, so that a plan is not used after it has changed.

Before a trace, `Guards` looks up what the code of the function, and of the Python functions that it uses, refers to:
variables of enclosing functions, globals, attributes of objects, and the contents of containers and arrays found there.
`changed` says what is different now. The code of installed libraries is not read.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import operator
import threading
import types
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .reads import Reader, Reads
from .tensor import Parameter, Tensor

#: Arrays up to this size are compared byte by byte, larger ones by a checksum, which is not kept in as much memory.
COMPARED_BYTES = 1 << 20

#: How often a function is traced while other threads draw random numbers.
TRIES = 5

_END = object()
Made = TypeVar("Made")


class Drawn(TypeError):
    """Random numbers were drawn from a generator of NumPy or Python while a function was traced."""


def undisturbed(trace: Callable[[], Made]) -> Made:
    """Trace, and once more if random numbers were drawn meanwhile that another thread may have drawn.

    The generators of NumPy and Python belong to all threads; a function that draws itself does so each time.
    """
    for _ in range(TRIES - 1):
        try:
            return trace()
        except Drawn:
            if threading.active_count() == 1:
                raise
    return trace()


@dataclass
class _Binding:
    """A few variables that are read together: their names, their values, and the contents of arrays among these."""

    names: tuple[str, ...]
    get: Reader
    values: tuple[Any, ...]
    contents: dict[int, Any]
    entries: bool  # of a container

    def difference(self) -> str | None:
        """Return the name of a variable that has another value now; note new objects of the same value."""
        try:
            now = tuple(self.get())
        except (LookupError, ValueError, AttributeError, RuntimeError):
            return self.names[0]
        if len(now) != len(self.values):
            return self.names[0]
        for k, (new, old) in enumerate(zip(now, self.values, strict=True)):
            if (k in self.contents and self.contents[k] != content_of(new)) or (
                k not in self.contents and not _equal(new, old)
            ):
                return self.names[k]
        self.values = now
        return None

    def forget(self, places: set[int]) -> None:
        """Guard the variables at `places` no longer."""
        kept = [k not in places for k in range(len(self.values))]
        get = self.get
        self.get = lambda: itertools.compress(get(), kept)
        self.contents = {sum(kept[:k]): content for k, content in self.contents.items() if kept[k]}
        self.names = tuple(itertools.compress(self.names, kept)) or self.names[:1]
        self.values = tuple(itertools.compress(self.values, kept))


class Guards:
    """Everything that `functions` read besides their arguments, as it is now.

    Examples
    --------
    >>> scale = [2.0]
    >>> guards = Guards([lambda x, scale=scale: scale[0] * x])
    >>> guards.changed()
    >>> scale[0] = 3.0
    >>> guards.changed()
    'a default of <lambda>[0]'
    """

    def __init__(self, functions: Iterable[Any]) -> None:
        import random

        reads = Reads(functions)
        self.notes = tuple(reads.notes)
        self.parameters = reads.parameters  # those whose values code may read
        self._bindings = []
        for names, get, entries in reads.bindings:
            values = tuple(get())
            contents = {k: content_of(v) for k, v in enumerate(values) if _can_change(v)}
            self._bindings.append(_Binding(names, get, values, contents, entries))
        self._generators = [("np.random", np.random), ("random", random), *reads.generators]
        self.complete = True  # whether all of it is guarded still: nothing was forgotten
        self.begin()
        self._arrange()

    def begin(self) -> None:
        """Note where the generators of random numbers are before a trace."""
        self._before = [_state(g) for _, g in self._generators]

    def _arrange(self) -> None:
        """Put all values in one row, which `changed` compares without a step in Python for each."""
        self._getters = [b.get for b in self._bindings]
        self._values = [*(v for b in self._bindings for v in b.values), _END]
        self._contents = [(b.values[k], content) for b in self._bindings for k, content in b.contents.items()]

    def changed(self) -> str | None:
        """Return the name of something that is different now, None if nothing is."""
        if not self._getters:
            return None
        try:
            now = itertools.chain(itertools.chain.from_iterable(map(operator.call, self._getters)), (_END,))
            if all(map(operator.is_, now, self._values)) and all(content_of(a) == c for a, c in self._contents):
                return None
        except (LookupError, ValueError, AttributeError, RuntimeError):
            pass
        for binding in self._bindings:
            if (name := binding.difference()) is not None:
                return name
        self._arrange()
        return None

    def drawn(self) -> str | None:
        """Return the name of a generator of random numbers that has been drawn from since, None if there is none."""
        now = zip(self._generators, self._before, strict=True)
        return next((name for (name, g), before in now if _state(g) != before), None)

    def require_no_draws(self, purpose: str) -> None:
        """Raise if a generator of NumPy or Python was drawn from; warn of what else differs from call to call."""
        drawn = self.drawn() or next((note for note in self.notes if "seed" in note), None)
        if drawn is not None:
            raise Drawn(
                f"random numbers were drawn from {drawn} during {purpose}: they would be the same at each later call. "
                "Draw with chainrule.random (normal, uniform, bernoulli, integers, permutation), or pass the numbers "
                "as an argument"
            )
        if self.notes:
            warnings.warn(
                f"{purpose}: {', '.join(dict.fromkeys(self.notes))} is evaluated once, while the function is traced. "
                "Pass the value as an argument",
                stacklevel=2,
            )

    def watch(self, name: str, objects: Sequence[Any], attribute: str) -> None:
        """Guard an attribute of objects, too."""
        if objects:
            get = functools.partial(map, operator.attrgetter(attribute), objects)
            self._bindings.append(_Binding((name,) * len(objects), get, tuple(get()), {}, False))
            self._arrange()

    def settle(self) -> None:
        """Forget what the trace that is just finished has put there itself: entries of containers, and its own tensors.

        A function that reads a tensor which an earlier trace has left has raised an error by now.
        """
        for b in list(self._bindings):
            if b.difference() is None:
                continue
            self.complete = False
            if b.entries:
                self._bindings.remove(b)
            else:
                b.forget({k for k, v in enumerate(b.values) if isinstance(v, Tensor) and v.value is None})
        self._arrange()


def content_of(x: Any) -> Any:
    """Return what tells the content of an array from another: all of it, or of a large one a checksum."""
    if isinstance(x, Tensor):
        x = x.value
    if not isinstance(x, np.ndarray):
        return None
    if x.nbytes > COMPARED_BYTES:
        return x.shape, x.dtype, zlib.crc32(np.ascontiguousarray(x).data)
    return x.shape, x.dtype, x.tobytes()


def _can_change(x: Any) -> bool:
    """Whether a value is an array, or a constant tensor, that somebody can write into."""
    if isinstance(x, Tensor):
        return not isinstance(x, Parameter) and x.value is not None
    if not isinstance(x, np.ndarray):
        return False
    while isinstance(x, np.ndarray):
        if x.flags.writeable:
            return True
        x = x.base
    return x is not None


def _equal(new: Any, old: Any) -> bool:
    """Whether one value is as good as another one in a trace."""
    if new is old:
        return True
    if type(new) is not type(old):
        return False
    if isinstance(new, Tensor):
        return new.value is not None and old.value is not None and content_of(new.value) == content_of(old.value)
    if isinstance(new, tuple | list):
        return len(new) == len(old) and all(map(_equal, new, old))
    if isinstance(new, float | np.floating):
        return np.asarray(new).tobytes() == np.asarray(old).tobytes()
    if isinstance(new, dict):
        return new.keys() == old.keys() and all(_equal(new[k], old[k]) for k in new)
    plain = int | str | bytes | np.generic | np.dtype | slice | types.MethodType | types.CodeType
    return isinstance(new, plain) and bool(new == old)


def _state(generator: Any) -> Any:
    """Return the state of a generator of random numbers as something that can be compared.

    The two global generators are asked before and after every trace, and give their state number by number; so their
    memory is compared instead.
    """
    if generator is np.random:
        generator = np.random.get_state.__self__  # type: ignore[attr-defined]
        if type(bits := generator._bit_generator) is np.random.MT19937:
            return _memory(generator), _memory(bits)
    if isinstance(generator, types.ModuleType):  # random
        instance = generator.getstate.__self__
        return _memory(instance), instance.gauss_next
    if isinstance(generator, np.random.Generator):
        return _comparable(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return _comparable(generator.get_state(legacy=False))
    return generator.getstate()


def _memory(x: Any) -> bytes:
    """Return the bytes of an object that is implemented in C, without what each Python object begins with."""
    header = object.__basicsize__
    return ctypes.string_at(id(x) + header, type(x).__basicsize__ - header)


def _comparable(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _comparable(v) for k, v in x.items()}
    return x.tobytes() if isinstance(x, np.ndarray) else x
