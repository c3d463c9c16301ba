"""Write docs/causes/ from the table of known mistakes: a page for each cause, and the index.

``python tools/make_cause_pages.py`` writes the pages; with ``--check`` it writes nothing, and fails where one is not up
to date. A page's text is the docstring of the cause, in ``chainrule.audit.mistakes``; here is the program around it.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path

from chainrule.audit.mistakes import CAUSES, Cause, pages

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "causes"
IMPORTS = "import numpy as np\nimport chainrule as cr\n\nrng = np.random.default_rng(0)\n"
NETWORK = """\
X, Y = rng.normal(size=(9, 5)), rng.normal(size=(9, 3))
P = {"W1": rng.normal(size=(5, 7)), "b1": rng.normal(size=7), "W2": rng.normal(size=(7, 3)), "b2": rng.normal(size=3)}


def forward(X, P):
    Z1 = X @ P["W1"] + P["b1"]
    A1 = np.tanh(Z1)
    Z2 = A1 @ P["W2"] + P["b2"]
    return {"A0": X, "Z1": Z1, "A1": A1, "Z2": Z2}


def loss(Z2, Y):
    return np.mean(np.sum((Z2 - Y) ** 2, axis=1)) / 2


def backward(cache, Y, P):
    m = len(Y)
    dZ2 = cache["Z2"] - Y
    dW2 = cache["A1"].T @ dZ2 / m
    db2 = dZ2.sum(axis=0) / m
    dA1 = dZ2 @ P["W2"].T
    dZ1 = dA1 * (1 - cache["A1"] ** 2)
    dW1 = cache["A0"].T @ dZ1 / m
    db1 = dZ1.sum(axis=0) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


report = cr.audit(backward, forward=forward, loss=loss, parameters=P, X=X, Y=Y)
"""


def sections(cause: type[Cause]) -> dict[str, str]:
    """Return the parts of a docstring by their headings."""
    found = re.split(r"^(.+)\n-{3,}\n", cause.page(), flags=re.MULTILINE)
    return {"": found[0].strip(), **{h: t.strip("\n") for h, t in zip(found[1::2], found[2::2], strict=True)}}


def statements(code: str) -> dict[str, str]:
    """Return the statements of a program by what they define: a function or the first variable."""
    found: dict[str, str] = {}
    name = ""
    for line in code.split("\n"):
        if line and line[0] not in " )}":
            match = re.match(r"def (\w+)", line)
            name = match[1] if match else re.split(r" [-+*|]?= |\(", line)[0]
            found[name] = f"{found[name].rstrip()}\n{line}" if name in found else line
        elif name:
            found[name] += "\n" + line
    return {name: text.rstrip() for name, text in found.items()}


def program(cause: type[Cause]) -> str:
    """Return the wrong program of a page.

    A docstring has either a whole program or what differs from the network above: statements, and lines of backward.
    """
    wrong = textwrap.dedent(sections(cause)["Wrong"]).strip()
    step = cause.shown_in or re.split(r" [-+*]?= ", next(x for x in wrong.split("\n") if "# wrong" in x).strip())[0]
    if "report = " in wrong:
        body = wrong
    else:
        network = statements(NETWORK)
        lines = statements(textwrap.dedent(network["backward"].partition("\n")[2]))
        for name, text in statements(wrong).items():
            if name in lines:
                lines[name] = text
            else:
                network = {**{k: v for k, v in network.items() if k != "forward" or name in network}, name: text}
                network.setdefault("forward", statements(NETWORK)["forward"])
        if "backward" not in statements(wrong):
            network["backward"] = "def backward(cache, Y, P):\n" + textwrap.indent("\n".join(lines.values()), "    ")
        body = "\n".join(_spaced(network))
    check = f'assert (report.findings[0].name, report.findings[0].cause) == ("{step}", "{cause.code}")'
    return f"{IMPORTS}{body}\n{check}\n"


ORDER = ("forward", "loss", "grads", "backward", "report")


def _spaced(network: dict[str, str]) -> list[str]:
    """Return the statements in their order, two empty lines around functions."""
    out: list[str] = []
    for name in sorted(network, key=lambda n: ORDER.index(n) if n in ORDER else -1):
        text = network[name]
        function = text.startswith("def ")
        if out and (function or out[-1].startswith("def ")):
            out += ["\n"]
        out.append(text)
    return out


def filled(text: str) -> str:
    """Return paragraphs in lines of one width."""
    paragraphs = (" ".join(p.split()) for p in text.split("\n\n"))
    return "\n\n".join(textwrap.fill(p, 118, break_long_words=False, break_on_hyphens=False) for p in paragraphs)


def page(cause: type[Cause]) -> str:
    """Return the Markdown of a page."""
    parts = sections(cause)
    fix = textwrap.dedent(parts["Right"]).strip()
    text = [f"# {cause.code}", parts[""], f"```python\n{program(cause)}```"]
    for heading in ("How it shows", "Why it is wrong"):
        text.append(filled(f"**{heading}.** {parts[heading].strip()}"))
    text += ["**The fix**, in place of the line marked wrong:", f"```text\n{fix}\n```"]
    if "Notes" in parts:
        text.append(filled(parts["Notes"].strip()))
    return "\n\n".join([*text, "[All causes](index.md)"]) + "\n"


def index() -> str:
    """Return the list of all causes."""
    rows = "".join(f"| [{code}]({code}.md) | {meaning} |\n" for code, meaning in CAUSES.items())
    return (
        "# Causes\n\n"
        "What an [audit](../audit.md) says about a step that is wrong: one of these codes. They are stable.\n\n"
        f"| cause | what it means |\n|---|---|\n{rows}"
    )


def written() -> dict[str, str]:
    """Return every file of the folder by its name."""
    return {"index.md": index(), **{f"{code}.md": page(cause) for code, cause in pages().items()}}


def main() -> int:
    """Write the pages, or compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is not up to date")
    check = parser.parse_args().check
    new = written()
    old = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    stale = sorted(name for name in {*new, *old} if new.get(name) != old.get(name))
    if check:
        print(f"not up to date: {', '.join(stale)}" if stale else "up to date")
        return 1 if stale else 0
    for name in stale:
        if name in new:
            (FOLDER / name).write_text(new[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
    print(f"wrote {len(stale)} of {len(new)} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
