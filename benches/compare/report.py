"""What is told of a comparison: the table of targets, the figures behind it, and a chart."""

import math
import statistics

import charts
import document

CHART = "benches/compare/throughput.svg"


class Line:
    """A line of the table. `rule`: how the figure is to stand to the target."""

    def __init__(self, what, target, figure, rule=None, limit=None, shown=None):
        self.what, self.target, self.figure = what, target, figure
        self.met = None if rule is None else figure >= limit if rule == ">=" else figure <= limit
        self.shown = shown

    def cells(self):
        return self.what, self.target, self.shown, {None: "", True: "yes", False: "**no**"}[self.met]


def tell(results, write):
    """Prints everything, and writes it down where that is asked for. Whether all targets are met: 0, or 1."""
    figures = results["figures"]
    lines, others = targets(figures), [*beside(figures), answers(results["bytes of 443"])]
    print("\n".join(f"{name}: {fact}" for name, fact in results["machine"].items()), end="\n\n")
    print(document.plain(HEAD, [line.cells() for line in lines]), end="\n\n")
    print(document.plain(HEAD_OF_OTHERS, others), end="\n\n")
    missed = [line.what for line in lines if line.met is False]
    print(f"missed: {'; '.join(missed)}" if missed else "every target is met")
    if write:
        document.replace("machine", document.of_machine(results["machine"]))
        document.replace("targets", document.table(HEAD, [line.cells() for line in lines]))
        document.replace("beside", document.table(HEAD_OF_OTHERS, others))
        charts.bars(CHART, "Calls a second, the client on the same machine", peers(figures))
    return 1 if missed else 0


HEAD = "what", "target", "measured", "met"
HEAD_OF_OTHERS = "measured as well", "median", "least", "most"


def targets(figures):
    def rate(name, key="per_second"):
        return median(figures[name][key])

    def times(figure, *sides):
        return f"{figure:.3g} × ({' : '.join(count(side) for side in sides)})"

    empty, etcd = ratio(figures, "lookup", "health"), ratio(figures, "lookup beside etcd", "range")
    put = ratio(figures, "register", "put")
    tail = ratio(figures, "beside writes", "idle", "p99_us")
    start, first = (1000 * median(figures[name]["seconds"]) for name in ("start", "first start"))
    memory = median(figures["whole registry"]["mebibytes"])
    batch, annotate = rate("batch", "keys_per_second"), rate("annotate", "keys_per_second")
    return [
        Line("LookupPort, against an empty method of the same server", "≥ 0.95 ×", empty, ">=", .95,
             times(empty, rate("lookup"), rate("health"))),
        Line("LookupPort, against etcd's Range on the same data", "≥ 5 ×", etcd, ">=", 5,
             times(etcd, rate("lookup beside etcd"), rate("range"))),
        Line("BatchLookupPorts", "≥ 1.5 M keys/s", batch, ">=", 1.5e6, f"{batch / 1e6:.2f} M keys/s"),
        Line("AnnotatePorts", "≥ 5 M keys/s", annotate, ">=", 5e6, f"{annotate / 1e6:.2f} M keys/s"),
        Line("durable RegisterPort, 64 under way, against etcd's Put", "≥ 2 ×", put, ">=", 2,
             times(put, rate("register"), rate("put"))),
        Line("p99 of LookupPort while 64 write, against idle", "≤ 2 ×", tail, "<=", 2,
             f"{tail:.2f} × ({' : '.join(milliseconds(figures[name]['p99_us']) for name in ('beside writes', 'idle'))})"),
        Line("start on an existing database, to the first answer", "≤ 100 ms", start, "<=", 100, f"{start:.0f} ms"),
        Line("first start, the whole registry seeded, to the first answer", "≤ 1.5 s", first, "<=", 1500,
             f"{first / 1000:.2f} s"),
        Line("memory once the whole registry was looked up, at most", "≤ 60 MiB", memory, "<=", 60,
             f"{memory:.0f} MiB"),
    ]


