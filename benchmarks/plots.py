"""Plots for docs/performance.md, as SVG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
# The same figures give the same file.
mpl.rcParams.update({"svg.hashsalt": "heartbeat", "font.size": 9, "svg.fonttype": "none"})


def bars(name: str, title: str, unit: str, values: Mapping[str, Mapping[str, float]]) -> Path:
    """
    Draw horizontal stacked bars.

    Args:
        name: The file's name, without its ending.
        title: Above the plot.
        unit: Of the values.
        values: By bar, from the top down, its parts by their names.
    """
    figure = Figure(figsize=(7, 0.8 + 0.4 * len(values)), layout="constrained")
    axes = figure.subplots()
    parts = list(dict.fromkeys(part for bar in values.values() for part in bar))
    begins = dict.fromkeys(values, 0.0)
    for part in parts:
        widths = [values[bar].get(part, 0.0) for bar in values]
        axes.barh(list(values), widths, left=list(begins.values()), label=part)
        begins = {bar: begins[bar] + width for bar, width in zip(begins, widths, strict=True)}
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if len(parts) > 1:
        axes.legend(frameon=False, ncols=len(parts), loc="upper center", bbox_to_anchor=(0.5, -0.25))
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
