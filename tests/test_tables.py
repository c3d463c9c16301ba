"""One test for all cases of a table fails for each case that fails, and names it."""

from __future__ import annotations

import inspect

import pytest

from tests.tables import for_each


@for_each("scale", [1, 2])
@for_each(("x", "y"), [pytest.param(1, 1, id="one"), (2, 3), (4, 4)])
def proportional(x: int, y: int, scale: int, tmp_path: object = None) -> None:
    if scale == 2 and x == 4:
        pytest.skip("too large")
    assert x * scale == y * scale


def test_cases_that_fail_are_named() -> None:
    with pytest.raises(ExceptionGroup, match="2 of 2 cases failed: 1, 2") as found:
        proportional()  # type: ignore[call-arg]
    assert [e.message for e in found.value.exceptions] == ["1 of 3 cases failed: (2, 3)"] * 2


def test_a_case_of_another_test() -> None:
    proportional(3, 3, 1)
    with pytest.raises(AssertionError):
        proportional(3, 4, 1)


def test_fixtures_are_left_to_pytest() -> None:
    assert list(inspect.signature(proportional).parameters) == ["tmp_path"]


def test_an_empty_table_fails_and_all_skipped_is_skipped() -> None:
    with pytest.raises(AssertionError, match="no cases"):
        for_each("x", [])(lambda x: None)()
    with pytest.raises(pytest.skip.Exception):
        for_each("x", [1])(lambda x: pytest.skip("not here"))()
