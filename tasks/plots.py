"""Plots of the report as SVG text: axes with units, intervals where they are known, same rows same bytes."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib

matplotlib.use("svg")  # before pyplot: no display is ever wanted
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Row = Mapping[str, object]
Z95 = 1.96
WIDTH, HEIGHT = 5.2, 2.8  # inches: half of the page, without a legend
INK, SOFT = "#1f2933", "#66727f"
COLORS = ("#1f6f9f", "#c2583f", "#4d8a6a", "#b98b2f", "#7a6c9d", "#8d8d8d", "#3d405b", "#b3476b", "#5aa0a0")
CREDIT, BLAME = "#4393c3", "#d6604d"
NO_CLOCK_NO_AUTHOR = {"Date": None, "Creator": None, "Format": None, "Type": None}
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "report",  # ids in the file are salted; a fixed salt keeps the bytes the same
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # wide: text that fits in it fits in the reader's font too
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
)


@dataclass(frozen=True, slots=True)
class Point:
    """One value over x (an iteration, a step, a number of turns) with its interval where one is known."""

    x: float
    y: float
    lower: float | None = None
    upper: float | None = None


def from_error(x: float, mean: object, *, error: object = None, scale: float = 1.0) -> Point | None:
    """A point with its 95 % interval from a standard error; None for a mean that is not known."""
    if mean is None:
        return None
    y = float(str(mean)) * scale
    half = None if error is None else Z95 * float(str(error)) * scale
    return Point(x, y) if half is None else Point(x, y, y - half, y + half)


def curves(
    series: Mapping[str, Sequence[Point | None]],
    *,
    label: str,
    x: str = "iteration",
    y: str,
    y_range: tuple[float, float] | None = None,
    from_zero: bool = False,
    limits: Mapping[str, float] | None = None,
    ticks: Mapping[int, str] | None = None,
) -> str:
    """One line per series with its intervals, side by side so that none covers another; dashed limits.

    Series without a known point are left out, and with none at all the answer is empty.
    """
    known = {name: [point for point in points if point] for name, points in series.items()}
    known = {name: points for name, points in known.items() if points}
    if not known:
        return ""
    figure, axes = _axes(x=x, y=y)
    crowd = max(len(points) for points in known.values())
    for place, (name, points) in enumerate(known.items()):
        shift = 0.05 * (place - (len(known) - 1) / 2) if crowd <= 30 else 0.0
        _draw(axes, points, name=name, color=COLORS[place % len(COLORS)], shift=shift, dots=crowd <= 30)
    for style, (name, value) in zip(("--", ":"), (limits or {}).items(), strict=False):
        axes.axhline(value, color=SOFT, linestyle=style, linewidth=1.2, label=name)
    if from_zero:
        axes.set_ylim(
            0, 1.08 * max(point.upper or point.y for points in known.values() for point in points) or 1
        )
    _finish(figure, axes, y_range=y_range, ticks=ticks, legend=len(known) > 1 or bool(limits))
    return svg(figure, label=label)


def stacked_shares(
    rows: Sequence[Row], *, part: str, share: str, label: str, words: Mapping[str, str], whole: bool = True
) -> str:
    """Shares per iteration, stacked bar by bar; `whole` when they sum to 100 %. Empty without rows."""
    if not rows:
        return ""
    figure, axes = _axes(x="iteration", y="share (%)")
    iterations = sorted({_whole(row["iteration"]) for row in rows})
    cell = {(_whole(row["iteration"]), str(row[part])): 100 * _number(row[share]) for row in rows}
    bottom = [0.0] * len(iterations)
    for place, name in enumerate(sorted({str(row[part]) for row in rows})):
        heights = [cell.get((iteration, name), 0.0) for iteration in iterations]
        color, text = COLORS[place % len(COLORS)], words.get(name, name)
        axes.bar(iterations, heights, bottom=bottom, color=color, label=text, width=0.62)
        bottom = [base + height for base, height in zip(bottom, heights, strict=True)]
    axes.grid(visible=False, axis="x")
    _finish(figure, axes, y_range=(0, 100) if whole else (0, 1.15 * max(bottom)), ticks=None, legend=True)
    return svg(figure, label=label)


def credit_by_kind(
    rows: Sequence[Row], methods: Sequence[str], *, label: str, words: Mapping[str, str], kinds: Sequence[str]
) -> str:
    """Mean per kind of turn with its interval, one panel per method, each in a scale of its own around 0."""
    if not rows:
        return ""
    height = 0.75 + 0.36 * len(kinds)
    figure, panels = pyplot.subplots(1, len(methods), figsize=(11.2, height), sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.2, right=0.99, bottom=0.33 / height, top=1 - 0.32 / height, wspace=0.12)
    for axes, method in zip(panels[0], methods, strict=True):
        found = {str(row["turn_kind"]): row for row in rows if row["method"] == method}
        _bars(axes, [found.get(kind) for kind in kinds], names=[words.get(kind, kind) for kind in kinds])
        axes.set_title(words.get(method, method), fontsize=9.5)
    panels[0][0].invert_yaxis()
    return svg(figure, label=label)


def _bars(axes: Axes, rows: Sequence[Row | None], *, names: Sequence[str]) -> None:
    """One bar per kind; a kind without a value gets no bar, which is not a bar of length 0."""
    known = [(place, row) for place, row in enumerate(rows) if row is not None]
    means = [_number(row["mean"]) for _, row in known]
    errors = [Z95 * _number(row["standard_error"] or 0.0) for _, row in known]
    colors = [CREDIT if mean >= 0 else BLAME for mean in means]
    places, lines = [place for place, _ in known], {"capsize": 2, "ecolor": INK, "elinewidth": 1}
    axes.barh(places, means, xerr=errors, color=colors, height=0.66, error_kw=lines)
    axes.axvline(0, color=INK, linewidth=0.9)
    reach = 1.15 * max((abs(mean) + error for mean, error in zip(means, errors, strict=True)), default=1.0)
    axes.set_xlim(-(reach or 1.0), reach or 1.0)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(visible=False, axis="y")


def _draw(axes: Axes, points: Sequence[Point], *, name: str, color: str, shift: float, dots: bool) -> None:
    x, y = [point.x + shift for point in points], [point.y for point in points]
    axes.plot(x, y, color=color, label=name, marker="o" if dots else None, markersize=4.5, linewidth=1.5)
    closed = [point for point in points if point.lower is not None and point.upper is not None]
    axes.vlines(
        [point.x + shift for point in closed],
        [_number(point.lower) for point in closed],
        [_number(point.upper) for point in closed],
        color=color,
        linewidth=1.6,
    )


def _axes(*, x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = pyplot.subplots(figsize=(WIDTH, HEIGHT))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def _finish(
    figure: Figure,
    axes: Axes,
    *,
    y_range: tuple[float, float] | None,
    ticks: Mapping[int, str] | None,
    legend: bool,
) -> None:
    """Ranges, ticks, and the legend under the plot, where it can cover nothing."""
    if y_range is not None:
        axes.set_ylim(*y_range)
    low, high = axes.get_xlim()
    if high - low < 1:  # a single iteration: room on both sides, and no tick at a fraction of it
        middle = round((low + high) / 2)
        axes.set_xlim(middle - 1, middle + 1)
        ticks = ticks or {middle: str(middle)}
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()))
    has_two_lines = any("\n" in text for text in (ticks or {}).values())
    lines = -(-len(axes.get_legend_handles_labels()[0]) // 2) if legend else 0
    below = (
        0.5 + (0.16 if has_two_lines else 0.0) + 0.19 * lines
    )  # inches for tick labels, axis label and legend
    height = HEIGHT + 0.19 * lines
    figure.set_size_inches(WIDTH, height)
    figure.subplots_adjust(left=0.14, right=0.95, bottom=below / height, top=1 - 0.1 / height)
    if legend:
        figure.legend(loc="lower center", ncols=2, borderaxespad=0)


def svg(figure: Figure, *, label: str = "figure") -> str:
    """The figure, closed, as an SVG element without clocks; the label names it and prefixes its ids."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=NO_CLOCK_NO_AUTHOR)
    pyplot.close(figure)
    whole = text.getvalue()
    prefix = re.sub(r"\W+", "-", label.lower()).strip("-")
    named = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", whole[whole.index("<svg") :])
    return named.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _number(value: object) -> float:
    return float(str(value))


def _whole(value: object) -> int:
    return int(str(value))
