"""Work on a user's program in a separate process: it may exit, crash, hang or fill the memory without harm.

`run` starts the process and says how it ended; `main` is what runs there. When the work is done, its result and what it
prints on standard output go into a file as JSON: a process that ends without one did not finish, whatever its exit
status is, and nothing of its report is shown. Errors, and what the user's program prints, go to standard error at once.
The process leads a session of its own, whose processes are ended with it: those that the program started or forked.
`Workers` does the same for many programs, each in a copy of a process that has imported what they need.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .output import ended_by_signals, explained, fail

_START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from chainrule.cli.child import main; main()"

#: Seconds that a process has to end after Ctrl-C.
_PATIENCE = 2.0


@dataclass(frozen=True)
class Limits:
    """What a process may take: seconds, and bytes of memory and of a file it writes, where the system can limit them.

    None is no limit. `computing` is the time that the process computes itself, however busy the machine is.
    """

    seconds: float | None = None
    memory: int | None = None
    written: int | None = None
    computing: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How the work in a process ended.

    Attributes
    ----------
    result : any
        What the function returned, if it finished.
    status : int or None
        The exit status that it asked for instead, after it printed an error.
    problem : str
        Why it did not finish; empty if it did.
    output : str
        What it printed on standard output, if it finished.
    """

    result: Any = None
    status: int | None = None
    problem: str = ""
    output: str = ""


def run(function: str, arguments: dict[str, Any], limits: Limits) -> Outcome:
    """Call a function in another process, on arguments that JSON can hold.

    Parameters
    ----------
    function : str
        ``module:name`` of a function of chainrule.
    arguments : dict
        Its keyword arguments.
    limits : Limits
    """
    with tempfile.TemporaryDirectory(prefix="chainrule-") as place:
        request = _request(function, arguments, limits, Path(place))
        root = str(Path(__file__).resolve().parents[2])
        path = sys.path if root in sys.path else [root, *sys.path]
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(path), json.dumps(request)],
            stdout=sys.__stderr__,
            start_new_session=True,
        )
        late = False
        try:
            process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            late = True
        except KeyboardInterrupt:
            _interrupt(process)
            raise
        finally:
            _kill(process)
            process.wait()
        return _outcome(request, process.pid, process.returncode, limits.seconds if late else None)


class Workers:
    """Runs each function in a separate process, copied from one that has imported modules of chainrule already.

    Parameters
    ----------
    modules : sequence of str
        What to import: ``chainrule.audit.grading``.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        kinds = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")
        if "forkserver" in kinds:
            from multiprocessing import forkserver

            self._context.set_forkserver_preload([__name__, *modules])
            with _environment(PYTHONSAFEPATH="1", PYTHONPATH=_found_first()):  # it imports no file of a submission
                forkserver.ensure_running()

    def run(self, function: str, arguments: dict[str, Any], limits: Limits, folder: Path | None = None) -> Outcome:
        """Call a function as `chainrule.cli.child.run` does; what it prints is thrown away.

        With a limit of the time that it computes, ``limits.seconds`` is for processes that wait.
        """
        with tempfile.TemporaryDirectory(prefix="chainrule-") as place:
            request = _request(function, arguments, limits, Path(place))
            process = self._context.Process(target=_alone, args=(request, None if folder is None else str(folder)))
            process.start()
            process.join(limits.seconds)
            late = process.exitcode is None
            _kill(process)
            process.join()
            return _outcome(request, process.pid, process.exitcode, limits.seconds if late else None)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _found_first() -> str:
    """Return a PYTHONPATH that begins with where this package is."""
    return os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])


def _alone(request: dict[str, Any], folder: str | None) -> None:
    """Do what is asked for, in a process that leads a session and has no terminal."""
    if hasattr(os, "setsid"):
        os.setsid()
    with open(os.devnull, "r+b") as nothing:
        for number in (0, 1, 2):
            os.dup2(nothing.fileno(), number)
    if folder is not None:
        os.chdir(folder)
    _done(request)


def _request(function: str, arguments: dict[str, Any], limits: Limits, place: Path) -> dict[str, Any]:
    return {
        "function": function,
        "arguments": arguments,
        "memory": limits.memory,
        "written": limits.written,
        "computing": None if limits.computing is None else math.ceil(limits.computing),
        "record": str(place / "result.json"),
        "terminal": shutil.get_terminal_size().columns if sys.stdout.isatty() else None,
    }


def _outcome(request: dict[str, Any], number: int, status: int, late: float | None) -> Outcome:
    """Return how a process ended, from the record that it has left."""
    try:
        found = json.loads(Path(request["record"]).read_text("utf-8"))
        if found["process"] != number:  # the program itself wrote it
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError):
        if status == -getattr(signal, "SIGXCPU", 0):
            late = request["computing"]
        return Outcome(problem=_problem(status, late))
    return Outcome(found.get("result"), found.get("status"), found.get("problem", ""), found["output"])


def in_child(function: str, arguments: dict[str, Any], limits: Limits, status: int) -> Any:
    """Do a command's work in another process; return its result, or exit, with `status` if it did not finish.

    Where Python code has replaced the streams of this process, another could not print there: the work is done here.
    """
    if not (_is_real(sys.stdout, 1) and _is_real(sys.stderr, 2)):
        return _called(function, arguments)
    with ended_by_signals():
        outcome = run(function, arguments, limits)
    if outcome.problem:
        fail(f"{arguments.get('program') or arguments.get('target')}: {outcome.problem}", status)
    with explained(status):
        sys.stdout.write(outcome.output)
        sys.stdout.flush()
    if outcome.status is not None:
        raise click.exceptions.Exit(outcome.status)
    return outcome.result


class _Printed(io.StringIO):
    """What is to be printed on standard output, which may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def main() -> None:
    """Do what `run` asks for, in the process that it started."""
    _done(json.loads(sys.argv[1]))


