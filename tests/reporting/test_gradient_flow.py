"""GradientFlow: its figures against a pass taken apart by hand, its cost, its file."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.reporting import figures
from chainrule.reporting.flow_file import read_flow
from chainrule.reporting.gradient_flow import FILE


def unbounded(flow):
    """Let a callback take as long as it likes: the epochs of tests take no time."""
    flow.share = 1e9
    return flow


class Every(cr.Callback):
    """Call a function with the run after each epoch, before the callbacks that come later."""

    def __init__(self, function):
        self.on_epoch = function


def test_the_figures_are_those_of_backprop(tmp_path, data, model):
    X, y = (a[:120] for a in data)  # few enough that distributions are of all elements
    flow = cr.GradientFlow(tmp_path, X, y, rows=256)  # the sample is all rows
    truth = cr.backprop(model, X, y)
    cr.fit(model, X, y, epochs=1, callbacks=[flow], progress=False)
    first = read_flow(flow.path).snapshots[0].figures
    for i, layer in enumerate("123"):
        W, dW, dZ = (truth[name + layer].astype(np.float64) for name in ("W", "dW", "dZ"))
        np.testing.assert_allclose(first[i, "gradient"], np.linalg.norm(dW) / np.linalg.norm(W), rtol=1e-4)
        sizes = np.log10(np.abs(dZ[dZ != 0]))
        np.testing.assert_allclose(first[i, "dZ"][0], np.mean(dZ == 0), atol=1e-6)
        np.testing.assert_allclose(first[i, "dZ"][[1, 7]], [sizes.min(), sizes.max()], rtol=1e-3)
        Z = truth["Z" + layer]
        np.testing.assert_allclose(first[i, "Z"][[0, 1]], [Z.min(), Z.max()], rtol=1e-4)
        np.testing.assert_array_equal(first[i, "Z"][-figures.BINS :], np.histogram(Z, figures.BINS)[0])
        np.testing.assert_allclose(first[i, "edges W"], W[: figures.MOST_UNITS], rtol=1e-6)
        np.testing.assert_allclose(first[i, "edges dW"], dW, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(first[i, "units dZ"], np.sqrt(np.mean(dZ**2, axis=0)), rtol=1e-3)


def test_the_update_is_the_one_that_a_step_makes(tmp_path, data):
    X, y = data
    model = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2)).initialize(0)
    before = {k: np.array(v) for k, v in model.state_dict().items()}
    flow = cr.GradientFlow(tmp_path, X, y, rows=256)
    cr.fit(model, X, y, epochs=1, batch_size=None, shuffle=False, optimizer=optim.Adam(0.01), l2=0.1,
           callbacks=[flow], progress=False)  # fmt: skip
    first = read_flow(flow.path).snapshots[0].figures
    for i, name in enumerate(("0.weight", "2.weight")):
        change = model.state_dict()[name] - before[name]
        np.testing.assert_allclose(first[i, "edges update"], change, rtol=2e-2, atol=1e-5)
        np.testing.assert_allclose(first[i, "update"], np.linalg.norm(change) / np.linalg.norm(before[name]), rtol=1e-3)


def test_the_last_update_is_not_that_of_a_schedule_at_its_end(tmp_path, data, model):
    flow = cr.GradientFlow(tmp_path, *data)
    cr.fit(model, *data, epochs=2, batch_size=100, optimizer=optim.SGD(optim.Cosine(0.1, 4)), callbacks=[flow],
           progress=False)  # fmt: skip
    last = read_flow(flow.path).snapshots[-1]
    assert last.step == 4
    assert last.figures[0, "update"] > 0


def test_the_sample_has_no_weights(tmp_path, data, model):
    """The figures before the first step are those of a run in which all examples count the same."""
    X, y = (a[:120] for a in data)
    found = []
    for weights in (None, np.linspace(0.1, 3, 120)):
        flow = cr.GradientFlow(tmp_path, X, y)
        cr.fit(model.initialize(0), X, y, epochs=1, callbacks=[flow], progress=False, sample_weight=weights)
        found.append(read_flow(flow.path).snapshots[0].figures)
    for key in ((0, "gradient"), (1, "dZ")):
        np.testing.assert_array_equal(found[0][key], found[1][key])


def test_training_goes_on_as_without_it(tmp_path, data):
    X, y = data
    weights = []
    for callbacks in ([], [unbounded(cr.GradientFlow(tmp_path, X, y))]):
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        cr.fit(model.initialize(0), X, y, epochs=3, callbacks=callbacks, progress=False)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])
    figures_ = read_flow(tmp_path / FILE).snapshots[-1].figures
    assert {"dead", "saturated", "Z", "A", "dZ", "dW"} <= {name for i, name in figures_ if i == 0}


def test_dead_and_saturated_units():
    after = np.ones((4, 3))
    before = after * [[0.0, 1.0, 0.04]]
    dead, saturated, by_unit = figures.shares(before, after, 1.0)
    assert dead == pytest.approx(1 / 3)
    assert saturated == pytest.approx(2 / 3)
    np.testing.assert_allclose(by_unit, [1.0, 0.0, 1.0])
    assert figures.shares(before, after, 0.25)[1] == pytest.approx(1 / 3)  # 0.04 of 0.25 is no small share
    assert np.isnan(figures.shares(before, np.zeros((4, 3)), 1.0)[1])


def test_a_dead_layer_is_seen(tmp_path, data, model):
    X, y = data
    model[2].bias.value[:] = -100.0
    flow = cr.GradientFlow(tmp_path, X, y)
    cr.fit(model, X, y, epochs=1, callbacks=[flow], progress=False, optimizer=optim.SGD(1e-9))
    first = read_flow(flow.path).snapshots[0].figures
    assert first[1, "dead"] == 1.0
    assert first[1, "dZ"][0] == 1.0
    assert first[0, "dead"] == 1.0  # nothing reaches the layer before it either


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_distributions_of_what_is_not_finite(bad):
    values = np.array([1.0, bad, 2.0])
    assert np.isnan(figures.distribution(values)).all()
    assert np.isnan(figures.magnitudes(values)).all()


def test_distributions_at_the_edges():
    assert figures.distribution(np.zeros(3))[-figures.BINS :].sum() == 3
    assert figures.magnitudes(np.zeros(3))[0] == 1.0
    tiny = figures.magnitudes(np.array([1e-30, 1.0, 1e30, 0.0]))
    assert tiny[0] == 0.25
    assert tiny[-figures.BINS :].sum() == 3  # what lies outside is counted in the outer bins
    assert (len(tiny), len(figures.distribution(np.ones(5)))) == (len(figures.MAGNITUDES), len(figures.DISTRIBUTION))


def test_snapshots_are_few_however_long_the_run(trained):
    flow, _ = trained(epochs=170, batch_size=100)
    epochs = [s.epoch for s in read_flow(flow.path).snapshots]
    assert epochs[0] == 0
    assert epochs[-1] == 170
    assert epochs[:4] == [0, 1, 2, 3]
    assert len(epochs) <= 60
    assert max(np.diff(epochs)) == 4
    assert epochs == sorted(set(epochs))


class Clock:
    """Time that passes only when a run makes epochs or a snapshot is taken."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(
    ("seconds", "share", "least"), [(2.0, 0.05, 15), (10.0, 0.05, 50), (2.0, 0.01, 2), (2.0, 0.5, 54)]
)
def test_all_that_it_takes_stays_within_its_share(trained, monkeypatch, seconds, share, least):
    flow, _ = trained(epochs=1)
    clock, written = Clock(), []

    def write(run, *_):  # each snapshot seems to take half a second
        clock.now += 0.5
        written.append(run.epoch)

    class Run:
        epoch, epochs, step, history = 0, 100, 0, ()

    monkeypatch.setattr("chainrule.reporting.gradient_flow.time", clock)
    monkeypatch.setattr("chainrule.reporting.gradient_flow._Snapshot", lambda *_: None)
    monkeypatch.setattr(flow, "_begin_file", write)
    monkeypatch.setattr(flow, "_write", write)
    flow.share = share
    flow.on_begin(Run)
    for epoch in range(1, 101):
        Run.epoch, Run.history = epoch, [{"seconds": seconds}] * epoch
        flow.on_epoch(Run)
        if len(written) > 1:  # with room for the last one
            assert flow.seconds + 0.5 <= share * seconds * epoch
    assert flow.seconds == 0.5 * len(written)
    assert least <= len(written) <= 60


