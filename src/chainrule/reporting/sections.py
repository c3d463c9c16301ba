"""The page as a document: what was trained, the curves, the predictions, the gradient flow, how it was collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.op import Array
from ..show import document as doc
from ..train.history import TIMES
from .examples import digits, png
from .figures import MOST_ELEMENTS, MOST_UNITS
from .findings import DEAD, SHRINKS, findings, number
from .flow_file import Flow
from .judged import verdict
from .payload import LINES, MOST_EPOCHS, drawn_snapshots
from .storage import Stored

Blocks = tuple[doc.Block, ...]

_KINDS = {
    "Z": ("Z, the pre-activations", "The input of the activation."),
    "A": ("A, the activations", "The output of the layer."),
    "dZ": ("dZ, the error signal", "Of every example, as it reaches the layer. Far left: it has vanished."),
    "dW": ("dW, the gradient of the weights", "What the layer learns from."),
}
_LINES = {
    "gradient": ("‖dW‖ / ‖W‖", "The size of the gradient relative to the weights."),
    "update": ("‖ΔW‖ / ‖W‖", "How far one step of the optimiser moves the weights. About 10⁻³ is healthy."),
    "dead": ("Dead units", "No example of the sample sends them a gradient: they learn nothing."),
    "saturated": (
        "Saturated values",
        "The slope of the activation is less than 5 % of its steepest slope. For ReLU, half is usual.",
    ),
}

#: Elements that the script uses: the slider with the choice of shading, and the scale of the drawing.
_SLIDER = (
    '<label><span id="epoch-name"></span>'
    '<input type="range" id="epoch" min="0" max="0" step="1" aria-label="epoch"></label>'
)
_SHADING = (
    '<label>shade by <select id="shading"><option value="gradient">gradients: |dW| and dZ</option>'
    '<option value="update">updates: |ΔW| / |W|, saturation</option>'
    '<option value="weight">weights: |W|, saturation</option></select></label>'
)
_SCALE = (
    '<canvas id="scale-colours" width="120" height="12"></canvas><span id="scale-edges"></span>'
    '<span id="scale-nodes"></span><span><i class="dead"></i> dead: no gradient arrives</span>'
)

#: Greatest number of worst examples, and of classes in the table of recall and precision.
MOST_SHOWN, MOST_TABLE_CLASSES = 14, 12


def percent(share: float, digits: int = 1) -> str:
    """Return a share as text, 0.05 as "5 %"."""
    return f"{100 * share:.{digits}f}\u202f%"


def facts(stored: Stored, title: str) -> Blocks:
    """Return the head of the page: network, data, duration and engine."""
    record = stored.record
    settings = _mapping(record, "settings")
    found: list[tuple[str, str]] = [("Data", _data(record))]
    if stored.model is not None or record.get("parameters"):
        found.append(("Network", _network(stored)))
    found.append(("Training", _training(stored, settings)))
    rule = record.get("rule")
    found.append(("Rule", "; ".join(map(str, rule)) if isinstance(rule, list) else ""))
    engine = f"{record['engine']}, {_threads(record.get('threads'))}" if record.get("engine") else ""
    found += [("Engine", engine), ("Time", _time(stored))]
    for split, figures in _mapping(record, "metrics").items():
        if isinstance(figures, dict) and "judgement" not in record:
            found.append((f"Result, {split} split", ", ".join(f"{k} {_figure(k, v)}" for k, v in figures.items())))
    fields = doc.Fields(tuple((name, value) for name, value in found if value))
    return (
        doc.Heading(title, 1),
        *_warnings(stored),
        *verdict(stored.record),
        *_found(stored.record),
        fields,
        *_details({**settings, **_mapping(record, "versions")}, record),
    )


def _mapping(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return an entry that is a dict; an empty one otherwise."""
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _warnings(stored: Stored) -> Iterator[doc.Section]:
    if not stored.record and stored.flow is not None:
        last = stored.flow.snapshots[-1].epoch if stored.flow.snapshots else 0
        yield doc.Section(
            doc.Paragraph(
                "This run did not finish: the page shows what was recorded up to "
                f"epoch {last} of {stored.flow.settings['epochs']}."
            ),
            tone="bad",
        )
    elif stored.stray:
        words = "The gradient flow in this folder is left out: it belongs to a different run than the history."
        yield doc.Section(doc.Paragraph(words), tone="bad")


def _found(record: Mapping[str, Any]) -> Iterator[doc.Section]:
    """Yield the diagnostics of the losses and of the outputs, if there are any."""
    found = record.get("findings")
    if isinstance(found, list) and found:
        yield doc.Section(doc.Paragraph("Diagnostics of the run:"), (doc.Items(tuple(map(str, found))),), tone="bad")


