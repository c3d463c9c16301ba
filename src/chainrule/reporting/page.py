"""`report`: a run's folder as one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import resources
from pathlib import Path
from typing import Any

from ..io import write_atomically
from . import sections
from .derivation import derivation
from .payload import as_script, payload
from .storage import Stored, read_run

FILE = "report.html"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {hashes}; \
style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
{data}
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def report(run: Any, to: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a run: one HTML file, to be opened from disk, that loads nothing from elsewhere.

    Parameters
    ----------
    run : path, or what ``runs.train`` returned
        The folder of a run, such as ``runs/digits``: what ``chainrule train --report`` or `store_run` and
        `GradientFlow` wrote. What is not there is left out of the page.
    to : path or None
        The file to write; None: ``report.html`` in the run's folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        Without plotly (the extra ``report``).
    FileNotFoundError, ValueError
        When there is no run in the folder, or a file in it is damaged.
    """
    require_plotly()
    folder = Path(getattr(run, "folder", run))
    stored = read_run(folder)
    path = Path(to) if to is not None else folder / FILE
    write_atomically(path, page(stored).encode())
    return path


def require_plotly() -> None:
    """Raise, saying how to install it, where plotly is missing."""
    try:
        import plotly.offline  # noqa: F401
    except ImportError:
        raise ImportError("a report needs plotly: pip install 'chainrule[report]'") from None


def page(stored: Stored) -> str:
    """Return the page for what a folder holds."""
    from plotly.offline import get_plotlyjs

    title = f"Training report: {stored.folder.resolve().name}"
    flow = stored.flow if stored.flow is not None and stored.flow.snapshots else None
    plotly, script = get_plotlyjs(), _resource("page.js")
    shown = {
        "curves": sections.curves(stored.history),
        "predictions": sections.predictions(stored),
        "flow": sections.gradient_flow(flow) if flow is not None else "",
        "collected": sections.collected(flow),
        "derivation": derivation(stored),  # the longest comes last
    }
    links = "\n".join(f'<a href="#{k}">{_LINKS[k]}</a>' for k, part in shown.items() if part)
    body = [sections.facts(stored, title), f"<nav>{links}</nav>",
            "<noscript><p>The charts of this page are drawn by a script.</p></noscript>", *shown.values()]  # fmt: skip
    return _PAGE.format(
        hashes=" ".join(f"'sha256-{_digest(code)}'" for code in (plotly, script)), title=sections.text(title),
        style=_resource("page.css"), body="\n".join(filter(None, body)), plotly=plotly, script=script,
        data=as_script("report-data", payload(stored)),
    )  # fmt: skip


_LINKS = {
    "curves": "Loss and metrics", "predictions": "Predictions", "flow": "The flow of gradients",
    "collected": "How this was collected", "derivation": "The derivation of the network",
}  # fmt: skip


def _digest(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def _resource(name: str) -> str:
    return (resources.files(__package__ or "chainrule.reporting") / name).read_text("utf-8")
