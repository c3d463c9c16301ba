"""The networks of PyTorch, eager: backward(), the fused optimiser's step(), zero_grad()."""

from __future__ import annotations

from typing import Any

from benchmarks.layers.workloads import ADAM_RATE, CONTEXT, FEATURES, HEADS, HIDDEN, INPUTS, SGD_RATE, WIDE, Training
from benchmarks.sides.side import Runner, StepByStep, library


def make(training: Training, threads: int) -> Runner:
    torch = library("torch")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = network(torch, training)
    criterion = torch.nn.CrossEntropyLoss()
    chosen, rate = (torch.optim.Adam, ADAM_RATE) if training.adam else (torch.optim.SGD, SGD_RATE)
    optimizer = chosen(model.parameters(), lr=rate, fused=True)
    first = [p.detach().clone() for p in model.parameters()]

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def restore() -> None:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), first, strict=True):
                parameter.copy_(value)

    x, y = map(torch.from_numpy, training.data())
    per_row = y.numel() // len(x)
    batches = list(zip(x.split(training.batch), y.flatten().split(training.batch * per_row), strict=True))
    return StepByStep(step, batches, restore, list)


def network(torch: Any, training: Training) -> Any:
    """The network, built of the library's layers."""
    nn = torch.nn
    if training.network == "lenet":
        layers = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    if training.network == "cnn":
        layers = []
        for before, channels in ((1, 32), (32, 64)):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10))
    if training.network == "makemore":
        return nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(80, 200), nn.Tanh(), nn.Linear(200, 27))
    return transformer(torch) if training.network == "gpt" else recurrent(nn, training.network)


def recurrent(nn: Any, kind: str) -> Any:
    class Recurrent(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](INPUTS, HIDDEN, batch_first=True)
            self.out = nn.Linear(HIDDEN, 10)

        def forward(self, x: Any) -> Any:
            return self.out(self.steps(x)[0][:, -1])

    return Recurrent()


def transformer(torch: Any) -> Any:
    nn = torch.nn

    def block() -> Any:
        settings = {"activation": "gelu", "batch_first": True, "norm_first": True}
        return nn.TransformerEncoderLayer(FEATURES, HEADS, WIDE, 0.0, **settings)

    class Transformer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.characters, self.places = nn.Embedding(65, FEATURES), nn.Parameter(torch.zeros(CONTEXT, FEATURES))
            self.first, self.second = block(), block()
            self.norm, self.out = nn.LayerNorm(FEATURES), nn.Linear(FEATURES, 65)
            self.unseen = nn.Transformer.generate_square_subsequent_mask(CONTEXT)

        def forward(self, x: Any) -> Any:
            h = self.characters(x) + self.places
            for layer in (self.first, self.second):
                h = layer(h, src_mask=self.unseen, is_causal=True)
            return self.out(self.norm(h)).flatten(0, 1)

    return Transformer()
