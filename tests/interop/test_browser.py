"""What notebooks show of modules and histories, in a browser: nothing sticks out, all of it can be read."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

pytestmark = pytest.mark.slow

#: Background and text of the page around, as notebooks have them.
PAGES = {"light": ("#ffffff", "#111111"), "dark": ("#111111", "#dddddd")}


def shown():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)).astype(np.float32)
    inner = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Sequential(inner, nn.Dropout(0.5)))
    model.append(nn.Linear(4, 2))
    history = cr.fit(model, X, (X[:, 0] > 0).astype(int), epochs=20, validation=0.2, early_stopping=5, progress=False)
    model.feature_names = tuple(f"a column with a long name, number {i}" for i in range(5))
    return model._repr_html_() + history._repr_html_()


def channels(color):
    """Return red, green and blue from 0 to 255 of a colour as browsers give it: ``rgb(…)`` or ``color(srgb …)``."""
    numbers = [float(x) for x in re.findall(r"[\d.]+", color)[:3]]
    return [round(255 * x) if color.startswith("color(srgb") else round(x) for x in numbers]


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", PAGES)
def test_in_a_browser(chromium, width, scheme, tmp_path):
    background, color = PAGES[scheme]
    page = chromium.new_context(viewport={"width": width, "height": 800}, offline=True).new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    (tmp_path / "cell.html").write_text(
        f"<!doctype html><meta charset=utf-8><body style='background:{background};color:{color}'>{shown()}", "utf-8"
    )
    page.goto((tmp_path / "cell.html").as_uri())
    assert page.locator("details[open]").count() == 1
    for summary in page.locator("details:not([open]) > summary").all():
        if summary.is_visible():
            summary.click()
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.get_by_text("8 × 4").is_visible() and page.get_by_text("W1", exact=True).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colors = page.evaluate("[...document.querySelectorAll('summary, td, th')].map(e => getComputedStyle(e).color)")
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    assert colors and all(channels(c) == wanted for c in colors)  # the page's colour; headings let it shine through
    assert problems == []