def test_all_its_time_is_counted_and_written(trained):
    flow, history = trained()
    cost = read_flow(flow.path).cost
    assert cost["training"] == pytest.approx(sum(history["seconds"]))
    assert cost["seconds"] == flow.seconds


def test_a_run_of_a_moment_has_two_snapshots_and_says_what_they_cost(tmp_path, data, model):
    flow = cr.GradientFlow(tmp_path, *data, share=1e-9)
    cr.fit(model, *data, epochs=3, callbacks=[flow], progress=False)
    assert [s.epoch for s in read_flow(flow.path).snapshots] == [0, 3]
    text = cr.report(tmp_path).read_text("utf-8")
    assert "more than the 0\u202f% allowed" in text


def test_of_a_very_deep_network_some_layers_are_looked_at(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    model = nn.Sequential(*[m for _ in range(100) for m in (nn.Linear(4, 4), nn.Tanh())]).initialize(0)
    flow = cr.GradientFlow(tmp_path, X, X)
    cr.fit(model, X, X, loss="mse", epochs=1, callbacks=[flow], progress=False)
    found = read_flow(flow.path)
    names = [layer["name"] for layer in found.layers]
    assert (len(names), names[0], names[-1], found.settings["of"]) == (32, "layer 1", "layer 100", 100)
    text = cr.report(tmp_path).read_text("utf-8")
    assert "32 of the network&#x27;s 100 layers" in text
    assert "it has too many layers" in text


def test_activations_that_saturate_on_one_side(tmp_path, data, model):
    flow = cr.GradientFlow(tmp_path, *data)
    cr.fit(model, *data, epochs=1, callbacks=[flow], progress=False)
    assert [layer["one_sided"] for layer in read_flow(flow.path).layers] == [False, True, False]  # tanh, ReLU, none


def test_activations_with_slopes_of_their_own(tmp_path):
    """A slope for each channel, and an activation of whole rows, have no units that saturate."""
    X, y = np.random.default_rng(0).normal(size=(20, 2, 4, 4)).astype(np.float32), np.arange(20) % 3
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.PReLU(3), nn.Flatten(), nn.Linear(12, 4), nn.LogSoftmax(), nn.Linear(4, 3), nn.ReLU()
    )
    flow = cr.GradientFlow(tmp_path, X, y)
    cr.fit(model, X, y, epochs=1, callbacks=[flow], progress=False)
    figures_ = read_flow(flow.path).snapshots[-1].figures
    assert [(i, "saturated") in figures_ for i in range(3)] == [False, False, True]
    assert cr.report(tmp_path).stat().st_size > 0


