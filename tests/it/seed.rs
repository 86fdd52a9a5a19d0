//! The seed: IANA's complete registry, and its counts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portbook::grpc::proto::{Source, State, Transport};
use portbook::iana::{assignments, edition, read};
use portbook::registry;
use portbook::store::Store;
use portbook::store::sqlite::SqliteStore;

use crate::harness::{Server, sql_counts};

#[tokio::test]
async fn the_server_and_sql_agree_with_iana_on_the_counts() {
    let server = Server::start();
    let info = server.info().await;
    let iana = info.sources.iter().find(|counts| counts.source() == Source::Iana).unwrap();
    assert_eq!(info.iana_date, "2024-06-12");
    let reported: BTreeMap<String, i64> =
        [
            ("records", iana.assignments),
            ("with a port", iana.with_port),
            ("without", iana.without_port),
            ("ranges", iana.port_ranges),
            ("with a name", iana.with_service_name),
            ("nameless", iana.without_service_name),
            ("names", iana.distinct_service_names),
        ]
        .map(|(what, count)| (what.to_owned(), i64::from(count)))
        .into_iter()
        .chain(iana.transports.iter().map(|count| {
            (count.transport().as_str_name().to_owned(), i64::from(count.assignments))
        }))
        .chain(
            iana.states.iter().filter(|count| count.state() != State::Unlisted).map(|count| {
                (count.state().as_str_name().to_owned(), i64::from(count.assignments))
            }),
        )
        .collect();

    let published = [
        ("records", 14_447),
        ("with a port", 13_408),
        ("without", 1_039),
        ("ranges", 756),
        ("with a name", 12_755),
        ("nameless", 1_692),
        ("names", 7_281),
        ("TRANSPORT_TCP", 6_562),
        ("TRANSPORT_UDP", 6_329),
        ("TRANSPORT_SCTP", 92),
        ("TRANSPORT_DCCP", 11),
        ("TRANSPORT_UNSPECIFIED", 1_453),
        ("STATE_ASSIGNED", 12_755 + 14),
        ("STATE_RESERVED", 799),
        ("STATE_UNASSIGNED", 879),
    ]
    .map(|(what, count)| (what.to_owned(), count));
    assert_eq!(reported, published.into_iter().collect());

    let query = "select 'records', count(*) from iana_record \
        union all select 'with a port', count(first_port) from iana_record \
        union all select 'without', count(*) from iana_record where first_port is null \
        union all select 'ranges', count(*) from iana_record where port_number like '%-%' \
        union all select 'with a name', count(service_name) from iana_record \
        union all select 'nameless', count(*) from iana_record where service_name is null \
        union all select 'names', count(distinct service_name) from iana_record \
        union all select 'TRANSPORT_' || upper(coalesce(transport, 'unspecified')), count(*) \
            from iana_record group by transport \
        union all select 'STATE_' || state, count(*) from iana_record group by state";
    let stored: BTreeMap<_, _> = sql_counts(&server.database(), query).await.into_iter().collect();
    assert_eq!(reported, stored);
    let transports: Vec<_> = iana.transports.iter().map(|count| count.transport()).collect();
    assert_eq!(transports[0], Transport::Unspecified);
}

#[tokio::test]
async fn common_uses_do_not_duplicate_iana_records() {
    let server = Server::start();
    let repeated = "select c.service_name || ' ' || c.first_port || '/' || c.transport, count(*) \
        from common_use c join iana_record i on lower(i.service_name) = c.service_name \
        and i.first_port <= c.last_port and i.last_port >= c.first_port \
        and coalesce(i.transport, c.transport) = c.transport group by 1";
    assert!(sql_counts(&server.database(), repeated).await.is_empty());
    let without_service = "select guide_id, 1 from guide where guide_id not in \
        (select guide_id from guide_service)";
    assert!(sql_counts(&server.database(), without_service).await.is_empty());
    let counts = "select 'guides', count(*) from guide union all \
        select 'uses', count(distinct service_name) from common_use";
    let counts: BTreeMap<_, _> = sql_counts(&server.database(), counts).await.into_iter().collect();
    assert!(counts["guides"] >= 150 && counts["uses"] >= 60, "{counts:?}");
    assert_eq!(i64::from(server.info().await.guides), counts["guides"]);
}

#[tokio::test]
async fn the_loaded_assignments_equal_those_of_the_file() {
    let file = include_bytes!("../fixtures/service-names-port-numbers-2024-06-12.csv");
    let records = read(&file[..]).unwrap();
    let edition = edition(file, &records);
    let mut store = SqliteStore::in_memory().await.unwrap();
    let contents = store.load(Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(contents.edition, edition);
    let mut loaded = contents.reference.into_iter();
    for expected in assignments(records).unwrap() {
        assert_eq!(loaded.next(), Some(expected));
    }
    assert!(loaded.all(|record| record.source() == registry::assignment::Source::Common));
}
