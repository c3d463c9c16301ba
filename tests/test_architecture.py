"""The shape of the package: which module may import which, what importing it costs, and what must not be in it.

``LAYERS`` is the map. A module imports only from the layers before its own, and within a layer
not in circles.
"""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import importlib.resources
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "chainrule"

#: From the bottom to the top. A name stands for a file or for a folder with all that is in it.
LAYERS = (
    "show",  # documents, and their backends
    "core",  # operations, tensors, the reverse pass, grad, vjp, …
    "frames",  # data frames as input
    "ops",  # the operation table
    "plan",  # graph -> plan
    "engine",  # run(plan)
    "compile",  # compile(f): trace, plan, run
    "nn",  # modules, layers, losses
    "optim",  # optimisers and schedules
    "backpropagation",  # the articles' view: names -> values and gradients
    "data",  # reading, splitting, preparing
    "io",  # saving, loading, exchange
    "train",  # fit, checkpoints
    "formula",  # formulas as trees, printed and evaluated
    "adapters",  # the user's code, however it is written
    "gradcheck",  # the gradient check
    "audit",  # the audit of backward passes
    "explain",  # derivations
    "reporting",  # training reports
    "__init__",  # the public names
    "sklearn",  # estimators
    "runs",  # training runs in folders
    "cli",  # the command line
    "__main__",  # python -m chainrule
)

#: Imports against the direction, each with its reason: (importing module, imported module).
AGAINST_THE_DIRECTION = {
    ("plan.model", "engine.native"): "in Plan.__str__: which steps have no kernel there; nothing where it wasn't built",
}

#: Not loaded by ``import chainrule``; each loads when a function that needs it is called.
LOADED_WHEN_USED = (
    "IPython autograd jax latex2mathml matplotlib mlflow narwhals onnx pandas plotly polars pyarrow rich "
    "scipy sklearn tensorboard tensorboardX torch tqdm trackio wandb"
).split()

#: Who may import one of them at the top all the same: the layer isn't imported by the others.
AT_THE_TOP = {"sklearn": {"sklearn", "scipy"}}

#: Module-level objects that change after import, each with its reason: (module, name).
STATE = {
    ("core.op", "_ROWS"): "the operation table: filled while chainrule.ops is imported",
    ("core.tensor", "FUNCTIONS"): "NumPy function -> implementation: filled while chainrule.ops is imported",
    ("nn.describe", "KNOWN"): "layers by name: each enters itself where it is defined",
    ("nn.activations", "NAMED"): "activations by name: each enters itself where it is defined",
    ("nn.losses", "NAMED"): "losses by name: each enters itself where it is defined",
}

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
#: Calls that are allowed all the same, each with its reason: (module, function).
ALLOWED_CALLS = {("adapters.code_copies", "__import__"): "the import statement of a recorded program, passed on"}
FORBIDDEN_FILES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}


@dataclass(frozen=True)
class Import:
    """One import of a module of ours by another, or of a foreign package."""

    target: str
    line: int
    at_top: bool
    foreign: bool


def module_name(path: Path, source: Path = SOURCE) -> str:
    """Return ``ops.table`` for ``ops/table.py``, ``ops`` for its ``__init__.py``, ``__init__`` for chainrule's."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def layer_of(module: str) -> str:
    return module.split(".")[0]


def package_of(module: str, path: Path) -> list[str]:
    """Return the package that relative imports in `module` start from."""
    parts = [] if module == "__init__" else module.split(".")
    return parts if path.name == "__init__.py" else parts[:-1]


def imports(module: str, tree: ast.Module, path: Path, known: set[str]) -> Iterator[Import]:
    """Yield the imports anywhere in a module, absolute or relative, resolved to modules as far as there are such."""
    for node, at_top in _walk(tree, True):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                package = package_of(module, path)
                base = ["chainrule", *package[: len(package) - (node.level - 1)], *base]
            targets = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for target in targets:
            first, _, rest = target.partition(".")
            if first != "chainrule":
                yield Import(first, node.lineno, at_top, True)
                continue
            while rest and rest not in known:  # a name in a module: the module is meant
                rest = rest.rpartition(".")[0]
            yield Import(rest or "__init__", node.lineno, at_top, False)


def _walk(node: ast.AST, at_top: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield all nodes, each with whether it runs on import."""
    for child in ast.iter_child_nodes(node):
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        only_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        below = at_top and not inside and not only_for_types
        yield child, at_top
        yield from _walk(child, below)


def parsed() -> Iterator[tuple[str, Path, ast.Module]]:
    for module, path in MODULES.items():
        yield module, path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def against_the_direction(module: str, tree: ast.Module, path: Path, known: set[str]) -> list[str]:
    """Return what is wrong with a module's imports of ours, as messages."""
    wrong = []
    height = LAYERS.index(layer_of(module))
    for i in imports(module, tree, path, known):
        if i.foreign or layer_of(i.target) not in LAYERS or LAYERS.index(layer_of(i.target)) <= height:
            continue
        if (module, i.target) not in AGAINST_THE_DIRECTION:
            wrong.append(f"{module}:{i.line} imports {i.target}, a layer above its own")
        elif i.at_top:
            wrong.append(f"{module}:{i.line} imports {i.target} at its top, not in a function or for types")
    return wrong


def test_every_module_has_a_layer() -> None:
    assert {layer_of(m) for m in MODULES} <= set(LAYERS)


def test_imports_go_one_way() -> None:
    assert [w for m, path, tree in parsed() for w in against_the_direction(m, tree, path, set(MODULES))] == []


def test_exceptions_to_the_direction_are_used() -> None:
    seen = {(m, i.target) for m, path, tree in parsed() for i in imports(m, tree, path, set(MODULES)) if not i.foreign}
    assert set(AGAINST_THE_DIRECTION) <= seen


