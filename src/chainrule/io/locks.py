"""A lock on a folder: one process at a time writes into it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, a file in it that is removed afterwards.

    The operating system holds the lock for the process, so that of a process that was killed is free.

    Raises
    ------
    BlockingIOError
        If another process holds it; the message names the process.
    """
    file = folder / LOCK
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        if not _take(handle):
            holder = os.read(handle, 20).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise BlockingIOError(f"{folder} is in use by another training run (process {holder})")
        try:  # the one who had it may have removed the file since it was opened here
            if os.path.samestat(os.fstat(handle), os.stat(file)):
                break
        except FileNotFoundError:
            pass
        os.close(handle)
    try:
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows does not remove open files
            file.unlink()
        os.close(handle)
        with contextlib.suppress(OSError):
            folder.rmdir()  # if nothing was written into it


def _take(handle: int) -> bool:
    """Take the lock of an open file, if it is free."""
    try:
        import fcntl
    except ImportError:
        return _take_on_windows(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_on_windows(handle: int) -> bool:
    import msvcrt

    os.lseek(handle, 1 << 30, os.SEEK_SET)  # behind the number of the process, which others read
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return True
