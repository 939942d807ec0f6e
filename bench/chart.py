"""Line charts over one time axis, stacked, as an SVG that needs nothing to be seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _GAP = 900, 150, 70, 20, 46, 46
_COLOURS = ("#1f6fb4", "#d9730d", "#3a9447", "#8b5fbf")


@dataclass
class Series:
    """A line: its name and a value for each moment."""

    name: str
    values: Sequence[float]


@dataclass
class Panel:
    """Lines over one axis that begins at 0."""

    title: str
    series: Sequence[Series]


def _ceiling(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    step = 1e-3
    while True:
        for factor in (1, 2, 5):
            if step * factor >= value:
                return step * factor
        step *= 10


def _path(series: Series, times: Sequence[float], top: float, end: float, highest: float) -> str:
    points = []
    for at, value in zip(times, series.values, strict=True):
        x = _LEFT + at / end * (_WIDTH - _LEFT - _RIGHT)
        points.append(f"{x:.1f},{top + _HEIGHT * (1 - min(value / highest, 1)):.1f}")
    return " ".join(points)


def draw(path: Path, title: str, seconds: Sequence[float], panels: Sequence[Panel]) -> None:
    """Writes the chart; `seconds` are the moments of all lines."""
    end = max(seconds[-1], 1)
    tick = next(step for step in (10, 30, 60, 120, 300, 600, 1800, 1 << 40) if end / step <= 12)
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14" font-weight="bold">{title}</text>',
    ]
    for number, panel in enumerate(panels):
        top = _TOP + number * (_HEIGHT + _GAP)
        highest = _ceiling(max(max(series.values) for series in panel.series) or 1)
        parts.append(f'<text x="{_LEFT}" y="{top - 7}">{panel.title}</text>')
        for share in (0, 0.25, 0.5, 0.75, 1):
            y = top + _HEIGHT * (1 - share)
            parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#dddddd"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{highest * share:,g}</text>')
        for minute in range(0, int(end) + 1, tick):
            x = _LEFT + minute / end * (_WIDTH - _LEFT - _RIGHT)
            label = f"{minute // 60} min" if tick >= 60 else f"{minute} s"
            parts.append(f'<text x="{x:.1f}" y="{top + _HEIGHT + 16}" text-anchor="middle">{label}</text>')
        right = _WIDTH - _RIGHT
        for series, colour in reversed(list(zip(panel.series, _COLOURS, strict=False))):
            line = _path(series, seconds, top, end, highest)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            parts.append(f'<text x="{right}" y="{top - 7}" text-anchor="end" fill="{colour}">{series.name}</text>')
            right -= 9 * len(series.name) + 12
    path.write_text("\n".join([*parts, "</svg>\n"]))
