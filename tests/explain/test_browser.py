"""The page of a derivation in a real browser: readable without a script, on wide and narrow screens, light and dark."""

import pytest

from .test_golden import thinned
from .test_pages import evil, hostile

pytestmark = pytest.mark.slow

PARTS = "[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
OVER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
COLOURS = "(e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor])(document.querySelector('section'))"


@pytest.mark.parametrize("case", [thinned, evil, hostile], ids=lambda case: case.__name__)
def test_a_page_in_a_browser(case, chromium, tmp_path):
    file = tmp_path / "derivation.html"
    file.write_text(case().to_html(), encoding="utf-8")
    seen = {}
    for width in (1280, 400):
        for scheme in ("light", "dark"):
            view = {"width": width, "height": 900}
            context = chromium.new_context(viewport=view, color_scheme=scheme, offline=True, java_script_enabled=True)
            page, said, asked = context.new_page(), [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("dialog", lambda dialog, said=said: (said.append(dialog.message), dialog.dismiss()))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(file.as_uri())
            assert not said and asked == [file.as_uri()]
            assert page.evaluate(OVER) <= 0
            heights = page.evaluate(PARTS)
            assert len(heights) > 5 and min(heights) >= 6
            seen[scheme] = page.evaluate(COLOURS)
            context.close()
    light, dark = ([sum(map(int, c[4:-1].split(","))) for c in seen[s]] for s in ("light", "dark"))
    assert light[0] + 300 < light[1] and dark[0] > dark[1] + 300
