"""The random row against Philox4x64-10 written out from the published algorithm."""

import numpy as np
import pytest

from chainrule.core.tensor import Tensor
from chainrule.ops.random import uniform

M0, M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
W0, W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
WORD = 2**64 - 1


def philox4x64_10(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011, section 3.3 and table 2."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & WORD, (p0 >> 64) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
    return c0, c1, c2, c3


def words(seed: int, stream: int, counter: int, count: int) -> list[int]:
    blocks = (philox4x64_10((k, counter, 0, 0), (seed, stream)) for k in range(1, -(-count // 4) + 1))
    return [word for block in blocks for word in block][:count]


def test_known_answers() -> None:
    """The published test vectors (Random123, kat_vectors)."""
    zero = philox4x64_10((0, 0, 0, 0), (0, 0))
    assert zero == (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)
    ones = philox4x64_10((WORD,) * 4, (WORD,) * 2)
    assert ones == (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)


KEYS = [(0, 0, 0), (1, 2, 3), (2**64 - 1, 2**63, 2**62), (123456789, 7, 10**6)]


@pytest.mark.parametrize(("seed", "stream", "counter"), KEYS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 0)])
def test_float64(seed: int, stream: int, counter: int, shape: tuple[int, ...]) -> None:
    found = uniform(counter, seed=seed, stream=stream, shape=shape, dtype=np.float64)
    size = int(np.prod(shape))
    expected = [(w >> 11) * 2.0**-53 for w in words(seed, stream, counter, size)]
    assert found.dtype == np.float64 and found.shape == shape
    assert found.reshape(-1).tolist() == expected


@pytest.mark.parametrize(("seed", "stream", "counter"), KEYS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 0)])
def test_float32(seed: int, stream: int, counter: int, shape: tuple[int, ...]) -> None:
    found = uniform(counter, seed=seed, stream=stream, shape=shape)
    size = int(np.prod(shape))
    halves = [h for w in words(seed, stream, counter, (size + 1) // 2) for h in (w & 0xFFFFFFFF, w >> 32)][:size]
    assert found.dtype == np.float32 and found.shape == shape
    assert found.reshape(-1).tolist() == [(h >> 8) * 2.0**-24 for h in halves]


def test_draws_differ_and_repeat() -> None:
    draw = {"seed": 5, "stream": 1, "shape": (1000,), "dtype": np.float64}
    a, b = uniform(0, **draw), uniform(0, **draw)
    np.testing.assert_array_equal(a, b)
    for other in (uniform(1, **draw), uniform(0, **draw | {"stream": 2}), uniform(0, **draw | {"seed": 6})):
        assert abs(np.corrcoef(a, other)[0, 1]) < 0.1
        assert not (a == other).any()
    assert 0 <= a.min() < 0.01 and 0.99 < a.max() < 1 and abs(a.mean() - 0.5) < 0.03


def test_counter_may_be_a_tensor() -> None:
    draw = {"seed": 5, "stream": 1, "shape": (3,)}
    found = uniform(Tensor(np.array(4)), **draw)
    assert isinstance(found, Tensor)
    np.testing.assert_array_equal(found.value, uniform(4, **draw))


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"counter.*shape \(2,\)"):
        uniform(np.array([1, 2]), seed=1)
    with pytest.raises(TypeError, match=r"counter.*float64"):
        uniform(1.5, seed=1)
    with pytest.raises(ValueError, match=r"seed: .* got -1"):
        uniform(1, seed=-1)
    with pytest.raises(ValueError, match=r"stream: .* got 18446744073709551616"):
        uniform(1, seed=1, stream=2**64)
    with pytest.raises(TypeError, match=r"dtype.*int64"):
        uniform(1, seed=1, dtype=int)
