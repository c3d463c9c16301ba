"""The parts of the page that are text: what was trained, the worst examples, how the figures were collected."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..core.op import Array
from .examples import png
from .figures import MOST_ELEMENTS, MOST_UNITS
from .findings import DEAD, SHRINKS, findings, number
from .flow_file import Flow
from .payload import LINES, MOST_EPOCHS, drawn_snapshots
from .storage import Stored

_KINDS = {
    "Z": ("Z, the pre-activations", "What enters the activation."),
    "A": ("A, the activations", "What the layer passes on."),
    "dZ": ("dZ, the error signal", "Of every example, as it arrives at the layer. Far left: it has vanished."),
    "dW": ("dW, the weights' gradient", "What the layer learns from."),
}
_LINES = {
    "gradient": ("‖dW‖ / ‖W‖", "How large the gradient is beside the weights."),
    "update": ("‖ΔW‖ / ‖W‖", "How far one step of the optimiser moves the weights. About 10⁻³ is healthy."),
    "dead": ("Dead units", "No example of the sample sends them a gradient: they learn nothing."),
    "saturated": (
        "Saturated values",
        "The activation passes on less than 5 % of what it does where it is steepest. For ReLU, half is usual.",
    ),
}


#: Worst examples, and classes in the table of recall and precision, that are shown at most.
MOST_SHOWN, MOST_TABLE_CLASSES = 14, 12


def text(x: Any) -> str:
    """Return anything as text that is no markup."""
    return escape(str(x), quote=True)


def percent(share: float, digits: int = 1) -> str:
    """Return a share as text, 0.05 as "5 %"."""
    return f"{100 * share:.{digits}f}\u202f%"


def facts(stored: Stored, title: str) -> str:
    """Return the head of the page: what was trained on what, how long, on which engine."""
    record = stored.record
    settings = _mapping(record, "settings")
    found: list[tuple[str, str]] = [("Data", _data(record))]
    if stored.model is not None or record.get("parameters"):
        found.append(("Network", _network(stored)))
    found.append(("Training", _training(stored, settings)))
    engine = f"{record['engine']}, {_threads(record.get('threads'))}" if record.get("engine") else ""
    found += [("Engine", engine), ("Time", _time(stored))]
    for part, figures in _mapping(record, "metrics").items():
        if isinstance(figures, dict):
            found.append((f"Result, {part} part", ", ".join(f"{k} {_figure(k, v)}" for k, v in figures.items())))
    boxes = "\n".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in found if value)
    rows = {**settings, **_mapping(record, "versions")}
    return "\n".join([
        f"<h1>{text(title)}</h1>", *_warnings(stored), f'<dl class="facts">{boxes}</dl>', _details(rows, record),
    ])  # fmt: skip


def _mapping(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return an entry that is a dict; an empty one otherwise."""
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _warnings(stored: Stored) -> list[str]:
    if not stored.record and stored.flow is not None:
        last = stored.flow.snapshots[-1].epoch if stored.flow.snapshots else 0
        return [f'<p class="warning">This run did not come to its end: what is shown is what it had written, up to '
                f"epoch {last} of {stored.flow.settings['epochs']}.</p>"]  # fmt: skip
    if stored.stray:
        return ['<p class="warning">The flow of gradients in this folder is left out: it is of another run than the '
                'history beside it.</p>']  # fmt: skip
    return []


def _data(record: Mapping[str, Any]) -> str:
    parts = _mapping(record, "examples").items()
    counts = ", ".join(f"{n:,} examples to {part}" for part, n in parts if isinstance(n, int))
    target = f"predicting {record['target']}" if record.get("target") else ""
    return ": ".join(p for p in (str(record.get("source") or ""), ", ".join(p for p in (target, counts) if p)) if p)


def _network(stored: Stored) -> str:
    sizes = ""
    if stored.flow is not None and stored.flow.layers and all(len(x["shape"]) == 2 for x in stored.flow.layers):
        layers = stored.flow.layers
        sizes = "-".join(str(n) for n in (layers[0]["shape"][0], *(x["shape"][1] for x in layers)))
    activation = _mapping(stored.record, "settings").get("activation", "")
    count = stored.model.num_parameters if stored.model is not None else stored.record.get("parameters")
    return ", ".join(p for p in (sizes, str(activation), f"{count:,} parameters") if p)


