//! Laws: what an index answers is what a naive scan of the stored records answers, and what is
//! decided, kept and loaded again is one and the same.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use portbook::grpc::{convert, proto, wire};
use portbook::registry::assignment::{Assignment, Record, Source, State, Uid};
use portbook::registry::command::{Command, Details, Edits, Held, Register, Update};
use portbook::registry::decide::{Context, Refusal, decide};
use portbook::registry::finding::FindingCode;
use portbook::registry::list::{Filter, page};
use portbook::registry::name::NamespaceName;
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::snapshot::Snapshot;
use portbook::registry::text::Text;
use portbook::store::sqlite::SqliteStore;
use portbook::store::{Contents, Entry, Store};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

async fn stored() -> Contents {
    SqliteStore::in_memory().await.unwrap().load(Timestamp::UNIX_EPOCH).await.unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A new registry, which all laws may begin with.
static NEW: LazyLock<Snapshot> = LazyLock::new(|| block_on(stored()).into_loaded().snapshot);

#[test]
fn the_index_of_ports_answers_as_a_scan_of_the_stored_records() {
    let records = block_on(stored()).reference;
    let view = NEW.seen_from(&NamespaceName::default()).unwrap();
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
            let answer = view.lookup_port(port, transport);
            let uids: Vec<Uid> = answer.records.iter().map(|record| record.uid).collect();
            let expected_uids: Vec<Uid> = expected.iter().map(|record| record.uid).collect();
            assert_eq!(uids, expected_uids, "{port} {transport:?}");
            let strongest = expected.iter().map(|record| record.state).min();
            assert_eq!(answer.state, strongest.unwrap_or(State::Unlisted), "{port}");
            answered += uids.len();
        }
    }
    assert!(answered > 100_000);
}

#[test]
fn every_record_is_found_by_its_name_and_its_uid() {
    let view = NEW.seen_from(&NamespaceName::default()).unwrap();
    for record in NEW.reference().records() {
        assert_eq!(NEW.by_uid(record.uid).unwrap().uid, record.uid);
        if let Some(name) = &record.service_name {
            let answer = view.lookup_service(&name.to_uppercase(), record.transport).unwrap();
            assert!(answer.records.iter().any(|found| found.uid == record.uid), "{name}");
        }
    }
}

#[test]
fn an_encoded_answer_is_the_message_it_stands_for() {
    let reference = NEW.reference();
    let view = NEW.seen_from(&NamespaceName::default()).unwrap();
    for port in PortRange::ALL.iter() {
        let answer = view.lookup_port(port, None);
        let records = || answer.records.iter().copied();
        let guides = convert::guides_of(reference, records());
        let encoded = wire::encode_port_info(reference, &answer, &guides);
        let mut texts = guides.iter().map(|guide| convert::guide(guide));
        let message = proto::PortInfo {
            port: port.number().into(),
            port_class: convert::port_class(port.class()).into(),
            state: convert::state(answer.state).into(),
            assignments: convert::assignments(reference, records()),
            guide: texts.next(),
            more_guides: texts.collect(),
        };
        assert_eq!(proto::PortInfo::decode(&*encoded).unwrap(), message);
        assert_eq!(message.encode_to_vec(), encoded);
    }
}

#[test]
fn an_answer_made_of_bytes_is_the_message_of_the_proto() {
    // Tag and length as the proto has them: field 1, then field 2.
    let answer = wire::LookupPortResponse { port_info: vec![0x08, 0x16].into(), revision: 7 };
    assert_eq!(answer.encode_to_vec(), [0x0a, 2, 0x08, 0x16, 0x10, 7]);
    let batch = wire::BatchLookupPortsResponse {
        port_infos: vec![vec![0x08, 0x16].into(), vec![].into()],
        guides: vec![vec![0x0a, 0].into()],
        revision: 7,
    };
    let bytes = [0x0a, 2, 0x08, 0x16, 0x0a, 0, 0x12, 2, 0x0a, 0, 0x18, 7];
    assert_eq!(batch.encode_to_vec(), bytes);
}

/// What may be asked for, in few enough places that registrations get into each other's way.
#[derive(Clone, Debug)]
enum Wish {
    Register { first: u16, width: u16, transports: u8, name: u8 },
    Rename { nth: usize, name: u8 },
    Release { nth: usize },
    ReleaseAt { port: u16, transport: Option<u8> },
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish = prop_oneof![
        4 => (0..40u16, 1..6u16, 1..16u8, 0..4u8).prop_map(|(first, width, transports, name)| {
            Wish::Register { first: 7440 + first, width, transports, name }
        }),
        1 => (any::<usize>(), 0..4u8).prop_map(|(nth, name)| Wish::Rename { nth, name }),
        1 => any::<usize>().prop_map(|nth| Wish::Release { nth }),
        1 => (0..45u16, proptest::option::of(0..4u8))
            .prop_map(|(port, transport)| Wish::ReleaseAt { port: 7440 + port, transport }),
    ];
    proptest::collection::vec(wish, 1..40)
}

