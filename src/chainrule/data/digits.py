"""The 1,797 handwritten digits that come with the package."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from .dataset import Dataset


def load_digits() -> Dataset:
    """The 8×8 handwritten digits of 13 writers, embedded in the package.

    Each pixel counts the inked pixels of a 4×4 block of a 32×32 bitmap: 0 to 16.

    Returns
    -------
    Dataset
        `X` float32 ``(1797, 64)``, the counts; `y` int64, the digit; `image_shape` ``(8, 8)``.

    Notes
    -----
    The test split of "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998, UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49, licensed CC BY 4.0, in the order and form in which
    scikit-learn distributes it. ``digits.txt`` beside this file says the same.

    Examples
    --------
    >>> from chainrule import data
    >>> digits = data.load_digits()
    >>> digits
    <Dataset digits: 1,797 rows of 64 features (8×8 images), target digit (multiclass)>
    >>> digits.X.shape, digits.y[:5]
    ((1797, 64), array([0, 1, 2, 3, 4]))
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        X, y = archive["X"], archive["y"]
    digits = Dataset.from_arrays(
        X.astype(np.float32), y, image_shape=(8, 8), target_name="digit", task="multiclass", source="digits"
    )
    return replace(digits, task_reason="multiclass: the ten digits")
