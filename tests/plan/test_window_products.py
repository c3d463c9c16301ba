"""Sliding windows times filters, however they are written: convolutions in the plan, with the same values."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import chainrule as cr
from chainrule import engine
from tests.tables import for_each

X = np.random.default_rng(0).normal(size=(2, 3, 7, 8))
W = np.random.default_rng(1).normal(size=(4, 3, 2, 3))


def seen(x: Any) -> Any:
    return sliding_window_view(x, (2, 3), (2, 3))


def rows(x: Any) -> Any:
    """The matrix of patches, one per row."""
    return seen(x).transpose(0, 2, 3, 1, 4, 5).reshape(x.shape[0] * 36, -1)


WRITTEN: dict[str, Any] = {
    "einsum": lambda x, w: np.einsum("nchwij,fcij->nfhw", seen(x), w),
    "einsum, channels last": lambda x, w: np.einsum("nchwij,fcij->nhwf", seen(x), w),
    "tensordot": lambda x, w: np.tensordot(seen(x), w, ((1, 4, 5), (1, 2, 3))),
    "tensordot, filters first": lambda x, w: np.tensordot(w, seen(x), ((1, 2, 3), (1, 4, 5))),
    "rows": lambda x, w: rows(x) @ w.reshape(4, -1).T,
    "a stack of rows": lambda x, w: rows(x).reshape(2, 36, -1) @ w.reshape(4, -1).T,
    "columns": lambda x, w: w.reshape(4, -1) @ seen(x).transpose(1, 4, 5, 0, 2, 3).reshape(18, -1),
    "a stack of columns": lambda x, w: w.reshape(4, -1) @ seen(x).transpose(0, 1, 4, 5, 2, 3).reshape(2, 18, 36),
    "every second window": lambda x, w: np.einsum("nchwij,fcij->nfhw", seen(x)[:, :, ::2, ::3], w),
    "all windows, by numbers": lambda x, w: np.einsum("nchwij,fcij->nfhw", seen(x)[:2, :3, 0:6, 0:9], w),
    "one image": lambda x, w: np.einsum("hwij,ij->hw", seen(x)[0, 0], w[0, 0]),
    "some images": lambda x, w: np.einsum("nchwij,fcij->nfhw", seen(x)[1:, ::2], w[:, 1:]),
    "one filter": lambda x, w: np.einsum("nchwij,cij->nhw", seen(x), w[0]),
    "depthwise sums": lambda x, w: np.einsum("nchwij,fij->nchwf", seen(x), w[:, 0]),
    "padded": lambda x, w: np.einsum("nchwij,fcij->nfhw", seen(np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 0)))), w),
}


def weighted(f: Any) -> Any:
    return lambda x, w: np.sum(np.sin(f(x, w)) * np.cos(np.arange(f(x, w).size)).reshape(f(x, w).shape))


def names(compiled: Any, *args: Any) -> set[str]:
    return {s.op.name for s in compiled.plan(*args).operations}


@for_each("way", WRITTEN)
def test_they_become_convolutions(way: str) -> None:
    f = WRITTEN[way]
    expected, slopes = f(X, W), cr.grad(weighted(f), (0, 1))(X, W)
    for name in engine.available():
        run, gradient = (cr.compile(g, engine=name) for g in (f, cr.grad(weighted(f), (0, 1))))
        np.testing.assert_allclose(run(X, W), expected, 1e-11, 1e-12)
        for found, slope in zip(gradient(X, W), slopes, strict=True):
            np.testing.assert_allclose(found, slope, 1e-10, 1e-11)
        assert "conv" in names(run, X, W) and "matmul" not in names(run, X, W)
        assert {"conv", "conv_input", "conv_weight"} <= names(gradient, X, W)
        assert not {"matmul", "overlap_add"} & names(gradient, X, W)


@for_each("seed", range(30))
def test_any_order_of_axes(seed: int) -> None:
    """Random subscripts, lengths (also 0 and 1), axes of windows and strides, against the same in NumPy."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))  # axes of windows; of three there is no convolution
    others = "abcd"[: rng.integers(0, 4)]
    letters = list(others + "xyz"[:n])
    rng.shuffle(letters)
    shape = [
        int(rng.integers(3, 6)) if k in "xyz" else int(rng.choice([0, 1, 2, 3], p=[0.03, 0.2, 0.37, 0.4]))
        for k in letters
    ]
    axes = [letters.index(k) for k in "xyz"[:n]]
    size = [int(rng.integers(1, 4)) for _ in axes]
    step = tuple(slice(None, None, int(rng.integers(1, 3)) if k in "xyz" else None) for k in letters)
    summed = [k for k in others if rng.random() < 0.5]
    of_w = [*summed, *"ijk"[:n], *"f"[: rng.integers(0, 2)]]
    rng.shuffle(of_w)
    out = [k for k in [*letters, "f"] if (k in letters and k not in summed) or (k == "f" and k in of_w)]
    rng.shuffle(out)
    subscripts = f"{''.join(letters)}{'ijk'[:n]},{''.join(of_w)}->{''.join(out)}"
    lengths = (
        dict(zip(letters, shape, strict=True)) | dict(zip("ijk", size, strict=False)) | {"f": int(rng.integers(1, 4))}
    )
    x, w = rng.normal(size=shape), rng.normal(size=[lengths[k] for k in of_w])

    def f(x: Any, w: Any) -> Any:
        return np.einsum(subscripts, sliding_window_view(x, size, axes)[step], w)

    def loss(x: Any, w: Any) -> Any:
        return np.sum(np.sin(f(x, w)))

    expected = [f(x, w), *cr.grad(loss, (0, 1))(x, w)]
    for name in engine.available():
        found = cr.compile(lambda x, w: (f(x, w), *cr.grad(loss, (0, 1))(x, w)), engine=name)
        for a, b in zip(found(x, w), expected, strict=True):
            np.testing.assert_allclose(a, b, 1e-10, 1e-11, err_msg=subscripts)


