"""The plot of the results: a bar for each goal, as long as it is far from the bound, on a scale that doubles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABELS, ROW, TOP = 1000, 520, 24, 46
# So many doublings to either side of the bound.
REACH = 6
MET, MISSED, INK, FAINT = "#2a7f62", "#c2573a", "#24292f", "#d0d7de"


@dataclass(frozen=True, slots=True)
class Bar:
    """What was measured beside its bound: `least` or `most`."""

    label: str
    value: float
    least: float | None
    most: float | None
    unit: str
    met: bool

    @property
    def margin(self) -> float:
        """How many doublings better (above 0) or worse (below 0) than the bound."""
        bound = self.least if self.least is not None else self.most
        if not bound or self.value <= 0:
            return float(REACH if self.met else -REACH)
        doublings = math.log2(self.value / bound)
        return max(-REACH, min(REACH, doublings if self.least is not None else -doublings))


def draw(bars: Sequence[Bar]) -> str:
    """The plot as SVG."""
    height = TOP + ROW * len(bars) + 14
    middle = LABELS + (WIDTH - LABELS) / 2
    step = (WIDTH - LABELS - 60) / 2 / REACH
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for doublings in range(-REACH + 1, REACH, 1):
        x = middle + doublings * step
        ink = INK if doublings == 0 else FAINT
        shapes.append(f'<line x1="{x:.0f}" y1="{TOP - 10}" x2="{x:.0f}" y2="{height - 8}" stroke="{ink}"/>')
        if doublings % 2 == 0:
            shapes.append(_text(x, TOP - 16, "the goal" if doublings == 0 else _times(doublings), "middle"))
    for number, bar in enumerate(bars):
        y = TOP + ROW * number
        x = min(middle, middle + bar.margin * step)
        width = max(2.0, abs(bar.margin) * step)
        shapes.append(_text(LABELS - 10, y + 13, bar.label, "end"))
        ink = MET if bar.met else MISSED
        shapes.append(f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{ROW - 9}" fill="{ink}"/>')
    return "\n".join([*shapes, "</svg>", ""])


def _times(doublings: int) -> str:
    return f"{2**doublings}× better" if doublings > 0 else f"{2**-doublings}× worse"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="12" fill="{INK}">{escape(text)}</text>'
