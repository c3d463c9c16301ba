"""What fit, predict and evaluate refuse, and in which words; and runs that stop being finite."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

ROWS = np.ones((6, 5), np.float32)
IDS = np.array([0, 1, 2, 0, 1, 2])
NAN = ROWS.copy()
NAN[2, 3] = np.nan
WIDE = ROWS.astype(np.float64) * 1e300
INF = ROWS.copy()
INF[1:3, 0] = -np.inf, np.inf

REFUSED = [
    (NAN, IDS, {}, ValueError, r"X holds 1 value that is not finite, the first nan at \[2, 3\]; impute or remove"),
    (INF, IDS, {}, ValueError, r"X holds 2 values that are not finite, the first -inf at \[1, 0\]"),
    (WIDE, IDS, {}, ValueError, r"X holds 30 values that are not finite in float32, the first 1e\+300"),
    (ROWS.astype(complex), IDS, {}, TypeError, r"X is complex \(complex128\)"),
    (ROWS.astype(object), IDS, {}, TypeError, r"X is of type ndarray \(dtype object\)"),
    (ROWS.astype(str), IDS, {}, TypeError, "X is of type ndarray"),
    (ROWS.astype(np.float16), IDS, {}, TypeError, "X: .*float16"),
    (ROWS[:0], IDS[:0], {}, ValueError, r"X has shape \(0, 5\): no examples"),
    (np.float32(1), IDS, {}, ValueError, r"X has shape \(\): no examples"),
    (ROWS[:, :4], IDS, {}, ValueError, r"X has shape \(6, 4\), Linear expects \(…, 5\)"),
    (ROWS, IDS[:5], {}, ValueError, r"y has shape \(5,\), X has 6 rows"),
    (ROWS, 1, {}, ValueError, r"y has shape \(\), X has 6 rows"),
    (ROWS, IDS + 1, {}, ValueError, "labels reach 3, but the output has 3 columns"),
    (ROWS, IDS - 1, {}, ValueError, r"class ids .*got -1"),
    (ROWS, IDS.astype(float), {}, TypeError, "class ids, got dtype float32"),
    (ROWS, IDS.astype(str), {}, TypeError, "y: .*'0'"),
    (ROWS, np.ones((6, 2)), {}, ValueError, r"output has shape \(6, 3\), target \(6, 2\)"),
    (ROWS, np.full((6, 3), np.nan), {"loss": "mse"}, ValueError, "y holds 18 values that are not finite"),
    (ROWS, IDS, {"loss": "mse"}, ValueError, r"mse: output has shape \(6, 3\), target \(6,\)"),
    (ROWS, IDS, {"loss": "binary_cross_entropy"}, ValueError, "binary_cross_entropy: output has shape"),
    (ROWS, IDS, {"loss": "nope"}, ValueError, r"loss 'nope'.*mse"),
    (ROWS, IDS, {"loss": 3}, TypeError, r"loss: .*got a int"),
    (ROWS, IDS, {"loss": lambda o, t: o}, ValueError, r"loss <lambda>: .*shape \(6, 3\)"),
    (ROWS, IDS, {"loss": lambda o, t: 1.0}, ValueError, "expected one real number"),
    (ROWS, IDS, {"optimizer": "nope"}, ValueError, "no optimiser 'nope'"),
    (ROWS, IDS, {"optimizer": optim.Adam}, TypeError, r"optimizer: .*Adam\(lr=…\)"),
    (ROWS, IDS, {"epochs": 0}, ValueError, "epochs: .*got 0"),
    (ROWS, IDS, {"epochs": 2.5}, TypeError, "epochs: .*got 2.5"),
    (ROWS, IDS, {"epochs": True}, TypeError, "epochs: .*got True"),
    (ROWS, IDS, {"batch_size": 0}, ValueError, "batch_size: .*got 0"),
    (ROWS, IDS, {"batch_size": "all"}, TypeError, "batch_size: .*got 'all'"),
    (ROWS, IDS, {"seed": -1}, ValueError, "seed: .*got -1"),
    (ROWS, IDS, {"seed": 0.5}, TypeError, "seed: .*got 0.5"),
    (ROWS, IDS, {"l1": -1}, ValueError, r"l1: .*got -1"),
    (ROWS, IDS, {"l2": np.nan}, ValueError, r"l2: .*got nan"),
    (ROWS, IDS, {"engine": "nope"}, ValueError, r"engine: .*got 'nope'"),
    (ROWS, IDS, {"threads": 0}, ValueError, r"threads: .*got 0"),
    (ROWS, IDS, {"validation": 1.5}, ValueError, "validation is 1.5; expected a fraction between 0 and 1"),
    (ROWS, IDS, {"validation": 0.01}, ValueError, "validation=0.01 of 6 examples leaves a split empty"),
    (ROWS, IDS, {"validation": "some"}, TypeError, "validation is a str"),
    (ROWS, IDS, {"validation": True}, TypeError, "validation is a bool"),
    (ROWS, IDS, {"validation": (ROWS,)}, ValueError, "validation has 1 entries"),
    (ROWS, IDS, {"validation": (ROWS[:, :2], IDS)}, ValueError, r"validation\[0\] has shape \(6, 2\), X has \(6, 5\)"),
    (ROWS, IDS, {"validation": (NAN, IDS)}, ValueError, r"validation\[0\] holds 1 value that is not finite"),
    (
        ROWS,
        IDS,
        {"validation": (ROWS, IDS[:2])},
        ValueError,
        r"validation\[1\] has shape \(2,\), validation\[0\] has 6",
    ),
    (ROWS, IDS, {"validation": (ROWS, IDS + 9)}, ValueError, "validation: cross_entropy: labels reach 11"),
    (ROWS, IDS, {"metrics": ["nope"]}, ValueError, "metrics names 'nope'"),
]


@pytest.mark.parametrize(("X", "y", "settings", "kind", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refused_before_anything_is_trained(make, X, y, settings, kind, message):
    model = make(dropout=0.1)
    model.eval()
    with pytest.raises(kind, match=message):
        cr.fit(model, X, y, **{"progress": False, **settings})
    assert not model.training and np.array_equal(model[0].weight.value, make()[0].weight.value)


def test_a_model_that_cannot_be_trained(make):
    class Tuple(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(5, 3)

        def forward(self, X):
            return (self.inner(X),)

    class Idle(Tuple):
        def forward(self, X):
            return X[:, :3]

    with pytest.raises(TypeError, match="the model returned a tuple"):
        cr.fit(Tuple(), ROWS, IDS)
    assert cr.predict(Tuple(), ROWS)[0].shape == (len(ROWS), 3)
    with pytest.raises(ValueError, match=r"does not reach the parameters inner\.weight, inner\.bias"):
        cr.fit(Idle(), ROWS, IDS)
    with pytest.raises(ValueError, match="the model has no parameters"):
        cr.fit(nn.Sequential(nn.ReLU()), ROWS, np.zeros(6, int))


@pytest.mark.parametrize("run", [cr.fit, cr.evaluate, cr.backprop, lambda model, X, y: cr.predict(model, X)])
def test_what_is_no_model(run):
    for model, kind in ((None, "NoneType"), (np.tanh, "ufunc"), (nn.Linear, "type")):
        with pytest.raises(TypeError, match=rf"model: expected an nn\.Module.*got a {kind}"):
            run(model, ROWS, IDS)


def test_ids_out_of_range_anywhere_in_the_data():
    model = nn.Sequential(nn.Embedding(4, 2), nn.Flatten(), nn.Linear(4, 2))
    for bad in (4, -1):
        X = np.array([[0, 1], [2, 3], [1, bad]])
        with pytest.raises(ValueError, match="Embedding has rows 0 … 3"):
            cr.fit(model, X, np.array([0, 1, 0]))


def test_a_last_batch_that_the_model_cannot_take_is_found_first(make):
    model = make(batch_norm=True)
    with pytest.raises(ValueError, match=r"1 value\(s\) of each feature; batch norm needs at least 2"):
        cr.fit(model, ROWS, IDS, batch_size=5)
    assert np.array_equal(model[0].weight.value, make()[0].weight.value)


def test_one_class_only_is_learnt(make):
    history = cr.fit(make(), ROWS, np.zeros(6, int), epochs=20, optimizer=optim.Adam(0.1))
    assert history["accuracy"][-1] == 1.0


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (ROWS[:0], "no examples"),
        (NAN, "X holds 1 value"),
        (WIDE, "not finite in float32"),
        (ROWS[:, :3], "expects"),
    ],
)
def test_predict_refuses_the_same(make, X, message):
    with pytest.raises(ValueError, match=message):
        cr.predict(make(), X)
    with pytest.raises(ValueError, match=message):
        cr.evaluate(make(), X, IDS[: len(X)])


def test_predict_and_evaluate_arguments(make):
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"batch_size: .*got {bad}"):
            cr.predict(make(), ROWS, batch_size=bad)
    with pytest.raises(ValueError, match=r"y has shape \(5,\), X has 6 rows"):
        cr.evaluate(make(), ROWS, IDS[:5])
    with pytest.raises(ValueError, match="labels reach 3"):
        cr.evaluate(make(), ROWS, IDS + 1)


# -- what stops being finite ----------------------------------------------------------------------------------------


def stops(model, X, y, **settings):
    weights = []

    class Keep:
        def on_begin(self, run):
            self.run = run

        def on_step(self, run):
            weights.append([p.copy() for p in run.training.parameters.values()])

    with pytest.raises(cr.NonFiniteError) as caught:
        cr.fit(model, X, y, progress=False, shuffle=False, callbacks=[Keep()], **settings)
    return str(caught.value), weights


def test_an_overflow_is_named_where_it_begins(make):
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).initialize(0)
    model[0].weight.assign(np.ones((5, 4)))
    model[2].weight.assign(np.ones((4, 3)))
    X = np.concatenate([np.zeros((4, 5)), np.full((2, 5), 6e37)])  # A1 holds 3e38, their sum is more than float32 holds
    message, weights = stops(model, X, IDS, batch_size=2, optimizer=optim.SGD(1e-3))
    assert "in epoch 1, step 3 of 3: the first non-finite tensor is the result of matmul in Z2" in message
    assert "(shape (2, 3): inf in 6 of 6 elements), computed by matmul from A1 up to 3e+38 in size and W2" in message
    assert "A smaller learning rate" in message
    for parameter, kept in zip(model.parameters(), weights[1], strict=True):
        assert np.array_equal(parameter.value, kept)


def test_a_gradient_that_is_not_finite_is_named():
    class Root(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(np.zeros(2, np.float32))

        def forward(self, X):
            return np.sqrt(X * self.w)

    model = Root()
    message, _ = stops(model, np.ones((4, 2), "f4"), np.ones((4, 2), "f4"), loss="mse", batch_size=None)
    assert "the first non-finite tensor is the gradient of " in message
    assert model.w.value.tolist() == [0, 0]


def test_a_learning_rate_that_explodes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(32, 3)).astype("f4")
    model = nn.Sequential(nn.Linear(3, 1)).initialize(0)
    message, weights = stops(model, X, X[:, :1], loss="mse", optimizer=optim.SGD(1e6), batch_size=8, epochs=50)
    assert "the first non-finite tensor is" in message
    assert all(np.isfinite(p.value).all() for p in model.parameters())
    assert any(np.array_equal(next(model.parameters()).value, w[0]) for w in weights)


def test_an_update_that_overflows_is_named():
    """The loss and all gradients are finite, the new weight is not."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    model[0].weight.assign([[1.0]])
    X = np.ones((4, 1), "f4")
    message, _ = stops(model, X, X + 1e10, loss="mse", optimizer=optim.SGD(1e30), epochs=1)
    assert "W1, as updated (shape (1, 1): inf in 1 of 1 element)" in message
    assert model[0].weight.value.tolist() == [[1.0]]


