"""Operations are named in their rows: nobody else lists them or asks for one by a string."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

from chainrule.ops import rows
from tests.sources import trees

NAMES = {op.name for op in rows()}

#: Where operations may be named: their rows, and the translations of ONNX's, PyTorch's and JAX's names.
HOMES = ("ops/", "io/onnx_writing.py", "adapters/torch_recording.py", "adapters/jax_recording.py")

ACTIVATION = "an activation that users choose by name"
PREDICTION = "what turns outputs into predictions, by the name that users see"
FUNCTION = "core reaches the functions of ops, which is above it, by key"
WORD = "another word that is spelled alike"
EXCEPTIONS: dict[str, dict[str, str]] = {
    "__init__.py": dict.fromkeys(
        "erf logsumexp one_hot relu sigmoid softmax softplus stop_gradient".split(), "a public function of the package"
    ),
    "core/tensor.py": dict.fromkeys(["identity", "stop_gradient"], FUNCTION),
    "core/dispatch.py": {"where": "an argument of NumPy's functions"},
    "core/transforms.py": {"identity": FUNCTION},
    "core/habits.py": dict.fromkeys(
        "binary_cross_entropy_with_logits cholesky det gather kl_div logsumexp matmul one_hot qr relu scatter_add "
        "sigmoid softmax softplus svd tanh".split(),
        "a name that users of PyTorch type",
    ),
    "core/custom.py": dict.fromkeys(["identity", "barrier"], FUNCTION),
    "adapters/recording.py": {
        **dict.fromkeys(["identity", "scatter_add"], FUNCTION),
        "erf": "a function of SciPy",
        "where": "an argument of NumPy's functions",
    },
    "nn/activations.py": dict.fromkeys(["relu", "sigmoid", "tanh", "softplus", "softmax"], ACTIVATION),
    "runs/networks.py": {"relu": ACTIVATION},
    "runs/settings.py": {"relu": ACTIVATION},
    "explain/recording.py": dict.fromkeys(["identity", "sigmoid", "softmax"], PREDICTION),
    "reporting/examples.py": dict.fromkeys(["sigmoid", "softmax"], PREDICTION),
    "sklearn/mlp.py": {"relu": ACTIVATION},
    "sklearn/perceptron.py": {"identity": ACTIVATION},
    "sklearn/net.py": dict.fromkeys(["identity", "softmax"], PREDICTION),
    "sklearn/classifier.py": dict.fromkeys(["identity", "softmax"], PREDICTION),
    "nn/recurrent.py": dict.fromkeys(["relu", "tanh"], ACTIVATION),
    "nn/attention.py": {"relu": ACTIVATION, "norm2": "PyTorch's name of a layer's part"},
    "io/torch.py": {"tanh": "PyTorch's name of a formula for GELU", "relu": ACTIVATION},
    "io/onnx_idioms.py": {"tanh": "ONNX's name of a formula for GELU"},
    "io/onnx_layer_rows.py": {"floor": "how ONNX's Resize finds the nearest element"},
    "formula/printer.py": {
        **dict.fromkeys(["max", "min", "exp", "transpose", "reshape"], "a word of the notation"),
        **dict.fromkeys("arccos arcsin arctan cos cosh det log sin sinh tan tanh".split(), "a command of LaTeX"),
    },
    "data/idx.py": {"i1": "a dtype"},
    "nn/init.py": {"uniform": "a distribution"},
    "nn/losses.py": {"sum": "a reduction"},
    "optim/optimizers.py": {"sum": WORD},
    "plan/simplify.py": {"slice": "Python's slice, in keys"},
    "backpropagation.py": dict.fromkeys(["min", "max"], "a column of the printed table"),
    "gradcheck/diagnosis.py": dict.fromkeys(["sign", "negative"], WORD),
    "gradcheck/result.py": {"sign": "a diagnosis"},
    "audit/mistakes/alterations.py": {"sign": "a mistake"},
    "audit/mistakes/scaling.py": {"sign": "a mistake"},
    "train/loggers.py": {"log": "a method of loggers"},
}


def literals(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield (operation, line) for strings that are an operation's name, or several of them between spaces."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        words = node.value.split()
        if words and set(words) <= NAMES:
            yield from ((word, node.lineno) for word in words)


@functools.cache
def found() -> list[tuple[str, str, int]]:
    places = []
    for path, tree in trees().items():
        if not path.as_posix().startswith(HOMES):
            places += [(path.as_posix(), *one) for one in literals(tree)]
    return places


def test_nobody_names_operations_by_strings() -> None:
    wrong = [f"{place}:{line} {name}" for place, name, line in found() if name not in EXCEPTIONS.get(place, {})]
    assert wrong == [], "ask the row, or refer to it as an object (row_of)"


def test_every_exception_is_used() -> None:
    there = {(place, name) for place, name, _ in found()}
    assert {(place, name) for place, names in EXCEPTIONS.items() for name in names} - there == set()


def test_a_list_of_names_is_seen() -> None:
    assert [name for name, _ in literals(ast.parse('x.op.name in ("add", "matmul")'))] == ["add", "matmul"]
    assert [name for name, _ in literals(ast.parse('"add subtract".split()'))] == ["add", "subtract"]
    assert not list(literals(ast.parse('"add two numbers"')))
