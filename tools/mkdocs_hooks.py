"""Hooks for MkDocs: pages for files outside of docs/, and links that work in the repository and on the site.

Links in documents are relative to the repository (``../README.md``, ``docs/audit.md`` in the README), so that they work
in a checkout. The site has pages for files outside of docs/; links to these files are rewritten.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent

#: File of the repository -> page on the site.
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
    """Return the Markdown of a page: a document unchanged, any other file as a code block under its name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = "python" if path.endswith(".py") else "text"
    return f"# {Path(path).name}\n\n````{language}\n{text}````\n"


def relinked(markdown: str, page: str) -> str:
    """Return the Markdown of a page with links rewritten for the site, except in code blocks."""
    folder = posixpath.dirname(REPOSITORY.get(page, f"docs/{page}"))

    def link(match: re.Match[str]) -> str:
        target = match["target"]
        if re.match(r"[a-z]+:|/", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        there = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if there is None:
            return match[0]  # MkDocs reports the broken link
        relative = posixpath.relpath(there, posixpath.dirname(page) or ".")
        return f"]({relative}{match['anchor'] or ''}{match['rest'] or ''})"

    parts, end = [], 0
    for block in FENCED.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, LINK.sub(link, markdown[end:])])


def on_files(files: Any, config: Any) -> Any:
    """Add pages for files outside of docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=content_of(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page."""
    return relinked(markdown, page.file.src_uri)
