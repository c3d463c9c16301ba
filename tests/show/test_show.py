"""Every block in every backend: its text is there, as text, in lines that fit."""

import io
import itertools
import re
import sys
import unicodedata
from html.parser import HTMLParser

import pytest

from chainrule import show
from chainrule.show import document as d
from chainrule.show import html, terminal
from chainrule.show.latex import escaped, unescaped

HOSTILE = (
    "[red]W[/red] [/]",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><b> W&amp;1",
    "a|b `code` ``x``",
    "**W** _1_ # $x$ \\input{x} %s {title}",
    "line\nbreak\r\n",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
    "\ud800",
    "W" * 500,
    "word " * 100,
    "层" * 90,
    "1. one",
    "- item",
)
WORDS = ("plain", "x_1 & 2", *HOSTILE)


def math(text):
    return d.Math(text, rf"\text{{{escaped(text)}}}")


def blocks(text):
    """Return one block of each kind; each shows the text."""
    rows = ((text, "1.5", d.Code(text)), ("b", d.Text("2", "good"), math(text)))
    table = d.Table((d.Column("name"), d.Column("n", "number"), d.Column("wide", "wide")), rows, {0: "bad"})
    paragraph = d.Paragraph(d.sentence("of {x} in {y}", x=math(text), y=d.Code(text)))
    return {
        "heading": d.Heading(text),
        "paragraph": d.Paragraph((text, d.Text(text, "bad"), d.Code(text), math(text)), "dim"),
        "sentence": paragraph,
        "formula": d.Formula(math(text), text),
        "fields": d.Fields(((text, text), ("label", math(text)))),
        "table": table,
        "items": d.Items((text, d.Code(text))),
        "section": d.Section(d.Heading(text), (paragraph, table), 12, "bad"),
        "step": d.Section(d.Formula(math(text), text), (d.Fields((("a", text),)),), 3),
        "details": d.Details(text, (paragraph, d.Items((text,)))),
        "tree": d.Tree((d.Branch(0, text, (table,)), d.Branch(1, text), d.Branch(2, text), d.Branch(1, text))),
        "columns": d.Columns(((d.Heading(text), table), (paragraph,))),
        "chart": d.LineChart({text: ((0.0, 1.0), (1.0, 2.0))}, text, text),
        "picture": d.Picture(b"\x89PNG", text),
        "place": d.Place(text, {"data-name": text}),
    }


KINDS = tuple(blocks("x"))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def of(kind, text):
    return d.Document(text, (d.Heading("title", 1), blocks(text)[kind], d.Paragraph("end")))


def columns(line):
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in line)
    return len(line) + wide - sum(unicodedata.combining(c) > 0 for c in line)


class Page(HTMLParser):
    """Collects tags, attributes and text, and sees that what is opened is closed."""

    VOID = frozenset({"meta", "img", "path", "polyline"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], {}, [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


# -- each block --------------------------------------------------------------------------------------------------------


def test_text_in_80_columns_and_in_fewer(kind):
    for text, width in itertools.product(WORDS, (80, 40, 24)):
        written = terminal.text(of(kind, text), width)
        assert all(columns(line) <= width for line in written.split("\n")), written
        assert all(c.isprintable() or c == "\n" for c in written)
        assert all(line == line.rstrip() for line in written.split("\n"))
        written.encode()


def test_words_of_each_block_are_in_each_backend(kind):
    shown = d.Document("t", (blocks("theta")[kind],))
    page = Page(show.as_page(shown))
    for written in (show.as_text(shown), show.as_markdown(shown), show.as_latex(shown), "".join(page.text)):
        assert "theta" in written or kind in ("picture", "place")
    assert "theta" in page.attributes.values() or kind not in ("picture", "place")


def test_html_holds_text_as_text(kind):
    for text in WORDS:
        written = show.as_page(of(kind, text))
        page = Page(written)
        assert not {"script", "b", "iframe", "link"} & set(page.tags)
        assert not {name for name in page.attributes if name.startswith("on")}
        assert not re.search(
            r"url\(|@import|https?:", written.replace("http://www.w3.org", "").replace("http-equiv", "")
        )
        written.encode()
        if kind not in ("chart", "picture", "place"):
            assert d.clean(text) in "".join(page.text)


def test_markdown_and_latex_hold_text_as_text(kind):
    for text in WORDS:
        written = show.as_markdown(of(kind, text))
        plain = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)|\$.*?(?<!\\)\$", "", written)
        assert not re.search(r"(?<!\\)[<]", plain)
        written.encode()
        latex = show.as_latex(of(kind, text))
        bare = re.sub(r"\\[{}$%&#_\\,!\[\]]|%%?\n|% .*\n", "", latex)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        assert r"\input{x" not in latex
        stack = []
        for which, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
            assert stack.append(name) is None if which == "begin" else stack.pop() == name
        assert not stack


def test_names_in_formulas_come_back_from_latex():
    for text in WORDS:
        assert unescaped(escaped(text)) == d.clean(text)


# -- the terminal ------------------------------------------------------------------------------------------------------


def test_rich_prints_the_same_words_at_the_width_of_its_console():
    console = pytest.importorskip("rich.console")
    shown = of("section", "some words of a sentence")
    for width in (20, 40, 200):
        written = io.StringIO()
        console.Console(file=written, width=width, color_system=None).print(show.as_rich(shown))
        lines = [line.rstrip() for line in written.getvalue().rstrip("\n").split("\n")]
        assert lines == terminal.text(shown, width).split("\n")


def test_plain_text_needs_no_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert "words" in show.as_text(of("table", "words"))


def test_sections_fields_and_tables_as_they_look():
    fields = d.Fields((("right", d.Code("dZ = dA")), ("seen", "a sentence that is too long for one line of so few")))
    table = d.Table((d.Column("step"), d.Column("error", "number")), (("dW", "1.5"), ("dbias", "0.25")))
    step = d.Section(d.Formula(d.Math("Z = X W", "Z = X W"), "note"), (d.Items(("one",)),), 10)
    shown = (d.Heading("Title", 1), d.Paragraph("It is wrong."), d.Section(d.Heading("dZ"), (fields,), 1), table, step)
    assert terminal.text(d.Document("", shown), 40).split("\n") == [
        "Title",
        "It is wrong.",
        "",
        "1. dZ",
        "   right  dZ = dA",
        "   seen   a sentence that is too long",
        "          for one line of so few",
        "",
        "step   error",
        "dW       1.5",
        "dbias   0.25",
        "",
        "10. Z = X W                         note",
        "    ·  one",
    ]


def test_a_word_is_not_torn_from_its_comma():
    content = ("a word ", d.Code("name"), ", and more")
    assert terminal.text(d.Document("", (d.Paragraph(content),)), 11) == "a word\nname, and\nmore"


# -- pages -------------------------------------------------------------------------------------------------------------


def test_a_page_runs_its_own_scripts_only():
    written = html.page(of("place", "x"), scripts=("console.log(1)",))
    assert re.search(r"script-src 'sha256-[\w+/=]+';", written)
    assert "script-src" not in html.page(of("place", "x"))


def test_without_latex2mathml_a_formula_is_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    assert "<code>theta</code>" in show.as_fragment(of("formula", "theta"))


def test_deep_trees():
    tree = d.Tree(tuple(d.Branch(depth, "x") for depth in range(3000)))
    shown = d.Document("", (tree,))
    assert Page(show.as_fragment(shown)).tags.count("details") == 2999
    assert show.as_text(shown).count("x") == show.as_markdown(shown).count("x") == 3000
