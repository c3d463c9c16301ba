"""Folders of images by class, and single images; Pillow reads the files."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .wording import counted, listed

#: Ends of the names of images.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
#: What the folders of a split are called.
PARTS = {
    "train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing"),
}  # fmt: skip
#: Modes of Pillow without colours, and those with a transparent part.
GREY, TRANSPARENT = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"), ("LA", "La", "RGBA", "RGBa")

Size = tuple[int, int]


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its name."""
    return path.name.casefold().endswith(SUFFIXES) and not path.name.startswith(".")


def read_image_folder(
    folder: str | os.PathLike[str],
    task: str | None = None,
    *,
    size: Size | None = None,
    channels: int | None = None,
    max_bytes: int | None = None,
) -> Dataset:
    """Read a folder that holds a folder of images for each class.

    With folders ``train`` and ``test`` (or ``val``) that hold the folders of the classes, these are the splits.

    Parameters
    ----------
    folder : path
        ``folder/CLASS/image.png``, or ``folder/train/CLASS/image.png`` and so on.
    task : str, optional
        Overrides the task, which is classification.
    size : (int, int), optional
        Height and width to which images are resized; without it all must have one size.
    channels : {1, 3}, optional
        Grey or colours; without it 3 if any image of the training split has colours.
    max_bytes : int, optional
        How many bytes all images together may take; by default 4 GiB.

    Returns
    -------
    Dataset
        `X` uint8, flattened; `image_shape`; the class's folder as the label, the file's path in `names`.

    Raises
    ------
    ImportError
        Without Pillow (the extra ``images``).
    ValueError
        For fewer than two classes, images of several sizes, files that cannot be read, and images that together
        exceed `max_bytes`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, grey in (("dark", 10), ("light", 200)):
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (4, 2), grey).save(Path(folder, name, "a.png"))
    ...     images = data.read_image_folder(folder)
    >>> images.y, images.image_shape
    (array(['dark', 'light'], dtype='<U5'), (2, 4))
    """
    place = Path(folder)
    parts = _parts(place)
    train = _read_classes(parts["train"], place, size, channels, max_bytes, task or "classification")
    height, width, *colours = train.image_shape or ()
    if task is None:
        train = replace(train, task_reason=f"{train.task}: a folder for each class")
    rest: dict[str, Dataset] = {}
    known = set(np.unique(train.y).tolist()) if train.y is not None else set()
    for part in ("validation", "test"):
        if part in parts:
            more = _read_classes(parts[part], place, (height, width), 3 if colours else 1, max_bytes, train.task)
            strange = sorted(set(np.unique(more.y).tolist()) - known) if more.y is not None else []
            if strange:
                raise ValueError(f"{parts[part]}: has the class {strange[0]!r}, which {parts['train']} has not")
            rest[part] = more
    if "test" not in rest and "validation" in rest:
        rest["test"] = rest.pop("validation")
    return replace(train, validation=rest.get("validation"), test=rest.get("test"))


