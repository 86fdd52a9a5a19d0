//! ListChanges: actor, resource, time and reason of each change, complete and paginated.

use std::collections::{BTreeMap, BTreeSet};

use portbook::grpc::proto::{self, Change, ChangeFilter, ChangeKind, Transport};
use tonic::Code;

use crate::harness::{
    FREE, QUIET, Random, Replay, Server, assert_refused, create_pool, ensure, first_port,
    namespace, pool, ports, register, release, seconds, within_timeout,
};

fn all_namespaces() -> ChangeFilter {
    ChangeFilter { namespace: "-".into(), ..Default::default() }
}

/// Makes at least one change of each kind, in three namespaces, one of which is deleted.
async fn write_history(server: &Server) {
    let mut writes = server.writes().await;
    let mut watch = server.watch(1, proto::WatchFilter::default()).await;
    for name in ["lab", "prod"] {
        writes.create_namespace(namespace(name, proto::NamespacePolicy::default())).await.unwrap();
    }
    let described =
        proto::Namespace { name: "lab".into(), description: "d".into(), ..Default::default() };
    let update = proto::UpdateNamespaceRequest { namespace: Some(described), ..Default::default() };
    writes.update_namespace(update).await.unwrap();
    let web = proto::Pool { namespace: "lab".into(), ..pool("web", QUIET, QUIET + 9) };
    writes.create_pool(create_pool(web.clone())).await.unwrap();
    let described = proto::Pool { description: "d".into(), ..web };
    let update = proto::UpdatePoolRequest { pool: Some(described), ..Default::default() };
    writes.update_pool(update).await.unwrap();
    let ensured = proto::EnsurePortRequest {
        namespace: "lab".into(),
        ttl: seconds(600),
        ..ensure("web", "pooled")
    };
    let pooled = writes.ensure_port(ensured).await.unwrap().into_inner().assignments.remove(0);
    let renew = proto::RenewLeaseRequest { uid: pooled.uid.clone(), ..Default::default() };
    writes.renew_lease(renew).await.unwrap();
    let mut request = register("billing", FREE);
    request.transports = vec![Transport::Udp.into(), Transport::Tcp.into()];
    request.ports = ports(FREE, FREE + 4);
    request.reason = "new service".into();
    let run = writes.register_port(request).await.unwrap().into_inner().assignments;
    let renamed = proto::Assignment {
        uid: run[1].uid.clone(),
        service_name: "Orders".into(),
        ..Default::default()
    };
    let update = proto::UpdateAssignmentRequest {
        assignment: Some(renamed),
        reason: "renamed".into(),
        ..Default::default()
    };
    writes.update_assignment(update).await.unwrap();
    let short = proto::RegisterPortRequest { ttl: seconds(1), ..register("short", FREE + 8) };
    writes.register_port(short).await.unwrap();
    let elsewhere =
        proto::RegisterPortRequest { namespace: "prod".into(), ..register("billing", FREE) };
    writes.register_port(elsewhere).await.unwrap();
    for uid in [&pooled.uid, &run[0].uid] {
        let request = proto::ReleasePortRequest { reason: "moved".into(), ..release(uid) };
        writes.release_port(request).await.unwrap();
    }
    let remove = proto::DeletePoolRequest {
        namespace: "lab".into(),
        name: "web".into(),
        ..Default::default()
    };
    writes.delete_pool(remove).await.unwrap();
    let end = proto::DeleteNamespaceRequest { name: "lab".into(), ..Default::default() };
    writes.delete_namespace(end).await.unwrap();
    within_timeout(async {
        let is_expired = |change: &Change| change.kind() == ChangeKind::Expired;
        while !watch.message().await.unwrap().unwrap().changes.iter().any(is_expired) {}
    })
    .await;
}

