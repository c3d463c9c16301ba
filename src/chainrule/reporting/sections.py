"""The parts of the page that are text: what was trained, the worst examples, how the figures were collected."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..op import Array
from .examples import png
from .figures import MOST_ELEMENTS, MOST_UNITS
from .flow_file import Flow
from .payload import LINES
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
    engine = f"{record.get('engine') or 'unknown'}, {_threads(record.get('threads'))}"
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
    return f'<h2 id="curves">Loss and metrics</h2>\n<div class="charts">{"".join(parts)}</div>' if parts else ""


def predictions(stored: Stored) -> str:
    """Return the confusion matrix or the scatter plot, and the worst-predicted examples."""
    arrays, meta = stored.arrays, stored.meta
    if "worst/rows" not in arrays:
        return ""
    parts = [f'<h2 id="predictions">Predictions</h2>\n<p>On {meta.get("examples", 0):,} examples held out.</p>']
    if "confusion" in arrays:
        parts.append(
            '<h3>Confusion matrix</h3><p class="dim">Rows: the true class; columns: the predicted one. Shaded by the '
            'share of the row.</p><div class="chart square" id="confusion"></div>'
        )
    if "points/true" in arrays:
        parts.append('<h3>Predicted and true</h3><div class="chart square" id="points"></div>')
    parts.append(_worst(arrays, meta))
    return "\n".join(parts)


def _worst(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> str:
    images, classified = arrays.get("worst/images"), "worst/probability" in arrays
    count = len(arrays["worst/rows"]) if images is not None else min(12, len(arrays["worst/rows"]))
    why = ("The least probability for the true class." if classified else "The largest error.")  # fmt: skip
    cards = [_card(i, arrays, meta, images) for i in range(count)]
    kind = "cards" if images is not None else "cards tables"
    return (f'<h3>Worst-predicted examples</h3><p class="dim">{why}</p>'
            f'<div class="{kind}">{"".join(cards)}</div>')  # fmt: skip


def _card(i: int, arrays: Mapping[str, Array], meta: Mapping[str, Any], images: Array | None) -> str:
    true, guess = arrays["worst/true"][i], arrays["worst/predicted"][i]
    shown = ""
    if images is not None:
        code = base64.b64encode(png(images[i])).decode()
        shown = f'<img alt="example {int(arrays["worst/rows"][i])}" src="data:image/png;base64,{code}">'
    if "worst/probability" in arrays:
        labels: Sequence[Any] = meta["classes"]
        p, q = (float(arrays[k][i]) for k in ("worst/probability", "worst/probability of predicted"))
        style = "right" if true == guess else "wrong"
        said = (
            f'<div>true {text(labels[int(true)])} <span class="dim">{percent(p)}</span></div>'
            f'<div class="{style}">predicted {text(labels[int(guess)])} <span class="dim">{percent(q)}</span></div>'
        )
    else:
        said = f'<div>true {float(true):.5g}</div><div class="wrong">predicted {float(guess):.5g}</div>'
    features = meta["features"][i] if i < len(meta.get("features", [])) else []
    table = "".join(f"<tr><td>{text(name)}</td><td>{text(value)}</td></tr>" for name, value in features)
    number = f'<div class="dim">row {int(arrays["worst/rows"][i])}</div>'
    listed = f"<table>{table}</table>" if table else ""
    return f"<figure>{shown}<figcaption>{said}{number}</figcaption>{listed}</figure>"


def gradient_flow(flow: Flow) -> str:
    """Return places for what the script draws of the gradient flow, with its slider."""
    drawn = all("units" in layer for layer in flow.layers)
    first = flow.snapshots[0].figures
    kinds = [k for k in _KINDS if any((i, k) in first for i in range(len(flow.layers)))]
    lines = [k for k in LINES if any((i, k) in first for i in range(len(flow.layers)))]
    shading = (
        '<label>shade by <select id="shading"><option value="gradient">gradient</option>'
        '<option value="update">update</option><option value="weight">weight</option></select></label>'
    )
    parts = [
        '<section><h2 id="flow">The flow of gradients</h2>',  # the slider stays in sight as far as the section goes
        f"<p>What {flow.settings['rows']} examples of the training part send through the network, layer by layer, "
        f"at {len(flow.snapshots)} times of the run.</p>",
        '<div id="controls"><label><span id="epoch-name"></span>'
        '<input type="range" id="epoch" min="0" max="0" step="1" aria-label="epoch"></label>'
        f"{shading if drawn else ''}</div>",
    ]
    if drawn:
        parts.append(
            '<h3>The network</h3><div id="network"></div><div id="scale" class="dim">'
            '<canvas id="scale-colours" width="120" height="12"></canvas><span id="scale-edges"></span>'
            '<span id="scale-nodes"></span><span>dashed: no gradient arrives</span></div>'
        )
    else:
        parts.append('<p class="dim">The network is not drawn: it is no chain of weight matrices.</p>')
    ridges = "".join(_chart(f"ridge-{k}", *_KINDS[k], style="chart ridge") for k in kinds)
    ratios = "".join(_chart(f"line-{k}", *_LINES[k]) for k in lines)
    parts.append(f'<h3>Distributions</h3><p class="dim">Of the epoch that the slider shows.</p>'
                 f'<div class="charts">{ridges}</div>')  # fmt: skip
    parts.append(f'<h3>Through the run</h3><div class="charts">{ratios}</div></section>')
    return "\n".join(parts)


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
        f"with their gradient. Distributions are those of at most {MOST_ELEMENTS:,} elements of an array, drawn once; "
        f"the network's drawing shows at most {MOST_UNITS} units of a layer, evenly spaced."
    ]
    last = flow.settings["epochs"]
    taken = sum(0 < s.epoch < last for s in flow.snapshots)
    if flow.cost is not None:
        training, seconds = flow.cost.get("training", 0.0), flow.cost.get("seconds", 0.0)
        share = percent(seconds / training) if training else "nothing to compare with"
        lines.append(
            f"{taken} snapshot{'s' * (taken != 1)} between the epochs took {seconds:.3g} s, {share} of the epochs' "
            f"{training:.3g} s; at most {percent(flow.settings['share'], 0)} are allowed; snapshots are left out to "
            f"keep to that. Planning the pass and the snapshots before the first epoch and after the last took "
            f"{flow.cost.get('outside', 0.0):.3g} s."
        )
    return head + "".join(f"<p>{text(line)}</p>" for line in lines)
