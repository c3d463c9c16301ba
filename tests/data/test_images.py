"""Folders of images: layouts, modes, sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import data

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)


def picture(mode, size=(6, 5)):
    """Return an image of height × width, and what its bytes should be read as in grey and in colours."""
    height, width = size
    grey = RNG.integers(0, 256, (height, width)).astype(np.uint8)
    colours = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if mode == "L":
        return Image.fromarray(grey), grey
    if mode == "1":
        return Image.fromarray(grey).convert("1", dither=0), np.where(grey > 127, 255, 0)
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 256 + 7), grey
    if mode == "RGB":
        return Image.fromarray(colours), colours
    if mode == "P":
        image = Image.fromarray(grey, "L").convert("P")
        return image, np.repeat(grey[..., None], 3, axis=2)
    if mode == "RGBA":  # the upper half is transparent
        alpha = np.full((height, width, 1), 255, np.uint8)
        alpha[: height // 2] = 0
        white = np.where(alpha == 0, 255, colours)
        return Image.fromarray(np.concatenate([colours, alpha], axis=2)), white
    raise ValueError(mode)


@pytest.fixture
def folder(tmp_path):
    """Make a folder of images: {path: image or bytes}."""

    def make(files, name="pictures"):
        for path, content in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                content.save(file)
        return tmp_path / name

    return make


def test_modes(folder):
    for modes, channels in ((["L", "1", "I;16"], 1), (["RGB", "P", "RGBA", "L"], 3)):
        made = [picture(mode) for mode in modes]
        files = {f"{'ab'[i % 2]}/{i}.png": image for i, (image, _) in enumerate(made)}
        read = data.read(folder(files, f"of{channels}"))
        assert read.image_shape == ((6, 5) if channels == 1 else (6, 5, 3)) and read.X.dtype == np.uint8
        for row, name in zip(read.X, read.names, strict=True):
            wanted = made[int(name[2])][1]
            if channels == 3 and wanted.ndim == 2:
                wanted = np.repeat(wanted[..., None], 3, axis=2)
            assert np.array_equal(row.reshape(read.image_shape), wanted), name


def test_rows_are_the_files_in_order(folder):
    made = {f"{c}/{i}.png": Image.fromarray(np.full((2, 3), 10 * i, np.uint8)) for c in "ba" for i in (2, 0, 1)}
    read = data.read(folder(made))
    assert read.names.tolist() == ["a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png"]
    assert read.y.tolist() == list("aaabbb") and read.X[:, 0].tolist() == [0, 10, 20] * 2
    assert (read.task, read.target_name) == ("binary", "class")
    taken = read.take([4, 0])
    assert taken.names.tolist() == ["b/1.png", "a/0.png"]


@pytest.mark.parametrize(
    ("parts", "validation", "test"),
    [
        (("train", "test"), False, True),
        (("Train", "val"), False, True),  # the only other split is the test split
        (("train", "valid", "test"), True, True),
        (("test", "rest"), False, False),  # no train: these are classes
    ],
)
def test_splits(folder, parts, validation, test):
    files = {f"{p}/{c}/{i}.png": picture("L")[0] for p in parts for c in "xy" for i in range(2)}
    read = data.read(folder(files))
    assert (read.validation is not None, read.test is not None) == (validation, test)
    if test:
        assert len(read) == len(read.test) == 4 and read.names[0].startswith(parts[0])
        train, held = read.split(0.5)
        assert train.validation is None and held.names[0].startswith(parts[-1])
        assert read.fingerprint() != train.fingerprint()
    else:
        assert read.y.tolist() == ["rest"] * 4 + ["test"] * 4


def test_other_sizes(folder):
    files = {"a/1.png": picture("L", (4, 6))[0], "b/1.png": picture("RGB", (8, 3))[0], "b/2.png": picture("L")[0]}
    place = folder(files)
    with pytest.raises(ValueError, match=r"of 3 sizes: 1 are 4×6 \(height × width\), 1.png is 8×3; .* --size 4x6"):
        data.read(place)
    read = data.read(place, size=(5, 7))
    assert read.image_shape == (5, 7, 3) and any("resized 3 images to 5×7" in note for note in read.notes)
    grey = data.read(place, size=(5, 7), channels=1)
    assert grey.image_shape == (5, 7) and "turned colours into grey" in grey.notes
    flat = Image.new("L", (9, 4), 77)
    one = data.read_features(folder({"x.png": flat}, "one") / "x.png", size=(2, 3), channels=3)
    assert one.X.tolist() == [[77] * 18] and one.names.tolist() == ["x.png"] and one.y is None


def test_photographs_are_turned_upright(folder):
    pixels = picture("L", (2, 4))[1]
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # its top is on the right: turn it clockwise
    place = folder({"a/readme": b"", "b/1.png": image})
    image.save(place / "a" / "1.png", exif=exif)
    with pytest.raises(ValueError, match="of 2 sizes: 1 are 4×2"):
        data.read(place)
    (place / "b" / "1.png").unlink()
    read = data.read_features(place)
    assert np.array_equal(read.X.reshape(4, 2), np.rot90(pixels, -1))


def broken(size=200):
    """The beginning of a PNG file."""
    import io

    buffer = io.BytesIO()
    picture("RGB", (40, 40))[0].save(buffer, "PNG")
    return buffer.getvalue()[:size]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/1.png": None}, r"pictures: expected a folder .* at least two classes.* found one folder \(a\)"),
        ({"1.png": None}, "at least two classes, .* found 1.png"),
        ({"a/1.png": None, "b/readme.txt": b"x"}, r"b: holds no images \(\.png, .*fill or remove this folder"),
        ({"a/1.png": None, "b/1.png": b"not an image"}, r"b/1.png: not an image that Pillow reads; replace or remove"),
        ({"a/1.png": None, "b/1.png": b""}, r"b/1.png: not an image"),
        ({"a/1.png": broken(), "b/1.png": broken()}, r"a/1.png: the image is damaged .*; replace or remove"),
        (
            {"train/a/1.png": None, "train/b/1.png": None, "test/c/1.png": None},
            r"test: has the class 'c', which .*train",
        ),
        ({"train/a/1.png": None, "test/a/1.png": None, "more/a/1.png": None}, r"holds splits \(.*\) and also more"),
    ],
)
def test_refused(folder, files, message):
    image = picture("L")[0]
    with pytest.raises(ValueError, match=message):
        data.read(folder({path: image if content is None else content for path, content in files.items()}))


def test_limits_and_arguments(folder, tmp_path):
    place = folder({"a/1.png": picture("L", (40, 50))[0], "b/1.png": picture("L", (40, 50))[0]})
    with pytest.raises(ValueError, match=r"4,000 bytes, more than 3,999; resize them"):
        data.read(place, max_bytes=3999)
    assert data.read(place, max_bytes=4000).X.shape == (2, 2000)
    with pytest.raises(ValueError, match=r"target: got 'x', but .* has its own labels"):
        data.read(place, "x")
    with pytest.raises(ValueError, match="a single image has no target; give the folder"):
        data.read(place / "a" / "1.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: expected a folder of images for each"):
        data.read(tmp_path / "empty")
    with pytest.raises(ValueError, match="empty: holds no images"):
        data.read_features(tmp_path / "empty")
    others = folder({"a/1.png": picture("L")[0], "a/notes.txt": b"x", "b/2.png": picture("L")[0]}, "others")
    assert data.read(others).notes == ("left out what is no image: notes.txt",)