def _limit(request: dict[str, Any]) -> None:
    """Set the limits of this process, where the system has any."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        for name, kind in (("memory", resource.RLIMIT_AS), ("written", resource.RLIMIT_FSIZE)):
            if request[name] is not None:
                resource.setrlimit(kind, (request[name], request[name]))
        if (seconds := request["computing"]) is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no file of its memory when the time is over
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def _done(request: dict[str, Any]) -> None:
    """Do what is asked for within the limits, leave a record of it, and end this process."""
    sys.argv[:] = ["chainrule"]
    _limit(request)
    # what the program may replace
    opened, dumps, getpid, end, process = open, json.dumps, os.getpid, os._exit, os.getpid()
    printed = sys.stdout = _Printed(request["terminal"] is not None)
    if request["terminal"] is not None:
        os.environ["COLUMNS"] = str(request["terminal"])
    status = 0
    try:
        record = _record(request)
        if getpid() == process:  # not a copy that the program has forked
            with opened(request["record"], "w", encoding="utf-8") as file:
                file.write(dumps({**record, "process": process, "output": printed.getvalue()}))
            sys.stderr.flush()
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:  # nothing may be left to say why
        status = 1
    end(status)  # threads and exit handlers of the user's program cannot hold it up


def _record(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": _called(request["function"], request["arguments"])}
    except click.exceptions.Exit as ended:
        return {"status": ended.exit_code}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if os.environ.get("CHAINRULE_TRACEBACK"):
            traceback.print_exc()
        return {"problem": f"{type(error).__name__}: {error}"}


def _called(function: str, arguments: dict[str, Any]) -> Any:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(f"chainrule.{module}"), name)(**arguments)


def _is_real(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (AttributeError, OSError, ValueError):
        return False


def _kill(process: Any) -> None:
    """End what is left of a process and of those in its session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Pass Ctrl-C on to a process, and give it time to end."""
    with contextlib.suppress(OSError, ValueError):
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)


def _problem(status: int, late: float | None) -> str:
    if late is not None:
        return (
            f"not finished after {late:g} s, so its process was ended: an endless loop, or more work than that "
            "(--timeout SECONDS gives it more time)"
        )
    if status < 0:
        name = signal.Signals(-status).name if -status in {s.value for s in signal.Signals} else f"signal {-status}"
        return f"its process was ended by {name} before there was a result"
    if status == 128 + signal.SIGINT:
        return "interrupted, or the program raised KeyboardInterrupt"
    return f"its process exited with status {status} before there was a result; does the program call os._exit?"
