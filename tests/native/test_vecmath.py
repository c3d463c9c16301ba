"""The elementwise functions, reductions and random numbers of the native core against NumPy and wider arithmetic."""

import math
import os
import subprocess

import numpy as np
import pytest

from tests.native.core import (
    FLOATS,
    TYPES,
    Selected,
    aligned,
    binary,
    find,
    folder,
    instruction_sets,
    kernel,
    library,
    unary,
)

LENGTHS = (0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 100, 257)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-45, -3e-40, 1e-310, 88.8, -104.0, 3.4e38, np.inf, -np.inf, np.nan]
EXACT = ("negative", "absolute", "sign", "square", "sqrt", "floor", "ceil", "rint", "trunc")
VECTORISED = ("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "tanh", "sigmoid", "softplus", "erf")
BY_LIBRARY = (
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "cbrt",
)
ULPS = {"float": 4.0, "double": 2.0}


@pytest.fixture(params=instruction_sets())
def isa(request):
    with Selected(request.param):
        yield request.param


def samples(n, dtype, seed=0):
    """Return n values, special ones among them."""
    rng = np.random.default_rng(seed)
    x = aligned((n,), dtype, offset=1)
    with np.errstate(over="ignore", under="ignore"):
        x[...] = rng.standard_normal(n) * 3
        x[: len(SPECIAL)] = rng.permutation(np.array(SPECIAL).astype(dtype))[:n]
    return x


def same(a, b):
    """Whether two arrays agree to the bit; any NaN is any NaN."""
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a[a == a]), np.signbit(b[b == b]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_exact_functions_equal_numpys(isa, dtype):
    for n in LENGTHS:
        x = samples(n, dtype, n)
        with np.errstate(all="ignore"):
            for name in EXACT:
                assert same(unary(name, x), getattr(np, name)(x)), name
            assert same(unary("reciprocal", x), 1 / x)
            assert same(unary("relu", x) + dtype(0), np.maximum(x, dtype(0)) + dtype(0))
            assert same(unary("identity", x), x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_functions_of_two_arguments(isa, dtype):
    for n in LENGTHS:
        x, y = samples(n, dtype, n), samples(n, dtype, n + 1)
        for a, b in ((x, y), (x, y[:1]), (x[:1], y)) if n else ((x, y),):
            with np.errstate(all="ignore"):
                for name in ("add", "subtract", "multiply", "divide"):
                    assert same(binary("binary", name, a, b), getattr(np, name)(a, b)), name
                for name in ("maximum", "minimum"):  # which zero it is, NumPy leaves open too
                    assert np.array_equal(binary("binary", name, a, b), getattr(np, name)(a, b), equal_nan=True), name
                for name in ("power", "arctan2", "hypot", "logaddexp"):
                    wide = [np.asarray(v, np.float64 if dtype == np.float32 else np.longdouble) for v in (a, b)]
                    wanted = getattr(np, name)(*wide).astype(dtype)
                    found = binary("binary", name, a, b)
                    assert np.array_equal(np.isfinite(found), np.isfinite(wanted)), name
                    normal = np.isfinite(wanted)
                    assert np.array_equal(found[~normal], wanted[~normal], equal_nan=True), name
                    assert np.all(abs(found - wanted)[normal] <= 4 * np.spacing(abs(wanted[normal]))), name
                for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
                    assert np.array_equal(binary("compare", name, a, b), getattr(np, name)(a, b)), name


@pytest.mark.parametrize("dtype", FLOATS)
def test_questions_and_choices(isa, dtype):
    for n in LENGTHS:
        x, y = samples(n, dtype, n), samples(n, dtype, n + 1)
        for name in ("isnan", "isinf", "isfinite", "signbit"):
            out = np.empty(n, np.bool_)
            kernel("test", dtype)(find("test", name), n, x.ctypes.data, out.ctypes.data)
            assert np.array_equal(out, getattr(np, name)(x)), name
        c = x > y
        for steps in np.ndindex(2, 2, 2):
            out = np.empty(n, dtype)
            operands = [v for array, step in zip((c, x, y), steps, strict=True) for v in (array.ctypes.data, step)]
            kernel("where", dtype)(n, *operands, out.ctypes.data)
            if n:
                taken = [v if step else v[:1] for v, step in zip((c, x, y), steps, strict=True)]
                assert same(out, np.broadcast_to(np.where(*taken), (n,)))
        out = np.empty(n, dtype)
        x, y = np.nan_to_num(x, posinf=1, neginf=1), np.nan_to_num(y, posinf=1, neginf=1)
        kernel("multiply_add", dtype)(n, x.ctypes.data, -0.5, y.ctypes.data, out.ctypes.data)
        tolerance = {"rtol": 4 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).smallest_subnormal}
        np.testing.assert_allclose(out, y - dtype(0.5) * x, **tolerance)


def test_logic(isa):
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        a, b = rng.random(n) > 0.5, rng.random(n) > 0.5
        for name in ("logical_and", "logical_or", "logical_xor"):
            assert np.array_equal(binary("logic", name, a, b), getattr(np, name)(a, b))
        out = np.empty(n, np.bool_)
        library().core_logical_not(n, a.ctypes.data, out.ctypes.data)
        assert np.array_equal(out, ~a)


def test_casts(isa):
    for n in LENGTHS:
        for i, source in enumerate(TYPES):
            x = samples(n, np.float64, n)
            with np.errstate(all="ignore"):
                x = (x if source in FLOATS else np.nan_to_num(x, posinf=9, neginf=-9) % 1000).astype(source)
                for j, target in enumerate(TYPES):
                    out = np.empty(n, target)
                    library().core_cast(i, j, n, x.ctypes.data, out.ctypes.data)
                    kept = np.abs(x) < 2**63 if source in FLOATS and target == np.int64 else np.full(n, True)
                    assert np.array_equal(out[kept], x.astype(target)[kept], equal_nan=target in FLOATS)
                    assert np.all(out[~kept] == np.iinfo(np.int64).min)


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_element_does_not_depend_on_its_place(isa, dtype):
    x = samples(300, dtype)
    for name in VECTORISED:
        whole = unary(name, x)
        for start, end in ((1, 300), (5, 22), (299, 300), (17, 80)):
            assert same(unary(name, x[start:end].copy()), whole[start:end]), name


def test_hand_computed():
    x = np.array([0.0, 1.0, -1.0, 2.0])
    np.testing.assert_allclose(unary("exp", x), [1, math.e, 1 / math.e, math.e**2], rtol=1e-15)
    np.testing.assert_allclose(unary("sigmoid", x)[:2], [0.5, 0.7310585786300049], rtol=1e-15)
    np.testing.assert_allclose(unary("softplus", x)[:2], [math.log(2), 1.3132616875182228], rtol=1e-15)
    np.testing.assert_allclose(unary("erf", x), [math.erf(v) for v in x], rtol=1e-15)
    np.testing.assert_allclose(unary("log2", np.array([8.0, 0.5])), [3, -1], rtol=0)
    assert find("unary", "abacus") == -1


def worst(isa_name, dtype, function, *arguments):
    """Return the largest error in ulp of each function, measured by the program `accuracy`."""
    command = [str(folder() / "accuracy"), dtype, function, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "CHAINRULE_ISA": isa_name}
    )
    return {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("dtype", "arguments"), [("float", (7, 1009)), ("double", (1, 300_000))])
