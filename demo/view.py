"""Draws the demo: a live picture on a terminal, a plain line a second elsewhere."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from common.event import GENERATED_BPM, NORMAL_BPM
from common.text import visible
from demo.figures import Alarm, Figures
from demo.plot import COLOURS, plot

# Rows of the table of frequencies: as many as there is room for.
CLASSES_BPM: Final = (
    range(GENERATED_BPM.start, NORMAL_BPM.start),
    NORMAL_BPM,
    range(NORMAL_BPM.stop, GENERATED_BPM.stop),
)
STEPS_BPM: Final = tuple(range(low, low + 5) for low in range(GENERATED_BPM.start, GENERATED_BPM.stop, 5))
ROOMY: Final = 36  # lines of a terminal that has room for the steps
# Blue and orange differ also for colour-blind people.
NORMAL_STYLE: Final = "color(75)"
OTHER_STYLE: Final = "color(214)"
BAR: Final = 24  # characters
LEFT: Final = 42  # columns of the panels
RIGHT: Final = 38
PEOPLE_LINES: Final = 9


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
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in figures.open_alarms.items())
    alarms = f"  in alarm {sum(figures.open_alarms.values()):,} ({kinds})" if kinds else ""
    return (
        f"{time.strftime('%H:%M:%S')}  sent {_rate(scene.sent)}  stored {_rate(scene.stored)}"
        f"  lag {_count(figures.lag)}  newest row {_age(figures.newest_age_s)}"
        f"  rows {figures.stored:,}  rejected {figures.rejected:,}{alarms}"
    )


def picture(scene: Scene, lines: int) -> RenderableType:
    """
    Return the scene as a picture for a terminal of 80 columns or more.

    Args:
        scene: What to show.
        lines: Of the terminal; the picture takes 24, or more from 36 on.
    """
    figures = scene.figures
    numbers = Table.grid(padding=(0, 3), expand=True)
    shown = {
        "sent": _rate(scene.sent),
        "stored": _rate(scene.stored),
        "lag": _count(figures.lag),
        "newest row": _age(figures.newest_age_s),
        "rows": f"{figures.stored:,}",
        "rejected": f"{figures.rejected:,}",
        "in alarm": f"{sum(figures.open_alarms.values()):,}",
    }
    numbers.add_row(*(Text(name, style="dim") for name in shown))
    numbers.add_row(*(Text(value, style="bold") for value in shown.values()))
    running = f"{int(scene.seconds) // 60:02}:{int(scene.seconds) % 60:02}"
    rows_bpm = STEPS_BPM if lines >= ROOMY else CLASSES_BPM
    panels = Table.grid()
    panels.add_row(_heart_rates(figures), _people(figures))
    panels.add_row(_distribution(figures.distribution, rows_bpm), _latest(figures.latest, len(rows_bpm)))
    return Group(
        Panel(numbers, title=f"heartbeats, {running}, Ctrl-C stops", title_align="left"),
        panels,
        Text("\n".join(scene.addresses), style="dim", no_wrap=True, overflow="fold"),
    )


def _heart_rates(figures: Figures) -> Panel:
    return _panel(plot(figures.rates.values(), LEFT - 4, PEOPLE_LINES), "bpm of five people", LEFT, PEOPLE_LINES)


def _people(figures: Figures) -> Panel:
    """Return the people of the plot, with its digits and colours, then as many others in alarm as there is room for."""
    table = Table.grid(padding=(0, 1))
    for width in (1, 12, 6, 3, 8):
        table.add_column(width=width, no_wrap=True)
    for number, (customer, pairs) in enumerate(figures.rates.items()):
        alarm = next((alarm for alarm in figures.alarms if alarm.customer == customer), None)
        digit = Text(str(number + 1), style=f"color({COLOURS[number]})")
        now = Text(f"{pairs[-1][1]:3.0f}" if pairs else "", style="dim")
        table.add_row(digit, *_alarm(alarm) if alarm else (Text(visible(customer)), "", now, ""))
    others = [alarm for alarm in figures.alarms if alarm.customer not in figures.rates]
    for alarm in others[: PEOPLE_LINES - table.row_count]:
        table.add_row("", *_alarm(alarm))
    return _panel(table, "who, alarm, bpm, since", RIGHT, PEOPLE_LINES)


def _alarm(alarm: Alarm) -> tuple[Text, Text, str, str]:
    began = alarm.since.astimezone()
    since = began.strftime("%H:%M:%S" if began.date() == datetime.now(began.tzinfo).date() else "%d %b")
    return Text(visible(alarm.customer)), Text(alarm.kind, style="bold"), f"{alarm.bpm:>3}", since


def _distribution(counts: Mapping[int, int], rows: Sequence[range]) -> Panel:
    total = sum(counts.values()) or 1
    by_row = [sum(counts.get(bpm, 0) for bpm in row) for row in rows]
    most = max(by_row) or 1
    bars = Table.grid(padding=(0, 1))
    for row, count in zip(rows, by_row, strict=True):
        style = NORMAL_STYLE if row[0] in NORMAL_BPM and row[-1] in NORMAL_BPM else OTHER_STYLE
        bar = Text("█" * round(count / most * BAR), style=style)
        bars.add_row(
            f"{row[0]:>3}-{row[-1]}",
            bar if count else Text("·", style="dim"),
            Text(f"{count / total:5.1%}", style="dim"),
        )
    return _panel(bars, "bpm, last 5 s", LEFT, len(rows))


def _latest(rows: Sequence[tuple[str, datetime, int]], lines: int) -> Panel:
    table = Table.grid(padding=(0, 1))
    table.add_column(max_width=17, no_wrap=True)
    for customer, timestamp, bpm in rows[:lines]:
        moment = timestamp.astimezone().strftime("%H:%M:%S.%f")[:-3]
        table.add_row(
            Text(visible(customer)), moment, Text(f"{bpm:>3}", style=NORMAL_STYLE if bpm in NORMAL_BPM else OTHER_STYLE)
        )
    return _panel(table, "newest rows", RIGHT, lines)


def _panel(content: RenderableType, title: str, width: int, lines: int) -> Panel:
    return Panel(content, title=title, title_align="left", width=width, height=lines + 2)


def _rate(event: Mapping[str, Any]) -> str:
    return f"{event['rate_per_s']:,}/s" if "rate_per_s" in event else "-"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds < 60 else f"{seconds / 60:,.0f} min"  # noqa: PLR2004 - a minute
