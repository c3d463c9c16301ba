"""Training runs in folders: data in, a model file, a history and a record out. What the command line does."""

from .folders import CHECKPOINT, check_same, claimed
from .networks import NETWORKS, network
from .preparing import Prepared, arrays, prepare, prepare_text
from .settings import LOSSES, Settings
from .text import sample
from .trained import Trained
from .training import Result, train
from .versions import blas, check_engine, versions

__all__ = [
    "CHECKPOINT",
    "LOSSES",
    "NETWORKS",
    "Prepared",
    "Result",
    "Settings",
    "Trained",
    "arrays",
    "blas",
    "check_engine",
    "check_same",
    "claimed",
    "network",
    "prepare",
    "prepare_text",
    "sample",
    "train",
    "versions",
]
