"""Portbook beside its peers: starts all of them, loads them in turns, and tells what came of it.

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
from servers import ACKNOWLEDGE, PORTBOOK, READS, WRITES, Portbook, end_cleanly, framed, metrics

HEALTH = "/grpc.health.v1.Health/Check"
FOLDER = pathlib.Path("target/compare")
SECONDS, STARTS = 2, 9
# Of a BatchLookupPorts, of a block of AnnotatePorts, and how many blocks a stream of it has.
BATCH, BLOCK, BLOCKS = 1_000, 10_000, 100
# How many writes are under way at once: 4 connections with 16 each. Both numbers of writes are for a round.
WRITERS = {"connections": 4, "streams": 16}
WRITES_IN_A_ROUND, WRITES_BESIDE_READS = 20_000, 150_000
FIRST_PORT = 10_000
PACE = 2_000
TRANSPORTS = [assignment.TRANSPORT_TCP, assignment.TRANSPORT_UDP]


class Bodies:
    """The files that the loads send, made anew in each run from the same seed."""

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
        """Any port is as likely as any other, and so are TCP and UDP."""
        return [(self.random.randrange(65_536), self.random.choice(TRANSPORTS)) for _ in range(count)]

    def file(self, name, messages):
        path = self.folder / name
        path.write_bytes(b"".join(framed(message) for message in messages))
        return path


def registrations(name, count):
    """So many registrations, as many to a namespace as there are ports from FIRST_PORT on."""
    spaces, ports = [], range(FIRST_PORT, 65_536)
    for number in range(count):
        if number % len(ports) == 0:
            spaces.append(f"{name}-{len(spaces)}")
        port = ports[number % len(ports)]
        yield spaces[-1], admin.RegisterPortRequest(
            namespace=spaces[-1], service_name=f"service-{port}", ports=assignment.PortRange(first=port),
            transports=[assignment.TRANSPORT_TCP], assignee=f"team {port % 50}",
            description="One of the benchmark's services", acknowledge=ACKNOWLEDGE)


class Bench:
    """The servers, on the same data, and what is measured of them."""

    def __init__(self, stack, folder, rounds):
        self.folder, self.rounds = folder, rounds
        self.bodies = Bodies(folder)
        self.figures = {}
        self.starts()
        self.portbook = stack.enter_context(Portbook(self.new_folder("portbook"), watched=True)).connect()
        self.bare = stack.enter_context(Bare(folder))
        self.etcd = stack.enter_context(Etcd(self.new_folder("etcd")))
        self.whatportis = stack.enter_context(Whatportis(self.new_folder("whatportis")))
        self.same_data()
        self.answers_are_right()
        self.warm_up()

    def new_folder(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    def note(self, name, **told):
        for what, value in told.items():
            self.figures.setdefault(name, {}).setdefault(what, []).append(value)

    def starts(self):
        """First starts, each on a database that it makes, starts on that, and what memory they take."""
        for number in range(STARTS):
            folder = self.new_folder(f"start-{number}")
            with Portbook(folder) as first:
                self.note("first start", seconds=first.seconds_to_start, mebibytes=first.mebibytes("VmHWM"))
            with Portbook(folder) as again:
                self.note("start", seconds=again.seconds_to_start, mebibytes=again.mebibytes("VmHWM"))
        for _ in range(3):
            with Portbook(folder) as server:
                load(server.address, f"{READS}LookupPort", self.bodies.every_port, connections=1, streams=16)
                self.note("whole registry", mebibytes=server.mebibytes("VmHWM"))

    def same_data(self):
        """Gives etcd what Portbook answers for each port that has records, as JSON."""
        puts = []
        for port in self.ports_with_records():
            answer = self.portbook.reads.LookupPort(registry.LookupPortRequest(port=port))
            puts.append(put_request(key_of(port), value_of(answer)))
            if port == 443:
                self.bytes_of_443 = {"Portbook": answer.ByteSize(), "etcd": len(value_of(answer))}
        load(self.etcd.address, PUT, self.bodies.file("data", puts), **WRITERS)
        self.bodies.range = self.bodies.file("range", [range_request(key_of(443))])
        self.bodies.serializable = self.bodies.file("serializable", [range_request(key_of(443), serializable=True)])
        self.bodies.put_one = self.bodies.file("put-one", [puts[0]])

    def ports_with_records(self):
        for first in range(0, 65_536, BATCH):
            queries = [registry.PortQuery(port=port) for port in range(first, min(first + BATCH, 65_536))]
            answers = self.portbook.reads.BatchLookupPorts(registry.BatchLookupPortsRequest(queries=queries))
            yield from (info.port for info in answers.port_infos if info.assignments)

    def answers_are_right(self):
        """What the loads send is asked once by gRPC's own client: h2load sees no status and reads no answer."""
        with grpc.insecure_channel(self.portbook.address, [("grpc.max_receive_message_length", -1)]) as channel:
            def ask(path, body):
                return channel.stream_stream(path)(iter(messages_of(body)))
            looked_up = registry.LookupPortResponse.FromString(next(ask(f"{READS}LookupPort", self.bodies.lookup)))
            batch = registry.BatchLookupPortsResponse.FromString(
                next(ask(f"{READS}BatchLookupPorts", self.bodies.batch)))
            blocks = [registry.AnnotatePortsResponse.FromString(block)
                      for block in ask(f"{READS}AnnotatePorts", self.bodies.annotate)]
            serving = next(ask(HEALTH, self.bodies.nothing))
        with grpc.insecure_channel(self.bare.address) as channel:
            nothing = channel.unary_unary(NOTHING)(b"")
        right = {
            "LookupPort": looked_up.port_info.assignments[0].service_name == "https",
            "BatchLookupPorts": len(batch.port_infos) == BATCH,
            "AnnotatePorts": [len(block.label_numbers) for block in blocks] == [BLOCK] * BLOCKS,
            "Health/Check": serving == b"\x08\x01",
            "the empty method": nothing == b"",
            "etcd": self.etcd.value_of(key_of(443)) == value_of(looked_up),
            "whatportis": "https" in self.whatportis.names_on(443),
        }
        wrong = [name for name, is_right in right.items() if not is_right]
        if wrong:
            raise ValueError(f"wrong answers of {', '.join(wrong)}")

    def measure(self):
        """Rounds of all measurements, in another order each."""
        order = random.Random(7605)
        units = [self.beside_nothing, self.beside_etcd, self.beside_whatportis, self.many_keys, self.writes,
                 self.reads_beside_writes]
        for number in range(self.rounds):
            order.shuffle(units)
            for unit in units:
                unit(number, order)
            print(f"round {number + 1} of {self.rounds}: {time.monotonic() - BEGAN:.0f} s", file=sys.stderr)
        self.nothing_failed()

    def warm_up(self):
        """A short run of each load, which tells how many calls are enough for a measurement. It leaves some calls
        unanswered, so what the servers count is counted from here on."""
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
        for name, (address, path, body, how) in self.loads.items():
            rate = h2load(address, path, body, seconds=1, **how)["per_second"]
            self.calls[name] = max(1, round(rate * SECONDS))
        time.sleep(.5)
        self.failed_before = self.failed()

    def h2load(self, load_of, share=1, **more):
        address, path, body, how = self.loads[load_of]
        return h2load(address, path, body, calls=round(self.calls[load_of] * share), **how, **more)

    def in_turns(self, order, **loads):
        """Loads that are set against each other, close to each other, in any order."""
        for name, measured in order.sample(list(loads.items()), len(loads)):
            self.note(name.replace("_", " "), **measured())

    def beside_nothing(self, _, order):
        for _ in range(2):
            self.in_turns(order, lookup=lambda: self.h2load("lookup"), health=lambda: self.h2load("health"),
                          bare=lambda: self.h2load("bare"))

    def beside_etcd(self, _, order):
        self.in_turns(order, lookup_beside_etcd=lambda: self.h2load("lookup"), range=lambda: self.h2load("range"),
                      serializable_range=lambda: self.h2load("serializable range"))

    def beside_whatportis(self, _, order):
        self.note("whatportis", **wrk(f"{self.whatportis.url}/ports/443", SECONDS))

    def many_keys(self, _, order):
        self.in_turns(order, batch=lambda: in_keys(BATCH, self.h2load("batch")),
                      annotate=lambda: in_keys(BLOCK * BLOCKS, self.h2load("annotate")))

    def writes(self, number, order):
        registered = self.prepared(f"round-{number}", WRITES_IN_A_ROUND)
        puts = self.bodies.file("puts", [
            put_request(f"custom/{space}/{request.ports.first}/tcp".encode(), value_of(request))
            for space, request in registrations(f"round-{number}", WRITES_IN_A_ROUND)])
        self.in_turns(
            order,
            register=lambda: load(self.portbook.address, f"{WRITES}RegisterPort", registered, token=True, **WRITERS),
            put=lambda: load(self.etcd.address, PUT, puts, **WRITERS),
            put_of_one_key_by_h2load=lambda: self.h2load("put of one key by h2load"))

    def reads_beside_writes(self, number, _):
        """LookupPort at full load, and at a pace that leaves the machine room: idle, and while 64 write."""
        lookup, path = self.portbook.address, f"{READS}LookupPort"
        paced = {"rate": PACE, "seconds": SECONDS, "calls": PACE * SECONDS, "connections": 8, "streams": 16}
        self.note("idle", **self.h2load("lookup", folder=self.folder))
        self.note("idle at a pace", **load(lookup, path, self.bodies.lookup, **paced))
        registered = self.prepared(f"beside-{number}", WRITES_BESIDE_READS)
        writing = begin_load(lookup, f"{WRITES}RegisterPort", registered, seconds=3 * SECONDS + 2, token=True,
                             **WRITERS)
        try:
            time.sleep(.5)
            self.note("beside writes", **self.h2load("lookup", share=.5, folder=self.folder))
            self.note("beside writes at a pace", **load(lookup, path, self.bodies.lookup, **paced))
            if writing.poll() is not None:
                raise ValueError("there was not enough to write")
        finally:
            writes = finish(writing, f"{WRITES}RegisterPort")
        self.note("writes beside reads", **writes)

    def prepared(self, name, count):
        """A file of registrations, with the namespaces that they name created."""
        made = list(registrations(name, count))
        for space in dict.fromkeys(space for space, _ in made):
            self.portbook.write("CreateNamespace", admin.CreateNamespaceRequest(
                namespace=namespace.Namespace(name=space)))
        return self.bodies.file("registrations", [request for _, request in made])

    def nothing_failed(self):
        """What the servers themselves have counted: h2load does not see the status of a call."""
        failed = {name: count for name, count in self.failed().items() if count != self.failed_before.get(name)}
        if failed:
            raise ValueError(f"not every call was answered OK: {failed}")

    def failed(self):
        portbook, etcd = self.portbook.metrics(), metrics(f"{self.etcd.url}/metrics")
        return {name: count for name, count in (portbook | etcd).items()
                if re.match(r"portbook_calls_total|grpc_server_handled_total.*etcdserverpb.KV", name)
                and not re.search(r'code="OK"', name)}


def in_keys(keys, told):
    return {"keys_per_second": keys * told["per_second"]}


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
    arguments.add_argument("--write", action="store_true", help="put the results into BENCHMARKS.md and its chart")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments = arguments.parse_args()
    end_cleanly()
    facts = machine(FOLDER, [[PORTBOOK, "--version"], ["rustc", "--version"], ["etcd", "--version"],
                             ["target/tools/whatportis/bin/whatportis", "--version"], ["h2load", "--version"],
                             ["wrk", "--version"]])
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, contextlib.ExitStack() as stack:
        bench = Bench(stack, pathlib.Path(folder), arguments.rounds)
        bench.measure()
    results = {"machine": facts, "bytes of 443": bench.bytes_of_443, "figures": bench.figures}
    (FOLDER / "results.json").write_text(json.dumps(results, indent=1))
    return report.tell(results, arguments.write)


BEGAN = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
