"""Pages in Chromium: nothing loaded, nothing too wide, and in a notebook whose style sheet has rules of its own."""

import pytest

from chainrule import show

from .test_show import KINDS, blocks, d

#: What Jupyter says of elements in an output, where it differs from a browser's style sheet.
NOTEBOOK = """
.out dt { float: left; width: 20%; font-weight: bold; } .out dd { margin-left: 20%; } .out dl { display: block; }
.out table { table-layout: fixed; margin-left: auto; margin-right: auto; border-spacing: 0; font-size: 12px; }
.out tr, .out th, .out td { text-align: right; vertical-align: middle; padding: 0.5em; max-width: none; }
.out tbody tr:nth-child(odd) { background: #f5f5f5; } .out code { background: #eee; padding: 1px 5px; }
"""
STYLES = """() => ['dt', 'dd', 'td:first-child', 'td.number', 'tbody tr', 'dl'].map((selector) => {
  const style = getComputedStyle(document.querySelector('.chainrule ' + selector));
  return [selector, style.float, style.textAlign, style.backgroundColor, style.display];
})"""
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
def test_the_rules_of_a_notebook_do_not_break_it(opened, bare):
    inside = show.as_fragment(everything("x"), bare=bare)
    markup = f'<!DOCTYPE html><meta charset="utf-8"><div class="out">{inside}</div>'
    alone = opened(markup).evaluate(STYLES)
    assert opened(markup.replace("<div", f"<style>{NOTEBOOK}</style><div", 1)).evaluate(STYLES) == alone
    assert opened(markup + f"<style>{NOTEBOOK}</style>").evaluate(STYLES) == alone  # whichever comes last
    found = {selector: rest for selector, *rest in alone}
    assert found["dt"][0] == "none" and found["td:first-child"][1] == "left" and found["td.number"][1] == "right"
