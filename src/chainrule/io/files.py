"""Files: written so that nothing is ever half-written, read only where there is a file."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def regular_file(path: str | os.PathLike[str], wanted: str) -> Path:
    """Return `path` if a file is there; raise FileNotFoundError for nothing, a folder, a device or a pipe."""
    file = Path(path)
    try:
        mode = file.stat().st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):
        raise FileNotFoundError(f"no file {os.fspath(path)}") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or a pipe"
        raise FileNotFoundError(f"{file} is a {kind}, not {wanted}")
    return file


#: A file's content, at once or in parts.
Content = bytes | Iterable[bytes]


def write_atomically(path: str | os.PathLike[str], content: Content) -> None:
    """Write `content`, bytes or parts of them, to `path`: afterwards the file holds all of it, or what it held before.

    Written next to the target under a temporary name, flushed to disk, then renamed. A link is followed; a device or a
    pipe (``/dev/stdout``) is written to directly; a file that is replaced keeps its permissions.

    Raises
    ------
    OSError
        When it cannot be written (folder missing, no permission, disk full); the message names the target. The old
        content is kept.

    Examples
    --------
    >>> import os, tempfile
    >>> from chainrule import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "notes.txt")
    ...     io.write_atomically(file, b"first")
    ...     io.write_atomically(file, b"second")
    ...     os.path.getsize(file), os.listdir(folder)
    (6, ['notes.txt'])
    """
    write_together({path: content})


def write_together(contents: Mapping[str | os.PathLike[str], Content]) -> None:
    """Write several files; when one cannot be written, none has changed.

    All are written and flushed under temporary names before the first is renamed. (A crash of the machine between the
    renames, which allocate nothing, can leave some old and some new; each is whole.)

    Raises
    ------
    OSError
        As for `write_atomically`.

    Examples
    --------
    >>> import os, tempfile
    >>> from chainrule import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.write_together({os.path.join(folder, name): b"" for name in ("a", "b")})
    ...     sorted(os.listdir(folder))
    ['a', 'b']
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for path, content in contents.items():
            target = Path(os.path.realpath(path))
            with _explained(path, target, content):
                if _is_special(path):
                    with Path(path).open("wb") as file:
                        file.writelines(_blocks(content))
                    continue
                passing = _partial(target, secrets.token_hex(8))
                staged.append((passing, target))
                _write(passing, content, _mode(target))
        for passing, target in staged:
            with _explained(target, target, b""):
                os.replace(passing, target)
    except BaseException:
        for passing, _ in staged:
            with contextlib.suppress(OSError):
                passing.unlink(missing_ok=True)
        raise


def _partial(target: Path, key: str) -> Path:
    return target.with_name(f".{target.name[:200]}.{key}.partial")


def sweep(*paths: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed while they wrote these files left beside them."""
    for path in paths:
        target = Path(os.path.realpath(path))
        pattern = glob.escape(_partial(target, "?").name).replace("[?]", "?" * 16)
        for left in target.parent.glob(pattern):
            with contextlib.suppress(OSError):
                left.unlink()


def checksum(content: bytes) -> str:
    """Return the digest of a file's content, as files that belong together hold of each other."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _blocks(content: Content) -> Iterable[bytes]:
    return [content] if isinstance(content, bytes) else content


def _write(path: Path, content: Content, mode: int | None) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(handle, "wb") as file:
        file.writelines(_blocks(content))
        file.flush()
        os.fsync(file.fileno())
    if mode is not None:
        os.chmod(path, mode)


def _is_special(path: str | os.PathLike[str]) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _mode(target: Path) -> int | None:
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return None


@contextlib.contextmanager
def _explained(path: str | os.PathLike[str], target: Path, content: Content) -> Iterator[None]:
    """Say which file could not be written, and that the old one is unchanged."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        size = f" ({len(content):,} bytes)" if content and isinstance(content, bytes) else ""
        kept = " What it held before is unchanged." if target.is_file() else ""
        raise OSError(error.errno, f"cannot write {os.fspath(path)}{size}: {reason}.{kept}") from error
