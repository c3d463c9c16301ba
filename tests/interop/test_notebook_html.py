"""Documents in the pages that nbconvert makes of a notebook, as JupyterLab and the classic notebook show them."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 5)), RNG.normal(size=(20, 2))
PARAMETERS = {"W1": RNG.normal(size=(5, 4)), "b1": np.zeros(4), "W2": RNG.normal(size=(4, 2)), "b2": np.zeros(2)}


def forward(X, P):
    A1 = np.tanh(X @ P["W1"] + P["b1"])
    A2 = A1 @ P["W2"] + P["b2"]
    return A2, (X, A1, A2)


def loss(A2, Y):
    return np.mean((A2 - Y) ** 2)


def backward(Y, cache, P):
    X, A1, A2 = cache
    dA2 = 2 * (A2 - Y) / Y.size
    dZ1 = dA2 @ P["W2"].T * (1 - A1)  # wrong: A1 is not squared
    return {"W1": X.T @ dZ1, "b1": dZ1.sum(0), "W2": A1.T @ dA2, "b2": dA2.sum(0)}


@pytest.fixture(scope="module")
def outputs():
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    audit = cr.audit(backward, forward=forward, loss=loss, parameters=PARAMETERS, X=X, Y=Y)
    history = cr.fit(model, X, Y, loss="mse", epochs=12, validation=0.2, progress=False)
    return [shown._repr_html_() for shown in (cr.explain(model, X, Y, "mse"), audit, model, history)]


@pytest.fixture(params=["classic", "lab"])
def notebook(request, outputs, tmp_path):
    """Return the file that nbconvert makes of a notebook whose cells had these outputs."""
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert: pip install nbconvert")
    v4 = pytest.importorskip("nbformat").v4
    cells = [
        v4.new_code_cell("shown", outputs=[v4.new_output("execute_result", {"text/html": html}, execution_count=1)])
        for html in outputs
    ]
    page, _ = nbconvert.HTMLExporter(template_name=request.param).from_notebook_node(v4.new_notebook(cells=cells))
    file = tmp_path / "notebook.html"
    file.write_text(page, encoding="utf-8")
    return file


MEASURES = """() => {
  const all = (selector) => [...document.querySelectorAll('.chainrule ' + selector)];
  const box = (e) => e.getBoundingClientRect();
  const style = (e) => getComputedStyle(e);
  return {
    terms: all('dt').map((e) => box(e).width), values: all('dd').map((e) => box(e).width),
    below: all('dl').map((e) => box(e.children[1]).top - box(e.children[0]).bottom),
    text: all('td:not(.number), dd').map((e) => style(e).textAlign),
    numbers: all('td.number').map((e) => style(e).textAlign),
    sizes: all('p, dt, dd, td, th, code').map((e) => parseFloat(style(e).fontSize)),
    backgrounds: all('td, tr, code, p').map((e) => style(e).backgroundColor),
    wide: [...document.querySelectorAll('.chainrule')].map((e) => e.scrollWidth - e.clientWidth),
    marker: all('details > summary').map((e) => style(e).display),
  };
}"""


@pytest.mark.parametrize("width", [1280, 400])
def test_documents_can_be_read_in_notebooks(chromium, notebook, width):
    context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    page.goto(notebook.as_uri())
    page.evaluate("document.querySelectorAll('.chainrule details').forEach((e) => { e.open = true; })")
    found = page.evaluate(MEASURES)
    context.close()
    assert len(found["terms"]) > 20 and len(found["numbers"]) > 40
    assert min(found["terms"]) > 12 and min(found["values"]) > (300 if width == 1280 else 90)
    assert all(gap < 0 for gap in found["below"]) == (width == 1280)  # side by side, if there is room
    assert set(found["text"]) == {"left"} and set(found["numbers"]) == {"right"}
    assert 11 < min(found["sizes"]) and max(found["sizes"]) < 18
    assert set(found["backgrounds"]) == {"rgba(0, 0, 0, 0)"}
    assert set(found["marker"]) == {"list-item"}
    assert width == 400 or max(found["wide"]) <= 0
