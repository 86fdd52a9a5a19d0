"""Calls with grpcurl, which knows Portbook only through reflection."""

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
    response = grpcurl(*authorization(token), "-d", json.dumps(request), ADDRESS, method)
    assert response.returncode == 0, f"{method} {request}: {response.stderr}"
    return json.loads(response.stdout)


def refusal(method, request, token=None):
    response = grpcurl(*authorization(token), "-d", json.dumps(request), ADDRESS, method)
    assert response.returncode != 0, f"{method} should refuse {request}"
    return response.stderr


def rpcs(service):
    return set(grpcurl(ADDRESS, "list", service).stdout.split())


def enum(name):
    """The values of an enum, from reflection, without the unspecified one."""
    described = grpcurl(ADDRESS, "describe", f"portbook.v1.{name}").stdout
    values = [line.split()[0] for line in described.splitlines() if " = " in line and "//" not in line]
    return {value for value in values if not value.endswith("_UNSPECIFIED")}


known = {rpc.rsplit(".", 1)[1]: rpc for rpc in rpcs(READS) | rpcs(WRITES)}
called = set()


def checked(rpc, request, holds):
    service, name = known[rpc].rsplit(".", 1)
    response = call(f"{service}/{name}", request)
    assert holds(response), f"{rpc} {request}: {json.dumps(response, indent=1)}"
    called.add(rpc)
    return response
