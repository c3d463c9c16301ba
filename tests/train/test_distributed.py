"""Training in several processes: the same bits for any number of them, and the results of one process."""

import functools
import os
import threading
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.apply import apply
from chainrule.core.processes import Group
from chainrule.core.tensor import tensor
from chainrule.ops.collective import FINISHED, SHARED_NODES
from chainrule.train.sharded import Sharding
from chainrule.train.step import TrainingStep
from tests.communicator import World, in_ranks
from tests.tables import for_each

RNG = np.random.default_rng(0)
X, IDS = RNG.normal(size=(70, 6)).astype(np.float32), RNG.integers(0, 3, 70)
IMAGES = RNG.normal(size=(30, 2, 6, 6)).astype(np.float32)
WORDS = RNG.integers(0, 9, (40, 5))


def dense(**settings):
    return nn.Sequential(nn.Linear(6, 12, **settings), nn.Tanh(), nn.Linear(12, 3, **settings))


def normalised():
    first = [nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*first, nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def convolutional():
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 3))


class TwoOutputs(nn.Module):
    """A dict of outputs, of two dtypes, with noise from the generator of the run."""

    def __init__(self):
        self.shared = nn.Linear(6, 5)
        self.kind, self.size = nn.Linear(5, 3), nn.Linear(5, 1, dtype=np.float64)

    def forward(self, x):
        hidden = np.tanh(self.shared(x) + 0.1 * cr.random.uniform((x.shape[0], 5)))
        return {"kind": self.kind(hidden), "size": self.size(hidden)}


def batches():
    return [(X[i : i + 13], IDS[i : i + 13]) for i in range(0, 70, 13)]


ADAM = optim.Adam(1e-2)
RUNS = {
    "adam, ragged last batch": (dense, X, IDS, {"optimizer": ADAM, "batch_size": 32}),
    "norm and dropout": (normalised, X, IDS, {"optimizer": ADAM, "batch_size": 22, "validation": 0.2}),
    "images": (convolutional, IMAGES, IDS[:30], {"optimizer": ADAM, "batch_size": 10}),
    "penalties and clipping": (
        dense, X, IDS, {"optimizer": optim.SGD(0.1, momentum=0.9, clip_norm=0.1), "l1": 0.01, "l2": 0.1}
    ),
    "accumulation and averages": (
        normalised, X, IDS, {"optimizer": optim.SGD(0.05), "batch_size": 15, "accumulate": 3, "ema": 0.9}
    ),
    "weights": (dense, X, IDS, {"optimizer": ADAM, "sample_weight": np.linspace(0, 1, 70)}),
    "ignored": (
        dense, X, np.where(IDS == 1, -1, IDS),
        {"optimizer": ADAM, "loss": functools.partial(nn.losses.cross_entropy, ignore_index=-1), "metrics": []},
    ),
    "two outputs": (
        TwoOutputs, X, {"kind": IDS, "size": X[:, :1].astype(np.float64)},
        {"optimizer": optim.SGD(0.05), "loss": {"kind": "cross_entropy", "size": "mse"}},
    ),
    "float64, full batch": (
        functools.partial(dense, dtype=np.float64), X, X[:, :3].astype(np.float64),
        {"optimizer": optim.RMSprop(1e-2), "loss": "huber", "metrics": ["r2", "rmse"], "batch_size": None},
    ),
    "ids": (
        lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3)), WORDS, IDS[:40], {"optimizer": ADAM}
    ),
    "recurrent": (
        lambda: nn.Sequential(nn.GRU(3, 4), nn.Flatten(), nn.Linear(8, 3)), X.reshape(70, 2, 3), IDS,
        {"optimizer": ADAM},
    ),
    "batches": (normalised, batches, None, {"optimizer": ADAM}),
    "gradients in shared memory": (
        lambda: nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 40), nn.ReLU(), nn.Linear(40, 3)), X, IDS,
        {"optimizer": ADAM, "accumulate": 2, "batch_size": 12},
    ),
    "pairs of a batch": (
        dense, X, IDS, {"optimizer": ADAM, "loss": lambda z, y: np.mean((z[:, None] - z[None, :]) ** 2), "metrics": []}
    ),
}  # fmt: skip


def trained(kind, comm=None, shards=None, epochs=2, **more):
    make, X, y, settings = RUNS[kind]
    model = make().initialize(3)
    history = cr.fit(
        model, X, y, epochs=epochs, progress=False, distributed=comm, shards=shards, threads=1, **{**settings, **more}
    )
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "waited")} for row in history.rows]
    return rows, model.state_dict()


