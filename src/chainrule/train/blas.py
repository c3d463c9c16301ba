"""The number of threads of NumPy's matrix multiplication during a run.

Small products gain nothing from a second thread, and become ten times slower when another process uses its core: the
threads wait for each other by spinning, thousands of times a second.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

#: Below so many flops in the largest product of a step, one thread.
FLOPS_FOR_THREADS = 200_000_000


class OpenBLAS:
    """The library in NumPy's wheels. The number of threads belongs to the process."""

    def __init__(self, get: Any, set_: Any) -> None:
        self._get, self._set = get, set_

    @property
    def threads(self) -> int:
        """How many threads a product may take now."""
        return int(self._get())

    @contextlib.contextmanager
    def limited(self, threads: int) -> Iterator[None]:
        """Let products take `threads` threads; afterwards as many as before.

        Of runs that overlap in several Python threads, the one that began first restores the number, whichever of them
        ends last: the others find it lowered, and leave what is higher.
        """
        before = self.threads
        self._set(threads)
        try:
            yield
        finally:
            self._set(before if threads > before else max(before, self.threads))


def library() -> OpenBLAS | None:
    """Return the OpenBLAS of NumPy's wheel; None where NumPy uses another one."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".libs", package / ".dylibs"):
        for file in sorted(folder.glob("*openblas*")):
            with contextlib.suppress(OSError):
                loaded = ctypes.CDLL(str(file))  # it is loaded already: this only gives access
                for form in (
                    "scipy_openblas_{}_num_threads64_",
                    "openblas_{}_num_threads64_",
                    "openblas_{}_num_threads",
                ):
                    if hasattr(loaded, form.format("set")):
                        return OpenBLAS(getattr(loaded, form.format("get")), getattr(loaded, form.format("set")))
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
    if threads is None and flops >= FLOPS_FOR_THREADS:
        return contextlib.nullcontext()
    blas = library()
    return contextlib.nullcontext() if blas is None else blas.limited(threads or 1)
