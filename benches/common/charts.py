"""Deterministic SVG charts: text is stored as text, without dates and random ids."""

import math

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker

matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "portbook", "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans", "sans-serif"], "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "figure.facecolor": "white", "savefig.facecolor": "white"})

PORTBOOK, OTHER = "#0b6e75", "#b9bec4"
COLORS = ["#0b6e75", "#c2571a", "#5b4b9a", "#3f7d20", "#a3123f", "#555555"]


def bars(path, title, groups):
    """Groups of labelled bars on a common logarithmic scale."""
    figure, axes = pyplot.subplots(figsize=(8, 4.6), layout="constrained")
    # Padding, because the reader's fonts may be wider than those of this machine.
    figure.get_layout_engine().set(w_pad=.2)
    positions, labels, position = [], [], 0
    for name, group in groups.items():
        axes.text(0, position, f"{name[0].upper()}{name[1:]}", transform=axes.get_yaxis_transform(), weight="bold",
                  va="center")
        for label, value in group:
            position += 1
            positions.append(position)
            labels.append(label)
            axes.barh(position, value, height=.72, color=PORTBOOK if label.startswith("Portbook") else OTHER)
            axes.text(value * 1.08, position, f"{value:,.0f}" if value >= 100 else f"{value:.1f}", va="center")
        position += 1.2
    axes.set(xscale="log", xlim=(1, 300_000), ylim=(position - .6, -.7), title=title)
    axes.set_yticks(positions, labels)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(axis="x", color="#e3e3e3")
    axes.set_axisbelow(True)
    save(figure, path)


def lines(path, title, panels, sizes, special_case):
    """Panels of lines over the sizes, on logarithmic scales. A panel has a unit and, by label, the values of a line and
    the value of a special case, whose name and size are given."""
    special_name, special_size = special_case
    figure, grid = pyplot.subplots(2, (len(panels) + 1) // 2, figsize=(13, 6.6), layout="constrained")
    figure.suptitle(f"{title}  (◇ {special_name}, {special_size:,} assignments)")
    for axes, (name, (unit, curves)) in zip(grid.flat, panels.items()):
        for color, (label, (values, special_value)) in zip(COLORS, curves.items()):
            axes.plot(sizes, values, marker="o", markersize=4, color=color, label=label)
            axes.plot(special_size, special_value, marker="D", markersize=6, color=color, markerfacecolor="white")
        axes.set(xscale="log", yscale="log", title=f"{name}, {unit}")
        axes.xaxis.set_major_locator(ticker.FixedLocator(sizes))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        drawn = [value for values, special_value in curves.values() for value in (*values, special_value)]
        # Complete decades, at least two, so that slow growth looks flat.
        low, high = (10 ** edge(math.log10(bound(drawn))) for edge, bound in ((math.floor, min), (math.ceil, max)))
        axes.set_ylim(low, max(high, 100 * low))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        axes.grid(color="#e3e3e3")
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)
    for axes in grid.flat[len(panels):]:
        axes.axis("off")
    save(figure, path)


def short(size):
    return f"{size / 1e6:.0f} M" if size >= 1e6 else f"{size / 1000:.0f} k"


def save(figure, path):
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
