"""Runs in folders, from Python."""

import json
import os

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim, runs
from chainrule.io import load_arrays


@pytest.fixture
def prepared():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    dataset = data.Dataset.from_arrays(X, np.digitize(X[:, 0], [-0.5, 0.5]), source="made")
    train, test = dataset.split(0.25, 0)
    return runs.Prepared("made", data.Preprocessor.fit(train), train, test, dataset.fingerprint(), ["a note"])


QUICK = runs.Settings(hidden=(6,), epochs=2)


def test_train_and_load(prepared, tmp_path):
    result = runs.train(prepared, QUICK, tmp_path)
    trained = runs.Trained.load(tmp_path)
    assert result.folder == tmp_path and len(result.history) == 2 and not trained.model.training
    assert trained.evaluate(prepared.test) == result.metrics["test"]
    found = json.loads((tmp_path / "run.json").read_text())
    assert (
        found["metrics"] == result.metrics and found["notes"] == ["a note"] and found["engine"] in ("numpy", "native")
    )
    assert found["parameters"] == result.model.num_parameters == 4 * 6 + 6 + 6 * 3 + 3


def test_it_is_what_fit_does(prepared, tmp_path):
    """A run adds nothing of its own to the training."""
    result = runs.train(prepared, QUICK, tmp_path)
    model = runs.network(prepared.preprocessor, QUICK)
    X, y = prepared.part(prepared.train)
    cr.fit(model, X, y, optimizer=optim.Adam(optim.Cosine(1e-3, 2 * 2)), epochs=2, progress=False)
    state = result.model.state_dict()
    assert all(state[k].tobytes() == v.tobytes() for k, v in model.state_dict().items())


def test_networks(prepared):
    model = runs.network(prepared.preprocessor, runs.Settings(hidden=(5, 4), activation="tanh", dropout=0.5))
    kinds = [type(m).__name__ for m in model]
    assert kinds == ["Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]
    assert len({id(m) for m in model}) == 7
    assert [type(m).__name__ for m in runs.network(prepared.preprocessor, runs.Settings(hidden=()))] == ["Linear"]
    a, b, c = (runs.network(prepared.preprocessor, runs.Settings(seed=s)).state_dict() for s in (0, 0, 1))
    assert np.array_equal(a["0.weight"], b["0.weight"]) and not np.array_equal(a["0.weight"], c["0.weight"])


def test_figures_that_are_not_finite_are_null(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.runs.training.with_loss", lambda *args: {"loss": float("nan"), "accuracy": np.inf})
    runs.train(prepared, QUICK, tmp_path)
    found = json.loads((tmp_path / "run.json").read_text(), parse_constant=pytest.fail)
    assert found["metrics"]["test"] == {"loss": None, "accuracy": None}


def test_folders_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def claimed(out, source="cars.csv", **more):
        with runs.claimed(out, source, **more) as (folder, ended):
            (folder / "run.json").write_text("{}")
        return folder.as_posix(), ended

    names = [claimed(None, source)[0] for source in ("a/cars.csv.gz", "cars.csv", "..", "/")]
    assert names == ["runs/cars", "runs/cars-2", "runs/run", "runs/run-2"]
    folder = tmp_path / "x" / "y"
    claimed(folder)
    with pytest.raises(FileExistsError, match=r"already holds a run \(run.json\); choose .*--overwrite"):
        claimed(folder)
    assert claimed(folder, overwrite=True) == (folder.as_posix(), False)
    assert claimed(folder, resume=True) == (folder.as_posix(), True)
    (folder / "checkpoint.safetensors").write_text("")
    with pytest.raises(FileExistsError, match="continue it with --resume"):
        claimed(folder)
    assert claimed(folder, resume=True) == (folder.as_posix(), False)
    assert {f.name for f in folder.iterdir()} == {"run.json", "checkpoint.safetensors"}
    with runs.claimed(tmp_path / "z", "cars.csv"):
        pass
    assert not (tmp_path / "z").exists()  # nothing was written


def test_the_latest_run_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("cars", "cars-2", "cars-3", "carson")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "checkpoint.safetensors").write_text("")
        os.utime(tmp_path / "runs" / name / "checkpoint.safetensors", (number % 3, number % 3))
    with runs.claimed(None, "cars.csv", resume=True) as (folder, _):
        assert folder.as_posix() == "runs/cars-3"
    with runs.claimed(None, "boats.csv", resume=True) as (folder, _):
        assert folder.as_posix() == "runs/boats"


def test_schedules():
    assert runs.Settings(schedule="constant", lr=0.3).make_optimizer(10).learning_rate(9) == 0.3
    cosine = runs.Settings(schedule="cosine", lr=0.3).make_optimizer(10)
    assert cosine.learning_rate(0) == pytest.approx(0.3) and cosine.learning_rate(9) < 0.01


def test_the_rate_ends_with_the_last_step(prepared, tmp_path):
    """Also with a validation split, which takes its rows from the training split."""
    settings = runs.Settings(hidden=(), epochs=3, batch_size=7, validation=0.25, lr=1.0)
    result = runs.train(prepared, settings, tmp_path)
    steps = 3 * 5  # 45 rows to train, 11 of them for validation: 34 rows are 5 batches
    assert result.history["lr"][-1] == pytest.approx(0.5 * (1 + np.cos(np.pi * (steps - 1) / steps)))


def test_held_out(prepared, tmp_path):
    runs.train(prepared, QUICK, tmp_path)
    trained = runs.Trained.load(tmp_path)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    same = data.Dataset.from_arrays(X, np.digitize(X[:, 0], [-0.5, 0.5]), source="elsewhere")
    trained.metadata["test"] = 0.25
    rows, which = trained.held_out(same)
    assert which.startswith("the split held out") and np.array_equal(rows.X, prepared.test.X)
    assert trained.held_out(same.take(range(30)))[1] == "all rows"


def test_model_files_hold_plain_data(prepared, tmp_path):
    runs.train(prepared, QUICK, tmp_path)
    _, metadata = load_arrays(tmp_path / "model.safetensors")
    assert metadata.keys() == {
        "architecture",
        "fingerprint",
        "format",
        "loss",
        "preprocessing",
        "rule",
        "seed",
        "test",
        "version",
    }
    assert isinstance(nn.from_config(metadata["architecture"]), nn.Sequential)


def test_missing_values_of_a_matrix_are_imputed_and_said(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    X[::7, 1] = np.nan
    np.savez(tmp_path / "data.npz", X=X, y=y)
    prepared = runs.prepare(tmp_path / "data.npz")
    assert any("imputed" in note and "median" in note for note in prepared.notes), prepared.notes
    for part in (prepared.train, prepared.test):
        assert np.isfinite(prepared.part(part)[0]).all()


def test_a_validation_split_of_all_rows_is_refused(prepared, tmp_path):
    with pytest.raises(ValueError, match=r"validation=0.999 of 45 rows leaves the training split empty"):
        runs.train(prepared, runs.Settings(hidden=(6,), validation=0.999), tmp_path)
