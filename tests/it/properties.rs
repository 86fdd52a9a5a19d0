//! Properties: the indexes give the same results as a naive scan of the stored records, and decided
//! changes are unchanged after they are stored and loaded.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use portbook::grpc::{convert, proto, wire};
use portbook::registry::assignment::{Assignment, Source, State, Uid};
use portbook::registry::command::{Command, Register, Update};
use portbook::registry::decide::{Context, Refusal, decide};
use portbook::registry::details::{DetailEdits, TextField};
use portbook::registry::finding::FindingCode;
use portbook::registry::list::{Filter, page};
use portbook::registry::name::NamespaceName;
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::snapshot::Snapshot;
use portbook::store::sqlite::SqliteStore;
use portbook::store::{Contents, Entry, Store};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

/// The contents of a new database.
pub async fn stored() -> Contents {
    SqliteStore::in_memory().await.unwrap().load(Timestamp::UNIX_EPOCH).await.unwrap()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The contents of a new database, for callers that may be within a runtime: loaded on another thread.
pub fn stored_blocking() -> Contents {
    std::thread::spawn(|| block_on(stored())).join().unwrap()
}

/// The snapshot of a new registry, shared by all property tests.
pub static NEW: LazyLock<Snapshot> = LazyLock::new(|| stored_blocking().into_loaded().snapshot);

#[test]
fn the_port_index_matches_a_scan_of_the_stored_records() {
    let records = block_on(stored()).reference;
    let view = NEW.view(&NamespaceName::default()).unwrap();
    let width = |record: &Assignment| record.ports.map_or(0, PortRange::width);
    let mut on_port: Vec<Vec<&Assignment>> = vec![Vec::new(); 65_536];
    for record in &records {
        for port in record.ports.into_iter().flat_map(PortRange::iter) {
            on_port[port.index()].push(record);
        }
    }
    let mut answered = 0usize;
    for port in PortRange::ALL.iter() {
        let here = &on_port[port.index()];
        for transport in std::iter::once(None).chain(Transport::ALL.map(Some)) {
            let narrower_says_better = |record: &Assignment| {
                record.source() == Source::Iana
                    && here.iter().any(|other| {
                        other.source() == Source::Iana
                            && width(other) < width(record)
                            && (record.transport.is_none() || record.transport == other.transport)
                    })
            };
            let mut expected: Vec<&Assignment> = here
                .iter()
                .copied()
                .filter(|record| !narrower_says_better(record))
                .filter(|record| {
                    transport.is_none()
                        || record.transport.is_none()
                        || record.transport == transport
                })
                .collect();
            expected.sort_by_key(|record| match record.source() {
                Source::Common => (1, width(record)),
                _ => (0, 0),
            });
            let response = view.lookup_port(port, transport);
            let uids: Vec<Uid> = response.records.iter().map(|record| record.uid).collect();
            let expected_uids: Vec<Uid> = expected.iter().map(|record| record.uid).collect();
            assert_eq!(uids, expected_uids, "{port} {transport:?}");
            let strongest = expected.iter().map(|record| record.state).min();
            assert_eq!(response.state, strongest.unwrap_or(State::Unlisted), "{port}");
            answered += uids.len();
        }
    }
    assert!(answered > 100_000);
}

#[test]
fn every_record_is_found_by_name_and_uid() {
    let view = NEW.view(&NamespaceName::default()).unwrap();
    for record in NEW.reference().records() {
        assert_eq!(NEW.by_uid(record.uid).unwrap().uid, record.uid);
        if let Some(name) = &record.service_name {
            let response = view.lookup_service(&name.to_uppercase(), record.transport).unwrap();
            assert!(response.records.iter().any(|found| found.uid == record.uid), "{name}");
        }
    }
}

#[test]
fn an_encoded_response_decodes_to_the_expected_message() {
    let reference = NEW.reference();
    let view = NEW.view(&NamespaceName::default()).unwrap();
    for port in PortRange::ALL.iter() {
        let response = view.lookup_port(port, None);
        let records = || response.records.iter().copied();
        let guides = convert::guides_of(reference, records());
        let encoded = wire::encode_port_info(reference, &response, &guides);
        let mut texts = guides.iter().map(|guide| convert::guide(guide));
        let message = proto::PortInfo {
            port: port.number().into(),
            port_class: convert::port_class(port.class()).into(),
            state: convert::state(response.state).into(),
            assignments: convert::assignments(reference, records()),
            guide: texts.next(),
            more_guides: texts.collect(),
        };
        assert_eq!(proto::PortInfo::decode(&*encoded).unwrap(), message);
        assert_eq!(message.encode_to_vec(), encoded);
    }
}

#[test]
fn the_raw_response_type_encodes_as_the_proto_message() {
    // Tags and lengths of the proto: field 1, then field 2.
    let response = wire::LookupPortResponse { port_info: vec![0x08, 0x16].into(), revision: 7 };
    assert_eq!(response.encode_to_vec(), [0x0a, 2, 0x08, 0x16, 0x10, 7]);
    let batch = wire::BatchLookupPortsResponse {
        port_infos: vec![vec![0x08, 0x16].into(), vec![].into()],
        guides: vec![vec![0x0a, 0].into()],
        revision: 7,
    };
    let bytes = [0x0a, 2, 0x08, 0x16, 0x0a, 0, 0x12, 2, 0x0a, 0, 0x18, 7];
    assert_eq!(batch.encode_to_vec(), bytes);
}

fn described(text: &str) -> DetailEdits {
    let mut details = DetailEdits::default();
    details.set_text(TextField::Description, text).unwrap();
    details
}

fn register(first: u16, width: u16) -> Command {
    let last = Port::new(first + width - 1);
    Command::Register(Register {
        namespace: NamespaceName::default(),
        service_name: "service-0".parse().unwrap(),
        ports: PortRange::new(Port::new(first), last).unwrap(),
        transports: vec![Transport::Tcp],
        pool: None,
        ttl: None,
        details: described("A registration of the test"),
        acknowledge: FindingCode::ALL.into_iter().collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pages_of_any_size_contain_every_record_once(size in 1..400usize, low in 0..65_000u16) {
        let high = low.saturating_add(2000);
        let filter = Filter {
            namespace: Some(NamespaceName::default()),
            ports: PortRange::new(Port::new(low), Port::new(high)).ok(),
            ..Filter::default()
        };
        let mut listed = Vec::new();
        let mut from = None;
        loop {
            let page = page(&NEW, &filter, from.as_ref(), size);
            prop_assert!(page.records.len() <= size);
            listed.extend(page.records.iter().map(|record| record.uid));
            from = page.next;
            if from.is_none() {
                prop_assert_eq!(page.total as usize, listed.len());
                break;
            }
        }
        let mut scanned: Vec<_> = NEW.reference().records().iter()
            .filter(|record| record.ports.is_some_and(|ports| {
                ports.first().number() <= high && ports.last().number() >= low
            }))
            .map(|record| record.uid)
            .collect();
        listed.sort_unstable();
        scanned.sort_unstable();
        prop_assert_eq!(listed, scanned);
    }
}

#[test]
fn the_database_refuses_an_overlap() {
    block_on(async {
        let mut store = SqliteStore::in_memory().await.unwrap();
        let snapshot = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded().snapshot;
        // Two commands, each decided against the same state: what a faulty writer would do.
        for (first, width, is_kept) in
            [(7450, 5, true), (7454, 1, false), (7440, 20, false), (7455, 2, true)]
        {
            let mut new_uid = || Uid::new(Uuid::now_v7());
            let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
            let decision = decide(&snapshot, &register(first, width), &mut context).unwrap();
            let last = store.load(Timestamp::UNIX_EPOCH).await.unwrap().revision;
            let entry = Entry {
                revision: last.next(),
                time: context.now,
                actor: portbook::access::Actor("test".into()),
                reason: String::new(),
                changes: decision.changes,
                findings: decision.findings,
                request: None,
            };
            assert_eq!(store.append(last, &[entry]).await.is_ok(), is_kept, "{first}");
        }
    });
}

#[test]
fn port_zero_is_a_blocker() {
    let mut new_uid = || Uid::new(Uuid::nil());
    let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
    match decide(&NEW, &register(0, 1), &mut context) {
        Err(Refusal::Findings { findings, .. }) => {
            let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, [FindingCode::PortZero]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clock_set_back_does_not_block_writes() {
    block_on(async {
        let mut store = SqliteStore::in_memory().await.unwrap();
        let mut snapshot = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded().snapshot;
        let uid = Uid::new(Uuid::now_v7());
        let change = Command::Update(Update {
            uid,
            etag: None,
            service_name: None,
            details: described("later"),
            acknowledge: std::collections::BTreeSet::new(),
        });
        let noon = Timestamp::from_second(43_200).unwrap();
        for (command, now) in [(register(7450, 1), noon), (change, Timestamp::UNIX_EPOCH)] {
            let mut new_uid = || uid;
            let mut context = Context { now, new_uid: &mut new_uid };
            let decision = decide(&snapshot, &command, &mut context).unwrap();
            let base = snapshot.revision();
            snapshot = snapshot.after(base.next(), &decision.changes);
            let entry = Entry {
                revision: base.next(),
                time: now,
                actor: portbook::access::Actor("test".into()),
                reason: String::new(),
                changes: decision.changes,
                findings: decision.findings,
                request: None,
            };
            store.append(base, &[entry]).await.unwrap();
        }
        let record = Arc::clone(snapshot.by_uid(uid).unwrap());
        let registration = record.registration().unwrap();
        assert_eq!((registration.create_time, registration.update_time), (noon, noon));
    });
}