def test_a_killed_run_keeps_what_it_had(trained, data, tmp_path):
    def killed(run):
        if run.epoch == 3:
            raise SystemExit

    X, y = data
    flow = unbounded(cr.GradientFlow(tmp_path, X, y))
    copies = []
    model = nn.Sequential(nn.Linear(5, 2)).initialize(0)
    with pytest.raises(SystemExit):
        cr.fit(model, X, y, epochs=9, progress=False,
               callbacks=[flow, Every(lambda run: copies.append(flow.path.read_bytes())), killed])  # fmt: skip
    for cut in (0, 1, 50, 1000):  # killed while it wrote: the last line is torn
        flow.path.write_bytes(copies[-1][: len(copies[-1]) - cut])
        found = read_flow(flow.path)
        assert found.cost is None
        assert [s.epoch for s in found.snapshots][:2] == [0, 1]
    page = cr.report(tmp_path).read_text("utf-8")
    assert "did not finish" in page


def test_a_run_that_goes_on_adds_its_lines(tmp_path, data):
    X, y = data

    def run(epochs, resume):
        model = nn.Sequential(nn.Linear(5, 2)).initialize(0)
        flow = unbounded(cr.GradientFlow(tmp_path, X, y))
        stop = [lambda r: r.stop() if r.epoch == 3 and not resume else None]
        cr.fit(model, X, y, epochs=epochs, progress=False, callbacks=[flow, *stop],
               checkpoint=tmp_path / "c.safetensors", resume=resume)  # fmt: skip
        return [s.epoch for s in read_flow(flow.path).snapshots]

    assert run(6, False) == [0, 1, 2, 3]
    assert run(6, True) == [0, 1, 2, 3, 4, 5, 6]