fn name(number: u8) -> String {
    format!("service-{number}")
}

fn register(first: u16, width: u16, transports: u8, number: u8) -> Command {
    let last = Port::new(first + width - 1);
    Command::Register(Register {
        namespace: NamespaceName::default(),
        service_name: name(number).parse().unwrap(),
        ports: PortRange::new(Port::new(first), last).unwrap(),
        transports: Transport::ALL
            .into_iter()
            .filter(|transport| transports & (1 << transport.index()) != 0)
            .collect(),
        pool: None,
        ttl: None,
        details: Details { description: Text::parse("A law's own").unwrap(), ..Details::default() },
        acknowledge: FindingCode::ALL.into_iter().collect(),
    })
}

fn command(wish: &Wish, snapshot: &Snapshot) -> Option<Command> {
    let nth = |nth: usize| {
        let mut uids: Vec<Uid> = snapshot.custom().map(|record| record.uid).collect();
        uids.sort_unstable();
        (!uids.is_empty()).then(|| uids[nth % uids.len()])
    };
    Some(match *wish {
        Wish::Register { first, width, transports, name } => {
            register(first, width, transports, name)
        }
        Wish::Rename { nth: which, name: number } => Command::Update(Update {
            uid: nth(which)?,
            etag: None,
            edits: Edits { service_name: name(number).parse().ok(), ..Edits::default() },
            acknowledge: FindingCode::ALL.into_iter().collect(),
        }),
        Wish::Release { nth: which } => {
            Command::Release(Held::Uid { uid: nth(which)?, etag: None })
        }
        Wish::ReleaseAt { port, transport } => Command::Release(Held::Port {
            namespace: NamespaceName::default(),
            port: Port::new(port),
            transport: transport.map(|number| Transport::ALL[usize::from(number)]),
        }),
    })
}

/// The holders of every port and transport, as a child would keep them.
type Model = BTreeMap<(u16, Transport), (Uid, String)>;

/// What the model says a wish leads to: the new model, or that it is refused.
fn model_after(model: &Model, wish: &Wish, new: &[Arc<Record>]) -> Option<Model> {
    let mut after = model.clone();
    match wish {
        Wish::Register { first, width, transports, name: number } => {
            let mut records = new.iter();
            for transport in Transport::ALL {
                if transports & (1 << transport.index()) == 0 {
                    continue;
                }
                let uid = records.next().map(|record| record.uid);
                for port in *first..first + width {
                    if model.contains_key(&(port, transport)) {
                        return None;
                    }
                    after.insert((port, transport), (uid?, name(*number)));
                }
            }
        }
        Wish::Rename { nth, name: number } => {
            let uid = nth_of(model, *nth)?;
            for (_, holder) in after.iter_mut().filter(|(_, holder)| holder.0 == uid) {
                holder.1 = name(*number);
            }
        }
        Wish::Release { nth } => {
            let uid = nth_of(model, *nth)?;
            after.retain(|_, holder| holder.0 != uid);
        }
        Wish::ReleaseAt { port, transport } => {
            let asked = transport.map(|number| Transport::ALL[usize::from(number)]);
            let held: Vec<_> = Transport::ALL
                .into_iter()
                .filter(|transport| asked.is_none_or(|asked| asked == *transport))
                .filter_map(|transport| model.get(&(*port, transport)))
                .collect();
            let first = held.first()?;
            if held.iter().any(|holder| holder.1 != first.1) {
                return None;
            }
            let is_in_a_run =
                |uid: Uid| model.values().filter(|holder| holder.0 == uid).count() > 1;
            if held.iter().any(|holder| is_in_a_run(holder.0)) {
                return None;
            }
            after.retain(|_, holder| held.iter().all(|gone| gone.0 != holder.0));
        }
    }
    Some(after)
}

fn nth_of(model: &Model, nth: usize) -> Option<Uid> {
    let mut uids: Vec<Uid> = model.values().map(|holder| holder.0).collect();
    uids.sort_unstable();
    uids.dedup();
    (!uids.is_empty()).then(|| uids[nth % uids.len()])
}

