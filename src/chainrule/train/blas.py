"""How many threads NumPy's matrix multiply takes while a run goes on.

Small products gain nothing from a second thread, and lose ten times over when another process wants its core: the
threads wait for each other by spinning, thousands of times a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

#: Below so many flops in the largest product of a step, one thread.
FLOPS_FOR_THREADS = 200_000_000


class OpenBLAS:
    """The library in NumPy's wheels: the number of threads belongs to the process, so runs in parallel share it."""

    def __init__(self, get: Any, set_: Any) -> None:
        self._get, self._set = get, set_
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0

    @property
    def threads(self) -> int:
        """How many threads a product may take now."""
        return int(self._get())

    @contextlib.contextmanager
    def limited(self, threads: int) -> Iterator[None]:
        """Let products take `threads` threads; afterwards, when the last such run has ended, as many as before."""
        with self._lock:
            if self._users == 0:
                self._before = self.threads
            self._users += 1
            self._set(threads)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._set(self._before)


@functools.cache
def library() -> OpenBLAS | None:
    """Return the OpenBLAS of NumPy's wheel; None where NumPy uses another one."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".libs", package / ".dylibs"):
        for file in sorted(folder.glob("*openblas*")):
            try:
                loaded = ctypes.CDLL(str(file))
                for form in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
                    if hasattr(loaded, form.format("set")):
                        return OpenBLAS(getattr(loaded, form.format("get")), getattr(loaded, form.format("set")))
            except OSError:
                continue
    return None


def limited(threads: int | None, flops: int) -> contextlib.AbstractContextManager[None]:
    """Return a context in which matrix products take `threads` threads.

    Parameters
    ----------
    threads : int or None
        None: one, if the largest product has few `flops`; else as many as the process was given.
    flops : int
        Of the largest product.
    """
    blas = library()
    if blas is None or (threads is None and flops >= FLOPS_FOR_THREADS):
        return contextlib.nullcontext()
    return blas.limited(threads or 1)
