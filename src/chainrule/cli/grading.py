"""grade: the submissions of a class, each in a separate process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.arguments import integer, number
from . import options
from .child import Limits, Workers
from .output import explained, show_document, write

if TYPE_CHECKING:
    from ..audit.grading import Grade

#: Bytes that a submission may write into a file.
MOST_WRITTEN = 10_000_000
#: How many times its limit a submission may last, on a busy machine or waiting for something.
WAITING = 3
#: What the processes of submissions need.
IMPORTED = ("chainrule.audit.grading", "chainrule.audit.run")


@click.command()
@click.argument("folder", type=options.PATH, help="the submissions: Python files, or folders with one each")
@click.option("--forward", "reference", type=options.PATH, required=True, help="the file with forward, loss and data")
@click.option("--backward", default="backward", help="the name of the backward pass in the submissions")
@click.option("--loss", default="loss", help="the name of loss(output, Y) in the reference, or a loss of chainrule")
@click.option("--parameters", default="parameters", help="the name of the parameters in the reference")
@click.option("--x", "X", default="X", help="the name of the inputs in the reference")
@click.option("--y", "Y", default="Y", help="the name of the targets in the reference")
@click.option("--layer", is_flag=True, help="forward(*inputs) and backward(dout, cache) are those of one layer")
@click.option("--csv", "csv_file", type=options.PATH, help="a file for the table, with a column for each step")
@click.option("--json", "json_file", type=options.PATH, help="a file for everything")
@click.option("--html", type=options.PATH, help="a file for a page with the table and the causes as a bar chart")
@click.option("--jobs", default=2, help="how many submissions run at once")
@click.option("--timeout", default=15.0, help="seconds that a submission may compute; 0: no limit")
@options.memory
def grade(
    folder: Path,
    reference: Path,
    csv_file: Path | None,
    json_file: Path | None,
    html: Path | None,
    jobs: int,
    timeout: float,
    memory: float | None,
    layer: bool,
    **names: str,
) -> None:
    """Grade the backward passes of a class.

    The reference has forward, loss, parameters, X and Y; each submission has backward. Each step that follows correctly
    from the gradients before it is a point. If the reference has a backward pass of its own, its steps are those
    that count; else the gradients of the parameters.

    Each submission runs on a copy, in a separate process and folder, with the limits of --timeout and --memory.
    The time is that which the submission computes, so grades do not depend on how busy the machine is.
    This protects from mistakes, not from malice. Exit status: 0 when all are right, 1 when some are wrong or could not
    be judged, 2 when nothing could be graded.
    """
    from ..audit import grading

    with explained(2):
        integer("jobs", jobs, at_least=1)
        number("timeout", timeout, at_least=0)
        waiting = WAITING * timeout if timeout else None
        limits = Limits(waiting, None if memory is None else round(memory * 1e6), MOST_WRITTEN, timeout or None)
        files = submissions(folder, reference)
        names["forward"] = "forward"
        asked = {"reference": str(reference.resolve()), "names": names, "layer": layer}
        workers = Workers(IMPORTED)
        outcome = workers.run("audit.grading:reference_steps", asked, limits)
        answer = outcome.result or {"problem": outcome.problem}
        if "problem" in answer:
            raise ValueError(f"nothing can be graded with {reference}: {answer['problem']}")
        expected = answer["steps"]

        def one(item: tuple[str, Path]) -> Grade:
            name, file = item
            found = _run(workers, file, folder, asked, limits)
            return grading.graded(name, str(file.relative_to(folder)), found, expected)

        with ThreadPoolExecutor(jobs) as pool:
            grades = list(pool.map(one, files))
        document = grading.grades_document(grades, f"Grades of {folder.name}")
        show_document(document)
        _write(grades, document, csv_file, json_file, html)
    raise click.exceptions.Exit(0 if all(g.ok for g in grades) else 1)


def submissions(folder: Path, reference: Path) -> list[tuple[str, Path]]:
    """Return the submissions by name: the Python files of a folder, and its folders that hold one Python file."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.resolve() == reference.resolve():
            continue
        if path.suffix == ".py" and path.is_file():
            found.append((path.stem, path))
        elif path.is_dir():
            inside = sorted(path.glob("*.py"))
            same = [p for p in inside if p.name in (f"{path.name}.py", "backward.py", "submission.py", "solution.py")]
            chosen = inside if len(inside) == 1 else same
            if len(chosen) != 1:
                raise ValueError(f"{path} holds {len(inside)} Python files; expected one, or one called backward.py")
            found.append((path.name, chosen[0]))
    if not found:
        raise FileNotFoundError(f"{folder} holds no submissions: no Python files, and no folders with one")
    return found


def _run(workers: Workers, file: Path, folder: Path, asked: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return what a submission got; it runs on a copy in a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="chainrule-grade-", ignore_cleanup_errors=True) as place:
        here = Path(place) / "submission"
        if file.parent.resolve() == folder.resolve():
            here.mkdir()
            shutil.copy(file, here)
        else:
            shutil.copytree(file.parent, here)
        copy = here / file.name
        arguments = {**asked, "submission": str(copy)}
        outcome = workers.run("audit.grading:grade", arguments, limits, here)
    if outcome.problem or outcome.result is None:
        return {"problem": outcome.problem or f"exit status {outcome.status}"}
    found: dict[str, Any] = outcome.result
    if "problem" in found:
        found["problem"] = found["problem"].replace(str(copy), file.name)
    return found


def _write(
    grades: Sequence[Grade], document: Any, csv_file: Path | None, json_file: Path | None, html: Path | None
) -> None:
    from .. import show
    from ..audit import grading

    if csv_file is not None:
        write(csv_file, grading.to_csv(grades))
    if json_file is not None:
        write(json_file, grading.to_json(grades))
    if html is not None:
        write(html, show.as_page(document))
