"""The report as a file: what is in it, what it is made of, and that no text of a user's becomes markup."""

from __future__ import annotations

import base64
import html.parser
import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import chainrule as cr
from chainrule import cli, io, nn, runs
from chainrule.data import Dataset
from chainrule.reporting import figures, sections
from chainrule.reporting.examples import digits, examples_bytes, png
from chainrule.reporting.payload import as_script
from chainrule.reporting.storage import read_run
from chainrule.show.document import clean

pytest.importorskip("plotly", reason="needs plotly: pip install 'chainrule[report]'")


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, its text outside of scripts, and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts, self.inside = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def page(digits):
    return cr.report(digits).read_text("utf-8")


def test_the_file_is_one_and_small(digits, page):
    assert len(page.encode()) < 6_000_000
    read = Page(page)
    assert not [a for _, a in read.tags if re.match(r"(?!data:|#)", a.get("src", a.get("href", "#")))]
    policy = next(a["content"] for t, a in read.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "unsafe" not in re.search("script-src[^;]*", policy)[0]
    assert len(re.findall("'sha256-", policy)) == 2


def test_it_says_what_was_trained_and_how(page):
    text = " ".join(Page(page).text)
    for part in ("Training report: digits", "64-16-12-10", "6 epochs", "batches of 32", "cross_entropy", "Engine",
                 "seed 0", "numpy",
                 "Better than the baseline on the test split", "training split", "snapshot",
                 "that the epochs took", "5\u202f%"):  # fmt: skip
        assert part in text, part


def test_settings_that_a_network_chooses_itself_are_not_shown_as_none(tmp_path):
    record = {"settings": {"lr": None, "activation": None, "batch_size": 64}, "parameters": 9, "loss": "mse"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    rows = [{"epoch": i + 1, "loss": 1.0, "lr": rate} for i, rate in enumerate((0.05, 0.2, 0.1))]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stored = read_run(tmp_path)
    assert sections._network(stored) == "9 parameters"
    described = sections._training(stored, record["settings"])
    assert described == "3 epochs, batches of 64, learning rate up to 0.2, loss mse"


def test_the_rows_held_out_for_validation_are_named():
    record = {"examples": {"train": 1169, "test": 292}, "settings": {"validation": 0.2}, "target": "weather"}
    held = "1,169 examples to train (20 % of them held out for validation), 292 examples to test"
    assert sections._data(record) == f"predicting weather, {held}"
    assert "validation" not in sections._data(record | {"settings": {"validation": 0.0}})


def test_the_data_is_that_of_the_run(digits, page):
    data = json.loads(next(s for s in Page(page).scripts if s.startswith('{"history"')))
    history = [json.loads(line) for line in (digits / "history.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(data["history"]["val_loss"], [row["val_loss"] for row in history], rtol=1e-5)
    test = runs.prepare("digits").test
    counts = np.array(data["confusion"]["counts"])
    assert counts.sum() == len(test)
    accuracy = json.loads((digits / "run.json").read_text())["metrics"]["test"]["accuracy"]
    assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)
    assert data["flow"]["epochs"][0] == 0
    assert data["flow"]["epochs"][-1] == 6
    assert [layer["shape"] for layer in data["flow"]["layers"]] == [[64, 16], [16, 12], [12, 10]]


def test_the_worst_examples_are_the_worst(digits):
    arrays, meta = io.load_arrays(digits / "examples.safetensors")
    trained, test = runs.Trained.load(digits), runs.prepare("digits").test
    probabilities = trained.predict(test)
    true = trained.preprocessor.transform_target(test)
    shares = np.stack([probabilities[f"probability {c}"] for c in trained.preprocessor.classes], axis=1)
    given = shares[np.arange(len(true)), true]
    assert arrays["worst/rows"][0] == np.argmin(given)
    np.testing.assert_allclose(arrays["worst/probability"], np.sort(given)[:14], rtol=1e-5)
    first = test.X[arrays["worst/rows"][0]].reshape(8, 8)
    np.testing.assert_allclose(arrays["worst/images"][0] / 255, first / 16, atol=0.01)
    assert meta["classes"] == [str(i) for i in range(10)]


def test_png_is_read_by_others():
    Image = pytest.importorskip("PIL.Image")
    import io as buffers

    rng = np.random.default_rng(0)
    for shape in ((8, 8), (5, 7, 3)):
        image = rng.integers(0, 256, shape).astype(np.uint8)
        np.testing.assert_array_equal(np.asarray(Image.open(buffers.BytesIO(png(image)))), image)


def test_what_is_in_a_script_cannot_end_it(markup):
    text = as_script("x", {markup: [markup, "</script><!--", float("nan")]})
    assert text.count("<") == text.count(">") == 2
    assert json.loads(Page(text).scripts[0]) == {markup: [markup, "</script><!--", None]}


def test_no_text_of_a_users_becomes_markup(tmp_path, hostile, markup):
    folder = hostile(tmp_path / "<img src=x onerror=alert(3)>")
    page = Page(cr.report(folder).read_text("utf-8"))
    tags = [t for t, _ in page.tags]
    assert tags.count("script") == 3
    assert "b" not in tags
    assert not [a for t, a in page.tags if t == "img" or any(name.startswith("on") for name in a)]
    text = "".join(page.text)
    assert text.count(clean(markup)) > 20
    assert "<img src=x onerror=alert(3)>" in text


def test_what_is_not_there_is_left_out(digits, tmp_path):
    for present in (["history.jsonl"], ["gradient_flow.jsonl"], ["history.jsonl", "run.json", "model.safetensors"]):
        folder = tmp_path / present[-1].split(".")[0]
        folder.mkdir()
        for name in present:
            shutil.copy(digits / name, folder / name)
        page = cr.report(folder).read_text("utf-8")
        assert ('id="flow"' in page) == ("gradient_flow.jsonl" in present)
        assert 'id="confusion"' not in page
        assert 'id="curve-0"' in page


@pytest.mark.parametrize("name", ["history.jsonl", "run.json", "gradient_flow.jsonl", "examples.safetensors"])
def test_a_damaged_file_is_named(digits, tmp_path, name):
    shutil.copytree(digits, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b"[3]\n")
    with pytest.raises(ValueError, match=re.escape(name)):
        cr.report(tmp_path / "run")


@pytest.mark.parametrize("name", ["run.json", "history.jsonl", "model.safetensors", "examples.safetensors"])
def test_a_changed_number_is_noticed(digits, tmp_path, name):
    shutil.copytree(digits, tmp_path / "run")
    content = bytearray((tmp_path / "run" / name).read_bytes())
    place = len(content) - 9 if name.endswith("tensors") else content.find(b"0.") + 3
    content[place] = ord("0") + (content[place] - ord("0") + 1) % 10
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(name)):
        cr.report(tmp_path / "run")


def test_a_flow_of_another_run_is_not_mixed_in(digits, tmp_path):
    """The newer of the two is shown, and the page says so."""
    folder = tmp_path / "run"
    shutil.copytree(digits, folder)
    history = (folder / "history.jsonl").read_text()
    (folder / "history.jsonl").write_text(history.replace('"loss": ', '"loss": 1'))
    with pytest.raises(ValueError, match=r"history\.jsonl is damaged, or was changed after the run"):
        cr.report(folder)
    record = json.loads((folder / "run.json").read_text())
    del record["digests"]
    (folder / "run.json").write_text(json.dumps(record))
    os.utime(folder / "gradient_flow.jsonl", (1, 1))
    page = cr.report(folder).read_text("utf-8")
    assert "it belongs to a different run than the history" in page
    assert 'id="flow"' not in page
    os.utime(folder / "history.jsonl", (0, 0))
    page = cr.report(folder).read_text("utf-8")
    assert "did not finish" in page
    assert 'id="flow"' in page
    assert 'id="confusion"' not in page


def test_long_runs_and_texts_keep_the_page_small(tmp_path):
    header = {"format": "chainrule-gradient-flow", "version": 1, "epochs": 30_000, "batch_size": 1, "rows": 1}
    header |= {"of": 32, "share": 0.05, "layers": [{"name": "x" * 50, "weight": "W", "shape": [9, 9]}] * 32}
    header["fields"] = [[i, n, []] for i in range(32) for n in ("gradient", "update")]
    header["fields"] += [[i, "dZ", [len(figures.MAGNITUDES)]] for i in range(32)]
    sizes = 32 * (2 + len(figures.MAGNITUDES))
    code = base64.b64encode(np.random.default_rng(0).random(sizes).astype("<f4").tobytes()).decode()
    rows = [{"epoch": e, "loss": 1 / e, "seconds": 0.125} for e in range(1, 30_001)]
    lines = [{"epoch": e, "weights": e, "step": e, "history": rows[e - 1], "figures": code} for e in range(1, 53)]
    (tmp_path / "gradient_flow.jsonl").write_text("\n".join(map(json.dumps, [header, *lines])))
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page = cr.report(tmp_path).read_text("utf-8")
    assert len(page.encode()) < 6_000_000
    assert "2,000 of 30,000 epochs" in page
    assert "Of 52 snapshots 25 are on this page" in page


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        cr.report(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="holds no run"):
        cr.report(tmp_path)


def test_without_plotly_it_says_what_to_install(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"chainrule\[report\]"):
        cr.report(digits)


def stored(output, y, loss, **given):
    """Return what is kept of a network whose output is its input."""
    model = nn.Sequential(nn.Identity())
    raw = given.pop("raw", Dataset(output, None, tuple(f"x{i}" for i in range(output.shape[1]))))
    content = examples_bytes(model, output, y, loss=loss, raw=raw, **given)
    return content


def loaded(tmp_path, content):
    (tmp_path / "e.safetensors").write_bytes(content)
    return io.load_arrays(tmp_path / "e.safetensors")


@pytest.mark.parametrize("form", ["ids", "one-hot"])
def test_classes(tmp_path, form):
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]], np.float32))
    y = np.array([0, 1, 2])
    y = np.eye(3, dtype=np.float32)[y] if form == "one-hot" else y
    arrays, meta = loaded(tmp_path, stored(logits, y, "cross_entropy", classes=("a", "b", "c")))
    np.testing.assert_array_equal(arrays["confusion"], [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(arrays["worst/rows"], [2, 0, 1])
    np.testing.assert_allclose(arrays["worst/probability"], [0.1, 0.7, 0.8], rtol=1e-5)
    assert meta["classes"] == ["a", "b", "c"]
    assert [name for name, _ in meta["features"][0]] == ["x0", "x1", "x2"]


def test_two_classes_by_one_logit(tmp_path):
    logits, y = np.array([[2.0], [-1.0], [1.0]], np.float32), np.array([[1.0], [0.0], [0.0]], np.float32)
    arrays, meta = loaded(tmp_path, stored(logits, y, "binary_cross_entropy"))
    np.testing.assert_array_equal(arrays["confusion"], [[1, 1], [0, 1]])
    np.testing.assert_allclose(arrays["worst/probability"][0], 1 - 1 / (1 + np.exp(-1)), rtol=1e-5)
    assert meta["classes"] == ["0", "1"]


def test_numbers_come_in_their_own_unit(tmp_path):
    output, y = np.array([[0.0], [1.0], [2.0]], np.float32), np.array([[0.1], [1.0], [0.0]], np.float32)
    arrays, _ = loaded(tmp_path, stored(output, y, "mse", decode=lambda a: 10 * a + 5))
    np.testing.assert_array_equal(arrays["worst/rows"], [2, 0, 1])
    assert (arrays["worst/true"][0], arrays["worst/predicted"][0]) == (5.0, 25.0)
    assert sorted(arrays["points/predicted"]) == [5.0, 15.0, 25.0]


def test_several_outputs_or_labels_have_no_examples(tmp_path):
    output = np.ones((4, 3), np.float32)
    for loss in ("mse", "binary_cross_entropy"):
        arrays, _ = loaded(tmp_path, stored(output, output, loss))
        assert set(arrays) == {"sample/X", "sample/y"}


def test_long_texts_and_large_images_are_cut(tmp_path):
    X = np.random.default_rng(0).random((4, 300 * 200)).astype(np.float32)
    raw = Dataset(X, None, tuple(map(str, range(300 * 200))), image_shape=(300, 200))
    arrays, _ = loaded(tmp_path, stored(X, np.zeros(4, np.int64), "cross_entropy", raw=raw))
    assert arrays["worst/images"].shape == (4, 75, 50)
    output = np.ones((2, 1), np.float32)
    raw = Dataset(None, {"n" * 500: np.array(["t" * 500] * 2, object)}, ("n" * 500,))
    _, meta = loaded(tmp_path, stored(output, np.zeros((2, 1), np.float32), "mse", raw=raw))
    assert meta["features"][0] == [["n" * 119 + "…", "t" * 119 + "…"]]


def test_a_table_with_missing_values_is_shown(tmp_path):
    columns = {"size": np.array([1.5, np.nan]), "kind": np.array(["a", None], object)}
    raw = Dataset(None, columns, ("size", "kind"))
    output = np.array([[3.0], [-1.0]], np.float32)
    _, meta = loaded(tmp_path, stored(output, np.zeros((2, 1), np.float32), "mse", raw=raw))
    assert meta["features"] == [[["size", "1.5"], ["kind", "a"]], [["size", "missing"], ["kind", "missing"]]]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 1, 3)])
