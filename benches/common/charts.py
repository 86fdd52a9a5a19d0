"""Charts as SVG, the same from the same figures: text as text, no dates, no random names."""

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
INKS = ["#0b6e75", "#c2571a", "#5b4b9a", "#3f7d20", "#a3123f", "#555555"]


def bars(path, title, groups):
    """Groups of bars, each with its label and its figure, on one logarithmic scale."""
    figure, axes = pyplot.subplots(figsize=(8, 4.6), layout="constrained")
    # Readers have other fonts than this machine.
    figure.get_layout_engine().set(w_pad=.2)
    places, labels, at = [], [], 0
    for name, group in groups.items():
        axes.text(0, at, f"{name[0].upper()}{name[1:]}", transform=axes.get_yaxis_transform(), weight="bold",
                  va="center")
        for label, figure_of in group:
            at += 1
            places.append(at)
            labels.append(label)
            axes.barh(at, figure_of, height=.72, color=PORTBOOK if label.startswith("Portbook") else OTHER)
            axes.text(figure_of * 1.08, at, f"{figure_of:,.0f}" if figure_of >= 100 else f"{figure_of:.1f}",
                      va="center")
        at += 1.2
    axes.set(xscale="log", xlim=(1, 300_000), ylim=(at - .6, -.7), title=title)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(axis="x", color="#e3e3e3")
    axes.set_axisbelow(True)
    save(figure, path)


def lines(path, title, panels, sizes, apart):
    """Panels of lines over the sizes, all logarithmic. A panel: its unit, and by name the values of a line and the one
    of the case that stands apart, whose name and size are given."""
    name_apart, size_apart = apart
    figure, grid = pyplot.subplots(2, (len(panels) + 1) // 2, figsize=(13, 6.6), layout="constrained")
    figure.suptitle(f"{title}  (◇ {name_apart}, {size_apart:,} assignments)")
    for axes, (name, (unit, curves)) in zip(grid.flat, panels.items()):
        for ink, (label, (values, value_apart)) in zip(INKS, curves.items()):
            axes.plot(sizes, values, marker="o", markersize=4, color=ink, label=label)
            axes.plot(size_apart, value_apart, marker="D", markersize=6, color=ink, markerfacecolor="white")
        axes.set(xscale="log", yscale="log", title=f"{name}, {unit}")
        axes.xaxis.set_major_locator(ticker.FixedLocator(sizes))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: in_short(value)))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        drawn = [value for values, value_apart in curves.values() for value in (*values, value_apart)]
        # Whole decades, and never less than two: what hardly grows is to look so.
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


def in_short(size):
    return f"{size / 1e6:.0f} M" if size >= 1e6 else f"{size / 1000:.0f} k"


def save(figure, path):
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
