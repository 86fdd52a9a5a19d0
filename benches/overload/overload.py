"""Measures a server under three times its capacity, with 10,000 idle connections, and with 1,000 clients that do
not read: how many calls are served and shed, and the latency of health checks and lookups.

usage: overload.py SECONDS
"""

import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc
import h2.config
import h2.connection
import h2.settings
from portbook.v1 import port_registry_service_pb2 as pb
from portbook.v1 import port_registry_service_pb2_grpc as rpc
from servers import Portbook, framed

SECONDS = int(sys.argv[1])
LIST = "portbook.v1.PortRegistryService/ListAssignments"
PAGE = pb.ListAssignmentsRequest(page_size=1000)


def calls(metrics, code):
    return metrics.get(f'portbook_calls_total{{rpc="{LIST}",code="{code}"}}', 0)


def request_frame(message, folder):
    path = f"{folder}/request"
    with open(path, "wb") as file:
        file.write(framed(message))
    return path


class Prober(threading.Thread):
    """Calls repeatedly on a separate connection and records the latencies."""

    def __init__(self, call, pause):
        super().__init__(daemon=True)
        self.call, self.pause, self.ending = call, pause, threading.Event()
        self.latencies, self.failed, self.shed = [], [], 0

    def run(self):
        while not self.ending.is_set():
            started = time.monotonic()
            try:
                self.call()
                self.latencies.append(time.monotonic() - started)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self.shed += 1
                else:
                    self.failed.append(error.code())
            except OSError as error:
                self.failed.append(error)
            time.sleep(self.pause)

    def end(self):
        self.ending.set()
        self.join()
        return self

    def summary(self):
        latencies = sorted(self.latencies)
        at = lambda fraction: 1000 * latencies[min(len(latencies) - 1, int(fraction * len(latencies)))]
        return (f"{len(latencies)} responses, p50 {at(.5):.1f} ms, p99 {at(.99):.1f} ms, "
                f"maximum {1000 * latencies[-1]:.1f} ms; {self.shed} shed; {len(self.failed)} failed")


def health(server):
    channel = grpc.insecure_channel(server.address)
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    return lambda: check(b"", timeout=10)


def ready(server):
    url = f"http://{server.http}/readyz"
    return lambda: urllib.request.urlopen(url, timeout=10).read()


def page(server):
    options = [("grpc.max_receive_message_length", -1)]
    stub = rpc.PortRegistryServiceStub(grpc.insecure_channel(server.address, options=options))
    return lambda: stub.ListAssignments(PAGE, timeout=10)


def lookup(server):
    stub = rpc.PortRegistryServiceStub(grpc.insecure_channel(server.address))
    return lambda: stub.LookupPort(pb.LookupPortRequest(port=443), timeout=10)


def load(server, frame, *flags):
    return subprocess.Popen(
        ["h2load", "-d", frame, "-H", "content-type: application/grpc", "-H", "te: trailers",
         *flags, f"http://{server.address}/{LIST}"], stdout=subprocess.PIPE, text=True)


def probe(seconds, *probers):
    for prober in probers:
        prober.start()
    time.sleep(seconds)
    return [prober.end() for prober in probers]


