"""Folders of images that stay on disk and are decoded when a batch needs them."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..core.arguments import integer
from .dataset import Dataset
from .images import GREY, Size, decoded, files_of_classes, head, one_size
from .preprocess import Preprocessor
from .splits import epoch_order
from .stored import BLOCK_BYTES, SAMPLE_BYTES, Part, StoredRows, part_rows

#: Images that are decoded at a time, at most; of large ones fewer.
PIECE = 64
#: Images to which the preprocessing is fitted, at most; of large ones fewer.
SAMPLE = 2000


class ImageRows(StoredRows):
    """The images of a folder with a folder for each class, decoded while the network trains on earlier ones.

    Parameters
    ----------
    folder : path
        ``folder/CLASS/image.png``.
    size : (int, int), optional
        Height and width to which images are resized; without it all must have one size.
    channels : {1, 3}, optional
        Grey or colours; without it 3 if any image has colours.
    transform : Preprocessor, optional
        Prepares pixels and classes, such as `fit` returns. Without one, pixels are divided by 255, ``(rows, channels,
        height, width)``, and classes are numbered in the order of their names.
    block_bytes : int
        As for `StoredRows`.

    Attributes
    ----------
    names : list of str
        The files, in the order of the rows: each piece has images of all classes.
    classes : list of str

    Raises
    ------
    ValueError
        For fewer than two classes, images of several sizes, and files that cannot be read.
    ImportError
        Without Pillow (the extra ``images``).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, grey in (("dark", 0), ("light", 255)):
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (4, 2), grey).save(Path(folder, name, "a.png"))
    ...     images = data.ImageRows(folder)
    ...     X, y = next(iter(images))
    >>> images.classes, X.shape, X.mean(axis=(1, 2, 3)).tolist(), y.tolist()
    (['dark', 'light'], (2, 1, 2, 4), [0.0, 1.0], [0, 1])
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        size: Size | None = None,
        channels: int | None = None,
        transform: Preprocessor | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        super().__init__(block_bytes=block_bytes)
        self._folder, self._transform = Path(folder), transform
        files, labels, _ = files_of_classes(self._folder)
        heads = [head(file) for file in files]
        self._size = size or one_size(Counter(found for found, _ in heads), files, heads, self._folder)
        self._channels = channels or (1 if all(mode in GREY for _, mode in heads) else 3)
        self.classes = sorted(set(labels))
        self._pixels: tuple[str, ...] | None = None
        self._numbers = math.prod(self._size) * self._channels
        self._pieces = -(-len(files) // min(PIECE, part_rows(4 * self._numbers)))
        # every so-manieth file, since neighbours are of one class
        order = [k for piece in range(self._pieces) for k in range(piece, len(files), self._pieces)]
        self._files, self._labels = [files[k] for k in order], np.array([labels[k] for k in order])
        self.names = [file.relative_to(self._folder).as_posix() for file in self._files]

    @property
    def pieces(self) -> Sequence[int]:
        """The number of images that are decoded together."""
        return [len(range(piece, len(self._files), self._pieces)) for piece in range(self._pieces)]

    def read(self, piece: int) -> Iterator[Part]:
        """Yield the images of a piece, and their classes."""
        first = sum(self.pieces[:piece])
        images = self._dataset(range(first, first + self.pieces[piece]))
        if self._transform is not None:
            yield self._transform.transform(images), self._transform.transform_target(images)
            return
        assert images.X is not None
        pixels = images.X.reshape(len(images), *self._size, self._channels)
        X = np.ascontiguousarray(np.moveaxis(pixels, 3, 1), np.float32)
        yield X / np.float32(255), np.searchsorted(self.classes, self._labels[first : first + len(X)])

    def fit(self, images: int = SAMPLE, seed: int = 0, *, channels_first: bool = True) -> Preprocessor:
        """Return the preprocessing fitted to some images, drawn at random; to fewer if they took over 128 MiB."""
        count = min(integer("images", images, at_least=2), len(self._files), max(2, SAMPLE_BYTES // self._numbers))
        rows = np.sort(epoch_order(len(self._files), integer("seed", seed, at_least=0))[:count])
        first = [int(np.argmax(self._labels == name)) for name in self.classes]  # each class at least once
        return Preprocessor.fit(self._dataset(np.union1d(rows, first).tolist()), channels_first=channels_first)

    def _dataset(self, rows: Sequence[int]) -> Dataset:
        pixels = np.stack([decoded(self._files[k], self._size, self._channels) for k in rows])
        labels = self._labels[list(rows)]
        found = Dataset.from_arrays(
            pixels, labels, feature_names=self._pixels, target_name="class", task="classification",
            source=f"{self._folder}",
        )  # fmt: skip
        self._pixels = found.feature_names  # made once: that takes longer than to decode a large image
        return found