def _training(stored: Stored, settings: Mapping[str, Any]) -> str:
    parts = [f"{len(stored.history)} epochs"] if stored.record else []
    names = {"batch_size": "batches of {}", "optimizer": "{}", "lr": "learning rate {}", "seed": "seed {}"}
    parts += [form.format(settings[k]) for k, form in names.items() if k in settings]
    if stored.record.get("loss"):
        parts.append(f"loss {stored.record['loss']}")
    if stored.record.get("stopped"):
        parts.append(f"stopped: {stored.record['stopped']}")
    if stored.record.get("best_epoch"):
        parts.append(f"weights of epoch {stored.record['best_epoch']}")
    return ", ".join(parts)


def _threads(threads: Any) -> str:
    return "as many threads as the engine takes" if threads is None else f"{threads} thread{'s' * (threads != 1)}"


def _time(stored: Stored) -> str:
    epochs = [row["seconds"] for row in stored.history if isinstance(row.get("seconds"), int | float)]
    parts = [f"{sum(epochs):.3g} s in {len(epochs)} epochs"] if epochs and stored.record else []
    if isinstance(stored.record.get("seconds"), int | float):
        parts.append(f"{stored.record['seconds']:.3g} s with all around them")
    return ", ".join(parts)


def _figure(name: str, x: Any) -> str:
    if not isinstance(x, int | float):
        return str(x)
    return percent(x, 2) if name == "accuracy" else f"{x:.4g}"


