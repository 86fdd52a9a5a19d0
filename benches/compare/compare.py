"""Compares Portbook with other servers: starts them, loads them in turn, and reports the results.

usage: compare.py [--write] [--rounds COUNT]
"""

import argparse
import contextlib
import json
import pathlib
import random
import re
import sys
import tempfile
import time

import grpc
from google.protobuf.json_format import MessageToJson
from portbook.v1 import assignment_pb2 as assignment
from portbook.v1 import namespace_pb2 as namespace
from portbook.v1 import port_admin_service_pb2 as admin
from portbook.v1 import port_registry_service_pb2 as registry

import report
from load import begin_load, finish, h2load, load, wrk
from machine import machine
from peers import NOTHING, PUT, RANGE, Bare, Etcd, Whatportis, put_request, range_request
from servers import ACKNOWLEDGE, PORTBOOK, READS, WRITES, Portbook, exit_on_signals, framed, metrics

HEALTH = "/grpc.health.v1.Health/Check"
FOLDER = pathlib.Path("target/compare")
SECONDS, STARTS = 2, 9
# Keys of a BatchLookupPorts, keys of a block of AnnotatePorts, and blocks of an AnnotatePorts stream.
BATCH, BLOCK, BLOCKS = 1_000, 10_000, 100
# 64 writes in flight: 16 on each of 4 connections. Both numbers of writes are per round.
WRITERS = {"connections": 4, "streams": 16}
WRITES_IN_A_ROUND, WRITES_DURING_READS = 20_000, 150_000
FIRST_PORT = 10_000
RATE = 2_000
TRANSPORTS = [assignment.TRANSPORT_TCP, assignment.TRANSPORT_UDP]


class Bodies:
    """The files with the requests of the loads, generated in each run from the same seed."""

    def __init__(self, folder):
        self.folder, self.random = folder, random.Random(6335)
        self.nothing = self.file("nothing", [b""])
        self.lookup = self.file("lookup", [registry.LookupPortRequest(port=443)])
        self.every_port = self.file("every-port", [registry.LookupPortRequest(port=port) for port in range(65_536)])
        keys = self.keys(BATCH)
        self.batch = self.file("batch", [registry.BatchLookupPortsRequest(
            queries=[registry.PortQuery(port=port, transport=transport) for port, transport in keys])])
        blocks = [zip(*self.keys(BLOCK)) for _ in range(BLOCKS)]
        self.annotate = self.file("annotate", [
            registry.AnnotatePortsRequest(ports=ports, transports=transports) for ports, transports in blocks])

    def keys(self, count):
        """Uniformly distributed ports, on TCP or UDP."""
        return [(self.random.randrange(65_536), self.random.choice(TRANSPORTS)) for _ in range(count)]

    def file(self, name, messages):
        path = self.folder / name
        path.write_bytes(b"".join(framed(message) for message in messages))
        return path


def registrations(name, count):
    """Registrations of single ports from FIRST_PORT on, in as many namespaces as needed."""
    namespaces, ports = [], range(FIRST_PORT, 65_536)
    for number in range(count):
        if number % len(ports) == 0:
            namespaces.append(f"{name}-{len(namespaces)}")
        port = ports[number % len(ports)]
        yield namespaces[-1], admin.RegisterPortRequest(
            namespace=namespaces[-1], service_name=f"service-{port}", ports=assignment.PortRange(first=port),
            transports=[assignment.TRANSPORT_TCP], assignee=f"team {port % 50}",
            description="One of the benchmark's services", acknowledge=ACKNOWLEDGE)


