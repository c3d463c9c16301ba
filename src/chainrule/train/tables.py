"""Networks for tables, and how they are trained: the settings of RealMLP-TD, in this library's terms.

Source: Holzmüller et al., "Better by default", 2024. The article's linear layers compute X W / sqrt(inputs) + b with
weights of variance 1. Here they are `Linear` with weights of variance 1 / inputs. Adam moves each weight by about the
learning rate whatever the size of its gradient, so a learning rate divided by sqrt(inputs), and a weight decay
multiplied by it, make the same steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn, optim
from ..core.op import Array
from ..nn import losses
from ..optim import Optimizer, Schedule
from .callbacks import EarlyStopping

#: Rows, at most, that set the initial weights.
LOOKED_AT = 1024
#: Rows of a batch for tables of up to so many rows, and for larger ones.
BATCHES, LARGEST_BATCH = ((1_024, 64), (8_192, 128), (30_000, 256), (100_000, 512)), 1_024
#: Epochs at most and at least, and the number of examples that all of them show; large tables need fewer epochs.
EPOCHS, FEWEST_EPOCHS, EXAMPLES = 256, 4, 20_000_000
#: Rows, at most, of the validation split; tables of fewer rows than the second number have none.
HELD_OUT, FEW_ROWS = 50_000, 64
#: Learning rate, and the weight decay, relative to those of the optimiser, of parameters other than matrices.
FACTORS = {nn.TableEmbedding: (0.1, 0.1), nn.Scale: (6.0, 6.0), nn.MixedActivation: (0.1, 0.1)}
BIAS, TABLE = (0.1, 0.0), (1.0, 1.0)
#: Values of a bias are combinations of so many inputs of its unit.
COMBINED = 5


def layers(embedding: nn.TableEmbedding, hidden: Sequence[int], *, activation: str, dropout: float) -> list[nn.Module]:
    """Return the layers of a network for a table, before the last one."""
    width = embedding.out_features
    made: list[nn.Module] = [embedding, nn.Scale(width)]
    for units in hidden:
        made += [nn.Linear(width, units), nn.MixedActivation(activation, units)]
        made += [nn.FadingDropout(dropout, 1) for _ in range(bool(dropout))]
        width = units
    return made


@dataclass(frozen=True)
class Defaults:
    """What a network for a table is trained with unless told otherwise."""

    activation: str
    lr: float
    hidden: tuple[int, ...] = (256, 256, 256)
    dropout: float = 0.15
    weight_decay: float = 0.02


#: Share of each target that is spread over all classes.
SMOOTHING = 0.1
#: By how much the loss has to fall: where a column tells the target it goes on falling, to 1e-20 and further.
LEAST_GAIN = 1e-6
#: By whether the target is a number.
DEFAULTS = {False: Defaults("selu", 0.04), True: Defaults("mish", 0.2)}


def held_out(rows: int) -> float:
    """Return the default share of the validation split: a fifth, of large tables less, of small ones nothing."""
    return 0.0 if rows < FEW_ROWS else min(0.2, HELD_OUT / rows)


def batch_size(rows: int) -> int:
    """Return the rows of a batch: they grow with the table, and the last batch of an epoch is hardly smaller."""
    size = next((size for most, size in BATCHES if rows <= most), LARGEST_BATCH)
    return -(-rows // max(round(rows / size), 1))


def epochs(rows: int) -> int:
    """Return the default number of epochs."""
    return min(max(round(EXAMPLES / rows), FEWEST_EPOCHS), EPOCHS)


def patience(metric: str, epochs: int) -> EarlyStopping:
    """Return what stops a run when the next cycle of the learning rate has ended without an improvement.

    Each cycle ends at twice the epochs of the one before, and a bit more.
    """
    return EarlyStopping(max(epochs // 4, 1), metric, maximize=False, growth=1.0, min_delta=LEAST_GAIN)


def begin(
    model: nn.Sequential, X: Array, *, steps: int, seed: int = 0, limits: tuple[float, float] | None = None
) -> nn.Sequential:
    """Set the weights by the data, and when dropout fades; return the model.

    Over some rows, the input of each unit gets a deviation of 1, and its bias is minus a value that it takes there, or
    rather a combination of a few of them. Predictions stay within the limits, if there are any.
    """
    if limits is not None:
        model.append(nn.OutputRange(*limits))
    model.initialize(seed)
    rng = np.random.default_rng([seed, 1])
    rows = np.sort(rng.permutation(len(X))[:LOOKED_AT])
    x = X[rows]
    for layer in model:
        if isinstance(layer, nn.FadingDropout):
            layer.steps = steps
        elif isinstance(layer, nn.Linear):
            x = _set(layer, x, rng)
        elif not isinstance(layer, nn.OutputRange):
            x = layer(x).detach().numpy()
    return model


def _set(layer: nn.Linear, x: Array, rng: np.random.Generator) -> Array:
    """Set the weights; return the outputs, from float64: BLAS's products of float32 depend on its number of threads."""
    weight = rng.normal(size=layer.weight.shape)
    z = x.astype(np.float64) @ weight
    spread = z.std(axis=0)
    spread = np.where(spread > 0, spread, math.sqrt(layer.in_features))
    layer.weight.assign((weight / spread).astype(layer.weight.dtype))
    shares = rng.exponential(size=(COMBINED, layer.out_features))
    picked = (z / spread)[rng.integers(len(z), size=shares.shape), np.arange(layer.out_features)]
    bias: Array = -(picked * shares / shares.sum(axis=0)).sum(axis=0)
    assert layer.bias is not None
    layer.bias.assign(bias.astype(layer.bias.dtype))
    return np.asarray(z / spread + bias)


def smoothed(loss: str, share: float) -> Any:
    """Return a cross-entropy of which a share of each target is spread over all classes; other losses as they are."""
    if share and loss == "cross_entropy":
        return functools.partial(losses.cross_entropy, label_smoothing=share)
    return functools.partial(_of_two, share=share) if share and loss == "binary_cross_entropy" else loss


def _of_two(output: Any, target: Any, *, share: float, reduction: str = "mean") -> Any:
    return losses.binary_cross_entropy(output, target * (1 - share) + share / 2, reduction=reduction)


def optimizer(model: nn.Sequential, rate: Schedule, weight_decay: float, steps: int) -> Optimizer:
    """Return the optimiser of a network for a table, for a run of so many steps."""
    found: dict[tuple[float, float], list[str]] = {}
    for i, layer in enumerate(model):
        for name, _ in layer.named_parameters():
            found.setdefault(_factors(layer, name), []).append(f"{i}.{name}")
    groups = []
    for (factor, decay), paths in found.items():
        settings: dict[str, Any] = {"params": paths, "lr_factor": factor}
        groups.append(settings | {"weight_decay": _decay(weight_decay * decay, steps)})
    return optim.AdamW(rate, beta2=0.95, weight_decay=_decay(weight_decay, steps), groups=groups)


def _decay(most: float, steps: int) -> Any:
    return optim.FlatCosine(most, steps) if most else 0.0


def _factors(layer: Any, name: str) -> tuple[float, float]:
    """Return the factors of the learning rate and of the weight decay of a parameter."""
    if isinstance(layer, nn.Linear):
        root = math.sqrt(layer.in_features)
        return BIAS if name == "bias" else (1 / root, root)
    if isinstance(layer, nn.TableEmbedding) and name == "table":
        return TABLE
    return FACTORS[type(layer)]