def _details(rows: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    given = record.get("notes")
    notes = given if isinstance(given, list) else []
    body = "".join(f"<tr><th>{text(k)}</th><td>{text(_listed(v))}</td></tr>" for k, v in rows.items())
    listed = "".join(f"<li>{text(note)}</li>" for note in notes)
    if not body and not listed:
        return ""
    return (f"<details><summary>All settings, versions and notes</summary>"
            f'<div class="wide"><table>{body}</table></div><ul>{listed}</ul></details>')  # fmt: skip


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return places for the curves of loss and metrics, and of the learning rate when it changes."""
    names = [c for c in (rows[0] if rows else ()) if c not in ("epoch", "seconds") and not c.startswith("val_")]
    if len({row.get("lr") for row in rows}) == 1:
        names = [c for c in names if c != "lr"]
    parts = [
        _chart(f"curve-{i}", "learning rate" if name == "lr" else name, "", f' data-curve="{text(name)}"')
        for i, name in enumerate(names)
    ]
    thinned = f'<p class="dim">{MOST_EPOCHS:,} of {len(rows):,} epochs.</p>' if len(rows) > MOST_EPOCHS else ""
    if not parts:
        return ""
    return f'<h2 id="curves">Loss and metrics</h2>\n{thinned}<div class="charts">{"".join(parts)}</div>'


def predictions(stored: Stored) -> str:
    """Return the confusion matrix or the scatter plot, and the worst-predicted examples."""
    arrays, meta = stored.arrays, stored.meta
    if "worst/rows" not in arrays:
        return ""
    parts = [f'<h2 id="predictions">Predictions</h2>\n<p>On {meta.get("examples", 0):,} examples held out.</p>']
    if "confusion" in arrays:
        parts.append(
            '<div class="charts"><section><h3>Confusion matrix</h3><p class="dim">Rows: the true class; columns: the '
            'predicted one. Shaded by the share of the row.</p><div class="chart square" id="confusion" role="img" '
            f'aria-label="Confusion matrix"></div></section>{_by_class(arrays["confusion"], meta["classes"])}</div>'
        )
    if "points/true" in arrays:
        some = len(arrays["points/true"])
        thinned = f'<p class="dim">{some:,} of the examples, drawn at random.</p>' if some < meta["examples"] else ""
        chart = '<div class="chart square" id="points" role="img" aria-label="Predicted and true"></div>'
        parts.append(f'<div class="charts"><section><h3>Predicted and true</h3>{thinned}{chart}</section>'
                     f"<section>{_worst(arrays, meta)}</section></div>")  # fmt: skip
    else:
        parts.append(_worst(arrays, meta))
    return "\n".join(parts)


def _by_class(counts: Array, labels: Sequence[Any]) -> str:
    """Return a table of recall and precision by class, the worst recalls when there are many."""
    rows, columns, right = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    classes = sorted(range(len(counts)), key=lambda i: right[i] / rows[i] if rows[i] else 2.0)
    shown = sorted(classes[:MOST_TABLE_CLASSES])
    body = "".join(
        f"<tr><td>{text(labels[i])}</td><td>{int(rows[i]):,}</td>"
        f"<td>{percent(right[i] / rows[i]) if rows[i] else '–'}</td>"
        f"<td>{percent(right[i] / columns[i]) if columns[i] else '–'}</td></tr>"
        for i in shown
    )
    some = f" The {len(shown)} classes of {len(counts)} with the least recall." if len(shown) < len(counts) else ""
    return (
        '<section><h3>By class</h3><p class="dim">Recall: how many of the class were found. Precision: how many of '
        f'those predicted to be of the class were.{some}</p><div class="wide"><table class="numbers"><thead><tr>'
        f"<th>class</th><th>examples</th><th>recall</th><th>precision</th></tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _worst(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> str:
    images, classified = arrays.get("worst/images"), "worst/probability" in arrays
    rows = range(min(MOST_SHOWN, len(arrays["worst/rows"])))
    why = "The least probability for the true class." if classified else "The largest error."
    wrong = sum(arrays["worst/true"][i] != arrays["worst/predicted"][i] for i in rows)
    if classified and wrong < len(rows):
        why += f" Only {wrong} of these {len(rows)} are predicted wrongly." if wrong else " None of these is wrong."
    if images is not None:
        shown = f'<div class="cards">{"".join(_card(i, arrays, meta, images[i]) for i in rows)}</div>'
    else:
        shown = _table(rows, arrays, meta)
        features = meta["features"][0] if meta.get("features") else []
        if len(features) < meta.get("of features", 0):
            why += f" With the first {len(features)} of {meta['of features']} features."
    return f'<h3>Worst-predicted examples</h3><p class="dim">{why}</p>{shown}'


def _said(i: int, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (word, style, value, share) for what is true and what was predicted, as HTML."""
    true, guess = arrays["worst/true"][i], arrays["worst/predicted"][i]
    if "worst/probability" not in arrays:
        return [("true", "", f"{float(true):.5g}", ""), ("predicted", "", f"{float(guess):.5g}", "")]
    labels: Sequence[Any] = meta["classes"]
    p, q = (percent(float(arrays[k][i])) for k in ("worst/probability", "worst/probability of predicted"))
    style = "right" if true == guess else "wrong"
    return [("true", "", text(labels[int(true)]), p), ("predicted", style, text(labels[int(guess)]), q)]


def _card(i: int, arrays: Mapping[str, Array], meta: Mapping[str, Any], image: Array) -> str:
    code = base64.b64encode(png(image)).decode()
    row = int(arrays["worst/rows"][i])
    said = "".join(
        f'<div class="{style or "right"}"><span>{word} <b>{value}</b></span> <span>{share}</span></div>'
        for word, style, value, share in _said(i, arrays, meta)
    )
    return (f'<figure><img alt="example {row}" src="data:image/png;base64,{code}">'
            f'<figcaption>{said}<div class="dim">row {row}</div></figcaption></figure>')  # fmt: skip


def _table(rows: Sequence[int], arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> str:
    """Return the examples as rows of a table, with the first of their features."""
    features = meta.get("features") or [[] for _ in rows]
    head, body = ["row", "true", "predicted"], []
    head += [text(name) for name, _ in features[0]]
    for i in rows:
        cells = [f"<td>{int(arrays['worst/rows'][i])}</td>"]
        cells += [f'<td class="{style}">{value} <span class="dim">{share}</span></td>'
                  for _, style, value, share in _said(i, arrays, meta)]  # fmt: skip
        cells += [f"<td>{text(value)}</td>" for _, value in features[i]]
        body.append(f"<tr>{''.join(cells)}</tr>")
    names = "".join(f"<th>{name}</th>" for name in head)
    return (f'<div class="wide"><table class="examples"><thead><tr>{names}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>")  # fmt: skip


def gradient_flow(flow: Flow) -> str:
    """Return places for what the script draws of the gradient flow, with its slider."""
    drawn = all("units" in layer for layer in flow.layers)
    first = flow.snapshots[0].figures
    kinds = [k for k in _KINDS if any((i, k) in first for i in range(len(flow.layers)))]
    lines = [k for k in LINES if any((i, k) in first for i in range(len(flow.layers)))]
    shading = (
        '<label>shade by <select id="shading"><option value="gradient">gradients: |dW| and dZ</option>'
        '<option value="update">updates: |ΔW| / |W|, saturation</option>'
        '<option value="weight">weights: |W|, saturation</option></select></label>'
    )
    times = len(drawn_snapshots(flow))
    parts = [
        '<section><h2 id="flow">The flow of gradients</h2>',  # the slider stays in sight as far as the section goes
        f"<p>What {flow.settings['rows']} examples of the training part send through the network, layer by layer, "
        f"{f'at {times} times of the run' if times > 1 else 'once in the run'}.</p>",
        _findings(flow),
        '<div id="controls"><label><span id="epoch-name"></span>'
        '<input type="range" id="epoch" min="0" max="0" step="1" aria-label="epoch"></label>'
        f"{shading if drawn else ''}</div>",
    ]
    if drawn:
        parts.append(
            '<h3>The network</h3><div id="network"></div><div id="scale" class="dim">'
            '<canvas id="scale-colours" width="120" height="12"></canvas><span id="scale-edges"></span>'
            '<span id="scale-nodes"></span><span><i class="dead"></i> dead: no gradient arrives</span></div>'
        )
    else:
        deep = flow.settings["of"] > len(flow.layers)
        why = "it has too many layers" if deep else "it is no chain of weight matrices"
        parts.append(f'<p class="dim">The network is not drawn: {why}.</p>')
    ridges = "".join(_chart(f"ridge-{k}", *_KINDS[k], style="chart ridge") for k in kinds)
    ratios = "".join(_chart(f"line-{k}", *_LINES[k]) for k in lines)
    parts.append(f'<h3>Distributions</h3><p class="dim">Of the epoch that the slider shows.</p>'
                 f'<div class="charts">{ridges}</div>')  # fmt: skip
    parts.append(f'<h3>Through the run</h3><div class="charts">{ratios}</div></section>')
    return "\n".join(parts)


def _findings(flow: Flow) -> str:
    """Return what stands out at the end, as a list."""
    end = flow.snapshots[-1].epoch
    when = f"After epoch {end}" if end else "Before training"
    if found := findings(flow):
        items = "".join(f"<li>{text(sentence)}</li>" for sentence in found)
        return f'<div class="findings warning"><p>{when}:</p><ul>{items}</ul></div>'
    measured = {name for s in flow.snapshots for _, name in s.figures}
    said = [f"the gradients of the layers are within a factor of {number(SHRINKS)} of each other"]
    if "dead" in measured:
        said.append(f"less than {percent(DEAD, 0)} of the units of any layer are dead, and no layer is saturated")
    return f'<div class="findings"><p>{when}, nothing stands out: {", ".join(said)}.</p></div>'


def _chart(name: str, title: str, why: str, data: str = "", style: str = "chart") -> str:
    said = f'<p class="dim">{text(why)}</p>' if why else ""
    place = f'<div class="{style}" id="{name}"{data} role="img" aria-label="{text(title)}"></div>'
    return f"<section><h4>{text(title)}</h4>{said}{place}</section>"


def collected(flow: Flow | None) -> str:
    """Return how the figures came about and what that cost."""
    head = '<h2 id="collected">How this was collected</h2>'
    if flow is None:
        return f"{head}<p>No gradient flow was collected: <code>chainrule train … --report</code> does that.</p>"
    lines = [
        f"{flow.settings['rows']} examples, the same each time, were run forward and backward as a step would run "
        "them, in training mode, with the run's regularisation. ΔW is what the last step's update would have been "
        f"with their gradient. Distributions are of at most {MOST_ELEMENTS:,} elements of an array, always the same; "
        f"the network's drawing shows at most {MOST_UNITS} units of a layer, evenly spaced."
    ]
    if flow.settings["of"] > len(flow.layers):
        lines.append(f"Shown are {len(flow.layers)} of the network's {flow.settings['of']} layers, evenly spaced.")
    if (shown := len(drawn_snapshots(flow))) < len(flow.snapshots):
        lines.append(f"Of {len(flow.snapshots)} snapshots {shown} are on this page; the rest is in the run's folder.")
    if flow.cost is not None:
        lines.append(_cost(flow, flow.cost))
    return head + "".join(f"<p>{text(line)}</p>" for line in lines)


def _cost(flow: Flow, cost: Mapping[str, float]) -> str:
    training, seconds, allowed = cost.get("training", 0.0), cost.get("seconds", 0.0), flow.settings["share"]
    said = f"That took {number(seconds)} s in all for {len(flow.snapshots)} snapshots"
    if not training:
        return f"{said}; no epoch was finished."
    said += f", {percent(seconds / training)} of the {number(training)} s that the epochs took"
    if seconds <= allowed * training:
        return f"{said}. At most {percent(allowed, 0)} are allowed: snapshots are left out to keep to that."
    return (
        f"{said}: more than the {percent(allowed, 0)} that are allowed. The run had so few steps that the "
        "snapshots before the first and after the last, which are always taken, cost more."
    )