def assert_same(found, expected):
    rows, state = found
    assert rows == expected[0]
    assert {k: a.tobytes() for k, a in state.items()} == {k: a.tobytes() for k, a in expected[1].items()}


#: Those that the fast tests try.
QUICK = (
    "images",
    "gradients in shared memory",
    "accumulation and averages",
    "two outputs",
    "penalties and clipping",
    "batches",
)


@for_each("kind", QUICK)
def test_any_number_of_processes_gives_the_same_bits(kind):
    expected = trained(kind, shards=8, epochs=1)
    for found in in_ranks(3, lambda comm: trained(kind, comm, 8, epochs=1)):
        assert_same(found, expected)


def test_gradients_that_are_sent_give_the_same_bits_as_those_in_shared_memory(monkeypatch):
    def refused(name):
        raise OSError

    kind = "gradients in shared memory"
    expected = trained(kind, shards=3, epochs=1)
    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    for found in in_ranks(2, lambda comm: trained(kind, comm, 3, epochs=1)):
        assert_same(found, expected)


@pytest.mark.slow
@for_each("kind", RUNS)
def test_up_to_more_processes_than_shards_give_the_same_bits(kind):
    expected = trained(kind, shards=8)
    for size in (1, 2, 4, 8, 11):
        for found in in_ranks(size, lambda comm: trained(kind, comm, 8)):
            assert_same(found, expected)


def test_the_numpy_engine_takes_part_with_its_own_bits():
    expected = trained("norm and dropout", shards=5, engine="numpy")
    for found in in_ranks(3, lambda comm: trained("norm and dropout", comm, 5, engine="numpy")):
        assert_same(found, expected)


@for_each("last", [True, False])
def test_no_process_writes_gradients_while_another_may_still_read_those_of_the_step_before(last):
    make, X, y, settings = RUNS["gradients in shared memory"]

    def rank(comm):
        sharding = Sharding(Group(comm), 3)
        step = TrainingStep(make(), "cross_entropy", settings["optimizer"], accumulate=True, sharding=sharding)
        return step.binding(X[:12], y[:12], last).plan

    for plan in in_ranks(2, rank):
        (rows,) = [i for i, step in enumerate(plan.operations) if step.op is SHARED_NODES]
        (end,) = [i for i, step in enumerate(plan.operations) if step.op is FINISHED]
        reads = [
            i for i, step in enumerate(plan.operations)
            if any(plan.values[n].root == plan.operations[rows].output for n in step.inputs)
        ]  # fmt: skip
        assert reads and rows < min(reads) and max(reads) < end
        written = {plan.values[n].state for n in (plan.operations[rows].output, *plan.operations[rows].inputs)}
        assert len(written) > 1 and None not in written  # where the others read it, without a copy


def test_a_step_is_finished_when_all_processes_have_finished_it():
    arrived = []

    def rank(comm):
        group = Group(comm)
        if group.rank == 1:
            time.sleep(0.05)
        arrived.append(comm.Get_rank())
        apply(FINISHED, (tensor(X),), {"group": group})
        return len(arrived)

    assert in_ranks(2, rank) == [2, 2]


@for_each("kind", QUICK)
def test_shards_give_what_whole_batches_give_up_to_rounding(kind):
    assert_close(kind)


@pytest.mark.slow
@for_each("kind", RUNS)
def test_shards_give_what_whole_batches_give_for_all_kinds(kind):
    assert_close(kind)


def assert_close(kind):
    expected = trained(kind, optimizer=optim.SGD(0.05))
    for shards in (1, 5):
        rows, state = trained(kind, shards=shards, optimizer=optim.SGD(0.05))
        for row, other in zip(rows, expected[0], strict=True):
            assert {k: pytest.approx(v, rel=2e-4, abs=2e-5) for k, v in other.items()} == row
        for name, array in expected[1].items():
            np.testing.assert_allclose(state[name], array, rtol=2e-3, atol=2e-5, err_msg=name)