def test_no_circles() -> None:
    graph = {
        module: {
            i.target
            for i in imports(module, tree, path, set(MODULES))
            if not i.foreign and i.at_top and i.target != module
        }
        for module, path, tree in parsed()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_optional_packages_are_imported_where_they_are_used() -> None:
    wrong = []
    for module, path, tree in parsed():
        refused = set(LOADED_WHEN_USED) - AT_THE_TOP.get(layer_of(module), set())
        for i in imports(module, tree, path, set(MODULES)):
            if i.foreign and i.at_top and i.target in refused:
                wrong.append(f"{module}:{i.line} imports {i.target} at its top")
    assert wrong == []


def test_importing_chainrule_loads_no_optional_package() -> None:
    code = "import sys, json, chainrule; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(finished.stdout)) & set(LOADED_WHEN_USED) == set()


# -- what must not be in it --------------------------------------------------------------------------------------------


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def unsafe(module: str, tree: ast.Module, path: Path) -> list[str]:
    """Return the places that run text as code or read pickles."""
    wrong = [
        f"{module}:{i.line} imports {i.target}"
        for i in imports(module, tree, path, set(MODULES))
        if i.foreign and i.target in FORBIDDEN_IMPORTS
    ]
    for name, call in calls(tree):
        called = name.removeprefix("builtins.")
        if called in FORBIDDEN_CALLS and (module, called) not in ALLOWED_CALLS:
            wrong.append(f"{module}:{call.lineno} calls {name}")
        for keyword in call.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                wrong.append(f"{module}:{call.lineno} allows pickles")
    return wrong


def test_nothing_runs_text_as_code_or_unpickles() -> None:
    assert [w for m, path, tree in parsed() for w in unsafe(m, tree, path)] == []


def test_file_names_say_what_is_in_them() -> None:
    assert [m for m in MODULES if set(m.split(".")) & FORBIDDEN_FILES or re.search(r"[a-z]\d$", m)] == []


def unfinished(text: str) -> list[str]:
    """Return the lines that put something off."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string):
            found.append(f"{token.start[0]}: {token.line.strip()}")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def test_nothing_is_put_off() -> None:
    assert {m: u for m, path in MODULES.items() if (u := unfinished(path.read_text(encoding="utf-8")))} == {}


CHANGING = set("add append appendleft clear discard extend insert pop popitem remove setdefault sort update".split())
CACHES = {"functools.cache", "functools.lru_cache", "cache", "lru_cache"}


def state(module: str, tree: ast.Module, path: Path) -> list[tuple[tuple[str, str], int]]:
    """Return ((module, name), line) of module-level objects that functions change, and of caches.

    A module-level name that a function assigns to by ``global``, writes into, deletes from, or calls a method on that
    changes a container. An imported name counts for the module it comes from.
    """
    owner: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            owner |= {t.id: (module, t.id) for t in targets if isinstance(t, ast.Name)}
        if isinstance(node, ast.ImportFrom) and node.level:
            package = package_of(module, path)
            base = [*package[: len(package) - (node.level - 1)], *([node.module] if node.module else [])]
            owner |= {a.asname or a.name: (".".join(base), a.name) for a in node.names}
    found = []
    for outer in ast.walk(tree):
        if not isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any(ast.unparse(d.func if isinstance(d, ast.Call) else d) in CACHES for d in outer.decorator_list):
            found.append(((module, outer.name), outer.lineno))
        local = {a.arg for a in [*outer.args.args, *outer.args.kwonlyargs, *outer.args.posonlyargs]}
        declared = {n for g in ast.walk(outer) if isinstance(g, ast.Global) for n in g.names}
        local |= {n.id for n in ast.walk(outer) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} - declared
        found += [((module, name), outer.lineno) for name in declared]
        for node in ast.walk(outer):
            changed = None
            if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                changed = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
                changed = node.func.value
            if isinstance(changed, ast.Name) and changed.id in owner and changed.id not in local:
                found.append((owner[changed.id], node.lineno))
    return found


def test_no_state_but_the_tables() -> None:
    found = {(*key, line) for m, path, tree in parsed() for key, line in state(m, tree, path) if key not in STATE}
    assert found == set()


# -- the tests of the tests --------------------------------------------------------------------------------------------


def _read(text: str) -> ast.Module:
    return ast.parse(text)


@pytest.mark.parametrize(
    ("module", "text", "wrong"),
    [
        ("core.reverse", "from ..ops.shape import unbroadcast", True),
        ("core.reverse", "def f():\n    from chainrule.nn.layers import Linear", True),
        ("ops.shape", "from .. import plan", True),
        ("ops.shape", "from ..core.tensor import apply", False),
        ("plan", "import chainrule", True),
        ("nn.layers", "from .. import ops", False),
    ],
)
def test_a_wrong_import_is_seen(module: str, text: str, wrong: bool) -> None:
    path = SOURCE / (module.replace(".", "/") + ".py")
    known = {"__init__", "core", "core.tensor", "core.reverse", "ops", "ops.shape", "plan", "nn", "nn.layers"}
    assert bool(against_the_direction(module, _read(text), path, known)) is wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("eval('1')", True),
        ("model.eval()", False),
        ("import pickle", True),
        ("np.load(f, allow_pickle=True)", True),
        ("np.load(f, allow_pickle=False)", False),
    ],
)
def test_unsafe_code_is_seen(text: str, wrong: bool) -> None:
    assert bool(unsafe("op", _read(text), SOURCE / "op.py")) is wrong


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
    assert bool(state("op", _read(text), SOURCE / "op.py")) is wrong


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