def read_images(
    path: str | os.PathLike[str], *, size: Size | None = None, channels: int | None = None, max_bytes: int | None = None
) -> Dataset:
    """Read an image, or all images in a folder and the folders in it, without labels.

    Parameters
    ----------
    path : str or path-like
    size, channels, max_bytes
        As for `read_image_folder`.

    Returns
    -------
    Dataset
        `X` uint8, flattened; `image_shape`; the file's path in `names`.

    Raises
    ------
    ImportError
        Without Pillow (the extra ``images``).
    ValueError
        As `read_image_folder`, or without any image.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (4, 2)).save(Path(folder, "a.png"))
    ...     images = data.read_images(folder)
    >>> images.image_shape, images.names
    ((2, 4, 3), array(['a.png'], dtype='<U5'))
    """
    place = Path(path)
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file() and is_image(p))
    if not files:
        raise ValueError(f"{place}: holds no images ({', '.join(SUFFIXES[:6])}, …)")
    pixels, notes = _pixels(files, place, size, channels, max_bytes)
    dataset = Dataset.from_arrays(pixels, source=f"{place}", notes=notes)
    return replace(dataset, names=_names(files, place if place.is_dir() else place.parent))


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits; the folder itself if it holds those of the classes."""
    inner = {entry.name.casefold(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    found = {part: inner[name] for part, names in PARTS.items() for name in names if name in inner}
    if "train" not in found or len(found) == 1:
        return {"train": folder}
    if others := [entry.name for entry in inner.values() if entry not in found.values()]:
        raise ValueError(f"{folder}: holds splits ({listed(p.name for p in found.values())}) and also {listed(others)}")
    return found


def _read_classes(
    folder: Path, source: Path, size: Size | None, channels: int | None, max_bytes: int | None, task: str | None
) -> Dataset:
    """Read the folders of the classes in a folder."""
    files, labels, others = files_of_classes(folder, task)
    pixels, notes = _pixels(files, folder, size, channels, max_bytes)
    if others:
        notes.append(f"left out what is no image: {listed(others, 3)}")
    dataset = Dataset.from_arrays(
        pixels, np.array(labels), target_name="class", task=task, source=f"{folder}", notes=notes
    )
    return replace(dataset, names=_names(files, source))


def files_of_classes(folder: Path, task: str | None = "classification") -> tuple[list[Path], list[str], list[str]]:
    """Return the images in the folders of the classes, their classes, and the names of what is no image."""
    classes = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    files: list[Path] = []
    labels: list[str] = []
    others: list[str] = []
    for entry in classes:
        inside = sorted(p for p in entry.rglob("*") if p.is_file() and not p.name.startswith("."))
        images = [p for p in inside if is_image(p)]
        if not images:
            raise ValueError(f"{entry}: holds no images ({', '.join(SUFFIXES[:6])}, …): fill or remove this folder")
        others += [p.name for p in inside if not is_image(p)]
        files += images
        labels += [entry.name] * len(images)
    if task == "classification" and len(classes) < 2:
        found = f"one folder ({classes[0].name})" if classes else listed(p.name for p in folder.iterdir()) or "no files"
        raise ValueError(
            f"{folder}: expected a folder of images for each of at least two classes, or MNIST's files "
            f"(train-images-idx3-ubyte …); found {found}"
        )
    return files, labels, others


def _names(files: Iterable[Path], folder: Path) -> NDArray[Any]:
    return np.array([file.relative_to(folder).as_posix() for file in files])


def _pixels(
    files: Sequence[Path], folder: Path, size: Size | None, channels: int | None, max_bytes: int | None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return images as ``(n, height, width)`` or ``(n, height, width, 3)``, and what was done to them."""
    heads = [head(file) for file in files]
    sizes = Counter(found for found, _ in heads)
    grey = all(mode in GREY for _, mode in heads)
    wanted = size or one_size(sizes, files, heads, folder)
    colours = channels or (1 if grey else 3)
    total = len(files) * wanted[0] * wanted[1] * colours
    limit = 4 << 30 if max_bytes is None else max_bytes
    if total > limit:
        raise ValueError(f"{folder}: the images take {total:,} bytes, more than {limit:,}; resize them: --size 64x64")
    shape = (*wanted, 3) if colours == 3 else wanted
    pixels = np.empty((len(files), *shape), np.uint8)
    for i, file in enumerate(files):
        pixels[i] = decoded(file, wanted, colours)
    resized = [found for found in sizes if found != wanted]
    notes = []
    if resized:
        number = sum(sizes[found] for found in resized)
        notes.append(f"resized {counted(number, 'image')} to {_by(wanted)} (height × width)")
    if colours == 1 and not grey:
        notes.append("turned colours into grey")
    if colours == 3 and (number := sum(mode in GREY for _, mode in heads)):
        notes.append(f"{counted(number, 'grey image')} as if in colours")
    if any(mode in TRANSPARENT for _, mode in heads):
        notes.append("transparent parts became white")
    return pixels, notes


def one_size(sizes: Counter[Size], files: Sequence[Path], heads: Sequence[tuple[Size, str]], folder: Path) -> Size:
    """Return the size that all images have; raise if there are several."""
    if len(sizes) == 1:
        return next(iter(sizes))
    (usual, number), *_ = sizes.most_common(1)
    other = next(i for i, (found, _) in enumerate(heads) if found != usual)
    raise ValueError(
        f"{folder}: holds images of {len(sizes)} sizes: {number:,} are {_by(usual)} (height × width), "
        f"{files[other].name} is {_by(heads[other][0])}; have them resized: --size {usual[0]}x{usual[1]}"
    )


def _by(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def head(file: Path) -> tuple[Size, str]:
    """Return an image's height and width as it is displayed, and its mode."""
    with _opened(file) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (width, height) if turned else (height, width), image.mode


def decoded(file: Path, size: Size, channels: int) -> NDArray[Any]:
    """Return an image's pixels: bytes, of its first frame, upright, on white."""
    from PIL import Image, ImageOps

    with _opened(file) as image:
        upright: Any = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits a pixel
        upright = Image.fromarray((np.clip(np.asarray(upright), 0, 65535) >> 8).astype(np.uint8))
    elif upright.mode == "F":
        raise ValueError(f"{file}: holds pixels as floating-point numbers, expected bytes; convert it to PNG")
    if upright.mode in TRANSPARENT or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    upright = upright.convert("RGB" if channels == 3 else "L")
    if upright.size != (size[1], size[0]):
        upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(upright)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Yield an open image; errors while it is read name the file."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError("reading images needs Pillow: pip install 'chainrule[images]'") from None
    try:
        with Image.open(file) as image:
            yield image
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "not an image that Pillow reads" if unknown else f"the image is damaged or unusual ({error})"
        raise ValueError(f"{file}: {reason}; replace or remove it") from None
