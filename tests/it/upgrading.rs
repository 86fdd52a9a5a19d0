//! A database of an older Portbook is brought up to date, and nothing of it is lost.

use std::borrow::Cow;

use portbook::grpc::proto::ChangeKind::{Registered, Released, Updated};
use portbook::grpc::proto::{
    self, AsOf, GetNamespaceRequest, ListChangesRequest, LookupPortRequest, as_of,
};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

use crate::harness::{FREE, Server, decode, register};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// What the first Portbook wrote: a registration, what became of it, and one that was released.
const OLD: &str = r#"
    pragma application_id = 0x50424f4b;
    insert into revision values (1, 1000000, 'admin', 'first'), (2, 1000000, 'admin', ''),
      (3, 3000000, 'admin', ''), (4, 4000000, 'admin', 'gone');
    insert into custom_assignment values ('default', 'tcp', 7450, 7450,
      '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e', 'Billing', 'new', 'team', '', '', '', '{"tier":"1"}',
      1000000, 3000000, 3);
    insert into change values
      (1, 0, 'REGISTERED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e', null,
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e","namespace":"default","service_name":"ledger","first_port":7450,"last_port":7450,"transport":"tcp","description":"old","assignee":"team","contact":"","reference":"","assignment_notes":"","labels":{"tier":"1"},"create_time":1000000,"update_time":1000000,"revision":1}'),
      (2, 0, 'REGISTERED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f', null,
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f","namespace":"default","service_name":"short","first_port":7451,"last_port":7459,"transport":"udp","description":"","assignee":"","contact":"","reference":"","assignment_notes":"","labels":{},"create_time":1000000,"update_time":1000000,"revision":2}'),
      (3, 0, 'UPDATED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e',
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e","namespace":"default","service_name":"ledger","first_port":7450,"last_port":7450,"transport":"tcp","description":"old","assignee":"team","contact":"","reference":"","assignment_notes":"","labels":{"tier":"1"},"create_time":1000000,"update_time":1000000,"revision":1}',
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e","namespace":"default","service_name":"Billing","first_port":7450,"last_port":7450,"transport":"tcp","description":"new","assignee":"team","contact":"","reference":"","assignment_notes":"","labels":{"tier":"1"},"create_time":1000000,"update_time":3000000,"revision":3}'),
      (4, 0, 'RELEASED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f',
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f","namespace":"default","service_name":"short","first_port":7451,"last_port":7459,"transport":"udp","description":"","assignee":"","contact":"","reference":"","assignment_notes":"","labels":{},"create_time":1000000,"update_time":1000000,"revision":2}',
       null);
    insert into request values ('admin', 'once', zeroblob(32), 1,
      '[{"code":"EPHEMERAL_RANGE","message":"m","first_port":7450,"last_port":7450,"transport":"tcp","fixed_evidence":null,"custom_evidence":null}]');
"#;

async fn server_on_an_old_database() -> Server {
    let mut server = Server::stopped();
    let options = SqliteConnectOptions::new().filename(server.database()).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let first_three = MIGRATIONS.iter().filter(|migration| migration.version <= 3);
    let old =
        Migrator { migrations: Cow::Owned(first_three.cloned().collect()), ..Migrator::DEFAULT };
    old.run(&mut connection).await.unwrap();
    connection.execute(sqlx::raw_sql(OLD)).await.unwrap();
    connection.close().await.unwrap();
    server.launch();
    server
}

#[tokio::test]
async fn what_stood_and_what_happened_is_still_there() {
    let server = server_on_an_old_database().await;
    assert!(server.ready_line.contains("revision 4, 15048 assignments"), "{}", server.ready_line);
    let billing = server.lookup(FREE).await.assignments.remove(0);
    assert_eq!((billing.service_name.as_str(), billing.description.as_str()), ("Billing", "new"));
    assert_eq!((billing.labels["tier"].as_str(), billing.etag.as_str()), ("1", "r3"));
    assert_eq!((billing.expire_time, billing.pool.as_str()), (None, ""));

    let mut reads = server.reads().await;
    let kinds =
        async |reads: &mut proto::port_registry_service_client::PortRegistryServiceClient<_>,
               service: &str| {
            let filter = proto::ChangeFilter { service_name: service.into(), ..Default::default() };
            let request = ListChangesRequest { filter: Some(filter), ..Default::default() };
            let changes = reads.list_changes(request).await.unwrap().into_inner().changes;
            changes.iter().map(|change| change.kind()).collect::<Vec<_>>()
        };

    let all = [Registered, Registered, Updated, Released];
    assert_eq!(kinds(&mut reads, "").await, all);
    // It was called ledger before, and is found by either name.
    assert_eq!(kinds(&mut reads, "ledger").await, [Registered, Updated]);
    assert_eq!(kinds(&mut reads, "BILLING").await, [Updated]);
    let past = LookupPortRequest {
        port: Some(7455),
        as_of: Some(AsOf { moment: Some(as_of::Moment::Revision(3)) }),
        ..Default::default()
    };
    let answer = reads.lookup_port(past).await.unwrap().into_inner();
    let info: proto::PortInfo = decode(&answer.port_info);
    assert_eq!(info.assignments[0].service_name, "short");

    let request = GetNamespaceRequest::default();
    let namespace = reads.get_namespace(request).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!((namespace.assignments, namespace.pools), (1, 0));
    let policy = namespace.namespace.unwrap().policy.unwrap();
    assert_eq!(policy.cool_down.unwrap().seconds, 24 * 60 * 60);
    // What was released before there was such a thing does not rest.
    let mut request = register("other", 7451);
    request.transports = vec![proto::Transport::Udp.into()];
    let answer = server.writes().await.register_port(request).await.unwrap().into_inner();
    assert_eq!(answer.revision, 5);
}
