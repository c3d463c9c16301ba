"""Programs that exit, hang, crash or fill the memory while they are audited: the command says so."""

import re
import signal
import subprocess
import sys
import textwrap

import pytest

from chainrule.cli.child import Limits, Workers

from .conftest import ENVIRONMENT
from .test_terminal import in_terminal

unix = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")

RIGHT = """
    import numpy as np
    X, Y = np.random.default_rng(0).normal(size=(2, 5, 3))
    W = np.eye(3)

    def forward(X, parameters):
        return {"A0": X, "Z1": X @ parameters["W"]}

    def loss(output, Y):
        return np.sum((output - Y) ** 2) / len(Y)

    def backward(cache, Y, parameters):
        dZ1 = 2 * (cache["Z1"] - Y) / len(Y)
        return {"dW": cache["A0"].T @ dZ1}

    parameters = {"W": W}

    def energy(X):
        return np.sum(X ** 2)
"""


@pytest.fixture
def program(tmp_path):
    def write(before="", inside=""):
        head = "def backward(cache, Y, parameters):\n"
        text = textwrap.dedent(RIGHT).replace(head, f"{head}    {inside or 'pass'}\n")
        (tmp_path / "mine.py").write_text(f"{before}\n{text}")
        return tmp_path

    return write


def command(*arguments):
    return [sys.executable, "-c", "from chainrule.cli import main; main()", *arguments]


def called(folder, *arguments, timeout=60):
    """Run the command with its own folder of temporary files: some of the programs here write into it or delete it."""
    (folder / "temporary").mkdir(exist_ok=True)
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env={**ENVIRONMENT, "TMPDIR": str(folder / "temporary")},
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("before", "inside", "seconds", "problem"),
    [
        pytest.param(
            "import os; os._exit(0)", "", "0",
            "mine.py: its process exited with status 0 before there was a result", marks=pytest.mark.slow,
        ),
        ("", "import os; os._exit(0)", "50", "mine.py: its process exited with status 0 before there was a result"),
        ("", "while True: pass", "1", "mine.py: not finished after 1 s, so its process was ended: an endless loop"),
        pytest.param(
            "", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "50",
            "mine.py: its process was ended by SIGSEGV before there was a result", marks=[unix, pytest.mark.slow],
        ),
        pytest.param(
            "", "raise KeyboardInterrupt", "50",
            "mine.py: interrupted, or the program raised KeyboardInterrupt", marks=pytest.mark.slow,
        ),
        pytest.param(
            "import glob, os, tempfile\n"
            "for f in glob.glob(tempfile.gettempdir() + '/chainrule-*'):\n"
            "    open(f + '/result.json', 'w').write('{\"result\": 0}')\nos._exit(0)", "", "50",
            "mine.py: its process exited with status 0 before there was a result", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_program_that_does_not_return(program, before, inside, seconds, problem):
    done = called(program(before, inside), "audit", "mine.py", "--timeout", seconds)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {problem}") and done.stderr.count("\n") == 1


#: What a program does at its start, and in its backward pass; and what the command says of it, None for the report.
ODD = {
    "closed streams": ("import sys; sys.stdout.close()", "import sys; sys.stderr.close()", None),
    "closed files": ("import os; os.close(1); os.close(2)", "", None),
    "no streams": ("import sys; sys.stdout = sys.stderr = None", "", None),
    "GeneratorExit": ("", "raise GeneratorExit", "mine.py, line 14: GeneratorExit"),
    "GeneratorExit at the start": ("raise GeneratorExit", "", "mine.py, line 1: GeneratorExit"),
    "an exception of another kind": ("", "raise BaseException('odd')", "mine.py, line 14: BaseException: odd"),
    "no modules": ("", "import sys; sys.modules.clear()", "mine.py: "),
    "no open, no print": ("import builtins; builtins.open = builtins.print = None", "", None),
    "few builtins": ("import builtins\nfor n in 'len sum getattr isinstance'.split(): setattr(builtins, n, None)", "",
                     "mine.py: its process exited with status 1"),
    "replaced functions": ("import json, os; json.dumps = os.getpid = os._exit = lambda *a: 1", "", None),
    "no folder for the result": ("import glob, shutil, tempfile\n"
                                 "for f in glob.glob(tempfile.gettempdir() + '/chainrule-*'): shutil.rmtree(f)", "",
                                 "mine.py: its process exited with status 1"),
    "a fork": ("import os; os.fork()", "", None),
    "a fork that lives on": ("import os, time\nif not os.fork(): time.sleep(60)", "", None),
    "a fork that does the work": ("import os\nif os.fork(): os._exit(0)", "",
                                  "mine.py: its process exited with status 0"),
    "exit in atexit": ("import atexit, sys; atexit.register(lambda: sys.exit(7))", "", None),
    "a thread that never ends": ("import threading, time; threading.Thread(target=time.sleep, args=(900,)).start()", "",
                                 None),
    "a thread that interrupts": ("import _thread, threading; threading.Timer(0.2, _thread.interrupt_main).start()",
                                 "import time; time.sleep(1)", "mine.py: interrupted"),
    "an alarm": ("import signal; signal.alarm(1)", "import time; time.sleep(2)",
                 "mine.py: its process was ended by SIGALRM"),
    "other programs": ("import subprocess; subprocess.run(['echo', 'Right']); subprocess.Popen(['sleep', '60'])", "",
                       None),
    "another program in its place": ("", "import os; os.execv('/bin/true', ['true'])",
                                     "mine.py: its process exited with status 0"),
    "much output": ("for i in range(200_000): print('x' * 50)", "", None),
    "input": ("input('name? ')", "", "mine.py, line 1: EOFError"),
    "no files": ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))", "",
                 "mine.py: its process exited with status 1"),
}  # fmt: skip


