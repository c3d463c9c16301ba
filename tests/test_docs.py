"""Every code block of the documentation runs, and every example.

The blocks of one file run in their order, in one namespace and in an empty directory, as a reader would run them:

- ```` ```python ````: runs; an exception fails the test at the block's own line of the file;
- ```` ```console ````: its lines that begin with ``$`` are commands; ``chainrule …`` runs through the command line
  interface, the lines that follow are what it shows;
- ```` ```sh ````: every line is a command (``$`` may be left out). What installs something is run by ``.ci/run``.

A comment on the line before a block changes that:

- ``<!-- skip: reason -->``: the block isn't run; the reason stands in pytest's summary;
- ``<!-- needs: torch -->``: the block runs where these packages (with commas) are installed, else it is skipped;
- ``<!-- output -->``: what the block shows is compared with what came out, loosely: its lines must appear in that
  order; spaces and numbers don't count, and ``…`` stands for anything. For a ``console`` block the lines after the
  commands are meant, for a ``text`` block all of it is, and it is compared with the output of the block before.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chainrule.cli import app
from chainrule.core import op as table
from chainrule.core.node import FUNCTIONS
from tests.tables import slow

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: Documents whose blocks run for seconds.
LONG = {"from-scikit-learn.md", "scikit-learn.md"}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

RUN = {"python", "console", "sh"}
SHOWN = {"", "text", "json", "toml", "yaml", "csv", "latex", "html", "cpp", "mermaid", "diff", "bibtex"}

FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})\s*(?P<language>[^\s`]*)\s*$")
MARK = re.compile(r"^\s*<!--\s*(?P<word>skip|needs|output)\s*(?::\s*(?P<reason>.*?))?\s*-->\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: where its first line of code stands, what it says, and how it is marked."""

    document: str
    line: int
    language: str
    text: str
    skip: str | None = None
    compare: bool = False

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


class DocumentError(AssertionError):
    """A block that does not do what the document says, or a document that cannot be read without guessing."""


# -- reading -----------------------------------------------------------------------------------------------------------


def blocks(text: str, document: str = "document") -> list[Block]:
    """Return the fenced blocks of a Markdown text; raise for anything that would be dropped in silence."""
    found: list[Block] = []
    lines = text.splitlines()
    i, pending = 0, None
    while i < len(lines):
        mark, fence = MARK.match(lines[i]), FENCE.match(lines[i])
        if mark:
            if pending:
                raise DocumentError(f"{document}:{i + 1}: a second mark, before a block for the first")
            pending = mark
        elif fence:
            end = _closing(lines, i, fence, document)
            language = fence["language"].lower()
            if language not in RUN | SHOWN:
                raise DocumentError(f"{document}:{i + 1}: language {language!r} is none of {sorted(RUN | SHOWN)}")
            found.append(_block(document, i + 2, language, "\n".join(lines[i + 1 : end]), pending))
            i, pending = end, None
        elif pending and lines[i].strip():
            raise DocumentError(f"{document}:{i}: a mark stands right before a block; here text follows")
        i += 1
    if pending:
        raise DocumentError(f"{document}: a mark at the end has no block")
    return found


def _closing(lines: list[str], opening: int, fence: re.Match[str], document: str) -> int:
    for i in range(opening + 1, len(lines)):
        stripped = lines[i].strip()
        if set(stripped) == {fence["ticks"][0]} and len(stripped) >= len(fence["ticks"]):
            return i
    raise DocumentError(f"{document}:{opening + 1}: the block is never closed")


def _block(document: str, line: int, language: str, text: str, mark: re.Match[str] | None) -> Block:
    word, reason = (mark["word"], mark["reason"]) if mark else (None, None)
    if word == "skip" and not reason:
        raise DocumentError(f"{document}:{line}: say why the block is skipped: <!-- skip: reason -->")
    if word == "needs":
        reason = _missing(reason or "", f"{document}:{line}")
    skip = reason if word in ("skip", "needs") else None
    return Block(document, line, language, textwrap.dedent(text), skip, word == "output")


def _missing(modules: str, place: str) -> str | None:
    """Return why a block that needs modules cannot run here, or None."""
    names = [name.strip() for name in modules.split(",")]
    if not all(re.fullmatch(r"\w+", name) for name in names):
        raise DocumentError(f"{place}: say what the block needs: <!-- needs: package, package -->")
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(absent)}" if absent else None


# -- running -----------------------------------------------------------------------------------------------------------