def test_draws_that_are_not_by_row_differ_from_shard_to_shard():
    class Noise(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(6, 3)

        def forward(self, x):
            return self.linear(x) * 0 + cr.random.normal((x.shape[0], 3))

    def loss(output, target):
        return np.mean(output) + 1e6 * np.mean(np.square(output[:10] - output[10:20]) < 1e-9)

    def run(comm):
        history = cr.fit(
            Noise(), X[:20], X[:20, :3], loss=loss, shards=2, epochs=3, batch_size=None, distributed=comm,
            progress=False,
        )  # fmt: skip
        return history["loss"]

    assert max(map(abs, run(None))) < 2 and len(set(run(None))) == 3
    assert in_ranks(2, run) == [run(None)] * 2


def test_each_process_has_one_shard_by_default():
    expected = trained("adam, ragged last batch", shards=3)
    for found in in_ranks(3, lambda comm: trained("adam, ragged last batch", comm)):
        assert_same(found, expected)
    with pytest.raises(ValueError, match="shards: expected an integer ≥ 1, got 0"):
        trained("adam, ragged last batch", shards=0)


def test_a_run_resumes_on_another_number_of_processes_to_the_same_bits(tmp_path):
    file = tmp_path / "run.safetensors"
    expected = trained("norm and dropout", shards=8, epochs=4, early_stopping=3)
    more = {"checkpoint": cr.Checkpoint(file, steps=2), "resume": True, "early_stopping": 3}
    for size, epochs in ((3, 1), (2, 3), (4, 4)):
        found = in_ranks(size, lambda comm, epochs=epochs: trained("norm and dropout", comm, 8, epochs=epochs, **more))
    for one in found:
        assert_same(one, expected)
    with pytest.raises(ValueError, match="shards was 8, is 4"):
        trained("norm and dropout", shards=4, epochs=5, **more)
    assert os.listdir(tmp_path) == [file.name]


def test_a_run_keeps_its_shards_on_another_number_of_processes(tmp_path):
    """Also on one process that no longer says that there were several."""
    for sizes in ((3, 2), (2, 1)):
        file = tmp_path / f"{sizes[0]}.safetensors"
        expected = trained("adam, ragged last batch", shards=sizes[0])
        more = {"checkpoint": file, "resume": True}
        in_ranks(sizes[0], lambda comm, more=more: trained("adam, ragged last batch", comm, epochs=1, **more))
        if sizes[1] == 1:
            found = [trained("adam, ragged last batch", **more)]
        else:
            found = in_ranks(sizes[1], lambda comm, more=more: trained("adam, ragged last batch", comm, **more))
        for one in found:
            assert_same(one, expected)
    file.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="safetensors"):
        trained("adam, ragged last batch", **more)


class Rate(cr.Callback):
    """Changes the rate in the first process."""

    def __init__(self):
        self.ranks = []

    def on_step(self, run):
        self.ranks.append(threading.get_ident())
        if run.step == 2:
            run.training.rate[...] = 1e-4
        if run.step == 5:
            run.stop("a reason")


def test_callbacks_are_called_in_the_first_process_and_decide_for_all():
    rate = Rate()
    make, X, y, _ = RUNS["adam, ragged last batch"]

    def rank(comm):
        model = make().initialize(0)
        adam = optim.Adam(optim.ReduceOnPlateau(1e-2))
        history = cr.fit(
            model, X, y, epochs=9, batch_size=32, optimizer=adam, callbacks=[rate], distributed=comm, progress=False
        )
        return history.stopped, len(history), model.state_dict()

    found = in_ranks(3, rank)
    assert len(set(rate.ranks)) == 1 and len(rate.ranks) == 5
    assert [one[:2] for one in found] == [("a reason", 1)] * 3
    assert all(np.array_equal(one[2]["0.weight"], found[0][2]["0.weight"]) for one in found)


@pytest.mark.parametrize("signalled", [(0,), (1,), (0, 1)])
def test_a_signal_that_comes_while_processes_agree_is_not_lost(signalled, monkeypatch):
    from chainrule.train.together import Pace

    make, X, y, _ = RUNS["adam, ragged last batch"]
    runs, agreed = {}, Pace.agree

    def agree(self, *given):
        found = agreed(self, *given)
        run = runs[self._group.rank]
        if run.step >= 2 and self._group.rank in signalled and not run.interrupted:  # as the handler of Ctrl-C does
            run.interrupted = True
            run.stop("interrupted")
        return found

    monkeypatch.setattr(Pace, "agree", agree)

    def rank(comm):
        class Begin(cr.Callback):
            everywhere = True

            def on_begin(self, run):
                runs[comm.Get_rank()] = run

        history = cr.fit(
            make(), X, y, epochs=90, batch_size=32, callbacks=[Begin()], distributed=comm, progress=False, seed=0
        )
        return history.stopped, history.interrupted, runs[comm.Get_rank()].step

    first, second = in_ranks(2, rank)
    assert first == second and first[:2] == ("interrupted", True) and first[2] < 200


def test_early_stopping_ends_all_with_the_best_weights():
    def run(comm):
        return trained("norm and dropout", comm, 8, epochs=30, early_stopping=2, optimizer=optim.Adam(0.2))

    expected = run(None)
    assert len(expected[0]) < 30
    for found in in_ranks(3, run):
        assert_same(found, expected)


# -- failures ----------------------------------------------------------------------------------------------------------


