"""The shape of the package: which module may import which, what importing it costs, and what must not be in it.

Import Linter checks the layers, which are in pyproject.toml, and that no modules import each other in a circle.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.resources
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import sources
from tests.sources import ROOT
from tests.tables import slow

#: Not loaded by ``import chainrule``; each loads when a function that needs it is called.
LOADED_WHEN_USED = (
    "IPython autograd jax latex2mathml matplotlib mlflow mpi4py narwhals onnx optuna pandas plotly polars pyarrow rich "
    "scipy sklearn tensorboard tensorboardX torch tqdm trackio wandb"
).split()

#: Who may import one of them at the top all the same: the layer isn't imported by the others.
AT_THE_TOP = {"sklearn": {"sklearn", "scipy"}, "compat": {"scipy"}}

#: Module-level objects that change after import, each with its reason: (module, name).
STATE = {
    ("core.op", "_ROWS"): "the operation table: filled while chainrule.ops is imported",
    ("core.node", "FUNCTIONS"): "NumPy function -> implementation: filled while chainrule.ops is imported",
    ("ops.complex_pair", "COMPLEX"): "NumPy function -> implementation on complex pairs: filled like FUNCTIONS",
    ("core.dispatch", "_place_of_out"): "a fact about each function of NumPy, asked once: where its argument out is",
    ("adapters.source_lines", "_statements"): "a fact about the text of a program: the statements in it",
    ("core.reads", "_code"): "a fact about each code object, which never changes: the names that it loads",
    ("ops.table", "_loop"): "a fact about each NumPy ufunc, asked once: the dtypes that it computes in",
    ("nn.describe", "KNOWN"): "layers by name: each enters itself where it is defined",
    ("nn.activations", "NAMED"): "activations by name: each enters itself where it is defined",
    ("nn.losses", "NAMED"): "losses by name: each enters itself where it is defined",
    ("audit.mistakes.table", "_PAGES"): "known mistakes: each enters itself where it is defined",
    ("audit.mistakes.table", "_CAUSES"): "their causes in a line each, entered with them",
    ("audit.mistakes.table", "_MISTAKES"): "what they compute: each row enters itself where it is defined",
    ("audit.composites", "_keeps_shape"): "a fact about each row of the operation table, found by trying it",
}

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
#: Calls that are allowed all the same, each with its reason: (module, function).
ALLOWED_CALLS = {("adapters.code_copies", "__import__"): "the import statement of a recorded program, passed on"}
FORBIDDEN_FILES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}


def module_name(path: Path) -> str:
    """Return ``ops.table`` for ``ops/table.py``, ``ops`` for its ``__init__.py``, ``__init__`` for chainrule's."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


TEXTS = {module_name(path): text for path, text in sources.texts().items()}


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of each module."""
    return {module_name(path): tree for path, tree in sources.trees().items()}


def foreign_imports(node: ast.AST, at_top: bool = True) -> Iterator[tuple[str, int, bool]]:
    """Yield the packages of others that a module imports anywhere, with the line and whether it is at its top."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.partition(".")[0], child.lineno, at_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield (child.module or "").partition(".")[0], child.lineno, at_top
        elif not isinstance(child, ast.expr):  # which contains no import
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            only_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from foreign_imports(child, at_top and not inside and not only_for_types)


def linted(configuration: Path) -> str:
    """Return what Import Linter says against the imports, nothing where they keep the contracts."""
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or "lint-imports"
    finished = subprocess.run([program, "--no-cache", configuration], capture_output=True, text=True, cwd=ROOT)
    return "" if finished.returncode == 0 else finished.stdout + finished.stderr


def test_imports_keep_the_contracts() -> None:
    assert linted(ROOT / "pyproject.toml") == ""


@pytest.mark.parametrize(("lower", "higher"), [("plan", "formula"), slow("core", "ops"), slow("runs", "cli")])
def test_imports_of_a_higher_layer_are_seen(tmp_path: Path, lower: str, higher: str) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    swapped = re.sub(rf'"({lower}|{higher})",', lambda m: f'"{higher if m[1] == lower else lower}",', text)
    (tmp_path / "pyproject.toml").write_text(swapped, encoding="utf-8")
    assert f"chainrule.{higher} is not allowed to import chainrule.{lower}" in linted(tmp_path / "pyproject.toml")


