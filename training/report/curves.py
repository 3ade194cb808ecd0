"""Training curves as SVG, written without a plotting library: nothing to install, sharp at any size."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BELOW = 520, 190, 64, 34, 42  # pixels
COLOURS = ("#2a7de1", "#d1495b", "#3a9d6a", "#8d5fd3", "#c98a1b", "#5b6770")
SMOOTHED = 25  # steps that a curve of single steps is averaged over

Series = Sequence[tuple[float, float]]


def curves_svg(panels: Mapping[str, Mapping[str, Series]]) -> str:
    """One field a panel, one below the other; a series is points (step, value). Panels without points are left out."""
    drawn = {title: {name: points for name, points in lines.items() if points} for title, lines in panels.items()}
    drawn = {title: lines for title, lines in drawn.items() if lines}
    height = max(1, len(drawn)) * (TOP + HEIGHT + BELOW)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}" '
        f'width="{LEFT + WIDTH + 20}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{LEFT + WIDTH + 20}" height="{height}" fill="white"/>',
    ]
    for number, (title, lines) in enumerate(drawn.items()):
        parts += _panel(title, lines, number * (TOP + HEIGHT + BELOW))
    return "\n".join([*parts, "</svg>", ""])


def smoothed(points: Series, over: int = SMOOTHED) -> list[tuple[float, float]]:
    """Means of up to `over` neighbours, so that a curve shows where it goes and not each step's luck."""
    window = max(1, min(over, len(points) // 10))
    return [
        (points[min(start + window, len(points)) - 1][0], _mean(points[start : start + window]))
        for start in range(0, len(points), window)
    ]


def _mean(points: Series) -> float:
    return sum(value for _, value in points) / len(points)


def _panel(title: str, lines: Mapping[str, Series], top: float) -> list[str]:
    steps = [step for points in lines.values() for step, _ in points]
    values = [value for points in lines.values() for _, value in points]
    low, high = min(values), max(values)
    # A constant series has no spread to scale by.
    spread = (high - low) or 1.0
    low, high = low - 0.05 * spread, high + 0.05 * spread
    last = max(*steps, 1)
    floor = top + TOP + HEIGHT

    def place(step: float, value: float) -> str:
        return f"{LEFT + WIDTH * step / last:.1f},{floor - HEIGHT * (value - low) / (high - low):.1f}"

    parts = [
        f'<text x="{LEFT}" y="{top + 18}" font-weight="bold">{escape(title)}</text>',
        f'<rect x="{LEFT}" y="{top + TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
    ]
    for value, y in ((high, top + TOP + 10), (low, floor)):
        parts.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end" fill="#555">{value:.3g}</text>')
    parts.append(f'<text x="{LEFT + WIDTH}" y="{floor + 16}" text-anchor="end" fill="#555">step {last:g}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        way = " ".join(place(step, value) for step, value in points)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="{LEFT + 110 * number}" y="{floor + 32}" fill="{colour}">{escape(name)}</text>')
    return parts
