"""The report of a comparison: the table of targets, the other figures, and a chart."""

import math
import statistics

import charts
import document

CHART = "benches/compare/throughput.svg"


class Target:
    """A row of the table. `rule` compares the figure with the limit: `>=` or `<=`."""

    def __init__(self, what, target, figure, rule=None, limit=None, shown=None):
        self.what, self.target, self.figure = what, target, figure
        self.met = None if rule is None else figure >= limit if rule == ">=" else figure <= limit
        self.shown = shown

    def cells(self):
        return self.what, self.target, self.shown, {None: "", True: "yes", False: "**no**"}[self.met]


def report(results, write):
    """Prints the results and, if requested, writes them to docs/benchmarks.md. Returns the exit code: 0 if every target is
    met, otherwise 1."""
    figures = results["figures"]
    rows, others = targets(figures), [*other_figures(figures), response_sizes(results["bytes of 443"])]
    print("\n".join(f"{name}: {fact}" for name, fact in results["machine"].items()), end="\n\n")
    print(document.plain(HEADER, [row.cells() for row in rows]), end="\n\n")
    print(document.plain(HEADER_OF_OTHERS, others), end="\n\n")
    missed = [row.what for row in rows if row.met is False]
    print(f"missed: {'; '.join(missed)}" if missed else "every target is met")
    if write:
        document.replace("machine", document.list_facts(results["machine"]))
        document.replace("targets", document.table(HEADER, [row.cells() for row in rows]))
        document.replace("beside", document.table(HEADER_OF_OTHERS, others))
        charts.bars(CHART, "Calls per second, client on the same machine", peers(figures))
    return 1 if missed else 0


HEADER = "what", "target", "measured", "met"
HEADER_OF_OTHERS = "other figures", "median", "minimum", "maximum"


def targets(figures):
    def rate(name, key="per_second"):
        return median(figures[name][key])

    def times(figure, *sides):
        return f"{figure:.3g} × ({' : '.join(count(side) for side in sides)})"

    empty, etcd = ratio(figures, "lookup", "health"), ratio(figures, "lookup beside etcd", "range")
    put = ratio(figures, "register", "put")
    names = "beside writes", "idle"
    tail = ratio(figures, *names, "p99_us")
    start, first = (1000 * median(figures[name]["seconds"]) for name in ("start", "first start"))
    memory = median(figures["complete registry"]["mebibytes"])
    batch, annotate = rate("batch", "keys_per_second"), rate("annotate", "keys_per_second")
    return [
        Target("LookupPort, against an empty method of the same server", "≥ 0.95 ×", empty, ">=", .95,
               times(empty, rate("lookup"), rate("health"))),
        Target("LookupPort, against etcd's Range on the same data", "≥ 5 ×", etcd, ">=", 5,
               times(etcd, rate("lookup beside etcd"), rate("range"))),
        Target("BatchLookupPorts", "≥ 1.5 M keys/s", batch, ">=", 1.5e6, f"{batch / 1e6:.2f} M keys/s"),
        Target("AnnotatePorts", "≥ 5 M keys/s", annotate, ">=", 5e6, f"{annotate / 1e6:.2f} M keys/s"),
        Target("durable RegisterPort, 64 in flight, against etcd's Put", "≥ 2 ×", put, ">=", 2,
               times(put, rate("register"), rate("put"))),
        Target("p99 of LookupPort with 64 writers, against idle", "≤ 2 ×", tail, "<=", 2,
               f"{tail:.2f} × ({' : '.join(milliseconds(figures[name]['p99_us']) for name in names)})"),
        Target("start on an existing database, to the first response", "≤ 100 ms", start, "<=", 100, f"{start:.0f} ms"),
        Target("first start with seeding, to the first response", "≤ 1.5 s", first, "<=", 1500,
               f"{first / 1000:.2f} s"),
        Target("peak memory after looking up the complete registry", "≤ 60 MiB", memory, "<=", 60,
               f"{memory:.0f} MiB"),
    ]


