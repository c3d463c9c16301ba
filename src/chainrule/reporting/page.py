"""`report`: a run's folder as one self-contained HTML file."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from ..explain import explain
from ..explain.document import document as derived
from ..io import write_atomically
from ..show import html
from ..show.document import Block, Details, Document, Heading, Link, Paragraph, Place, joined
from . import judged, sections
from .inside import inside
from .payload import as_script, payload
from .storage import Stored, read_run

FILE = "report.html"

#: Greatest numbers of weights of a network that is derived, and of steps of a derivation that is shown unfolded.
MOST_WEIGHTS, UNFOLDED = 64, 60


def report(run: Any, to: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a run: one HTML file that loads nothing from the network.

    Parameters
    ----------
    run : path, or what ``runs.train`` returned
        The folder of a run, such as ``runs/digits``: what ``chainrule train --report`` or `store_run` and
        `GradientFlow` wrote. Sections whose files are missing are left out.
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

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn, reporting
    >>> X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    >>> y = (X[:, 0] > 0).astype(np.int64)
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).initialize(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = cr.fit(model, X, y, epochs=2, callbacks=[cr.GradientFlow(folder, X, y)], progress=False)
    ...     reporting.store_run(folder, model, history, X, y)
    ...     cr.report(folder).name
    'report.html'
    """
    require_plotly()
    folder = Path(getattr(run, "folder", run))
    stored = read_run(folder)
    path = Path(to) if to is not None else folder / FILE
    write_atomically(path, page(stored).encode())
    return path


def require_plotly() -> None:
    """Raise, saying how to install it, where plotly is missing.

    Examples
    --------
    >>> from chainrule.reporting import require_plotly
    >>> require_plotly()
    """
    try:
        import plotly.offline  # noqa: F401
    except ImportError:
        raise ImportError("a report needs plotly: pip install 'chainrule[report]'") from None


def page(stored: Stored) -> str:
    """Return the page for a run's folder."""
    from plotly.offline import get_plotlyjs

    return html.page(
        document(stored),
        style=_resource("page.css"),
        data=as_script("report-data", payload(stored)),
        scripts=(get_plotlyjs(), _resource("page.js")),
    )


def document(stored: Stored) -> Document:
    """Return the page's document, with placeholders for what its script draws."""
    title = f"Training report: {stored.folder.resolve().name}"
    flow = stored.flow if stored.flow is not None and stored.flow.snapshots else None
    parts = (
        judged.section(stored),
        sections.curves(stored.history),
        sections.predictions(stored),
        sections.gradient_flow(flow) if flow is not None else (),
        inside(stored),
        sections.collected(flow),
        _derivation(stored),  # the longest section comes last
    )
    shown = [part for part in parts if part]
    heads = [part[0] for part in shown]
    links = [Link(str(head.content), head.anchor) for head in heads if isinstance(head, Heading)]
    without = "<noscript><p>The charts of this page are drawn by a script.</p></noscript>"
    groups = [Place("", {"class": "part"}, without), *(block for part in shown for block in part)]
    return Document(title, (*sections.facts(stored, title), Paragraph(joined(links, " · ")), *groups))


def _derivation(stored: Stored) -> tuple[Block, ...]:
    """Return the derivation of the network; nothing for a run without a model or examples."""
    loss, head = stored.record.get("loss"), Heading("Derivation of the network", anchor="derivation")
    if stored.model is None and stored.record:
        return (head, Paragraph("The folder holds no model, so nothing is derived."))
    if stored.model is None or "sample/X" not in stored.arrays or not isinstance(loss, str):
        return ()
    weights = sum(len(p.shape) > 1 for p in stored.model.parameters())
    if weights > MOST_WEIGHTS:
        return (head, Paragraph(f"{weights} layers are too many for a page; use chainrule.explain."))
    try:
        found = explain(stored.model, stored.arrays["sample/X"], stored.arrays["sample/y"], loss)
    except (ValueError, TypeError) as error:  # of a custom network or loss, say
        return (head, Paragraph(f"The network could not be derived: {error}"))
    blocks = tuple(replace(b, level=b.level + 1) if isinstance(b, Heading) else b for b in derived(found).blocks[1:])
    settings = stored.record.get("settings")
    share = settings.get("label_smoothing") if isinstance(settings, dict) else None
    words = f"In training, {share} of each label was spread over the classes; the loss here is without that."
    said = (Paragraph(words, "dim"),) if share else ()
    return (head, *said, Details("Formula by formula", blocks, unfolded=len(found.backward) <= UNFOLDED))


def _resource(name: str) -> str:
    return (resources.files(__package__ or "chainrule.reporting") / name).read_text("utf-8")
