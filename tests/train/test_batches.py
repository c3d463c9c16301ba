"""fit, evaluate and predict on batches that a program gives, and on data sets with examples by number."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from tests.tables import slow

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(42, 4)), RNG.integers(0, 3, 42)
PAIRS = [(X[start : start + 10], Y[start : start + 10]) for start in range(0, 42, 10)]


def network(dtype: Any = np.float64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def fitted(*data: Any, **more: Any) -> tuple[nn.Sequential, cr.History]:
    model = more.pop("model", None) or network()
    return model, cr.fit(model, *data, **{"optimizer": optim.Adam(0.02), "epochs": 3, "progress": False} | more)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(np.array_equal(array, b.state_dict()[path]) for path, array in a.state_dict().items())


class Rows:
    """A data set as PyTorch's map-style ones, which says which rows it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 42

    def __getitem__(self, i: int) -> Any:
        self.asked.append(i)
        return X[i], Y[i]


class Loader:
    """Gives batches anew each time, and has no length."""

    def __iter__(self) -> Any:
        return iter(PAIRS)


GIVEN: dict[str, Any] = {
    "a list": lambda: PAIRS,
    "a tuple of lists": lambda: tuple([list(pair) for pair in PAIRS]),
    "a loader": Loader,
    "a function": lambda: lambda: iter(PAIRS),
    "a function of the epoch": lambda: lambda epoch: (PAIRS[k] for k in range(5)),
    "a generator function": lambda: generator,
    "tensors": lambda: [(cr.tensor(x), cr.tensor(y)) for x, y in PAIRS],
}


def generator() -> Any:
    yield from PAIRS


@pytest.mark.parametrize("engine", [slow("numpy"), None])
@pytest.mark.parametrize("how", GIVEN)
def test_batches_train_as_the_arrays_do(how: str, engine: Any) -> None:
    settings = {"engine": engine, "validation": (X[:9], Y[:9])}
    wanted, history = fitted(X, Y, batch_size=10, shuffle=False, **settings)
    model, found = fitted(GIVEN[how](), **settings)
    assert same(model, wanted)
    for column in ("loss", "accuracy", "val_loss", "val_accuracy", "lr"):
        assert found[column] == pytest.approx(history[column], rel=1e-12), column
    large, _ = fitted(GIVEN[how](), accumulate=2, engine=engine)
    assert same(large, fitted(X, Y, batch_size=10, shuffle=False, accumulate=2, engine=engine)[0])


def test_one_iterator_is_one_epoch() -> None:
    model, _ = fitted(iter(PAIRS), epochs=1)
    assert same(model, fitted(X, Y, batch_size=10, shuffle=False, epochs=1)[0])
    with pytest.raises(ValueError, match="X is a generator, which gives its batches only once, and epochs is 3"):
        fitted(pair for pair in PAIRS)
    spent = iter(PAIRS)
    with pytest.raises(ValueError, match="X gave no batches in epoch 2"):
        fitted(lambda: spent)


def test_a_data_set_is_visited_in_the_order_of_the_arrays() -> None:
    rows = Rows()
    model, history = fitted(rows, batch_size=8, seed=5, validation=0.2)
    wanted, arrays = fitted(X, Y, batch_size=8, seed=5, validation=0.2)
    assert same(model, wanted) and history["val_loss"] == pytest.approx(arrays["val_loss"], rel=1e-12)
    first = [i for i in rows.asked[:34]]
    assert sorted(first) == sorted(set(first)) and len(set(rows.asked)) == 42
    assert same(fitted(Rows(), batch_size=None, epochs=1)[0], fitted(X, Y, batch_size=None, epochs=1)[0])
    plain, _ = fitted(Rows(), shuffle=False)
    assert same(plain, fitted(X, Y, shuffle=False)[0])


@pytest.mark.parametrize("how", ["a loader", "a function", "data set"])
def test_a_resumed_run_has_the_bits_of_the_whole(how: str, tmp_path: pathlib.Path) -> None:
    def given() -> Any:
        return Rows() if how == "data set" else GIVEN[how]()

    class Stop(cr.Callback):
        def on_step(self, run: Any) -> None:
            if run.step == 7:
                run.stop()

    settings = {"batch_size": 10, "accumulate": 2}
    whole, history = fitted(given(), **settings)
    saving = cr.Checkpoint(tmp_path / "run", steps=3)
    fitted(given(), **settings, checkpoint=saving, callbacks=[Stop()])
    other, rows = fitted(given(), **settings, checkpoint=saving, resume=True, callbacks=[Stop()])
    assert same(other, whole) and rows["loss"] == history["loss"]


def test_evaluate_and_predict_take_batches() -> None:
    model = network()
    wanted = cr.predict(model, X)
    for given in (Loader(), generator, Rows(), lambda: (x for x, _ in PAIRS)):
        np.testing.assert_allclose(cr.predict(model, given, batch_size=5), wanted, rtol=1e-12)
    for given in (PAIRS, Loader(), generator, Rows()):
        assert cr.evaluate(model, given) == pytest.approx(cr.evaluate(model, X, Y), rel=1e-12)
    _, history = fitted(PAIRS, validation=Loader())
    assert history["val_loss"] == pytest.approx(fitted(PAIRS, validation=(X, Y))[1]["val_loss"], rel=1e-12)


