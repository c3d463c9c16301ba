"""What a notebook shows of a module: well-formed, escaped, folded, without scripts."""

from html.parser import HTMLParser

import numpy as np
import pytest

from chainrule import nn
from chainrule.nn.html import MOST


class Reader(HTMLParser):
    """Holds each tag to its end and collects what is seen."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.depth = [], [], [], 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        self.depth = max(self.depth, self.open.count("details"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


def network():
    inner = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Sequential(inner, nn.Dropout(0.5)))


def test_layers_shapes_and_counts_are_there():
    seen = Reader(network()._repr_html_())
    for text in ("Sequential", "Linear", "(5, 8)", "48 parameters", "5 × 8", "W1", "gamma1", "(p=0.5)", "float32"):
        assert text in seen.text, text
    assert f"{network().num_parameters} parameters" in seen.text
    tags = [tag for tag, _ in seen.tags]
    assert seen.depth == 4 and tags.count("details") == 6
    assert [attrs for tag, attrs in seen.tags if tag == "details" and "open" in attrs] == [{"open": None}]
    assert not {"script", "img", "link", "iframe"} & set(tags)


def test_what_users_name_is_escaped():
    class Mine(nn.Module):
        def __init__(self):
            self.parts = {"<script>alert(1)</script>": nn.Linear(2, 3)}
            self.scale = nn.Parameter(np.ones(()), name="<b onclick='x'>")

        def _signature(self):
            return "<img src=x onerror=alert(1)>"

    module = Mine()
    module.feature_names = ("<i>age</i>", "b & c", *(f"c{i}" for i in range(20)))
    seen = Reader(module._repr_html_())
    assert not {"script", "img", "i"} & {tag for tag, _ in seen.tags}
    for text in (
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<b onclick='x'>",
        "<i>age</i>",
        "b & c, c0",
    ):
        assert text in seen.text
    assert "c19" not in seen.text and "scalar" in seen.text


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Linear(1, 1, bias=False), nn.Sequential(), nn.Linear(2, 2).eval()])
def test_small_ones(module):
    seen = Reader(module._repr_html_())
    assert type(module).__name__ in seen.text
    assert ("evaluation mode" in seen.text) == (not module.training)
    assert ("1 parameter" in seen.text) == (module.num_parameters == 1)


def test_a_shared_module_is_shown_once():
    layer = nn.Linear(3, 3)
    assert Reader(nn.Sequential(layer, nn.ReLU(), layer)._repr_html_()).text.count("Linear") == 1


@pytest.mark.slow
def test_deep_and_long_ones():
    deep = nn.Linear(1, 1)
    for _ in range(300):
        deep = nn.Sequential(deep)
    assert Reader(deep._repr_html_()).depth == 301
    long = nn.Sequential([nn.ReLU() for _ in range(MOST + 20)])
    seen = Reader(long._repr_html_())
    assert seen.text.count("ReLU") == MOST - 1 and "21 more modules" in seen.text
