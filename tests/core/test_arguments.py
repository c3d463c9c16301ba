"""Arguments are returned in their plain types, or refused by name with what is expected and what was found."""

import math
import re
from typing import Any

import numpy as np
import pytest

from chainrule.core.arguments import boolean, choice, integer, number

INTEGERS = [3, np.int32(3), np.array(3)]
NO_INTEGERS = [3.0, True, np.True_, "3", None, math.nan]
NUMBERS = [0.5, np.float32(0.5), np.float64(0.5)]
NO_NUMBERS = [True, np.False_, "0.5", None, math.nan, math.inf, -math.inf, 1j]


@pytest.mark.parametrize("value", INTEGERS)
def test_integers_become_int(value: Any) -> None:
    assert type(integer("n", value, at_least=1)) is int and integer("n", value, at_most=3) == 3


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_become_float(value: Any) -> None:
    assert type(number("x", value, above=0)) is float and number("x", value) == 0.5
    assert number("x", 2) == 2.0 and type(number("x", np.int64(2))) is float


@pytest.mark.parametrize("value", NO_INTEGERS)
def test_what_is_not_an_integer_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=f"^n: expected an integer, got {re.escape(repr(value))}$"):
        integer("n", value)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_not_a_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=f"^x: expected a finite number, got {re.escape(repr(value))}$"):
        number("x", value)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "said"),
    [
        ({"at_least": 1}, [1, 1.5], [0.99, -1], "≥ 1"),
        ({"above": 0}, [1e-300, 7], [0, -0.0, -1], "> 0"),
        ({"at_most": 2}, [2, -5], [2.01], "≤ 2"),
        ({"below": 1}, [0.99], [1, 2], "< 1"),
        ({"above": 0, "below": 1}, [0.5], [0, 1], "> 0 and < 1"),
        ({"at_least": 0, "at_most": 1}, [0, 1], [-0.1, 1.1], "≥ 0 and ≤ 1"),
    ],
)
def test_bounds(bounds: dict[str, float], inside: list[float], outside: list[float], said: str) -> None:
    assert [number("x", value, **bounds) for value in inside] == inside
    for value in outside:
        with pytest.raises(ValueError, match=f"^x: expected a number {said} or None, got {re.escape(repr(value))}$"):
            number("x", value, **bounds, alternative=" or None")


def test_integers_have_bounds() -> None:
    assert integer("n", 2, at_least=2, at_most=2) == 2
    for value in (1, 3):
        with pytest.raises(ValueError, match=f"^n: expected an integer ≥ 2 and ≤ 2, got {value}$"):
            integer("n", value, at_least=2, at_most=2)


def test_booleans_and_choices() -> None:
    assert boolean("b", np.True_) is True and boolean("b", False) is False
    with pytest.raises(ValueError, match=r"^b: expected True or False, got 1$"):
        boolean("b", 1)
    assert choice("c", "b", {"a": 1, "b": 2}) == "b"
    with pytest.raises(ValueError, match=r"^c: expected 'a', 'b' or 'c', got 'd'$"):
        choice("c", "d", "abc")
    with pytest.raises(ValueError, match=r"^c: expected 'a' or a function, got array"):
        choice("c", np.ones(2), ["a"], alternative=" or a function")


def test_long_values_are_named_by_their_type() -> None:
    with pytest.raises(ValueError, match=r"^n: expected an integer, got an object of type list$"):
        integer("n", list(range(100)))
