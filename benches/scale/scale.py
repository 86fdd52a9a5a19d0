"""Fills servers with more and more assignments, and measures the same calls on all of them, in turns.

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
from organisation import PLACES, WORDS, mistyped, registrations
from servers import PORTBOOK, READS, WRITES, Portbook, end_cleanly, framed

FOLDER, CHART = pathlib.Path("target/scale"), "benches/scale/cost.svg"
ROUNDS, STARTS, CALLS, SECONDS = 3, 3, 200, 1.5
PER_NAMESPACE, BATCH, SEED = 5_000, 1_000, 793
# How many pages of 1,000 are gone through to come to a deep one, and for how many seconds at most.
DEEP, DEEP_SECONDS = 100, 15


class Held:
    """A server with many registrations, and the calls that are measured of it."""

    def __init__(self, stack, name, folder, spaces):
        """`spaces`: how many registrations each namespace is to hold. The server ends with the stack."""
        folder.mkdir()
        self.name, self.folder, self.chance = name, folder, random.Random(SEED)
        self.took = {}
        self.server = Portbook(folder, "--log", "warn").connect()
        stack.callback(lambda: self.server.stop())
        self.space = next(iter(spaces), "default")
        self.fill(spaces)
        self.server.stop()
        for _ in range(STARTS - 1):
            self.start().stop()
        self.start().connect()
        self.calls = self.prepared()

    def fill(self, spaces):
        # Held back, to be registered when that is measured.
        self.later, self.some = [], []
        began = time.perf_counter()
        for space, count in (spaces or {"default": 0}).items():
            if space != "default":
                self.server.write("CreateNamespace", admin.CreateNamespaceRequest(
                    namespace=namespace.Namespace(name=space)))
            spare = ROUNDS * CALLS if space == self.space else 0
            wanted = list(registrations(space, min(count + spare, PLACES), SEED))
            self.later += wanted[len(wanted) - spare:]
            wanted = wanted[:len(wanted) - spare]
            self.some += self.chance.sample(wanted, min(20, len(wanted)))
            for first in range(0, len(wanted), BATCH):
                self.server.write("BatchRegisterPorts", admin.BatchRegisterPortsRequest(
                    requests=wanted[first:first + BATCH]))
        self.assignments = self.server.reads.ListAssignments(registry.ListAssignmentsRequest(
            filter=registry.AssignmentFilter(namespace="-"), page_size=1)).total_size
        self.seconds_to_fill = time.perf_counter() - began

    def start(self):
        self.server = Portbook(self.folder, "--log", "warn")
        self.note("start", {"seconds": self.server.seconds_to_start})
        return self.server

    def note(self, what, told):
        for name, value in told.items():
            self.took.setdefault(what, {}).setdefault(name, []).append(value)

    def prepared(self):
        """The calls, by name: the rpc and the messages, all different where that makes a difference."""
        whole, page = registry.AssignmentFilter(namespace=self.space), registry.ListAssignmentsRequest
        everywhere = registry.AssignmentFilter(namespace="-")
        names = [held.service_name for held in self.some if held.namespace == self.space] or self.names_of_iana()
        words = [word for text in WORDS for word in text.split() if len(word) > 3]
        search = {
            "name": names,
            "word": words,
            "typing error": [mistyped(self.chance.choice(names), self.chance) for _ in range(CALLS)],
            "port": [str(self.chance.randrange(1, 65_536)) for _ in range(CALLS)],
        }
        lookups = [registry.LookupPortRequest(
            namespace=held.namespace, port=held.ports.first, transport=held.transports[0]) for held in self.some]
        return {
            "lookup": ("LookupPort", lookups or [
                registry.LookupPortRequest(port=self.chance.randrange(65_536)) for _ in range(CALLS)]),
            "first page": ("ListAssignments", [page(filter=whole)]),
            "deep page": ("ListAssignments", [page(filter=whole, page_token=self.deep_token(whole))]),
            "first page of all": ("ListAssignments", [page(filter=everywhere)]),
            "deep page of all": ("ListAssignments", [page(filter=everywhere, page_token=self.deep_token(everywhere))]),
            **{f"search by {kind}": ("SearchAssignments", [
                registry.SearchAssignmentsRequest(namespace=self.space, query=query) for query in queries])
                for kind, queries in search.items()},
        }

    def names_of_iana(self):
        records = self.server.reads.ListAssignments(registry.ListAssignmentsRequest(
            filter=registry.AssignmentFilter(service_name_prefix="s"), page_size=1000)).assignments
        return [record.service_name for record in self.chance.sample(records, 20)]

    def deep_token(self, whole):
        """The token of the last page of 1,000 that is come to."""
        token = before = ""
        until = time.monotonic() + DEEP_SECONDS
        for _ in range(DEEP):
            if time.monotonic() > until:
                break
            answer = self.server.reads.ListAssignments(registry.ListAssignmentsRequest(
                filter=whole, page_size=1000, page_token=token))
            if not answer.next_page_token:
                break
            before, token = token, answer.next_page_token
        return before

    def measure(self, round_number):
        for what, (rpc, messages) in self.calls.items():
            self.note(what, self.timed(f"{READS}{rpc}", messages, calls=CALLS))
        first = round_number * CALLS
        self.note("register", self.timed(f"{WRITES}RegisterPort", self.later[first:first + CALLS], token=True))

    def timed(self, path, messages, **how):
        """The calls, one after the other."""
        file = self.folder / "messages"
        file.write_bytes(b"".join(framed(message) for message in messages))
        return load(self.server.address, path, file, connections=1, streams=1, seconds=SECONDS, **how)

    def result(self):
        return {
            "assignments": self.assignments, "seconds to fill": self.seconds_to_fill,
            "memory": self.server.mebibytes(), "most memory": self.server.mebibytes("VmHWM"),
            "database": self.server.database.stat().st_size / 1024**2,
            "start": statistics.median(self.took["start"]["seconds"]),
            **{what: {key: statistics.median(told[key]) / 1000 for key in ("p50_us", "p99_us")}
               for what, told in self.took.items() if what != "start"},
        }


def spread(assignments):
    """So many in namespaces of PER_NAMESPACE, the last one with what is left."""
    return {f"space-{first // PER_NAMESPACE}": min(PER_NAMESPACE, assignments - first)
            for first in range(0, assignments, PER_NAMESPACE)}


def plans(largest):
    iana = 15_000
    return {
        "15 k": {},
        "100 k": spread(100_000 - iana),
        in_short(largest): spread(largest - iana),
        "one full namespace": {"full": PLACES},
    }


def in_short(count):
    return f"{count / 1e6:g} M" if count >= 1e6 else f"{count / 1000:g} k"


CALLED = {
    "lookup": "LookupPort of a held port", "first page": "first page of 50, of a namespace",
    "deep page": "deep page of 50, of a namespace", "first page of all": "first page of 50, of all namespaces",
    "deep page of all": "deep page of 50, of all namespaces", "search by name": "search by a name",
    "search by word": "search by a word", "search by typing error": "search by a name with a typing error",
    "search by port": "search by a port", "register": "RegisterPort, one at a time",
}


def rows(results):
    def line(what, cells):
        return [what, *cells]

    def both(told):
        return f"{told['p50_us']:.2f} / {told['p99_us']:.2f}"

    kept = results.values()
    return [
        line("assignments", (f"{held['assignments']:,}" for held in kept)),
        *[line(f"{name}, ms", (both(held[what]) for held in kept)) for what, name in CALLED.items()],
        line("memory, MiB", (f"{held['memory']:,.0f}" for held in kept)),
        line("memory at most, MiB", (f"{held['most memory']:,.0f}" for held in kept)),
        line("database, MiB", (f"{held['database']:,.0f}" for held in kept)),
        line("start, to the first answer, s", (f"{held['start']:.2f}" for held in kept)),
        line("time to fill, s", (f"{held['seconds to fill']:,.0f}" for held in kept)),
    ]


def chart(results):
    *grown, full = results.values()

    def curve(value):
        return [value(held) for held in grown], value(full)

    def of(what, share):
        return curve(lambda held: held[what][share])

    searches = {kind: f"search by {kind}" for kind in ("name", "word", "typing error", "port")}
    pages = {"first": "first page", "deep": "deep page", "first of all": "first page of all",
             "deep of all": "deep page of all"}
    charts.lines(CHART, "Cost against size", {
        "LookupPort": ("ms", {"p50": of("lookup", "p50_us"), "p99": of("lookup", "p99_us")}),
        "A page of 50, p50": ("ms", {name: of(what, "p50_us") for name, what in pages.items()}),
        "Search, p50": ("ms", {name: of(what, "p50_us") for name, what in searches.items()}),
        "Search, p99": ("ms", {name: of(what, "p99_us") for name, what in searches.items()}),
        "RegisterPort": ("ms", {"p50": of("register", "p50_us"), "p99": of("register", "p99_us")}),
        "Memory": ("MiB", {"now": curve(lambda held: held["memory"]), "most": curve(lambda held: held["most memory"])}),
        "Start": ("s", {"start": curve(lambda held: held["start"])}),
        "Database": ("MiB", {"file": curve(lambda held: held["database"])}),
    }, [held["assignments"] for held in grown], ("one full namespace", full["assignments"]))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="put the results into BENCHMARKS.md and its chart")
    arguments.add_argument("--largest", type=int, default=1_000_000)
    arguments = arguments.parse_args()
    end_cleanly()
    facts = machine(FOLDER, [[PORTBOOK, "--version"], ["rustc", "--version"]])
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, contextlib.ExitStack() as stack:
        servers = []
        for number, (name, spaces) in enumerate(plans(arguments.largest).items()):
            held = Held(stack, name, pathlib.Path(folder) / str(number), spaces)
            servers.append(held)
            print(f"{name}: filled in {held.seconds_to_fill:.0f} s", file=sys.stderr, flush=True)
        for number in range(ROUNDS):
            for held in random.Random(number).sample(servers, len(servers)):
                held.measure(number)
        results = {held.name: held.result() for held in servers}
    (FOLDER / "results.json").write_text(json.dumps({"machine": facts, "figures": results}, indent=1))
    head = ["p50 / p99", *results]
    print("\n".join(f"{name}: {fact}" for name, fact in facts.items()), end="\n\n")
    print(document.plain(head, rows(results)))
    none, *_, many, _ = results.values()
    print(f"\nRegisterPort with {many['assignments']:,} against none: "
          f"{many['register']['p50_us'] / none['register']['p50_us']:.2f} ×")
    if arguments.write:
        document.replace("size", f"{document.of_machine(facts)}\n\n{document.table(head, rows(results))}")
        chart(results)


main()
