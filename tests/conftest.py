"""What tests of several folders share: a browser, and one build of the native core per run."""

import gc
import os
import shutil
import tempfile

import pytest

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_configure(config):
    """Name the folder in which the processes of this run share one build of the native core (tests/native/core.py)."""
    if "CHAINRULE_NATIVE_BUILD" in os.environ:
        return
    folder = os.environ["CHAINRULE_NATIVE_BUILD"] = tempfile.mkdtemp(prefix="chainrule-native-")
    config.add_cleanup(lambda: os.environ.pop("CHAINRULE_NATIVE_BUILD"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish():
    """Leave tests and imported libraries out of garbage collections, each of which would go through all of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def chromium():
    """Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
