"""The benchmark of rows on disk measures both sides and says how they compare."""

import pytest

from benchmarks import larger_than_memory as benchmark


@pytest.mark.slow
def test_both_sides_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--gigabytes", "0.01", "--memory", "0.01", "--rounds", "1", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("on disk") for line in lines)
    assert any(line.startswith("in memory") and " 1.00 " in line for line in lines)