def test_lengths_are_in_runs_and_progress() -> None:
    seen = []
    fitted(PAIRS, callbacks=[lambda run: seen.append((run.steps_per_epoch, run.batch_size, run.step))], epochs=2)
    fitted(Loader(), callbacks=[lambda run: seen.append((run.steps_per_epoch, run.batch_size, run.step))], epochs=2)
    assert seen == [(5, 10, 5), (5, 10, 10)] * 2
    fitted(Loader(), progress=True)


def test_loggers_and_callbacks_are_told_of_batches() -> None:
    told = []
    fitted(Loader(), epochs=1, callbacks=[lambda run: told.append(run.settings)], early_stopping=3)
    assert told[0]["batch_size"] == 10 and told[0]["examples"] is None


@pytest.mark.parametrize("engine", ["numpy", None])
def test_a_value_that_is_not_finite_is_found_in_a_long_stream(engine: Any) -> None:
    def batches() -> Any:
        for k in range(50):
            yield (X * (1e300 if k == 40 else 1), Y)

    model = nn.Sequential(nn.Linear(4, 5, dtype=np.float64), nn.Linear(5, 3, dtype=np.float64))
    with pytest.raises(cr.NonFiniteError, match="epoch 1, step 41: the first non-finite tensor is"):
        fitted(batches, model=model, engine=engine, loss=lambda o, y: np.mean(o**2) + 0 * nn.losses.cross_entropy(o, y))
    assert all(np.isfinite(a).all() for a in model.state_dict().values())
    wanted = network()
    wanted = nn.Sequential(nn.Linear(4, 5, dtype=np.float64), nn.Linear(5, 3, dtype=np.float64))
    fitted([(X, Y)] * 40, model=wanted, engine=engine, epochs=1,
           loss=lambda o, y: np.mean(o**2) + 0 * nn.losses.cross_entropy(o, y))  # fmt: skip
    assert same(model, wanted)


def test_pytorch_s_data_sets_and_loaders() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    wanted = fitted(X, Y, batch_size=10, shuffle=False)[0]
    assert same(fitted(torch.utils.data.DataLoader(data, batch_size=10))[0], wanted)
    assert same(fitted(data, batch_size=10, shuffle=False)[0], wanted)

    class Two(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(4, 3, dtype=np.float64)

        def forward(self, a: Any, b: Any) -> Any:
            return self.inner(np.concatenate([a, b], axis=1))

    class Pairs(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 42

        def __getitem__(self, i: int) -> Any:
            return (X[i, :2], X[i, 2:]), Y[i]

    ours, theirs, arrays = Two(), Two(), Two()
    settings = {"epochs": 2, "batch_size": 10, "shuffle": False, "progress": False}
    cr.fit(ours, Pairs(), **settings)
    cr.fit(theirs, torch.utils.data.DataLoader(Pairs(), batch_size=10), **settings)
    cr.fit(arrays, (X[:, :2], X[:, 2:]), Y, **settings)
    assert same(ours, arrays) and same(theirs, arrays)


class Bad:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        return np.ones(4 + i), 0


WRONG: list[tuple[Any, str]] = [
    (lambda: fitted([X, X]), r"X: batch 1: expected a pair \(X, y\) .*, got an array of shape \(42, 4\)"),
    (lambda: fitted([(X, Y, Y)]), "got a tuple of 3 entries"),
    (lambda: fitted([(X, Y), (X[:, :3], Y)]), "Linear expects"),
    (lambda: fitted([(X, Y), (X, Y[:3])]), r"X: batch 2: y has shape \(3,\), X has 42 rows"),
    (lambda: fitted([(np.full((2, 4), np.nan), Y[:2])]), "X: batch 1: X holds 8 values that are not finite"),
    (lambda: fitted([]), "X gave no batches in epoch 1"),
    (lambda: fitted(lambda: 3), r"X\(\): expected an iterable of pairs"),
    (lambda: fitted(PAIRS, validation=0.2), "of an iterable no part can be held out"),
    (lambda: fitted(PAIRS, validation=iter(PAIRS)), "validation is a list_iterator, which gives its batches only once"),
    (lambda: fitted(PAIRS, sample_weight=np.ones(42)), "sample_weight: expected None with batches"),
    (lambda: fitted(Bad()), r"X\[i\]\[0\] has shapes"),
    (lambda: fitted(Rows(), validation=0.001), "leaves a split empty"),
    (lambda: cr.evaluate(network(), X), "y is None, X is of type ndarray"),
    (lambda: fitted(X), "y is None, X is of type ndarray"),
]


@pytest.mark.parametrize("call, said", WRONG)
def test_wrong_batches_are_named(call: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        call()
