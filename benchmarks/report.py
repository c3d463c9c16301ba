"""The results as a table, in plain text or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Style = Literal["text", "markdown"]
HEAD = (
    *("workload", "threads", "A", "B", "A µs", "A spread", "B µs", "B spread", "B/A", "spread"),
    *("Gflop/s", "A share", "B share", "load"),
)
BUSY = 0.5  # a load average, before the first measurement, from which on something else is running
LEGEND = """\
µs: wall time of a training step, median over blocks, with its quartiles. B/A: how many times longer B took, median
of the pairs and its quartiles; above 1, A is faster. Gflop/s: the machine's float32 multiply rate, measured in the same
process; share: how much of it the step's matrix multiplies and convolutions reach. load: the load average then; 1 for
each thread is this measurement's own."""


def report(record: dict[str, Any], results: Sequence[dict[str, Any]], style: Style) -> str:
    """The machine, the table of what was timed, the fastest peers, and what was not timed with the reason."""
    parts = [machine_lines(record)]
    timed = [result for result in results if result["status"] == "timed"]
    if timed:
        parts.append(table(HEAD, [_row(result) for result in timed], style))
        parts.append(LEGEND)
        parts.append(table(("workload", "threads", "side", "fastest peer", "times faster"), fastest(timed), style))
    else:
        parts.append("Nothing was timed.")
    return "\n\n".join([*parts, *left_out(results)]) + "\n"


def machine_lines(record: dict[str, Any]) -> str:
    machine = record["machine"]
    blas = machine["numpy_blas"]
    versions = ", ".join(f"{name} {found or '(no version)'}" for name, found in machine["versions"].items())
    usable = len(machine["affinity"]) if machine["affinity"] else machine["cores"]
    load = machine["load_average"]
    busy = ""
    if load and load[0] > BUSY:
        busy = (
            f"\nOther programs were running at the start (load {load[0]:.1f}): "
            "the figures, above all those with several threads, are not to be trusted."
        )
    lines = [
        f"{machine['date']}  {machine['cpu']}, {usable} of {machine['cores']} cores usable{busy}",
        f"Python {machine['python']}, {versions}; NumPy's BLAS: {blas.get('name')} {blas.get('version')}",
        f"Sources: {machine['revision'] or 'of an unknown revision'}",
    ]
    for threads, variables in record["settings"]["environment"].items():
        settings = " ".join(f"{name}={value}" for name, value in variables.items())
        lines.append(f"{threads}T: kept to as many processors; {settings}")
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> str:
    """Columns padded to their widest entry; the first column and words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    numeric = [i > 0 and all(row[i][:1].isdigit() for row in rows) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return "| " + " | ".join(padded) + " |" if style == "markdown" else "  ".join(padded).rstrip()

    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
    if style == "text":
        rule = ["-" * width for width in widths]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def fastest(timed: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The fastest peer for each workload, number of threads and first side, with the median ratio."""
    closest: dict[tuple[str, int, str], tuple[float, str]] = {}
    for result in timed:
        a, b = result["pair"]
        if a == b:
            continue  # the noise of the clock, not a peer
        key = result["workload"], result["threads"], a
        ratio = result["ratio"]["median"]
        if key not in closest or ratio < closest[key][0]:
            closest[key] = ratio, b
    return [(w, str(t), a, b, f"{ratio:.2f}") for (w, t, a), (ratio, b) in closest.items()]


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    a, b = result["pair"]
    times = [side["seconds_per_step"] for side in result["sides"]]
    shares = [f"{100 * side['multiply_share']:.0f}%" for side in result["sides"]]
    ratio = result["ratio"]
    cells = [result["workload"], str(result["threads"]), a, b]
    for time in times:
        cells += [microseconds(time["median"]), f"{microseconds(time['lower'])}–{microseconds(time['upper'])}"]
    rate = f"{result['multiply_rate']['rate'] / 1e9:.0f}"
    cells += [f"{ratio['median']:.2f}", f"{ratio['lower']:.2f}–{ratio['upper']:.2f}", rate, *shares]
    load = result["load_average"]
    return (*cells, f"{load[0]:.1f}" if load else "unknown")


def conditions(results: Sequence[dict[str, Any]]) -> str:
    """The range of the load averages and, for each number of threads, of the multiply rates that were measured."""
    parts = []
    loads = [result["load_average"][0] for result in results if result.get("load_average")]
    if loads:
        parts.append(f"load average {min(loads):.1f} to {max(loads):.1f} (1 for each thread is this measurement's own)")
    rates: dict[int, list[float]] = {}
    for result in results:
        rate = result.get("multiply_rate")
        if rate is not None:
            rates.setdefault(result["threads"], []).append(rate["rate"] * 1e-9)
    for threads, found in rates.items():
        plural = "" if threads == 1 else "s"
        parts.append(f"multiply rate {min(found):.0f} to {max(found):.0f} Gflop/s on {threads} thread{plural}")
    return "; ".join(parts)


def microseconds(seconds: float) -> str:
    """Three significant digits, without an exponent."""
    figure = seconds * 1e6
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def left_out(results: Sequence[dict[str, Any]]) -> list[str]:
    """A paragraph that lists the sides without results, with reasons and workloads (unless all); may be empty."""
    concerned: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result["status"] not in ("timed", "measured"):
            side = result["side"] or " or ".join(result.get("pair", ["the process"]))
            rows = concerned.setdefault((side, f"{result['status']}: {result['reason']}"), [])
            if row_name(result) not in rows:
                rows.append(row_name(result))
    everything = {row_name(result) for result in results}
    lines = [
        f"- {side}: {reason}" + ("" if set(rows) == everything else f" ({', '.join(rows)})")
        for (side, reason), rows in concerned.items()
    ]
    return ["\n".join(["Not measured:", *lines])] if lines else []


def row_name(result: dict[str, Any]) -> str:
    names = [result[key] for key in ("workload", "case", "program") if key in result]
    return f"{names[0]} {result['threads']}T"
