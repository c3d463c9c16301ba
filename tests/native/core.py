"""Builds the native core library with its C names and loads it; one build per run."""

import ctypes
import fcntl
import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src" / "native"
SIZE = ctypes.c_ssize_t
POINTER = ctypes.c_void_p
EPILOGUE = ctypes.CFUNCTYPE(None, POINTER, SIZE, SIZE, SIZE, SIZE)
PART = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_int, ctypes.c_int)
FLOATS = (np.float32, np.float64)


def build(folder: Path, *options: str, target: str = "all") -> None:
    """Configure and build the core library in `folder`; skip where there is nothing to build with."""
    for tool in ("cmake", os.environ.get("CXX", "c++")):
        if shutil.which(tool) is None:
            pytest.skip(f"the native core is not built: no {tool}")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["cmake", *generator, "-S", str(SOURCES), "-B", str(folder), "-DCHAINRULE_TESTS=ON", *options]
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", "--target", target]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stdout, done.stdout


@functools.cache
def folder() -> Path:
    """Return the folder with everything built, which CHAINRULE_NATIVE_BUILD names; one process builds, others wait."""
    path = Path(os.environ["CHAINRULE_NATIVE_BUILD"])
    path.mkdir(parents=True, exist_ok=True)
    with open(path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(path)
    return path


@functools.cache
def library() -> ctypes.CDLL:
    """Return the core library."""
    core = ctypes.CDLL(str(folder() / "libchainrule_native_test.so"))
    for name in ("core_gemm_f32", "core_gemm_f64"):
        matrix = [POINTER, SIZE, SIZE]
        sizes = [SIZE, SIZE, SIZE]
        tail = [POINTER, SIZE, ctypes.c_int, POINTER, POINTER, POINTER, ctypes.c_int, POINTER]
        getattr(core, name).argtypes = [*sizes, *matrix, *matrix, *tail]
        getattr(core, name).restype = None
    core.core_batch_f64.argtypes = [*[SIZE] * 4, POINTER, POINTER, SIZE, POINTER, POINTER, POINTER]
    core.core_name.restype = ctypes.c_char_p
    core.core_blocking.argtypes = [POINTER]
    core.core_set_blocking.argtypes = [SIZE, SIZE, SIZE]
    core.core_team.restype = POINTER
    core.core_team_free.argtypes = [POINTER]
    core.core_team_size.argtypes = [POINTER]
    core.core_lent.restype = core.core_lent_team.restype = POINTER
    core.core_lent_free.argtypes = core.core_lent_team.argtypes = [POINTER]
    core.core_team_run.argtypes = [POINTER, ctypes.c_int, PART, POINTER]
    for suffix, number in (("f32", ctypes.c_float), ("f64", ctypes.c_double)):
        operand = [POINTER, ctypes.c_int]
        for name, arguments, result in (
            ("unary", [ctypes.c_int, SIZE, POINTER, POINTER], None),
            ("binary", [ctypes.c_int, SIZE, *operand, *operand, POINTER], None),
            ("compare", [ctypes.c_int, SIZE, *operand, *operand, POINTER], None),
            ("test", [ctypes.c_int, SIZE, POINTER, POINTER], None),
            ("where", [SIZE, *operand, *operand, *operand, POINTER], None),
            ("pass", [SIZE, ctypes.c_int, POINTER, POINTER, POINTER], None),
            ("sum", [SIZE, POINTER], number),
            ("maximum", [SIZE, POINTER], number),
            ("minimum", [SIZE, POINTER], number),
            ("sum_rows", [SIZE, SIZE, POINTER, SIZE, POINTER], None),
            ("sum_columns", [SIZE, SIZE, POINTER, SIZE, ctypes.c_int, POINTER], None),
            ("uniform", [*[ctypes.c_uint64] * 3, SIZE, SIZE, POINTER], None),
        ):
            function = getattr(core, f"core_{name}_{suffix}")
            function.argtypes, function.restype = arguments, result
    core.core_cast.argtypes = [ctypes.c_int, ctypes.c_int, SIZE, POINTER, POINTER]
    core.core_logic.argtypes = [ctypes.c_int, SIZE, POINTER, ctypes.c_int, POINTER, ctypes.c_int, POINTER]
    core.core_logical_not.argtypes = [SIZE, POINTER, POINTER]
    return core


def instruction_sets() -> list[str]:
    """Return the names to try; `selected` skips those that this machine does not run."""
    return ["portable", "avx2", "avx512", "neon"]


class Selected:
    """While active, the library uses one instruction set."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.before = library().core_name()
        if not library().core_select(self.name.encode()):
            pytest.skip(f"this machine does not run {self.name}")

    def __exit__(self, *exception: Any) -> None:
        library().core_select(self.before)


class Blocked:
    """While active, multiplies are planned with these bytes of strips and panels, and these rows that pay a copy."""

    def __init__(self, strip: int, panels: int, reuse: int) -> None:
        self.wanted = strip, panels, reuse

    def __enter__(self) -> None:
        self.before = (SIZE * 3)()
        library().core_blocking(self.before)
        library().core_set_blocking(*self.wanted)

    def __exit__(self, *exception: Any) -> None:
        library().core_set_blocking(*self.before)


class Team:
    """A team of threads of the library."""

    def __init__(self, threads: int) -> None:
        self.pointer = POINTER(library().core_team(threads))

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *exception: Any) -> None:
        library().core_team_free(self.pointer)

    @property
    def size(self) -> int:
        return int(library().core_team_size(self.pointer))

    def run(self, parts: int, function: Any) -> None:
        library().core_team_run(self.pointer, parts, PART(lambda _, part, member: function(part, member)), None)


class Lent(Team):
    """A team of the library's process, lent."""

    def __init__(self, threads: int) -> None:
        self.lent = POINTER(library().core_lent(threads))
        self.pointer = POINTER(library().core_lent_team(self.lent))

    def __exit__(self, *exception: Any) -> None:
        library().core_lent_free(self.lent)


def aligned(shape: tuple[int, ...], dtype: Any, offset: int = 0) -> np.ndarray:
    """Return an empty array that starts `offset` elements after a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    raw = np.empty((count + offset) * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64 + offset * dtype.itemsize
    return raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    *,
    add: bool = False,
    epilogue: Any = None,
    team: Team | None = None,
    repeat: int = 1,
) -> float:
    """Run ``c = a @ b`` (or ``c += a @ b``) in the library; return the seconds of one run."""
    assert a.dtype == b.dtype == c.dtype and (c.size == 0 or c.strides[1] == c.itemsize)
    seconds = ctypes.c_double()
    item = a.itemsize
    function = library().core_gemm_f32 if a.dtype == np.float32 else library().core_gemm_f64
    end = None if epilogue is None else EPILOGUE(lambda _, *block: epilogue(*block))
    function(
        *(c.shape[0], c.shape[1], a.shape[1]),
        *(a.ctypes.data, a.strides[0] // item, a.strides[1] // item),
        *(b.ctypes.data, b.strides[0] // item, b.strides[1] // item),
        *(c.ctypes.data, c.strides[0] // item, int(add)),
        *(end, None, team.pointer if team else None, repeat, ctypes.byref(seconds)),
    )
    return seconds.value


def names(macro: str) -> list[str]:
    """Return the functions of one of the lists in vecmath.hpp."""
    text = (SOURCES / "vecmath.hpp").read_text()
    body = text.split(f"#define {macro}(X)", 1)[1].replace("\\\n", " ").split("\n", 1)[0]
    return re.findall(r"X\((\w+)\)", body)


KINDS = ("unary", "binary", "compare", "test", "logic")
TYPES = (np.bool_, np.int64, np.float32, np.float64)


def find(kind: str, name: str) -> int:
    """Return a function's number, -1 for an unknown name."""
    return int(library().core_find(KINDS.index(kind), name.encode()))


def kernel(kind: str, dtype: Any) -> Any:
    """Return the C function of a kind and type."""
    return getattr(library(), f"core_{kind}_{'f32' if dtype == np.float32 else 'f64'}")


def unary(name: str, x: np.ndarray) -> np.ndarray:
    """Apply a function of one argument to a contiguous array."""
    out = np.empty_like(x)
    kernel("unary", x.dtype)(find("unary", name), x.size, x.ctypes.data, out.ctypes.data)
    return out


def binary(kind: str, name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Apply a function of two arguments; one of size 1 is taken for all elements."""
    n = max(a.size, b.size)
    out = np.empty(n, a.dtype if kind == "binary" else np.bool_)
    steps = [int(x.size == n) for x in (a, b)]
    function = library().core_logic if kind == "logic" else kernel(kind, a.dtype)
    function(find(kind, name), n, a.ctypes.data, steps[0], b.ctypes.data, steps[1], out.ctypes.data)
    return out
