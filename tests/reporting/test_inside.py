"""Images of what layers do with the sample: filters, feature maps, gradients through time, attention."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, reporting
from chainrule.nn import losses
from chainrule.reporting.inside import by_step, inside
from chainrule.reporting.storage import Stored
from chainrule.show import document as doc

RNG = np.random.default_rng(0)


def shown(model, X, y, loss="cross_entropy"):
    arrays = {"sample/X": np.asarray(X), "sample/y": np.asarray(y)}
    return inside(Stored(None, {"loss": loss}, [], None, False, arrays, {}, model))


def flat(blocks):
    for block in blocks:
        yield block
        if isinstance(block, doc.Columns):
            for group in block.groups:
                yield from flat(group)
        if isinstance(block, doc.Section):
            yield from flat((block.head, *block.blocks))


def titles(blocks):
    return [b.title for b in flat(blocks) if isinstance(b, doc.Picture)]


def words(blocks):
    found = [str(b.content) for b in flat(blocks) if isinstance(b, doc.Heading | doc.Paragraph)]
    return "\n".join([*found, *(str(i) for b in flat(blocks) if isinstance(b, doc.Items) for i in b.items)])


def cnn():
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    return nn.Sequential(*layers).initialize(0), RNG.normal(size=(8, 1, 6, 7)), RNG.integers(0, 3, 8)


def test_filters_and_feature_maps_are_images():
    blocks = shown(*cnn())
    assert titles(blocks) == ["filters of W1", "feature maps A0", "feature maps A1", "feature maps P1"]
    assert all(b.png.startswith(b"\x89PNG") for b in flat(blocks) if isinstance(b, doc.Picture))
    assert "4 filters of W1" in words(blocks) and "A1, 4×6×7" in words(blocks) and "Dead" not in words(blocks)


def test_filters_that_no_example_activates_are_named():
    model, X, y = cnn()
    model[0].bias.assign(np.array([0, -1e3, 0, -1e3], np.float32))
    assert "2 of the 4 maps of A1 are zero for all examples" in words(shown(model, X, y))


def test_gradients_through_time_are_those_of_backprop():
    model = nn.Sequential(nn.LSTM(2, 3, bidirectional=True), nn.Linear(6, 2)).initialize(0)
    X, y = RNG.normal(size=(5, 7, 2)), RNG.integers(0, 2, (5, 7))
    b = cr.backprop(model, X, y)
    norms = by_step(b.gradients)
    assert sorted(norms) == ["c1", "c1[reverse]", "h1", "h1[reverse]"]
    for base, row in norms.items():
        np.testing.assert_allclose(row, [np.linalg.norm(b[f"d{base}[{t}]"]) for t in range(7)])
    assert titles(shown(model, X, y)) == [f"norms of d{base} by step" for base in norms]


class Last(nn.Module):
    def __init__(self):
        self.rnn, self.head = nn.RNN(2, 3), nn.Linear(3, 2)

    def forward(self, X):
        return self.head(self.rnn(X)[:, -1])


@pytest.mark.parametrize(("scale", "vanishes"), [(0.05, True), (1.0, False)])
def test_a_gradient_that_vanishes_through_time_is_named(scale, vanishes):
    model = Last().initialize(0)
    model.rnn.weight_hh_l0.assign(scale * np.eye(3, dtype=np.float32))
    model.rnn.weight_ih_l0.assign(0.1 * model.rnn.weight_ih_l0.value)
    for bias in (model.rnn.bias_ih_l0, model.rnn.bias_hh_l0):
        bias.assign(np.zeros(3, np.float32))
    found = words(shown(model, RNG.normal(size=(5, 12, 2)), RNG.integers(0, 2, 5)))
    assert ("‖dh[0]‖ is 1/" in found) == vanishes and "Gradients through time" in found


def test_attention_of_each_head_is_an_image():
    model = nn.Sequential(nn.TransformerEncoderLayer(6, 3, 8, causal=True), nn.Linear(6, 2)).initialize(0)
    blocks = shown(model, RNG.normal(size=(4, 5, 6)), RNG.integers(0, 2, (4, 5)))
    assert titles(blocks) == ["attention A1[self_attn]"] and "3 heads, 5×5" in words(blocks)


def test_a_chain_of_matrices_has_no_such_section():
    assert shown(nn.Sequential(nn.Linear(3, 2)), RNG.normal(size=(4, 3)), RNG.integers(0, 2, 4)) == ()


def test_the_page_of_a_run_shows_them(tmp_path):
    pytest.importorskip("plotly", reason="needs plotly: pip install 'chainrule[report]'")
    model, X, y = cnn()
    history = cr.fit(model, X, y, epochs=1, progress=False)
    reporting.store_run(tmp_path, model, history, X, y, loss=losses.get("cross_entropy").__name__)
    page = cr.report(tmp_path).read_text("utf-8")
    assert 'alt="filters of W1"' in page and 'alt="feature maps P1"' in page
