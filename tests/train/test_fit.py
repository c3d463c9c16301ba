"""fit: what a run computes."""

import contextlib
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import epoch_order, split


def test_a_run_learns(data, make, train):
    X, y = data
    model = make()
    _, rows, history = train(model, X, y, epochs=30, optimizer=optim.Adam(1e-2))
    assert rows[-1]["loss"] < 0.2 < rows[0]["loss"]
    assert rows[-1]["accuracy"] > 0.85
    assert len(history) == 30 and history.stopped is None and history.best_epoch is None


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.4}, {"batch_norm": True}, {"dtype": np.float64}], ids=str)
def test_the_same_seed_gives_the_same_weights(data, make, train, identical, settings):
    X, y = data
    first, rows, _ = train(make(**settings), X, y, seed=3)
    again, rows_again, _ = train(make(**settings), X, y, seed=3)
    other, _, _ = train(make(**settings), X, y, seed=4)
    assert identical(first, again) and rows == rows_again
    assert not identical(first, other)


def test_another_seed_draws_other_dropout_masks(data, make, train, identical):
    X, y = data
    runs = [train(make(dropout=0.5), X, y, seed=s, shuffle=False, batch_size=None)[0] for s in (0, 1)]
    assert not identical(*runs)


def test_the_model_keeps_its_dropout_seed(data, make, train):
    model = make(dropout=0.5)
    before = [m.seed for m in model.modules() if isinstance(m, nn.Dropout)]
    train(model, *data, seed=5)
    assert [m.seed for m in model.modules() if isinstance(m, nn.Dropout)] == before


def by_hand(X, Y, W1, b1, W2, b2, lr, l1=0.0, l2=0.0, decay=0.0):
    """One step as in the first article: forward, backward, then all parameters together (examples in rows)."""
    A1 = np.tanh(X @ W1 + b1)
    Z2 = A1 @ W2 + b2
    P = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(P[np.arange(len(Y)), Y]))
    dZ2 = (P - np.eye(P.shape[1])[Y]) / len(X)
    dW2, db2 = A1.T @ dZ2, dZ2.sum(axis=0)
    dZ1 = dZ2 @ W2.T * (1 - A1**2)  # W2 before its update
    dW1, db1 = X.T @ dZ1, dZ1.sum(axis=0)
    dW1, dW2 = (g + l1 * np.sign(w) + l2 * w for g, w in ((dW1, W1), (dW2, W2)))
    new = [p - lr * (g + decay * p) for p, g in ((W1, dW1), (b1, db1), (W2, dW2), (b2, db2))]
    return loss, new


def parameters(model):
    return [model.state_dict()[k] for k in ("0.weight", "0.bias", "2.weight", "2.bias")]


