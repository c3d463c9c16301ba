"""The native engine in its process: threads, forked children, the interpreter's end, the environment."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")

import chainrule as cr
from chainrule.engine.native import NativeBinding, instruction_set
from tests.engine.native_cases import same_bits
from tests.plan.graphs import arrays, planned
from tests.tables import slow, some

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts threads as Linux shows them")


def finished(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


def threads_here() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


# -- threads ---------------------------------------------------------------------------------------------------------


@LINUX
@pytest.mark.parametrize("signatures", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*was compiled for 64 signatures")
def test_all_plans_share_one_team(signatures: int) -> None:
    f = cr.compile(lambda x: np.tanh(x) * 2.0, threads=3)
    f(np.ones(200_000))
    before = threads_here()
    for n in range(1, signatures):
        f(np.ones(n))
    assert threads_here() == before


#: Leaves memory for some of 64 threads, or for none; prints how many there are then and whether results are the same.
LIMITED = """
    import os, resource, numpy as np, chainrule as cr
    from chainrule.engine import bind

    x = np.random.default_rng(0).normal(size=(400, 300))
    plan = cr.compile(lambda x: (np.tanh(x @ x.T), np.sum(x, axis=0), np.exp(x))).plan(x)
    one, many = bind(plan, threads=1), bind(plan, threads=64)
    one.run([x])
    used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + {room} * 2**20, limits[1]))
    many.run([x])
    resource.setrlimit(resource.RLIMIT_AS, limits)
    same = all(one.value(n).tobytes() == many.value(n).tobytes() for n in plan.outputs)
    print(len(os.listdir("/proc/self/task")), same)
"""


@LINUX
@pytest.mark.parametrize(("room", "least", "most"), [(0, 1, 1), (100, 2, 60), (4000, 64, 64)])
def test_fewer_threads_where_no_more_can_be_made(room: int, least: int, most: int) -> None:
    environment = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = finished(LIMITED.format(room=room), **environment)
    assert done.returncode == 0, done.stderr
    threads, same = done.stdout.split()
    assert least <= int(threads) <= most and same == "True"


def test_a_run_within_a_run() -> None:
    """The inner one finds the team lent out, and runs on its own thread."""
    (x,) = arrays([(300, 300)], float)
    inner = cr.compile(lambda x: np.tanh(x @ x.T), threads=3)
    expected = inner(x)
    plan = planned(lambda x, s: ([np.linalg.inv(np.exp(x[0] * 0.1)) @ x[0]], {}), [x])
    binding = NativeBinding(plan, threads=3)
    binding.run([x])
    outer = binding.value(plan.outputs[0]).copy()
    (group,) = binding._calls
    kernel = binding._calls[group]

    def call() -> None:
        same_bits(inner(x), expected)
        kernel()

    binding._calls[group] = call
    for _ in range(3):
        binding.run([x])
        same_bits(binding.value(plan.outputs[0]), outer)


#: Forks while another thread is in the engine, and forks from the child again.
FORKING = """
    import os, threading, numpy as np, chainrule as cr

    f = cr.compile(lambda x: np.tanh(x @ x.T), threads=3)
    x = np.random.default_rng(0).normal(size=(200, 200))
    expected = f(x).tobytes()
    over = threading.Event()

    def work():
        while not over.is_set():
            f(x)

    def child(depth):
        known = f(x).tobytes() == expected
        new = cr.compile(lambda x: np.tanh(x @ x.T) * 2.0, threads=3)(x)
        right = known and np.array_equal(new, 2.0 * f(x)) and len(os.listdir("/proc/self/task")) == 3
        return right and (depth == 0 or forked(depth - 1))

    def forked(depth):
        number = os.fork()
        if number == 0:
            os._exit(0 if child(depth) else 1)
        return os.waitpid(number, 0)[1] == 0

    thread = threading.Thread(target=work)
    thread.start()
    right = all([forked(1) for _ in range(10)])
    over.set()
    thread.join()
    assert right
"""


@LINUX
def test_forked_children_have_a_team_of_their_own() -> None:
    done = finished(FORKING, PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stderr


# -- the interpreter's end -------------------------------------------------------------------------------------------

#: Daemon threads are in the engine when the interpreter ends: in calls, in a training's loop, in a step of NumPy's.
ENDING = """
    import threading, time, numpy as np, chainrule as cr

    def calls(f):
        def loop(begun):
            while True:
                f(x)
                begun.set()

        return loop

    def training(begun):
        model = cr.nn.Sequential(cr.nn.Linear(64, 8), cr.nn.Tanh(), cr.nn.Linear(8, 64))
        cr.fit(model, x, x, loss="mse", epochs=10**9, progress=False, callbacks=[lambda run: begun.set()])

    x = np.random.default_rng(0).normal(size=(64, 64)).astype("f")
    product = cr.compile(cr.value_and_grad(lambda x: np.sum(np.tanh(x @ x.T))))
    inverse = cr.compile(lambda x: np.linalg.inv(np.exp(x)) @ x, threads=1)
    for work in (calls(product), calls(inverse), training):
        begun = threading.Event()
        threading.Thread(target=work, args=(begun,), daemon=True).start()
        begun.wait()
    time.sleep({pause})
"""


@pytest.mark.parametrize("times", [2, slow(some(30))])
def test_the_interpreter_ends_while_daemon_threads_are_in_the_engine(times: int) -> None:
    for k in range(times):
        done = finished(ENDING.format(pause=k * 3 % 10 / 100))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), f"run {k}"


# -- the environment -------------------------------------------------------------------------------------------------

NAMED = """
    import numpy as np, chainrule as cr
    from chainrule.engine.native import instruction_set
    try:
        cr.compile(lambda x: x + 1.0, engine="native")(np.ones(3))
        print(instruction_set())
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("name", ["avx3", slow("AVX2"), slow("no such set")])
def test_an_unknown_instruction_set_is_an_error(name: str) -> None:
    printed = finished(NAMED, CHAINRULE_ISA=name).stdout
    assert printed.startswith(f"CHAINRULE_ISA is '{name}', expected one of avx512, avx2, neon, portable; ")
    here = printed.split("this processor has ")[1].strip().split(", ")
    assert here[-1] == "portable" and (os.environ.get("CHAINRULE_ISA") or here[0] == instruction_set())


@pytest.mark.slow
def test_known_instruction_sets_are_used_or_refused() -> None:
    here = finished(NAMED, CHAINRULE_ISA="?").stdout.split("this processor has ")[1].strip().split(", ")
    for name in ("avx512", "avx2", "neon", "portable"):
        printed = finished(NAMED, CHAINRULE_ISA=name).stdout.strip()
        assert printed == name if name in here else printed.startswith(f"CHAINRULE_ISA is '{name}', expected one of ")
    assert finished(NAMED, CHAINRULE_ISA="").stdout.strip() == here[0]
