"""Registrations as an organisation has them: names, teams, words and labels in their variety, from a seed."""

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
# Ports that can be held, on each transport.
PLACES = 65_535 * len(TRANSPORTS)


def registrations(space, count, seed):
    """So many registrations in a namespace, each on a port and transport of its own."""
    chance = random.Random(f"{seed} {space}")
    for place in chance.sample(range(PLACES), count):
        team, service = chance.choice(TEAMS), chance.choice(SERVICES)
        yield admin.RegisterPortRequest(
            namespace=space, service_name=f"{team}-{service}"[:10].rstrip("-") + f"-{chance.randrange(10_000):04}",
            ports=assignment.PortRange(first=1 + place // len(TRANSPORTS)),
            transports=[TRANSPORTS[place % len(TRANSPORTS)]],
            description=f"{service.capitalize()} {chance.choice(KINDS)}: {chance.choice(WORDS)}",
            assignee=f"team {team}", contact=f"{team}@example.com",
            labels={"tier": str(chance.randrange(1, 5)), "region": chance.choice(["eu", "us", "apac"]),
                    "commit": f"{chance.getrandbits(32):08x}"},
            acknowledge=ACKNOWLEDGE)


def mistyped(name, chance):
    """A name with one of its letters exchanged."""
    at = chance.choice([place for place, letter in enumerate(name) if letter.isalpha()] or [0])
    return name[:at] + chance.choice("abcdefghijklmnopqrstuvwxyz") + name[at + 1:]
