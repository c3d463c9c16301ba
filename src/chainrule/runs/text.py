"""Texts that a model of characters writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import data, nn
from ..core.arguments import integer, number
from ..train.evaluation import Forward


def sample(
    model: nn.Module,
    letters: data.Characters,
    prompt: str = "",
    length: int = 300,
    temperature: float = 0.8,
    seed: int = 0,
    *,
    engine: str | None = None,
    threads: int | None = None,
) -> str:
    """Return a text that continues a prompt, character by character.

    Parameters
    ----------
    model : nn.Module
        As ``chainrule train --model charlm`` makes it: it gives the logits of each next character.
    letters : data.Characters
    prompt : str
        The beginning, which is not returned; without it, a line begins.
    length : int
        How many characters to write.
    temperature : float
        The logits are divided by it: below 1 the likely characters become likelier; 0 takes the likeliest.
    seed : int
    engine, threads
        As for ``chainrule.compile``.

    Examples
    --------
    >>> from chainrule import data, nn, runs
    >>> letters = data.Characters.fit(data.Text("abcabca"), context=3)
    >>> model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 4)).initialize(0)
    >>> len(runs.sample(model, letters, "ab", length=5))
    5
    """
    integer("length", length, at_least=0)
    number("temperature", temperature, at_least=0)
    rng = np.random.default_rng(integer("seed", seed, at_least=0))
    forward, window = Forward(model.eval(), engine=engine, threads=threads), letters.example()
    ids = letters.encode(prompt).tolist() or [max(int(letters.encode("\n")[0]), 1)]
    start = len(ids)
    for _ in range(length):
        recent = ids[-letters.context :]
        window[0, : len(recent)] = recent  # what comes after them has no influence: the model is causal
        logits = forward(window)[0, len(recent) - 1].astype(np.float64)
        ids.append(_drawn(logits, temperature, rng))
    return letters.decode(ids[start:])


def _drawn(logits: Any, temperature: float, rng: np.random.Generator) -> int:
    """Return an id; never the one of unknown characters."""
    known = logits[1:] - logits[1:].max()
    if temperature == 0:
        return 1 + int(known.argmax())
    with np.errstate(over="ignore"):
        sums = np.cumsum(np.exp(known / temperature))
    return 1 + int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