def _data(record: Mapping[str, Any]) -> str:
    parts = _mapping(record, "examples").items()
    share = _mapping(record, "settings").get("validation")
    held = f" ({100 * share:.2g} % of them held out for validation)" if isinstance(share, float) and share else ""
    counts = ", ".join(
        f"{n:,} examples to {split}{held if split == 'train' else ''}" for split, n in parts if isinstance(n, int)
    )
    target = f"predicting {record['target']}" if record.get("target") else ""
    return ": ".join(p for p in (str(record.get("source") or ""), ", ".join(p for p in (target, counts) if p)) if p)


def _network(stored: Stored) -> str:
    sizes = ""
    if stored.flow is not None and stored.flow.layers and all(len(x["shape"]) == 2 for x in stored.flow.layers):
        layers = stored.flow.layers
        sizes = "-".join(str(n) for n in (layers[0]["shape"][0], *(x["shape"][1] for x in layers)))
    activation = _mapping(stored.record, "settings").get("activation") or ""
    count = stored.model.num_parameters if stored.model is not None else stored.record.get("parameters")
    return ", ".join(p for p in (sizes, str(activation), f"{count:,} parameters") if p)


def _training(stored: Stored, settings: Mapping[str, Any]) -> str:
    parts = [f"{len(stored.history)} epochs"] if stored.record else []
    names = {"batch_size": "batches of {}", "optimizer": "{}", "lr": "learning rate {}", "seed": "seed {}"}
    rates = [row["lr"] for row in stored.history if isinstance(row.get("lr"), int | float)]
    peak = f"up to {max(rates):.2g}" if rates else None
    given = {**settings, "lr": settings["lr"] if settings.get("lr") is not None else peak}
    parts += [form.format(given[k]) for k, form in names.items() if given.get(k) is not None]
    if stored.record.get("loss"):
        parts.append(f"loss {stored.record['loss']}")
    if stored.record.get("stopped"):
        parts.append(f"stopped: {stored.record['stopped']}")
    if stored.record.get("best_epoch"):
        parts.append(f"weights of epoch {stored.record['best_epoch']}")
    return ", ".join(parts)


def _threads(threads: Any) -> str:
    return "number of threads chosen by the engine" if threads is None else f"{threads} thread{'s' * (threads != 1)}"


def _time(stored: Stored) -> str:
    epochs = [row["seconds"] for row in stored.history if isinstance(row.get("seconds"), int | float)]
    parts = [f"{sum(epochs):.3g} s in {len(epochs)} epochs"] if epochs and stored.record else []
    if isinstance(stored.record.get("seconds"), int | float):
        parts.append(f"{stored.record['seconds']:.3g} s in total")
    return ", ".join(parts)


def _figure(name: str, x: Any) -> str:
    if not isinstance(x, int | float):
        return str(x)
    return percent(x, 2) if name == "accuracy" else f"{x:.4g}"


def _details(rows: Mapping[str, Any], record: Mapping[str, Any]) -> Blocks:
    given = record.get("notes")
    notes = tuple(str(note) for note in given) if isinstance(given, list) else ()
    if not rows and not notes:
        return ()
    known = {k: v for k, v in rows.items() if v is not None}  # the others do not apply, or the network chooses them
    values = {k: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in known.items()}
    return (doc.Details("All settings, versions and notes", (doc.Fields(tuple(values.items())), doc.Items(notes))),)


def curves(rows: Sequence[Mapping[str, Any]]) -> Blocks:
    """Return placeholders for the curves of loss and metrics, and of the learning rate when it changes."""
    names = [c for c in (rows[0] if rows else ()) if c not in ("epoch", *TIMES) and not c.startswith("val_")]
    if len({row.get("lr") for row in rows}) == 1:
        names = [c for c in names if c != "lr"]
    if not names:
        return ()
    charts = tuple(
        _chart(f"curve-{i}", "learning rate" if name == "lr" else name, **{"data-curve": name})
        for i, name in enumerate(names)
    )
    return (
        doc.Heading("Loss and metrics", anchor="curves"),
        *_dim(f"{MOST_EPOCHS:,} of {len(rows):,} epochs." if len(rows) > MOST_EPOCHS else ""),
        doc.Columns(charts),
    )


def _dim(words: str) -> Blocks:
    return (doc.Paragraph(words, "dim"),) if words else ()


