"""Plots the heart rates of a few people over time, each drawn with a digit and a colour of its own."""

from collections.abc import Iterable, Sequence
from typing import Final

import plotext
from rich.text import Text

# Numbers of the 256 colours of a terminal, close to those that colour-blind people can tell apart.
# Source: Okabe and Ito, Color Universal Design: orange, sky blue, bluish green, reddish purple, vermilion.
COLOURS: Final = (214, 75, 36, 175, 202)
WINDOW_S: Final = 180  # as long as `demo.figures` looks back
STEP_BPM: Final = 20  # between two labels


def plot(rates: Iterable[Sequence[tuple[float, float]]], width: int, height: int) -> Text:
    """
    Return a plot of this many columns and lines.

    Args:
        rates: For each person (five at most), pairs of seconds from now (negative) and beats per minute.
        width: Columns.
        height: Lines.
    """
    lines = [list(pairs) for pairs in rates]
    shown_bpm = [bpm for pairs in lines for _, bpm in pairs] or [60, 100]
    low, high = int(min(shown_bpm)) // 10 * 10, -int(-max(shown_bpm) // 10) * 10
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    figure.axes(active=False)
    figure.axes(axis="y", side="left")
    figure.ruler("y").lim(low, max(high, low + STEP_BPM))
    figure.ruler("y").ticks(list(range(-(-low // STEP_BPM) * STEP_BPM, high + 1, STEP_BPM)))
    figure.ruler("x").lim(-WINDOW_S, 0)
    figure.ruler("x").ticks([-WINDOW_S, -WINDOW_S / 2, 0], [f"-{WINDOW_S} s", f"-{WINDOW_S // 2} s", "now"])
    for number, pairs in enumerate(lines):
        if pairs:
            marker = plotext.marker(str(number + 1), COLOURS[number])
            figure.draw(figure.signal(*map(list, zip(*pairs, strict=True)), marker=marker))
    return Text.from_ansi(figure.build().string().rstrip(), no_wrap=True)
