"""Plots of the report as SVG text: one function per panel, axes with units, same rows same bytes."""

import io
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("svg")  # before pyplot: no display is ever wanted
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Row = Mapping[str, object]
Z95 = 1.96
COLORS = ("#2a6f97", "#c1666b", "#5b8e7d", "#d4a259", "#7a6c9d", "#8d8d8d", "#3d405b", "#bc4b51")
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "report",  # ids in the file are salted; a fixed salt keeps the bytes the same
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
    }
)


def learning_curve(series: Mapping[str, Sequence[Row]]) -> str:
    """Success per iteration with 95 % intervals; rows hold iteration, success and success_error."""
    figure, axes = _axes(title="Success of the evaluated candidate", y="success (%)")
    for color, (label, rows) in zip(COLORS, series.items(), strict=False):
        x = [_number(row["iteration"]) for row in rows]
        y = [100 * _number(row["success"]) for row in rows]
        error = [100 * Z95 * _number(row["success_error"]) for row in rows]
        axes.errorbar(x, y, yerr=error, label=label, color=color, marker="o", capsize=3)
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, loc="lower right")
    return svg(figure)


def lines(rows: Sequence[Row], columns: Mapping[str, str], *, title: str, y: str) -> str:
    """One line per column over iterations; a missing value leaves a gap."""
    figure, axes = _axes(title=title, y=y)
    for color, (column, label) in zip(COLORS, columns.items(), strict=False):
        kept = [row for row in rows if row.get(column) is not None]
        x = [_number(row["iteration"]) for row in kept]
        axes.plot(x, [_number(row[column]) for row in kept], marker="o", color=color, label=label)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.legend(frameon=False)
    return svg(figure)


def stacked_shares(rows: Sequence[Row], *, part: str, share: str, title: str) -> str:
    """Shares that sum to 100 % per iteration, stacked bar by bar."""
    figure, axes = _axes(title=title, y="share (%)")
    iterations = sorted({_whole(row["iteration"]) for row in rows})
    parts = sorted({str(row[part]) for row in rows})
    cell = {(_whole(row["iteration"]), str(row[part])): 100 * _number(row[share]) for row in rows}
    bottom = [0.0] * len(iterations)
    for color, name in zip(COLORS, parts, strict=False):
        heights = [cell.get((iteration, name), 0.0) for iteration in iterations]
        axes.bar(iterations, heights, bottom=bottom, color=color, label=name, width=0.7)
        bottom = [base + height for base, height in zip(bottom, heights, strict=True)]
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return svg(figure)


def credit_by_kind(rows: Sequence[Row], methods: Sequence[str]) -> str:
    """Mean credit per kind of turn, one panel per method, each in its own scale, next to the oracle."""
    kinds = sorted({str(row["turn_kind"]) for row in rows})
    figure, panels = pyplot.subplots(
        1, len(methods), figsize=(2.3 * len(methods) + 0.8, 2.9), sharey=True, squeeze=False
    )
    for axes, color, method in zip(panels[0], COLORS, methods, strict=False):
        found = {str(row["turn_kind"]): row for row in rows if row["method"] == method}
        means = [_number(found[kind]["mean"]) if kind in found else 0.0 for kind in kinds]
        errors = [Z95 * _number(found[kind]["standard_error"]) if kind in found else 0.0 for kind in kinds]
        axes.barh(kinds, means, xerr=errors, color=color, error_kw={"capsize": 2})
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.set_title("truth (oracle)" if method == "oracle_pi" else method)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("mean credit")
    return svg(figure)


def _axes(*, title: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = pyplot.subplots(figsize=(5.4, 3.1))
    axes.set_title(title, loc="left")
    axes.set_xlabel("iteration")
    axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def svg(figure: Figure) -> str:
    """The figure as SVG text without clocks, and the figure is closed."""
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    whole = text.getvalue()
    return whole[whole.index("<svg") :]


def _number(value: object) -> float:
    return 0.0 if value is None else float(str(value))


def _whole(value: object) -> int:
    return int(str(value))
