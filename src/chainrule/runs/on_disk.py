"""Data of a run that stays on disk: Parquet and Arrow files that are large, of which samples are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import data
from ..data.arrow import SAMPLE_ROWS
from ..data.arrow_files import SUFFIXES, found, inside, schema_of
from .networks import NETWORKS
from .preparing import Prepared
from .trained import Trained

#: Bytes of Parquet and Arrow files from which they stay on disk without being asked to.
LARGE = 1 << 30


def stays_on_disk(source: str | Sequence[str], asked: bool | None = None) -> bool:
    """Whether the rows of a source are read while a network trains, rather than before; None: if they are many."""
    paths = [source] if isinstance(source, str) else list(source)
    known = all(Path(path).suffix.casefold() in SUFFIXES or inside(Path(path)) for path in paths)
    if asked and not known:
        raise ValueError(f"on_disk: expected files that end in {', '.join(SUFFIXES)}, got {paths[0]}")
    if asked is not None or not known:
        return bool(asked)
    return sum(file.stat().st_size for file in found(paths)) > LARGE


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
    names = [name for name in schema_of(found(source)[0]).names if name != target]
    rows = data.ArrowRows(source, target, columns=_kept(names, exclude) if exclude else None)
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
        called, preprocessor, train, tested, _fingerprint(train, preprocessor), notes,
        suspects=data.suspect_columns(train), model=model, stored=rest,
    )  # fmt: skip


def to_measure(
    trained: Trained, source: Any, target: str | None, everything: bool, max_bytes: int | None = None
) -> tuple[Any, str]:
    """Return rows that a model was not trained on, as far as that is known, or all; and a description of them.

    Of rows that stay on disk a sample.
    """
    if trained.is_of_text or not (stays_on_disk(source) or (trained.metadata.get("on_disk") and _can_stay(source))):
        dataset = trained.read(source, target, max_bytes)
        return (dataset, "all rows") if everything else trained.held_out(dataset)
    preprocessor, metadata = trained.preprocessor, trained.metadata
    target = target or preprocessor.target_name
    rows = data.ArrowRows(source, target, columns=sorted(preprocessor.input_names))
    drawn: Any = {"task": preprocessor.task, "readings": preprocessor.readings}
    which, picked = "all rows", rows
    if not everything and metadata.get("on_disk"):
        share: Any = metadata["test"]
        seed: Any = metadata["seed"]
        rest, held = rows.split(share, seed)
        if _fingerprint(rest.sample(seed=seed, **drawn), preprocessor) == metadata["fingerprint"]:
            which, picked = "the split held out in training (all rows: --all)", held
    sample = picked.sample(**drawn)
    return sample, which if len(sample) == len(picked) else f"drawn from {len(picked):,}: {which}"


def _fingerprint(rows: data.Dataset, preprocessor: data.Preprocessor) -> str:
    """Return a checksum of the columns that a model takes, and of the target."""
    assert rows.columns is not None
    names = sorted(preprocessor.input_names)
    return replace(rows, columns={n: rows.columns[n] for n in names}, feature_names=tuple(names)).fingerprint()


def _can_stay(source: Any) -> bool:
    try:
        return stays_on_disk(source, True)
    except ValueError:
        return False


def held_out(rows: Any, share: float, seed: int, readings: Any) -> tuple[Any, data.Dataset]:
    """Return the rows to train on, and a sample of the others, to validate with."""
    rest, held = rows.split(share, seed)
    return rest, held.sample(SAMPLE_ROWS, seed, readings=readings)


def _kept(names: Sequence[str], exclude: Sequence[str]) -> list[str]:
    unknown = [name for name in exclude if name not in names]
    if unknown:
        raise ValueError(f"exclude: there is no column {unknown[0]!r}; the columns are {', '.join(names[:20])}")
    return [name for name in names if name not in exclude]
