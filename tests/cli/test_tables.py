"""Tables on the command line: columns left out and kept, several files, files larger than memory."""

import csv
import io

import numpy as np
import pytest

from chainrule.data import delimited

from .conftest import QUICK


@pytest.fixture
def orders(tmp_path):
    """A table as a shop might export it."""
    pytest.importorskip("polars")
    rng = np.random.default_rng(0)
    lines = ["order;day;price;express;note;late"]
    for i in range(120):
        day = f"{rng.integers(1, 29):02}.{rng.integers(1, 13):02}.2024"
        price = f"{rng.normal(3000, 900):,.2f} €".translate(str.maketrans(",.", ".,"))
        lines.append(f"A{i:03};{day};{price};{rng.choice(['ja', 'nein'])};;{rng.choice(['yes', 'no'])}")
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_are_excluded_and_kept(run, orders):
    shown = run("train", orders, "--target", "late", "--exclude", "order,express", "--out", "run", *QUICK).stdout
    assert (
        "read the column 'price' as numbers with points between thousands and a decimal comma and without '€'" in shown
    )
    assert "read the column 'day' as dates written day.month.year" in shown and "express" not in shown
    predicted = rows(run("predict", "run", orders, "--keep", "order", "--keep", "price,day").stdout)
    written = rows(orders.read_text().replace(";", ",", 0).replace(",", "§").replace(";", ","))
    assert [r["order"] for r in predicted] == [r["order"] for r in written]
    assert [r["price"].replace(",", "§") for r in predicted] == [r["price"] for r in written]
    assert list(predicted[0]) == ["order", "price", "day", "prediction", "probability no", "probability yes"]
    assert "the split held out in training" in run("evaluate", "run", orders).stdout


def test_unknown_columns_are_refused(run, orders, refused):
    assert "has no column 'prize'" in refused("train", orders, "--target", "late", "--exclude", "prize")
    run("train", orders, "--target", "late", "--out", "run", *QUICK)
    assert "Did you mean 'order'" in refused("predict", "run", orders, "--keep", "oder")
    run("train", "digits", "--out", "other", *QUICK)
    assert "digits is not a table" in refused("predict", "other", "digits", "--keep", "x")


def test_a_table_is_predicted_part_by_part_with_the_same_result(run, orders, monkeypatch):
    run("train", orders, "--target", "late", "--out", "run", *QUICK)
    whole = run("predict", "run", orders)
    monkeypatch.setattr(delimited, "BLOCK", 300)
    parts = run("predict", "run", orders)
    assert parts.stderr == whole.stderr
    for one, other in zip(rows(parts.stdout), rows(whole.stdout), strict=True):
        assert one["prediction"] == other["prediction"]  # products of matrices may differ in their last digit
        assert float(one["probability yes"]) == pytest.approx(float(other["probability yes"]), rel=1e-4)
    said = run("predict", "run", orders, "--output", "out.csv").stdout
    assert "120 predictions to out.csv" in said
    with open("out.csv") as file:
        assert file.read() == parts.stdout


def test_what_was_there_stays_if_a_later_part_cannot_be_read(run, orders, refused, monkeypatch, tmp_path):
    run("train", orders, "--target", "late", "--out", "run", *QUICK)
    out = tmp_path / "out.csv"
    out.write_text("before")
    text = orders.read_text().rstrip().replace("€;nein", "€;nein", 1)
    orders.write_text(text + "\nA999;31.12.2024;much;ja;;yes\n")
    monkeypatch.setattr(delimited, "BLOCK", 300)
    error = refused("predict", "run", orders, "--out", out)
    assert "row 121 of the column 'price' holds 'much', expected a number as in training" in error
    assert out.read_text() == "before"


def test_several_files(run, orders):
    header, *lines = orders.read_text().splitlines()
    for name, part in (("1.csv", lines[:50]), ("2.csv", lines[50:])):
        orders.with_name(name).write_text("\n".join([header, *part]) + "\n")
    whole = run("train", orders, "--target", "late", "--out", "whole", *QUICK).stdout
    both = run("train", "1.csv", "2.csv", "--target", "late", "--out", "both", *QUICK).stdout
    assert "1.csv and 1 more file: 96 rows to train, 24 to test" in both
    figures = [line for line in whole.splitlines() if "log loss" in line]
    assert figures and figures == [line for line in both.splitlines() if "log loss" in line]
    predicted = run("predict", "both", "1.csv", "2.csv").stdout
    assert predicted == run("predict", "both", "?.csv").stdout == run("predict", "both", orders).stdout
    assert "24 rows, the split held out" in run("evaluate", "both", "1.csv", "2.csv").stdout


def test_columns_to_look_at_are_named_before_training_and_among_the_findings(run, tmp_path):
    pytest.importorskip("polars")
    lines = ["case_id,size,paid,late"] + [f"{7 * i},{i % 5},{i % 2 + 5},{'yes' if i % 2 else 'no'}" for i in range(100)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    shown = run("train", "t.csv", "--target", "late", "--out", "run", *QUICK).stdout
    before, after = shown.split("network ")
    for part, label in ((before, "look at"), (after, "finding")):
        assert f"{label}" in part and "the column 'case_id' looks like a name of the rows" in part
        assert "the column 'paid' determines the target alone (area under the ROC curve 1.0000)" in part
    assert "'size'" not in shown
    assert "look at" not in run("train", "t.csv", "--target", "late", "--exclude", "case_id,paid", *QUICK).stdout