def test_accuracy(isa, dtype, arguments):
    errors = worst(isa, dtype, "all", *arguments)
    assert set(VECTORISED + BY_LIBRARY) <= set(errors)
    assert {name: e for name, e in errors.items() if not e <= ULPS[dtype]} == {}


@pytest.mark.slow
@pytest.mark.parametrize("function", VECTORISED + BY_LIBRARY)
def test_accuracy_of_all_floats(function):
    assert worst(library().core_name().decode(), "float", function, 0, 1)[function] <= ULPS["float"]


@pytest.mark.slow
@pytest.mark.parametrize("function", VECTORISED + BY_LIBRARY)
def test_accuracy_of_many_doubles(function):
    assert worst(library().core_name().decode(), "double", function, 11, 10_000_000)[function] <= ULPS["double"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_reductions(isa, dtype):
    rng = np.random.default_rng(3)
    for n in (*LENGTHS, 1000, 1025, 5000, 100_003):
        x = aligned((n,), dtype, offset=1)
        x[...] = rng.standard_normal(n)
        total = kernel("sum", dtype)(n, x.ctypes.data)
        bound = np.finfo(dtype).eps * float(np.abs(x).sum()) * 4
        assert abs(total - math.fsum(x.astype(float))) <= bound
        if n:
            assert kernel("maximum", dtype)(n, x.ctypes.data) == x.max()
            assert kernel("minimum", dtype)(n, x.ctypes.data) == x.min()
            for place in {0, n // 2, n - 1}:
                y = x.copy()
                y[place] = np.nan
                assert np.isnan(kernel("maximum", dtype)(n, y.ctypes.data))
                assert np.isnan(kernel("minimum", dtype)(n, y.ctypes.data))


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_of_rows_and_columns(isa, dtype):
    rng = np.random.default_rng(4)
    for rows, columns in ((1, 1), (3, 10), (32, 64), (128, 10), (300, 37), (1000, 200), (0, 5), (5, 0)):
        whole = rng.standard_normal((rows, columns + 3)).astype(dtype)
        x = whole[:, :columns]
        out = np.full(rows, np.nan, dtype)
        kernel("sum_rows", dtype)(rows, columns, x.ctypes.data, columns + 3, out.ctypes.data)
        scale = np.abs(x).astype(float)
        assert np.all(abs(out - x.sum(1, dtype=float)) <= 4 * np.finfo(dtype).eps * scale.sum(1))
        for add in (0, 1):
            out = np.ones(columns, dtype)
            kernel("sum_columns", dtype)(rows, columns, x.ctypes.data, columns + 3, add, out.ctypes.data)
            wanted = x.sum(0, dtype=float) + add
            assert np.all(abs(out - wanted) <= 16 * np.finfo(dtype).eps * (scale.sum(0) + add))


@pytest.mark.parametrize("key", [(0, 0, 0), (7, 1, 3), (2**64 - 1, 2**63, 2**64 - 1)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_numbers_are_numpys_philox(isa, dtype, key):
    seed, stream, counter = key
    generator = np.random.Philox(
        key=np.array([seed, stream], np.uint64), counter=np.array([0, counter, 0, 0], np.uint64)
    )
    words = generator.random_raw(400)
    if dtype == np.float64:
        wanted = (words >> np.uint64(11)) * 2.0**-53
    else:
        wanted = ((words.astype("<u8").view("<u4") >> 8) * 2.0**-24).astype(np.float32)
    for first, n in ((0, 400), (0, 1), (3, 0), (1, 2), (5, 390), (16, 32), (399, 1)):
        out = np.empty(n, dtype)
        kernel("uniform", dtype)(seed, stream, counter, first, n, out.ctypes.data)
        assert np.array_equal(out, wanted[first : first + n])