@for_each("mode", ["full", "same", "valid"])
def test_convolutions_of_vectors(mode: str) -> None:
    for n, m in ((5, 3), (3, 5), (4, 4), (1, 3), (9, 2)):
        for function in (np.convolve, np.correlate):
            a, v = X[0, 0, :2].ravel()[:n], X[1, 1, :2].ravel()[:m]
            basis = [[function(e, v, mode) for e in np.eye(n)], [function(a, e, mode) for e in np.eye(m)]]

            def loss(a: Any, v: Any, function: Any = function) -> Any:
                return np.sum(function(a, v, mode) ** 2)

            value, slopes = cr.compile(cr.value_and_grad(loss, (0, 1)))(a, v)
            expected = function(a, v, mode)
            np.testing.assert_allclose(value, np.sum(expected**2))
            for slope, rows_ in zip(slopes, basis, strict=True):
                np.testing.assert_allclose(slope, np.array(rows_) @ (2 * expected), 1e-11, 1e-12)


def test_other_products_stay_what_they_are() -> None:
    for f in (
        lambda x, w: np.einsum("nchwij,fcij->nf", seen(x), w),  # over the places, too
        lambda x, w: np.einsum("nchwij,fc->nfhwij", seen(x), w[:, :, 0, 0]),  # over channels alone
        lambda x, w: np.einsum("nchwij,fchw->nfij", seen(x)[:, :, :2, :3], w),  # some of the places
        lambda x, w: rows(x) @ rows(x).T * w[0, 0, 0, 0],
    ):
        np.testing.assert_allclose(cr.compile(f)(X, W), f(X, W), 1e-11, 1e-12)
        for found, expected in zip(
            cr.compile(cr.grad(weighted(f), (0, 1)))(X, W), cr.grad(weighted(f), (0, 1))(X, W), strict=True
        ):
            np.testing.assert_allclose(found, expected, 1e-9, 1e-10)


def test_no_matrix_of_patches_is_stored() -> None:
    x, w = np.zeros((8, 16, 32, 32), np.float32), np.zeros((16, 16, 3, 3), np.float32)

    def loss(x: Any, w: Any) -> Any:
        return np.sum(np.einsum("nchwij,fcij->nfhw", sliding_window_view(x, (3, 3), (2, 3)), w) ** 2)

    plan = cr.compile(cr.grad(loss, (0, 1)), engine="native").plan(x, w)
    assert plan.arena < 9 * x.nbytes / 2 and not plan.through_numpy