@pytest.mark.parametrize(
    ("fitted", "hand"),
    [({}, {}), ({"l1": 0.03}, {"l1": 0.03}), ({"l2": 0.2}, {"l2": 0.2}), ({"decay": 0.1}, {"decay": 0.1})],
    ids=str,
)
def test_one_step_is_the_step_written_by_hand(make, fitted, hand):
    from .conftest import blobs

    X, y = blobs(20, np.float64)
    model = make(dtype=np.float64)
    rng = np.random.default_rng(0)
    model.load_state_dict({k: rng.normal(size=v.shape) for k, v in model.state_dict().items()})
    before = parameters(model)
    optimizer = optim.SGD(0.5, weight_decay=fitted.pop("decay", 0.0))
    history = cr.fit(
        model, X, y, optimizer=optimizer, epochs=1, batch_size=None, shuffle=False, progress=False, **fitted
    )
    loss, expected = by_hand(X, y, *before, lr=0.5, **hand)
    for found, wanted in zip(parameters(model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)
    assert history["loss"] == [pytest.approx(loss, abs=1e-14)]  # the loss alone, without the penalty


def test_order_batches_and_last_smaller_batch(make):
    """Every epoch visits every row once, in the order drawn from the seed; the last batch holds what is left."""
    from .conftest import blobs

    X, y = blobs(23, np.float64)
    model = make(dtype=np.float64)
    state = parameters(model)
    losses = []
    for epoch in range(2):
        order = epoch_order(23, seed=9, epoch=epoch)
        total = 0.0
        for start in (0, 10, 20):
            rows = order[start : start + 10]
            loss, state = by_hand(X[rows], y[rows], *state, lr=0.1)
            total += loss * len(rows)
        losses.append(total / 23)
    seen = []
    history = cr.fit(
        model, X, y, optimizer=optim.SGD(0.1), epochs=2, batch_size=10, seed=9, progress=False,
        callbacks=[Recorder(on_step=lambda run: seen.append(run.step))],
    )  # fmt: skip
    for found, wanted in zip(parameters(model), state, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-13)
    assert seen == [1, 2, 3, 4, 5, 6]


class Recorder:
    def __init__(self, **methods):
        self.__dict__.update(methods)


def test_a_batch_larger_than_the_data_is_the_whole_of_it(data, make, train, identical):
    X, y = data
    full = train(make(), X, y, batch_size=None, shuffle=False)[0]
    assert identical(full, train(make(), X, y, batch_size=10_000, shuffle=False)[0])
    assert identical(full, train(make(), X, y, batch_size=len(X), shuffle=False)[0])


def test_validation_share_is_the_split_of_the_seed(data, make, train, identical):
    X, y = data
    by_share = train(make(), X, y, validation=0.25, seed=2)
    rows, held = split(len(X), 0.25, 2)
    apart = train(make(), X[rows], y[rows], validation=(X[held], y[held]), seed=2)
    assert identical(by_share[0], apart[0]) and by_share[1] == apart[1]
    model = make()
    _, rows_, _ = train(model, X, y, validation=0.25, seed=2)
    figures = cr.evaluate(model, X[held], y[held])
    assert figures == {"loss": rows_[-1]["val_loss"], "accuracy": rows_[-1]["val_accuracy"]}


def test_validation_changes_no_weight_and_no_mask(data, make, train, identical):
    X, y = data
    settings = {"dropout": 0.3, "batch_norm": True}
    with_it = train(make(**settings), X, y, validation=(X[:10], y[:10]))[0]
    assert identical(with_it, train(make(**settings), X, y)[0])


def test_metrics_by_name_by_function_and_given_once(data, make, train):
    X, y = data

    def largest(output, target):
        return np.max(np.absolute(output))

    _, rows, history = train(make(), X, y, metrics=(m for m in ["accuracy", largest]), validation=0.2)
    assert history.columns == [
        "epoch", "loss", "accuracy", "largest", "val_loss", "val_accuracy", "val_largest", "lr", "seconds",
    ]  # fmt: skip
    assert rows[0]["largest"] > 0
    _, _, history = train(make(), X, y, metrics=())
    assert history.columns == ["epoch", "loss", "lr", "seconds"]
    _, _, history = train(make(), X, y, metrics={"mine": largest})
    assert "mine" in history.columns


def test_every_loss_by_name_and_any_function(make):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 5)).astype(np.float32)
    number, sign = X[:, :1] * 2, (X[:, 0] > 0).astype(int)
    model = lambda outputs: nn.Sequential(nn.Linear(5, outputs))  # noqa: E731

    def cubic(output, target):
        return np.mean(np.absolute(output - target) ** 3)

    targets = {
        "poisson": abs(number),
        "mse": number,
        "half_mse": number,
        "mae": number,
        "huber": number,
        "binary_cross_entropy": sign[:, None],
        "binary_focal": sign[:, None],
    }
    for loss in [*nn.losses.names(), cubic]:
        wide = loss in ("cross_entropy", "focal", "hinge")
        y = sign if wide else targets.get(loss, number) if isinstance(loss, str) else number
        history = cr.fit(model(2 if wide else 1), X, y, loss=loss, epochs=5, optimizer=optim.Adam(0.05), progress=False)
        assert history["loss"][-1] < history["loss"][0], loss


def test_a_loss_of_ones_own_meets_no_made_up_output(make, data):
    """It is traced, not tried on zeros, whose logarithm would warn."""
    X, y = data
    hot = np.eye(3, dtype=np.float32)[y]
    model = nn.Sequential(nn.Linear(5, 3), nn.Softmax())
    cr.fit(model, X, hot, loss=lambda p, t: -np.mean(np.sum(t * np.log(p), axis=1)), epochs=1, progress=False)


def test_float64_models_stay_float64(data, make, train):
    X, y = data
    state, _, _ = train(make(dtype=np.float64), X, y)
    assert {v.dtype for v in state.values()} == {np.dtype(np.float64)}
    assert cr.predict(make(dtype=np.float64), X).dtype == np.float64


def test_integer_input_and_lists(train, make):
    X = [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [0, 1, 0, 1, 0]]
    _, rows, _ = train(make(), X, [0, 1, 2])
    assert np.isfinite(rows[-1]["loss"])
    embedding = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(8, 2))
    ids = np.array([[0, 5], [1, 2], [3, 4], [5, 5]])
    assert len(cr.fit(embedding, ids, np.array([0, 1, 0, 1]), epochs=2, progress=False)) == 2


def test_batch_norm_buffers_move_and_reach_the_model(data, make, train):
    model = make(batch_norm=True)
    before = model.state_dict()
    after, _, _ = train(model, *data)
    assert not np.array_equal(before["1.running_mean"], after["1.running_mean"])
    assert np.isfinite(cr.predict(model, data[0])).all()


