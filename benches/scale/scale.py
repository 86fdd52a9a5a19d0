"""Fills servers with increasing numbers of assignments and measures the same calls on each, in turn.

usage: scale.py [--write] [--largest ASSIGNMENTS]
"""

import argparse
import contextlib
import json
import pathlib
import random
import statistics
import sys
import tempfile
import time

from portbook.v1 import namespace_pb2 as namespace
from portbook.v1 import port_admin_service_pb2 as admin
from portbook.v1 import port_registry_service_pb2 as registry

import charts
import document
from load import load
from machine import machine
from organisation import MAX_REGISTRATIONS, WORDS, mistyped, registrations
from servers import PORTBOOK, READS, WRITES, Portbook, exit_on_signals, framed

FOLDER, CHART = pathlib.Path("target/scale"), "benches/scale/cost.svg"
ROUNDS, STARTS, CALLS, SECONDS = 3, 3, 200, 1.5
PER_NAMESPACE, BATCH, SEED = 5_000, 1_000, 793
# The number of pages of 1,000 before a deep page, and the time limit for reading them.
DEEP, DEEP_SECONDS = 100, 15


class MeasuredServer:
    """A server with many registrations, and its measurements."""

    def __init__(self, stack, name, folder, namespaces):
        """`namespaces` gives the number of registrations of each namespace. The stack stops the server."""
        folder.mkdir()
        self.name, self.folder, self.rng = name, folder, random.Random(SEED)
        self.results = {}
        self.server = Portbook(folder, "--log", "warn").connect()
        stack.callback(lambda: self.server.stop())
        self.namespace = next(iter(namespaces), "default")
        self.fill(namespaces)
        self.server.stop()
        for _ in range(STARTS - 1):
            self.start().stop()
        self.start().connect()
        self.calls = self.prepare_calls()

    def fill(self, namespaces):
        # `reserved` is registered later, when registrations are measured.
        self.reserved, self.samples = [], []
        began = time.perf_counter()
        for name, count in (namespaces or {"default": 0}).items():
            if name != "default":
                self.server.write("CreateNamespace", admin.CreateNamespaceRequest(
                    namespace=namespace.Namespace(name=name)))
            spare = ROUNDS * CALLS if name == self.namespace else 0
            requests = list(registrations(name, min(count + spare, MAX_REGISTRATIONS), SEED))
            self.reserved += requests[len(requests) - spare:]
            requests = requests[:len(requests) - spare]
            self.samples += self.rng.sample(requests, min(20, len(requests)))
            for first in range(0, len(requests), BATCH):
                self.server.write("BatchRegisterPorts", admin.BatchRegisterPortsRequest(
                    requests=requests[first:first + BATCH]))
        self.assignments = self.server.reads.ListAssignments(registry.ListAssignmentsRequest(
            filter=registry.AssignmentFilter(namespace="-"), page_size=1)).total_size
        self.seconds_to_fill = time.perf_counter() - began

    def start(self):
        self.server = Portbook(self.folder, "--log", "warn")
        self.record("start", {"seconds": self.server.seconds_to_start})
        return self.server

    def record(self, what, result):
        for name, value in result.items():
            self.results.setdefault(what, {}).setdefault(name, []).append(value)

    def prepare_calls(self):
        """The calls by name: the rpc and its messages, which differ if that affects the duration."""
        one, page = registry.AssignmentFilter(namespace=self.namespace), registry.ListAssignmentsRequest
        everywhere = registry.AssignmentFilter(namespace="-")
        names = ([request.service_name for request in self.samples if request.namespace == self.namespace]
                 or self.names_of_iana())
        words = [word for text in WORDS for word in text.split() if len(word) > 3]
        search = {
            "name": names,
            "word": words,
            "typing error": [mistyped(self.rng.choice(names), self.rng) for _ in range(CALLS)],
            "port": [str(self.rng.randrange(1, 65_536)) for _ in range(CALLS)],
        }
        lookups = [registry.LookupPortRequest(
            namespace=request.namespace, port=request.ports.first, transport=request.transports[0])
            for request in self.samples]
        return {
            "lookup": ("LookupPort", lookups or [
                registry.LookupPortRequest(port=self.rng.randrange(65_536)) for _ in range(CALLS)]),
            "first page": ("ListAssignments", [page(filter=one)]),
            "deep page": ("ListAssignments", [page(filter=one, page_token=self.deep_token(one))]),
            "first page of all": ("ListAssignments", [page(filter=everywhere)]),
            "deep page of all": ("ListAssignments", [page(filter=everywhere, page_token=self.deep_token(everywhere))]),
            **{f"search by {kind}": ("SearchAssignments", [
                registry.SearchAssignmentsRequest(namespace=self.namespace, query=query) for query in queries])
                for kind, queries in search.items()},
        }

    def names_of_iana(self):
        records = self.server.reads.ListAssignments(registry.ListAssignmentsRequest(
            filter=registry.AssignmentFilter(service_name_prefix="s"), page_size=1000)).assignments
        return [record.service_name for record in self.rng.sample(records, 20)]

    def deep_token(self, filter):
        """The token of the last page of 1,000 that is reached."""
        token = before = ""
        until = time.monotonic() + DEEP_SECONDS
        for _ in range(DEEP):
            if time.monotonic() > until:
                break
            response = self.server.reads.ListAssignments(registry.ListAssignmentsRequest(
                filter=filter, page_size=1000, page_token=token))
            if not response.next_page_token:
                break
            before, token = token, response.next_page_token
        return before

    def measure(self, round_number):
        for what, (rpc, messages) in self.calls.items():
            self.record(what, self.timed(f"{READS}{rpc}", messages, calls=CALLS))
        first = round_number * CALLS
        self.record("register", self.timed(f"{WRITES}RegisterPort", self.reserved[first:first + CALLS], token=True))

    def timed(self, path, messages, **options):
        """Measures the calls, made one after the other."""
        file = self.folder / "messages"
        file.write_bytes(b"".join(framed(message) for message in messages))
        return load(self.server.address, path, file, connections=1, streams=1, seconds=SECONDS, **options)

    def result(self):
        return {
            "assignments": self.assignments, "seconds to fill": self.seconds_to_fill,
            "memory": self.server.mebibytes(), "peak memory": self.server.mebibytes("VmHWM"),
            "database": self.server.database.stat().st_size / 1024**2,
            "start": statistics.median(self.results["start"]["seconds"]),
            **{what: {key: statistics.median(result[key]) / 1000 for key in ("p50_us", "p99_us")}
               for what, result in self.results.items() if what != "start"},
        }


