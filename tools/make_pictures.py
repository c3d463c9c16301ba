"""Draw the README's pictures: what the command line prints, as SVG; and a training history.

Run from anywhere with chainrule[plot] installed: ``python tools/make_pictures.py``. Writes docs/images/.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
CHARACTER = 12.2  # the export's width of one character
COMMANDS = {
    "backprop": ["backprop", "digits", "--hidden", "32"],
    "train": ["train", "digits", "--seed", "0"],
}


def drawn(name: str, arguments: list[str]) -> None:
    """Run a command in an empty folder and draw what it printed."""
    console = Console(record=True, width=80, file=open("/dev/null", "w"))
    console.print(Text("$ chainrule " + " ".join(arguments), style="bold"))
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-c", "from chainrule.cli import main; main()", *arguments]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True)
    console.print(Text(done.stdout.rstrip()))
    svg = console.export_svg(title=f"chainrule {arguments[0]}", theme=MONOKAI)
    # the export names web fonts; the reader's own monospaced font will do, and no page is fetched
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    svg = re.sub(r'x="0" (y="[\d.]+") textLength="([\d.]+)"([^>]*)>((?:&#160;|\u00a0)+)', _indented, svg)
    (IMAGES / f"{name}.svg").write_text(svg)


def _indented(match: re.Match[str]) -> str:
    """Turn spaces at the beginning of a line into an offset: some viewers drop them."""
    y, length, more, spaces = match.groups()
    offset = CHARACTER * len(spaces.replace("&#160;", " "))
    return f'x="{offset:g}" {y} textLength="{float(length) - offset:g}"{more}>'


def history() -> None:
    """Train on the digits and draw loss and accuracy by epoch."""
    import chainrule as cr
    from chainrule import data, nn

    train, _ = data.load_digits().split(0.2, seed=0)
    preprocessor = data.Preprocessor.fit(train)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    X, y = preprocessor.transform(train), preprocessor.transform_target(train)
    cr.fit(model, X, y, epochs=30, validation=0.2).plot(str(IMAGES / "history.svg"))


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    for picture, command in COMMANDS.items():
        drawn(picture, command)
    history()
