"""Data: reading, splitting, preprocessing and mini-batches.

``read`` gives a `Dataset` of raw rows, ``dataset.split`` its training and test split; a `Preprocessor` fitted
on the training split turns either into a network's input.
"""

from .dataset import Dataset
from .digits import load_digits
from .files import read, read_features
from .idx import read_idx, read_idx_folder
from .images import read_image_folder, read_images
from .npz import read_npz
from .preprocess import Preprocessor
from .splits import batches, epoch_order, split
from .tables import read_table
from .task import Target, Task, infer_task

__all__ = [
    "Dataset",
    "Preprocessor",
    "Target",
    "Task",
    "batches",
    "epoch_order",
    "infer_task",
    "load_digits",
    "read",
    "read_features",
    "read_idx",
    "read_idx_folder",
    "read_image_folder",
    "read_images",
    "read_npz",
    "read_table",
    "split",
]