def run(found: list[Block], directory: Path) -> int:
    """Run the blocks of one document in `directory`, in order; return how many there were to run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    count, output, left_out = 0, "", False
    with contextlib.chdir(directory):
        for block in found:
            if block.language in RUN:
                left_out = block.skip is not None
            if block.skip is not None or (block.compare and left_out):  # with a block goes what it shows
                continue
            if block.language == "python":
                output = run_python(block, namespace)
            elif block.language in RUN:
                output = run_commands(block, directory)
            if block.compare and block.language != "console":
                compare(block.text, output, block.place)
            count += block.language in RUN
    return count


def run_python(block: Block, namespace: dict[str, Any]) -> str:
    """Run a block; return what it prints."""
    printed = io.StringIO()
    source = "\n" * (block.line - 1) + block.text  # so that tracebacks count the document's lines
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(source, block.document, "exec"), namespace)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f.lineno for f in frames if f.filename == block.document]
        line = own[-1] if own else getattr(error, "lineno", None) or block.line
        raise DocumentError(f"{block.document}:{line}: {type(error).__name__}: {error}") from error
    return printed.getvalue()


def commands(block: Block) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the commands of a block, split, each with the lines shown after it."""
    prompt = block.language == "console"
    current: tuple[list[str], list[str]] | None = None
    for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
        if line.startswith("$ ") or (not prompt and line.strip() and not line.startswith("#")):
            if current:
                yield current
            current = shlex.split(line.removeprefix("$ "), comments=True), []
        elif current:
            current[1].append(line)
        elif line.strip() and not line.startswith("#"):
            raise DocumentError(f"{block.place}: output before the first command: {line}")
    if current:
        yield current


def run_commands(block: Block, directory: Path) -> str:
    """Run the ``chainrule`` commands of a block; return what they print."""
    printed = ""
    for words, shown in commands(block):
        if words[:1] == ["chainrule"]:
            if set(words) & {"&&", "||", "|", ";", ">", "<"}:
                raise DocumentError(f"{block.place}: a shell's operators in {shlex.join(words)}")
            with contextlib.chdir(directory):
                finished = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"}).invoke(app, words[1:])
            if finished.exit_code:
                ended = f"{shlex.join(words)} ended with {finished.exit_code}"
                raise DocumentError(f"{block.place}: {ended}: {finished.stderr}") from finished.exception
            if block.compare:
                compare("\n".join(shown), finished.stdout, block.place)
            printed += finished.stdout
        elif not installs(words):
            raise DocumentError(f"{block.place}: nothing here runs {shlex.join(words)!r}; <!-- skip: why -->")
    return printed


def installs(words: list[str]) -> bool:
    """Whether a command line is for ``.ci/run``: it installs the package, or runs the very tests that run this."""
    return words[:2] == ["pip", "install"] or words[:1] in (["pytest"], [".ci/run"], ["ruff"], ["mypy"])


def compare(shown: str, output: str, place: str) -> None:
    """Raise unless the lines of `shown` appear in `output`, in their order, but for spaces and numbers."""
    rest = [_loose(line) for line in output.splitlines()]
    for line in shown.splitlines():
        if not (wanted := _loose(line)) or wanted == "…":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("…")))
        for i, have in enumerate(rest):
            if pattern.fullmatch(have):
                rest = rest[i + 1 :]
                break
        else:
            raise DocumentError(f"{place}: it shows\n  {line}\nbut the output has no such line there:\n{output}")


def _loose(line: str) -> str:
    line = re.sub(r"[─━-]{2,}", "─", line.replace("...", "…"))  # rules follow the width of numbers
    line = re.sub(r"(?:[-+]\s?)?\d[\d,_]*(?:\.\d*)?(?:e[-+]?\d+)?", "#", line)
    return re.sub(r"\s+", "", line)


# -- the documents and the examples ------------------------------------------------------------------------------------


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def own_operations() -> Iterator[None]:
    """Take back the operations that a document adds."""
    kept = [(changed, dict(changed)) for changed in (table._ROWS, FUNCTIONS)]
    yield
    for changed, before in kept:
        changed.clear()
        changed.update(before)


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.mark.parametrize("document", [slow(d) if d.name in LONG else d for d in DOCUMENTS], ids=name_of)
def test_the_blocks_of_a_document_run(document: Path, tmp_path: Path, no_screen: None, own_operations: None) -> None:
    text = document.read_text(encoding="utf-8")
    found = blocks(text, name_of(document))
    opened = len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|console|sh)\s*$", text, flags=re.MULTILINE | re.IGNORECASE))
    skipped = sum(b.skip is not None and b.language in RUN for b in found)
    assert run(found, tmp_path) == opened - skipped


SKIPPED = [b for d in DOCUMENTS for b in blocks(d.read_text(encoding="utf-8"), name_of(d)) if b.skip is not None]