def test_images(tmp_path, shape):
    X = np.arange(24, dtype=np.float32).reshape(4, 6)
    raw = Dataset(X, None, tuple(map(str, range(6))), image_shape=shape)
    arrays, _ = loaded(tmp_path, stored(X, np.zeros(4, np.int64), "cross_entropy", raw=raw))
    assert arrays["worst/images"].shape == (4, *(shape[:2] if shape[2:] == (1,) else shape))
    assert arrays["worst/images"].max() == 255


def test_a_later_run_without_a_report_leaves_nothing_of_the_earlier(tmp_path):
    (tmp_path / "d.csv").write_text("x,y\n" + "1,no\n2,yes\n" * 30)
    folder = tmp_path / "run"
    folder.mkdir()
    prepared = runs.prepare(str(tmp_path / "d.csv"), "y", model="mlp")
    settings = runs.Settings(hidden=(4,), epochs=1)
    runs.train(prepared, settings, folder, progress=False, report=True)
    assert {p.name for p in folder.iterdir()} > {"gradient_flow.jsonl", "examples.safetensors"}
    runs.train(prepared, settings, folder, progress=False)
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "history.jsonl", "run.json"}


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        found = CliRunner().invoke(cli.app, arguments)
        return found.exit_code, found.output

    status, said = run("train", "digits", "--report", "--hidden", "8", "--epochs", "2")
    assert (status, "report   runs/digits/report.html" in said) == (0, True), said
    (tmp_path / "runs/digits/report.html").unlink()
    assert run("report", "runs/digits")[0] == 0
    assert (tmp_path / "runs/digits/report.html").stat().st_size < 6_000_000
    assert run("report", "runs/digits", "--out", "other.html")[0] == 0
    assert (tmp_path / "other.html").is_file()
    status, said = run("report", "runs/none")
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("error: there is no folder runs/none")


