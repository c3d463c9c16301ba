"""A small run with all that a report can show, and pages of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import io, nn, reporting, runs
from chainrule.io.weights import to_bytes


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The folder of a digits run, as ``chainrule train digits --report`` writes it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    folder.mkdir()
    settings = runs.Settings(hidden=(16, 12), epochs=6, validation=0.1)
    prepared = runs.prepare("digits")
    runs.train(prepared, settings, folder, progress=False, report=True)
    return folder


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)).astype(np.float32)
    return X, (X[:, 0] + X[:, 1] > 0).astype(np.int64)


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)).initialize(0)


@pytest.fixture
def trained(tmp_path, data, model):
    """Train with a callback that takes every snapshot; return (callback, history)."""

    def train(**given):
        given = {"epochs": 4, "progress": False, **given}
        flow = cr.GradientFlow(tmp_path, *data, rows=50)
        flow.share = 1e9  # the epochs of tests take no time
        return flow, cr.fit(model, *data, callbacks=[flow], **given)

    return train


@pytest.fixture(scope="session")
def open_file(chromium):
    """Open a file in a page without network; the page's errors, console and requests are kept."""

    def open_file(path: Path, width: int = 1280, scheme: str = "light"):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        page = context.new_page()
        page.said = []
        page.asked = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append("dialog " + dialog.message), dialog.dismiss()))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(Path(path).resolve().as_uri())
        page.wait_for_selector("html[data-drawn=yes]", timeout=30_000)
        return page

    return open_file


@pytest.fixture
def opened(open_file):
    """Open a file in a page that is closed after the test."""
    pages = []

    def opened(*given):
        pages.append(open_file(*given))
        return pages[-1]

    yield opened
    for page in pages:
        page.context.close()


BAD = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028]]>--><b>'


@pytest.fixture
def markup():
    """A text that must stay text."""
    return BAD


@pytest.fixture
def hostile():
    """Write a run whose every text is markup."""

    def write(folder):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(60, 4)).astype(np.float32)
        y = (X[:, 0] > 0).astype(np.int64)
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).initialize(0)
        model[0].bias.value[:] = -100.0  # so that something is found
        folder.mkdir()
        flow = cr.GradientFlow(folder, X, y)
        history = cr.fit(model, X, y, epochs=2, callbacks=[flow], progress=False, metrics={BAD: _metric})
        history.stopped = BAD
        names = [BAD + str(i) for i in range(4)]
        reporting.store_run(folder, model, history, X, y, classes=[BAD, BAD + "2"], feature_names=names,
                            settings={BAD: BAD, "optimizer": BAD, "activation": BAD})  # fmt: skip
        arrays, meta = io.load_arrays(folder / "examples.safetensors")
        meta["features"] = [[[name, BAD] for name, _ in row] for row in meta["features"]]
        points = {"points/true": X[:, 0].astype(float), "points/predicted": X[:, 1].astype(float)}
        (folder / "examples.safetensors").write_bytes(to_bytes(arrays | points, meta))
        record = json.loads((folder / "run.json").read_text())
        del record["digests"]
        record |= {"source": BAD, "target": BAD, "engine": BAD, "threads": BAD, "loss": BAD,
                   "notes": [BAD], "best_epoch": BAD,
                   "metrics": {BAD: {BAD: BAD}}, "versions": {BAD: BAD}, "examples": {BAD: 3}}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(record))
        lines = (folder / "gradient_flow.jsonl").read_text("utf-8").split("\n")
        header = json.loads(lines[0])
        for i, layer in enumerate(header["layers"]):
            layer["name"] = layer["weight"] = BAD + str(i)
        lines[0] = json.dumps(header)
        (folder / "gradient_flow.jsonl").write_text("\n".join(lines), "utf-8")
        return folder

    return write


def _metric(output, target):
    return np.mean(output)
