"""ONNX: convolutions and pools written and read, and ONNX's own cases for them."""

import re
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from tests.tables import for_each

onnx = pytest.importorskip("onnx")

IMAGES = np.random.default_rng(0).normal(size=(3, 4, 7, 6)).astype(np.float32)
NETWORKS = {
    "lenet": lambda: nn.Sequential(
        nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 5, 2, stride=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(5, 2),
    ),
    "batch norm and groups": lambda: nn.Sequential(
        nn.Conv2d(4, 4, 3, padding="same", dilation=(1, 2), groups=2, bias=False), nn.BatchNorm2d(4), nn.PReLU(4),
        nn.Residual(nn.Conv2d(4, 4, 1)), nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LogSoftmax(),
    ),
    "larger again": lambda: nn.Sequential(
        nn.AvgPool2d(3, 2, 1), nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), nn.Mish(),
        nn.Upsample(scale_factor=2), nn.ZeroPad2d((1, 0, 2, 1)), nn.MaxPool2d((3, 2), 1, 1, dilation=(2, 1)),
        nn.Hardswish(), nn.AdaptiveAvgPool2d((3, 5)), nn.Upsample((7, 4), mode="bilinear"),
    ),
    "series": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(168, 24), series(), nn.Conv1d(3, 2, 3, 2, 1), nn.BatchNorm1d(2), nn.MaxPool1d(2, 1),
        nn.AvgPool1d(2), nn.RMSNorm(1), nn.Dropout2d(0.5),
    ),
}  # fmt: skip


def series() -> Any:
    class Series(nn.Module):
        def forward(self, X: Any) -> Any:
            return np.reshape(X, (len(X), 3, 8))

    return Series()


@for_each("name", NETWORKS)
def test_networks_there_and_back(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = NETWORKS[name]().eval()
    expected = np.asarray(model(IMAGES).detach())
    file = cr.to_onnx(model, example=IMAGES)
    session = runtime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (3, 1):
        (found,) = session.run(None, {session.get_inputs()[0].name: IMAGES[:rows]})
        np.testing.assert_allclose(found, expected[:rows], 1e-5, 1e-5)
    again = cr.from_onnx(file)
    np.testing.assert_allclose(np.asarray(again(IMAGES).detach()), expected, 1e-5, 1e-5)


MEANT = re.compile(
    "test_(constant_pad|edge_pad|reflect_pad|wrap_pad|basic_conv|conv_|convtranspose|maxpool|averagepool|globalaverage|globalmax)"
)


def test_cases_of_onnx() -> None:
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for case in load_node_model_tests() if MEANT.match(case.name)]
    assert len(cases) > 55
    refused = set()
    for case in cases:
        inputs, outputs = case.data_sets[0]
        try:
            model = cr.from_onnx(case.model)
        except ValueError as error:
            assert "second output, the positions" in str(error), case.name
            refused.add(case.name)
            continue
        np.testing.assert_allclose(np.asarray(model(*inputs).detach()), outputs[0], 1e-3, 1e-6, err_msg=case.name)
    assert refused == {f"test_maxpool_with_argmax_2d_precomputed_{what}" for what in ("pads", "strides")}
