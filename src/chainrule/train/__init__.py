"""Training: fit, evaluate, predict; callbacks, history, checkpoints."""

from .callbacks import Callback, EarlyStopping, Run
from .checkpoint import Checkpoint
from .evaluation import evaluate, predict
from .fitting import fit
from .history import History
from .loggers import LogTo, MLflowLogger, TensorBoardLogger
from .metrics import METRICS
from .nonfinite import NonFiniteError
from .step import TrainingStep

__all__ = [
    "METRICS",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "LogTo",
    "MLflowLogger",
    "NonFiniteError",
    "Run",
    "TensorBoardLogger",
    "TrainingStep",
    "evaluate",
    "fit",
    "predict",
]
