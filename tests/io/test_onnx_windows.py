"""ONNX: convolutions and pools written and read, and ONNX's own cases for them."""

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


def test_pools_of_integers_stay_integers() -> None:
    node = onnx.helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2])
    info = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UINT8, ["m", 1, k]) for n, k in (("x", 4), ("y", 3))]
    graph = onnx.helper.make_graph([node], "pool", info[:1], info[1:])
    network = cr.from_onnx(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]))
    out = network(np.array([[[3, 250, 1, 7]]], np.uint8)).value
    assert out.dtype == np.uint8 and out.tolist() == [[[250, 250, 7]]]


@pytest.mark.parametrize(("scale", "over", "under"), [(0.6, 3, 5), (0.7, 7, 10), (2 / 3, 2, 3), (1.2, 6, 5)])
def test_nearest_elements_by_scales_that_are_no_binary_fractions(scale, over, under):
    helper = onnx.helper
    x = np.arange(10, dtype=np.float32)[None]
    node = helper.make_node(
        "Resize", ["X", "", "s"], ["Y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("X", 1, [1, 10])], [helper.make_tensor_value_info("Y", 1, None)],
        [onnx.numpy_helper.from_array(np.array([1, scale], np.float32), "s")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    wanted = [float(j * under // over) for j in range(10 * over // under)]
    np.testing.assert_array_equal(cr.from_onnx(model)(x).value, [wanted])
