"""Starts servers for a benchmark and stops them."""

import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request

import grpc
from portbook.v1 import finding_pb2 as finding
from portbook.v1 import port_admin_service_pb2_grpc as admin_grpc
from portbook.v1 import port_registry_service_pb2_grpc as registry_grpc

PORTBOOK = "target/release/portbook"
TOKEN = "pbk_the-admin-token-of-the-benchmark"
READS, WRITES = "/portbook.v1.PortRegistryService/", "/portbook.v1.PortAdminService/"
# Every finding that can be acknowledged.
ACKNOWLEDGE = [finding.FINDING_CODE_SYSTEM_PORT, finding.FINDING_CODE_IANA_ASSIGNED,
               finding.FINDING_CODE_IANA_RESERVED, finding.FINDING_CODE_DYNAMIC_PORT,
               finding.FINDING_CODE_COOLING_DOWN, finding.FINDING_CODE_SERVICE_NAME_ELSEWHERE]


def exit_on_signals():
    """Makes SIGTERM and SIGHUP end this program like Ctrl-C, so that it cleans up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


class Server:
    """A process, usable as a context manager that stops it."""

    def __init__(self, command, log, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=open(log, "ab"), text=True, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.process.stdout.close()

    def mebibytes(self, line="VmRSS"):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{line}:\s+(\d+) kB", status)[1]) / 1024


class Portbook(Server):
    """A running Portbook with its default settings, on a database in a folder, with its log in a file."""

    def __init__(self, folder, *flags, with_metrics=False):
        self.database = pathlib.Path(folder) / "portbook.db"
        http = ["--http-listen", "127.0.0.1:0"] if with_metrics else []
        began = time.perf_counter()
        super().__init__([PORTBOOK, "serve", "--listen", "127.0.0.1:0", "--database", self.database, *http, *flags],
                         f"{folder}/log", env={**os.environ, "PORTBOOK_BOOTSTRAP_TOKEN": TOKEN})
        ready = re.search(r"listening on (\S+): ", self.process.stdout.readline())
        if not ready:
            raise OSError(f"portbook did not start: {pathlib.Path(f'{folder}/log').read_text()}")
        self.address = ready[1]
        first_response(self.address)
        self.seconds_to_start = time.perf_counter() - began
        self.http = re.search(r"http://([^/]+)/", self.process.stdout.readline())[1] if with_metrics else None

    def connect(self):
        channel = grpc.insecure_channel(self.address, [("grpc.max_receive_message_length", -1)])
        self.reads = registry_grpc.PortRegistryServiceStub(channel)
        self.writes = admin_grpc.PortAdminServiceStub(channel)
        return self

    def write(self, rpc, request):
        return getattr(self.writes, rpc)(request, metadata=[("authorization", f"Bearer {TOKEN}")])

    def metrics(self):
        return metrics(f"http://{self.http}/metrics")


def metrics(url):
    with urllib.request.urlopen(url) as response:
        lines = response.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def framed(message):
    """A message with its gRPC prefix (PROTOCOL-HTTP2.md, Length-Prefixed-Message)."""
    body = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">BI", 0, len(body)) + body


def first_response(address):
    """Looks up port 443 with a minimal HTTP/2 request, so that the time measured is only that of the server."""
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def literal(index, value):
        return bytes([index, len(value)]) + value

    # RFC 7541: POST and http from the static table, the other headers as literals.
    headers = b"\x83\x86" + literal(4, f"{READS}LookupPort".encode()) + literal(1, address.encode()) + \
        b"\x0f" + literal(16, b"application/grpc") + b"\x00\x02te\x08trailers"
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as responses:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers)
                           + frame(0, 1, 1, framed(b"\x08\xbb\x03")))
        while True:
            head = responses.read(9)
            payload = responses.read(int.from_bytes(head[:3], "big"))
            if head[3] == 0 and b"https" in payload:
                return
            if len(head) < 9 or head[3] in (3, 7):
                raise OSError(f"no response from {address}")
