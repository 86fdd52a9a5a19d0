"""Generates the registrations of an organisation from a seed: varied names, teams, descriptions and labels."""

import random

from portbook.v1 import assignment_pb2 as assignment
from portbook.v1 import port_admin_service_pb2 as admin
from servers import ACKNOWLEDGE

TEAMS = ("pay ads auth data feed geo hr iam jobs kyc law mail net ops pos qa risk shop tax user video web map "
         "chat core dev edge fin game home").split()
SERVICES = ("ledger bill proxy cache queue index sync store audit quote cart stock price route token vault media "
            "notify search report export import batch stream relay agent probe graph model label score rules "
            "match clock mirror shard").split()
KINDS = ("public interface, internal interface, worker, metrics, health checks, replication, gossip, console, "
         "debugger, webhook receiver, control plane, event stream").split(", ")
WORDS = ("settles invoices nightly, keeps sessions of customers, forwards telemetry to the warehouse, serves "
         "thumbnails, encrypts documents at rest, plans deliveries, scores transactions for fraud, mirrors the "
         "catalogue, exports statements, resolves addresses, renders maps, ranks recommendations, "
         "translates messages, archives recordings, reconciles accounts").split(", ")
TRANSPORTS = [assignment.TRANSPORT_TCP, assignment.TRANSPORT_UDP, assignment.TRANSPORT_SCTP, assignment.TRANSPORT_DCCP]
# The ports of all transports that a namespace can hold.
MAX_REGISTRATIONS = 65_535 * len(TRANSPORTS)


def registrations(namespace, count, seed):
    """Registrations in a namespace, each of a different port and transport."""
    rng = random.Random(f"{seed} {namespace}")
    for index in rng.sample(range(MAX_REGISTRATIONS), count):
        team, service = rng.choice(TEAMS), rng.choice(SERVICES)
        yield admin.RegisterPortRequest(
            namespace=namespace, service_name=f"{team}-{service}"[:10].rstrip("-") + f"-{rng.randrange(10_000):04}",
            ports=assignment.PortRange(first=1 + index // len(TRANSPORTS)),
            transports=[TRANSPORTS[index % len(TRANSPORTS)]],
            description=f"{service.capitalize()} {rng.choice(KINDS)}: {rng.choice(WORDS)}",
            assignee=f"team {team}", contact=f"{team}@example.com",
            labels={"tier": str(rng.randrange(1, 5)), "region": rng.choice(["eu", "us", "apac"]),
                    "commit": f"{rng.getrandbits(32):08x}"},
            acknowledge=ACKNOWLEDGE)


def mistyped(name, rng):
    """The name with one letter replaced."""
    at = rng.choice([index for index, letter in enumerate(name) if letter.isalpha()] or [0])
    return name[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + name[at + 1:]