@pytest.mark.slow
@unix
@pytest.mark.parametrize("case", ODD)
def test_odd_endings(program, case):
    """Nothing hangs; the report is printed once or not at all, and alone on standard output."""
    before, inside, said = ODD[case]
    done = called(program(before, inside), "audit", "mine.py", timeout=50)
    if said is None:
        assert done.returncode == 0 and done.stdout.count("Right") == 1
        assert done.stdout.startswith("Audit of backward in mine.py\n")
    else:
        assert done.returncode == 2 and done.stdout == ""
        assert f"error: {said}" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("work", [("gradcheck", "mine.py:energy"), ("explain", "mine.py:energy")])
def test_the_other_commands_on_programs(program, work):
    folder = program("import os; os._exit(0)")
    done = called(folder, *work)
    assert done.returncode == (2 if work[0] == "gradcheck" else 1) and "before there was a result" in done.stderr
    done = called(program(), *work)
    assert done.returncode == 0 and done.stderr == "" and done.stdout


def test_what_is_printed_and_the_status(program, run):
    """As in one process: the report on standard output, what the program prints on standard error."""
    folder = program("print('mine')")
    here = run("audit", folder / "mine.py")
    done = called(folder, "audit", str(folder / "mine.py"), "--html", "report.html")
    assert (done.stdout, done.returncode) == (here.stdout, 0) and "Right" in done.stdout
    assert done.stderr == "mine\nwritten to report.html\n" and (folder / "report.html").exists()


@unix
@pytest.mark.slow
def test_colours_and_width_of_a_terminal(program):
    shown = in_terminal(command("audit", "mine.py"), program())
    assert "\x1b[32m" in shown  # green
    assert 60 < max(len(line) for line in re.sub(r"\x1b\[\d*m", "", shown).splitlines()) <= 80


@pytest.mark.slow
@unix
def test_ctrl_c(program):
    folder = program("", "import time; print('begun', flush=True); time.sleep(60)")
    with subprocess.Popen(
        command("audit", "mine.py"), cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(20) == 1 and rest.strip() == "Aborted!"


# -- for other work ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@unix
def test_workers_are_independent_and_end_what_they_started(program, tmp_path):
    """What a grader does with the programs of others."""
    beat = "import time, pathlib\nwhile True: pathlib.Path('beat').write_text(str(time.time())); time.sleep(0.05)"
    before = f"import subprocess, sys; print('more'); subprocess.Popen([sys.executable, '-c', {beat!r}])"
    folder = program(before, "import time; time.sleep(60)")
    workers = Workers(["chainrule.audit.commands"])

    def audited(**limits):
        names = {name: name for name in ("forward", "backward", "loss", "parameters", "X", "Y")}
        arguments = {"program": str(folder / "mine.py"), "html": None, "output": None, "form": "text"}
        arguments |= {"layer": False, "ascent": False, **names}
        return workers.run("cli.gradients:audit_here", arguments, Limits(**limits), folder)

    outcome = audited(seconds=8, computing=8)
    beaten = (folder / "beat").read_text()
    assert outcome.problem.startswith("not finished after 8 s") and outcome.result is None
    program("while True: pass")
    assert audited(seconds=60, computing=1).problem.startswith("not finished after 1 s")
    assert (folder / "beat").read_text() == beaten
    program("import numpy; numpy.broken = True; raise ValueError")
    assert not audited().result
    program("import numpy; assert not hasattr(numpy, 'broken')")
    outcome = audited(computing=60)
    assert outcome.result is True and "Right" in outcome.output and outcome.problem == ""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is that of Linux")
def test_memory_is_limited(program):
    folder = program("", "np.ones((10**9, 4))")
    done = called(folder, "audit", "mine.py", "--memory", "3000")
    assert done.returncode == 2 and "emory" in done.stderr and "mine.py" in done.stderr
