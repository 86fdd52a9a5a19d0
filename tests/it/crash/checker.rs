//! Checks the state after a crash: every acknowledged write is present, and each other write is
//! present completely or not at all.

use std::collections::{BTreeMap, HashMap};

use portbook::grpc::proto::{self, Change, ChangeKind};

use super::request::{Resource, Response};
use super::workload::{Sent, WriteOutcome};
use crate::harness::{Replay, Server, Writes, sql_counts};

/// The number of writes with a request id that are repeated after each round.
const REPEATED: usize = 12;
/// The number of retries if leases expire while history and state are compared.
const RETRIES: usize = 50;

/// The expected state, derived from the history and the responses.
#[derive(Default)]
pub struct Checker {
    replay: Replay,
    /// The current namespaces and pools.
    namespaces_and_pools: BTreeMap<String, Resource>,
    /// The last revision that was checked.
    revision: u64,
    /// The revision of each executed write, by tag.
    done: HashMap<String, u64>,
    sent: HashMap<String, Sent>,
    /// The tags of the last round.
    recent: Vec<String>,
    pub acknowledged: usize,
    pub unanswered: usize,
    /// Executed writes without a response.
    pub carried_out: usize,
    pub repeated: usize,
    pub expired: usize,
    pub lost: Vec<String>,
    pub half_applied: Vec<String>,
}

impl Checker {
    /// Records the writes of a round.
    pub fn record(&mut self, sent: Vec<Sent>) {
        for sent in sent {
            self.acknowledged += usize::from(matches!(sent.outcome, WriteOutcome::Answered(_)));
            self.unanswered += usize::from(matches!(sent.outcome, WriteOutcome::Unanswered));
            self.recent.push(sent.tag.clone());
            self.sent.insert(sent.tag.clone(), sent);
        }
    }

