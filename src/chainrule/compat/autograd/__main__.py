"""Run a program with ``autograd`` meaning chainrule: ``python -m chainrule.compat.autograd script.py arguments``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from .aliases import install


def main() -> None:
    """Run the script that the command line names, with its own arguments."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m chainrule.compat.autograd script.py [arguments]")
    install()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
