"""Draws the demo: a live picture on a terminal, a plain line a second elsewhere."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from common.event import GENERATED_BPM, NORMAL_BPM
from common.text import visible
from demo.figures import Figures

STEP_BPM: Final = 5
SHOWN_BPM: Final = range(GENERATED_BPM.start, GENERATED_BPM.stop, STEP_BPM)
BAR: Final = 24  # characters


@dataclass(frozen=True, slots=True)
class Scene:
    """All that one picture shows."""

    seconds: float  # since the first heartbeat was sent
    sent: Mapping[str, Any]  # the producer's last `Sent`
    stored: Mapping[str, Any]  # the consumer's last `Stored`
    figures: Figures
    addresses: Sequence[str]


def plain(scene: Scene) -> str:
    """Return the scene as one line."""
    figures = scene.figures
    return (
        f"{time.strftime('%H:%M:%S')}  sent {_rate(scene.sent)}  stored {_rate(scene.stored)}  lag {figures.lag:,}"
        f"  newest row {_age(figures.newest_age_s)}  rows {figures.stored:,}  rejected {figures.rejected:,}"
    )


def picture(scene: Scene) -> RenderableType:
    """Return the scene as a picture for a terminal of 80 columns or more."""
    figures = scene.figures
    numbers = Table.grid(padding=(0, 3), expand=True)
    shown = {
        "sent": _rate(scene.sent),
        "stored": _rate(scene.stored),
        "lag": f"{figures.lag:,}",
        "newest row": _age(figures.newest_age_s),
        "rows": f"{figures.stored:,}",
        "rejected": f"{figures.rejected:,}",
    }
    numbers.add_row(*(Text(name, style="dim") for name in shown))
    numbers.add_row(*(Text(value, style="bold") for value in shown.values()))
    running = f"{int(scene.seconds) // 60:02}:{int(scene.seconds) % 60:02}"
    return Group(
        Panel(numbers, title=f"heartbeats, {running}, Ctrl-C stops", title_align="left"),
        Columns([_distribution(figures.distribution), _latest(figures.latest)]),
        Text("\n".join(scene.addresses), style="dim", no_wrap=True, overflow="fold"),
    )


def _distribution(counts: Mapping[int, int]) -> Panel:
    total, most = sum(counts.values()) or 1, max(counts.values(), default=0) or 1
    bars = Table.grid(padding=(0, 1))
    for low in SHOWN_BPM:
        count = counts.get(low, 0)
        normal = sum(bpm in NORMAL_BPM for bpm in range(low, low + STEP_BPM))
        style = {0: "red", STEP_BPM: "green"}.get(normal, "yellow")  # yellow: 100 is normal, 101..104 are high
        bar = Text("█" * round(count / most * BAR), style=style)
        bars.add_row(f"{low:>3}", bar if count else Text("·", style="dim"), Text(f"{count / total:5.1%}", style="dim"))
    return Panel(bars, title="bpm, last 5 s", title_align="left", width=BAR + 17)


def _latest(rows: Sequence[tuple[str, datetime, int]]) -> Panel:
    table = Table.grid(padding=(0, 1))
    for customer, timestamp, bpm in rows:
        style = "green" if bpm in NORMAL_BPM else "red"
        moment = timestamp.astimezone().strftime("%H:%M:%S.%f")[:-3]
        table.add_row(Text(visible(customer)), moment, Text(f"{bpm:>3}", style=style))
    return Panel(table, title="newest rows", title_align="left", width=34)


def _rate(event: Mapping[str, Any]) -> str:
    return f"{event['rate_per_s']:,}/s" if "rate_per_s" in event else "-"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds < 60 else f"{seconds / 60:,.0f} min"  # noqa: PLR2004 - a minute