def test_optional_packages_are_imported_where_they_are_used() -> None:
    wrong = []
    for module, tree in trees().items():
        refused = set(LOADED_WHEN_USED) - AT_THE_TOP.get(module.partition(".")[0], set())
        wrong += [
            f"{module}:{line} imports {p} at its top" for p, line, top in foreign_imports(tree) if top and p in refused
        ]
    assert wrong == []


def test_importing_chainrule_loads_no_optional_package() -> None:
    code = "import sys, json, chainrule; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(finished.stdout)) & set(LOADED_WHEN_USED) == set()


def test_rare_operations_and_plans_load_when_used() -> None:
    code = """
import sys, chainrule, numpy as np
def loaded(): return {m for m in sys.modules if m.startswith(("chainrule.plan", "chainrule.engine", "chainrule.ops."))}
chainrule.value_and_grad(lambda x: np.sum(np.tanh(x @ x) + np.mean(x)))(np.eye(2))
before = loaded()
chainrule.compile(chainrule.grad(lambda b: np.sum(np.maximum(np.eye(2) + b, 0) ** 2)))(np.ones(2))
of_plans = loaded() - before
chainrule.grad(lambda x: np.linalg.svdvals(x)[0])(np.eye(2))
print(sorted(before), sorted(of_plans), sorted(loaded() - of_plans - before), sep="\\n")
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, of_plans, rare = map(ast.literal_eval, finished.stdout.splitlines())
    assert not any(m in before for m in ("chainrule.ops.rest", "chainrule.plan", "chainrule.engine"))
    assert "chainrule.ops.decompositions" in rare
    assert "chainrule.plan" in of_plans
    assert "chainrule.ops.rest" in rare


# -- what must not be in it --------------------------------------------------------------------------------------------


def name_of_builtin(function: ast.expr) -> str:
    """Return ``eval`` for ``eval`` and ``builtins.eval``, and nothing for attributes of other objects."""
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "builtins":
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def unsafe(module: str, tree: ast.Module) -> list[str]:
    """Return the places that run text as code or read pickles."""
    wrong = [f"{module}:{line} imports {p}" for p, line, _ in foreign_imports(tree) if p in FORBIDDEN_IMPORTS]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = name_of_builtin(call.func)
        if name in FORBIDDEN_CALLS and (module, name) not in ALLOWED_CALLS:
            wrong.append(f"{module}:{call.lineno} calls {name}")
        for keyword in call.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                wrong.append(f"{module}:{call.lineno} allows pickles")
    return wrong


def test_nothing_runs_text_as_code_or_unpickles() -> None:
    assert [w for module, tree in trees().items() for w in unsafe(module, tree)] == []


def test_file_names_say_what_is_in_them() -> None:
    ours = [m for m in TEXTS if not m.startswith("compat.")]  # those have the names of other libraries' modules
    assert [m for m in ours if set(m.split(".")) & FORBIDDEN_FILES or re.search(r"[a-z]\d$", m)] == []


def unfinished(text: str) -> list[str]:
    """Return the lines that put something off."""
    found = []
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    if marks.search(text):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and marks.search(token.string):
                found.append(f"{token.start[0]}: {token.line.strip()}")
    if "NotImplementedError" in text:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def test_nothing_is_put_off() -> None:
    assert {m: u for m, text in TEXTS.items() if (u := unfinished(text))} == {}


CHANGING = set("add append appendleft clear discard extend insert pop popitem remove setdefault sort update".split())
CACHES = {"functools.cache", "functools.lru_cache", "cache", "lru_cache"}


def owners(module: str, tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Return the module-level names of a module, each with the module it comes from and its name there."""
    owner = {}
    folder = module.split(".") if any(m.startswith(module + ".") for m in TEXTS) else module.split(".")[:-1]
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            owner |= {t.id: (module, t.id) for t in targets if isinstance(t, ast.Name)}
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*folder[: len(folder) - (node.level - 1)], *([node.module] if node.module else [])]
            owner |= {a.asname or a.name: (".".join(base), a.name) for a in node.names}
    return owner


