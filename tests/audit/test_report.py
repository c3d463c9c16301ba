"""Every rendering of every kind of report: what is said, what is escaped, how wide it is."""

import dataclasses
import html.parser
import io
import json
import re
import unicodedata

import numpy as np
import pytest

from chainrule.audit.report import CAUSES, Candidate, Convention, Finding, Report, Step

DZ1 = Step("dZ1", "wrong", (9, 4), 0.25, 0.25, ("dA1",), "dZ1 = dA1 ⊙ (1 − A1²)")
DW2 = Step("dW2", "right", (4, 2), 1.2e-16, 3e-16, ("dZ2",), "dW2 = A1ᵀ dZ2 / m")
DW1 = Step("dW1", "inherited", (3, 4), 1e-16, 0.5, ("dZ1",), "dW1 = Xᵀ dZ1 / m")
DX = Step("dX", "unseen", (9, 3), None, None, ("dZ1",))
READ_AS = "class Net; parameters W1; gradients in dW1"
FINDING = Finding(
    "dZ1",
    "missing-activation-derivative",
    "dZ1 is dA1 unchanged: the derivative of tanh is left out.",
    "dZ1 = dA1 ⊙ (1 − A1²)",
    (
        Candidate("missing-activation-derivative", "the derivative of tanh is left out", "dZ1 = dA1"),
        Candidate("missing-factor", "a factor is left out", "dZ1 = dA1 ⊙ 1"),
    ),
    {
        "relative_error": 0.25,
        "expected_shape": (9, 4),
        "found_shape": [9, 4],
        "worst": {"index": (3, 1), "theirs": 0.5, "right": 0.25},
    },
)

#: Text that does something where it is not escaped: rich, Markdown, HTML, terminals, tables, file encodings.
HOSTILE = (
    "[red]W[/red]",
    "[/]",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><b>",
    "W&amp;1",
    "a|b",
    "`code` ``x``",
    "**W** _1_ # $x$",
    "line\nbreak\r\n",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
    "\ud800",
    "{title}",
    "%s \\ \\n",
    "",
    " ",
    "W" * 500,
    "word " * 200,
    "层" * 90,
    "é" * 50,
    "1. one",
    "- item",
    "$(rm -r .)",
)


def hostile(text):
    return Report(
        findings=(Finding(text, text, text, text, (Candidate(text, text, text),) * 2, {text: text, "worst": [text]}),),
        conventions=(Convention(text, text), Convention("", text)),
        steps=(Step(text, text, (9, 4), 0.5, 0.5, (text,), text), Step(text, "wrong", (), 0.5, 0.5, (text,))),
        notes=(text,),
        loss=0.5,
        title=text,
        read_as=text,
    )


def shaped(*shapes):
    return Report((), (), tuple(Step(f"d{i}", "right", s, 0.0, 0.0) for i, s in enumerate(shapes)), (), 0.0, "shapes")


REPORTS = {
    "empty": Report((), (), (), (), float("nan"), ""),
    "right": Report((), (Convention("", "dZ2 carries no 1/m"),), (DW2,), (), 0.693147, "an audit"),
    "wrong": Report(
        (FINDING,), (), (DW2, DZ1, DW1, DX), ("dX: forward could not be traced",), 0.5, "an audit", READ_AS
    ),
    "every cause": Report(tuple(Finding(c, c, m) for c, m in CAUSES.items()), (), (), (), float("inf"), "all"),
    "shapes": shaped((), (0,), (1,), (10**9, 10**9), (2,) * 32, (np.int64(3), np.int64(4))),
    "errors": Report((), (), tuple(Step("d", "right", (1,), e, e) for e in (0.0, np.inf, np.nan, 1e300)), (), 1.0, ""),
    **{f"hostile {i}": hostile(text) for i, text in enumerate(HOSTILE)},
}


@pytest.fixture(params=REPORTS, ids=str)
def report(request):
    return REPORTS[request.param]