def spread(assignments):
    """Distributes the assignments to namespaces of PER_NAMESPACE; the last one has the remainder."""
    return {f"space-{first // PER_NAMESPACE}": min(PER_NAMESPACE, assignments - first)
            for first in range(0, assignments, PER_NAMESPACE)}


def plans(largest):
    iana = 15_000
    return {
        "15 k": {},
        "100 k": spread(100_000 - iana),
        short(largest): spread(largest - iana),
        "one full namespace": {"full": MAX_REGISTRATIONS},
    }


def short(count):
    return f"{count / 1e6:g} M" if count >= 1e6 else f"{count / 1000:g} k"


TITLES = {
    "lookup": "LookupPort of a held port", "first page": "first page of 50, of a namespace",
    "deep page": "deep page of 50, of a namespace", "first page of all": "first page of 50, of all namespaces",
    "deep page of all": "deep page of 50, of all namespaces", "search by name": "search by a name",
    "search by word": "search by a word", "search by typing error": "search by a name with a typing error",
    "search by port": "search by a port", "register": "RegisterPort, one at a time",
}


def rows(results):
    def row(title, cells):
        return [title, *cells]

    def latencies(result):
        return f"{result['p50_us']:.2f} / {result['p99_us']:.2f}"

    results = results.values()
    return [
        row("assignments", (f"{result['assignments']:,}" for result in results)),
        *[row(f"{title}, ms", (latencies(result[what]) for result in results)) for what, title in TITLES.items()],
        row("memory, MiB", (f"{result['memory']:,.0f}" for result in results)),
        row("peak memory, MiB", (f"{result['peak memory']:,.0f}" for result in results)),
        row("database, MiB", (f"{result['database']:,.0f}" for result in results)),
        row("start, to the first response, s", (f"{result['start']:.2f}" for result in results)),
        row("time to fill, s", (f"{result['seconds to fill']:,.0f}" for result in results)),
    ]


def chart(results):
    *growing, full = results.values()

    def curve(value):
        return [value(result) for result in growing], value(full)

    def latency(what, percentile):
        return curve(lambda result: result[what][percentile])

    searches = {kind: f"search by {kind}" for kind in ("name", "word", "typing error", "port")}
    pages = {"first": "first page", "deep": "deep page", "first of all": "first page of all",
             "deep of all": "deep page of all"}
    charts.lines(CHART, "Cost by number of assignments", {
        "LookupPort": ("ms", {"p50": latency("lookup", "p50_us"), "p99": latency("lookup", "p99_us")}),
        "A page of 50, p50": ("ms", {name: latency(what, "p50_us") for name, what in pages.items()}),
        "Search, p50": ("ms", {name: latency(what, "p50_us") for name, what in searches.items()}),
        "Search, p99": ("ms", {name: latency(what, "p99_us") for name, what in searches.items()}),
        "RegisterPort": ("ms", {"p50": latency("register", "p50_us"), "p99": latency("register", "p99_us")}),
        "Memory": ("MiB", {"current": curve(lambda result: result["memory"]),
                           "peak": curve(lambda result: result["peak memory"])}),
        "Start": ("s", {"start": curve(lambda result: result["start"])}),
        "Database": ("MiB", {"file": curve(lambda result: result["database"])}),
    }, [result["assignments"] for result in growing], ("one full namespace", full["assignments"]))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="write the results into docs/benchmarks.md and its chart")
    arguments.add_argument("--largest", type=int, default=1_000_000)
    arguments = arguments.parse_args()
    exit_on_signals()
    facts = machine(FOLDER, [[PORTBOOK, "--version"], ["rustc", "--version"]])
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, contextlib.ExitStack() as stack:
        servers = []
        for number, (name, namespaces) in enumerate(plans(arguments.largest).items()):
            server = MeasuredServer(stack, name, pathlib.Path(folder) / str(number), namespaces)
            servers.append(server)
            print(f"{name}: filled in {server.seconds_to_fill:.0f} s", file=sys.stderr, flush=True)
        for number in range(ROUNDS):
            for server in random.Random(number).sample(servers, len(servers)):
                server.measure(number)
        results = {server.name: server.result() for server in servers}
    (FOLDER / "results.json").write_text(json.dumps({"machine": facts, "figures": results}, indent=1))
    head = ["p50 / p99", *results]
    print("\n".join(f"{name}: {fact}" for name, fact in facts.items()), end="\n\n")
    print(document.plain(head, rows(results)))
    smallest, *_, largest, _ = results.values()
    print(f"\nRegisterPort with {largest['assignments']:,} against {smallest['assignments']:,} assignments: "
          f"{largest['register']['p50_us'] / smallest['register']['p50_us']:.2f} ×")
    if arguments.write:
        document.replace("size", f"{document.list_facts(facts)}\n\n{document.table(head, rows(results))}")
        chart(results)


main()