def failures(size, function):
    """Return the errors of each rank, and whether all were aborted."""
    world = World(size)
    return world.run(function), world.aborted


def test_what_one_process_refuses_ends_all_of_them_before_the_training(capsys):
    def rank(comm):
        y = IDS[:-1] if comm.Get_rank() == 1 else IDS
        return cr.fit(dense(), X, y, distributed=comm, progress=False)

    (first, second, third), aborted = failures(3, rank)
    assert isinstance(second, ValueError) and "69" in str(second)
    for other in (first, third):
        assert isinstance(other, RuntimeError) and "since process 1 failed: ValueError" in str(other)
    assert aborted is None


OTHERS = {"data": {"X": X + 1}, "weights": {"seed_of_model": 1}, "optimizer": {"optimizer": "sgd"}, "seed": {"seed": 5}}


@for_each("name", OTHERS)
def test_processes_that_differ_are_told_in_what(name):
    given = OTHERS[name]

    def rank(comm):
        settings = {"X": X, "seed_of_model": 0, **(given if comm.Get_rank() == 1 else {})}
        return cr.fit(
            dense().initialize(settings.pop("seed_of_model")), settings.pop("X"), IDS, distributed=comm, progress=False,
            **settings,
        )  # fmt: skip

    found, aborted = failures(2, rank)
    assert aborted is None
    for error in found:
        assert isinstance(error, ValueError) and f"process 1 has other {name}" in str(error)


def test_an_error_in_one_process_aborts_all(capsys):
    def fails(run):
        if run.epoch == 2:
            raise OSError("no space")

    def rank(comm):
        return cr.fit(dense(), X, IDS, callbacks=[fails], distributed=comm, progress=False)

    found, aborted = failures(3, rank)
    assert aborted == 1 and all(isinstance(x, BaseException) for x in found)
    assert "process 0 of 3 failed and ends all others: OSError: no space" in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_reported_in_all_processes():
    def rank(comm):
        model = nn.Linear(6, 1)
        return cr.fit(model, X, X[:, :1] * 1.0, loss="mse", optimizer=optim.SGD(1e30), distributed=comm, progress=False)

    found, aborted = failures(2, rank)
    assert aborted is None and all(isinstance(x, cr.NonFiniteError) for x in found)


def test_weights_that_differ_after_an_epoch_are_found(capsys):
    class Writes(cr.Callback):
        everywhere = False

        def on_epoch(self, run):
            run.training.parameters["0.bias"][...] = 0

    found, aborted = failures(
        2, lambda comm: cr.fit(dense(), X, IDS, callbacks=[Writes()], distributed=comm, progress=False)
    )
    assert aborted == 1 and any("other weights than process 1" in str(x) for x in found)


@for_each("given", [3, "mpich", object()])
def test_what_is_no_communicator_is_refused(given):
    with pytest.raises(TypeError, match=r"distributed is a .*expected a communicator of mpi4py"):
        cr.fit(dense(), X, IDS, distributed=given)


# -- modules of a caller -----------------------------------------------------------------------------------------------


class Centred(nn.Module):
    """Subtracts a mean of the batch and keeps it."""

    def __init__(self, mean):
        self.linear, self.mean = nn.Linear(6, 3), mean
        self.register_buffer("seen", np.zeros(6, np.float32))

    def forward(self, x):
        mean = self.mean(x, (0,))
        self.seen = mean
        return self.linear(x - mean)


def test_modules_take_means_over_the_batch():
    def run(comm, shards=8):
        model = Centred(nn.batch_mean).initialize(0)
        cr.fit(model, X, IDS, epochs=1, distributed=comm, shards=shards, progress=False)
        return model.state_dict()

    expected = run(None)
    np.testing.assert_allclose(expected["seen"], run(None, None)["seen"], rtol=1e-5, atol=1e-7)
    for found in in_ranks(2, run):
        assert {k: a.tobytes() for k, a in found.items()} == {k: a.tobytes() for k, a in expected.items()}


def test_a_buffer_of_one_shard_is_refused():
    with pytest.raises(ValueError, match=r"the buffer seen is computed from the rows of a shard.*batch_mean"):
        cr.fit(Centred(lambda x, axes: np.mean(x, axis=axes)), X, IDS, shards=2, progress=False)


def test_outputs_without_rows_are_refused():
    class Total(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(6, 3)

        def forward(self, x):
            return np.sum(self.linear(x), axis=0)

    with pytest.raises(ValueError, match=r"output for 2\d rows of a batch is of shape \(3,\)"):
        cr.fit(Total(), X, X[:, :3], loss=lambda z, y: np.mean(z * z), shards=3, batch_size=None, progress=False)
