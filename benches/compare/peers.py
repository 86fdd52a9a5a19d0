"""The servers that Portbook is compared with, each with its default settings."""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import socket
import threading
import time
import urllib.request

import grpc
from servers import Server

BARE = "target/release/examples/bare"
NOTHING = "/portbook.bench.Bare/Nothing"
RANGE, PUT = "/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put"
FIXTURES = pathlib.Path("tests/fixtures")
REGISTRY = "service-names-port-numbers-2024-06-12.csv"


class Bare(Server):
    """A tonic server with one empty method."""

    def __init__(self, folder):
        super().__init__([BARE], f"{folder}/log")
        self.address = self.process.stdout.readline().split()[-1]


class Etcd(Server):
    """etcd with its defaults: every Put is on the disk before the response."""

    def __init__(self, folder):
        self.address, peers = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        client = f"http://{self.address}"
        super().__init__(["etcd", "--data-dir", f"{folder}/data", "--listen-client-urls", client,
                          "--advertise-client-urls", client, "--listen-peer-urls", peers,
                          "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"],
                         f"{folder}/log")
        self.url = client
        wait_for(f"{client}/health", self.process)

    def value_of(self, key):
        """The value of a key, read with the gRPC client."""
        with grpc.insecure_channel(self.address) as channel:
            response = channel.unary_unary(RANGE)(range_request(key))
        # Skip the header and the key: the value is the only JSON in the response.
        return response[response.index(b"{"):response.rindex(b"}") + 1]


def range_request(key, serializable=False):
    return field(1, key) + (b"\x38\x01" if serializable else b"")


def put_request(key, value):
    return field(1, key) + field(2, value)


def field(number, value):
    """A length-delimited field of a message."""
    length, digits = len(value), bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *digits, length]) + value


class Whatportis(Server):
    """The server of whatportis, with the registry file from a local HTTP server."""

    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        with files(FIXTURES) as source:
            super().__init__(["target/tools/whatportis/bin/python", "benches/compare/whatportis_server.py",
                              f"{source}/{REGISTRY}", self.url.rsplit(":", 1)[1]], f"{folder}/log",
                             env={"PATH": os.environ["PATH"], "HOME": str(folder)})
            threading.Thread(target=self.process.stdout.read, daemon=True).start()
            wait_for(f"{self.url}/ports/443", self.process)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def names_on(self, port):
        with urllib.request.urlopen(f"{self.url}/ports/{port}") as response:
            return [found[0] if isinstance(found, list) else found["name"] for found in json.load(response)["ports"]]


@contextlib.contextmanager
def files(folder):
    """Serves the files of a folder over HTTP. Returns the URL."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def wait_for(url, process, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=5).read()
        time.sleep(.05)
    raise OSError(f"no response from {url}")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
