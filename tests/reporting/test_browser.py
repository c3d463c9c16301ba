"""The report in Chromium: drawn without an error or a request, moved by its slider, readable narrow and dark."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

pytestmark = pytest.mark.slow

pytest.importorskip("plotly", reason="needs plotly: pip install 'chainrule[report]'")


@pytest.fixture(scope="module")
def file(digits):
    return cr.report(digits)


@pytest.fixture(scope="module", params=[(1280, "light"), (400, "dark")], ids=["wide", "narrow"])
def page(open_file, file, request):
    """The report of the digits, opened once at each width; each test leaves it as it was."""
    page = open_file(file, *request.param)
    page.looks = request.param
    yield page
    page.context.close()


def in_colours(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.wait_for_timeout(300)


TOO_WIDE = """() => [...document.querySelectorAll('.chart, #network, .columns > div, section, p, h2, h3, #controls *')]
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"""


def test_it_opens_clean_and_fits(page):
    width = page.looks[0]
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".chart").count() == page.locator(".chart:has(svg.main-svg)").count() > 8
    assert page.locator("#network circle").count() == 10 + 10 + 10 + 10
    assert page.evaluate(TOO_WIDE) == []


OVERLAPS = """(selector) => {
  const boxes = [...document.querySelectorAll(selector)].map((e) => [e.textContent, e.getBoundingClientRect()]);
  const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap(([text, a], i) => boxes.slice(i + 1).filter(([, b]) => over(a, b)).map(([c]) => text + c));
}"""
CHARTS = ("confusion", "ridge-dZ", "ridge-Z", "line-update")
TEXTS = ["#network text", *(f"#{chart} .{axis}tick text" for chart in CHARTS for axis in "xy")]


@pytest.mark.parametrize("texts", TEXTS)
def test_no_label_is_over_another(page, texts):
    assert page.locator(texts).count() > 1
    assert page.evaluate(OVERLAPS, texts) == []


def test_every_axis_has_a_title(page):
    titles = page.locator(".chart").evaluate_all(
        "charts => charts.map(e => [e.id, ...['.xtitle', '.ytitle'].map(t => e.querySelector(t)?.textContent || '')])"
    )
    assert len(titles) > 8
    for name, x, y in titles:
        assert x, name
        assert y or name.startswith("ridge"), name  # whose ticks are the layers


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (c) => parse(c).map((v) => v / 255).map(
    (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = light(getComputedStyle(document.body).backgroundColor);
  const contrast = (c) => { const l = light(c); return (Math.max(l, back) + 0.05) / (Math.min(l, back) + 0.05); };
  const texts = [...document.querySelectorAll("h1, h2, h3, p, li, td, th, dd, dt, figcaption div, a, summary")]
    .map((e) => contrast(getComputedStyle(e).color));
  const ticks = [...document.querySelectorAll(".xtick text, .ytick text, .legendtext, .xtitle, .ytitle, #network text")]
    .map((e) => contrast(getComputedStyle(e).fill));
  return Math.min(...texts, ...ticks);
}"""


def test_text_stands_out_and_a_change_of_colours_redraws(page):
    scheme = page.looks[1]
    looks = []
    for colours in (scheme, {"light": "dark", "dark": "light"}[scheme]):
        in_colours(page, colours)
        assert page.evaluate(CONTRAST) >= 4.5, colours
        tick = page.evaluate("getComputedStyle(document.querySelector('#ridge-Z .xtick text')).fill")
        looks.append((tick, page.locator("#network svg").inner_html()))
    assert looks[0][0] != looks[1][0]
    assert looks[0][1] != looks[1][1]
    in_colours(page, scheme)


PICTURES = ["#network svg", "#ridge-Z", "#ridge-A", "#ridge-dZ", "#ridge-dW", "#line-gradient"]


def test_the_slider_moves_the_picture(page):
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
    network = page.locator("#network svg").inner_html()
    page.select_option("#shading", "weight")
    assert "|W|" in page.inner_text("#scale-edges")
    assert page.locator("#network svg").inner_html() != network
    page.select_option("#shading", "gradient")
    assert page.said == []


def test_formulas_are_rendered(page):
    body = page.locator("#derivation ~ details")
    assert body.locator("math").count() > 5
    assert body.locator("math").first.evaluate("e => e.getBoundingClientRect().height") > 5


