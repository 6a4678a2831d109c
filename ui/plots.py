"""Small drawings as inline SVG: curves with an axis, and a bar of shares.

Numbers in, markup out; colours and sizes of type come from the style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ui.markup import hue

WIDTH, HEIGHT = 340, 110
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 8, 8, 18


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        name: attribute whose colour it takes.
        values: one for each place; None leaves a gap.
        style: "full", "dashed" or "faint".
    """

    name: str
    values: Sequence[float | None]
    style: str = "full"


def curves(
    lines: Sequence[Curve],
    *,
    ticks: Sequence[str],
    low: float = 0.0,
    high: float = 1.0,
    label: str,
    marked: int | None = None,
) -> str:
    """Lines over equal steps.

    Args:
        ticks: a word below each step; empty ones are left out.
        low, high: ends of the upright axis.
        label: what is drawn, for those who do not see it.
        marked: step with an upright line.
    """
    count = len(ticks)
    body = _frame(low, high) + _ticks(ticks)
    if marked is not None and 0 <= marked < count:
        x = _x(marked, count)
        body += f'<path class="now" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>'
    for line in lines:
        body += _line(line, count, low, high)
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def spark(lines: Sequence[Curve]) -> str:
    """Lines without axes from the least to the greatest of their values, for a row of a table."""
    known = [value for line in lines for value in line.values if value is not None]
    least, most = min([*known, 0.0]), max([*known, 0.0])
    span = (most - least) or 1.0
    drawn = ""
    for line in lines:
        places = [
            (2 + 92 * at / max(1, len(line.values) - 1), 22 - 20 * (value - least) / span)
            for at, value in enumerate(line.values)
            if value is not None
        ]
        drawn += f'<path class="{line.style}" {hue(line.name)} d="{_path(places)}"/>'
    return f'<svg class="spark" viewBox="0 0 96 24" aria-hidden="true">{drawn}</svg>'


def shares(parts: Sequence[tuple[str, float]]) -> str:
    """Strengths as parts of one bar, negative ones hatched; names are attributes.

    Strengths that sum to less than 1 leave a rest of it empty.
    """
    bars = "".join(
        f'<i class="{"minus" if value < 0 else "plus"}" {hue(name)[:-1]};flex-grow:'
        f'{abs(value):.3f}"></i>'
        for name, value in parts
        if value
    )
    rest = max(0.0, 1.0 - sum(abs(value) for _, value in parts))
    rest_html = f'<i class="rest" style="flex-grow:{rest:.3f}"></i>' if rest else ""
    return f'<div class="shares" aria-hidden="true">{bars}{rest_html}</div>'


def _frame(low: float, high: float) -> str:
    """The upright axis with its ends, and the line of zero."""
    zero = _y(0.0, low, high) if low <= 0 <= high else HEIGHT - _BOTTOM
    ends = "".join(
        f'<text x="{_LEFT - 6}" y="{_y(value, low, high) + 3:.1f}" class="end">{value:g}</text>'
        for value in sorted({low, high, 0.0} if low < 0 < high else {low, high})
    )
    return f'<path class="axis" d="M{_LEFT} {zero:.1f}H{WIDTH - _RIGHT}"/>{ends}'


def _ticks(ticks: Sequence[str]) -> str:
    return "".join(
        f'<text x="{_x(at, len(ticks)):.1f}" y="{HEIGHT - 4}" class="tick">{escape(word)}</text>'
        for at, word in enumerate(ticks)
        if word
    )


def _line(line: Curve, count: int, low: float, high: float) -> str:
    """The pieces of a line between its gaps, with a dot at each value where there are few."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in enumerate(line.values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((_x(at, count), _y(value, low, high)))
    path = "".join(_path(run) for run in runs)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for run in runs for x, y in run
    )  # fmt: skip
    dots = dots if line.style == "full" and count <= 24 else ""
    return f'<g class="{line.style}" {hue(line.name)}><path d="{path}"/>{dots}</g>'


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if at else 'M'}{x:.1f} {y:.1f}" for at, (x, y) in enumerate(places))


def _x(at: int, count: int) -> float:
    return _LEFT + 6 + (WIDTH - _LEFT - _RIGHT - 12) * (at / (count - 1) if count > 1 else 0.5)


def _y(value: float, low: float, high: float) -> float:
    share = (min(high, max(low, value)) - low) / (high - low)
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share
