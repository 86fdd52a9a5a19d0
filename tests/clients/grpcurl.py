"""Calls every rpc with grpcurl, which knows nothing of Portbook but what reflection tells.

usage: grpcurl.py ADDRESS TOKEN
"""

import json

from calls import ADDRESS, READS, TOKEN, WRITES, call, called, checked, grpcurl, known, refusal

TCP = ["TRANSPORT_TCP"]
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

# A registration: check, read, update, conflict, release.
request = {"service_name": "billing", "ports": {"first": 7450}, "transports": TCP}
checked("CheckPort", request | {"ports": [request["ports"]]}, lambda a: a["verdicts"][0]["outcome"] == "OUTCOME_ACCEPTED")
registered = checked("RegisterPort", request, lambda a: a["revision"] == "1")["assignments"][0]
checked("GetAssignment", {"uid": registered["uid"]}, lambda a: a["assignment"] == registered)
update = {"uid": registered["uid"], "etag": registered["etag"], "description": "Invoices"}
checked("UpdateAssignment", {"assignment": update, "update_mask": {"paths": ["description"]}},
        lambda a: a["assignment"]["description"] == "Invoices")
assert "ETAG_MISMATCH" in refusal(f"{WRITES}/UpdateAssignment", {"assignment": update}, TOKEN)
assert '"holder": "billing"' in refusal(f"{WRITES}/RegisterPort", request | {"service_name": "late"}, TOKEN)
checked("ReleasePort", {"port": 7450, "transport": "TRANSPORT_TCP"}, lambda a: a["revision"] == "3")

# A namespace, a pool in it, and a lease of the pool.
lab = {"name": "lab", "policy": {"accept": ["FINDING_CODE_IANA_ASSIGNED"], "cool_down": "0s"}}
checked("CreateNamespace", {"namespace": lab}, lambda a: a["namespace"]["policy"]["coolDown"] == "0s")
checked("UpdateNamespace", {"namespace": {"name": "lab", "description": "Lab"}},
        lambda a: a["namespace"]["policy"]["accept"] == ["FINDING_CODE_IANA_ASSIGNED"])
checked("GetNamespace", {"name": "lab"}, lambda a: a["namespace"]["namespace"]["description"] == "Lab")
checked("ListNamespaces", {"page_size": 1}, lambda a: a["totalSize"] == 2 and a["nextPageToken"])
web = {"namespace": "lab", "name": "web"}
checked("CreatePool", {"pool": web | {"ports": [{"first": 29420, "last": 29429}], "transports": TCP}},
        lambda a: a["pool"]["coolDown"] == "86400s")
checked("UpdatePool", {"pool": web | {"cool_down": "60s"}}, lambda a: a["pool"]["coolDown"] == "60s")
checked("GetPool", web, lambda a: a["pool"]["usage"]["free"] == 10)
checked("ListPools", {"namespace": "-"}, lambda a: a["pools"][0]["pool"]["name"] == "web")
ensured = {"namespace": "lab", "pool": "web", "service_name": "billing", "count": 2, "ttl": "600s"}
lease = checked("EnsurePort", ensured, lambda a: a["created"])["assignments"][0]
assert lease["ports"] == {"first": 29420, "last": 29421} and lease["ttl"] == "600s", lease
checked("EnsurePort", ensured, lambda a: "created" not in a and a["assignments"][0]["uid"] == lease["uid"])
checked("RenewLease", {"uid": lease["uid"], "ttl": "900s"}, lambda a: a["assignments"][0]["ttl"] == "900s")
batch = [request | {"namespace": "lab", "ports": {"first": port}} for port in (7450, 5432)]
checked("BatchCheckPorts", {"requests": batch},
        lambda a: [v["outcome"] for v in a["verdicts"]] == ["OUTCOME_ACCEPTED"] * 2)
made = checked("BatchRegisterPorts", {"requests": batch, "reason": "moved in"}, lambda a: len(a["assignments"]) == 2)
for uid in [lease["uid"]] + [one["uid"] for one in made["assignments"]]:
    checked("ReleasePort", {"uid": uid, "reason": "moved out"}, lambda a: a["assignments"][0]["uid"] == uid)
checked("DeletePool", web, lambda a: a["pool"]["name"] == "web")
checked("DeleteNamespace", {"name": "lab"}, lambda a: a["namespace"]["name"] == "lab")

# History, historical lookup and watch.
history = checked("ListChanges", {"filter": {"namespace": "-"}, "newest_first": True},
                  lambda a: a["changes"][0]["kind"] == "CHANGE_KIND_NAMESPACE_DELETED")["changes"]
assert any(change["actor"] == "admin" and change.get("reason") == "moved in" for change in history), history
checked("LookupPort", {"port": 7450, "as_of": {"revision": 1}}, lambda a: a["portInfo"]["assignments"][0] == registered)
watch = {"start_revision": 1, "filter": {"namespace": "-"}}
output = grpcurl("-max-time", "2", "-d", json.dumps(watch), ADDRESS, f"{READS}/WatchAssignments").stdout
assert "CHANGE_KIND_RENEWED" in output and f'"revision": "{history[0]["revision"]}"' in output, output
called.add("WatchAssignments")

# Tokens and permissions.
ci = {"name": "ci", "role": "ROLE_REGISTRAR", "grants": [{"namespace": "default"}]}
secret = checked("CreateToken", {"token": ci}, lambda a: a["token"]["creator"] == "admin")["secret"]
caller = call(f"{WRITES}/GetCaller", {}, token=secret)
assert caller["token"]["name"] == "ci", caller
call(f"{WRITES}/RegisterPort", request, token=secret)
assert "PERMISSION_DENIED" in refusal(f"{WRITES}/RegisterPort", request | {"namespace": "lab"}, secret)
assert '"role": "admin"' in refusal(f"{WRITES}/ListTokens", {}, secret)
checked("UpdateToken", {"token": {"name": "ci", "role": "ROLE_VIEWER"}}, lambda a: a["token"]["role"] == "ROLE_VIEWER")
new_secret = checked("RotateToken", {"name": "ci"}, lambda a: a["secret"] != secret)["secret"]
assert "TOKEN_INVALID" in refusal(f"{WRITES}/GetCaller", {}, secret)
checked("GetToken", {"name": "ci"}, lambda a: "grants" not in a["token"])
checked("ListTokens", {"page_size": 1}, lambda a: a["totalSize"] == 2 and a["nextPageToken"])
checked("RevokeToken", {"name": "ci"}, lambda a: "revokeTime" in a["token"])
assert "TOKEN_INVALID" in refusal(f"{WRITES}/GetCaller", {}, new_secret)
checked("GetCaller", {}, lambda a: a["token"]["role"] == "ROLE_ADMIN")

assert "google.rpc.ErrorInfo" in refusal(f"{READS}/LookupPort", {}), "details can't be read"
for rpc in ("RegisterPort", "EnsurePort", "CreateNamespace", "DeletePool"):
    assert "TOKEN_MISSING" in refusal(f"{WRITES}/{rpc}", {}), rpc
health = call("grpc.health.v1.Health/Check", {"service": READS}, token=None)
assert health == {"status": "SERVING"}, health
missed = set(known) - called
assert not missed, f"never called: {missed}"
print(f"grpcurl: {len(called)} rpcs called through reflection")
