"""Facts about arrays."""

import numpy as np
import pytest

from chainrule.core.arrays import is_finite


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_finite_is_what_numpy_says_of_all_elements(dtype: type) -> None:
    largest, least = np.finfo(dtype).max, np.finfo(dtype).tiny
    arrays = [np.full((3, 4), x, dtype) for x in (0.0, 1.0, largest, -largest, least, np.nan, np.inf, -np.inf)] + [
        np.zeros((), dtype),
        np.zeros((0, 3), dtype),
        np.full((), np.nan, dtype),
    ]
    for where in ((0, 0), (2, 3)):
        for x in (np.nan, np.inf, -np.inf, largest):
            array = np.ones((3, 4), dtype)
            array[where] = x
            arrays += [array, array.T, array[::-1, ::2], array[:, 1:]]
    with np.errstate(all="ignore"):
        found = [is_finite(a) for a in arrays]
    assert found == [bool(np.isfinite(a).all()) for a in arrays]
    assert set(found) == {True, False}
