"""TensorBoard and MLflow read what the loggers wrote."""

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
y = (X[:, 0] > 0).astype(int)


def trained(*callbacks, **settings):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).initialize(0)
    return model, cr.fit(model, X, y, **{"epochs": 3, "progress": False, "callbacks": callbacks, **settings})


def fail(run):
    if run.epoch == 2:
        raise ZeroDivisionError


def interrupt(run):
    if run.epoch == 2:
        raise KeyboardInterrupt


# -- TensorBoard ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("tensorboardX")
        return pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator


def read(reader, folder):
    found = reader(str(folder))
    found.Reload()
    return found


def test_tensorboard_reads_curves_settings_and_histograms(reader, tmp_path):
    folder = tmp_path / "runs" / "one"
    model, history = trained(cr.TensorBoardLogger(folder, histograms=True), validation=0.2)
    found = read(reader, folder)
    assert sorted(found.Tags()["scalars"]) == sorted(c for c in history.columns if c != "epoch")
    for column in ("loss", "val_accuracy", "lr", "seconds"):
        points = found.Scalars(column)
        assert [p.step for p in points] == [1, 2, 3]
        assert np.allclose([p.value for p in points], history[column], rtol=1e-6)
    text = found.Tensors("hyperparameters/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| optimizer.lr | 0.001 |" in text and "    Sequential()" in text
    assert sorted(found.Tags()["histograms"]) == ["0/bias", "0/weight", "2/bias", "2/weight"]
    last = found.Histograms("0/weight")[-1]
    assert last.step == 3 and last.histogram_value.num == 12
    assert last.histogram_value.max == pytest.approx(float(model[0].weight.value.max()))


@pytest.mark.parametrize("ending", [fail, interrupt])
def test_event_files_are_closed_however_the_run_ends(reader, tmp_path, ending):
    try:
        trained(cr.TensorBoardLogger(tmp_path), ending)
    except ZeroDivisionError:
        assert ending is fail
    assert [p.step for p in read(reader, tmp_path).Scalars("loss")] == [1, 2]


def test_a_folder_that_is_a_file(reader, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="expected a folder for the run, got the file"):
        cr.TensorBoardLogger(tmp_path / "file")


# -- MLflow ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("mlflow")
        module.set_tracking_uri((tmp_path / "mlflow").as_uri())
        yield module
        module.set_tracking_uri(None)


def runs(mlflow, experiment):
    client = mlflow.MlflowClient()
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], order_by=["start_time ASC"])


@pytest.mark.slow
def test_mlflow_reads_metrics_parameters_and_tags(mlflow):
    logger = cr.MLflowLogger("digits", run_name="one", tags={"by": "hand"})
    _, history = trained(logger, validation=0.2)
    (run,) = runs(mlflow, "digits")
    assert run.info.status == "FINISHED" and run.info.run_name == "one" and run.data.tags["by"] == "hand"
    assert run.data.tags["model"].startswith("Sequential()")
    wanted = {"epochs": "3", "optimizer.name": "Adam", "loss": "cross_entropy"}
    assert wanted.items() <= run.data.params.items()
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_loss")
    assert [(p.step, p.value) for p in points] == list(zip([1, 2, 3], history["val_loss"], strict=True))
    trained(logger)  # once more: another run
    assert len(runs(mlflow, "digits")) == 2


@pytest.mark.parametrize(("ending", "status"), [(fail, "FAILED"), (interrupt, "KILLED")])
def test_the_status_says_how_the_run_ended(mlflow, ending, status):
    try:
        trained(cr.MLflowLogger("digits"), ending)
    except ZeroDivisionError:
        assert ending is fail
    (run,) = runs(mlflow, "digits")
    assert run.info.status == status
    assert len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")) == 2


def test_a_run_that_could_not_begin_is_no_running_one(mlflow):
    with pytest.raises(mlflow.exceptions.MlflowException, match="Invalid value"):
        trained(cr.MLflowLogger("digits", tags={"a%b": "no name for a tag"}))
    assert [run.info.status for run in runs(mlflow, "digits")] == ["FAILED"]


def test_names_that_mlflow_refuses_are_changed(mlflow):
    trained(cr.MLflowLogger("digits"), metrics={"share > 0 (%)": lambda output, target: np.mean(output)})
    (run,) = runs(mlflow, "digits")
    assert sorted(run.data.metrics) == ["loss", "lr", "seconds", "share _ 0 ___"]


def test_an_open_run_is_written_into_and_stays_open(mlflow):
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        trained(cr.MLflowLogger())
        trained(cr.MLflowLogger(), epochs=4)  # MLflow refuses other values for a parameter that is there
        found = client.get_run(run.info.run_id)
        assert found.info.status == "RUNNING" and found.data.params["epochs"] == "3"
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    logger = cr.MLflowLogger(run_id=run.info.run_id)
    trained(logger)
    assert logger.run_id == run.info.run_id and len(client.get_metric_history(run.info.run_id, "loss")) == 10


# -- Trackio --------------------------------------------------------------------------------------------------------


def test_trackio_keeps_figures_and_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trackio = pytest.importorskip("trackio")
        storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
        run = trackio.init(project="chainrule", name="one", embed=False, config={"epochs": "as planned"})
        _, history = trained(cr.LogTo(run))
        trackio.finish()
        logged = storage.get_logs("chainrule", "one")
    assert [(row["step"], row["loss"]) for row in logged] == list(enumerate(history["loss"], 1))
    assert run.config["epochs"] == "as planned" and run.config["optimizer.name"] == "Adam"
