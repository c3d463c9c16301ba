"""Line charts as SVG, in colours that are readable on white and on black."""

from __future__ import annotations

from html import escape

from .document import LineChart, clean

WIDTH, HEIGHT = 320, 120
#: Points of a curve: of longer ones the least and the greatest of each stretch are drawn.
MOST_POINTS = 1000
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, WIDTH - 90, 12, HEIGHT - 18
_COLOURS = ("#2a85c7", "#d9822b")


def line_chart(chart: LineChart) -> str:
    """Return the curves with their names, the range of the values, and the name of the axis."""
    points = [point for curve in chart.curves.values() for point in curve]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    parts = [f'<path d="M{_LEFT},{_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="currentColor" opacity="0.4"/>']
    parts += [
        _words(f"{high:.6g}", _LEFT + 4, _TOP - 2),
        _words(f"{low:.6g}", _LEFT + 4, _BOTTOM - 3),
        _words(chart.axis, _RIGHT, _BOTTOM + 13, anchor="end"),
    ]
    for k, (name, curve) in enumerate(chart.curves.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        places = " ".join(
            f"{_LEFT + (_RIGHT - _LEFT) * _share(x, left, right):.1f},"
            f"{_BOTTOM - (_BOTTOM - _TOP) * _share(y, low, high):.1f}"
            for x, y in _thinned(curve)
        )
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_words(name, _RIGHT + 8, _TOP + 14 * k + 4, colour))
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(clean(chart.title))}" font-size="11">{"".join(parts)}</svg>'
    )


def _words(words: str, x: float, y: float, colour: str = "currentColor", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{escape(clean(words))}</text>'


def _thinned(points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Return the first and the last point, and of each stretch between them the least and the greatest."""
    if len(points) <= MOST_POINTS:
        return list(points)
    length = -(-len(points) // (MOST_POINTS // 2))
    stretches = [points[k : k + length] for k in range(0, len(points), length)]
    ends = [choose(s, key=lambda point: point[1]) for s in stretches for choose in (min, max)]
    return sorted({points[0], *ends, points[-1]})


def _share(value: float, low: float, high: float) -> float:
    return (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5  # halves don't overflow
