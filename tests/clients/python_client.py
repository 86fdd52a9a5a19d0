"""A client generated from the protos by grpcio-tools: lookups, a registration, a refusal, a stream, a
watch, and ports of a pool.

usage: python_client.py ADDRESS TOKEN GENERATED_FOLDER
"""

import sys

ADDRESS, TOKEN, GENERATED = sys.argv[1:]
sys.path.insert(0, GENERATED)

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from portbook.v1 import assignment_pb2 as assignment
from portbook.v1 import change_pb2 as change
from portbook.v1 import pool_pb2 as pool
from portbook.v1 import port_admin_service_pb2 as admin
from portbook.v1 import port_admin_service_pb2_grpc as admin_grpc
from portbook.v1 import port_registry_service_pb2 as registry
from portbook.v1 import port_registry_service_pb2_grpc as registry_grpc

channel = grpc.insecure_channel(ADDRESS)
reads = registry_grpc.PortRegistryServiceStub(channel)
writes = admin_grpc.PortAdminServiceStub(channel)
token = [("authorization", f"Bearer {TOKEN}")]

info = reads.LookupPort(registry.LookupPortRequest(port=443)).port_info
assert [a.service_name for a in info.assignments] == ["https"] * 3
assert info.port_class == assignment.PORT_CLASS_SYSTEM and info.guide.title == "HTTPS"

uids, page_token = [], ""
while True:
    page = reads.ListAssignments(registry.ListAssignmentsRequest(page_size=500, page_token=page_token))
    uids += [a.uid for a in page.assignments]
    page_token = page.next_page_token
    if not page_token:
        break
assert len(uids) == len(set(uids)) == page.total_size, (len(uids), page.total_size)

request = admin.RegisterPortRequest(
    service_name="ledger",
    ports=assignment.PortRange(first=7451),
    transports=[assignment.TRANSPORT_TCP],
    labels={"team": "finance"},
)
registered = writes.RegisterPort(request, metadata=token).assignments[0]
seen = reads.LookupPort(registry.LookupPortRequest(port=7451)).port_info.assignments[0]
assert seen == registered and seen.labels["team"] == "finance"
request.service_name = "late"
try:
    writes.RegisterPort(request, metadata=token)
    raise AssertionError("two holders of one port")
except grpc.RpcError as refused:
    assert refused.code() == grpc.StatusCode.ALREADY_EXISTS
    reason = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(refused).details[0].Unpack(reason)
    assert reason.metadata["holder"] == "ledger" and reason.metadata["holder_uid"] == registered.uid

labels, names = [], []
blocks = [registry.AnnotatePortsRequest(ports=[443, 7451]), registry.AnnotatePortsRequest(ports=[22, 443])]
for response in reads.AnnotatePorts(iter(blocks)):
    labels += response.new_labels
    names += [labels[number].service_name for number in response.label_numbers]
assert names == ["https", "ledger", "ssh", "https"], names
writes.ReleasePort(admin.ReleasePortRequest(uid=registered.uid, etag=registered.etag), metadata=token)

# A watch from the next revision receives the allocation of a pool, which is repeatable.
present = reads.GetRegistryInfo(registry.GetRegistryInfoRequest()).revision
watch = reads.WatchAssignments(registry.WatchAssignmentsRequest(start_revision=present + 1))
mark = next(watch)
assert mark.revision == present and not mark.changes, mark
new_pool = pool.Pool(
    name="python",
    ports=[assignment.PortRange(first=29500, last=29509)],
    transports=[assignment.TRANSPORT_TCP, assignment.TRANSPORT_UDP],
)
writes.CreatePool(admin.CreatePoolRequest(pool=new_pool), metadata=token)
ensure = admin.EnsurePortRequest(pool="python", service_name="ledger", instance="blue")
allocated = writes.EnsurePort(ensure, metadata=token)
again = writes.EnsurePort(ensure, metadata=token)
assert allocated.created and not again.created and allocated.assignments == again.assignments
assert [a.ports.first for a in allocated.assignments] == [29500, 29500], allocated
message = next(watch)
assert [c.kind for c in message.changes] == [change.CHANGE_KIND_REGISTERED] * 2
assert [c.after for c in message.changes] == list(allocated.assignments) and message.revision == allocated.revision
watch.cancel()
print(f"python: {len(uids)} records listed, a port registered, refused and released, another ensured and watched")
