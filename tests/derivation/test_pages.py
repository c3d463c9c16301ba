"""Markdown, LaTeX and HTML: whole, readable without a script, and safe with any user's text."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from chainrule import nn
from chainrule.derivation.derivation import explain

from .networks import ACTIVATIONS, data, network

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
    balanced(text)


def test_plain_text_holds_no_control_characters():
    text = str(evil())
    assert all(c.isprintable() or c == "\n" for c in text)


def test_source_holds_names_as_text():
    source = evil().to_numpy()
    compile(source, "generated.py", "exec")
    assert "\n<img" not in source


def balanced(text):
    """Hold braces, environments and delimiters to their pairs."""
    bare = re.sub(r"\\[{}$%&#_\\]", "", text)
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
    assert sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    assert bare.count("$") % 2 == 0
    assert text.isascii() or not re.search(r"[⊙Σ₀-₉ᵢⱼ→×−γσδ]", text)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_latex_is_well_formed(activation):
    for more in ({}, {"layout": "columns", "notation": "delta"}):
        balanced(explain(network(ACTIVATIONS[activation]), *data("cross_entropy"), **more).to_latex())


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
@pytest.mark.parametrize("make", [plain, evil])
def test_latex_compiles(make, tmp_path):
    (tmp_path / "derivation.tex").write_text(make().to_latex(), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "derivation.tex"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-2000:]


def test_formulas_in_latex():
    text = plain().to_latex()
    assert r"\frac{A_{2} - Y}{m}" in text
    assert r"dW_{2} = A_{1}^{\mathsf{T}} \, dZ_{2}" in text
    assert r"\begin{cases}" in text


def test_wrong_arguments_say_so():
    X, Y = data("cross_entropy")
    model = network(nn.ReLU())
    with pytest.raises(ValueError, match="layout is 'sideways'"):
        explain(model, X, Y, layout="sideways")
    with pytest.raises(ValueError, match="a loss without targets"):
        explain(model, X, loss="mse")
    with pytest.raises(TypeError, match="belong to a network"):
        explain(np.sin, 1.0, loss="mse")
    with pytest.raises(TypeError, match="an example of each argument"):
        explain(np.sin)
    with pytest.raises(TypeError, match="a network or a function"):
        explain(3, X)
    with pytest.raises(ValueError, match="layout and notation are those of networks"):
        explain(np.sin, 1.0, layout="columns")
    with pytest.raises(ValueError, match="examples in rows"):
        explain(model, X, Y, layout="columns").to_numpy()


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