def _chart(name: str, title: str, why: str = "", style: str = "chart", **attributes: str) -> Blocks:
    """Return a title, a sentence, and the placeholder of the chart."""
    return (doc.Heading(title, 4), *_dim(why), doc.Place(title, {"class": style, "id": name, **attributes}))


def predictions(stored: Stored) -> Blocks:
    """Return the confusion matrix or the scatter plot, and the worst-predicted examples."""
    arrays, meta = stored.arrays, stored.meta
    if "worst/rows" not in arrays:
        return ()
    count = meta.get("examples", 0)
    head: Blocks = (doc.Heading("Predictions", anchor="predictions"), doc.Paragraph(f"On {count:,} held-out examples."))
    if "confusion" in arrays:
        why = "Rows: the true class; columns: the predicted class. Shaded by the share of the row."
        matrix = _chart("confusion", "Confusion matrix", why, "chart square")
        head += (doc.Columns((matrix, _by_class(arrays["confusion"], meta["classes"]))),)
    if "points/true" not in arrays:
        return head + _worst(arrays, meta)
    some = len(arrays["points/true"])
    thinned = f"{some:,} of the examples, drawn at random." if some < count else ""
    return (*head, doc.Columns((_chart("points", "Predicted and true", thinned, "chart square"), _worst(arrays, meta))))


def _by_class(counts: Array, labels: Sequence[Any]) -> Blocks:
    """Return a table of recall and precision by class, the worst recalls when there are many."""
    rows, columns, right = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    classes = sorted(range(len(counts)), key=lambda i: right[i] / rows[i] if rows[i] else 2.0)
    shown = sorted(classes[:MOST_TABLE_CLASSES])
    body = tuple(
        (str(labels[i]), f"{int(rows[i]):,}", *(percent(right[i] / n[i]) if n[i] else "–" for n in (rows, columns)))
        for i in shown
    )
    why = "Recall: the share of the class that was found. Precision: the share of its predictions that are right."
    why += f" The {len(shown)} of {len(counts)} classes with the lowest recall." if len(shown) < len(counts) else ""
    names = (doc.Column("class"), *(doc.Column(name, "number") for name in ("examples", "recall", "precision")))
    return (doc.Heading("By class", 4), *_dim(why), doc.Table(names, body))


