"""Rows on disk: every row is visited once, bits equal those of arrays where the order is the same, threads end."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn
from chainrule.data import ArrayRows, StoredRows
from chainrule.data.stored import blocks
from chainrule.train import Checkpoint
from chainrule.train.ahead import ReadAhead
from chainrule.train.loop import NonFiniteError
from tests.tables import for_each


class Counted(StoredRows):
    """Rows that are their own numbers, in pieces and parts of given sizes."""

    def __init__(self, sizes: list[int], part: int = 7, **settings: Any) -> None:
        super().__init__(**settings)
        self.sizes, self.part = sizes, part
        self.read_pieces: list[int] = []

    @property
    def pieces(self) -> list[int]:
        return self.sizes

    def read(self, piece: int) -> Iterator[tuple[Any, Any]]:
        self.read_pieces.append(piece)
        first = sum(self.sizes[:piece])
        for start in range(0, self.sizes[piece], self.part):
            rows = np.arange(first + start, first + min(start + self.part, self.sizes[piece]))
            yield rows[:, None].astype(np.float32), -rows[:, None].astype(np.float32)


def network() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    model.initialize(3)
    return model


def examples(count: int = 1000) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(count, 4)).astype(np.float32)
    return X, np.sin(X.sum(axis=1, keepdims=True))


def weights(model: nn.Module) -> list[bytes]:
    return [np.asarray(p.value).tobytes() for p in model.parameters()]


sizes_of_pieces = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(sizes_of_pieces, st.integers(1, 2000), st.integers(1, 9), st.booleans(), st.integers(0, 3))
def test_an_epoch_visits_each_row_once_with_its_target(
    sizes: list[int], block_bytes: int, whole: int, shuffle: bool, epoch: int
) -> None:
    rows = Counted(sizes, block_bytes=block_bytes)
    found = [(X[order, 0], y[order, 0]) for X, y, order in blocks(rows, 5, epoch, shuffle, whole)]
    visited = np.concatenate([X for X, _ in found])
    assert sorted(visited.tolist()) == list(range(len(rows)))
    assert all((X == -y).all() for X, y in found)
    assert all(len(X) % whole == 0 for X, _ in found[:-1])
    again = np.concatenate(
        [X[order, 0] for X, _, order in blocks(Counted(sizes, block_bytes=block_bytes), 5, epoch, shuffle, whole)]
    )
    np.testing.assert_array_equal(visited, again)
    if not shuffle:
        np.testing.assert_array_equal(visited, np.arange(len(rows)))


def test_orders_differ_from_epoch_to_epoch_and_mix_the_pieces() -> None:
    rows = Counted([100] * 20, block_bytes=8 * 500)
    orders = [[X[order, 0] for X, _, order in blocks(rows, 0, epoch, True, 10)] for epoch in range(2)]
    assert not np.array_equal(np.concatenate(orders[0]), np.concatenate(orders[1]))
    of_first_block = set((orders[0][0] // 100).astype(int).tolist())
    assert len(of_first_block) >= 5, "a block has rows of several pieces"
    assert len(set((orders[0][0][:10] // 100).astype(int).tolist())) >= 3, "and so has a batch"


@for_each(("alike", "block_parts", "sources"), [(20, 8, 8), (20, 32, 16), (1, 8, 80)])
def test_means_of_batches_vary_as_much_as_the_documentation_says(alike: int, block_parts: int, sources: int) -> None:
    """Rows of one value in each piece, in blocks of so many pieces, or rows that are all different.

    The oracle is the variance of means of samples without replacement: of values for a block, of its rows for a batch.
    """
    pieces, length, part, batch = 64, 20, 10, 40
    values = np.random.default_rng(3).normal(size=pieces * length // alike)
    values = (values - values.mean()) / values.std()
    rows = Counted([length] * pieces, part, block_bytes=8 * block_parts * part)
    means = []
    for epoch in range(60):
        for X, _, order in blocks(rows, 1, epoch, True, batch):
            means.append(values[X[order, 0].astype(int) // alike].reshape(-1, batch).mean(axis=1))
    block = block_parts * part
    of_blocks = (len(values) - sources) / (len(values) - 1) / sources
    expected = of_blocks + (1 - of_blocks) * (block - batch) / (block - 1) / batch
    assert np.var(np.concatenate(means)) == pytest.approx(expected, rel=0.15)
    assert expected < 1 / sources + 1 / batch


@settings(max_examples=25, deadline=None)
@given(sizes_of_pieces.filter(lambda s: sum(s) > 60), st.floats(0.2, 0.8), st.integers(0, 9))
def test_a_split_has_each_row_in_one_part(sizes: list[int], share: float, seed: int) -> None:
    parts = Counted(sizes).split(share, seed)
    found = [np.concatenate([X[:, 0] for X, _ in part]) for part in parts]
    assert sorted(np.concatenate(found).tolist()) == list(range(sum(sizes)))
    assert [len(f) for f in found] == [len(part) for part in parts]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("batch_size", [32, 50, None])
@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_without_shuffling_the_bits_are_those_of_arrays(engine: str, batch_size: int | None, accumulate: int) -> None:
    if engine not in cr.engine.available():
        pytest.skip("the native engine is not built")
    X, y = examples(450)
    found = []
    for given_ in ((X, y), (ArrayRows(X, y, piece_rows=70, block_bytes=100 * 20), None)):
        model = network()
        history = cr.fit(
            model, *given_, loss="mse", epochs=2, batch_size=batch_size, shuffle=False, accumulate=accumulate,
            engine=engine, progress=False,
        )  # fmt: skip
        found.append((weights(model), history["loss"]))
    assert found[0][0] == found[1][0]
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)


def test_shuffled_rows_train_as_well_and_the_same_each_time() -> None:
    X, y = examples(1500)
    rows = ArrayRows(X, y, piece_rows=64, block_bytes=400 * 20)
    runs = []
    for _ in range(2):
        model = network()
        history = cr.fit(model, rows, loss="mse", epochs=8, validation=0.2, optimizer="adam", progress=False)
        runs.append(weights(model))
    assert runs[0] == runs[1]
    assert history["val_loss"][-1] < 0.9 * history["val_loss"][0]
    assert all(0 <= row["waited"] <= row["seconds"] + 1 for row in history)


def test_a_run_resumes_within_an_epoch_to_the_same_bits(tmp_path: Path) -> None:
    X, y = examples(1000)
    rows = ArrayRows(X, y, piece_rows=50, block_bytes=300 * 20)

    class Stop(cr.Callback):
        def on_step(self, run: Any) -> None:
            if run.step == at and not resuming:
                run.stop("enough")

    whole, resuming, at = network(), True, 0
    cr.fit(whole, rows, loss="mse", epochs=3, progress=False)
    for at in (5, 40):
        saved, resuming = tmp_path / f"{at}.npz", False
        model = network()
        cr.fit(
            model, rows, loss="mse", epochs=3, progress=False, callbacks=[Stop()], checkpoint=Checkpoint(saved, steps=1)
        )
        resuming, resumed = True, network()
        cr.fit(
            resumed,
            rows,
            loss="mse",
            epochs=3,
            progress=False,
            callbacks=[Stop()],
            checkpoint=Checkpoint(saved, steps=1),
            resume=True,
        )
        assert weights(resumed) == weights(whole)


def test_the_first_bad_batch_is_named_also_in_a_later_block() -> None:
    X, y = examples(1000)
    y = y.copy()
    y[900:] = 1e30
    rows = ArrayRows(X, y, piece_rows=50, block_bytes=200 * 20)
    with pytest.raises(NonFiniteError, match=r"epoch 1, step (29|3\d) of 32"):
        cr.fit(network(), rows, loss="mse", epochs=1, shuffle=False, optimizer=cr.optim.SGD(1.0), progress=False)


class Broken(Counted):
    def read(self, piece: int) -> Iterator[tuple[Any, Any]]:
        if piece == 3:
            raise OSError("the disk is gone")
        yield from super().read(piece)


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "reader"]


def test_an_error_of_the_reader_ends_the_run_with_it() -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        cr.fit(nn.Linear(1, 1), Broken([200] * 5, block_bytes=800), loss="mse", epochs=1, shuffle=False, progress=False,
               optimizer=cr.optim.SGD(1e-9))  # fmt: skip
    assert not readers()


@pytest.mark.parametrize("kind", ["rows", "batches"])
def test_no_thread_is_left_after_a_run_that_stops_early(kind: str) -> None:
    X, y = examples(1000)

    def batches() -> Iterator[tuple[Any, Any]]:
        for start in range(0, 1000, 50):
            yield X[start : start + 50], y[start : start + 50]

    given_: Any = ArrayRows(X, y, piece_rows=50, block_bytes=100 * 20) if kind == "rows" else batches
    history = cr.fit(network(), given_, loss="mse", epochs=50, progress=False, callbacks=[lambda run: run.stop("done")])
    assert len(history) == 1
    assert not readers()


class Stuck(ArrayRows):
    """Rows of which a later piece never arrives."""

    going_on: threading.Event

    def read(self, piece: int) -> Iterator[tuple[Any, Any]]:
        if piece == 3:
            self.going_on.wait(60)
        yield from super().read(piece)


class Begun(cr.Callback):
    """Calls something when the training begins."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def on_begin(self, run: Any) -> None:
        self.call()


