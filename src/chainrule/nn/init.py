"""Initial weights: callables ``init(rng, shape, dtype, fan_in, fan_out)``, and the keys their random numbers come from.

Every draw is made in float64 and rounded, so that a float32 and a float64 network begin with the same weights.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, cast

import numpy as np

from ..core.arguments import ArgumentError, integer, number
from ..core.habits import missing
from ..core.op import Array, Shape

Initializer: TypeAlias = Callable[[np.random.Generator, Shape, Any, int, int], Array]


@dataclass(frozen=True)
class VarianceScaling:
    """Draw with a variance of `scale` / fan, so that signals neither grow nor fade from layer to layer.

    Attributes
    ----------
    name
        How it is called in configurations.
    scale
        1 for linear units and tanh, 2 for units that are zero half of the time (ReLU).
    fan
        ``"in"``: the number of inputs of a unit; ``"average"``: of inputs and outputs.
    distribution
        ``"uniform"`` on ±sqrt(3 · scale / fan), or ``"normal"`` with standard deviation sqrt(scale / fan).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import init
    >>> W = init.glorot_normal(np.random.default_rng(0), (400, 600), np.float64, 400, 600)
    >>> round(W.var() * 500, 1)
    np.float64(1.0)
    """

    name: str
    scale: float
    fan: str
    distribution: str

    def __call__(self, rng: np.random.Generator, shape: Shape, dtype: Any, fan_in: int, fan_out: int) -> Array:
        """Return an array of `shape` and `dtype`."""
        fan = fan_in if self.fan == "in" else (fan_in + fan_out) / 2
        variance = self.scale / max(fan, 1)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return rng.uniform(-limit, limit, shape).astype(dtype)
        return rng.normal(0.0, math.sqrt(variance), shape).astype(dtype)


@dataclass(frozen=True)
class Constant:
    """Fill with one number.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import init
    >>> init.Constant(0.5)(np.random.default_rng(0), (2,), np.float64, 2, 2)
    array([0.5, 0.5])
    """

    value: float

    def __post_init__(self) -> None:
        _finite(self)

    def __call__(self, rng: np.random.Generator, shape: Shape, dtype: Any, fan_in: int, fan_out: int) -> Array:
        """Return an array of `shape` and `dtype`."""
        return np.full(shape, self.value, dtype)


@dataclass(frozen=True)
class Uniform:
    """Draw uniformly from [low, high).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import init
    >>> init.Uniform(2.0, 2.0)(np.random.default_rng(0), (2,), np.float64, 2, 2)
    array([2., 2.])
    """

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        _finite(self)
        if not self.low <= self.high:
            raise ValueError(f"uniform: low is {self.low}, high is {self.high}; low must not exceed high")

    def __call__(self, rng: np.random.Generator, shape: Shape, dtype: Any, fan_in: int, fan_out: int) -> Array:
        """Return an array of `shape` and `dtype`."""
        return rng.uniform(self.low, self.high, shape).astype(dtype)


@dataclass(frozen=True)
class Normal:
    """Draw from a normal distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import init
    >>> init.Normal(1.0, 0.0)(np.random.default_rng(0), (2,), np.float64, 2, 2)
    array([1., 1.])
    """

    mean: float = 0.0
    std: float = 0.05

    def __post_init__(self) -> None:
        _finite(self)
        if self.std < 0:
            raise ValueError(f"normal: std is {self.std}; a standard deviation is at least 0")

    def __call__(self, rng: np.random.Generator, shape: Shape, dtype: Any, fan_in: int, fan_out: int) -> Array:
        """Return an array of `shape` and `dtype`."""
        return rng.normal(self.mean, self.std, shape).astype(dtype)


def _finite(initializer: Any) -> None:
    for field in fields(initializer):
        number(f"{type(initializer).__name__.lower()}: {field.name}", getattr(initializer, field.name))


#: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
glorot_uniform: VarianceScaling = VarianceScaling("glorot_uniform", 1.0, "average", "uniform")
glorot_normal: VarianceScaling = VarianceScaling("glorot_normal", 1.0, "average", "normal")
#: He et al., "Delving deep into rectifiers", 2015.
he_uniform: VarianceScaling = VarianceScaling("he_uniform", 2.0, "in", "uniform")
he_normal: VarianceScaling = VarianceScaling("he_normal", 2.0, "in", "normal")
#: LeCun et al., "Efficient BackProp", 1998.
lecun_uniform: VarianceScaling = VarianceScaling("lecun_uniform", 1.0, "in", "uniform")
lecun_normal: VarianceScaling = VarianceScaling("lecun_normal", 1.0, "in", "normal")
constant: type[Constant] = Constant
uniform: type[Uniform] = Uniform
normal: type[Normal] = Normal
zeros: Constant = Constant(0.0)
ones: Constant = Constant(1.0)

_NAMED: dict[str, Any] = {
    "zeros": zeros,
    "ones": ones,
    **{i.name: i for i in (glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal)},
}
_FAMILIES: dict[str, Any] = {"constant": Constant, "uniform": Uniform, "normal": Normal}


def get(spec: Any) -> Initializer:
    """Return the initialiser that `spec` means.

    Parameters
    ----------
    spec
        A name (``"he_uniform"``), what `config` returned (``{"name": "uniform", "low": -1, "high": 1}``), or a callable
        ``(rng, shape, dtype, fan_in, fan_out) -> array``.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import init
    >>> he = init.get("he_normal")
    >>> he(np.random.default_rng(0), (3, 2), np.float32, 3, 2).shape
    (3, 2)
    >>> init.get({"name": "uniform", "low": -1, "high": 1})
    Uniform(low=-1, high=1)
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if isinstance(spec, Mapping):
        arguments = dict(spec)
        name = arguments.pop("name", None)
        if name in _NAMED and not arguments:
            return _NAMED[name]  # type: ignore[no-any-return]
        if name in _FAMILIES:
            try:
                return _FAMILIES[name](**arguments)  # type: ignore[no-any-return]
            except ArgumentError:  # a TypeError, too
                raise
            except TypeError:
                takes = ", ".join(f.name for f in fields(_FAMILIES[name]))
                raise ValueError(
                    f"initialiser {name!r} takes {takes}; found {', '.join(arguments) or 'nothing'}"
                ) from None
        raise ValueError(f"no initialiser {name!r}; there are {', '.join([*_NAMED, *_FAMILIES])}")
    if callable(spec):
        return cast(Initializer, spec)
    raise TypeError(f"an initialiser is a name or a callable, not {type(spec).__name__}")