def state(module: str, tree: ast.Module) -> list[tuple[tuple[str, str], int]]:
    """Return ((module, name), line) of module-level objects that functions change, and of caches.

    A module-level name that a function assigns to by ``global``, writes into, deletes from, or calls a method on that
    changes a container. An imported name counts for the module it comes from.
    """
    owner = owners(module, tree)
    found = []
    for outer in ast.walk(tree):
        if not isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any(ast.unparse(d.func if isinstance(d, ast.Call) else d) in CACHES for d in outer.decorator_list):
            found.append(((module, outer.name), outer.lineno))
        inside = list(ast.walk(outer))
        declared = {n for node in inside if isinstance(node, ast.Global) for n in node.names}
        local = {node.arg for node in inside if isinstance(node, ast.arg)}
        local |= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} - declared
        found += [((module, name), outer.lineno) for name in declared]
        for node in inside:
            changed = None
            if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                changed = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
                changed = node.func.value
            if isinstance(changed, ast.Name) and changed.id in owner and changed.id not in local:
                found.append((owner[changed.id], node.lineno))
    return found


def test_no_state_but_the_tables() -> None:
    found = {key: f"{module}:{line}" for module, tree in trees().items() for key, line in state(module, tree)}
    assert {key: where for key, where in found.items() if key not in STATE} == {}
    assert set(STATE) <= set(found), "reasons for what is not there"


# -- the tests of the tests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("eval('1')", True),
        ("builtins.eval('1')", True),
        ("model.eval()", False),
        ("import pickle", True),
        ("np.load(f, allow_pickle=True)", True),
        ("np.load(f, allow_pickle=False)", False),
    ],
)
def test_unsafe_code_is_seen(text: str, wrong: bool) -> None:
    assert bool(unsafe("op", ast.parse(text))) is wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("seen = {}\ndef f(x):\n    seen[x] = 1", True),
        ("seen = []\ndef f(x):\n    seen.append(x)", True),
        ("n = 0\ndef f():\n    global n\n    n += 1", True),
        ("from .other import seen\ndef f(x):\n    seen.add(x)", True),
        ("@functools.cache\ndef f():\n    pass", True),
        ("seen = []\ndef f(x):\n    seen = []\n    seen.append(x)", False),
        ("table = {'a': 1}\ndef f(x):\n    return table[x]", False),
        ("table = {}\ntable['a'] = 1", False),
    ],
)
def test_state_is_seen(text: str, wrong: bool) -> None:
    assert bool(state("op", ast.parse(text))) is wrong


def test_what_is_put_off_is_seen() -> None:
    assert unfinished("x = 1  # TODO: more\n") and unfinished("raise NotImplementedError\n")
    assert not unfinished("'TODO'\ntry: f()\nexcept NotImplementedError: pass\n")


# -- the installation --------------------------------------------------------------------------------------------------


def test_the_default_installation_is_small() -> None:
    wanted = [r for r in importlib.metadata.requires("chainrule") or [] if "extra ==" not in r]
    assert sorted(re.match(r"[\w-]+", r)[0] for r in wanted) == ["click", "narwhals", "numpy", "safetensors"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["py.typed", "data/digits.npz", "data/digits.txt"])
def test_the_package_brings_its_files(name: str) -> None:
    assert importlib.resources.files("chainrule").joinpath(name).is_file()


def test_every_public_name_is_there() -> None:
    import chainrule

    assert [name for name in chainrule.__all__ if not hasattr(chainrule, name)] == []
    assert set(chainrule.__all__) <= set(dir(chainrule))


def test_the_version_is_stated_once_more_in_the_package() -> None:
    import chainrule

    assert chainrule.__version__ == importlib.metadata.version("chainrule")
