"""Markdown, LaTeX and HTML: whole, readable without a script, and safe with any user's text."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import product

import numpy as np
import pytest

from chainrule import explain, nn
from tests.tables import in_turn

from .networks import ACTIVATIONS, data, network
from .test_golden import CASES

EVIL = "<script>alert(1)</script>&\"'$x_1^{\\input{/etc/passwd}}%#~\x02\n<img src=x onerror=alert(2)>"


def evil():
    class Evil(nn.Module):
        def __init__(self):
            self.layers = {EVIL: nn.Linear(6, 3)}

        def forward(self, X):
            return self.layers[EVIL](X)

    Evil.__name__ = EVIL
    return explain(Evil(), *data("cross_entropy"))


def plain():
    return explain(network(nn.ELU()), *data("cross_entropy"))


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {k for k, _ in attrs}


def test_html_loads_nothing_and_runs_nothing():
    page = plain().to_html()
    found = Tags(page)
    assert not found.tags & {"script", "img", "link", "iframe", "object"}
    assert not {a for a in found.attributes if a.startswith("on") or a in ("src", "href")}
    assert "math" in found.tags and "default-src 'none'" in page
    for formula in re.findall(r"<math.*?</math>", page):
        ElementTree.fromstring(formula)


def test_html_escapes_what_the_user_wrote():
    derivation = evil()
    for page in (derivation.to_html(), derivation._repr_html_()):
        found = Tags(page)
        assert not found.tags & {"script", "img"}
        assert "onerror" not in found.attributes
        assert "&lt;script&gt;" in page
        for formula in re.findall(r"<math.*?</math>", page, re.DOTALL):
            ElementTree.fromstring(formula)


def test_markdown_escapes_what_the_user_wrote():
    text = evil().to_markdown()
    assert "<script" not in text and "<img" not in text
    assert not any(r"\input" in formula for formula in re.findall(r"\$\$(.*?)\$\$", text))
    assert text.count("$") % 2 == text.count(r"\$") % 2


def test_latex_escapes_what_the_user_wrote():
    text = evil().to_latex()
    assert r"\input{/etc" not in text and "\x02" not in text
    well_formed(text)


def test_plain_text_holds_no_control_characters():
    text = str(evil())
    assert all(c.isprintable() or c == "\n" for c in text)


def test_source_holds_names_as_text():
    source = evil().to_numpy()
    compile(source, "generated.py", "exec")
    assert "\n<img" not in source


COMMANDS = set(
    "documentclass usepackage setlength parindent lineskip lineskiplimit emergencystretch textwidth begin end "
    "section subsection paragraph par newsavebox newcommand "
    "sbox usebox ifdim wd linewidth resizebox else fi displaystyle formula formulabox "
    "left right frac infty partial mathit text operatorname mathsf mathbf sum prod max min sqrt odot cdot times to "
    "otimes Sigma gamma beta sigma mu delta alpha lambda theta pi log exp tanh sin cos det lfloor rfloor neq leq "
    "geq ldots textbackslash textasciicircum textasciitilde textless textgreater ln lor land ast".split()
)


def well_formed(text):
    """Hold braces, environments and delimiters to their pairs, and commands to those that amsmath has."""
    bare = re.sub(r"\\[{}$%&#_\\,!\[\]]|%%?\n|% .*\n", "", text)
    assert bare.count("{") == bare.count("}")
    depth = 0
    for c in bare:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
    stack = []
    for which, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        assert stack.append(name) is None if which == "begin" else stack.pop() == name
    assert not stack and bare.count("$") % 2 == 0
    assert set(re.findall(r"\\([A-Za-z]+)", re.sub(r"\\\\", "", text))) <= COMMANDS
    assert not re.search(r"[^\x00-\x7f\xc0-\xff]", text), "signs that pdflatex does not know"


def hostile():
    class Hostile(nn.Module):
        def __init__(self):
            self.layers = {"größe 😀 日本 ∑ γ \u202e": nn.Linear(6, 3), "a%b#c_d\\e{f}<i>$&~^": nn.Linear(3, 3)}

        def forward(self, X):
            for layer in self.layers.values():
                X = np.tanh(layer(X))
            return X

    Hostile.__name__ = "Netz_№%#é"
    return explain(Hostile(), *data("mse"), "mse")


def wengert_list():
    return explain(lambda x, w: np.where(x > w, np.hypot(x, w), x[::-1] ** 3).max(), np.ones(3), np.arange(3.0))


def written(first=0, step=1):
    """Yield every golden network in every notation, or every so many, and names and functions that are hard to set."""
    notations = [*product(CASES, ("rows", "columns"), ("gradients", "delta", "dict"))]
    for case, layout, notation in notations[first::step]:
        yield f"{case.__name__}-{layout}-{notation}", case(layout, notation).to_latex()
    for make in (evil, hostile, wengert_list):
        yield make.__name__, make().to_latex()


def test_conditions_are_written_in_the_same_order_each_time():
    kept = [wengert_list() for _ in range(8)]  # which live at other addresses
    assert len({one.to_latex() for one in kept}) == 1


@pytest.mark.parametrize("part", in_turn(range(3)))
def test_latex_is_well_formed(part):
    for _, text in written(part, 3):
        well_formed(text)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_latex_of_every_activation_is_well_formed(activation):
    well_formed(explain(network(ACTIVATIONS[activation]), *data("cross_entropy")).to_latex())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(tmp_path):
    for name, text in written():
        (tmp_path / f"{name}.tex").write_text(text, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{name}.tex"]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        said = finished.stdout.decode(errors="replace")
        assert finished.returncode == 0, said[-2000:]
        assert "Missing character" not in said
        assert name in ("evil", "hostile") or "Overfull" not in said, name


def test_formulas_in_latex():
    text = plain().to_latex()
    assert r"\frac{A_{2} - Y}{m}" in text
    assert r"dW_{2} = A_{1}^{\mathsf{T}} \, dZ_{2}" in text
    assert r"\begin{cases}" in text


class TwoInputs(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(6, 3)

    def forward(self, X, Z):
        return self.inner(X) + Z


def test_wrong_arguments_say_so():
    X, Y = data("cross_entropy")
    model = network(nn.ReLU())
    with pytest.raises(ValueError, match=r"layout.*'sideways'"):
        explain(model, X, Y, layout="sideways")
    with pytest.raises(ValueError, match="a loss without targets"):
        explain(model, X, loss="mse")
    with pytest.raises(TypeError, match="belong to a network"):
        explain(np.sin, 1.0, loss="mse")
    with pytest.raises(TypeError, match="an example of each argument"):
        explain(np.matmul)
    with pytest.raises(ValueError, match=r"shape \(6,\): a single example.*X\[None\]"):
        explain(model, X[0], Y[0])
    with pytest.raises(ValueError, match=r"X has shape \(0, 6\)"):
        explain(model, X[:0])
    with pytest.raises(ValueError, match="has no parameters"):
        explain(nn.Sequential(nn.ReLU()), X)
    with pytest.raises(ValueError, match=r"returned a tuple.*f\(x\)\[0\]"):
        explain(lambda x: (x, 2 * x), 1.0)
    with pytest.raises(ValueError, match="does not depend on its arguments"):
        explain(lambda x: 3.0, 1.0)
    with pytest.raises(ValueError, match=r"x is int64: 2\.0, say"):
        explain(lambda x: x * x, 2)
    with pytest.raises(TypeError, match=r"p is of type dict.*explain\(lambda a, b"):
        explain(lambda p: p["a"], {"a": 1.0})
    with pytest.raises(TypeError, match="forward takes 2 inputs"):
        explain(TwoInputs(), X)
    with pytest.raises(TypeError, match="a network or a function"):
        explain(3, X)
    with pytest.raises(ValueError, match="layout and notation"):
        explain(np.sin, 1.0, layout="columns")


def test_the_model_stays_as_it_is():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    before = {k: np.array(v) for k, v in model.state_dict().items()}
    explain(model, *data("cross_entropy"))
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


def test_costs_are_counted_from_the_plans():
    m, features, units = 8, 6, 4
    rng = np.random.default_rng(0)
    d = explain(nn.Sequential(nn.Linear(features, units, bias=False)), rng.normal(size=(m, features)))
    product = m * features * units
    assert d.cost.forward == product
    assert d.cost.backward == product
    assert d.cost.parameters == features * units
    assert d.cost.nudging == (features * units + 1) * d.cost.forward
    assert d.cost.cache == m * features * 8