def beside(figures):
    """The figures that are no target, or are behind one."""
    rows = [
        row("LookupPort of 443, calls/s", figures["lookup"]["per_second"]),
        row("Health/Check of Portbook (the empty method), calls/s", figures["health"]["per_second"]),
        row("bare tonic, an empty method, calls/s", figures["bare"]["per_second"]),
        row("LookupPort ÷ bare tonic", ratios(figures, "lookup", "bare"), "{:.2f}"),
        row("etcd Range, calls/s", figures["range"]["per_second"]),
        row("etcd Range, serializable, calls/s", figures["serializable range"]["per_second"]),
        row("LookupPort ÷ serializable Range", ratios(figures, "lookup beside etcd", "serializable range"), "{:.2f}"),
        row("whatportis, /ports/443, requests/s", figures["whatportis"]["per_second"], "{:.1f}"),
        row("RegisterPort, 64 under way, calls/s", figures["register"]["per_second"]),
        row("RegisterPort, p99, ms", thousandths(figures["register"]["p99_us"]), "{:.1f}"),
        row("etcd Put, 64 under way, calls/s", figures["put"]["per_second"]),
        row("etcd Put, p99, ms", thousandths(figures["put"]["p99_us"]), "{:.1f}"),
        row("etcd Put of one key, by h2load, calls/s", figures["put of one key by h2load"]["per_second"]),
    ]
    for where, name in (("idle", "idle"), ("while 64 write", "beside writes")):
        rows += [
            row(f"LookupPort at full load, {where}, calls/s", figures[name]["per_second"]),
            row(f"LookupPort at full load, {where}, p99, ms", thousandths(figures[name]["p99_us"]), "{:.1f}"),
            row(f"LookupPort at 2,000/s, {where}, p50, ms", thousandths(figures[f"{name} at a pace"]["p50_us"]), "{:.2f}"),
            row(f"LookupPort at 2,000/s, {where}, p99, ms", thousandths(figures[f"{name} at a pace"]["p99_us"]), "{:.2f}"),
        ]
    return rows + [
        row("RegisterPort beside these reads, calls/s", figures["writes beside reads"]["per_second"]),
        row("first start, ms", [1000 * took for took in figures["first start"]["seconds"]]),
        row("start, ms", [1000 * took for took in figures["start"]["seconds"]]),
        row("memory at most, after a start, MiB", figures["start"]["mebibytes"]),
        row("memory at most, after a first start, MiB", figures["first start"]["mebibytes"]),
    ]


def answers(sizes):
    return f"answer on 443, bytes: {' : '.join(sizes)}", " : ".join(f"{size:,}" for size in sizes.values()), "", ""


def peers(figures):
    """What the chart shows: groups of bars."""
    def bar(label, name):
        return label, median(figures[name]["per_second"])

    return {
        "what is on 443?": [bar("bare tonic, empty method", "bare"), bar("Portbook, Health/Check", "health"),
                            bar("Portbook, LookupPort", "lookup"), bar("etcd, Range", "range"),
                            bar("whatportis, GET", "whatportis")],
        "take a port, durably": [bar("Portbook, RegisterPort", "register"), bar("etcd, Put", "put")],
        "reading while 64 write": [bar("Portbook, LookupPort", "beside writes"),
                                   bar("Portbook, RegisterPort", "writes beside reads")],
    }


def row(what, values, form="{:,.0f}"):
    return what, form.format(median(values)), form.format(min(values)), form.format(max(values))


def ratios(figures, one, other, key="per_second"):
    """Of what was measured close to each other."""
    return [first / second for first, second in zip(figures[one][key], figures[other][key], strict=True)]


def ratio(*about):
    return median(ratios(*about))


def median(values):
    return statistics.median(values)


def count(figure):
    """To three digits: no more than can be measured again."""
    return f"{round(figure, 2 - math.floor(math.log10(figure))):,.0f}"


def milliseconds(microseconds):
    return f"{median(microseconds) / 1000:.1f} ms"


def thousandths(values):
    return [value / 1000 for value in values]
