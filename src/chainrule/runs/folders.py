"""The folders of runs: which one a run gets, and whether it may have it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .. import io
from ..io.locks import locked
from ..reporting.examples import FILE as EXAMPLES
from ..reporting.storage import HISTORY, MODEL, RECORD, read_record
from ..train.checkpoint import same_settings
from .settings import Settings

#: The state of an unfinished run, in its folder.
CHECKPOINT = "checkpoint.safetensors"


@contextlib.contextmanager
def claimed(
    out: Path | None, source: str, *, overwrite: bool = False, resume: bool = False
) -> Iterator[tuple[Path, bool]]:
    """Make the folder of a run and hold it: `out`, or the first free ``runs/NAME``, ``runs/NAME-2``, ….

    With `resume` and without `out`, it is the one of these whose checkpoint is the latest. What a killed run left half
    written there is removed, and so is the folder if it stays empty. Yields the folder, and whether the run in it has
    ended already, so that there is nothing to resume.

    Raises
    ------
    FileExistsError
        If `out` already holds a run, and `overwrite` and `resume` are False.
    BlockingIOError
        If another process trains into it.
    """
    folder = out if out is not None else _latest(source) if resume else None
    if folder is None:
        folder = _numbered(source)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out: expected a folder, got the file {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        held = [name for name in (MODEL, RECORD, HISTORY, CHECKPOINT) if (folder / name).exists()]
        if held and not overwrite and not resume:
            more = "continue it with --resume, " if CHECKPOINT in held else ""
            raise FileExistsError(
                f"{folder} already holds a run ({', '.join(held)}); {more}choose another --out, or add --overwrite"
            )
        io.files.sweep(*(folder / name for name in (MODEL, RECORD, HISTORY, CHECKPOINT, EXAMPLES)))
        if not resume:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        yield folder, resume and RECORD in held and CHECKPOINT not in held


def check_same(folder: Path, fingerprint: str, settings: Settings) -> None:
    """Raise ValueError if the run in a folder was of other data or settings."""
    record = read_record(folder)
    now = {"fingerprint": fingerprint, **json.loads(json.dumps(asdict(settings)))}
    same_settings(folder, {"fingerprint": record.get("fingerprint"), **record.get("settings", {})}, now)


def _numbered(source: str) -> Path:
    number = 1
    while True:
        folder = Path("runs") / (folder_name(source) if number == 1 else f"{folder_name(source)}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def folder_name(source: str) -> str:
    """Return the name of the folder of a run on some data."""
    return Path(source).name.split(".")[0] or "run"


def _latest(source: str) -> Path | None:
    """Return the folder of the data's run that was saved last."""
    numbered = re.compile(rf"{re.escape(folder_name(source))}(-\d+)?")
    saved = [f for f in Path("runs").glob(f"*/{CHECKPOINT}") if numbered.fullmatch(f.parent.name)]
    return max(saved, key=lambda f: f.stat().st_mtime).parent if saved else None
