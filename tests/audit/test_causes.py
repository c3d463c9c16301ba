"""The pages of the causes: one for each, and on each the fix that makes its wrong program right.

That the programs are wrong, and are said to be wrong for that cause, is asserted on the pages themselves (test_docs).
"""

import re
from pathlib import Path

import pytest

from chainrule.audit.report import CAUSES
from tests.tables import in_turn

PAGES = Path(__file__).resolve().parents[2] / "docs" / "causes"


def program(cause):
    """Return the code of a page, and the line that it gives in the place of the wrong one."""
    text = (PAGES / f"{cause}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (fix,) = re.findall(r"^```text\n(.*?)\n```$", text, flags=re.MULTILINE | re.DOTALL)
    return code, fix


def test_there_is_a_page_for_each_cause_and_no_other():
    assert {p.stem for p in PAGES.glob("*.md")} == {*CAUSES, "index"}
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(.+?)\]\(\1\.md\) \| (.+?) \|$", index, flags=re.MULTILINE) == list(CAUSES.items())


@pytest.mark.parametrize("cause", CAUSES)
def test_a_page_is_short_and_about_its_cause(cause):
    text = (PAGES / f"{cause}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {cause}\n\n{CAUSES[cause].capitalize()[0]}{CAUSES[cause][1:]}.\n")
    assert text.count("\n") <= 60 and max(map(len, text.splitlines())) <= 120
    code, _ = program(cause)
    assert code.count("  # wrong\n") == 1
    assert code.rstrip().split("\n")[-1].startswith("assert (report.findings[0].name, report.findings[0].cause) == ")
    assert f'"{cause}")' in code


@pytest.mark.parametrize("cause", in_turn(CAUSES))
def test_the_fix_of_a_page_is_right(cause):
    code, fix = program(cause)
    mended = re.sub(r"^( *).*  # wrong$", lambda m: m[1] + fix, code, flags=re.MULTILINE)
    assert mended != code
    namespace = {}
    exec("\n".join(line for line in mended.split("\n") if not line.startswith("assert ")), namespace)
    report = namespace["report"]
    assert report.ok, str(report)
    assert report.steps and all(step.verdict == "right" for step in report.steps), str(report)