#[tokio::test]
async fn each_change_has_actor_kind_time_and_reason() {
    use ChangeKind as Kind;
    let server = Server::start();
    write_history(&server).await;
    let changes = server.history(all_namespaces()).await;
    let kinds: BTreeSet<_> = changes.iter().map(|change| change.kind() as i32).collect();
    assert_eq!(kinds, (1..=11).collect::<BTreeSet<_>>(), "at least one of each kind");
    let position = |change: &Change| (change.revision, change.position);
    assert!(changes.is_sorted_by(|a, b| position(a) < position(b)));
    let time = |change: &Change| change.time.map(|time| (time.seconds, time.nanos));
    assert!(changes.is_sorted_by_key(time));
    // Registrations on two transports are one revision.
    let together = |change: &Change| {
        change.after.as_ref().is_some_and(|after| after.ports == ports(FREE, FREE + 4))
    };
    for change in &changes {
        let sides = |before: bool, after: bool| (before, after);
        let of_kind = match change.kind() {
            Kind::Registered | Kind::NamespaceCreated | Kind::PoolCreated => sides(false, true),
            Kind::Released | Kind::Expired | Kind::NamespaceDeleted | Kind::PoolDeleted => {
                sides(true, false)
            }
            _ => sides(true, true),
        };
        let given = match change.kind() {
            Kind::NamespaceCreated | Kind::NamespaceUpdated | Kind::NamespaceDeleted => {
                sides(change.namespace_before.is_some(), change.namespace_after.is_some())
            }
            Kind::PoolCreated | Kind::PoolUpdated | Kind::PoolDeleted => {
                sides(change.pool_before.is_some(), change.pool_after.is_some())
            }
            _ => sides(change.before.is_some(), change.after.is_some()),
        };
        assert_eq!(given, of_kind, "{change:?}");
        let is_back = matches!(change.kind(), Kind::Released | Kind::Expired);
        assert_eq!(change.cool_down_end_time.is_some(), is_back);
        let (actor, reason) = match change.kind() {
            Kind::Expired => ("portbook", ""),
            Kind::Released => ("admin", "moved"),
            Kind::Updated => ("admin", "renamed"),
            Kind::Registered if together(change) => ("admin", "new service"),
            _ => ("admin", ""),
        };
        assert_eq!((change.actor.as_str(), change.reason.as_str()), (actor, reason));
        if let Some(after) = &change.after {
            assert_eq!(after.revision, change.revision);
        }
    }
    let renamed = changes.iter().find(|change| change.kind() == Kind::Updated).unwrap();
    let names = [&renamed.before, &renamed.after].map(|side| &side.as_ref().unwrap().service_name);
    assert_eq!(names, ["billing", "Orders"]);
    let together: Vec<_> =
        changes.iter().filter(|change| change.reason == "new service").map(position).collect();
    assert_eq!(together, [(together[0].0, 0), (together[0].0, 1)]);
}

/// Whether a change matches, determined without an index.
fn passes(filter: &ChangeFilter, change: &Change) -> bool {
    let records: Vec<_> = [&change.before, &change.after].into_iter().flatten().collect();
    let namespaces = [&change.namespace_before, &change.namespace_after];
    let pools = [&change.pool_before, &change.pool_after];
    let mut places = records.iter().map(|record| record.namespace.as_str());
    let namespace =
        places.next().or(namespaces.into_iter().flatten().map(|it| it.name.as_str()).next());
    let namespace =
        namespace.or(pools.into_iter().flatten().map(|it| it.namespace.as_str()).next());
    let requested = if filter.namespace.is_empty() { "default" } else { &filter.namespace };
    let of_record = |test: &dyn Fn(&proto::Assignment) -> bool| records.iter().any(|it| test(it));
    let time = change.time.map(|time| (time.seconds, time.nanos));
    let bound = |time: prost_types::Timestamp| Some((time.seconds, time.nanos));
    (requested == "-" || namespace == Some(requested))
        && filter.ports.is_none_or(|run| {
            of_record(&|it| {
                it.ports.unwrap().first() <= run.last() && run.first() <= it.ports.unwrap().last()
            })
        })
        && (filter.transport == 0 || of_record(&|it| it.transport == filter.transport))
        && (filter.service_name.is_empty()
            || of_record(&|it| it.service_name.eq_ignore_ascii_case(&filter.service_name)))
        && (filter.uid.is_empty() || of_record(&|it| it.uid == filter.uid))
        && (filter.actor.is_empty() || change.actor == filter.actor)
        && (filter.kinds.is_empty() || filter.kinds.contains(&change.kind))
        && filter.start_time.is_none_or(|start| time >= bound(start))
        && filter.end_time.is_none_or(|end| time < bound(end))
}

#[tokio::test]
async fn filters_match_a_naive_scan() {
    let server = Server::start();
    write_history(&server).await;
    let all = server.history(all_namespaces()).await;
    let middle = all[all.len() / 2].time;
    let uid = all.iter().find_map(|change| change.before.as_ref()).unwrap().uid.clone();
    let with = |change: &dyn Fn(&mut ChangeFilter)| {
        let mut filter = all_namespaces();
        change(&mut filter);
        filter
    };
    for filter in [
        ChangeFilter::default(),
        with(&|f| f.namespace = "lab".into()),
        with(&|f| f.namespace = "prod".into()),
        with(&|f| f.ports = ports(FREE + 2, FREE + 2)),
        with(&|f| f.ports = ports(FREE + 4, QUIET)),
        with(&|f| f.transport = Transport::Udp.into()),
        with(&|f| f.service_name = "BILLING".into()),
        with(&|f| f.service_name = "orders".into()),
        with(&|f| f.uid.clone_from(&uid)),
        with(&|f| f.actor = "portbook".into()),
        with(&|f| f.actor = "admin".into()),
        with(&|f| f.kinds = vec![1, 8]),
        with(&|f| f.kinds = vec![ChangeKind::PoolUpdated.into()]),
        with(&|f| f.start_time = middle),
        with(&|f| f.end_time = middle),
        with(&|f| (f.namespace, f.service_name) = ("default".into(), "orders".into())),
        with(&|f| (f.transport, f.kinds) = (1, vec![1, 4])),
        with(&|f| (f.ports, f.start_time) = (ports(FREE, FREE), middle)),
    ] {
        let expected: Vec<_> =
            all.iter().filter(|change| passes(&filter, change)).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < all.len(), "{filter:?}");
        assert_eq!(server.history(filter.clone()).await, expected, "{filter:?}");
    }
    let nobody = with(&|f| f.actor = "nobody".into());
    assert_eq!(server.history(nobody).await, []);
}

