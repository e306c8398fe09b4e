"""What the documents show: commands, SQL and output."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "grafana" / "README.md",
        *ROOT.glob("examples/*/README.md"),
    ]
)


def blocks(page: Path, language: str) -> Iterator[str]:
    """Return the fenced blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def section_commands(page: Path, heading: str) -> str:
    """Return the first block of shell commands below a heading."""
    _, below = page.read_text(encoding="utf-8").split(f"# {heading}\n")
    return below.split("```sh\n")[1].split("```")[0]


def code(text: str) -> Iterator[str]:
    """Return what stands in code spans; fenced blocks are left out."""
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def shape(line: str) -> str:
    """Return a line of output without what differs from run to run: figures, and the padding of columns."""
    return re.sub(r"\s+", " ", re.sub(r"-?\d[\d,.:]*", "0", line)).strip()
