"""The networks of the layers' benchmark, their data and optimisers; each side builds the networks of its library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What the networks are; the modules of the sides have a function of each name.
NETWORKS = {
    "lenet": "LeNet on 28×28 images: 6 and 16 channels of 5×5, three affine layers; SGD",
    "cnn": "32 and 64 channels of 3×3 with batch norm, two affine layers, on 28×28 images; SGD",
    "lstm": "an LSTM 32→64 over 50 steps and an affine layer on the last; Adam",
    "gru": "a GRU 32→64 over 50 steps and an affine layer on the last; Adam",
    "gpt": "two causal transformer layers of 64 features and 4 heads over 64 characters of 65; Adam",
    "makemore": "an embedding of 27 characters, 8 of them side by side, and an MLP 80-200-27; SGD",
}
BATCHES = (8, 32, 128)
BATCHES_PER_EPOCH = 4
SGD_RATE, ADAM_RATE = 0.01, 0.001
CLASSES = {"gpt": 65, "makemore": 27}  # else 10
SEQUENCE, INPUTS, HIDDEN = 50, 32, 64  # of the recurrent networks
CONTEXT, FEATURES, HEADS, WIDE = 64, 64, 4, 256  # of the transformer


@dataclass(frozen=True)
class Training:
    """A network, trained with batches of one size."""

    network: str
    batch: int

    @property
    def name(self) -> str:
        return f"{self.network}/b{self.batch}"

    @property
    def adam(self) -> bool:
        return self.network in ("lstm", "gru", "gpt")

    @property
    def classes(self) -> int:
        return CLASSES.get(self.network, 10)

    def data(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Batches of inputs and of classes, one after the other along the first axis; random, but always the same."""
        rng = np.random.default_rng(0)
        examples = BATCHES_PER_EPOCH * self.batch
        if self.network in ("lenet", "cnn"):
            x: NDArray[Any] = rng.standard_normal((examples, 1, 28, 28), dtype=np.float32)
        elif self.network in ("lstm", "gru"):
            x = rng.standard_normal((examples, SEQUENCE, INPUTS), dtype=np.float32)
        else:
            x = rng.integers(0, self.classes, (examples, CONTEXT if self.network == "gpt" else 8))
        return x, rng.integers(0, self.classes, (examples, CONTEXT) if self.network == "gpt" else examples)


def trainings(names: list[str] | None = None) -> list[Training]:
    """All of them, or those of the names given: "lenet", or "lenet/b16" of any batch size.

    Raises a ValueError for other names.
    """
    chosen = []
    for name in names or list(NETWORKS):
        network, slash, batch = name.partition("/b")
        if network not in NETWORKS or (slash and not (batch.isdecimal() and int(batch) > 0)):
            raise ValueError(f"--workload: expected one of {', '.join(NETWORKS)}, as gpt or gpt/b16, got {name!r}")
        chosen += [Training(network, size) for size in ((int(batch),) if slash else BATCHES)]
    return chosen
