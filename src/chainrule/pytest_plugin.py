"""A fixture for pytest; ``pytest_plugins = ["chainrule.pytest_plugin"]`` in ``conftest.py`` turns it on."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def assert_backward_right() -> Any:
    """`chainrule.assert_backward_right`: fails the test with the report of the audit."""
    from .audit import assert_backward_right

    return assert_backward_right
