"""Fourier transforms and complex numbers between real inputs and outputs: values, gradients, both engines, PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.complex_pair import COMPLEX, Complex
from chainrule.ops.fourier import TRANSFORMS
from tests.ops.checking import close, derivative
from tests.tables import in_turn

rng = np.random.default_rng(11)
X, Y, M = rng.normal(size=6), rng.normal(size=6), rng.normal(size=(3, 4))
WEIGHTS = rng.normal(size=64)


def real(z: Any) -> Any:
    """Return one number of a complex or real result that depends on all of its parts."""
    parts = [np.reshape(np.real(z), -1)] + ([np.reshape(np.imag(z), -1)] if np.iscomplexobj(z) else [])
    flat = np.concatenate(parts)
    return np.sum(WEIGHTS[: flat.shape[0]] * flat) + np.sum(flat**2)


Case = tuple[Callable[..., Any], tuple[Any, ...]]
TRANSFORMED: list[Case] = [
    *((lambda x, f=f, kw=kw: f(x, **kw), (M,)) for f in (np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft)
      for kw in ({}, {"n": 3}, {"n": 7}, {"axis": 0}, {"norm": "ortho"}, {"norm": "forward", "n": 5, "axis": 0})),
    *((lambda x, f=f: f(np.fft.fft(x)), (M,)) for f in (np.fft.fft, np.fft.ifft, np.fft.irfft)),
    *((lambda x, f=f, kw=kw: f(x, **kw), (rng.normal(size=(2, 3, 4)),))
      for f in (np.fft.fft2, np.fft.ifft2, np.fft.rfft2, np.fft.irfft2, np.fft.fftn, np.fft.ifftn, np.fft.rfftn,
                np.fft.irfftn)
      for kw in ({}, {"s": (2, 5), "axes": (0, 2)}, {"norm": "ortho"})),
    *((lambda x, f=f: f(x), (M,)) for f in (np.fft.fftshift, np.fft.ifftshift)),
    *((lambda x, f=f: f(np.fft.fft(x), axes=1), (M,)) for f in (np.fft.fftshift, np.fft.ifftshift)),
    (lambda x, y: np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(y), 6), (X, Y)),
    (lambda x, y: np.fft.irfft(np.fft.rfft(x) * np.conj(np.fft.rfft(y)), 6), (X, Y)),
    (lambda x: np.abs(np.fft.rfft(x * np.hanning(6))) ** 2, (X,)),
    (lambda x: np.real(np.fft.ifft(np.fft.fft(x) * np.exp(-0.3 * np.fft.fftfreq(6) ** 2))), (X,)),
    (lambda x: np.real(np.fft.ifft(2j * np.pi * np.fft.fftfreq(6) * np.fft.fft(x))), (X,)),
]  # fmt: skip
ARITHMETIC: list[Case] = [
    (lambda x, y: (x + 1j * y) * (y - 2j * x) + (1 + 2j), (X, Y)),
    (lambda x, y: (x + 1j * y) / (y + 3j) - 1j / (x + 2j) + x / (y + 3j), (X, Y)),
    (lambda x, y: np.exp(1j * x) * y, (X, Y)),
    (lambda x, y: np.abs(np.exp(1j * x) + y), (X, Y)),
    (lambda x, y: np.angle(x + 1j * y) + np.angle(x - 1j * y, deg=True), (X, Y)),
    (lambda x, y: np.log(x + 1j * y) + np.sqrt(y + 1j * x) + (x + 1j * y) ** 3 + (x + 1j * y) ** 0.5, (X, Y)),
    (lambda x, y: np.square(x + 1j * y) - np.reciprocal(x + 3j) + np.positive(-(x + 1j * y)), (X, Y)),
    (lambda x, y: np.sum(np.conj(x + 1j * y)[1:4].reshape(3, 1) * (x + 2j), axis=0), (X, Y)),
    (lambda x, y: np.outer(x + 1j * y, x - 1j * y) @ (y + 1j * x), (X, Y)),
    (lambda x, y: np.concatenate([x + 1j * y, y]) * np.roll(np.stack([x, 1j * y]).reshape(-1), 2), (X, Y)),
    (lambda x, y: np.where(np.arange(6) > 2, x + 1j * y, 1j * x), (X, Y)),
    (lambda x, y: abs((x + 1j * y).T) + (1j * x).sum().imag + len(1j * x) + np.ndim(1j * x), (X, Y)),
    (lambda x, y: np.array([1j, 2.0, 3 + 1j, 1, 1, 1]) * x + np.complex128(2j) * y, (X, Y)),
]


@pytest.mark.parametrize(("f", "inputs"), in_turn(TRANSFORMED + ARITHMETIC, every=4))
def test_value_and_gradient(f: Any, inputs: Any) -> None:
    expected = f(*inputs)
    found = f(*[cr.tensor(x) for x in inputs])
    if isinstance(found, Complex):
        assert np.iscomplexobj(expected) and found.dtype == expected.dtype and found.shape == expected.shape
        close(found.real.value, expected.real, 1e-13)
        close(found.imag.value, expected.imag, 1e-13)
    else:
        close(found.value, expected, 1e-13)
    every = tuple(range(len(inputs)))
    ours = cr.value_and_grad(lambda *x: real(f(*x)), argnums=every)
    for run in (ours, cr.compile(ours, engine="numpy"), cr.compile(ours, engine="native")):
        value, gradients = run(*inputs)
        close(value, real(expected), 1e-12)
        for k in every:
            slope = derivative(lambda x, k=k: real(f(*inputs[:k], x, *inputs[k + 1 :])), inputs[k])
            close(gradients[k].reshape(1, -1), slope, 1e-6)


def test_every_transform_is_in_the_table_above() -> None:
    called = " ".join(
        name for f, _ in TRANSFORMED for name in (f.__code__.co_names, map(str, f.__defaults__ or ())) for name in name
    )
    assert all(f.__name__ in called for f in TRANSFORMS)


def test_gradients_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(v, requires_grad=True) for v in (X, Y))
    w = torch.tensor(WEIGHTS[:6])
    torch.sum(w * torch.abs(torch.fft.fft(x + 1j * y) * torch.exp(1j * x)) ** 3).backward()
    ours = cr.grad(
        lambda x, y: np.sum(WEIGHTS[:6] * np.abs(np.fft.fft(x + 1j * y) * np.exp(1j * x)) ** 3), argnums=(0, 1)
    )
    for g, v in zip(ours(X, Y), (x, y), strict=True):
        close(g, v.grad, 1e-12)


def test_second_derivative_of_the_power_spectrum() -> None:
    """The sum of |FFT(x)|² is n |x|² (Parseval): its Hessian is 2 n I."""
    close(cr.hessian(lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2))(X), 12 * np.eye(6), 1e-12)


def test_float32_stays() -> None:
    z = np.fft.rfft(cr.tensor(X.astype(np.float32)))
    assert z.dtype == np.complex64 and np.fft.irfft(z).dtype == np.float32


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda x: np.fft.rfft(1j * x), "np.fft.rfft takes real numbers; use np.fft.fft"),
        (lambda x: np.sinh(1j * x), "np.sinh is not available for complex tensors; there are np.absolute, np.add"),
        (lambda x: np.sort(1j * x), "np.sort is not available for complex tensors"),
        (lambda x: np.maximum(x, 1j), "np.maximum is not available for complex tensors"),
        (lambda x: np.asarray(1j * x), "cannot be converted to a plain array"),
        (lambda x: np.fft.hfft(x), "fft.hfft has no rule"),
        (lambda x: np.fft.fft(x, norm="x"), "norm"),
        (lambda x: np.fft.fft(x, n=0), "n is 0"),
        (lambda x: 1 if 1j * x else 2, "truth value"),
    ],
)
def test_messages(f: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        f(cr.tensor(X))
    assert np.exp in COMPLEX
