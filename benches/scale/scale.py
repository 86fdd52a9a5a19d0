"""Registers on an empty server and on one that holds very many assignments, in turns.

usage: scale.py PORTBOOK_BINARY GENERATED_FOLDER [ASSIGNMENTS] [NAMESPACES]
"""

import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

BINARY, GENERATED, *SIZES = sys.argv[1:]
ASSIGNMENTS, NAMESPACES = (int(size) for size in (SIZES + ["1000000", "200"][len(SIZES):]))
sys.path.insert(0, GENERATED)

import grpc
from portbook.v1 import assignment_pb2 as assignment
from portbook.v1 import finding_pb2 as finding
from portbook.v1 import namespace_pb2 as namespace
from portbook.v1 import port_admin_service_pb2 as admin
from portbook.v1 import port_admin_service_pb2_grpc as admin_grpc
from portbook.v1 import port_registry_service_pb2 as registry
from portbook.v1 import port_registry_service_pb2_grpc as registry_grpc

TOKEN = "pbk_the-admin-token-of-the-benchmark"
BATCH, ROUNDS, PER_ROUND = 1000, 20, 100
FIRST_PORT = 10_000
WHATEVER = [finding.FINDING_CODE_IANA_ASSIGNED, finding.FINDING_CODE_IANA_RESERVED]


class Server:
    """A server on a database of its own."""

    def __init__(self, folder):
        self.database = pathlib.Path(folder) / "portbook.db"
        self.start()

    def start(self):
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", "--log", "warn", "--database", self.database],
            env={"PORTBOOK_BOOTSTRAP_TOKEN": TOKEN}, stdout=subprocess.PIPE, text=True)
        address = re.search(r"127\.0\.0\.1:\d+", self.process.stdout.readline())[0]
        channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", 1 << 28)])
        self.reads = registry_grpc.PortRegistryServiceStub(channel)
        self.writes = admin_grpc.PortAdminServiceStub(channel)
        self.reads.LookupPort(registry.LookupPortRequest(port=443))
        self.seconds_to_start = time.perf_counter() - began

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def call(self, rpc, request):
        return getattr(self.writes, rpc)(request, metadata=[("authorization", f"Bearer {TOKEN}")])

    def register(self, space, port):
        began = time.perf_counter()
        self.call("RegisterPort", registration(space, port))
        return time.perf_counter() - began

    def memory_mib(self, line):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{line}:\s+(\d+)", status)[1]) / 1024


def registration(space, port):
    return admin.RegisterPortRequest(
        namespace=space, service_name=f"service-{port % 1000}", ports=assignment.PortRange(first=port),
        transports=[assignment.TRANSPORT_TCP], assignee=f"team {port % 50}", description="One of very many",
        acknowledge=WHATEVER)


def fill(server, spaces):
    per_space = ASSIGNMENTS // len(spaces)
    for space in spaces:
        server.call("CreateNamespace", admin.CreateNamespaceRequest(namespace=namespace.Namespace(name=space)))
        for first in range(FIRST_PORT, FIRST_PORT + per_space, BATCH):
            last = min(first + BATCH, FIRST_PORT + per_space)
            requests = [registration(space, port) for port in range(first, last)]
            server.call("BatchRegisterPorts", admin.BatchRegisterPortsRequest(requests=requests))


def main(folder_of_none, folder_of_many):
    none, many = Server(folder_of_none), Server(folder_of_many)
    spaces = [f"space-{number}" for number in range(NAMESPACES)]
    began = time.perf_counter()
    fill(many, spaces)
    print(f"filled with {ASSIGNMENTS} assignments in {NAMESPACES} namespaces: "
          f"{time.perf_counter() - began:.0f} s", flush=True)
    taken = {none: [], many: []}
    for round in range(ROUNDS):
        for server in (none, many):
            space = "default" if server is none else spaces[round % len(spaces)]
            first = 20_000 + round * PER_ROUND
            taken[server] += [server.register(space, port) for port in range(first, first + PER_ROUND)]
    medians = [statistics.median(taken[server]) * 1000 for server in (none, many)]
    print(f"RegisterPort, median of {ROUNDS * PER_ROUND}, one after the other, in turns: with none "
          f"{medians[0]:.2f} ms, with {ASSIGNMENTS}: {medians[1]:.2f} ms, ratio {medians[1] / medians[0]:.2f}")
    print(f"memory with {ASSIGNMENTS}: {many.memory_mib('VmRSS'):.0f} MiB")
    many.stop()
    many.start()
    print(f"start on them, to the first answer: {many.seconds_to_start:.2f} s; memory "
          f"{many.memory_mib('VmRSS'):.0f} MiB, at most {many.memory_mib('VmHWM'):.0f} MiB; database "
          f"{many.database.stat().st_size / 1024**2:.0f} MiB")
    many.stop()
    none.stop()


with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
    main(one, other)
