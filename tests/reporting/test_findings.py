"""What is said to stand out: each case alone, on figures made by hand, and of networks that are known to be ill."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.reporting.findings import findings, number
from chainrule.reporting.flow_file import Flow, Snapshot, read_flow


def flow(snapshots=2, **figures):
    """Return a flow of three layers; each figure is given for the three, or a list of them by snapshot."""
    layers = [{"name": f"layer {i}", "weight": f"W{i}", "shape": [4, 4], "one_sided": i == 2} for i in (1, 2, 3)]
    taken = []
    for k in range(snapshots):
        values = {"gradient": [0.1, 0.2, 0.1], "update": [1e-3] * 3, "dead": [0.0] * 3, "saturated": [0.1, 0.5, 0.1]}
        values["dW"] = [[0.0]] * 3
        values |= {n: v[k] if n == "update" and isinstance(v[0], list) else v for n, v in figures.items()}
        of = {(i, name): np.array(row[i]) for name, row in values.items() for i in range(3)}
        taken.append(Snapshot(k, k, k, of, {}))
    return Flow(layers, taken, {"epochs": snapshots - 1, "batch_size": 32, "rows": 64, "of": 3, "share": 0.05}, None)


def test_nothing_stands_out():
    assert findings(flow()) == []


CASES = [
    ({"gradient": [1e-4, 0.01, 0.2]}, "vanishes on its way backward through the layers: ‖dW‖/‖W‖ is 0.2 in layer 3, "
     "1.0·10⁻⁴ in layer 1: 2,000 times less."),
    ({"gradient": [30.0, 0.01, 0.01]}, "The gradient grows on its way back"),
    ({"gradient": [0.0, 0.01, 0.2]}, "No gradient reaches the weights of layer 1: they do not learn."),
    ({"dead": [0.0, 0.25, 1.0]}, "25\u202f% in layer 2, 100\u202f% in layer 3."),
    ({"saturated": [0.6, 0.6, np.nan]}, "hardly any gradient passes: 60\u202f% in layer 1."),  # layer 2 is one-sided
    ({"saturated": [0.1, 0.95, np.nan]}, "hardly any gradient passes: 95\u202f% in layer 2."),
    ({"update": [[0.5, 1e-3, 1e-3], [1e-9] * 3]}, "one moves the weights by 0.5 of their size in layer 1."),
    ({"update": [[1e-8, 1e-9, 1e-3], [1.0] * 3]}, "by 1.0·10⁻⁹ of their size in layer 2, and much the same in layer 1"),
    ({"dW": [[0.0], [np.nan], [0.0]]}, "Some values are infinite or NaN: layer 2."),
]  # fmt: skip


@pytest.mark.parametrize(("figures", "said"), CASES)
def test_each_thing_is_said_once(figures, said):
    found = findings(flow(**figures))
    assert len(found) == 1, found
    assert said in found[0]


def test_vanishing_is_a_matter_of_layers_before_the_last():
    """Neither parameters without a pre-activation nor an output layer of few units make it vanish."""
    sizes = [1e-5, 0.004, 0.04, 0.05, 2.0]
    layers = [{"name": name} for name in ("0.phase", "layer 1", "layer 2", "layer 3", "layer 4")]
    figures = {(i, "gradient"): np.array(size) for i, size in enumerate(sizes)}
    figures |= {(i, "Z"): np.zeros(3) for i in range(1, 5)}
    made = Flow(layers, [Snapshot(0, 0, 0, figures, {})], {}, None)
    assert findings(made) == []
    figures[1, "gradient"] = np.array(1e-5)
    assert "0.05 in layer 3, 1.0·10⁻⁵ in layer 1: 5,000 times less" in findings(made)[0]


def test_names_of_many_layers_are_few():
    many = flow(gradient=[0.0] * 3)
    many.layers[:] = [{"name": f"layer {i}"} for i in range(20)]
    many.snapshots[-1].figures.update({(i, "gradient"): np.array(0.0) for i in range(20)})
    assert "layer 0, layer 1, layer 2, … layer 19 (20 layers)" in findings(many)[0]


def trained(folder, activation, depth, lr=0.01, scale=1.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(128, 8)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(8, 8), activation())]
    model = nn.Sequential(*hidden, nn.Linear(8, 2)).initialize(0)
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.value[:] *= scale
    flow = cr.GradientFlow(folder, X, y)
    cr.fit(model, X, y, epochs=2, callbacks=[flow], progress=False, optimizer=optim.SGD(lr))
    return " ".join(findings(read_flow(flow.path)))


def test_deep_sigmoids_vanish(tmp_path):
    assert "The gradient vanishes" in trained(tmp_path, nn.Sigmoid, 6)


def test_large_weights_saturate(tmp_path):
    said = trained(tmp_path, nn.Tanh, 2, scale=40.0)
    assert "Saturated values" in said


def test_two_layers_of_tanh_are_well(tmp_path):
    assert trained(tmp_path, nn.Tanh, 2) == ""


def test_numbers():
    said = [number(x) for x in (0.0, 0.0124, 2000.0, 1.234e-7, 3e12)]
    assert said == ["0", "0.0124", "2,000", "1.2·10⁻⁷", "3.0·10¹²"]
