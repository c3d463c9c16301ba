"""Writing files so that nothing is ever half-written."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`: afterwards the file holds all of it, or what it held before.

    Written beside the target under a passing name, flushed to disk, then renamed over it.

    Raises
    ------
    OSError
        When it cannot be written (folder missing, no permission, disk full); the message names the target. The old
        content is kept.
    """
    target = Path(path)
    passing = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    try:
        handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(passing, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            passing.unlink()
        reason = error.strerror or str(error)
        kept = " What it held before is unchanged." if target.exists() else ""
        raise OSError(error.errno, f"cannot write {target} ({len(content):,} bytes): {reason}.{kept}") from error
