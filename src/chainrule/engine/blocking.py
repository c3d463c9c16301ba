"""How this machine's multiplies are blocked: stored by a calibration, and used by later processes.

The native engine derives the blocks from the sizes of the caches. A calibration compares other choices on a few shapes
and stores the fastest in a JSON file, one entry per machine. Every choice gives the same bits, so a result never
depends on what was stored.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from . import _native

FORMAT = 1
DIRECTORY = "CHAINRULE_CACHE_DIR"
LIMITS = {"strip": (1, 1 << 24), "panels": (1, 1 << 30), "reuse": (1, 1 << 30)}


@dataclass(frozen=True)
class Blocking:
    """Bytes of A's rows kept in the first-level cache, of B's panels in the second, and rows that pay a copy of B."""

    strip: int
    panels: int
    reuse: int


def stored_in() -> Path:
    """Return the file of calibrations: in CHAINRULE_CACHE_DIR, or the user's folder of caches.

    Examples
    --------
    >>> from chainrule.engine.blocking import stored_in
    >>> stored_in().name
    'multiplies.json'
    """
    own = os.environ.get(DIRECTORY)
    if own:
        return Path(own) / "multiplies.json"
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "chainrule" / "multiplies.json"


def machine() -> str:
    """Return the name under which this machine's calibration is stored: processor, instruction set and caches."""
    name = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    name = name or platform.processor() or platform.machine()
    sizes = "/".join(f"{size // 1024}K" for size in _native.caches())
    return f"{name}, {_native.instruction_set()}, {sizes}"


def stored() -> Blocking | None:
    """Return this machine's calibration, None without one. Raises ValueError for a file that is damaged."""
    path = stored_in()
    if not path.is_file():
        return None
    return entries_of(path).get(machine())


def apply() -> None:
    """Let multiplies be planned as calibrated; a damaged file is left alone, with a warning."""
    try:
        found = stored()
    except (OSError, ValueError) as error:
        warnings.warn(f"the calibration of this machine is ignored: {error}", RuntimeWarning, stacklevel=2)
        return
    if found is not None:
        _native.set_blocking(**asdict(found))


def entries_of(path: Path) -> dict[str, Blocking]:
    """Return the machines of a file. Raises ValueError where it is not as `calibrate` writes it."""
    again = f"delete {path}, or run chainrule doctor --calibrate after that"
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file ({error}): {again}") from None
    if not isinstance(read, dict) or read.get("format") != FORMAT or not isinstance(read.get("machines"), dict):
        raise ValueError(f'{path}: expected "format": {FORMAT} and "machines": {again}')
    for name, entry in read["machines"].items():
        if not isinstance(entry, dict) or entry.keys() != LIMITS.keys():
            raise ValueError(f"{path}: machine {name!r}: expected {', '.join(LIMITS)}: {again}")
        for key, (least, most) in LIMITS.items():
            if type(entry[key]) is not int or not least <= entry[key] <= most:
                message = (
                    f"{path}: machine {name!r}: {key}: expected an integer from {least} to {most}, got {entry[key]!r}"
                )
                raise ValueError(f"{message}: {again}")
    return {name: Blocking(**entry) for name, entry in read["machines"].items()}


def write(path: Path, entries: dict[str, Blocking]) -> None:
    """Write the file in one step: other processes see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "machines": {name: asdict(b) for name, b in entries.items()}}, indent=2)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text + "\n")
    os.replace(file.name, path)
