"""What a notebook shows of a history."""

import re
from xml.etree import ElementTree

import pytest

import chainrule as cr


def shown(history):
    """Return the element tree (the page is XML but for one attribute), and the text of the table's rows."""
    text = re.sub(r"<style>.*?</style>", "", history._repr_html_(), flags=re.DOTALL).replace(
        "class=best", 'class="best"'
    )
    tree = ElementTree.fromstring(text)
    return tree, [[cell.text or "" for cell in row] for row in tree.iter("tr")]


def rows_of(count):
    return [{"epoch": i + 1, "loss": 1 / (i + 1), "val_loss": 1 / (i + 2), "accuracy": 0.5} for i in range(count)]


def test_a_short_one_is_shown_whole():
    tree, rows = shown(cr.History(rows_of(4)))
    assert rows[0] == ["epoch", "loss", "val_loss", "accuracy"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"] and rows[1][1] == "1.0000"
    assert len(list(tree.iter("polyline"))) == 2 and not list(tree.iter("script"))


def test_of_a_long_one_the_first_best_and_last_rows():
    history = cr.History(rows_of(100))
    history.best_epoch, history.stopped = 40, "<enough>"
    tree, rows = shown(history)
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "…", "40", "…", "96", "97", "98", "99", "100"]
    assert [row[0].text for row in tree.iter("tr") if row.get("class") == "strong"] == ["40"]
    assert "stopped: <enough>" in "".join(tree.itertext())
    assert repr(history).endswith("stopped: <enough>)")


def test_the_curve_lies_within_its_frame():
    tree, _ = shown(cr.History(rows_of(50)))
    for line in tree.iter("polyline"):
        points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        assert len(points) == 50 and all(0 <= x <= 320 and 0 <= y <= 120 for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        assert [y for _, y in points] == sorted(y for _, y in points)  # the losses fall


def test_of_a_very_long_one_the_curve_keeps_its_peaks():
    rows = rows_of(50_000)
    rows[31_234]["loss"], rows[41_234]["loss"] = 9.0, -9.0
    history = cr.History(rows)
    tree, _ = shown(history)
    points = [tuple(map(float, p.split(","))) for p in next(tree.iter("polyline")).get("points").split()]
    heights = [y for _, y in points]
    assert len(history._repr_html_()) < 50_000 and [x for x, _ in points] == sorted(x for x, _ in points)
    assert (min(heights), max(heights)) == (12.0, 102.0)
    assert (points[0][0], points[-1][0]) == (4.0, 230.0)


@pytest.mark.parametrize(
    ("rows", "curves"),
    [
        ([], 0),
        (rows_of(1), 0),
        ([{"epoch": 1, "loss": float("nan")}, {"epoch": 2, "loss": float("inf")}, {"epoch": 3, "loss": 1.0}], 0),
        ([{"epoch": 1, "loss": 1e308}, {"epoch": 2, "loss": -1e308}], 1),
        ([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 2.0}], 1),
        ([{"epoch": 1, "<b>x</b>": "<script>"}], 0),
    ],
)
def test_odd_ones(rows, curves):
    tree, _ = shown(cr.History(rows))
    assert len(list(tree.iter("polyline"))) == curves and not list(tree.iter("script"))
    assert not any("nan" in (line.get("points") or "") for line in tree.iter("polyline"))
