"""The colours of dashboards and of the demo's view are told apart by colour-blind people, too."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

import pytest

from demo.view import NORMAL_STYLE, OTHER_STYLE
from tests.colours import GRAFANA, distance
from tests.documents import ROOT

LEAST: Final = 20.0  # arbitrary; a difference of 2 is seen side by side, but not between two panels
DASHBOARDS: Final = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))


def colours(part: object) -> Iterator[str]:
    """Return every colour that a part of a dashboard names."""
    if isinstance(part, list):
        for item in part:
            yield from colours(item)
    if isinstance(part, dict):
        for key, value in part.items():
            if key in {"color", "fixedColor"} and isinstance(value, str) and value != "transparent":
                yield value
            else:
                yield from colours(value)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_colours_of_a_panel_are_told_apart_by_everybody(path: Path) -> None:
    """A twelfth of all men see Grafana's red and green alike: their distance is 8."""
    seen = 0
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        named = sorted(set(colours(panel)))
        seen += len(named)
        alike = [pair for pair in combinations(named, 2) if distance(*(GRAFANA[one] for one in pair)) < LEAST]

        assert alike == [], panel["title"]
    assert seen > 10


def test_colours_of_the_demo_are_told_apart_by_everybody() -> None:
    """Numbers 75 and 214 of a terminal's 256 colours, as xterm draws them."""
    assert (NORMAL_STYLE, OTHER_STYLE) == ("color(75)", "color(214)")
    assert distance("#5FAFFF", "#FFAF00") > LEAST


def test_distance_is_that_of_those_who_see_fewer_colours() -> None:
    """Red and green are far apart for most people; the simulation is what the claims above rest on."""
    assert distance(GRAFANA["red"], GRAFANA["green"]) == pytest.approx(8, abs=0.5)
    assert distance("#000000", "#FFFFFF") == pytest.approx(100, abs=0.1)