fn held_in(snapshot: &Snapshot) -> Model {
    let mut model = Model::new();
    let view = snapshot.seen_from(&NamespaceName::default()).unwrap();
    for port in 7430..7500 {
        for record in view.holders(Port::new(port), None) {
            let holder = (record.uid, record.service_name.as_deref().unwrap().to_owned());
            model.insert((port, record.transport.unwrap()), holder);
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn decisions_agree_with_a_naive_model(wishes in wishes()) {
        let mut snapshot = NEW.clone();
        let mut model = Model::new();
        let mut ids = 0u128;
        for wish in &wishes {
            let Some(command) = command(wish, &snapshot) else { continue };
            let mut new_uid = || { ids += 1; Uid::new(Uuid::from_u128(ids)) };
            let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
            let decided = decide(&snapshot, &command, &mut context);
            let new: Vec<_> = decided.iter()
                .flat_map(|decision| decision.changes.iter().filter_map(|change| change.after().cloned()))
                .collect();
            match (decided, model_after(&model, wish, &new)) {
                (Ok(decision), Some(after)) => {
                    snapshot = snapshot.after(snapshot.revision().next(), &decision.changes);
                    model = after;
                }
                (Err(_), None) => {}
                (decided, expected) => prop_assert!(false, "{wish:?}: {decided:?}, {expected:?}"),
            }
            prop_assert_eq!(held_in(&snapshot), model.clone());
        }
    }

    #[test]
    fn a_snapshot_is_not_changed_by_what_comes_after_it(wishes in wishes()) {
        let mut past = vec![(NEW.clone(), held_in(&NEW))];
        let mut ids = 0u128;
        for wish in &wishes {
            let snapshot = past.last().unwrap().0.clone();
            let Some(command) = command(wish, &snapshot) else { continue };
            let mut new_uid = || { ids += 1; Uid::new(Uuid::from_u128(ids)) };
            let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
            if let Ok(decision) = decide(&snapshot, &command, &mut context) {
                let next = snapshot.after(snapshot.revision().next(), &decision.changes);
                past.push((next.clone(), held_in(&next)));
            }
        }
        for (snapshot, held) in past {
            prop_assert_eq!(held_in(&snapshot), held);
        }
    }

    #[test]
    fn pages_of_any_size_hold_every_record_once(size in 1..400usize, low in 0..65_000u16) {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Decides, keeps and loads again; several commands a commit, as the writer does.
    #[test]
    fn what_is_kept_is_what_was_decided(wishes in wishes(), batch in 1..8usize) {
        block_on(async {
            let mut store = SqliteStore::in_memory().await.unwrap();
            let mut snapshot = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded().snapshot;
            let mut ids = 0u128;
            for wishes in wishes.chunks(batch) {
                let base = snapshot.revision();
                let mut entries = Vec::new();
                for wish in wishes {
                    let Some(command) = command(wish, &snapshot) else { continue };
                    let mut new_uid = || { ids += 1; Uid::new(Uuid::from_u128(ids)) };
                    let mut context =
                        Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
                    let Ok(decision) = decide(&snapshot, &command, &mut context) else { continue };
                    if decision.changes.is_empty() {
                        continue;
                    }
                    let revision = snapshot.revision().next();
                    snapshot = snapshot.after(revision, &decision.changes);
                    entries.push(Entry {
                        revision,
                        time: context.now,
                        actor: portbook::access::Actor("law".into()),
                        reason: String::new(),
                        changes: decision.changes,
                        findings: decision.findings,
                        request: None,
                    });
                }
                if !entries.is_empty() {
                    store.append(base, &entries).await.unwrap();
                }
            }
            let loaded = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded().snapshot;
            assert_eq!(loaded.revision(), snapshot.revision());
            let all = |snapshot: &Snapshot| {
                let mut all: Vec<Assignment> =
                    snapshot.custom().map(|record| (***record).clone()).collect();
                all.sort_by_key(|assignment| assignment.uid);
                all
            };
            assert_eq!(all(&loaded), all(&snapshot));
        });
    }
}

#[test]
fn the_database_refuses_an_overlap_too() {
    block_on(async {
        let mut store = SqliteStore::in_memory().await.unwrap();
        let snapshot = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded().snapshot;
        // Two commands, each decided as if it were alone: what a faulty writer would do.
        for (first, width, is_kept) in
            [(7450, 5, true), (7454, 1, false), (7440, 20, false), (7455, 2, true)]
        {
            let mut new_uid = || Uid::new(Uuid::now_v7());
            let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
            let decision = decide(&snapshot, &register(first, width, 1, 0), &mut context).unwrap();
            let last = store.load(Timestamp::UNIX_EPOCH).await.unwrap().revision;
            let entry = Entry {
                revision: last.next(),
                time: context.now,
                actor: portbook::access::Actor("law".into()),
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
    match decide(&NEW, &register(0, 1, 1, 0), &mut context) {
        Err(Refusal::Findings { findings, .. }) => {
            let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, [FindingCode::PortZero]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clock_that_was_set_back_stops_nobody() {
    block_on(async {
        let mut store = SqliteStore::in_memory().await.unwrap();
        let mut snapshot = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded().snapshot;
        let uid = Uid::new(Uuid::now_v7());
        let details = Edits { description: Text::parse("later").ok(), ..Edits::default() };
        let change = Command::Update(Update {
            uid,
            etag: None,
            edits: details,
            acknowledge: std::collections::BTreeSet::new(),
        });
        let noon = Timestamp::from_second(43_200).unwrap();
        for (command, now) in [(register(7450, 1, 1, 0), noon), (change, Timestamp::UNIX_EPOCH)] {
            let mut new_uid = || uid;
            let mut context = Context { now, new_uid: &mut new_uid };
            let decision = decide(&snapshot, &command, &mut context).unwrap();
            let base = snapshot.revision();
            snapshot = snapshot.after(base.next(), &decision.changes);
            let entry = Entry {
                revision: base.next(),
                time: now,
                actor: portbook::access::Actor("law".into()),
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