def test_the_mode_of_every_part_stays(data, make, train):
    model = make(dropout=0.2)
    model.eval()
    model[0].training = True
    modes = [m.training for m in model.modules()]
    train(model, *data, validation=0.2)
    assert [m.training for m in model.modules()] == modes
    cr.predict(model, data[0])
    cr.evaluate(model, *data)
    assert [m.training for m in model.modules()] == modes


def test_two_runs_share_nothing(data, make, train, identical):
    """The optimiser object, callbacks and the model's own seed carry nothing over."""
    X, y = data
    optimizer, stopping = optim.Adam(1e-2), cr.EarlyStopping(2, "loss")
    first = train(make(dropout=0.2), X, y, optimizer=optimizer, early_stopping=stopping)
    again = train(make(dropout=0.2), X, y, optimizer=optimizer, early_stopping=stopping)
    assert identical(first[0], again[0]) and first[1] == again[1]


def test_fit_in_other_threads_gives_the_same(data, make, train, identical):
    X, y = data
    expected = train(make(dropout=0.2), X, y, epochs=20)[0]
    results = [None, None]

    def work(i):
        results[i] = train(make(dropout=0.2), X, y, epochs=20)[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(identical(expected, r) for r in results)


def test_predict_is_the_eager_forward_pass(data, make):
    X, _ = data
    model = make(dropout=0.5, batch_norm=True)
    found = cr.predict(model, X)
    model.eval()
    np.testing.assert_allclose(found, model(X).detach().numpy(), rtol=1e-6, atol=1e-6)
    for size in (1, 7, 60, 1000):
        np.testing.assert_allclose(cr.predict(model, X, batch_size=size), found, rtol=1e-5, atol=1e-6)


def test_evaluate_takes_whole_numbers_for_real_targets():
    X = np.arange(12.0).reshape(6, 2)
    model = nn.Sequential(nn.Linear(2, 1))
    y = np.arange(6)
    figures = cr.evaluate(model, X, y, loss="mse", metrics=["r2", "rmse", "mae"])
    assert figures == pytest.approx(
        cr.evaluate(model, X, y.astype(float)[:, None], loss="mse", metrics=["r2", "rmse", "mae"])
    )
    output = cr.predict(model, X)[:, 0].astype(np.float64)
    assert figures["loss"] == pytest.approx(np.mean((output - y) ** 2), rel=1e-5)
    assert figures["rmse"] == pytest.approx(np.sqrt(figures["loss"]), rel=1e-5)


def test_blas_threads_are_put_back(data, make, train):
    from chainrule.train import blas

    library = blas.library()
    if library is None:
        pytest.skip("NumPy uses no OpenBLAS of its wheel")
    before, during = library.threads, []
    with contextlib.suppress(ZeroDivisionError):
        train(make(), *data, callbacks=[lambda run: during.append(library.threads), lambda run: 1 / 0])
    assert during == [1] and library.threads == before
    train(make(), *data, threads=2, epochs=1, callbacks=[lambda run: during.append(library.threads)])
    assert during == [1, 2] and library.threads == before


def test_blas_threads_are_put_back_by_runs_that_overlap():
    from chainrule.train.blas import OpenBLAS

    number = [4]
    blas = OpenBLAS(lambda: number[0], lambda n: number.__setitem__(0, n))
    for order in ((0, 1), (1, 0)):
        runs = [blas.limited(1), blas.limited(1)]
        for r in runs:
            r.__enter__()
        for i in order:
            runs[i].__exit__(None, None, None)
        assert number == [4]
    with blas.limited(6):
        assert number == [6]
    assert number == [4]


def test_the_plans_of_a_step_are_bounded_and_its_learning_rate_may_change():
    from chainrule.optim.schedules import Adjustable
    from chainrule.train.step import PLANS, TrainingStep

    model = nn.Linear(1, 1, weight_init="zeros")
    step = TrainingStep(model, "mse", optim.SGD(Adjustable(0.25)))
    kept = step.binding(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    for rows in range(2, 2 * PLANS):
        one = np.ones((1, 1), np.float32)
        assert step.binding(one, one) is kept  # used again and again: it stays
        step.binding(np.ones((rows, 1), np.float32), np.ones((rows, 1), np.float32))
    assert len(step._bindings) == PLANS
    step.rate[...] = 0.5
    X, y = np.ones((2, 1), np.float32), np.full((2, 1), 4, np.float32)
    assert step.run(X, y) == (16.0,)
    assert step.parameters["weight"] == 4  # 2 · 4 · 0.5; another 4 went to the bias
    assert step.rate == 0.5