@pytest.mark.parametrize("kind", ["rows", "batches", "an epoch's first batch"])
def test_ctrl_c_does_not_wait_for_a_reader_that_is_stuck(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = examples(400)
    going_on = threading.Event()

    def batches(epoch: int) -> Iterator[tuple[Any, Any]]:
        for i, start in enumerate(range(0, 400, 50)):
            if (epoch, i) == ((1, 0) if kind.startswith("an epoch") else (0, 3)):
                going_on.wait(60)
            yield X[start : start + 50], y[start : start + 50]

    rows = Stuck(X, y, piece_rows=50, block_bytes=50 * 20)
    rows.going_on = going_on
    given_: Any = rows if kind == "rows" else batches
    settings_: Any = {"loss": "mse", "epochs": 3, "batch_size": 50, "shuffle": False, "progress": False}
    model, file = network(), tmp_path / "run.safetensors"
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    monkeypatch.setattr("chainrule.train.ahead._PATIENCE", 0.1)
    try:
        history = cr.fit(model, given_, checkpoint=file, callbacks=[Begun(interrupt.start)], **settings_)
        assert history.interrupted and "interrupted in epoch" in history.stopped
        assert not going_on.is_set() and readers()  # it is stuck, and no one waited for it
    finally:
        signal.signal(signal.SIGINT, handler)
        going_on.set()
        interrupt.join()
    for reader in readers():
        reader.join(10)
    assert not readers()
    resumed, whole = network(), network()
    cr.fit(resumed, given_, checkpoint=file, resume=True, callbacks=[Begun(list)], **settings_)
    cr.fit(whole, given_, **settings_)
    assert weights(resumed) == weights(whole)


def test_batches_read_ahead_are_those_of_the_iterator() -> None:
    X, y = examples(300)
    pairs = [(X[i : i + 40], y[i : i + 40]) for i in range(0, 300, 40)]
    found = []
    for given_ in (pairs, lambda: iter(pairs)):
        model = network()
        history = cr.fit(model, given_, loss="mse", epochs=3, progress=False)
        found.append(weights(model))
    assert found[0] == found[1]
    assert "waited" in history.columns


def test_reading_ahead_is_bounded_and_closes_the_iterator() -> None:
    made, closed = [], []

    def items() -> Iterator[int]:
        try:
            for i in range(100):
                made.append(i)
                yield i
        finally:
            closed.append(True)

    ahead = ReadAhead(items, depth=2)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    ahead.close()
    assert len(made) <= 9  # taken, waiting, being made
    assert closed == [True]
    assert list(ahead) == []


def test_large_mapped_arrays_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = examples(400)
    np.save(tmp_path / "X.npy", X.astype(np.float64))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert "waited" not in cr.fit(network(), mapped, y, loss="mse", epochs=1, progress=False).columns
    monkeypatch.setattr("chainrule.train.examples.LARGE_BYTES", 1000)
    assert "waited" in cr.fit(network(), mapped, y, loss="mse", epochs=1, progress=False).columns


def test_predictions_and_figures_are_those_of_arrays() -> None:
    X, y = examples(500)
    rows, model = ArrayRows(X, y, piece_rows=90), network()
    np.testing.assert_allclose(cr.predict(model, rows), cr.predict(model, X), rtol=1e-6)
    assert cr.evaluate(model, rows, loss="mse")["loss"] == pytest.approx(cr.evaluate(model, X, y, loss="mse")["loss"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((np.zeros((3, 2)), np.zeros(4)), {}), r"y has 4 rows, X has 3"),
        (((np.zeros((0, 2)),), {}), r"X: expected an array with rows"),
        (((np.zeros((3, 2)),), {"piece_rows": 0}), r"piece_rows"),
        (((np.zeros((3, 2)),), {"block_bytes": 0}), r"block_bytes"),
    ],
)
def test_bad_arguments_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayRows(*arguments[0], **arguments[1])


