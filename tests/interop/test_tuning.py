"""The search for settings: what is drawn, what is kept, and how it is resumed."""

from __future__ import annotations

import json
import re
import shlex
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from chainrule import runs
from chainrule.cli import app
from chainrule.reporting import tuning_page
from chainrule.reporting.tuning_page import Trial
from chainrule.runs.search_space import Between, OneOf, typed


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A file whose classes are those of a circle: a network without hidden layer cannot tell them apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    kinds = np.where((x**2).sum(axis=1) > 1.4, "far", "near")
    file = tmp_path_factory.mktemp("tune") / "circle.csv"
    file.write_text(
        "a,b,a b,kind\n" + "".join(f"{a:.4f},{b:.4f},{a * b},{k}\n" for (a, b), k in zip(x, kinds, strict=True))
    )
    return file


def chainrule(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("name", runs.NETWORKS)
def test_a_network_takes_all_that_is_searched(name):
    for setting, space in runs.NETWORKS[name].search.items():
        for value in space.values if isinstance(space, OneOf) else (space.low, space.high):
            assert getattr(runs.Settings.of(name, 1000, {setting: value}), setting) == value
        assert str(space)


def test_what_is_drawn_is_what_is_typed():
    class Fixed:
        def suggest_float(self, name, low, high, log):
            assert (low, high, log) == (1e-4, 1e-2, True)
            return 0.00123456

        def suggest_categorical(self, name, choices):
            assert choices == ["none", "64,32"]
            return choices[1]

    assert Between(1e-4, 1e-2, log=True).suggest(Fixed(), "lr") == 0.00123
    assert OneOf(((), (64, 32))).suggest(Fixed(), "hidden") == (64, 32)
    assert [typed(x) for x in ((), (3, 4), 0.1, "relu")] == ["none", "3,4", "0.1", "relu"]


def test_a_page_has_the_curves_the_importances_and_all_trials(tmp_path):
    trials = [
        Trial(1, {"lr": "0.1"}, 0.5, True, 3, 1.0),
        Trial(2, {"lr": "0.2"}, 0.7, False, 1, 0.5),
        Trial(3, {"lr": "0.3<"}, 0.31, True, 3, 1.0),
    ]
    tuning_page.write_page(tmp_path / "tune.html", trials, {"lr": 1.0}, trials[2])
    text = (tmp_path / "tune.html").read_text()
    assert "trial 3 of 3, validation loss 0.31: lr 0.3&lt;" in text and "1 trial was ended early" in text
    assert len(re.findall("<polyline", text)) == 2 and "100 %" in text
    # The best first, the one that was ended early last.
    assert re.findall(r"0\.3&lt;|0\.2|0\.1", text[text.index("<table", text.index("Trials")) :]) == [
        "0.3&lt;",
        "0.1",
        "0.2",
    ]


def test_a_search_finds_better_settings_than_bad_ones_and_is_resumed(table, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "search"
    given = [
        "--target",
        "kind",
        "--epochs",
        "8",
        "--hidden",
        "16",
        "--batch-size",
        "32",
        "--exclude",
        "a b",
        "--out",
        out,
    ]
    first = chainrule("tune", table, *given, "--trials", 3)
    assert first.exit_code == 0, first.output
    losses = [float(x) for x in re.findall(r"trial \d+ +loss (\S+)", first.output)]
    assert len(losses) == 3 and len(set(losses)) == 3
    assert f"validation loss {min(losses):.4g}" in first.output
    assert re.search(r"trial 1 +loss \S+ +the defaults", first.output)
    # The run with the best settings is there, and is what the printed command trains.
    record = json.loads((out / "best" / "run.json").read_text())
    command = shlex.split(re.search(r"train +(chainrule train .*)", first.output)[1])[1:]
    assert command[command.index("--exclude") + 1] == "a b"
    again = chainrule(*command, "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    trained = json.loads((tmp_path / "again" / "run.json").read_text())
    assert (trained["settings"], trained["metrics"]) == (record["settings"], record["metrics"])
    # A second search needs another folder; a resumed one keeps the trials, and refuses other data or settings.
    assert "--resume" in chainrule("tune", table, *given, "--trials", 3).output
    resumed = chainrule("tune", table, *given, "--trials", 4, "--resume")
    assert re.findall(r"trial (\d+) +loss", resumed.output) == ["4"] and " of 4" in resumed.output
    given[3] = "9"
    assert "a different epochs" in chainrule("tune", table, *given, "--trials", 5, "--resume").output


def test_the_same_seed_gives_the_same_trials(table, tmp_path):
    pytest.importorskip("optuna")
    given = ["--target", "kind", "--epochs", "1", "--trials", "3", "--batch-size", "128"]
    outputs = [
        chainrule("tune", table, *given, "--out", tmp_path / str(i), "--seed", s).output for i, s in enumerate("778")
    ]
    trials = [re.findall(r"trial .*  loss .*", output) for output in outputs]
    assert len(trials[0]) == 3 and "the defaults" in trials[0][0]
    assert trials[0] == trials[1] != trials[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "trials: expected an integer ≥ 1"),
        (["--minutes", "0"], "minutes: "),
        (["--trials", "1", "--model", "lenet"], "lenet is a network for images"),
        (["--trials", "1", "--hidden", "8", "--activation", "relu", "--lr", "1", "--dropout", "0", "--batch-size", "8"],
         "nothing is left to search for"),
    ],
)  # fmt: skip
def test_errors_of_a_search_name_the_option(table, tmp_path, options, message):
    if "trials" in options[0] and options[1] == "1":
        pytest.importorskip("optuna")
    found = chainrule("tune", table, "--target", "kind", "--out", tmp_path / "x", *options)
    assert found.exit_code == 1 and message in found.output


def test_without_optuna_the_extra_is_named(table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = chainrule("tune", table, "--target", "kind", "--trials", 1, "--out", tmp_path / "x")
    assert found.exit_code == 1 and "pip install 'chainrule[tune]'" in found.output
