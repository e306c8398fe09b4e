"""Where figures go: docs/performance.md, each benchmark's between marks of its own."""

import re
from pathlib import Path
from typing import Final

REPORT: Final = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def write_section(name: str, markdown: str, report: Path = REPORT) -> None:
    """Put the text in the place of what stands between the marks `name`; at the end if there are none yet."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{markdown.strip()}\n{end}"
    text = report.read_text(encoding="utf-8") if report.exists() else "# Performance\n"
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    text, places = re.subn(pattern, lambda _: section, text, flags=re.DOTALL)
    report.write_text(text if places else f"{text.rstrip()}\n\n{section}\n", encoding="utf-8")
