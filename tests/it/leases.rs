//! Leases: registrations that expire, are renewed, and are released automatically.

use jiff::SignedDuration;

use portbook::grpc::proto::{self, ChangeKind, FindingCode, Transport};
use tonic::{Code, Streaming};

use crate::harness::{
    FREE, QUIET, Replay, Server, assert_refused, codes, create_pool, ensure, first_port, pool,
    register, release, seconds, within_timeout,
};
use crate::in_process::{InProcess, ManualClock, Settings};
use crate::verify::forge;

fn leased(name: &str, port: u32, ttl: i64) -> proto::RegisterPortRequest {
    proto::RegisterPortRequest { ttl: seconds(ttl), ..register(name, port) }
}

fn renew(uid: &str, ttl: Option<i64>) -> proto::RenewLeaseRequest {
    let ttl = ttl.and_then(seconds);
    proto::RenewLeaseRequest { uid: uid.into(), ttl, ..Default::default() }
}

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.unwrap();
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1000
}

/// The time from the last change of the record to its expiry, in microseconds.
fn length(held: &proto::Assignment) -> i64 {
    micros(held.expire_time) - micros(held.update_time)
}

/// The next changes that a watch receives.
async fn next_changes(
    watch: &mut Streaming<proto::WatchAssignmentsResponse>,
) -> Vec<proto::Change> {
    within_timeout(async {
        loop {
            let message = watch.message().await.unwrap().unwrap();
            if !message.changes.is_empty() {
                return message.changes;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_lease_is_renewed_by_uid_and_by_port() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut request = leased("billing", FREE, 600);
    request.transports = vec![Transport::Tcp.into(), Transport::Udp.into()];
    let held = writes.register_port(request).await.unwrap().into_inner().assignments;
    assert!(
        held.iter().all(|one| one.ttl == seconds(600) && length(one) == 600_000_000),
        "{held:?}"
    );

    // By uid, with another duration; and with the last duration if none is given.
    let response = writes.renew_lease(renew(&held[0].uid, Some(60))).await.unwrap().into_inner();
    let shorter = &response.assignments[0];
    assert_eq!((shorter.ttl, response.revision, shorter.revision), (seconds(60), 2, 2));
    assert_eq!(length(shorter), 60_000_000, "a renewal may shorten the lease");
    let response = writes.renew_lease(renew(&held[0].uid, None)).await.unwrap().into_inner();
    assert_eq!(response.assignments[0].ttl, seconds(60));
    assert_ne!(response.assignments[0].expire_time, shorter.expire_time);

    // By port, on all transports together, each with its last duration.
    let mut by_port = proto::RenewLeaseRequest { port: Some(FREE), ..Default::default() };
    let response = writes.renew_lease(by_port.clone()).await.unwrap().into_inner();
    let ttls: Vec<_> = response.assignments.iter().map(|one| one.ttl).collect();
    assert_eq!(ttls, [seconds(60), seconds(600)]);
    by_port.transport = Transport::Udp.into();
    by_port.ttl = seconds(1);
    by_port.validate_only = true;
    let response = writes.renew_lease(by_port).await.unwrap().into_inner();
    assert_eq!((response.assignments.len(), response.revision), (1, 4));
    assert_eq!(server.lookup(FREE).await.assignments[1].ttl, seconds(600), "nothing was changed");

    let stale =
        proto::RenewLeaseRequest { etag: held[0].etag.clone(), ..renew(&held[0].uid, None) };
    assert_refused(writes.renew_lease(stale).await, Code::Aborted, "ETAG_MISMATCH");
    let fresh = proto::RenewLeaseRequest { etag: "r4".into(), ..renew(&held[0].uid, None) };
    writes.renew_lease(fresh).await.unwrap();
    let filter = proto::ChangeFilter { uid: held[0].uid.clone(), ..Default::default() };
    let kinds: Vec<_> = server.history(filter).await.iter().map(|change| change.kind()).collect();
    assert_eq!(kinds[0], ChangeKind::Registered);
    assert_eq!(kinds[1..], [ChangeKind::Renewed; 4]);
}

#[tokio::test]
async fn a_registration_without_expiry_cannot_be_renewed() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let held = writes.register_port(register("billing", FREE)).await.unwrap().into_inner();
    let uid = &held.assignments[0].uid;
    let response = writes.renew_lease(renew(uid, Some(60))).await;
    assert_eq!(assert_refused(response, Code::FailedPrecondition, "NO_LEASE")["uid"], *uid);
    let nobody = proto::RenewLeaseRequest { port: Some(FREE + 1), ..Default::default() };
    assert_refused(writes.renew_lease(nobody).await, Code::NotFound, "ASSIGNMENT_NOT_FOUND");
    assert_eq!(server.info().await.revision, 1);
}

#[tokio::test]
async fn an_update_does_not_change_the_lease() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let held = writes.register_port(leased("billing", FREE, 600)).await.unwrap().into_inner();
    let held = &held.assignments[0];
    let desired = proto::Assignment {
        uid: held.uid.clone(),
        description: "new".into(),
        service_name: "orders".into(),
        ..Default::default()
    };
    let request =
        proto::UpdateAssignmentRequest { assignment: Some(desired), ..Default::default() };
    let changed = writes.update_assignment(request).await.unwrap().into_inner().assignment.unwrap();
    assert_eq!(changed.service_name, "orders");
    assert_eq!((changed.ttl, changed.expire_time), (held.ttl, held.expire_time));
}

#[tokio::test]
async fn a_lease_expires_automatically() {
    let clock = ManualClock::new();
    let settings = Settings { clock: clock.clock(), ..Settings::default() };
    let server = InProcess::start(settings).await.server;
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 1))).await.unwrap();
    let mut watch = server.watch(1, proto::WatchFilter::default()).await;
    let mut request = leased("short", FREE, 2);
    request.transports = vec![Transport::Tcp.into(), Transport::Udp.into()];
    let mut held = writes.register_port(request).await.unwrap().into_inner().assignments;
    let ttl = seconds(2);
    let ensured = proto::EnsurePortRequest { ttl, ..ensure("web", "pooled") };
    held.extend(writes.ensure_port(ensured).await.unwrap().into_inner().assignments);
    // After this write the writer sleeps until the first expiry.
    clock.advance(SignedDuration::from_millis(1990));
    writes.register_port(leased("long", FREE + 1, 600)).await.unwrap();
    clock.advance(SignedDuration::from_millis(20));

    // No calls are made while waiting.
    let mut output = Replay::default();
    let mut expired = Vec::new();
    while expired.len() < 3 {
        for change in next_changes(&mut watch).await {
            output.apply(&change);
            if change.kind() == ChangeKind::Expired {
                expired.push(change);
            }
        }
    }
    output.assert_is(server.all_registrations().await);
    for change in &expired {
        let before = change.before.as_ref().unwrap();
        assert!(held.contains(before) && change.after.is_none());
        assert_eq!((change.actor.as_str(), change.reason.as_str()), ("portbook", ""));
        let late = micros(change.time) - micros(before.expire_time);
        assert!((0..5_000_000).contains(&late), "{late} microseconds late");
        assert!(change.cool_down_end_time.is_some());
    }
    let kinds = vec![ChangeKind::Expired.into()];
    let filter = proto::ChangeFilter { kinds, ..Default::default() };
    assert_eq!(server.history(filter).await, expired);

    // The cool-down applies to other services, not to the same one.
    for (name, found) in [("other", &[FindingCode::CoolingDown][..]), ("short", &[])] {
        let check_request = proto::CheckPortRequest {
            service_name: name.into(),
            ports: vec![held[0].ports.unwrap()],
            transports: vec![held[0].transport],
            ..Default::default()
        };
        let response = reads.check_port(check_request).await.unwrap().into_inner();
        assert_eq!(codes(&response.verdicts[0].findings), found);
    }
    let other = writes.ensure_port(ensure("web", "other")).await.unwrap().into_inner();
    assert_eq!(first_port(&other.assignments[0]), QUIET + 1);
    let again = writes.ensure_port(ensure("web", "pooled")).await.unwrap().into_inner();
    assert!(again.created && first_port(&again.assignments[0]) == QUIET);
    assert_refused(
        writes.renew_lease(renew(&held[0].uid, None)).await,
        Code::NotFound,
        "ASSIGNMENT_NOT_FOUND",
    );
}