def test_epochs_that_are_trained_again_have_one_line(tmp_path, data):
    """A run that was killed after the epoch 5 resumes from the checkpoint of the epoch 4."""
    X, y = data
    rows = []

    def run(kill):
        def on_epoch(r):
            if r.epoch == 5 and kill:
                raise RuntimeError

        model = nn.Sequential(nn.Linear(5, 2)).initialize(0)
        flow = unbounded(cr.GradientFlow(tmp_path, X, y))
        checkpoint = cr.Checkpoint(tmp_path / "c.safetensors", epochs=2)
        history = cr.fit(model, X, y, epochs=7, progress=False, callbacks=[flow, on_epoch], checkpoint=checkpoint,
                         resume=True)  # fmt: skip
        rows.extend(history)
        return flow.path

    with pytest.raises(RuntimeError):
        run(kill=True)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"epoch": 6, "fig')
    found = read_flow(run(kill=False)).snapshots
    assert [s.epoch for s in found] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [s.history for s in found[1:]] == rows


def test_the_best_weights_are_shown_as_theirs(trained):
    flow, history = trained(epochs=40, early_stopping=1, validation=0.3, optimizer=optim.SGD(3.0))
    last = read_flow(flow.path).snapshots[-1]
    assert history.best_epoch < len(history)
    assert (last.epoch, last.weights) == (len(history), history.best_epoch)


class Own(nn.Module):
    """A network that names nothing."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, X):
        return self.b(np.tanh(self.a(X)))


def test_a_module_of_ones_own_has_its_weights(tmp_path, data):
    X, y = data
    flow = cr.GradientFlow(tmp_path, X, y)
    cr.fit(Own(), X, y, epochs=2, callbacks=[flow], progress=False)
    found = read_flow(flow.path)
    assert [layer["name"] for layer in found.layers] == ["a.weight", "b.weight"]
    assert set(found.snapshots[0].figures) == {(i, n) for i in (0, 1) for n in ("dW", "gradient", "update")}
    page = cr.report(tmp_path).read_text("utf-8")
    assert "not a chain of weight matrices" in page
    assert "units of any layer are dead" not in page  # that was not looked at


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"rows": 0}, ValueError, "rows: expected .* got 0"),
        ({"rows": 257}, ValueError, "rows: expected .* got 257"),
        ({"share": 0}, ValueError, "share: expected .* got 0"),
        ({"y": np.zeros(3)}, ValueError, "the same number of examples"),
        ({"folder": "nowhere"}, FileNotFoundError, "no folder nowhere"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, data, given, error, said):
    given = {"folder": tmp_path, "X": data[0], "y": data[1], **given}
    with pytest.raises(error, match=said):
        cr.GradientFlow(given.pop("folder"), given.pop("X"), given.pop("y"), **given)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something"}, {"version": 2}, {"layers": 3}, {"layers": [{}]}, {"fields": [[9, "dW", [3]]]},
        {"rows": "many"}, {"share": None}, {"of": None},
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused(trained, change):
    flow, _ = trained()
    lines = flow.path.read_text("utf-8").split("\n")
    lines[0] = json.dumps(json.loads(lines[0]) | change)
    flow.path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(ValueError, match=r"gradient_flow\.jsonl"):
        read_flow(flow.path)


@pytest.mark.parametrize("line", ["[1]", "{}", '{"epoch": 1}', "\x00", "[" * 5000,
                                  '{"epoch":1,"step":1,"weights":1,"history":{},"figures":"AAAA"}',
                                  '{"epoch":1,"step":1,"weights":1,"history":{},"figures":"AAAAAA=="}',
                                  '{"epoch":1,"step":1,"weights":1,"history":{},"figures":"&"}'])  # fmt: skip
def test_damaged_lines_are_left_out(trained, line):
    flow, _ = trained()
    before = [s.epoch for s in read_flow(flow.path).snapshots]
    with flow.path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert [s.epoch for s in read_flow(flow.path).snapshots] == before
