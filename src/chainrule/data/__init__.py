"""Data: reading, splitting, preprocessing and mini-batches.

``read`` gives a `Dataset` of raw rows, ``dataset.split`` its training and test split; a `Preprocessor` fitted
on the training split turns either into a network's input.
"""

from typing import Any

from .arrow import ArrowRows
from .dataset import Dataset
from .digits import load_digits
from .files import is_table, read, read_features
from .idx import read_idx, read_idx_folder
from .image_rows import ImageRows
from .images import read_image_folder, read_images
from .npz import read_npz
from .preprocess import Preprocessor
from .splits import batches, epoch_order, folds, split
from .stored import ArrayRows, StoredRows
from .suspects import suspect_columns
from .tables import read_parts, read_table
from .task import Target, Task, infer_task
from .text import Characters, Text, count_losses, read_text


def preprocessing(stored: Any) -> Preprocessor | Characters:
    """Return what a model file stores of the preprocessing: of rows and images, or of characters.

    Raises
    ------
    ValueError
        For anything that their ``to_dict`` does not write.

    Examples
    --------
    >>> from chainrule import data
    >>> letters = data.Characters.fit(data.Text("abcabca"), context=3)
    >>> data.preprocessing(letters.to_dict()) == letters
    True
    """
    text = isinstance(stored, dict) and stored.get("kind") == Characters.kind
    return Characters.from_dict(stored) if text else Preprocessor.from_dict(stored)


__all__ = [
    "ArrayRows",
    "ArrowRows",
    "Characters",
    "Dataset",
    "ImageRows",
    "Preprocessor",
    "StoredRows",
    "Target",
    "Task",
    "Text",
    "batches",
    "count_losses",
    "epoch_order",
    "folds",
    "infer_task",
    "is_table",
    "load_digits",
    "preprocessing",
    "read",
    "read_features",
    "read_idx",
    "read_idx_folder",
    "read_image_folder",
    "read_images",
    "read_npz",
    "read_parts",
    "read_table",
    "read_text",
    "split",
    "suspect_columns",
]