if SKIPPED:

    @pytest.mark.parametrize("block", SKIPPED, ids=[b.place for b in SKIPPED])
    def test_skipped_blocks_say_why(block: Block) -> None:
        pytest.skip(f"{block.place}: {block.skip}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"^\s*(```|~~~).*?^\s*\1", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+?)(?:#[^)]*)?\)", prose)
    broken = [t for t in targets if not re.match(r"[a-z]+:|#", t) and not (document.parent / t).exists()]
    assert not broken


def test_readme_begins_with_the_two_commands() -> None:
    first = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "README.md")[0]
    lines = [line.split("#")[0].strip() for line in first.text.splitlines()]
    assert lines == ["pip install . && chainrule train digits", "pip install '.[test]' && pytest"]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    """Its own assertions are the test; it must say something, and leave nothing behind. Long ones have a short form."""
    short = ["--short"] * ("--short" in example.read_text(encoding="utf-8"))
    finished = subprocess.run(
        [sys.executable, "-W", "error", str(example), *short],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "MPLBACKEND": "Agg"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()
    assert list(tmp_path.iterdir()) == []


# -- the extractor itself ----------------------------------------------------------------------------------------------


def test_blocks_share_a_namespace_and_are_counted(tmp_path: Path) -> None:
    text = "```python\nx = 2\n```\nwords\n\n- a list\n\n  ~~~python\n  y = x + 1\n  ~~~\n\n```text\nnot run(\n```\n"
    found = blocks(text)
    assert [(b.language, b.line) for b in found] == [("python", 2), ("python", 9), ("text", 13)]
    assert run([*found, *blocks("```python\nassert y == 3\n```")], tmp_path) == 3


def test_a_failing_block_fails_at_its_line(tmp_path: Path) -> None:
    text = "title\n\n```python\nx = 1\n\nassert x == 2, 'two'\n```\n"
    with pytest.raises(DocumentError, match=r"document:6: AssertionError: two"):
        run(blocks(text), tmp_path)
    with pytest.raises(DocumentError, match=r"document:2: SyntaxError"):
        run(blocks("```python\nx = = 1\n```\n"), tmp_path)


def test_blocks_run_in_the_directory_given(tmp_path: Path) -> None:
    run(blocks("```python\nfrom pathlib import Path\nPath('left').write_text('here')\n```\n"), tmp_path)
    assert (tmp_path / "left").read_text() == "here"


def test_skipping_needs_a_reason(tmp_path: Path) -> None:
    (skipped,) = blocks("<!-- skip: needs a camera -->\n```python\nraise SystemExit\n```\n")
    assert skipped.skip == "needs a camera"
    assert run([skipped], tmp_path) == 0
    with pytest.raises(DocumentError, match="say why"):
        blocks("<!-- skip -->\n```python\n```\n")


def test_a_block_runs_where_what_it_needs_is_there(tmp_path: Path) -> None:
    (here,) = blocks("<!-- needs: numpy, json -->\n```python\nx = 1\n```\n")
    (elsewhere,) = blocks("<!-- needs: numpy, no_such_module -->\n```python\nx = 1\n```\n")
    assert here.skip is None and run([here], tmp_path) == 1
    assert elsewhere.skip == "needs no_such_module" and run([elsewhere], tmp_path) == 0
    with pytest.raises(DocumentError, match="say what the block needs"):
        blocks("<!-- needs: -->\n```python\n```\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nx = 1\n", "never closed"),
        ("```pyhton\nx = 1\n```\n", "language 'pyhton'"),
        ("<!-- skip: why -->\nwords\n```python\n```\n", "right before a block"),
        ("<!-- output -->\n", "has no block"),
    ],
)
def test_what_would_be_dropped_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        blocks(text)


def test_output_is_compared_loosely(tmp_path: Path) -> None:
    text = "```python\nprint('loss 0.25\\nmore\\nrate  1e-3 of it')\n```\n\n"
    text += "<!-- output -->\n```text\nloss 0.31\n…\nrate 2.5 …\n```\n"
    assert run(blocks(text), tmp_path) == 1
    with pytest.raises(DocumentError, match="no such line"):
        run(blocks(text.replace("rate 2.5", "cost 2.5")), tmp_path)
    with pytest.raises(DocumentError, match="no such line"):  # the order counts
        compare("b\na", "a\nb", "here")


def test_with_a_block_goes_what_it_shows(tmp_path: Path) -> None:
    code, shown = "```python\nprint('b')\n```\n", "\n<!-- output -->\n```text\na\n```\n"
    absent = "<!-- needs: no_such_package -->\n" + code + shown
    assert run(blocks(absent), tmp_path) == 0
    with pytest.raises(DocumentError, match="no such line"):
        run(blocks(absent + code + shown), tmp_path)


def test_commands_are_found_and_unknown_ones_refused(tmp_path: Path) -> None:
    text = "$ chainrule train digits \\\n    --seed 3  # a comment\nepoch 1\n$ pip install .\n"
    (block,) = blocks(f"```console\n{text}```\n")
    assert list(commands(block)) == [
        (["chainrule", "train", "digits", "--seed", "3"], ["epoch 1"]),
        (["pip", "install", "."], []),
    ]
    (block,) = blocks("```sh\nrm -r everything\n```\n")
    with pytest.raises(DocumentError, match="nothing here runs 'rm -r everything'"):
        run([block], tmp_path)


def test_a_command_that_fails_fails(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="chainrule no-such-command ended with"):
        run(blocks("```console\n$ chainrule no-such-command\n```\n"), tmp_path)
