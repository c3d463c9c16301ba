"""``python -m benchmarks.backward_passes``: audit the cases; print findings, misses and times."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.backward_passes.cases import HALVES, Case, cases


@dataclass(frozen=True)
class Result:
    """The result of the audit of a case; `error` if it raised one."""

    case: Case
    step: str = ""
    cause: str = ""
    message: str = ""
    seconds: float = 0.0
    error: str = ""
    report: Any = None

    @property
    def flagged(self) -> bool:
        return bool(self.cause)

    @property
    def step_is_right(self) -> bool:
        found = self.step.removeprefix("grad_")
        return found in self.case.steps or (self.case.run is not None and "d" + found in self.case.steps)

    @property
    def cause_is_right(self) -> bool:
        return self.cause in self.case.causes

    @property
    def ok(self) -> bool:
        if self.error:
            return False
        return not self.flagged if self.case.is_right else self.step_is_right and self.cause_is_right


def report_of(case: Case) -> Any:
    """Audit a case in its style."""
    import chainrule

    setting = case.setting
    if case.run is not None:
        return case.run()
    if setting.style == "layer":
        return chainrule.audit_layer(setting.forward, case.backward, *setting.inputs())
    if setting.style == "module":
        return chainrule.audit_module(setting.build(case.backward), *setting.inputs())
    parameters, X, Y = setting.data()
    output = {} if setting.output is None else {"output": setting.output}
    return chainrule.audit(
        case.backward, forward=setting.forward, loss=setting.loss, parameters=parameters, X=X, Y=Y, **output
    )


def audited(case: Case) -> Result:
    case.forget()
    start = time.perf_counter()
    try:
        report = report_of(case)
    except Exception as error:
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return Result(case, seconds=time.perf_counter() - start, error=message)
    seconds = time.perf_counter() - start
    if report.ok if hasattr(report, "findings") else report:
        return Result(case, seconds=seconds, report=report)
    step, cause, message = first_finding(report)
    return Result(case, step, cause, message, seconds, report=report)


def first_finding(report: Any) -> tuple[str, str, str]:
    """Return the step, the cause and the message of a report, or of what `gradcheck` returns."""
    if hasattr(report, "findings"):
        first = report.findings[0]
        return first.name, first.cause, first.message
    argument = re.search(r"argument (\d+)(?: \(\w+\)\['(\w+)'\])?", str(report))
    return (argument[2] or argument[1]) if argument else "", report.cause, str(report)


def totals(results: Iterable[Result]) -> dict[str, tuple[int, int]]:
    """The figures of merit of the audit, each as a count and a total."""
    results = list(results)
    wrong = [result for result in results if not result.case.is_right]
    right = [result for result in results if result.case.is_right]
    return {
        "wrong passes detected": (sum(result.flagged for result in wrong), len(wrong)),
        "first wrong step named": (sum(result.step_is_right for result in wrong), len(wrong)),
        "cause right as first candidate": (sum(result.cause_is_right for result in wrong), len(wrong)),
        "right passes flagged": (sum(result.flagged for result in right), len(right)),
        "audits that ended in an error": (sum(bool(result.error) for result in results), len(results)),
        "handed over as written": (sum(result.case.as_written for result in results), len(results)),
    }


def row(result: Result) -> tuple[str, ...]:
    case = result.case
    found = result.error or (f"{result.step} {result.cause}" if result.flagged else "nothing")
    truth = f"{case.steps[0]} {case.causes[0]}" if case.causes else "nothing"
    verdict = "error" if result.error else "ok" if result.ok else "MISS"
    return case.title, "right" if case.is_right else "wrong", truth, found, verdict, f"{result.seconds:.2f}"


HEAD = ("case", "it is", "truth", "found", "", "s")


def text_row(cells: tuple[str, ...]) -> str:
    case, kind, truth, found, verdict, seconds = cells
    return f"{case:<70} {kind:<6} {truth:<40} {found:<40} {verdict:<5} {seconds:>6}"


def markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def summary(results: list[Result]) -> list[str]:
    lines = []
    for name, (count, of) in totals(results).items():
        share = f" ({100 * count / of:.1f} %)" if of else ""
        lines.append(f"{name}: {count} of {of}{share}")
    times = sorted((result.seconds, result.case.title) for result in results)
    lines.append(
        f"time: {sum(seconds for seconds, _ in times):.1f} s, the longest {times[-1][0]:.2f} s ({times[-1][1]})"
    )
    return lines


def misses(results: list[Result]) -> list[str]:
    lines = []
    for result in results:
        if not result.ok:
            case = result.case
            truth = f"{' or '.join(case.steps)}: {' or '.join(case.causes)}" if case.causes else "right"
            found = result.error or (
                f"{result.step}: {result.cause}: {result.message}" if result.flagged else "nothing"
            )
            lines.append(f"{case.title}: is {truth}; found {found}")
    return lines


def chosen(half: str, name: str | None) -> list[Case]:
    found = [case for case in cases(half) if name is None or name in (case.name, case.title)]
    if not found:
        raise ValueError(f"--case: expected the name of a function or half/family/name, got {name!r}")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backward_passes", description=__doc__)
    parser.add_argument("half", nargs="?", choices=(*HALVES, "all"), default="all")
    parser.add_argument("--case", metavar="NAME", help="audit one case and print its full report")
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    options = parser.parse_args(arguments)
    try:
        selected = chosen(options.half, options.case)
    except ValueError as error:
        parser.error(str(error))

    as_line = text_row if options.format == "text" else markdown_row
    print(as_line(HEAD))
    if options.format == "markdown":
        print(markdown_row(("---",) * len(HEAD)))
    results = []
    for case in selected:
        results.append(audited(case))
        print(as_line(row(results[-1])), flush=True)
    bullet = "- " if options.format == "markdown" else ""
    for part in (summary(results), misses(results)):
        print("\n" + "\n".join(bullet + line for line in part) if part else "")
    if options.case is not None:
        print("\n\n".join(str(result.report) for result in results if result.report is not None))
    return 1 if any(result.error for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
