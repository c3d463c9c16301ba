"""Work on a user's program in a process of its own: it may exit, crash, hang or fill the memory without harm.

`run` starts the process and says how it ended; `main` is what runs there. The process inherits the terminal, so what it
prints looks as if it were printed here. When the work is done, its result goes into a file as JSON: a process that
ends without one did not finish, whatever its exit status is.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .output import ended_by_sigterm, fail

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
    output, errors : str
        What it printed, if that was to be captured.
    """

    result: Any = None
    status: int | None = None
    problem: str = ""
    output: str = ""
    errors: str = ""


def run(
    function: str, arguments: dict[str, Any], limits: Limits, *, capture: bool = False, folder: Path | None = None
) -> Outcome:
    """Call a function in another process, on arguments that JSON can hold.

    Parameters
    ----------
    function : str
        ``module:name`` of a function of chainrule.
    arguments : dict
        Its keyword arguments.
    limits : Limits
    capture : bool
        Return what it prints, instead of printing it. The process is then the leader of a group, and at the end of its
        time the processes that it started are ended, too.
    folder : Path, optional
        The working directory of the process.
    """
    with tempfile.TemporaryDirectory(prefix="chainrule-") as place:
        record = Path(place) / "result.json"
        root = str(Path(__file__).resolve().parents[2])
        path = sys.path if root in sys.path else [root, *sys.path]
        bounds = {"memory": limits.memory, "written": limits.written}
        request = {"function": function, "arguments": arguments, **bounds, "record": str(record)}
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(path), json.dumps(request)],
            **(streams if capture else {}),
            env={**os.environ, "PYTHONIOENCODING": "utf-8"} if capture else None,
            start_new_session=capture,
            cwd=folder,
        )
        late = False
        try:
            output, errors = process.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            late = True
            _kill(process, group=capture)
            output, errors = process.communicate()
        except KeyboardInterrupt:
            _interrupt(process)
            raise
        texts = [(text or b"").decode(errors="replace") for text in (output, errors)]
        try:
            found = json.loads(record.read_text("utf-8"))
            if found["process"] != process.pid:  # one that it has forked, or the program itself, wrote it
                raise ValueError
        except (OSError, ValueError, TypeError, KeyError):
            return Outcome(None, None, _problem(process.returncode, limits.seconds if late else None), *texts)
        return Outcome(found.get("result"), found.get("status"), "", *texts)


def in_child(function: str, arguments: dict[str, Any], limits: Limits, status: int) -> Any:
    """Do a command's work in another process; return its result, or exit, with `status` if it did not finish.

    Where Python code has replaced the streams of this process, another could not print there: the work is done here.
    """
    if not (_is_real(sys.stdout, 1) and _is_real(sys.stderr, 2)):
        return _called(function, arguments)
    with ended_by_sigterm():
        outcome = run(function, arguments, limits)
    if outcome.problem:
        fail(f"{arguments.get('program') or arguments.get('target')}: {outcome.problem}", status)
    if outcome.status is not None:
        raise click.exceptions.Exit(outcome.status)
    return outcome.result


def main() -> None:
    """Do what `run` asks for, in the process that it started."""
    request = json.loads(sys.argv[1])
    sys.argv[:] = ["chainrule"]
    with contextlib.suppress(ImportError):  # Windows
        import resource

        for name, kind in (("memory", resource.RLIMIT_AS), ("written", resource.RLIMIT_FSIZE)):
            if request[name] is not None:
                resource.setrlimit(kind, (request[name], request[name]))
    status = 0
    try:
        record = {"result": _called(request["function"], request["arguments"])}
    except click.exceptions.Exit as end:
        status, record = end.exit_code, {"status": end.exit_code}
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)
    with contextlib.suppress(BrokenPipeError, ValueError):  # closed by the program
        sys.stdout.flush()
        sys.stderr.flush()
    Path(request["record"]).write_text(json.dumps({**record, "process": os.getpid()}), "utf-8")
    os._exit(status)  # threads and exit handlers of the user's program cannot hold it up


def _called(function: str, arguments: dict[str, Any]) -> Any:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(f"chainrule.{module}"), name)(**arguments)


def _is_real(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (AttributeError, OSError, ValueError):
        return False


def _kill(process: subprocess.Popen[bytes], group: bool) -> None:
    if group and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that got the same Ctrl-C from the terminal; see that it ends in any case."""
    with contextlib.suppress(OSError, ValueError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