    /// True if no write was lost and none is partial.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.half_applied.is_empty()
    }

    /// The registrations and resources of a writer.
    pub fn owned_by(&self, name: &str) -> BTreeMap<String, Resource> {
        let held = self.replay.0.values().filter(|record| record.service_name == name);
        let held =
            held.cloned().map(Resource::Assignment).map(|resource| (resource.key(), resource));
        let is_owned = |resource: &Resource| match resource {
            Resource::Namespace(it) => it.name.starts_with(&format!("{name}-")),
            Resource::Pool(it) => it.name.starts_with(&format!("{name}-")),
            Resource::Assignment(_) => false,
        };
        let namespaces_and_pools =
            self.namespaces_and_pools.iter().filter(|(_, resource)| is_owned(resource));
        held.chain(namespaces_and_pools.map(|(key, resource)| (key.clone(), resource.clone())))
            .collect()
    }

    /// Checks the state of the server after a restart, and repeats earlier writes.
    pub async fn check(&mut self, server: &Server) {
        let mut writes = server.writes().await;
        loop {
            let news = self.catch_up(server).await;
            let recent = std::mem::take(&mut self.recent);
            if recent.is_empty() {
                return;
            }
            self.resolve(&recent, &news);
            if !self.is_complete() {
                return;
            }
            // Writes that are executed only now are checked in the next round.
            self.repeat(&recent, &news, &mut writes).await;
        }
    }

    /// Checks the complete history again.
    pub async fn check_all(&mut self, server: &Server) {
        let all = self.sent.keys().cloned().collect::<Vec<_>>();
        let done = std::mem::take(&mut self.done);
        (self.replay, self.revision, self.expired) = (Replay::default(), 0, 0);
        self.namespaces_and_pools.clear();
        let news = self.catch_up(server).await;
        self.resolve(&all, &news);
        assert!(done.iter().all(|(tag, revision)| self.done.get(tag) == Some(revision)));
    }

    /// Reads new history entries and asserts that they lead to the current state.
    async fn catch_up(&mut self, server: &Server) -> BTreeMap<u64, Vec<Change>> {
        let mut all = BTreeMap::new();
        for _ in 0..RETRIES {
            let news = self.since(server).await;
            for (revision, changes) in &news {
                assert_eq!(*revision, self.revision + 1, "a gap in the history");
                self.revision = *revision;
                self.apply_revision(*revision, changes);
            }
            all.extend(news);
            let (registered, namespaces_and_pools) =
                (server.all_registrations().await, namespaces_and_pools(server).await);
            // A lease may have expired in the meantime.
            if server.info().await.revision == self.revision {
                self.replay.assert_is(registered);
                assert_eq!(self.namespaces_and_pools, namespaces_and_pools);
                return all;
            }
        }
        panic!("the history ends at {}, and the registry is further", self.revision);
    }

    /// The changes that were not checked yet, by revision.
    async fn since(&self, server: &Server) -> BTreeMap<u64, Vec<Change>> {
        let filter = proto::ChangeFilter { namespace: "-".into(), ..Default::default() };
        let mut request = proto::ListChangesRequest {
            filter: Some(filter),
            page_size: 1000,
            newest_first: true,
            ..Default::default()
        };
        let (mut reads, mut news) = (server.reads().await, BTreeMap::<_, Vec<_>>::new());
        loop {
            let page = reads.list_changes(request.clone()).await.unwrap().into_inner();
            let is_last = page.changes.last().is_none_or(|oldest| oldest.revision <= self.revision);
            for change in page.changes.into_iter().filter(|it| it.revision > self.revision) {
                news.entry(change.revision).or_default().insert(0, change);
            }
            request.page_token = page.next_page_token;
            if is_last || request.page_token.is_empty() {
                return news;
            }
        }
    }

    /// Applies a revision, which must be one complete write of a writer.
    fn apply_revision(&mut self, revision: u64, changes: &[Change]) {
        let tag = changes[0].reason.clone();
        let together = (0..).zip(changes).all(|(position, it)| {
            (it.position, &it.reason, &it.time) == (position, &tag, &changes[0].time)
        });
        assert!(together, "{changes:?}");
        for change in changes {
            let resource = Resource::of(change);
            match resource {
                Resource::Assignment(_) => self.replay.apply(change),
                Resource::Namespace(_) | Resource::Pool(_) => {
                    let before = change.namespace_before.clone().map(Resource::Namespace);
                    let before = before.or(change.pool_before.clone().map(Resource::Pool));
                    assert_eq!(
                        self.namespaces_and_pools
                            .remove(&resource.key())
                            .filter(|it| it.key() != "default"),
                        before
                    );
                    if change.namespace_after.is_some() || change.pool_after.is_some() {
                        self.namespaces_and_pools.insert(resource.key(), resource);
                    }
                }
            }
        }
        if changes[0].kind() == ChangeKind::Expired {
            self.expired += changes.len();
            // Leases that were registered together expire together.
            let taken = |it: &proto::Assignment| (it.revision, it.expire_time);
            let ended = changes[0].before.as_ref().map(taken);
            if self.replay.0.values().any(|record| Some(taken(record)) == ended) {
                self.half_applied.push(format!("revision {revision}: {changes:?}"));
            }
            return;
        }
        let sent = self.sent.get(&tag).unwrap_or_else(|| panic!("no writer sent {changes:?}"));
        assert!(
            !matches!(sent.outcome, WriteOutcome::Refused),
            "executed although it was refused: {sent:?}"
        );
        if changes.len() != sent.changes {
            self.half_applied.push(format!("{sent:?} became {changes:?}"));
        }
        let twice = self.done.insert(tag, revision);
        assert_eq!(twice, None, "executed twice: {sent:?}");
    }

    /// Asserts that each acknowledged write is present, and determines the outcome of the others.
    fn resolve(&mut self, tags: &[String], news: &BTreeMap<u64, Vec<Change>>) {
        for tag in tags {
            let sent = self.sent.get_mut(tag).unwrap();
            match &sent.outcome {
                WriteOutcome::Answered(response) => {
                    let there = news.get(&response.revision).filter(|it| it[0].reason == *tag);
                    if there.is_none_or(|changes| !contains_changes(changes, response)) {
                        self.lost.push(format!("{sent:?}, there is {there:?}"));
                    }
                }
                WriteOutcome::Unanswered if self.done.contains_key(tag) => self.carried_out += 1,
                // It is absent now and must stay absent.
                WriteOutcome::Unanswered if !sent.has_id => sent.outcome = WriteOutcome::Refused,
                WriteOutcome::Unanswered | WriteOutcome::Refused => {}
            }
        }
    }

    /// Repeats writes: executed ones return the stored response, others are executed.
    async fn repeat(
        &mut self,
        tags: &[String],
        news: &BTreeMap<u64, Vec<Change>>,
        writes: &mut Writes,
    ) {
        let mut left = REPEATED;
        for tag in tags.iter().rev() {
            let sent = &self.sent[tag];
            match &sent.outcome {
                WriteOutcome::Answered(first) if sent.has_id && left > 0 => {
                    left -= 1;
                    assert_eq!(&sent.request.send(writes).await.unwrap(), first, "{tag}");
                }
                WriteOutcome::Unanswered if sent.has_id => {
                    let outcome = WriteOutcome::of(sent.request.send(writes).await);
                    match (&outcome, self.done.get(tag)) {
                        (WriteOutcome::Answered(response), Some(revision)) => {
                            assert_eq!(response.revision, *revision, "{sent:?}");
                            assert!(
                                contains_changes(&news[revision], response),
                                "{sent:?}: {response:?}"
                            );
                        }
                        (WriteOutcome::Answered(_), None) => self.recent.push(tag.clone()),
                        (WriteOutcome::Refused, None) => {}
                        _ => panic!("{sent:?} again: {outcome:?}"),
                    }
                    self.acknowledged += usize::from(matches!(outcome, WriteOutcome::Answered(_)));
                    self.sent.get_mut(tag).unwrap().outcome = outcome;
                }
                _ => continue,
            }
            self.repeated += 1;
        }
    }
}

