"""Sizes and import times: what is counted, what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.installation import (
    Importing,
    Installed,
    import_times,
    installation_table,
    main,
    megabytes,
    process_times,
)
from benchmarks.measure import spread


def test_files_are_counted_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(bytes(300_000))
    (tmp_path / "b").write_bytes(bytes(200_000))
    os.symlink(tmp_path / "b", tmp_path / "inner" / "c")
    assert megabytes(tmp_path) == pytest.approx(0.5, rel=1e-3)


def test_every_import_is_timed_so_often() -> None:
    found = import_times(Path(sys.executable), ["json", "email"], 2)
    assert [(i.wall.count, i.processor.count) for i in found] == [(2, 2), (2, 2)]


def test_a_process_that_sleeps_takes_time_but_no_processor() -> None:
    wall, processor = process_times([sys.executable, "-c", "import time; time.sleep(0.5)"])
    assert wall > 500 > processor


def test_the_table_says_where_numpy_is_not() -> None:
    importing = Importing(spread([1.0, 2.0, 3.0]), spread([4.0]))
    rows = [Installed("a", "1.0", 3, 10.4, 20.6, importing, importing), Installed("b", "2", 1, 1, 2, importing, None)]
    first, second = installation_table(rows, "markdown").splitlines()[2:]
    assert [cell.strip() for cell in first.split("|")[1:-1]] == ["a 1.0", "3", "10", "21", "2", "2–2", "4", "4"]
    assert second.split("|")[-2].strip() == "–"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["missing.whl"], "missing.whl"), ([__file__, "--rounds", "1"], "--rounds: expected an integer ≥ 2, got 1")],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
