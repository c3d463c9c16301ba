"""Shortcuts of the search for causes: what is not computed again gives the same as if it were."""

import numpy as np
import pytest

from benchmarks.backward_passes.cases import cases
from chainrule.adapters.layer_functions import LayerFunctions
from chainrule.adapters.network_functions import NetworkFunctions
from chainrule.audit.graph import GradientGraph
from chainrule.audit.mistakes import search

#: An unrolled recurrent network, loops over windows, and broadcasting.
FAMILIES = ("recurrent", "convolution_loops", "normalization")


def moved_by(difference):
    return lambda graph, i, inputs, at: graph.plain(i, inputs) + difference


def graphs(family):
    """Yield gradient graphs of a family's forward pass, each with a cotangent given and without."""
    setting = next(c for c in cases("first") if c.family == family).setting
    if setting.style == "network":
        parameters, X, Y = setting.data()
        subject = NetworkFunctions(lambda *_: {}, setting.forward, setting.loss, parameters, X, Y, None)
    else:
        subject = LayerFunctions(setting.forward, lambda dout, cache: None, setting.inputs())
    point = subject.run(subject.values, "your data")
    order = {id(t): i for i, t in enumerate(point.order)}
    inner = sorted(
        (n for n, t in point.nodes.items() if t.inputs and id(t) in order), key=lambda n: order[id(point.nodes[n])]
    )
    name = subject.exact[0]
    for given in ([], inner[-1:]):
        graph = GradientGraph(
            point, name, {n: np.random.default_rng(1).normal(size=point.nodes[n].shape) for n in given}
        )
        if graph.order:
            yield graph


@pytest.mark.parametrize("family", FAMILIES)
def test_a_change_of_one_node_shows_along_directions(family):
    rng, count = np.random.default_rng(0), 0
    for graph in graphs(family):
        for i in rng.permutation(len(graph.order))[:40]:
            difference = rng.normal(size=graph.order[i].shape)
            change = moved_by(difference)
            shown = graph.shown(i, change)
            if shown is not None:
                along = np.add(*shown)
                assert np.allclose(along, graph.along(graph.evaluated({i: change})), rtol=1e-9)
                count += 1
    assert count > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_the_response_to_a_seed_is_its_part_of_the_result(family):
    for graph in graphs(family):
        starts = [*graph.seeds.values(), *([] if graph.start is None else [graph.start])]
        parts = [graph.response(i, np.asarray(graph.order[i].value)) for i in starts]
        result = np.asarray(graph.order[-1].value)
        assert np.allclose(sum(parts), result, rtol=1e-9, atol=1e-9 * np.max(np.abs(result)))


@pytest.mark.slow
def test_no_mistake_is_ruled_out_that_would_fit(monkeypatch):
    """The audit finds the same causes where nothing is ruled out before it is computed."""
    from benchmarks.backward_passes.__main__ import report_of

    def found():
        return [[(f.name, f.cause) for f in report_of(c).findings] for c in chosen]

    chosen = [c for c in cases("first") if c.family == "residual_shared" and not c.is_right]
    before = found()
    monkeypatch.setattr(search, "_is_ruled_out", lambda variant, context: False)
    assert found() == before