/// True if the response contains these changes.
fn contains_changes(changes: &[Change], response: &Response) -> bool {
    let sorted = |all: Vec<Resource>| {
        let mut all: Vec<_> = all.into_iter().map(|resource| (resource.key(), resource)).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    };
    sorted(changes.iter().map(Resource::of).collect()) == sorted(response.resources.clone())
}

/// The pools, and the namespaces except the default one.
async fn namespaces_and_pools(server: &Server) -> BTreeMap<String, Resource> {
    let mut reads = server.reads().await;
    let request = proto::ListNamespacesRequest { page_size: 1000, ..Default::default() };
    let namespaces = reads.list_namespaces(request).await.unwrap().into_inner().namespaces;
    let namespaces = namespaces.into_iter().filter_map(|it| it.namespace);
    let request =
        proto::ListPoolsRequest { namespace: "-".into(), page_size: 1000, ..Default::default() };
    let pools = reads.list_pools(request).await.unwrap().into_inner().pools;
    let pools = pools.into_iter().filter_map(|it| it.pool);
    let all = namespaces.filter(|it| it.name != "default").map(Resource::Namespace);
    all.chain(pools.map(Resource::Pool)).map(|resource| (resource.key(), resource)).collect()
}

/// Asserts that the file passes SQLite's integrity check.
pub async fn assert_intact(server: &Server) {
    let query = "select integrity_check, 0 from pragma_integrity_check";
    let result = sql_counts(&server.database(), query).await;
    assert_eq!(result, [("ok".to_owned(), 0)]);
    let query = "select \"table\", rowid from pragma_foreign_key_check";
    assert_eq!(sql_counts(&server.database(), query).await, []);
}
