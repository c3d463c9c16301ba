"""The networks that a run can train, by name: how each is built, and the settings that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import data, nn
from ..core.op import Array
from ..data.robust_features import RobustFeatures
from ..nn import activations
from ..optim import Optimizer
from ..train import EarlyStopping, tables
from .search_space import Between, OneOf, Space

if TYPE_CHECKING:
    from .settings import Settings

#: Of `cnn`: channels of the first block and at most, and the longest side at which no more blocks follow.
CHANNELS, MOST_CHANNELS, SIDE = 32, 256, 7
#: What a search tries for every network.
OF_ALL: Mapping[str, Space] = {
    "lr": Between(1e-4, 1e-2, log=True),
    "dropout": Between(0.0, 0.5),
    "batch_size": OneOf((32, 64, 128, 256)),
}


def _plain_optimizer(model: nn.Sequential, preprocessor: Any, settings: Settings, steps: int) -> Optimizer:
    return settings.make_optimizer(steps)


@dataclass(frozen=True)
class Network:
    """A row of `NETWORKS`.

    Attributes
    ----------
    layers : function
        (preprocessor, settings) -> the layers before the last one, and how many numbers they give.
    takes : {"rows", "table", "images", "text"}
        What its input is: rows of numbers, columns that the network embeds, images with their channels first, or
        windows of characters' ids.
    defaults : mapping
        The settings that it takes besides those of every network, and those whose default is its own.
    epochs : (int, int)
        The default number of epochs lies between these.
    examples : int
        How many examples the default number of epochs shows to the network.
    last
        How the weights of the last layer are drawn.
    search : mapping
        The settings that a search tries, with what it tries for them.
    held_out : function
        The number of rows -> the default share of the validation split.
    batch_size : function
        The number of rows trained on -> the default size of a batch.
    begin : function
        (network, preprocessor, X, y, settings, number of steps): prepares a network for the run.
    optimizer : function
        (network, preprocessor, settings, number of steps) -> the optimiser.
    stopping : function
        (settings, figure to watch) -> what stops a run with a validation split early, or None.
    """

    layers: Callable[[Any, Settings], tuple[list[nn.Module], int]]
    takes: str
    defaults: Mapping[str, Any]
    epochs: tuple[int, int] = (30, 30)
    examples: int = 600_000
    last: Any = "he_uniform"
    search: Mapping[str, Space] = field(default_factory=dict)
    held_out: Callable[[int], float] = lambda rows: 0.0
    batch_size: Callable[[int], int] = lambda rows: 32
    begin: Callable[[nn.Sequential, Any, Array, Array, Settings, int], object] = lambda *given: None
    optimizer: Callable[[nn.Sequential, Any, Settings, int], Optimizer] = _plain_optimizer
    stopping: Callable[[Settings, str], EarlyStopping | int | None] = lambda settings, watched: settings.patience

    def default_epochs(self, rows: int) -> int:
        """Return the default number of epochs for this many examples."""
        least, most = self.epochs
        return min(max(round(self.examples / rows), least), most)


def network(preprocessor: data.Preprocessor | data.Characters, settings: Settings) -> nn.Sequential:
    """Build the network that the settings name, for the data."""
    layers, width = NETWORKS[settings.model].layers(preprocessor, settings)
    last = nn.Linear(width, preprocessor.output_shape[-1], weight_init=NETWORKS[settings.model].last)
    return nn.Sequential(*_separate(layers), last).initialize(settings.seed)


def _separate(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Give every position its own layer object."""
    return [nn.from_config(layer.config()) for layer in layers]


def _mlp(preprocessor: data.Preprocessor, settings: Settings) -> tuple[list[nn.Module], int]:
    """A multilayer perceptron."""
    width = len(preprocessor.feature_names)
    layers: list[nn.Module] = []
    for units in settings.hidden or ():
        layers += [nn.Linear(width, units), activations.get(settings.activation or "")]
        layers += [nn.Dropout(settings.dropout)] * bool(settings.dropout)
        width = units
    return layers, width


def _tabular(preprocessor: data.Preprocessor, settings: Settings) -> tuple[list[nn.Module], int]:
    """A network that embeds the columns of a table; its weights are drawn when the data is there."""
    assert isinstance(preprocessor.features, RobustFeatures)
    numbers, others, ids, rows = preprocessor.features.layout
    embedding = nn.TableEmbedding(numbers, others, ids, rows)
    activation = settings.activation or _defaults(preprocessor).activation
    hidden = settings.hidden or ()
    layers = tables.layers(embedding, hidden, activation=activation, dropout=settings.dropout)
    return layers, hidden[-1] if hidden else embedding.out_features


def _defaults(preprocessor: data.Preprocessor) -> tables.Defaults:
    return tables.DEFAULTS[preprocessor.task == "regression"]


def _begin(
    model: nn.Sequential, preprocessor: data.Preprocessor, X: Array, y: Array, settings: Settings, steps: int
) -> None:
    limits = (float(y.min()), float(y.max())) if preprocessor.task == "regression" else None
    tables.begin(model, X, steps=steps, seed=settings.seed, limits=limits)


def _in_groups(model: nn.Sequential, preprocessor: data.Preprocessor, settings: Settings, steps: int) -> Optimizer:
    """Return the optimiser of a network for tables: each kind of parameter has a learning rate of its own."""
    if settings.optimizer != "adamw":
        raise ValueError(
            f"optimizer: the model tabular is trained with adamw, got {settings.optimizer!r}; leave it out"
        )
    defaults = _defaults(preprocessor)
    rate = settings.rate(settings.lr or defaults.lr, steps)
    return tables.optimizer(model, rate, defaults.weight_decay, steps)


