"""Tests of tables: one test for all cases, where a test for each would take longer to report than to run."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

SHOWN = 5  # tracebacks; the message names all cases that failed


def slow(*values: Any) -> ParameterSet:
    """Return a case of ``pytest.mark.parametrize`` that is a slow test."""
    return pytest.param(*values, marks=pytest.mark.slow)


def some(count: int) -> int:
    """Return how many random cases of `count` a slow test tries: all, or one in CHAINRULE_ONE_IN (environment)."""
    return -(-count // int(os.environ.get("CHAINRULE_ONE_IN", "1")))


def in_turn(cases: Iterable[Any], every: int = 3) -> list[Any]:
    """Return cases of ``pytest.mark.parametrize`` of which one in `every` runs in all runs; the others are slow tests.

    A case of several values is a tuple.
    """
    of_some = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case) if k % every == 0 else slow(*case) for k, case in enumerate(of_some)]


def for_each(
    names: str | tuple[str, ...], cases: Iterable[Any], ids: Any = None, *, every: int = 1
) -> Callable[[Any], Any]:
    """Run a test for each case, as ``pytest.mark.parametrize``, but as one test, whose failure names the cases.

    One case in `every` runs in all runs of the tests, the others in the slow ones.
    """
    keys = (names,) if isinstance(names, str) else tuple(names)
    table = list(cases)

    def name(position: int, case: Any) -> str:
        if isinstance(case, ParameterSet) and case.id is not None:
            return str(case.id)
        if callable(ids):
            return str(ids(case))
        return str(list(ids)[position]) if ids is not None else repr(case)

    def values(case: Any) -> dict[str, Any]:
        if isinstance(case, ParameterSet):
            assert not case.marks, "a case with marks needs a test of its own"
            return dict(zip(keys, case.values, strict=True))
        return dict(zip(keys, (case,) if len(keys) == 1 else case, strict=True))

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*case: Any, **others: Any) -> None:
            part = others.pop("part", 0) if every > 1 else 0  # else it is a table's that this one is put around
            if case:  # called by another test, with a case of its own
                return test(*case, **others)
            failed, skipped = {}, None
            for position, case in list(enumerate(table))[part::every]:
                try:
                    test(**values(case), **others)
                except pytest.skip.Exception as skip:
                    skipped = skip
                except (Exception, pytest.fail.Exception) as error:
                    failed[name(position, case)] = error
            if failed:
                shown = list(failed.values())[:SHOWN]
                raise BaseExceptionGroup(f"{len(failed)} of {len(table)} cases failed: {', '.join(failed)}", shown)
            if skipped is not None:
                raise skipped
            assert table, "no cases"
            return None

        signature = inspect.signature(test)
        others = [p for p in signature.parameters.values() if p.name not in keys]
        if every > 1:
            others.append(inspect.Parameter("part", inspect.Parameter.KEYWORD_ONLY))
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return pytest.mark.parametrize("part", in_turn(range(every), every))(run) if every > 1 else run

    return decorate
