"""A model of characters: a small transformer reads the documentation of Python and writes more of it.

    python examples/character_model.py [TEXT.txt] [--picture characters.png] [--short]

Without a text it reads the topics of Python's own ``help()``, half a million characters. A run takes a minute or two
(with --short a few seconds). The command line does the same: ``chainrule train TEXT.txt``, ``chainrule sample``.
"""

import argparse
from pydoc_data.topics import topics

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim, runs


def network(letters, width, layers):
    """Characters' vectors and positions, causal transformer layers, and a number for each next character."""
    blocks = [
        nn.TransformerEncoderLayer(width, width // 16, 4 * width, 0.0, "gelu", norm_first=True, causal=True)
        for _ in range(layers)
    ]
    return nn.Sequential(
        nn.Embedding(len(letters.vocabulary), width), nn.PositionEmbedding(letters.context, width), *blocks,
        nn.LayerNorm(width), nn.Linear(width, len(letters.vocabulary), weight_init=nn.init.Normal(0.0, 0.02)),
    ).initialize(0)  # fmt: skip


def draw(model, letters, text, history, baselines, path):
    """Draw the loss by epoch beside what counts predict, and where a head of the first layer looks."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    epochs = np.arange(1, len(history) + 1)
    left.plot(epochs, history["loss"], label="training")
    left.plot(epochs, history["val_loss"], label="held out")
    for name, loss in baselines.items():
        left.axhline(loss, color="gray", linestyle=":")
        left.annotate(f"counts of {name}", (1, loss), va="bottom", fontsize=8)
    left.set(xlabel="epoch", ylabel="nats for each character")
    left.legend()
    shown = text.content[: min(40, letters.context)]
    first, positions, block = model[0], model[1], model[2]
    normal = block.norm1(positions(first(letters.encode(shown)[None])))
    _, weights = block.self_attn(normal, return_weights=True)
    right.imshow(weights.value[0, 0], cmap="viridis")
    signs = [c if c.isprintable() else "↵" for c in shown]
    right.set_xticks(range(len(shown)), signs, fontsize=6)
    right.set_yticks(range(len(shown)), signs, fontsize=6)
    right.set_title("where each character looks (first head)", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="A model of characters")
    parser.add_argument("text", nargs="?")
    parser.add_argument("--picture", help="a file to draw into; needs matplotlib")
    parser.add_argument("--short", action="store_true", help="a small network and a short text")
    asked = parser.parse_args()
    text = data.read_text(asked.text) if asked.text else data.Text("".join(topics.values()), "Python's help")
    width, layers, epochs = (32, 1, 2) if asked.short else (96, 2, 5)
    train, held = (data.Text(text.content[:20_000]) if asked.short else text).split(0.1)
    letters = data.Characters.fit(train, context=16 if asked.short else 64)
    X, y = letters.transform(train), letters.transform_target(train)
    baselines = data.count_losses(letters.encode(train.content), letters.encode(held.content), len(letters.vocabulary))
    print({name: round(loss, 3) for name, loss in baselines.items()}, "nats for each character, by counts")

    model = network(letters, width, layers)
    optimizer = optim.Adam(optim.Cosine(3e-3, epochs * -(-len(X) // 32)))
    validation = letters.transform(held), letters.transform_target(held)
    history = cr.fit(model, X, y, optimizer=optimizer, epochs=epochs, batch_size=32, validation=validation)
    print(history)
    print(runs.sample(model, letters, "The ", length=40 if asked.short else 400))
    assert history["val_loss"][-1] < baselines["single characters"]
    if asked.picture:
        draw(model, letters, held, history, baselines, asked.picture)


if __name__ == "__main__":
    main()
