"""Documents as HTML that loads nothing and runs nothing: whole files, and elements for notebooks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import resources

from . import document as doc
from .document import clean, pieces
from .mathml import mathml
from .svg import line_chart

_PAGE = """<!DOCTYPE html>
<html lang="en" class="chainrule-page">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; {policy}style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(document: doc.Document, *, style: str = "", data: str = "", scripts: Sequence[str] = ()) -> str:
    """Return a whole file. A page runs only its own scripts."""
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts]
    allowed = " ".join(f"'sha256-{code}'" for code in hashes)
    policy = f"script-src {allowed}; img-src data: blob:; base-uri 'none'; form-action 'none'; " if scripts else ""
    body = [f'<div class="chainrule">{_joined(document.blocks)}</div>', data]
    body += [f"<script>{code}</script>" for code in scripts]
    return _PAGE.format(
        policy=policy,
        title=_text(document.title),
        style=f"{_style()}{style}",
        body="\n".join(filter(None, body)),
    )


def fragment(document: doc.Document, *, bare: bool = False) -> str:
    """Return an element to be put into a page, as notebooks do; a bare one has the colours of that page."""
    kind = "chainrule embedded bare" if bare else "chainrule embedded"
    return f'<div class="{kind}">\n<style>\n{_style()}</style>\n{_joined(document.blocks)}\n</div>'


def _style() -> str:
    return (resources.files(__package__) / "style.css").read_text("utf-8")


def _text(words: str) -> str:
    return escape(clean(words))


def line(content: doc.Content) -> str:
    """Return a content as HTML."""
    return "".join(map(_piece, pieces(content)))


def _piece(piece: doc.Piece) -> str:
    match piece:
        case doc.Math(text, latex):
            return mathml(latex) or f"<code>{_text(text)}</code>"
        case doc.Link(text, anchor):
            return f'<a href="#{_text(anchor)}">{_text(text)}</a>'
        case doc.Code(text, tone):
            return f"<code{_class(tone)}>{_text(text)}</code>"
    return f"<span{_class(piece.tone)}>{_text(piece.text)}</span>" if piece.tone else _text(piece.text)


def _class(*names: str) -> str:
    found = " ".join(filter(None, names))
    return f' class="{found}"' if found else ""


def _joined(blocks: Iterable[doc.Block]) -> str:
    return "\n".join(part for block in blocks for part in _block(block))


def _block(block: doc.Block) -> Iterator[str]:
    match block:
        case doc.Heading(content, level, anchor):
            identity = f' id="{_text(anchor)}"' if anchor else ""
            yield f"<h{level}{identity}>{line(content)}</h{level}>"
        case doc.Paragraph(content, tone):
            yield f"<p{_class(tone)}>{line(content)}</p>"
        case doc.Formula(math, note):
            aside = f'<div class="note">{line(note)}</div>' if note else ""
            yield f'<div class="formula">{line(math)}{aside}</div>'
        case doc.Fields(rows):
            items = (f"<dt>{_text(label)}</dt><dd{_class(_kind(value))}>{line(value)}</dd>" for label, value in rows)
            yield f"<dl>{''.join(items)}</dl>"
        case doc.Table():
            yield _table(block)
        case doc.Items(items):
            yield f"<ul>{''.join(f'<li>{line(item)}</li>' for item in items)}</ul>"
        case doc.Section(head, inner, number, tone):
            yield f"<section{_class(tone)}>\n{_head(head, number)}\n{_joined(inner)}</section>"
        case doc.Details(summary, inner, unfolded):
            yield f"<details{' open' if unfolded else ''}><summary>{line(summary)}</summary>"
            yield f"{_joined(inner)}</details>"
        case doc.Tree(branches):
            yield from _tree(branches)
        case doc.Columns(groups, least):
            inside = "".join(f"<div>{_joined(group)}</div>" for group in groups)
            yield f'<div class="columns" style="--least: {least}ch">{inside}</div>'
        case doc.LineChart():
            yield line_chart(block)
        case doc.Picture(png, title):
            yield f'<img alt="{_text(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        case doc.Place(title, attributes, markup):
            given = "".join(f' {name}="{_text(value)}"' for name, value in attributes.items())
            name = f' role="img" aria-label="{_text(title)}"' if title else ""
            yield f"<div{given}{name}>{markup}</div>"


def _kind(value: doc.Content) -> str:
    return "math" if isinstance(value, doc.Math) else ""


def _head(head: doc.Heading | doc.Formula | doc.Paragraph, number: int) -> str:
    """Return the head of a section behind its number."""
    count = f'<span class="count">{number}.</span> ' if number else ""
    shown = "".join(_block(head))
    end = shown.index(">") + 1
    return shown[:end] + count + shown[end:]


def _table(block: doc.Table) -> str:
    """Return a table; on narrow screens wide cells go below the others, and the roles say that it is still a table."""
    kinds = [_class(column.kind if column.kind != "text" else "") for column in block.columns]
    narrow = sum(column.kind != "wide" for column in block.columns)
    fold = f' class="folding" style="--columns: {narrow}"' if narrow < len(kinds) else ""
    names = (_text(column.name) for column in block.columns)
    head = "".join(f'<th role="columnheader"{kind}>{name}</th>' for name, kind in zip(names, kinds, strict=True))
    rows = [f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'] if any(c.name for c in block.columns) else []
    rows.append('<tbody role="rowgroup">')
    for i, row in enumerate(block.rows):
        values = "".join(f'<td role="cell"{kind}>{line(v)}</td>' for v, kind in zip(row, kinds, strict=True))
        rows.append(f'<tr role="row"{_class(block.tones.get(i, ""))}>{values}</tr>')
    return f'<div class="table"><table role="table"{fold}>{"".join(rows)}</tbody></table></div>'


def _tree(branches: tuple[doc.Branch, ...]) -> Iterator[str]:
    """Yield folds within folds. Iterative: trees may be deep."""
    folds: list[int] = []
    for i, branch in enumerate(branches):
        while folds and folds[-1] >= branch.depth:
            folds.pop()
            yield "</details>"
        if not branch.blocks and not (i + 1 < len(branches) and branches[i + 1].depth > branch.depth):
            yield f'<div class="leaf">{line(branch.content)}</div>'
            continue
        yield f"<details{' open' if branch.depth == 0 else ''}><summary>{line(branch.content)}</summary>"
        yield _joined(branch.blocks)
        folds.append(branch.depth)
    yield "</details>" * len(folds)
