"""Data of a run that stays on disk: Parquet and Arrow files that are large, of which samples are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import data
from ..data.arrow import SAMPLE_ROWS
from ..data.arrow_files import SUFFIXES, found
from .networks import NETWORKS
from .preparing import Prepared

#: Bytes of Parquet files from which they stay on disk without being asked to.
LARGE = 1 << 30
#: Suffixes of files that are read in no other way.
ONLY_ON_DISK = tuple(suffix for suffix in SUFFIXES if suffix != ".parquet")


def stays_on_disk(source: str | Sequence[str], asked: bool | None = None) -> bool:
    """Whether the rows of a source are read while a network trains, rather than before; None: if they are many."""
    paths = [source] if isinstance(source, str) else list(source)
    suffixes = {Path(path).suffix.casefold() for path in paths}
    known = suffixes <= {*SUFFIXES, ""} and suffixes & {*SUFFIXES} == suffixes
    folders = all(Path(path).is_dir() and any(Path(path).rglob("*.parquet")) for path in paths)
    if asked:
        if not (known or folders):
            raise ValueError(f"on_disk: expected files that end in {', '.join(SUFFIXES)}, got {paths[0]}")
        return True
    if not known or asked is False:
        return folders and asked is None
    if suffixes & {*ONLY_ON_DISK}:
        return True
    files = [Path(path) for path in paths if Path(path).is_file()] or (found(source) if known else [])
    return sum(file.stat().st_size for file in files) > LARGE


def prepare_on_disk(
    source: str | Sequence[str],
    target: str | None,
    task: str | None = None,
    *,
    model: str | None = None,
    test: float = 0.2,
    seed: int = 0,
    exclude: Sequence[str] = (),
) -> Prepared:
    """Split rows that stay on disk, and fit the preprocessing to a sample of those to train on."""
    if target is None:
        raise ValueError("target: of data that stays on disk, give the column to predict")
    model = model or "tabular"
    if NETWORKS[model].takes not in ("table", "rows"):
        raise ValueError(f"model: {model} is no network for tables, and {source} holds one; use tabular")
    whole = data.ArrowRows(source, target)
    rows = data.ArrowRows(source, target, columns=_kept(whole, exclude))
    rest, held = rows.split(test, seed)
    train = rest.sample(seed=seed, task=task)
    tested = held.sample(seed=seed, task=task, readings=train.readings)
    preprocessor = data.Preprocessor.fit(train, impute=True, robust=NETWORKS[model].takes == "table")
    notes = [
        f"{len(rest):,} rows to train on stay on disk: the preprocessing is fitted to {len(train):,} of them",
        *([f"tested on {len(tested):,} of {len(held):,} rows"] if len(tested) < len(held) else []),
        *[note for note in (*rows.notes, *train.notes, train.task_reason, *preprocessor.notes) if note],
    ]
    called = source if isinstance(source, str) else f"{source[0]} and {len(source) - 1} more"
    return Prepared(
        called, preprocessor, train, tested, train.fingerprint(), notes,
        suspects=data.suspect_columns(train), model=model, stored=rest,
    )  # fmt: skip


def held_out(rows: Any, share: float, seed: int, readings: Any) -> tuple[Any, data.Dataset]:
    """Return the rows to train on, and a sample of the others, to validate with."""
    rest, held = rows.split(share, seed)
    return rest, held.sample(SAMPLE_ROWS, seed, readings=readings)


def _kept(rows: data.ArrowRows, exclude: Sequence[str]) -> list[str]:
    unknown = [name for name in exclude if name not in rows.names]
    if unknown:
        raise ValueError(f"exclude: there is no column {unknown[0]!r}; the columns are {', '.join(rows.names[:20])}")
    return [name for name in rows.names if name not in exclude]
