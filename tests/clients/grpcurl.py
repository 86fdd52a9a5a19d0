"""Calls every rpc with grpcurl, which knows nothing of Portbook but what reflection tells.

usage: grpcurl.py ADDRESS TOKEN
"""

import json
import subprocess
import sys

ADDRESS, TOKEN = sys.argv[1:]
READS = "portbook.v1.PortRegistryService"
WRITES = "portbook.v1.PortAdminService"


def grpcurl(*args, stdin=None):
    command = ["grpcurl", "-plaintext", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True)


def call(method, request, token=TOKEN):
    header = ["-H", f"authorization: Bearer {token}"] if token else []
    answer = grpcurl(*header, "-d", json.dumps(request), ADDRESS, method)
    assert answer.returncode == 0, f"{method}: {answer.stderr}"
    return json.loads(answer.stdout)


def refusal(method, request, token=None):
    header = ["-H", f"authorization: Bearer {token}"] if token else []
    answer = grpcurl(*header, "-d", json.dumps(request), ADDRESS, method)
    assert answer.returncode != 0, f"{method} should refuse {request}"
    return answer.stderr


def rpcs(service):
    return set(grpcurl(ADDRESS, "list", service).stdout.split())


called = set()


def checked(rpc, request, holds):
    service = WRITES if rpc in ("RegisterPort", "UpdateAssignment", "ReleasePort") else READS
    answer = call(f"{service}/{rpc}", request)
    assert holds(answer), f"{rpc} {request}: {json.dumps(answer, indent=1)}"
    called.add(f"{service}.{rpc}")
    return answer


services = grpcurl(ADDRESS, "list").stdout.split()
assert {READS, WRITES, "grpc.health.v1.Health"} <= set(services), services

names = {20: "ftp-data", 21: "ftp", 22: "ssh", 25: "smtp", 53: "domain", 80: "http", 123: "ntp",
         179: "bgp", 443: "https", 500: "isakmp", 995: "pop3s", 3389: "ms-wbt-server"}
for port, name in names.items():
    checked("LookupPort", {"port": port}, lambda a: a["portInfo"]["assignments"][0]["serviceName"] == name
            and a["portInfo"]["guide"]["summary"])
checked("LookupService", {"service_name": "dns"}, lambda a: a["assignments"][0]["serviceName"] == "domain")
checked("LookupEndpoint", {"endpoint": "32.23.55.21:80"},
        lambda a: a["portInfo"]["assignments"][0]["serviceName"] == "http" and a["hostKind"] == "HOST_KIND_IPV4")
checked("BatchLookupPorts", {"queries": [{"port": 22}, {"port": 443, "transport": "TRANSPORT_UDP"}]},
        lambda a: [i["port"] for i in a["portInfos"]] == [22, 443] and len(a["guides"]) == 2)
checked("AnnotatePorts", {"ports": [443, 22, 443]}, lambda a: a["labelNumbers"] == [0, 1, 0])
checked("ListAssignments", {"filter": {"service_name_prefix": "https"}, "page_size": 2},
        lambda a: len(a["assignments"]) == 2 and a["nextPageToken"])
checked("SearchAssignments", {"query": "remote desktop"}, lambda a: a["hits"][0]["serviceName"] == "ms-wbt-server")
checked("GetRegistryInfo", {}, lambda a: a["sources"][1]["assignments"] == 14447)

request = {"service_name": "billing", "ports": {"first": 7450}, "transports": ["TRANSPORT_TCP"]}
taken = checked("RegisterPort", request, lambda a: a["revision"] == "1")["assignments"][0]
checked("GetAssignment", {"uid": taken["uid"]}, lambda a: a["assignment"] == taken)
wish = {"uid": taken["uid"], "etag": taken["etag"], "description": "Invoices"}
checked("UpdateAssignment", {"assignment": wish, "update_mask": {"paths": ["description"]}},
        lambda a: a["assignment"]["description"] == "Invoices")
assert "ETAG_MISMATCH" in refusal(f"{WRITES}/UpdateAssignment", {"assignment": wish}, TOKEN)
assert '"holder": "billing"' in refusal(f"{WRITES}/RegisterPort", request | {"service_name": "late"}, TOKEN)
checked("ReleasePort", {"port": 7450, "transport": "TRANSPORT_TCP"}, lambda a: a["revision"] == "3")

assert "google.rpc.ErrorInfo" in refusal(f"{READS}/LookupPort", {}), "details can't be read"
assert "TOKEN_MISSING" in refusal(f"{WRITES}/RegisterPort", request)
health = call("grpc.health.v1.Health/Check", {"service": READS}, token=None)
assert health == {"status": "SERVING"}, health
missed = (rpcs(READS) | rpcs(WRITES)) - called
assert not missed, f"never called: {missed}"
print(f"grpcurl: {len(called)} rpcs called by reflection alone")
