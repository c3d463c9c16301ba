"""The native matrix multiply: values for all layouts and sizes, the epilogue's promise, the same for any threads."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.core import EPILOGUE, FLOATS, Blocked, Selected, Team, aligned, gemm, instruction_sets, library

pytestmark = pytest.mark.slow  # building the library takes a minute; tests/engine runs it as it was installed

LAYOUTS = ("rows", "columns", "spread", "wide")
sizes = st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 3, 8, 14, 15, 16, 17, 31, 32, 33, 64, 65, 100, 130]))
depths = st.one_of(sizes, st.sampled_from([0, 799, 800, 801, 1601, 2048, 5000]))


@pytest.fixture(params=instruction_sets())
def isa(request):
    with Selected(request.param):
        yield request.param


def matrix(rng, rows, columns, layout, dtype):
    """Return random values with a layout: adjacent rows, adjacent columns, neither, or rows far apart."""
    if layout == "columns":
        x = aligned((columns, rows), dtype).T
    elif layout == "spread":
        x = aligned((rows, 2, columns, 3), dtype)[:, 1, :, 1]
    elif layout == "wide":
        x = aligned((rows, columns + 5), dtype, offset=1)[:, :columns]
    else:
        x = aligned((rows, columns), dtype)
    x[...] = rng.standard_normal((rows, columns))
    return x


def check(m, n, k, left, right, dtype, add, threads=1, seed=0, wanted=None):
    rng = np.random.default_rng(seed)
    a, b = matrix(rng, m, k, left, dtype), matrix(rng, k, n, right, dtype)
    whole = np.full((m, n + 3), np.nan, dtype)
    c = whole[:, :n]
    c[...] = rng.standard_normal((m, n))
    start = c.astype(np.float64)
    if threads > 1:
        with Team(threads) as team:
            gemm(a, b, c, add=add, team=team)
    else:
        gemm(a, b, c, add=add)
    if wanted is not None:
        assert np.array_equal(c, wanted)
        return c
    wide = np.longdouble if dtype == np.float64 else np.float64
    expected = a.astype(wide) @ b.astype(wide) + (start if add else 0)
    bound = (np.abs(a).astype(wide) @ np.abs(b).astype(wide) + np.abs(start)) * np.finfo(dtype).eps * (2 + k**0.5)
    assert np.all(np.abs(c - expected) <= bound)
    assert np.isnan(whole[:, n:]).all()
    return c.copy()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layouts", list(itertools.product(LAYOUTS, LAYOUTS)), ids="-".join)
@settings(max_examples=15, deadline=None)
@given(m=sizes, n=sizes, k=depths, add=st.booleans())
def test_values(layouts, dtype, m, n, k, add):
    check(m, n, k, *layouts, dtype, add)


@pytest.mark.parametrize("dtype", FLOATS)
def test_each_instruction_set(isa, dtype):
    for m, n, k in itertools.product((1, 5, 13, 16, 29), (1, 3, 7, 12, 16, 33, 128), (1, 4, 17, 40)):
        for left, right in itertools.product(LAYOUTS[:2], LAYOUTS[:2]):
            check(m, n, k, left, right, dtype, add=(m + n + k) % 2 == 0)
    check(60, 200, 1700, "rows", "columns", dtype, add=True)
    check(16, 4, 5000, "columns", "rows", dtype, add=False)
    for columns in (30, 50, 70):
        check(150, columns, 1100, "columns", "rows", dtype, add=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_that_collide_in_the_cache(dtype):
    for left, right in itertools.product(LAYOUTS[:2], LAYOUTS[:2]):
        check(1024, 130, 70, left, right, dtype, add=False)
        check(70, 130, 1024, left, right, dtype, add=False)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("left", LAYOUTS[:2])
@pytest.mark.parametrize("right", LAYOUTS[:2])
def test_bitwise_the_same_for_any_number_of_threads(left, right, dtype):
    for m, n, k in ((128, 784, 128), (300, 10, 64), (784, 128, 128), (4, 32, 9000), (64, 300, 1700), (400, 1, 300)):
        one = check(m, n, k, left, right, dtype, add=True)
        for threads in (2, 3, 5):
            check(m, n, k, left, right, dtype, add=True, threads=threads, wanted=one)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layouts", ["rows-rows", "rows-columns", "columns-rows", "spread-spread"])
def test_bitwise_the_same_however_it_is_blocked(layouts, dtype):
    """Sizes of all kinds: many blocks, some of them together, tiles with a rest, a transposed C, a sum in parts."""
    left, right = layouts.split("-")
    sizes = ((70, 130, 150), (96, 512, 300), (300, 10, 700), (10, 300, 700), (33, 17, 2), (30, 40, 2100), (300, 64, 90))
    for m, n, k in (*sizes, (150, 50, 1100)):
        for add in (False, True):
            one = check(m, n, k, left, right, dtype, add=add)
            for blocking in ((1, 1, 1), (1200, 8192, 1), (1200, 32000, 1), (1200, 1 << 20, 10**6), (1 << 20, 1, 10**6)):
                with Blocked(*blocking):
                    check(m, n, k, left, right, dtype, add=add, threads=1 + add, wanted=one)


@pytest.mark.parametrize("shape", [(128, 784, 128), (7, 5, 3), (300, 1, 40), (1, 300, 40), (500, 4, 40), (4, 32, 9000)])
@pytest.mark.parametrize("right", LAYOUTS[:2])
@pytest.mark.parametrize("left", LAYOUTS[:2])
def test_epilogue_sees_each_final_element_once(shape, left, right):
    m, n, k = shape
    rng = np.random.default_rng(1)
    a, b = matrix(rng, m, k, left, np.float32), matrix(rng, k, n, right, np.float32)
    blocks = []
    for threads in (1, 2, 4):
        seen = np.zeros((m, n), np.int64)
        c = np.zeros((m, n), np.float32)
        final = np.zeros((m, n), np.float32)
        lock = threading.Lock()
        called = []

        def epilogue(row, rows, column, columns, c=c, final=final, seen=seen, called=called, lock=lock):
            part = np.s_[row : row + rows, column : column + columns]
            with lock:
                seen[part] += 1
                called.append((row, rows, column, columns))
            final[part] = c[part]
            c[part] = -1

        with Team(threads) as team:
            gemm(a, b, c, epilogue=epilogue, team=team)
        assert np.all(seen == 1) and np.all(c == -1)
        plain = np.zeros((m, n), np.float32)
        gemm(a, b, plain)
        assert np.array_equal(plain, final)
        blocks.append(sorted(called))
    assert blocks[0] == blocks[1] == blocks[2]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 5, 7, 4), (20, 33, 12, 9), (2, 200, 3, 40), (5, 1, 8, 16), (0, 2, 2, 2)])
def test_batches(shape, threads):
    count, m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((count, m, k)), rng.standard_normal((count, k, n))
    c = np.full((count, m, n), np.nan)
    seen = np.zeros((count * m, n), np.int64)

    def epilogue(_, row, rows, column, columns):
        seen[row : row + rows, column : column + columns] += 1

    end = EPILOGUE(epilogue)
    with Team(threads) as team:
        for step, right in ((k * n, b), (0, b[:1])):
            seen[...] = 0
            library().core_batch_f64(
                count, m, n, k, a.ctypes.data, right.ctypes.data, step, c.ctypes.data, end, team.pointer
            )
            assert np.all(seen == 1)
            np.testing.assert_allclose(c, a @ right, rtol=1e-13, atol=1e-13)


def test_nothing_to_add_up():
    c = np.full((3, 4), 2.0)
    gemm(np.empty((3, 0)), np.empty((0, 4)), c, add=True)
    assert np.all(c == 2)
    gemm(np.empty((3, 0)), np.empty((0, 4)), c)
    assert np.all(c == 0)
    gemm(np.empty((0, 3)), np.empty((3, 4)), np.empty((0, 4)))


def test_hand_computed():
    c = np.zeros((2, 2), np.float32)
    gemm(np.array([[1, 2], [3, 4]], np.float32), np.array([[5, 6], [7, 8]], np.float32), c)
    assert c.tolist() == [[19, 22], [43, 50]]


def test_special_values_reach_the_result():
    a = np.array([[np.inf, 1.0], [np.nan, 0.0]])
    b = np.array([[1.0, 0.0, -1.0], [2.0, 3.0, 4.0]])
    c = np.empty((2, 3))
    gemm(a, b, c)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(c, a @ b, equal_nan=True)


def test_unknown_instruction_set_is_refused():
    before = library().core_name()
    assert not library().core_select(b"abacus")
    assert library().core_name() == before
