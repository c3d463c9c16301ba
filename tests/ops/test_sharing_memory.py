"""Which results share memory with an argument: as with NumPy's functions, for all that work on tensors."""

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from tests.ops.test_numpy_api import CASES, Case, named, parts

each = pytest.mark.parametrize("c", [pytest.param(c, id=f"{named(c)}-{i}") for i, c in enumerate(CASES)])


def value(x: Any) -> Any:
    return np.asarray(x.value if isinstance(x, Tensor) else x)


def after_write(results: list[Any], arrays: list[Any], into: int, k: int) -> list[Any] | None:
    """Add 1 to an argument (`into` is 0) or a result, and return what all arguments and results are then."""
    target = (arrays, results)[into][k]
    if value(target).dtype.kind != "f" or not (isinstance(target, Tensor) or isinstance(target, np.ndarray)):
        return None
    try:
        target += 1.0
    except ValueError as error:
        assert "read-only" in str(error)
        return None
    return [value(x).copy() for x in (*results, *arrays)]


@pytest.mark.slow
@each
@pytest.mark.filterwarnings("ignore")
def test_writes_reach_what_they_reach_in_numpy(c: Case) -> None:
    with np.errstate(all="ignore"):
        count = len(parts(c.call(*[np.array(x) for x in c.inputs])))
        for into, k in [(0, i) for i in range(len(c.inputs))] + [(1, i) for i in range(count)]:
            states = []
            for kind in (np.array, cr.tensor):
                arrays = [kind(x) for x in c.inputs]
                states.append(after_write(parts(c.call(*arrays)), arrays, into, k))
            expected, found = states
            assert (expected is None) == (found is None) or c.key is np.broadcast_arrays or not found[k].shape
            for a, b in zip(found or (), expected or (), strict=False):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
