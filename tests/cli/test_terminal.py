"""What reaches a terminal: nothing that it would obey, whatever the data, files and arguments are called."""

import csv
import io
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import chainrule as cr
from chainrule.cli import app
from chainrule.show.document import printable

from .conftest import ENVIRONMENT, QUICK

#: Colours, the window's title, a cleared screen, C1's CSI, a bell, a return to the line's start, another direction of
#: writing, marks without width, a line break, a deletion.
HOSTILE = "\x1b[31m\x1b]0;owned\x07\x1b[2J\x9b1m\x07\rok\u202etxt\u2066\u200b\n\x7f"


def table(folder, rows=60):
    """Return a table whose columns, values and classes hold escapes; some values are missing, some columns constant."""
    rng = np.random.default_rng(0)
    names = [f"{name}{HOSTILE}" for name in ("number", "colour", "constant", "target")]
    file = folder / "rows.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for i in range(rows):
            colour = ["red", "green"][i % 2] + HOSTILE if i % 7 else ""
            writer.writerow([rng.normal(), colour, "same" + HOSTILE, ["yes", "no", "maybe"][i % 3] + HOSTILE])
    return file, names


def checked(text, wanted=None):
    wrong = sorted({c for c in text if not c.isprintable() and c != "\n"})
    assert not wrong, text
    if wanted is not None:
        assert wanted in text
    return text


@pytest.fixture
def trained(run, tmp_path):
    pytest.importorskip("polars")
    file, names = table(tmp_path)
    shown = run("train", file, "--target", names[-1], *QUICK, "--out", "run")
    checked(shown.output, r"constant\x1b[31m")
    return file, names


def test_every_command_on_hostile_data(run, trained, tmp_path):
    file, names = trained
    other = tmp_path / "other.csv"
    content = file.read_bytes().replace(b"red", b"blue", 3)
    other.write_bytes(content)
    for arguments in (
        ("evaluate", "run", file, "--all"),
        ("backprop", file, "--model", "run", "--target", names[-1], "--batch-size", "3"),
        ("backprop", file, "--target", names[-1], "--hidden", "3", "--batch-size", "3"),
        ("report", "run"),
        ("explain", "run", "--loss", "cross_entropy"),
        ("explain", "run", "--format", "html", "--output", f"{HOSTILE!r}page.html"),
    ):
        checked(run(*arguments).output)
    checked(run("predict", "run", other).stderr, r"\x1b[31m")
    other.write_bytes(content.replace(b"number", b"numeral"))
    checked(run("predict", "run", other, status=1).output, r"number\x1b[31m")
    for arguments in (
        ("train", file, "--target", "targe" + HOSTILE, *QUICK),
        ("train", file, *QUICK),
        ("train", f"no{HOSTILE}.csv"),
        ("evaluate", f"no{HOSTILE}", file),
        ("explain", f"no{HOSTILE}.py:f"),
        ("explain", "run", "--loss", HOSTILE),
    ):
        checked(run(*arguments, status=1).output, r"\x1b[31m")


def test_what_python_shows(tmp_path):
    pytest.importorskip("polars")
    file, names = table(tmp_path)
    checked(repr(cr.data.read(file, names[-1])), r"target\x1b[31m")
    checked(repr(cr.History([{"epoch": 1, HOSTILE: 0.5}])), r"\x1b[31m")


@pytest.mark.parametrize("arguments", [(f"--{HOSTILE}",), (HOSTILE,), ("train",), ("train", "a", "--epochs", HOSTILE)])
def test_wrong_arguments(arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2
    checked(result.output, r"\x1b[31m" if HOSTILE in "".join(arguments) else None)


def test_metadata_of_a_model(run, tmp_path):
    cr.save(tmp_path / "m", cr.nn.Linear(2, 2), {"loss": HOSTILE, "preprocessing": {HOSTILE: HOSTILE}})
    for command in (("evaluate", "m", "digits"), ("export", "m", "m.onnx", "--probabilities")):
        checked(run(*command, status=1).output, "\\x1b[31m" if command[0] == "export" else None)


def test_a_program_that_prints_escapes_in_its_errors(run, tmp_path):
    (tmp_path / "a.py").write_text(f"import warnings\nwarnings.warn({HOSTILE!r})\nraise ValueError({HOSTILE!r})\n")
    for command in (("gradcheck", "a.py:f"), ("audit", "a.py")):
        checked(run(*command, status=2).output, r"\x1b[31m")


def in_terminal(command, folder):
    """Return what a command writes to its terminal of 80 columns."""
    pty = pytest.importorskip("pty")
    main, inner = pty.openpty()
    process = subprocess.Popen(command, stdout=inner, stderr=inner, cwd=folder, env=ENVIRONMENT)
    os.close(inner)
    found = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        found += part
    os.close(main)
    assert process.wait(60) == 0, found
    return found.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
def test_predictions_on_a_terminal_and_in_a_pipe(run, trained, tmp_path):
    file, _ = trained
    command = [sys.executable, "-c", "from chainrule.cli import main; main()", "predict", "run", str(file)]
    shown = in_terminal(command, tmp_path).replace("\r\n", "\n")
    lines = checked(shown).splitlines()
    assert r"probability maybe\x1b[31m" in shown
    piped = run("predict", "run", file).stdout_bytes.decode()
    rows = list(csv.reader(io.StringIO(piped, newline="")))
    assert len(rows) == 61 == len(lines[-61:])
    assert {row[0] for row in rows[1:]} <= {name + HOSTILE for name in ("yes", "no", "maybe")}
    assert [next(csv.reader([line])) for line in lines[-61:]] == [[printable(cell) for cell in row] for row in rows]


def test_lines_of_a_long_run_end_with_the_time_left(capsys, monkeypatch):
    import chainrule as cr
    from chainrule.cli import epoch_lines

    ticks = iter(range(0, 10_000, 100))  # an epoch takes 100 seconds
    monkeypatch.setattr(epoch_lines, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    digits = cr.data.load_digits()
    lines = epoch_lines.EpochLines()
    monkeypatch.setattr(lines, "_bar", cr.Callback())
    cr.fit(cr.nn.Linear(64, 10), digits.X, digits.y, epochs=3, progress=lines)
    ends = [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()]
    assert ends[0] == "accuracy" and ends[1:3] == ["3:20 left", "1:40 left"] and "left" not in ends[3]