def overload(server, folder):
    frame = request_frame(PAGE, folder)
    output, _ = load(server, frame, "-c", "4", "-m", "2", "-t", "1", "-D", "10").communicate()
    capacity = float(re.search(r"([\d.]+) req/s", output)[1])
    print(f"capacity: {capacity:.0f} ListAssignments of 1,000 records a second (4 clients, 8 in flight)")
    idle, = probe(3, Prober(page(server), .02))
    print(f"idle: {idle.summary()}")
    before, memory = server.metrics(), server.mebibytes()
    rate = 3 * capacity
    clients = 50
    loaded = load(server, frame, "-c", str(clients), "-m", "20", "-t", "1", "-D", str(SECONDS),
                  "--rps", f"{rate / clients:.1f}")
    probers = [Prober(health(server), .05), Prober(ready(server), .05), Prober(page(server), .05),
               Prober(lookup(server), .05)]
    for prober in probers:
        prober.start()
    peak = memory
    while loaded.poll() is None:
        peak = max(peak, server.mebibytes())
        time.sleep(.2)
    ended = time.monotonic()
    checks, readiness, pages, lookups = [prober.end() for prober in probers]
    after = server.metrics()
    served = calls(after, "OK") - calls(before, "OK")
    shed = calls(after, "RESOURCE_EXHAUSTED") - calls(before, "RESOURCE_EXHAUSTED")
    other = calls(after, "CANCELLED") - calls(before, "CANCELLED")
    print(f"3 x the capacity, {rate:.0f}/s for {SECONDS} s: {served / SECONDS:.0f}/s served, "
          f"{shed / SECONDS:.0f}/s shed ({100 * shed / max(1, served + shed):.0f} %), {other:.0f} cancelled")
    print(f"  gRPC health checks: {checks.summary()}")
    print(f"  /readyz: {readiness.summary()}")
    print(f"  pages served: {pages.summary()}")
    print(f"  lookups meanwhile: {lookups.summary()}")
    print(f"  memory: {memory:.0f} MiB before, {peak:.0f} MiB peak")
    while time.monotonic() < ended + 5:
        again, = probe(.5, Prober(page(server), .02))
        if (again.latencies and not again.shed
                and statistics.median(again.latencies) < 2 * statistics.median(idle.latencies)):
            break
    print(f"  back to normal {time.monotonic() - ended:.1f} s after the load: {again.summary()}")


def idle_connections(server, count):
    before = server.mebibytes()
    connections = []
    for _ in range(count):
        connection = socket.create_connection(server.address.split(":"))
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        connections.append(connection)
    checks, lookups = probe(5, Prober(health(server), .05), Prober(lookup(server), .01))
    open_now = server.metrics()["portbook_connections"]
    print(f"{count} idle connections ({open_now:.0f} open): {before:.0f} -> {server.mebibytes():.0f} MiB")
    print(f"  gRPC health checks: {checks.summary()}")
    print(f"  lookups meanwhile: {lookups.summary()}")
    for connection in connections:
        connection.close()


def slow_readers(server, count, streams):
    before = server.mebibytes()
    connections = []
    for _ in range(count):
        state = h2.connection.H2Connection(h2.config.H2Configuration())
        state.local_settings = h2.settings.Settings(
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        state.initiate_connection()
        for stream in range(1, 2 * streams, 2):
            state.send_headers(stream, [
                (":method", "POST"), (":scheme", "http"), (":path", f"/{LIST}"),
                (":authority", server.address), ("content-type", "application/grpc"),
                ("te", "trailers")])
            state.send_data(stream, framed(PAGE), end_stream=True)
        connection = socket.create_connection(server.address.split(":"))
        connection.sendall(state.data_to_send())
        connections.append(connection)
    checks, lookups = probe(10, Prober(health(server), .05), Prober(lookup(server), .01))
    print(f"{count} clients that each request {streams} pages and read none: "
          f"{before:.0f} -> {server.mebibytes():.0f} MiB")
    print(f"  gRPC health checks: {checks.summary()}")
    print(f"  lookups meanwhile: {lookups.summary()}")
    started = time.monotonic()
    while server.metrics()["portbook_connections"] > 10 and time.monotonic() < started + 90:
        time.sleep(1)
    left = server.metrics()["portbook_connections"]
    print(f"  {left:.0f} connections open after {time.monotonic() - started + 10:.0f} s; "
          f"{server.mebibytes():.0f} MiB")
    for connection in connections:
        connection.close()


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        server = Portbook(folder, "--log", "error", with_metrics=True)
        try:
            overload(server, folder)
            idle_connections(server, 10_000)
            slow_readers(server, 1_000, 10)
            checks, = probe(2, Prober(health(server), .05))
            print(f"afterwards: {checks.summary()}; {server.mebibytes():.0f} MiB, "
                  f"{server.mebibytes('VmHWM'):.0f} MiB peak")
        finally:
            code = server.stop()
        print(f"stopped by SIGTERM: exit code {code}")


main()
