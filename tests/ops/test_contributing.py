"""The operation that CONTRIBUTING.md adds passes every check of the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.core import op as table
from chainrule.core.node import FUNCTIONS
from chainrule.core.op import Operation
from chainrule.ops.table import elementwise
from tests.ops import test_table as checks
from tests.ops.checking import points
from tests.test_docs import blocks, run

GUIDE = Path(__file__).resolve().parent.parent.parent / "CONTRIBUTING.md"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operation]:
    """Run the guide, with its oracle among the table tests'; yield its row, and take it back."""
    before = {op.name for op in ops.rows()}
    kept = [(changed, dict(changed)) for changed in (table._ROWS, FUNCTIONS)]
    found = [b for b in blocks(GUIDE.read_text(encoding="utf-8"), GUIDE.name) if b.language == "python"]
    run(found, tmp_path)
    namespace: dict[str, Any] = {}
    exec("import numpy as np\n" + found[-1].text, namespace)
    for name, oracle in namespace["ORACLES"].items():
        monkeypatch.setitem(checks.ORACLES, name, oracle)
    (op,) = [op for op in ops.rows() if op.name not in before]
    yield op
    for changed, old in kept:
        changed.clear()
        changed.update(old)


def test_it_passes_the_checks_of_the_table(added: Operation) -> None:
    assert added.name in checks.ORACLES
    for example in points(added):
        checks.test_value(added, example)
        checks.test_jacobian(added, example)
        checks.test_recorded_pass_gives_the_same(added, example)
        checks.check_second_order(added, example)
        checks.test_float32_is_close_to_float64(added, example)
        checks.test_inputs_in_any_memory_layout(added, example)
        for dtype in (np.float32, np.float64):
            checks.test_shape_and_dtype(added, example, dtype)
            checks.test_out_is_filled(added, example, dtype)
        checks.test_numpy_source(added, example)
        checks.test_definition(added, example)
    checks.test_formula(added)
    checks.test_linearity(added)
    checks.test_flops_are_counted(added)


def test_its_derivation_is_evaluated_and_its_source_defines_it(added: Operation) -> None:
    """NumPy has no log_cosh: the source contains it, needs NumPy alone and agrees with the library."""
    log_cosh, x = elementwise(added, floating=True), np.array([-800.0, -0.5, 0.5, 800.0])
    derivation = cr.explain(lambda x: np.sum(log_cosh(x)), x)
    assert max(derivation.errors().values()) < 1e-12 and not derivation.failed
    assert "log cosh(x)" in str(derivation) and r"\log \cosh\left(x\right)" in derivation.to_latex()
    source = derivation.to_numpy()
    assert "np.log_cosh" not in source and "def log_cosh(x):" in source
    generated: dict[str, Any] = {}
    exec(source, generated)
    gradients = generated["backward"](generated["forward"](x), 1.0)
    np.testing.assert_allclose(gradients["dx"], np.tanh(x), rtol=1e-12)


def test_it_is_taken_back() -> None:
    assert "log_cosh" not in {op.name for op in ops.rows()}
