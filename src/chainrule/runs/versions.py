"""What a result may depend on: the engine, the packages, the machine."""

from __future__ import annotations

import platform

import numpy as np

from ..core.arguments import integer
from ..engine import choose


def check_engine(engine: str | None, threads: int | None) -> None:
    """Raise for an unavailable engine or fewer than one thread, before anything is written."""
    choose(engine)
    if threads is not None:
        integer("threads", threads, at_least=1)


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result may depend on."""
    from .. import __version__

    return {
        "chainrule": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def blas() -> str:
    """Return the name of NumPy's BLAS library."""
    found = np.show_config(mode="dicts")
    library = found.get("Build Dependencies", {}).get("blas", {}) if isinstance(found, dict) else {}
    return f"{library.get('name', 'unknown')} {library.get('version', '')}".strip()
