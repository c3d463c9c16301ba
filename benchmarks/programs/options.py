"""Common parts of the compared programs: the network, the optimiser step, and the options."""

from __future__ import annotations

import argparse
from pathlib import Path

HIDDEN = (256, 128)
BATCH = 128
LEARNING_RATE = 1e-3
EPOCHS = 10


def program_options(description: str | None) -> argparse.Namespace:
    """The options of one program: folder, epochs, seed, threads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the four IDX files of an MNIST-like data set")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()
