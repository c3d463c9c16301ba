"""The report in Chromium: drawn without an error or a request, moved by its slider, readable narrow and dark."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

pytest.importorskip("plotly", reason="needs plotly: pip install 'chainrule[report]'")

LOOKS = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]


@pytest.fixture(scope="module")
def file(digits):
    return cr.report(digits)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_opens_clean_and_fits(opened, file, width, scheme):
    page = opened(file, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.evaluate(
        "[...document.querySelectorAll('.chart')].filter(e => !e.querySelector('svg.main-svg')).length"
    )
    assert drawn == 0
    assert page.locator("#network circle").count() == 10 + 10 + 10 + 10
    wide = page.evaluate("[...document.querySelectorAll('.chart, #network, .cards figure')].filter("
                         "e => e.getBoundingClientRect().right > innerWidth + 1).length")  # fmt: skip
    assert wide == 0


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (c) => parse(c).map((v) => v / 255).map(
    (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = light(getComputedStyle(document.body).backgroundColor);
  const contrast = (c) => { const l = light(c); return (Math.max(l, back) + 0.05) / (Math.min(l, back) + 0.05); };
  const texts = [...document.querySelectorAll("h1, h2, h3, p, dd, dt, figcaption div, a, summary")]
    .map((e) => contrast(getComputedStyle(e).color));
  const ticks = [...document.querySelectorAll(".xtick text, .ytick text, .legendtext, .xtitle, .ytitle")]
    .map((e) => contrast(getComputedStyle(e).fill));
  return Math.min(...texts, ...ticks);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened, file, scheme):
    assert opened(file, 1280, scheme).evaluate(CONTRAST) >= 4.5


def test_a_change_to_dark_redraws(opened, file):
    page = opened(file)
    colour = "getComputedStyle(document.querySelector('#ridge-Z .xtick text')).fill"
    before = page.evaluate(colour), page.locator("#network svg").inner_html()
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)
    after = page.evaluate(colour), page.locator("#network svg").inner_html()
    assert before[0] != after[0]
    assert before[1] != after[1]


PICTURES = ["#network svg", "#ridge-Z", "#ridge-A", "#ridge-dZ", "#ridge-dW", "#line-gradient"]


def test_the_slider_moves_the_picture(opened, file):
    page = opened(file)

    def pictures():
        page.wait_for_timeout(200)
        return [page.locator(p).evaluate("e => e.innerHTML") for p in PICTURES]

    after = pictures()
    assert page.inner_text("#epoch-name") == "epoch 6 of 6"
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    before = pictures()
    assert page.inner_text("#epoch-name") == "before training"
    for name, old, new in zip(PICTURES, before, after, strict=True):
        assert old != new, name
    page.keyboard.press("End")
    assert page.inner_text("#epoch-name") == "epoch 6 of 6"
    page.select_option("#shading", "weight")
    assert "|W|" in page.inner_text("#scale-edges")
    assert page.said == []


def test_the_shades_are_those_of_the_figures(opened, tmp_path):
    """A unit that gets no gradient is dashed, and its edges are the palest."""
    X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).initialize(0)
    model[0].bias.value[2] = -100.0
    flow = cr.GradientFlow(tmp_path, X, y := (X[:, 0] > 0).astype(np.int64))
    cr.fit(model, X, y, epochs=1, callbacks=[flow], progress=False)
    page = opened(cr.report(tmp_path))
    dead = page.locator("#network circle[stroke-dasharray]")
    assert dead.count() == 1
    assert dead.first.locator("title").text_content() == "layer 1, unit 2: no gradient arrives"
    edges = page.locator("#network line").evaluate_all(
        "es => es.map(e => [e.textContent, e.getAttribute('stroke-opacity')])"
    )
    assert len(edges) == 3 * 4 + 4 * 2
    for text, opacity in edges:
        if text.startswith("W1[") and ", 2]" in text:
            assert text.endswith("|dW| 0")
            assert float(opacity) == 0.1


def test_markup_in_texts_stays_text(opened, hostile, markup, tmp_path):
    page = opened(cr.report(hostile(tmp_path / "run")))
    assert page.said == []
    assert page.evaluate("document.querySelectorAll('main img, main script, main b, .chart a').length") == 0
    titles = page.evaluate("[...document.querySelectorAll('#confusion .xtick text')].map(e => e.textContent)")
    assert titles[0] == '"><script>ale…'
    names = page.evaluate("[...document.querySelectorAll('#network text')].map(e => e.textContent)")
    assert names.count(markup) == 2
    legend = page.locator("#line-gradient .legendtext").first
    assert legend.text_content().replace("\u2028", "") == markup.replace("\u2028", "")
    assert legend.locator("tspan").count() == 0  # plotly would make bold text of <b>


def test_the_policy_stops_scripts_all_the_same(opened, file, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(file.read_text("utf-8").replace("</main>", "<script>window.ran = 1</script></main>"), "utf-8")
    page = opened(broken)
    assert page.evaluate("window.ran") is None
    assert "Content Security Policy" in page.said[0]


def test_formulas_are_rendered(opened, file):
    page = opened(file)
    assert page.locator("#derivation").count() == 1
    body = page.locator(".derivation")
    assert body.locator("math").count() > 5
    assert body.locator("math").first.evaluate("e => e.getBoundingClientRect().height") > 5


def test_the_command_line(tmp_path):
    def run(*arguments):
        finished = subprocess.run(
            [sys.executable, "-m", "chainrule", *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        return finished.returncode, finished.stdout + finished.stderr

    status, said = run("train", "digits", "--report", "--hidden", "8", "--epochs", "2")
    assert (status, "report   runs/digits/report.html" in said) == (0, True), said
    (tmp_path / "runs/digits/report.html").unlink()
    status, said = run("report", "runs/digits")
    assert status == 0
    assert (tmp_path / "runs/digits/report.html").stat().st_size < 6_000_000
    status, said = run("report", "runs/digits", "--out", "other.html")
    assert (tmp_path / "other.html").is_file()
    status, said = run("report", "runs/none")
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("error: there is no folder runs/none")
