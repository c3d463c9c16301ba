"""Hooks for MkDocs: pages for the repository's files outside of docs/, and links that hold in both places.

Documents link as they lie in the repository (``../README.md``, ``docs/audit.md`` from the README), so that a reader of
the checkout can follow the links. The site has its own places for the files outside of docs/; links are rewritten to
those.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent

#: File of the repository -> its page on the site.
PAGES = {
    "README.md": "project/readme.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "LICENSE": "project/licence.md",
    "CITATION.cff": "project/citation.md",
} | {f"examples/{path.name}": f"examples/{path.stem}.md" for path in sorted((ROOT / "examples").glob("*.py"))}
REPOSITORY = {page: path for path, page in PAGES.items()}

FENCED = re.compile(r"^(\s*)(`{3,}|~{3,}).*?^\s*\2\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?P<rest>\s[^)]*)?\)")


def content_of(path: str) -> str:
    """Return a page's Markdown: a document as it is, anything else as a block of code under its name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = "python" if path.endswith(".py") else "text"
    return f"# {Path(path).name}\n\n````{language}\n{text}````\n"


def relinked(markdown: str, page: str) -> str:
    """Return a page's Markdown with links for the site, outside of its blocks of code."""
    folder = posixpath.dirname(REPOSITORY.get(page, f"docs/{page}"))

    def link(match: re.Match[str]) -> str:
        target = match["target"]
        if re.match(r"[a-z]+:|/", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        there = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if there is None:
            return match[0]  # MkDocs says that the link leads nowhere
        relative = posixpath.relpath(there, posixpath.dirname(page) or ".")
        return f"]({relative}{match['anchor'] or ''}{match['rest'] or ''})"

    parts, end = [], 0
    for block in FENCED.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, LINK.sub(link, markdown[end:])])


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of files outside of docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=content_of(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite a page's links."""
    return relinked(markdown, page.file.src_uri)
