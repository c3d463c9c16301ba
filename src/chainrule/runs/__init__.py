"""Training runs in folders: data in, a model file, a history and a record out. What the command line does."""

from .cross_validation import CrossValidation, cross_validate
from .exporting import export_with_preprocessing, has_raw_columns, with_probabilities
from .folders import CHECKPOINT, check_same, claimed, folder_name
from .importance import COLUMNS as IMPORTANCE_COLUMNS
from .importance import importance, partial_dependence
from .networks import NETWORKS, network
from .on_disk import prepare_on_disk, stays_on_disk, to_measure
from .preparing import Prepared, arrays, prepare, prepare_text
from .settings import LOSSES, SETTINGS, Settings
from .text import sample
from .trained import Trained
from .training import Result, train
from .tuning import BEST, PAGE, TRIALS, Search, tune
from .versions import blas, check_engine, versions

__all__ = [
    "BEST",
    "CHECKPOINT",
    "IMPORTANCE_COLUMNS",
    "LOSSES",
    "NETWORKS",
    "PAGE",
    "SETTINGS",
    "TRIALS",
    "CrossValidation",
    "Prepared",
    "Result",
    "Search",
    "Settings",
    "Trained",
    "arrays",
    "blas",
    "check_engine",
    "check_same",
    "claimed",
    "cross_validate",
    "export_with_preprocessing",
    "folder_name",
    "has_raw_columns",
    "importance",
    "network",
    "partial_dependence",
    "prepare",
    "prepare_on_disk",
    "prepare_text",
    "sample",
    "stays_on_disk",
    "to_measure",
    "train",
    "tune",
    "versions",
    "with_probabilities",
]
