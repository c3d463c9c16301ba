"""Pages in Chromium: nothing loaded, nothing too wide, and in a notebook whose style sheet has rules of its own."""

import pytest

from chainrule import show

from .test_show import KINDS, blocks, d

pytestmark = pytest.mark.slow

#: What pages that show notebooks say of elements in an output, and worse; none of it may reach ours.
HOST = """
html { font-size: 10px; line-height: 3; }
.out { text-align: right; white-space: pre; font: 30px/3 serif; }
.out * { letter-spacing: 0; } .out * + * { margin-top: 2em; } .out > * > :last-child { margin-bottom: 3em; }
.out dt { display: block; float: left; width: 20%; font-weight: bold; } .out dd { margin-left: 20%; }
.out dl { display: block; } .out summary { display: block; list-style: none; } .out details { padding: 9px; }
.out table { table-layout: fixed; display: block; width: 100%; margin: 1em auto; font-size: 12px; }
.out tr, .out th, .nb .md td { text-align: right; vertical-align: middle; padding: 0.5em; border: 1px solid; }
.out tbody tr:nth-child(odd) { background: #f5f5f5; } .out :not(pre) > code { background: #eee; padding: 1px 5px; }
.out p, .out li, .nb .out section p { line-height: 2; margin: 1em 0 2em 1em; color: red; } .out a { color: green; }
.out h1, .out h2, .out h3 { font-style: italic; margin: 2em; border-bottom: 3px solid; text-transform: uppercase; }
.out ul { list-style: square; padding-left: 5em; } .out svg, .out img { margin: auto; } .out img { float: right; }
.out section, .out div div { padding: 3em; border: 2px dotted; } .out span { font-weight: bold; float: right; }
"""
STYLES = """() => {
  const names = `display float width margin padding border text-align vertical-align background-color color font
    font-style line-height list-style-type list-style-position white-space text-transform overflow-wrap`.split(/\\s+/);
  return [...document.querySelectorAll('.chainrule, .chainrule *:not(svg *, style)')].map((e) => {
    const style = getComputedStyle(e);
    return [e.tagName, ...names.map((name) => style[name])].join(' | ');
  });
}"""
OVER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def opened(chromium, tmp_path):
    """Open markup at a width; the requests that it makes are kept."""
    contexts = []

    def opened(markup, width=1280, scheme="light"):
        file = tmp_path / "shown.html"
        file.write_text(markup, encoding="utf-8")
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def everything(text):
    """Return a document with a block of each kind."""
    return d.Document("all", (d.Heading("title", 1), *(blocks(text)[kind] for kind in KINDS if kind != "picture")))


@pytest.mark.parametrize("width", [1280, 400])
def test_a_page_loads_nothing_and_fits(opened, width):
    page = opened(show.as_page(everything("word " * 40 + "W" * 120)), width)
    assert len(page.asked) == 1 and page.said == []
    assert page.evaluate(OVER) <= 0


def test_light_and_dark(opened):
    seen = []
    for scheme in ("light", "dark"):
        page = opened(show.as_page(everything("x")), scheme=scheme)
        colours = page.evaluate(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.querySelector('.chainrule')))"
        )
        seen.append([sum(map(int, c[4:-1].split(","))) for c in colours])
    (fore, back), (dark_fore, dark_back) = seen
    assert fore + 300 < back and dark_back + 300 < dark_fore


@pytest.mark.parametrize("bare", [False, True])
def test_the_rules_of_the_page_around_do_not_reach_it(opened, bare):
    inside = show.as_fragment(everything("x"), bare=bare)
    markup = f'<!DOCTYPE html><meta charset="utf-8"><div class="nb"><div class="out md">{inside}</div></div>'
    alone = opened(markup).evaluate(STYLES)
    assert len(alone) > 60
    for hosted in (markup.replace("<div", f"<style>{HOST}</style><div", 1), markup + f"<style>{HOST}</style>"):
        assert opened(hosted).evaluate(STYLES) == alone  # whichever comes last


def test_what_tables_and_fields_look_like(opened):
    page = opened(show.as_fragment(everything("x")))
    aligned = "selector => getComputedStyle(document.querySelector(selector)).textAlign"
    assert page.evaluate(aligned, "td:first-child") == "left" and page.evaluate(aligned, "td.number") == "right"
    sides = page.evaluate("['dt', 'dd'].map(tag => document.querySelector(tag).getBoundingClientRect().left)")
    assert sides[0] + 20 < sides[1]