def _patience(settings: Settings, watched: str) -> EarlyStopping | int | None:
    if settings.patience is not None:
        return EarlyStopping(settings.patience, watched, maximize=False)
    return tables.patience(watched, settings.epochs)


def _lenet(preprocessor: data.Preprocessor, settings: Settings) -> tuple[list[nn.Module], int]:
    """LeNet-5 (LeCun et al., 1998), with maxima in place of averages, and all channels connected."""
    channels, *sides = preprocessor.input_shape
    after = [(side // 2 - 4) // 2 for side in sides]
    if min(after) < 1:
        found = "×".join(map(str, sides))
        raise ValueError(f"model: lenet takes images of at least 12×12, these are {found}; use cnn")
    layers: list[nn.Module] = []
    for given, wanted, padding in ((channels, 6, 2), (6, 16, 0)):
        layers += [nn.Conv2d(given, wanted, 5, padding=padding), activations.get(settings.activation or "")]
        layers += [nn.MaxPool2d(2)]
    layers += [nn.Flatten()]
    width = 16 * after[0] * after[1]
    for units in (120, 84):
        layers += [nn.Linear(width, units), activations.get(settings.activation or "")]
        layers += [nn.Dropout(settings.dropout)] * bool(settings.dropout)
        width = units
    return layers, width


def _cnn(preprocessor: data.Preprocessor, settings: Settings) -> tuple[list[nn.Module], int]:
    """Blocks of convolution and batch norm, each with twice the channels of the one before, and a hidden layer.

    The last blocks end with pooling, as many as make the sides short; there are two blocks, and more if all pool.
    """
    channels, *sides = preprocessor.input_shape
    layers: list[nn.Module] = []
    wanted, pools = CHANNELS, 0
    while max(sides) >> pools > SIDE and min(sides) >> pools > 1:
        pools += 1
    blocks = max(pools, 2)
    for block in range(blocks):
        layers += [nn.Conv2d(channels, wanted, 3, padding=1, bias=False), nn.BatchNorm2d(wanted)]
        layers += [activations.get(settings.activation or "")]
        layers += [nn.MaxPool2d(2)] * (block >= blocks - pools)
        channels, wanted = wanted, min(2 * wanted, MOST_CHANNELS)
    sides = [side >> pools for side in sides]
    drop = [nn.Dropout(settings.dropout)] * bool(settings.dropout)
    hidden = 128
    layers += [nn.Flatten(), *drop, nn.Linear(channels * sides[0] * sides[1], hidden)]
    return [*layers, activations.get(settings.activation or ""), *drop], hidden


def _charlm(preprocessor: data.Characters, settings: Settings) -> tuple[list[nn.Module], int]:
    """A causal transformer of characters (Vaswani et al., 2017; normalised first), with learned positions."""
    width = settings.width or 0
    heads = next(n for n in range(max(width // 32, 1), 0, -1) if width % n == 0)
    more: dict[str, Any] = {"activation": "gelu", "norm_first": True, "causal": True}
    block = nn.TransformerEncoderLayer(width, heads, 4 * width, settings.dropout, **more)
    first = [nn.Embedding(len(preprocessor.vocabulary), width), nn.PositionEmbedding(preprocessor.context, width)]
    return [*first, *[block] * (settings.layers or 0), nn.LayerNorm(width)], width


NETWORKS: Mapping[str, Network] = {
    "mlp": Network(
        _mlp,
        "rows",
        {"hidden": (256, 128), "activation": "relu", "dropout": 0.1, "lr": 1e-3},
        search={
            "hidden": OneOf(((), (32,), (128, 64), (256, 128), (256, 256, 256), (512, 256))),
            "activation": OneOf(("relu", "silu", "gelu")),
            **OF_ALL,
        },
    ),
    "tabular": Network(
        _tabular,
        "table",
        {
            "hidden": (256, 256, 256),
            "activation": None,
            "dropout": 0.15,
            "lr": None,
            "schedule": "cycles",
            "optimizer": "adamw",
            "label_smoothing": tables.SMOOTHING,
        },
        epochs=(tables.FEWEST_EPOCHS, tables.EPOCHS),
        examples=tables.EXAMPLES,
        search={
            "hidden": OneOf(((128,), (256, 256), (256, 256, 256), (512, 512))),
            "lr": Between(0.01, 0.5, log=True),
            "dropout": Between(0.0, 0.4),
        },
        held_out=tables.held_out,
        batch_size=tables.batch_size,
        begin=_begin,
        optimizer=_in_groups,
        stopping=_patience,
    ),
    "lenet": Network(
        _lenet, "images", {"activation": "relu", "dropout": 0.2, "lr": 1e-3}, epochs=(10, 30), search=OF_ALL
    ),
    "cnn": Network(_cnn, "images", {"activation": "relu", "dropout": 0.3, "lr": 2e-3}, epochs=(10, 30), search=OF_ALL),
    "charlm": Network(
        _charlm,
        "text",
        {"context": 64, "width": 128, "layers": 2, "dropout": 0.0, "lr": 2e-3, "test": 0.1},
        epochs=(1, 30),
        examples=100_000,
        last=nn.init.Normal(0.0, 0.02),
        search={"width": OneOf((64, 128, 256)), "layers": OneOf((1, 2, 4)), **OF_ALL},
    ),
}
"""The networks of ``chainrule train --model``."""