def _worst(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Blocks:
    images, classified = arrays.get("worst/images"), "worst/probability" in arrays
    rows = range(min(MOST_SHOWN, len(arrays["worst/rows"])))
    why = "The lowest probability of the true class." if classified else "The largest error."
    wrong = sum(arrays["worst/true"][i] != arrays["worst/predicted"][i] for i in rows)
    if classified and wrong < len(rows):
        why += f" Only {wrong} of these {len(rows)} are wrong." if wrong else " None of these is wrong."
    shown: doc.Block
    if images is not None:
        shown = doc.Columns(tuple(_card(i, arrays, meta, images[i]) for i in rows), least=13)
    else:
        shown = _table(rows, arrays, meta)
        features = meta["features"][0] if meta.get("features") else []
        if len(features) < meta.get("of features", 0):
            why += f" With the first {len(features)} of {meta['of features']} features."
    return (doc.Heading("Worst-predicted examples", 3), *_dim(why), shown)


def _said(i: int, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> tuple[doc.Content, doc.Content]:
    """Return the true and the predicted value, with their probabilities."""
    true, guess = arrays["worst/true"][i], arrays["worst/predicted"][i]
    if "worst/probability" not in arrays:
        return digits(float(true)), digits(float(guess))
    labels: Sequence[Any] = meta["classes"]
    p, q = (percent(float(arrays[k][i])) for k in ("worst/probability", "worst/probability of predicted"))
    found = doc.Text(str(labels[int(guess)]), "" if true == guess else "bad")
    return (str(labels[int(true)]), " ", doc.Text(p, "dim")), (found, " ", doc.Text(q, "dim"))


def _card(i: int, arrays: Mapping[str, Array], meta: Mapping[str, Any], image: Array) -> Blocks:
    row = int(arrays["worst/rows"][i])
    true, predicted = _said(i, arrays, meta)
    return (
        doc.Picture(png(image), f"example {row}"),
        doc.Fields((("true", true), ("predicted", predicted), ("row", str(row)))),
    )


def _table(rows: Sequence[int], arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> doc.Table:
    """Return the examples as rows of a table, with the first of their features."""
    features = meta.get("features") or [[] for _ in rows]
    names = ("row", "true", "predicted", *(str(name) for name, _ in features[0]))
    body = tuple(
        (str(int(arrays["worst/rows"][i])), *_said(i, arrays, meta), *(str(value) for _, value in features[i]))
        for i in rows
    )
    return doc.Table(tuple(map(doc.Column, names)), body)


def gradient_flow(flow: Flow) -> Blocks:
    """Return placeholders for the charts of the gradient flow, with the slider."""
    drawn = all("units" in layer for layer in flow.layers)
    first = flow.snapshots[0].figures
    kinds = [k for k in _KINDS if any((i, k) in first for i in range(len(flow.layers)))]
    lines = [k for k in LINES if any((i, k) in first for i in range(len(flow.layers)))]
    times = len(drawn_snapshots(flow))
    rows, when = flow.settings["rows"], f"at {times} points of the run" if times > 1 else "once in the run"
    if drawn:
        network: Blocks = (
            doc.Heading("The network", 3),
            doc.Place("", {"id": "network"}),
            doc.Place("", {"id": "scale", "class": "dim"}, _SCALE),
        )
    else:
        deep = flow.settings["of"] > len(flow.layers)
        why = "it has too many layers" if deep else "it is not a chain of weight matrices"
        network = (doc.Paragraph(f"The network is not drawn: {why}.", "dim"),)
    moved = (  # the slider stays visible within this group
        doc.Place("", {"id": "controls"}, _SLIDER + (_SHADING if drawn else "")),
        *network,
        doc.Heading("Distributions", 3),
        doc.Paragraph("At the epoch that the slider shows.", "dim"),
        doc.Columns(tuple(_chart(f"ridge-{k}", *_KINDS[k], style="chart ridge") for k in kinds)),
        doc.Heading("Over the run", 3),
        doc.Columns(tuple(_chart(f"line-{k}", *_LINES[k]) for k in lines)),
    )
    return (
        doc.Heading("Gradient flow", anchor="flow"),
        doc.Paragraph(f"Values and gradients of {rows} examples of the training split, layer by layer, {when}."),
        _diagnostics(flow),
        doc.Columns((moved,)),
    )


def _diagnostics(flow: Flow) -> doc.Section:
    """Return the diagnostics at the end, as a list."""
    end = flow.snapshots[-1].epoch
    when = f"Gradients after epoch {end}" if end else "Gradients before training"
    if found := findings(flow):
        return doc.Section(doc.Paragraph(f"{when}:"), (doc.Items(tuple(found)),), tone="bad")
    measured = {name for s in flow.snapshots for _, name in s.figures}
    said = [f"the gradients of the layers are within a factor of {number(SHRINKS)} of each other"]
    if "dead" in measured:
        said.append(f"less than {percent(DEAD, 0)} of the units of any layer are dead, and no layer is saturated")
    return doc.Section(doc.Paragraph(f"{when}: nothing unusual; {', '.join(said)}."), tone="good")


def collected(flow: Flow | None) -> Blocks:
    """Return a description of how the figures were collected and at what cost."""
    head = doc.Heading("How this was collected", anchor="collected")
    if flow is None:
        return (head, doc.Paragraph("No gradient flow was collected: chainrule train … --report does that."))
    lines = [
        f"The same {flow.settings['rows']} examples were run forward and backward each time as in a training step, in "
        "training mode, with the run's regularisation. ΔW is the update that the last step would have made with their "
        f"gradient. Distributions are of at most {MOST_ELEMENTS:,} elements of an array, always the same; the drawing "
        f"of the network shows at most {MOST_UNITS} units of a layer, evenly spaced."
    ]
    if flow.settings["of"] > len(flow.layers):
        lines.append(f"Shown are {len(flow.layers)} of the network's {flow.settings['of']} layers, evenly spaced.")
    if (shown := len(drawn_snapshots(flow))) < len(flow.snapshots):
        lines.append(f"Of {len(flow.snapshots)} snapshots {shown} are on this page; all are in the run's folder.")
    if flow.cost is not None:
        lines.append(_cost(flow, flow.cost))
    return (head, *map(doc.Paragraph, lines))


def _cost(flow: Flow, cost: Mapping[str, float]) -> str:
    training, seconds, allowed = cost.get("training", 0.0), cost.get("seconds", 0.0), flow.settings["share"]
    said = f"Collecting took {number(seconds)} s in all for {len(flow.snapshots)} snapshots"
    if not training:
        return f"{said}; no epoch was finished."
    said += f", {percent(seconds / training)} of the {number(training)} s that the epochs took"
    if seconds <= allowed * training:
        return f"{said}. At most {percent(allowed, 0)} are allowed: snapshots are left out to stay below that."
    return (
        f"{said}: more than the {percent(allowed, 0)} allowed. The run had so few steps that the snapshots before the "
        "first and after the last step, which are always taken, cost more."
    )
