"""Images that are decoded when needed are those that are read at once."""

from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import ImageRows, read_image_folder

PIL = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog", "eel")):
        (tmp_path / name).mkdir()
        for i in range(50 + k):
            pixels = np.clip(rng.normal(60 + 60 * k, 30, size=(6, 5, 3)), 0, 255).astype(np.uint8)
            PIL.fromarray(pixels).save(tmp_path / name / f"{i:02}.png")
    return tmp_path


def test_the_images_are_those_of_the_folder(folder: Path) -> None:
    rows, whole = ImageRows(folder), read_image_folder(folder)
    assert whole.names is not None and whole.X is not None and whole.y is not None
    place = {name: k for k, name in enumerate(whole.names.tolist())}
    order = [place[name] for name in rows.names]
    X, y = (np.concatenate(part) for part in zip(*rows, strict=True))
    pixels = whole.X[order].reshape(-1, 6, 5, 3)
    np.testing.assert_allclose(X, np.moveaxis(pixels, 3, 1) / 255, rtol=1e-6)
    assert [rows.classes[k] for k in y] == whole.y[order].tolist()
    assert all(len(set(part.tolist())) == 3 for _, part in rows), "each piece has all classes"
    prepared = ImageRows(folder, transform=rows.fit())
    known = cr.data.Preprocessor.fit(whole, channels_first=True).features
    assert (rows.fit().features.mean, rows.fit().features.std) == pytest.approx((known.mean, known.std))  # type: ignore[union-attr]
    assert next(iter(prepared))[0].shape[1:] == (3, 6, 5)


def test_large_images_are_decoded_in_pieces_of_bounded_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, grey in (("dark", 40), ("light", 200)):
        (tmp_path / name).mkdir()
        for i in range(6):
            PIL.new("L", (640, 1024), grey + i).save(tmp_path / name / f"{i}.bmp")
    rows = ImageRows(tmp_path)
    assert list(rows.pieces) == [3] * 4, "2.5 MiB each as float32, 8 MiB at a time"
    seen = [(X.nbytes, y.tolist()) for X, y in rows]
    assert max(size for size, _ in seen) <= 8 * 2**20 and sorted(c for _, y in seen for c in y) == [0] * 6 + [1] * 6
    monkeypatch.setattr("chainrule.data.image_rows.SAMPLE_BYTES", 3_000_000)
    read: list[int] = []
    dataset = ImageRows._dataset

    def counted(self: ImageRows, some: list[int]) -> cr.data.Dataset:
        read.append(len(some))
        return dataset(self, some)

    monkeypatch.setattr(ImageRows, "_dataset", counted)
    rows.fit()
    assert 4 <= read[0] <= 6, "as many as the bytes hold, and one of each class"


def test_a_network_trains_on_them(folder: Path) -> None:
    rows = ImageRows(folder, size=(4, 4), channels=1, block_bytes=1000)
    model = cr.nn.Sequential(cr.nn.Flatten(), cr.nn.Linear(16, 3))
    history = cr.fit(
        model, rows, epochs=12, batch_size=10, validation=0.2, optimizer=cr.optim.Adam(0.05), progress=False
    )
    assert history["val_accuracy"][-1] > 0.8


def test_damaged_images_are_named(folder: Path) -> None:
    rows = ImageRows(folder)
    (folder / "cat" / "07.png").write_bytes((folder / "cat" / "07.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"07\.png: the image is damaged"):
        cr.fit(cr.nn.Sequential(cr.nn.Flatten(), cr.nn.Linear(90, 3)), rows, epochs=1, progress=False)