def test_early_stopping_puts_the_best_weights_back_even_then():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(32, 3)).astype("f4")
    model = nn.Sequential(nn.Linear(3, 1)).initialize(0)

    class Break:
        def on_step(self, run):
            if run.step == 6:
                next(iter(run.training.parameters.values()))[...] = np.inf

    with pytest.raises(cr.NonFiniteError, match="stopped being finite in epoch 2, step 3 of 4"):
        cr.fit(model, X, X[:, :1], loss="mse", early_stopping=5, batch_size=8, callbacks=[Break()])
    assert all(np.isfinite(p.value).all() for p in model.parameters())


@pytest.mark.parametrize("ids", [-1, -5, 5])
def test_ids_that_a_table_lacks(ids):
    """Also negative ones, which NumPy counts from the end, and in later batches."""
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    good, y = np.zeros((4, 2), int), np.zeros(4, int)
    bad = good.copy()
    bad[2, 1] = ids
    for call in (
        lambda: cr.predict(model, bad),
        lambda: cr.evaluate(model, bad, y),
        lambda: cr.fit(model, bad, y, progress=False),
        lambda: cr.fit(model, good, y, validation=(bad, y), progress=False),
        lambda: cr.fit(model, [(good, y), (bad, y)], progress=False),
        lambda: cr.fit(model, [(good, y)], validation=lambda: [(good, y), (bad, y)], progress=False),
    ):
        with pytest.raises((ValueError, IndexError), match=r"Embedding has rows 0 … 4|out of bounds"):
            call()
