"""How far apart two colours are, for people with and without the two common kinds of colour blindness."""

from collections.abc import Sequence
from typing import Final

# Linear RGB as people see it. Source: Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of
# Color Vision Deficiency" (2009), severity 1.0.
VISION: Final = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
}
# Grafana's names, as the dark theme draws them. Source: grafana/grafana, packages/grafana-data/src/themes.
GRAFANA: Final = {
    "green": "#73BF69", "light-green": "#96D98D", "orange": "#FF9830", "semi-dark-orange": "#FF780A", "red": "#F2495C",
    "semi-dark-red": "#E02F44", "blue": "#5794F2", "yellow": "#FADE2A", "purple": "#B877D9",
    "super-light-purple": "#DEB6F2",
}  # fmt: skip
Triple = tuple[float, float, float]


def distance(one: str, other: str) -> float:
    """Return the distance of two colours (`#RRGGBB`) in CIELAB (1976), for the vision that tells them apart worst."""
    return min(_difference(_lab(one, matrix), _lab(other, matrix)) for matrix in VISION.values())


def _difference(one: Triple, other: Triple) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)


def _lab(colour: str, matrix: Sequence[Triple]) -> Triple:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in matrix)
    x, y, z = (
        part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116
        for part in (
            (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047,
            0.2126 * red + 0.7152 * green + 0.0722 * blue,
            (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883,
        )
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)