def test_of_a_run_that_diverged_there_is_a_report_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{x},{1000 * x * x}" for x in range(-40, 40)]
    (tmp_path / "d.csv").write_text("\n".join(["x,y", *rows]))
    wild = ["--model", "mlp", "--optimizer", "sgd", "--lr", "1e6", "--hidden", "8", "--epochs", "9"]
    found = CliRunner().invoke(cli.app, ["train", "d.csv", "--target", "y", "--report", *wild])
    assert found.exit_code == 1
    assert "stopped being finite" in found.output
    page = (tmp_path / "runs/d/report.html").read_text("utf-8")
    assert "did not finish" in page
    assert 'id="flow"' in page


def test_a_run_worse_than_guessing_is_told(tmp_path, data):
    X, _ = data
    y = (np.arange(len(X)) % 10 == 0).astype(np.int64)
    model = nn.Sequential(nn.Linear(5, 2))
    flow = cr.GradientFlow(tmp_path, X, y)
    history = cr.fit(model, X, y, epochs=1, callbacks=[flow], progress=False)
    model[0].bias.value[:] = (9.0, -9.0)
    cr.reporting.store_run(tmp_path, model, history, X, y, classes=("usual", "rare"))
    text = " ".join(Page(cr.report(tmp_path).read_text("utf-8")).text)
    assert "Diagnostics of the run:" in text and "Never predicted on the examples of this report: rare" in text
    assert "No better than guessing" in text


def test_numbers_in_the_table_of_worst_examples_have_no_exponent():
    said = [digits(x) for x in (677051.4, 77000.0, 1203.5, 0.00012, -2.5e8, 1e20)]
    assert said == ["677,051", "77,000", "1203.5", "0.00012", "-250,000,000", "1e+20"]