def columns(line):
    """Return how many columns a terminal gives a line."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in line)
    return len(line) + wide - sum(unicodedata.combining(c) > 0 for c in line)


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and sees that what is opened is closed."""

    VOID = frozenset({"meta"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


# -- what every rendering of every report keeps ------------------------------------------------------------------------


def test_printed_in_80_columns_without_control_characters(report):
    text = str(report)
    assert all(columns(line) <= 80 for line in text.split("\n"))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert all(line == line.rstrip() for line in text.split("\n"))
    text.encode()


def test_the_page_is_whole_and_runs_and_loads_nothing(report):
    page = Page(report.to_html())
    assert page.open == []
    assert set(page.tags) <= {
        *(
            "html head meta title style body div h1 h2 p section span code dl dt dd table thead tbody tr th td ul li"
        ).split()
    }
    assert not {name for name, _ in page.attributes} - {
        *("lang charset name content http-equiv class title role style").split()
    }
    assert not re.search(r"url\(|@import|https?:|<script|onerror=alert\(1\)>", report.to_html())
    report.to_html().encode()
    assert Page(report._repr_html_()).tags[0] == "div"


def test_json_round_trip(report):
    as_dict = report.to_dict()
    assert json.loads(json.dumps(as_dict, allow_nan=False)) == as_dict
    assert set(as_dict) == {"ok", *(f.name for f in dataclasses.fields(Report))}
    assert as_dict["ok"] is report.ok is (not report.findings)
    assert [f["name"] for f in as_dict["findings"]] == [f.name for f in report.findings]


def test_markdown_has_one_row_a_step_and_no_html(report):
    lines = report.to_markdown().split("\n")
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == (len(report.steps) + 2 if report.steps else 0)
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 7
    prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", "\n".join(lines))
    assert not re.search(r"(?<!\\)[<\[]", prose)
    assert sum(line.startswith("#") for line in lines) <= 1 + len(report.findings) + 3
    report.to_markdown().encode()


def test_rich_draws_it_at_any_width(report):
    from rich.console import Console

    for width in (20, 40, 200):
        written = io.StringIO()
        Console(file=written, width=width, force_terminal=True, _environ={}).print(report)
        assert written.getvalue().strip()


def test_a_report_has_no_truth_value_of_its_own_and_a_short_repr(report):
    assert "__bool__" not in vars(Report) and "__len__" not in vars(Report)
    assert len(repr(report)) < 80


# -- what is said ------------------------------------------------------------------------------------------------------


def test_what_is_wrong_comes_first():
    assert str(REPORTS["wrong"]).split("\n") == [
        "an audit",
        "1 error found: dZ1. 1 more step inherits an error.",
        "loss 0.5",
        f"Read as: {READ_AS}",
        "",
        "1. dZ1 missing-activation-derivative",
        "   dZ1 is dA1 unchanged: the derivative of tanh is left out.",
        "   right  dZ1 = dA1 ⊙ (1 − A1²)",
        "   yours  dZ1 = dA1",
        "   or     missing-factor: a factor is left out: dZ1 = dA1 ⊙ 1",
        "   seen   relative error 0.25; worst index (3, 1), yours 0.5, right 0.25",
        "   see    docs/causes/missing-activation-derivative.md",
        "",
        "Steps",
        "step  verdict      shape    error  total  formula",
        "dW2   ✓ right      4×2    1.2e-16  3e-16  dW2 = A1ᵀ dZ2 / m",
        "dZ1   ✗ wrong      9×4       0.25   0.25  dZ1 = dA1 ⊙ (1 − A1²)",
        "dW1   ↳ inherited  3×4      1e-16    0.5  dW1 = Xᵀ dZ1 / m",
        "dX    ? unseen     9×3          –      –  from dZ1",
        "yours: the formula that gives your numbers. error: relative, given your own",
        "upstream gradients; total: against the gradient of the loss. inherited: it",
        "follows correctly from a gradient that is wrong.",
        "",
        "Notes",
        "·  dX: forward could not be traced",
    ]


@pytest.mark.parametrize(
    ("report", "headline"),
    [
        (REPORTS["right"], "Right: dW2, the only step."),
        (Report((), (), (DW2, DW2), (), 0.0, ""), "Right: all 2 steps."),
        (
            Report((), (), (DW2, DX), (), 0.0, ""),
            "No error was found: 1 of 2 steps are right, 1 could not be checked.",
        ),
        (REPORTS["empty"], "No error was found, but no step could be checked."),
        (Report((), (), (DX,), (), 0.0, ""), "No error was found, but no step could be checked."),
        (Report((FINDING, FINDING), (), (), (), 0.0, ""), "2 errors found; fix dZ1 first."),
        (
            Report((FINDING,), (), (DW1, DW1), (), 0.0, ""),
            "1 error found: dZ1. 2 more steps inherit an error.",
        ),
    ],
)
def test_the_headline(report, headline):
    assert str(report).split("\n")[1] == headline
    assert headline in "".join(Page(report.to_html()).text)
    assert report.to_markdown().split("\n")[2].startswith(f"**{headline}**")


def test_all_renderings_hold_the_same():
    report = REPORTS["wrong"]
    page = "".join(Page(report.to_html()).text)
    for text in (str(report), report.to_markdown(), page):
        for part in (FINDING.message, FINDING.formula, "dZ1 = dA1", "docs/causes/missing-activation-derivative.md"):
            assert part in text
        for step in report.steps:
            assert step.name in text and step.verdict in text


@pytest.mark.parametrize("text", [t for t in HOSTILE if t.isprintable() and t.strip()])
def test_a_page_shows_what_was_given(text):
    assert " ".join(text.split()) in "".join(Page(hostile(text).to_html()).text)


def test_markup_is_shown_not_obeyed():
    assert "[red]W[/red]" in str(hostile("[red]W[/red]"))
    assert r"\[red\]W" in hostile("[red]W[/red]").to_markdown()
    assert r"\x1b[31m" in str(hostile("\x1b[31m"))
    assert "`` `a` ``" in hostile("`a`").to_markdown()


def test_how_the_code_was_read_is_said_once_in_every_form():
    report = REPORTS["wrong"]
    for form in (str(report), report.to_markdown(), report.to_html()):
        assert " ".join(form.split()).count(READ_AS) == 1
    assert report.to_dict()["read_as"] == READ_AS
    assert "Read as" not in str(REPORTS["right"])


def test_numbers_that_json_has_not_become_words():
    finding = Finding("dW", "nonfinite", "", evidence={"ratio": np.float32("nan"), "n": np.int64(2), "a": np.eye(2)})
    evidence = Report((finding,), (), (), (), float("-inf"), "").to_dict()
    assert evidence["loss"] == "-inf"
    assert evidence["findings"][0]["evidence"] == {"ratio": "nan", "n": 2, "a": [[1.0, 0.0], [0.0, 1.0]]}


def test_shapes_are_shown_where_they_differ():
    finding = Finding("db", "wrong-shape", "", evidence={"expected_shape": (4,), "found_shape": (9, 4)})
    assert "seen  expected shape 4; found shape 9×4" in str(Report((finding,), (), (), (), 0.0, ""))


def test_a_few_candidates_are_printed_and_the_rest_counted():
    candidates = tuple(Candidate("wrong-operand", f"way {i}", f"dW = {i}") for i in range(7))
    report = Report((Finding("dW", "wrong-operand", "", candidates=candidates),), (), (), (), 0.0, "")
    for text in (str(report), report.to_markdown(), report.to_html()):
        assert "dW = 0" in text and "way 3" in text and "way 4" not in text and "3 more, in the finding" in text
    assert len(report.to_dict()["findings"][0]["candidates"]) == 7


def test_long_evidence_is_cut_when_printed_and_whole_in_json():
    finding = Finding("dW", "unknown", "", evidence={"pattern": list(range(1000))})
    report = Report((finding,), (), (), (), 0.0, "")
    for text in (str(report), report.to_markdown(), report.to_html().split("</style>")[-1]):
        assert "997" not in text and "…" in text
    assert report.to_dict()["findings"][0]["evidence"]["pattern"][-1] == 999


def test_nothing_of_a_report_can_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        REPORTS["right"].loss = 1.0
    with pytest.raises(TypeError):
        CAUSES["sign"] = ""


def test_printing_obeys_no_environment(monkeypatch):
    expected = str(REPORTS["wrong"])
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "30", "TERM": "dumb", "TTY_COMPATIBLE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert str(REPORTS["wrong"]) == expected
