"""One test for all cases of a table fails for each case that fails, and names it."""

from __future__ import annotations

import inspect

import pytest

from tests.tables import for_each, in_turn, some


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


@for_each("scale", [1])
@for_each("x", range(7), every=3)
def one_in_three(x: int, scale: int, seen: list[int]) -> None:
    seen.append(x * scale)


def test_a_part_runs_in_all_runs_and_the_others_in_slow_ones() -> None:
    seen: list[int] = []
    for part, ran in enumerate([[0, 3, 6], [1, 4], [2, 5]]):
        one_in_three(part=part, seen=seen)  # type: ignore[call-arg]
        assert seen == ran
        seen.clear()
    (mark,) = one_in_three.pytestmark  # type: ignore[attr-defined]
    assert mark.args == ("part", in_turn(range(3), 3))
    assert list(inspect.signature(one_in_three).parameters) == ["seen", "part"]


def test_a_share_of_random_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_ONE_IN", raising=False)
    assert some(60) == 60
    monkeypatch.setenv("CHAINRULE_ONE_IN", "7")
    assert (some(70), some(71), some(1)) == (10, 11, 1)


def test_an_empty_table_fails_and_all_skipped_is_skipped() -> None:
    with pytest.raises(AssertionError, match="no cases"):
        for_each("x", [])(lambda x: None)()
    with pytest.raises(pytest.skip.Exception):
        for_each("x", [1])(lambda x: pytest.skip("not here"))()
