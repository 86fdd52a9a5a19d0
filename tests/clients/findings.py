"""Checks every finding and its evidence in grpcurl's JSON.

usage: findings.py ADDRESS TOKEN
"""

from calls import READS, TOKEN, WRITES, call, checked, enum, refusal

NAMESPACE = {"namespace": "findings"}
TCP, UDP = ["TRANSPORT_TCP"], ["TRANSPORT_UDP"]


def request(name, first, last=None, transports=TCP, pool="", **more):
    ports = {"first": first, "last": last or first}
    return NAMESPACE | {"service_name": name, "ports": ports, "transports": transports, "pool": pool} | more


def verdict(name, first, transports=TCP, pool=""):
    check_request = NAMESPACE | {"service_name": name, "ports": [{"first": first}], "transports": transports, "pool": pool}
    return checked("CheckPort", check_request, lambda a: len(a["verdicts"]) == 1)["verdicts"][0]


checked("CreateNamespace", {"namespace": {"name": "findings"}}, lambda a: a["namespace"]["etag"])
held = call(f"{WRITES}/RegisterPort", request("holder", 7450))["assignments"][0]
former = call(f"{WRITES}/RegisterPort", request("former", 7453))["assignments"][0]
call(f"{WRITES}/ReleasePort", {"uid": former["uid"]})
pool = NAMESPACE | {"name": "web", "ports": [{"first": 29420, "last": 29429}], "transports": TCP}
call(f"{WRITES}/CreatePool", {"pool": pool})

# Each with its severity, and a check of its evidence.
CASES = {
    "INVALID_SERVICE_NAME": ("a--b", 7451, TCP, "", "BLOCKER", lambda f: "evidence" not in f),
    "PORT_ZERO": ("mine", 0, TCP, "", "BLOCKER", lambda f: f["evidencePorts"] == {"first": 0, "last": 0}),
    "PORT_TAKEN": ("mine", 7450, TCP, "", "BLOCKER", lambda f: f["evidence"] == held),
    "PORT_IN_POOL": ("mine", 29425, TCP, "", "BLOCKER",
                     lambda f: f["evidencePool"] == "web" and f["evidencePorts"] == pool["ports"][0]),
    "OUTSIDE_POOL": ("mine", 7451, TCP, "web", "BLOCKER", lambda f: f["evidencePool"] == "web"),
    "COOLING_DOWN": ("mine", 7453, TCP, "", "ACKNOWLEDGE",
                     lambda f: f["evidence"] == former and f["endTime"] > former["createTime"]),
    "SYSTEM_PORT": ("mine", 4, TCP, "", "ACKNOWLEDGE", lambda f: f["evidencePorts"] == {"first": 1, "last": 1023}),
    "IANA_ASSIGNED": ("mine", 5432, TCP, "", "ACKNOWLEDGE", lambda f: f["evidence"]["serviceName"] == "postgresql"),
    "IANA_RESERVED": ("mine", 7420, TCP, "", "ACKNOWLEDGE", lambda f: f["evidence"]["state"] == "STATE_RESERVED"),
    "DYNAMIC_PORT": ("mine", 61001, TCP, "", "ACKNOWLEDGE", lambda f: f["evidencePorts"]["first"] == 49152),
    "SERVICE_NAME_ELSEWHERE": ("postgresql", 7451, TCP, "", "ACKNOWLEDGE",
                               lambda f: f["evidence"]["ports"] == {"first": 5432, "last": 5432}),
    "COMMON_USE": ("mine", 4440, TCP, "", "NOTE", lambda f: f["evidence"]["source"] == "SOURCE_COMMON"),
    "TRANSPORT_TWIN": ("mine", 7450, UDP, "", "NOTE", lambda f: f["evidence"] == held),
    "UNAUTHORIZED_USE": ("mine", 1491, TCP, "", "NOTE", lambda f: "1491" in f["evidence"]["unauthorizedUseReported"]),
    "EPHEMERAL_RANGE": ("mine", 33124, TCP, "", "NOTE", lambda f: f["evidencePorts"]["last"] == 60999),
    "NODE_PORT_RANGE": ("mine", 30200, TCP, "", "NOTE", lambda f: f["evidencePorts"]["first"] == 30000),
    "EXPERIMENTAL": ("mine", 1021, TCP, "", "NOTE", lambda f: f["evidencePorts"] == {"first": 1021, "last": 1022}),
}
assert {f"FINDING_CODE_{code}" for code in CASES} == enum("FindingCode"), "not every finding is covered"
for code, (name, port, transports, through, severity, has_evidence) in CASES.items():
    findings = verdict(name, port, transports, through)["findings"]
    found = [finding for finding in findings if finding["code"] == f"FINDING_CODE_{code}"]
    assert len(found) == 1, f"{code}: {findings}"
    assert found[0]["severity"] == f"SEVERITY_{severity}" and found[0]["message"], found
    assert has_evidence(found[0]), f"{code}: {found}"

# A refusal names the same code, and the alternatives can be registered.
offered = verdict("mine", 5432)
assert offered["outcome"] == "OUTCOME_ACKNOWLEDGEMENT_REQUIRED", offered
assert "FINDING_CODE_IANA_ASSIGNED" in refusal(f"{WRITES}/RegisterPort", request("mine", 5432), TOKEN)
first, last = (offered["alternatives"][0][end] for end in ("first", "last"))
call(f"{WRITES}/RegisterPort", request("mine", first, last))
batch = {"requests": [request("one", 7455), request("two", 7455)]}
second = call(f"{READS}/BatchCheckPorts", batch)["verdicts"][1]["findings"][0]
assert second["evidenceIndex"] == 0 and "uid" not in second["evidence"], second
print(f"grpcurl: {len(CASES)} findings checked with their evidence")
