"""The derivation of a stored network, by `chainrule.explain`, as a part of the page."""

from __future__ import annotations

from html import escape

from ..derivation import Derivation, explain
from .storage import Stored


def derivation(stored: Stored) -> str:
    """Return the section with the network's derivation; nothing for a run without a model or examples."""
    loss = stored.record.get("loss")
    if stored.model is None or "sample/X" not in stored.arrays or not isinstance(loss, str):
        return ""
    try:
        found = explain(stored.model, stored.arrays["sample/X"], stored.arrays["sample/y"], loss)
        body = f'<div class="derivation">{_shown(found)}</div>'
    except (ValueError, TypeError, ImportError) as error:  # of a network or a loss of one's own, say
        body = f"<p>The network could not be derived: {escape(str(error))}</p>"
    return f'<h2 id="derivation">The derivation of the network</h2>\n{body}'


def _shown(found: Derivation) -> str:
    """Return the derivation with formulas in MathML; as plain text where what makes these isn't installed."""
    try:
        return found._repr_html_()
    except ImportError:
        return f"<pre>{escape(str(found))}</pre>"
