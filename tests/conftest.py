"""What tests of several folders share: a browser, and one build of the native core per run.

With ``--durations=N``, the N files whose tests took most processor time are listed too: it is nearly the same on a busy
machine, unlike the time by the clock.
"""

import collections
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


def pytest_collection():
    """Let no garbage collection go through the growing list of tests."""
    gc.disable()


def pytest_collection_finish():
    """Leave tests and imported libraries out of garbage collections, each of which would go through all of them."""
    gc.collect()
    gc.freeze()
    gc.enable()


PROCESSOR_TIME = "processor time"
STARTED = pytest.StashKey[float]()


def processor_time():
    """Return the seconds that this process, and the processes that it started and that have ended, have computed."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.stash[STARTED] = processor_time()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Report the processor time with the test's last phase, which comes after its fixtures have ended."""
    report = yield
    if call.when == "teardown":
        report.user_properties.append((PROCESSOR_TIME, processor_time() - item.stash[STARTED]))
    return report


def pytest_terminal_summary(terminalreporter, config):
    if config.option.durations is None:
        return
    seconds = collections.Counter()
    for report in (r for reports in terminalreporter.stats.values() for r in reports if hasattr(r, "user_properties")):
        seconds[report.nodeid.partition("::")[0]] += dict(report.user_properties).get(PROCESSOR_TIME, 0.0)
    terminalreporter.section(f"processor time of the tests: {seconds.total():.0f} s")
    for file, of_file in seconds.most_common(config.option.durations or None):
        terminalreporter.write_line(f"{of_file:8.1f}s {file}")


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
