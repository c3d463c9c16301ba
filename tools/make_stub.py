"""Write the stub of the native module, src/chainrule/engine/_native.pyi, from the installed module.

Run after a change of the interface in src/native/bind.cpp: ``python tools/make_stub.py``, with nanobind and ruff
installed. The stub is kept in the repository, so that types can be checked where no engine was built; a test compares
it with the module.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "src" / "chainrule" / "engine" / "_native.pyi"


def generated() -> str:
    """Return the stub that nanobind generates for the installed module, with complete types for mypy."""
    from nanobind.stubgen import StubGen

    module = importlib.import_module("chainrule.engine._native")
    generator = StubGen(module)
    generator.put(module)
    return re.sub(r": Callable\b(?!\[)", ": Callable[..., object]", str(generator.get()))


def main() -> None:
    """Write the stub, formatted."""
    STUB.write_text(generated(), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(STUB)], check=True)


if __name__ == "__main__":
    main()
