"""Work on a user's program in a process of its own: it may exit, crash, hang or fill the memory without harm.

`run` starts the process and says how it ended; `main` is what runs there. When the work is done, its result and what it
prints on standard output go into a file as JSON: a process that ends without one did not finish, whatever its exit
status is, and nothing of its report is shown. Errors, and what the user's program prints, go to standard error at once.
The process leads a session of its own, whose processes are ended with it: those that the program started or forked.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
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

    None is no limit.
    """

    seconds: float | None = None
    memory: int | None = None
    written: int | None = None


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


def run(
    function: str, arguments: dict[str, Any], limits: Limits, *, quiet: bool = False, folder: Path | None = None
) -> Outcome:
    """Call a function in another process, on arguments that JSON can hold.

    Parameters
    ----------
    function : str
        ``module:name`` of a function of chainrule.
    arguments : dict
        Its keyword arguments.
    limits : Limits
    quiet : bool
        Show nothing of what goes to standard error, and give it no input.
    folder : Path, optional
        The working directory of the process.
    """
    with tempfile.TemporaryDirectory(prefix="chainrule-") as place:
        record = Path(place) / "result.json"
        root = str(Path(__file__).resolve().parents[2])
        path = sys.path if root in sys.path else [root, *sys.path]
        bounds = {"memory": limits.memory, "written": limits.written}
        terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        request = {"function": function, "arguments": arguments, **bounds, "record": str(record), "terminal": terminal}
        streams: dict[str, Any] = {"stdout": sys.__stderr__}
        if quiet:
            streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(path), json.dumps(request)],
            **streams,
            start_new_session=True,
            cwd=folder,
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
        try:
            found = json.loads(record.read_text("utf-8"))
            if found["process"] != process.pid:  # the program itself wrote it
                raise ValueError
        except (OSError, ValueError, TypeError, KeyError):
            return Outcome(problem=_problem(process.returncode, limits.seconds if late else None))
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
    request = json.loads(sys.argv[1])
    sys.argv[:] = ["chainrule"]
    with contextlib.suppress(ImportError):  # Windows
        import resource

        for name, kind in (("memory", resource.RLIMIT_AS), ("written", resource.RLIMIT_FSIZE)):
            if request[name] is not None:
                resource.setrlimit(kind, (request[name], request[name]))
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


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process and of those in its session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


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