def other_figures(figures):
    """The figures without a target, or from which a target's figure is calculated."""
    rows = [
        row("LookupPort of 443, calls/s", figures["lookup"]["per_second"]),
        row("Health/Check of Portbook (the empty method), calls/s", figures["health"]["per_second"]),
        row("bare tonic, an empty method, calls/s", figures["bare"]["per_second"]),
        row("LookupPort ÷ bare tonic", ratios(figures, "lookup", "bare"), "{:.2f}"),
        row("etcd Range, calls/s", figures["range"]["per_second"]),
        row("etcd Range, serializable, calls/s", figures["serializable range"]["per_second"]),
        row("LookupPort ÷ serializable Range", ratios(figures, "lookup beside etcd", "serializable range"), "{:.2f}"),
        row("whatportis, /ports/443, requests/s", figures["whatportis"]["per_second"], "{:.1f}"),
        row("RegisterPort, 64 in flight, calls/s", figures["register"]["per_second"]),
        row("RegisterPort, p99, ms", thousandths(figures["register"]["p99_us"]), "{:.1f}"),
        row("etcd Put, 64 in flight, calls/s", figures["put"]["per_second"]),
        row("etcd Put, p99, ms", thousandths(figures["put"]["p99_us"]), "{:.1f}"),
        row("etcd Put of one key, by h2load, calls/s", figures["put of one key by h2load"]["per_second"]),
    ]
    for where, name in (("idle", "idle"), ("with 64 writers", "beside writes")):
        rows += [
            row(f"LookupPort at full load, {where}, calls/s", figures[name]["per_second"]),
            row(f"LookupPort at full load, {where}, p99, ms", thousandths(figures[name]["p99_us"]), "{:.1f}"),
            *[row(f"LookupPort at 2,000/s, {where}, {percentile}, ms",
                  thousandths(figures[f"{name} at a fixed rate"][f"{percentile}_us"]), "{:.2f}")
              for percentile in ("p50", "p99")],
        ]
    return rows + [
        row("RegisterPort during these reads, calls/s", figures["writes beside reads"]["per_second"]),
        row("first start, ms", [1000 * seconds for seconds in figures["first start"]["seconds"]]),
        row("start, ms", [1000 * seconds for seconds in figures["start"]["seconds"]]),
        row("peak memory after a start, MiB", figures["start"]["mebibytes"]),
        row("peak memory after a first start, MiB", figures["first start"]["mebibytes"]),
    ]


def response_sizes(sizes):
    return f"response for 443, bytes: {' : '.join(sizes)}", " : ".join(f"{size:,}" for size in sizes.values()), "", ""


def peers(figures):
    """The groups of bars of the chart."""
    def bar(label, name):
        return label, median(figures[name]["per_second"])

    return {
        "what is on 443?": [bar("bare tonic, empty method", "bare"), bar("Portbook, Health/Check", "health"),
                            bar("Portbook, LookupPort", "lookup"), bar("etcd, Range", "range"),
                            bar("whatportis, GET", "whatportis")],
        "register a port, durably": [bar("Portbook, RegisterPort", "register"), bar("etcd, Put", "put")],
        "reads with 64 writers": [bar("Portbook, LookupPort", "beside writes"),
                                   bar("Portbook, RegisterPort", "writes beside reads")],
    }


def row(what, values, form="{:,.0f}"):
    return what, form.format(median(values)), form.format(min(values)), form.format(max(values))


def ratios(figures, one, other, key="per_second"):
    """The ratios of two figures that were measured in the same round."""
    return [first / second for first, second in zip(figures[one][key], figures[other][key], strict=True)]


def ratio(*arguments):
    return median(ratios(*arguments))


def median(values):
    return statistics.median(values)


def count(figure):
    """Rounded to three digits, because more are not reproducible."""
    return f"{round(figure, 2 - math.floor(math.log10(figure))):,.0f}"


def milliseconds(microseconds):
    return f"{median(microseconds) / 1000:.1f} ms"


def thousandths(values):
    return [value / 1000 for value in values]