class Bench:
    """The servers with the same data, and the measurements."""

    def __init__(self, stack, folder, rounds):
        self.folder, self.rounds = folder, rounds
        self.bodies = Bodies(folder)
        self.figures = {}
        self.starts()
        self.portbook = stack.enter_context(Portbook(self.new_folder("portbook"), with_metrics=True)).connect()
        self.bare = stack.enter_context(Bare(folder))
        self.etcd = stack.enter_context(Etcd(self.new_folder("etcd")))
        self.whatportis = stack.enter_context(Whatportis(self.new_folder("whatportis")))
        self.same_data()
        self.check_responses()
        self.warm_up()

    def new_folder(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    def record(self, name, **results):
        for what, value in results.items():
            self.figures.setdefault(name, {}).setdefault(what, []).append(value)

    def starts(self):
        """Measures first starts, which create a database, starts on an existing database, and their memory."""
        for number in range(STARTS):
            folder = self.new_folder(f"start-{number}")
            with Portbook(folder) as first:
                self.record("first start", seconds=first.seconds_to_start, mebibytes=first.mebibytes("VmHWM"))
            with Portbook(folder) as again:
                self.record("start", seconds=again.seconds_to_start, mebibytes=again.mebibytes("VmHWM"))
        for _ in range(3):
            with Portbook(folder) as server:
                load(server.address, f"{READS}LookupPort", self.bodies.every_port, connections=1, streams=16)
                self.record("complete registry", mebibytes=server.mebibytes("VmHWM"))

    def same_data(self):
        """Stores Portbook's response for each port with records in etcd, as JSON."""
        puts = []
        for port in self.ports_with_records():
            response = self.portbook.reads.LookupPort(registry.LookupPortRequest(port=port))
            puts.append(put_request(key_of(port), value_of(response)))
            if port == 443:
                self.bytes_of_443 = {"Portbook": response.ByteSize(), "etcd": len(value_of(response))}
        load(self.etcd.address, PUT, self.bodies.file("data", puts), **WRITERS)
        self.bodies.range = self.bodies.file("range", [range_request(key_of(443))])
        self.bodies.serializable = self.bodies.file("serializable", [range_request(key_of(443), serializable=True)])
        self.bodies.put_one = self.bodies.file("put-one", [puts[0]])

    def ports_with_records(self):
        for first in range(0, 65_536, BATCH):
            queries = [registry.PortQuery(port=port) for port in range(first, min(first + BATCH, 65_536))]
            response = self.portbook.reads.BatchLookupPorts(registry.BatchLookupPortsRequest(queries=queries))
            yield from (info.port for info in response.port_infos if info.assignments)

    def check_responses(self):
        """Sends each request once with the gRPC client, because h2load checks neither status nor content."""
        with grpc.insecure_channel(self.portbook.address, [("grpc.max_receive_message_length", -1)]) as channel:
            def call(path, body):
                return channel.stream_stream(path)(iter(messages_of(body)))
            looked_up = registry.LookupPortResponse.FromString(next(call(f"{READS}LookupPort", self.bodies.lookup)))
            batch = registry.BatchLookupPortsResponse.FromString(
                next(call(f"{READS}BatchLookupPorts", self.bodies.batch)))
            blocks = [registry.AnnotatePortsResponse.FromString(block)
                      for block in call(f"{READS}AnnotatePorts", self.bodies.annotate)]
            serving = next(call(HEALTH, self.bodies.nothing))
        with grpc.insecure_channel(self.bare.address) as channel:
            nothing = channel.unary_unary(NOTHING)(b"")
        correct = {
            "LookupPort": looked_up.port_info.assignments[0].service_name == "https",
            "BatchLookupPorts": len(batch.port_infos) == BATCH,
            "AnnotatePorts": [len(block.label_numbers) for block in blocks] == [BLOCK] * BLOCKS,
            "Health/Check": serving == b"\x08\x01",
            "the empty method": nothing == b"",
            "etcd": self.etcd.value_of(key_of(443)) == value_of(looked_up),
            "whatportis": "https" in self.whatportis.names_on(443),
        }
        wrong = [name for name, is_correct in correct.items() if not is_correct]
        if wrong:
            raise ValueError(f"wrong responses: {', '.join(wrong)}")

    def measure(self):
        """Makes all measurements in rounds, each in another order."""
        order = random.Random(7605)
        measurements = [self.against_empty_method, self.against_etcd, self.whatportis_lookups, self.many_keys,
                        self.writes, self.reads_during_writes]
        for number in range(self.rounds):
            order.shuffle(measurements)
            for measurement in measurements:
                measurement(number, order)
            print(f"round {number + 1} of {self.rounds}: {time.monotonic() - BEGAN:.0f} s", file=sys.stderr)
        self.check_no_failures()

    def warm_up(self):
        """Runs each load briefly to determine the number of calls of a measurement. This cancels some calls, so
        failures are counted from here on."""
        portbook, etcd = self.portbook.address, self.etcd.address
        few = {"connections": 4, "streams": 4}
        self.loads = {
            "lookup": (portbook, f"{READS}LookupPort", self.bodies.lookup, {}),
            "health": (portbook, HEALTH, self.bodies.nothing, {}),
            "bare": (self.bare.address, NOTHING, self.bodies.nothing, {}),
            "range": (etcd, RANGE, self.bodies.range, {}),
            "serializable range": (etcd, RANGE, self.bodies.serializable, {}),
            "batch": (portbook, f"{READS}BatchLookupPorts", self.bodies.batch, few),
            "annotate": (portbook, f"{READS}AnnotatePorts", self.bodies.annotate, few),
            "put of one key by h2load": (etcd, PUT, self.bodies.put_one, WRITERS),
        }
        self.calls = {}
        for name, (address, path, body, options) in self.loads.items():
            rate = h2load(address, path, body, seconds=1, **options)["per_second"]
            self.calls[name] = max(1, round(rate * SECONDS))
        time.sleep(.5)
        self.failed_before = self.failed()

    def h2load(self, name, fraction=1, **more):
        address, path, body, options = self.loads[name]
        return h2load(address, path, body, calls=round(self.calls[name] * fraction), **options, **more)

    def alternate(self, order, **loads):
        """Measures loads that are compared with each other one after the other, in random order."""
        for name, measure in order.sample(list(loads.items()), len(loads)):
            self.record(name.replace("_", " "), **measure())

    def against_empty_method(self, _, order):
        for _ in range(2):
            self.alternate(order, lookup=lambda: self.h2load("lookup"), health=lambda: self.h2load("health"),
                           bare=lambda: self.h2load("bare"))

    def against_etcd(self, _, order):
        self.alternate(order, lookup_beside_etcd=lambda: self.h2load("lookup"), range=lambda: self.h2load("range"),
                       serializable_range=lambda: self.h2load("serializable range"))

    def whatportis_lookups(self, _, order):
        self.record("whatportis", **wrk(f"{self.whatportis.url}/ports/443", SECONDS))

    def many_keys(self, _, order):
        self.alternate(order, batch=lambda: in_keys(BATCH, self.h2load("batch")),
                       annotate=lambda: in_keys(BLOCK * BLOCKS, self.h2load("annotate")))

    def writes(self, number, order):
        registered = self.prepare(f"round-{number}", WRITES_IN_A_ROUND)
        puts = self.bodies.file("puts", [
            put_request(f"custom/{name}/{request.ports.first}/tcp".encode(), value_of(request))
            for name, request in registrations(f"round-{number}", WRITES_IN_A_ROUND)])
        self.alternate(
            order,
            register=lambda: load(self.portbook.address, f"{WRITES}RegisterPort", registered, token=True, **WRITERS),
            put=lambda: load(self.etcd.address, PUT, puts, **WRITERS),
            put_of_one_key_by_h2load=lambda: self.h2load("put of one key by h2load"))

    def reads_during_writes(self, number, _):
        """LookupPort at full load and at a fixed rate that leaves CPU time free: idle, and with 64 writers."""
        lookup, path = self.portbook.address, f"{READS}LookupPort"
        paced = {"rate": RATE, "seconds": SECONDS, "calls": RATE * SECONDS, "connections": 8, "streams": 16}
        self.record("idle", **self.h2load("lookup", folder=self.folder))
        self.record("idle at a fixed rate", **load(lookup, path, self.bodies.lookup, **paced))
        registered = self.prepare(f"beside-{number}", WRITES_DURING_READS)
        writing = begin_load(lookup, f"{WRITES}RegisterPort", registered, seconds=3 * SECONDS + 2, token=True,
                             **WRITERS)
        try:
            time.sleep(.5)
            self.record("beside writes", **self.h2load("lookup", fraction=.5, folder=self.folder))
            self.record("beside writes at a fixed rate", **load(lookup, path, self.bodies.lookup, **paced))
            if writing.poll() is not None:
                raise ValueError("the writes ended before the reads")
        finally:
            writes = finish(writing, f"{WRITES}RegisterPort")
        self.record("writes beside reads", **writes)

    def prepare(self, name, count):
        """Creates the namespaces of the registrations. Returns a file with the requests."""
        requests = list(registrations(name, count))
        for name in dict.fromkeys(name for name, _ in requests):
            self.portbook.write("CreateNamespace", admin.CreateNamespaceRequest(
                namespace=namespace.Namespace(name=name)))
        return self.bodies.file("registrations", [request for _, request in requests])

    def check_no_failures(self):
        """Checks the counters of the servers, because h2load does not check the status of a call."""
        failed = {name: count for name, count in self.failed().items() if count != self.failed_before.get(name)}
        if failed:
            raise ValueError(f"calls failed: {failed}")

    def failed(self):
        portbook, etcd = self.portbook.metrics(), metrics(f"{self.etcd.url}/metrics")
        return {name: count for name, count in (portbook | etcd).items()
                if re.match(r"portbook_calls_total|grpc_server_handled_total.*etcdserverpb.KV", name)
                and not re.search(r'code="OK"', name)}


def in_keys(keys, result):
    return {"keys_per_second": keys * result["per_second"]}


def key_of(port):
    return f"ports/{port}".encode()


def value_of(message):
    return MessageToJson(message, indent=None).encode()


def messages_of(path):
    rest = path.read_bytes()
    while rest:
        end = 5 + int.from_bytes(rest[1:5], "big")
        yield rest[5:end]
        rest = rest[end:]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="write the results into docs/benchmarks.md and its chart")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments = arguments.parse_args()
    exit_on_signals()
    facts = machine(FOLDER, [[PORTBOOK, "--version"], ["rustc", "--version"], ["etcd", "--version"],
                             ["target/tools/whatportis/bin/whatportis", "--version"], ["h2load", "--version"],
                             ["wrk", "--version"]])
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, contextlib.ExitStack() as stack:
        bench = Bench(stack, pathlib.Path(folder), arguments.rounds)
        bench.measure()
    results = {"machine": facts, "bytes of 443": bench.bytes_of_443, "figures": bench.figures}
    (FOLDER / "results.json").write_text(json.dumps(results, indent=1))
    return report.report(results, arguments.write)


BEGAN = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