def test_weights_of_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="sample_weight"):
        cr.fit(network(), ArrayRows(*examples(10)), loss="mse", sample_weight=np.ones(10))


def test_batches_of_a_pytorch_loader_are_read_ahead_in_their_order() -> None:
    torch = pytest.importorskip("torch")
    X, y = examples(130)
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(pairs, batch_size=40)
    found = []
    for given_ in (loader, [(X[i : i + 40], y[i : i + 40]) for i in range(0, 130, 40)]):
        model = network()
        cr.fit(model, given_, loss="mse", epochs=2, progress=False)
        found.append(weights(model))
    assert found[0] == found[1]
    assert not readers()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda X, y: (X[:, :3], y), r"X has shape \(20, 3\), Linear expects \(…, 4\)"),
        (lambda X, y: (X[:0], y[:0]), r"X: batch 2: X has shape \(0, 4\): no examples"),
        (lambda X, y: (X, y[:7]), r"X: batch 2: y has shape \(7, 1\).*20 rows"),
        (lambda X, y: X, r"X: batch 2: expected a pair"),
    ],
)
def test_a_batch_that_does_not_fit_is_an_error_also_if_it_is_read_ahead(bad: Any, message: str) -> None:
    X, y = examples(20)

    def batches() -> Iterator[Any]:
        yield X, y
        yield bad(X, y)

    with pytest.raises((ValueError, TypeError), match=message):
        cr.fit(network(), batches, loss="mse", epochs=1, progress=False)
    assert not readers()
