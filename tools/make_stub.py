"""Write the stub of the native module, src/chainrule/engine/_native.pyi, from the module as it is installed.

Run after a change to what src/native/bind.cpp offers: ``python tools/make_stub.py``, with nanobind and ruff installed.
The stub is kept in the repository, so that types can be checked where no engine was built; a test holds it to the
module.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "src" / "chainrule" / "engine" / "_native.pyi"


def generated() -> str:
    """Return the stub that nanobind makes of the installed module, its functions' types made whole for mypy."""
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
