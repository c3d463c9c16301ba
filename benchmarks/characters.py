"""A model of characters, as ``chainrule train TEXT --model charlm`` has it, beside the same model in PyTorch.

``python -m benchmarks.characters TEXT.txt [--steps 500]`` trains both on the same windows in the same order, with the
same optimiser and schedule, each from its own library's initial weights, on one thread; it prints the loss on the
held-out end of the text, in nats for each character, what counts of pairs cost there, and the time.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import data, optim, runs
from chainrule.runs.networks import network

BATCH = 32


def ours(prepared: runs.Prepared, settings: runs.Settings, order: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Train chainrule's network on windows in this order; return the loss on the test split, and the seconds."""
    model = network(prepared.preprocessor, settings)
    X, y = (part[order] for part in prepared.part(prepared.train))
    optimizer = optim.Adam(optim.Cosine(settings.lr, len(order) // BATCH))
    started = time.perf_counter()
    cr.fit(model, X, y, optimizer=optimizer, epochs=1, batch_size=BATCH, shuffle=False, progress=False, threads=1)
    seconds = time.perf_counter() - started
    return cr.evaluate(model, *prepared.part(prepared.test), batch_size=BATCH, threads=1)["loss"], seconds


def theirs(prepared: runs.Prepared, settings: runs.Settings, order: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Train PyTorch's network likewise."""
    import torch
    from torch import nn

    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    width, context = settings.width or 0, settings.context or 0
    classes = len(prepared.preprocessor.vocabulary)

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.positions = (
                nn.Embedding(classes, width),
                nn.Parameter(0.02 * torch.randn(context, width)),
            )
            block = nn.TransformerEncoderLayer(
                width, max(width // 32, 1), 4 * width, settings.dropout, "gelu", batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(
                block, settings.layers or 0, nn.LayerNorm(width), enable_nested_tensor=False
            )
            self.last = nn.Linear(width, classes)
            self.mask = nn.Transformer.generate_square_subsequent_mask(context)

        def forward(self, ids: Any) -> Any:
            return self.last(self.blocks(self.embedding(ids) + self.positions, mask=self.mask, is_causal=True))

    model, loss_of = Net(), nn.CrossEntropyLoss()
    steps = len(order) // BATCH
    optimizer = torch.optim.Adam(model.parameters(), settings.lr)
    X, y = (torch.from_numpy(part[order]) for part in prepared.part(prepared.train))
    started = time.perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * settings.lr * (1 + math.cos(math.pi * step / steps))
        rows = slice(step * BATCH, (step + 1) * BATCH)
        optimizer.zero_grad()
        loss_of(model(X[rows]).flatten(0, 1), y[rows].flatten()).backward()
        optimizer.step()
    seconds = time.perf_counter() - started
    model.eval()
    X, y = (torch.from_numpy(part) for part in prepared.part(prepared.test))
    with torch.no_grad():
        losses = [
            loss_of(model(X[i : i + BATCH]).flatten(0, 1), y[i : i + BATCH].flatten()) for i in range(0, len(X), BATCH)
        ]
    return float(np.average(losses, weights=[len(X[i : i + BATCH]) for i in range(0, len(X), BATCH)])), seconds


def main() -> None:
    """Train both and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    settings = runs.Settings.of("charlm", 1, {"seed": asked.seed})
    prepared = runs.prepare_text(asked.text, context=settings.context or 0, test=settings.test)
    order = data.epoch_order(prepared.examples, asked.seed)
    order = np.resize(order, asked.steps * BATCH)  # from the beginning again if the text is short
    for name, side in (("chainrule", ours), ("PyTorch", theirs)):
        loss, seconds = side(prepared, settings, order)
        speed = f"{1000 * seconds / asked.steps:.1f} ms for each of {asked.steps} steps"
        print(f"{name:<10} {loss:.4f} nats a character, {speed}", flush=True)
    print(f"{'pairs':<10} {prepared.baselines['pairs']:.4f} nats a character")


if __name__ == "__main__":
    main()