def test_what_goes_wrong_is_seen(opened, tmp_path):
    """A dead unit is dashed and its edges are palest; a layer without gradients and a large step are named."""
    X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)]
    model = nn.Sequential(*layers).initialize(0)
    model[0].bias.value[:] = model[2].bias.value[:] = 1.0
    model[0].bias.value[2] = -100.0
    flow = cr.GradientFlow(tmp_path, X, y := (X[:, 0] > 0).astype(np.int64))

    def kill(run):
        run.training.parameters["2.bias"][:] = -100.0

    cr.fit(model, X, y, epochs=1, callbacks=[kill, flow], progress=False, optimizer=optim.SGD(1e-9))
    page = opened(cr.report(tmp_path))
    said = page.locator("section.bad").last.inner_text()
    assert "No gradient reaches the weights of layer 1, layer 2" in said
    assert "100\u202f% in layer 1, 100\u202f% in layer 2" in said
    assert page.locator("#ridge-dZ .annotation-text").all_text_contents() == ["all exactly 0"] * 2
    assert page.locator("#network circle[stroke-dasharray]").count() == 4 + 3
    assert page.locator("#network text.bad").all_text_contents()[:2] == ["‖dW‖/‖W‖ 0", "dead 100\u202f%"]
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    dead = page.locator("#network circle[stroke-dasharray]")
    assert dead.count() == 1
    assert dead.first.locator("title").text_content() == "layer 1, unit 2: no gradient arrives"
    edges = page.locator("#network line").evaluate_all(
        "es => es.map(e => [e.textContent, e.getAttribute('stroke-opacity')])"
    )
    assert len(edges) == 3 * 4 + 4 * 3 + 3 * 2
    for text, opacity in edges:
        if text.startswith("W1[") and ", 2]" in text:
            assert text.endswith("|dW| 0")
            assert float(opacity) == 0.1
    page.set_viewport_size({"width": 320, "height": 900})
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('#network svg').viewBox.baseVal.width") < 320
    assert page.evaluate(OVERLAPS, "#network text") == []
    assert page.said == []


WITH_MARKUP = ["#confusion .xtick text", "#line-gradient .legendtext", "#points .xtitle", "#ridge-Z .ytick text"]


def test_markup_in_texts_stays_text(opened, hostile, markup, tmp_path):
    page = opened(cr.report(hostile(tmp_path / "run")))
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    page.hover("#network circle >> nth=3")
    page.locator("#confusion").scroll_into_view_if_needed()
    box = page.locator("#confusion .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.wait_for_selector("#confusion .hoverlayer .hovertext", timeout=5000)
    hovered = page.locator("#confusion .hoverlayer").text_content()
    assert "<script>alert(1)</script>" in hovered
    assert page.said == []
    assert (
        page.evaluate("document.querySelectorAll('.chainrule script, .chainrule img, .chart a, .chart b').length") == 0
    )
    assert page.evaluate("[...document.querySelectorAll('.chainrule b')].length === 0")
    titles = page.evaluate("[...document.querySelectorAll('#confusion .xtick text')].map(e => e.textContent)")
    assert titles[0] == '"><script>ale…'
    for place in WITH_MARKUP:
        assert "<script>ale" in page.locator(place).first.text_content(), place
    assert page.locator("#points .xtitle").text_content() == f"true {markup[:39]}…"
    names = page.evaluate("[...document.querySelectorAll('#network text')].map(e => e.textContent)")
    assert markup + "0" in names
    assert markup + "1" in names
    legend = page.locator("#line-gradient .legendtext").first
    assert legend.text_content().replace("\u2028", "") == (markup + "0").replace("\u2028", "")
    assert legend.locator("tspan").count() == 0  # plotly would make bold text of <b>


def test_the_policy_stops_scripts_all_the_same(chromium, file, tmp_path):
    """Also if markup got into the page one day. Without plotly, to be quick."""
    broken, text = tmp_path / "broken.html", file.read_text("utf-8")
    end = text.index('<script type="application/json"')
    broken.write_text(text[:end] + "<script>window.ran = 1</script></body></html>", "utf-8")
    context = chromium.new_context(offline=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(broken.as_uri())
    assert page.evaluate("window.ran") is None
    assert "Content Security Policy" in said[0]
    context.close()