#[tokio::test]
async fn pages_contain_each_change_once_in_both_orders() {
    let server = Server::start();
    write_history(&server).await;
    let all = server.history(all_namespaces()).await;
    for (page_size, most, newest_first) in
        [(1, 1, false), (1, 1, true), (4, 4, false), (4, 4, true), (0, 50, true)]
    {
        let mut request = proto::ListChangesRequest {
            filter: Some(all_namespaces()),
            page_size,
            newest_first,
            ..Default::default()
        };
        let (mut reads, mut output) = (server.reads().await, Vec::new());
        loop {
            let page = reads.list_changes(request.clone()).await.unwrap().into_inner();
            assert!((1..=most).contains(&page.changes.len()));
            output.extend(page.changes);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        if newest_first {
            output.reverse();
        }
        assert_eq!(output, all);
    }
}

#[tokio::test]
async fn pages_are_contiguous_under_concurrent_writes() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    for port in QUIET..QUIET + 20 {
        writes.register_port(register("before", port)).await.unwrap();
    }
    for newest_first in [false, true] {
        let mut request =
            proto::ListChangesRequest { page_size: 6, newest_first, ..Default::default() };
        let mut output = Vec::new();
        for round in 0..4 {
            let page = reads.list_changes(request.clone()).await.unwrap().into_inner();
            output.extend(page.changes.iter().map(|change| change.revision));
            request.page_token = page.next_page_token;
            let port = QUIET + 20 + u32::from(newest_first) * 10 + round;
            writes.register_port(register("meanwhile", port)).await.unwrap();
        }
        let last = if newest_first { 24 } else { 1 };
        let expected: Vec<_> =
            (0..24).map(|n| if newest_first { last - n } else { last + n }).collect();
        assert_eq!(output, expected[..output.len()]);
        assert!(output.len() >= 23);
    }
}

#[tokio::test]
async fn the_history_of_a_deleted_namespace_remains() {
    let mut server = Server::start();
    write_history(&server).await;
    let of_lab = ChangeFilter { namespace: "lab".into(), ..Default::default() };
    let output = server.history(of_lab.clone()).await;
    assert_eq!(output.last().unwrap().kind(), ChangeKind::NamespaceDeleted);
    let nothing = ChangeFilter { service_name: "nobody".into(), ..of_lab.clone() };
    assert_eq!(server.history(nothing).await, [], "a deleted namespace is not an error");
    server.kill();
    server.launch();
    assert_eq!(server.history(of_lab).await, output);
    let filter = Some(ChangeFilter { namespace: "lap".into(), ..Default::default() });
    let request = proto::ListChangesRequest { filter, ..Default::default() };
    let response = server.reads().await.list_changes(request).await;
    assert_refused(response, Code::NotFound, "NAMESPACE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refused_writer_gets_the_holder_recorded_in_the_history() {
    let server = Server::start();
    let mut clients = Vec::new();
    for client in 0..64 {
        let mut writes = server.writes().await;
        clients.push(tokio::spawn(async move {
            let (mut random, mut won, mut lost) = (Random::new(client), Vec::new(), Vec::new());
            for _ in 0..200 {
                let port = QUIET + random.below(100);
                match writes.register_port(register(&format!("client-{client}"), port)).await {
                    Ok(response) => won.push((port, response.into_inner().assignments.remove(0))),
                    refusal => {
                        lost.push((
                            port,
                            assert_refused(refusal, Code::AlreadyExists, "PORT_TAKEN"),
                        ));
                    }
                }
            }
            (won, lost)
        }));
    }
    let (mut holders, mut losers) = (BTreeMap::new(), Vec::new());
    for client in clients {
        let (won, lost) = client.await.unwrap();
        for (port, assignment) in won {
            assert_eq!(holders.insert(port, assignment), None, "{port} was allocated twice");
        }
        losers.extend(lost);
    }
    assert_eq!((holders.len(), losers.len()), (100, 64 * 200 - 100));
    for (port, metadata) in losers {
        let holder = &holders[&port];
        assert_eq!(
            (&metadata["holder"], &metadata["holder_uid"]),
            (&holder.service_name, &holder.uid)
        );
        assert_eq!(metadata["ports"], port.to_string());
    }
    let registered = server.all_registrations().await;
    assert!(registered.iter().all(|held| holders[&first_port(held)] == *held));
    let mut output = Replay::default();
    for change in server.history(all_namespaces()).await {
        output.apply(&change);
    }
    output.assert_is(registered);
    assert_eq!(server.info().await.revision, 100);
}
