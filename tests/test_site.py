"""The documentation as a site: built strictly, with every public name, fetching nothing; links lead to its pages."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest

from tests.test_reference import NAMES, listed, resolved

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
    reason="needs chainrule[docs]",
)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    finished = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    yield folder


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_public_name_is_in_the_inventory(site: Path) -> None:
    compressed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    roles = dict(line.split()[:2] for line in zlib.decompress(compressed).decode().splitlines())
    assert [name for name in listed() if name not in roles] == []
    assert [name for name in listed() if (roles[name] == "py:module") != inspect.ismodule(resolved(name))] == []
    assert len(roles) > len(NAMES)


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Links to other places are for the reader to follow; scripts, styles, fonts and pictures are local."""
    address = r"[\"']?(?:https?:)?//"
    fetched = re.compile(rf"<(?:script|img|iframe|source|embed)\b[^>]*\bsrc={address}|@import|url\({address}")
    styles = re.compile(rf"<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon))[^>]*\bhref={address}")
    found = [page.name for page in pages(site) if any(p.search(page.read_text("utf-8")) for p in (fetched, styles))]
    assert found == []


def test_links_lead_to_pages_of_the_site(site: Path) -> None:
    broken = []
    for page in pages(site):
        if page.name == "404.html":
            continue
        for target in re.findall(r"<a\b[^>]*\bhref=\"([^\"#]+)", page.read_text("utf-8")):
            if not re.match(r"[a-z]+:", target) and not (page.parent / unquote(target)).exists():
                broken.append(f"{page.relative_to(site)} -> {target}")
    assert broken == []


def test_the_documents_outside_of_docs_are_there(site: Path) -> None:
    readme = (site / "project" / "readme.html").read_text("utf-8")
    assert 'href="../audit.html"' in readme and 'src="../images/backprop.svg"' in readme
    assert 'href="../examples/article_000_backpropagation.html"' in readme
    home = (site / "index.html").read_text("utf-8")
    assert 'href="project/contributing.html"' in home and "README.md" not in re.sub(r"<title>.*?</title>", "", home)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Serve the site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def problems(chromium: str, address: str, width: int, scheme: str) -> list[str]:
    """Look at pages in Chromium; return what is too wide, what was asked for elsewhere, and errors."""
    from playwright.sync_api import sync_playwright

    found: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("request", lambda r: None if r.url.startswith((address, "data:")) else found.append(r.url))
        page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
        for name in ("index", "performance", "from-pytorch", "reference/train", "project/readme"):
            page.goto(f"{address}/{name}.html", wait_until="networkidle")
            if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                found.append(f"{name} is too wide")
        browser.close()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_fit_into_a_window_and_ask_no_one_else(address: str, width: int, scheme: str) -> None:
    pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with ThreadPoolExecutor(1) as apart:  # another test's Playwright may be running in this thread
        assert apart.submit(problems, chromium, address, width, scheme).result() == []