def config(initializer: Any) -> Any:
    """Return a name or a dict that `get` understands; raise for a custom initialiser.

    Examples
    --------
    >>> from chainrule.nn import init
    >>> init.config(init.he_uniform), init.config(init.Normal(0.0, 0.1))
    ('he_uniform', {'name': 'normal', 'mean': 0.0, 'std': 0.1})
    """
    for name, known in _NAMED.items():
        if initializer == known:
            return name
    for name, family in _FAMILIES.items():
        if type(initializer) is family:
            return {"name": name, **{f.name: float(getattr(initializer, f.name)) for f in fields(initializer)}}
    raise TypeError(f"{initializer!r} is a custom initialiser, which a file cannot hold. Use one by name.")


def generator(seed: int, path: str) -> np.random.Generator:
    """Return the random numbers that belong to `seed` and a parameter's dotted path, the same on every machine.

    Examples
    --------
    >>> from chainrule.nn import init
    >>> float(init.generator(0, "0.weight").uniform()) == float(init.generator(0, "0.weight").uniform())
    True
    """
    return np.random.Generator(np.random.Philox(key=key_of(seed, path)))


def key_of(seed: int, path: str) -> int:
    """Return 128 bits made of `seed` and `path`."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{path}".encode(), digest_size=16).digest(), "little")


def checked_seed(seed: Any) -> int:
    """Return `seed` as an int ≥ 0."""
    return integer("seed", seed, at_least=0)


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, sys.modules[__name__])
