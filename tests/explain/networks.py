"""Networks and data that the tests of derivations share."""

from typing import Any

import numpy as np

from chainrule import nn

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.05),
    "elu": nn.ELU(0.7),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(True),
    "silu": nn.SiLU(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "softplus": nn.Softplus(),
    "softmax": nn.Softmax(),
    "log_softmax": nn.LogSoftmax(),
    "mish": nn.Mish(),
    "selu": nn.SELU(),
    "hardswish": nn.Hardswish(),
    "prelu": nn.PReLU(),
}
LAYERS = {
    "linear": nn.Linear(5, 5, bias=False),
    "layer_norm": nn.LayerNorm(5),
    "batch_norm": nn.BatchNorm1d(5),
    "batch_norm_eval": nn.BatchNorm1d(5).eval(),
    "dropout": nn.Dropout(0.3),
    "identity": nn.Identity(),
    "flatten": nn.Flatten(),
    "rms_norm": nn.RMSNorm(5),
    "group_norm": nn.GroupNorm(1, 5),
    "scale": nn.Scale(5),
    "mixed_activation": nn.MixedActivation("selu", 5),
    "output_range": nn.OutputRange([-1.0] * 5, [1.0] * 5),
    "fading_dropout": nn.FadingDropout(0.3, 50),
}
#: Layers of series and images, with the shapes of these.
OF_SPACE: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv1d": (nn.Conv1d(2, 3, 3, padding="same", seed=1), (2, 5)),
    "conv2d": (nn.Conv2d(2, 4, (2, 3), stride=(2, 1), padding=1, groups=2, seed=1), (2, 4, 5)),
    "conv_transpose2d": (nn.ConvTranspose2d(2, 2, 3, 2, 1, 1, seed=1), (2, 2, 3)),
    "max_pool1d": (nn.MaxPool1d(3, 2, 1), (2, 5)),
    "max_pool2d": (nn.MaxPool2d(2), (2, 4, 5)),
    "avg_pool1d": (nn.AvgPool1d(2), (2, 5)),
    "avg_pool2d": (nn.AvgPool2d(3, 1, 1), (2, 4, 3)),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d((3, 2)), (2, 4, 3)),
    "batch_norm2d": (nn.BatchNorm2d(2), (2, 2, 3)),
    "dropout2d": (nn.Dropout2d(0.3), (3, 2, 2)),
    "zero_pad2d": (nn.ZeroPad2d((1, 0, 0, 1)), (1, 2, 2)),
    "upsample": (nn.Upsample(scale_factor=2), (1, 2, 2)),
    "table_embedding": (nn.TableEmbedding(2, 1, frequencies=3, seed=1), (3,)),
    "residual": (nn.Residual(nn.Conv2d(2, 2, 1, seed=1)), (2, 2, 2)),
}
#: Layers of sequences, with the shapes of these.
OF_SEQUENCES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "positions": (nn.PositionEmbedding(4, 2, seed=1), (3, 2)),
    "rnn": (nn.RNN(2, 3, seed=1), (3, 2)),
    "lstm": (nn.LSTM(2, 3, bidirectional=True, seed=1), (3, 2)),
    "gru": (nn.GRU(2, 3, 2, seed=1), (3, 2)),
    "attention": (nn.MultiheadAttention(4, 2, causal=True, seed=1), (3, 4)),
    "transformer": (nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, seed=1), (3, 4)),
    "transformer_norm_first": (nn.TransformerEncoderLayer(4, 2, 5, norm_first=True, causal=True, seed=1), (3, 4)),
}
LOSSES = nn.losses.names()
#: Losses of two classes or more, whose targets are class ids.
CLASSES = ("cross_entropy", "focal")


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter, biases and scales too, so that no formula is right by a zero or a one."""
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.assign(p.value + 0.3 * rng.normal(size=p.shape))
    return model


def data(loss: str, outputs: int = 3, m: int = 7, features: int = 6, seed: int = 1) -> tuple[Any, Any]:
    """Return inputs and targets for a loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, features))
    if loss in CLASSES or (loss == "hinge" and outputs > 1):
        return X, rng.integers(0, outputs, m)
    if loss in ("binary_cross_entropy", "binary_focal", "hinge"):
        return X, rng.integers(0, 2, (m, outputs)).astype(float)
    if loss == "poisson":
        return X, rng.poisson(2.0, (m, outputs)).astype(float)
    return X, rng.normal(size=(m, outputs))


def network(*layers: nn.Module, outputs: int = 3, features: int = 6) -> nn.Module:
    return shaken(nn.Sequential(nn.Linear(features, 5, seed=3), *layers, nn.Linear(5, outputs, seed=4)))