#[tokio::test]
async fn a_renewed_or_released_lease_does_not_expire() {
    let clock = ManualClock::new();
    let settings = Settings { clock: clock.clock(), ..Settings::default() };
    let server = InProcess::start(settings).await.server;
    let mut writes = server.writes().await;
    let mut watch = server.watch(1, proto::WatchFilter::default()).await;
    let mut uids = Vec::new();
    for (port, ttl) in [(FREE, 1), (FREE + 1, 1), (FREE + 2, 2)] {
        let response = writes.register_port(leased("billing", port, ttl)).await.unwrap();
        uids.push(response.into_inner().assignments.remove(0).uid);
    }
    writes.renew_lease(renew(&uids[0], Some(600))).await.unwrap();
    writes.release_port(release(&uids[1])).await.unwrap();
    clock.advance(SignedDuration::from_millis(1990));
    writes.register_port(register("permanent", FREE + 3)).await.unwrap();
    clock.advance(SignedDuration::from_millis(20));
    // When the third one expires, the first two would have expired too.
    let expired = loop {
        let changes = next_changes(&mut watch).await;
        let mut expired = changes.into_iter().filter(|change| change.kind() == ChangeKind::Expired);
        if let Some(first) = expired.next() {
            break first;
        }
    };
    assert_eq!(expired.before.unwrap().uid, uids[2]);
    assert_eq!(server.all_registrations().await.len(), 2);
    assert_eq!(server.info().await.revision, 7);
}

#[tokio::test]
async fn leases_that_expired_while_stopped_end_before_the_first_response() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    writes.register_port(leased("short", FREE, 1)).await.unwrap();
    writes.register_port(leased("long", FREE + 1, 600)).await.unwrap();
    server.kill();
    // Set the expiry into the past, to avoid a wait.
    let expired = "update custom_assignment set expire_time = create_time + 1 \
                   where service_name = 'short'";
    forge(&server.database(), expired).await;
    server.launch();
    assert!(server.ready_line.contains("revision 3, "), "{}", server.ready_line);
    let info = server.lookup(FREE).await;
    assert!(info.assignments.iter().all(|record| record.service_name != "short"), "{info:?}");
    assert_eq!(server.lookup(FREE + 1).await.assignments[0].service_name, "long");
    let changes = server.history(proto::ChangeFilter::default()).await;
    let last = changes.last().unwrap();
    assert_eq!(
        (last.kind(), last.actor.as_str(), last.revision),
        (ChangeKind::Expired, "portbook", 3)
    );
    assert_eq!(last.before.as_ref().unwrap().service_name, "short");
    let response = server.writes().await.register_port(register("other", FREE)).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED");
    assert_eq!(metadata["codes"], "FINDING_CODE_COOLING_DOWN");
}
