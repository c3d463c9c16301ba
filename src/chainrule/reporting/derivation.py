"""The derivation of a stored network, by `chainrule.explain`, as a part of the page."""

from __future__ import annotations

from html import escape

from ..explain import explain
from ..explain.derivation import Derivation
from .storage import Stored

#: Weights of a network that is derived, at most, and characters of a derivation that is unfolded from the beginning.
MOST_WEIGHTS, UNFOLDED = 64, 400_000


def derivation(stored: Stored) -> str:
    """Return the section with the network's derivation; nothing for a run without a model or examples."""
    loss = stored.record.get("loss")
    if stored.model is None and stored.record:
        why = "The folder holds no model: nothing is derived. <code>chainrule.explain</code> takes any network."
        return _section(f"<p>{why}</p>")
    if stored.model is None or "sample/X" not in stored.arrays or not isinstance(loss, str):
        return ""
    weights = sum(len(p.shape) > 1 for p in stored.model.parameters())
    try:
        if weights > MOST_WEIGHTS:
            raise ValueError(f"{weights} layers are too many for a page; chainrule.explain does it")
        found = explain(stored.model, stored.arrays["sample/X"], stored.arrays["sample/y"], loss)
        shown = f'<div class="derivation">{_shown(found)}</div>'
        unfolded = "open" if len(shown) <= UNFOLDED else ""
        body = f"<details {unfolded}><summary>Formula by formula</summary>{shown}</details>"
    except (ValueError, TypeError, ImportError) as error:  # of a network or a loss of one's own, say
        body = f"<p>The network could not be derived: {escape(str(error))}</p>"
    return _section(body)


def _section(body: str) -> str:
    return f'<h2 id="derivation">The derivation of the network</h2>\n{body}'


def _shown(found: Derivation) -> str:
    """Return the derivation with formulas in MathML; as plain text where what makes these isn't installed."""
    try:
        return found._repr_html_()
    except ImportError:
        return f"<pre>{escape(str(found))}</pre>"
