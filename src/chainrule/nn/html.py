"""A module as HTML for notebooks: a folded tree without scripts, in the colours of the page it stands in."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from ..core.tensor import Parameter

if TYPE_CHECKING:
    from .module import Module

#: Modules that are written out; of the others only the number is said.
MOST = 1000

_STYLE = """
.chainrule-module { font-family: ui-monospace, Consolas, monospace; font-size: 13px; line-height: 1.5; color: inherit;
  max-width: 100%; overflow-x: auto; }
.chainrule-module details > :not(summary), .chainrule-module .leaf { margin-left: 1.4em; }
.chainrule-module summary { cursor: pointer; }
.chainrule-module summary, .chainrule-module .leaf { padding: 1px 0; overflow-wrap: anywhere; }
.chainrule-module .note { opacity: 0.7; }
.chainrule-module table { border-collapse: collapse; background: transparent; width: auto; table-layout: auto;
  font: inherit; color: inherit; }
.chainrule-module td { padding: 0 1em 0 0; text-align: left; border: 0; background: transparent; color: inherit;
  white-space: nowrap; }
.chainrule-module td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


def as_html(module: Module) -> str:
    """Return `module` as a tree: each module with its settings and its number of parameters, below it those."""
    return f'<div class="chainrule-module"><style>{_STYLE}</style>{"".join(_tree(module))}</div>'


def _tree(module: Module) -> Iterator[str]:
    """Yield the tags in their order. Iterative: modules may be nested deeply."""
    rows = list(_rows(module))
    open_folds: list[int] = []
    for i, (depth, name, inner) in enumerate(rows[:MOST]):
        while open_folds and open_folds[-1] >= depth:
            open_folds.pop()
            yield "</details>"
        label = f'<span class="note">({escape(name)})</span> ' if name else ""
        own = [(n, v) for n, v in inner._members() if isinstance(v, Parameter)]
        has_inner = i + 1 < len(rows) and rows[i + 1][0] > depth
        what = f"{label}<b>{escape(type(inner).__name__)}</b>({escape(inner._signature())}){_note(inner, depth)}"
        if not own and not has_inner:
            yield f'<div class="leaf">{what}</div>'
            continue
        yield f"<details{' open' if depth == 0 else ''}><summary>{what}</summary>"
        yield _table(own) if own else ""
        open_folds.append(depth)
    yield "</details>" * len(open_folds)
    if len(rows) > MOST:
        yield f'<div class="note">and {len(rows) - MOST:,} modules more</div>'


def _rows(module: Module) -> Iterator[tuple[int, str, Module]]:
    """Yield (depth, name within the module above, module), this one first."""
    depths: dict[str, int] = {}
    for path, inner in module.named_modules():
        parts = path.split(".") if path else []
        above = next((p for k in range(len(parts) - 1, 0, -1) if (p := ".".join(parts[:k])) in depths), "")
        depths[path] = depths[above] + 1 if path else 0
        yield depths[path], path[len(above) :].lstrip("."), inner


def _note(module: Module, depth: int) -> str:
    parts = [f"{n:,} parameter{'s' * (n != 1)}"] if (n := module.num_parameters) else []
    if depth == 0:
        parts += [str(module.dtype)] if module.dtype is not None else []
        parts += [] if module.training else ["evaluation mode"]
        parts += [_features(module.feature_names)] if module.feature_names else []
    return f' <span class="note">{escape(" · ".join(parts))}</span>' if parts else ""


def _features(names: tuple[str, ...], limit: int = 6) -> str:
    return "columns " + ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def _table(parameters: list[tuple[str, Parameter]]) -> str:
    rows = []
    for name, value in parameters:
        named = f"{escape(value.name)}" if value.name and value.name != name else ""
        shape = " × ".join(map(str, value.shape)) or "a number"
        cells = (
            f"<td>{escape(name)}</td><td>{named}</td><td class=number>{shape}</td><td class=number>{value.size:,}</td>"
        )
        rows.append(f"<tr>{cells}<td>{value.dtype}</td></tr>")
    return f"<table>{''.join(rows)}</table>"
