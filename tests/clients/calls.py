"""Calls with grpcurl, which knows nothing of Portbook but what reflection tells."""

import json
import subprocess
import sys

ADDRESS, TOKEN = sys.argv[1:3]
READS = "portbook.v1.PortRegistryService"
WRITES = "portbook.v1.PortAdminService"


def grpcurl(*args, stdin=None):
    command = ["grpcurl", "-plaintext", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True)


def authorization(token):
    return ["-H", f"authorization: Bearer {token}"] if token else []


def call(method, request, token=TOKEN):
    answer = grpcurl(*authorization(token), "-d", json.dumps(request), ADDRESS, method)
    assert answer.returncode == 0, f"{method} {request}: {answer.stderr}"
    return json.loads(answer.stdout)


def refusal(method, request, token=None):
    answer = grpcurl(*authorization(token), "-d", json.dumps(request), ADDRESS, method)
    assert answer.returncode != 0, f"{method} should refuse {request}"
    return answer.stderr


def rpcs(service):
    return set(grpcurl(ADDRESS, "list", service).stdout.split())


def enum(name):
    """The values of an enum, as reflection describes it, without the one that stands for none."""
    described = grpcurl(ADDRESS, "describe", f"portbook.v1.{name}").stdout
    values = [line.split()[0] for line in described.splitlines() if " = " in line and "//" not in line]
    return {value for value in values if not value.endswith("_UNSPECIFIED")}


known = {rpc.rsplit(".", 1)[1]: rpc for rpc in rpcs(READS) | rpcs(WRITES)}
called = set()


def checked(rpc, request, holds):
    service, name = known[rpc].rsplit(".", 1)
    answer = call(f"{service}/{name}", request)
    assert holds(answer), f"{rpc} {request}: {json.dumps(answer, indent=1)}"
    called.add(rpc)
    return answer
