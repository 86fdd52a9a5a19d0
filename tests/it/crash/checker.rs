//! What has to be there after a crash: everything that was acknowledged, and of the rest all or
//! nothing of each write.

use std::collections::{BTreeMap, HashMap};

use portbook::grpc::proto::{self, Change, ChangeKind};

use super::request::{Answer, What};
use super::workload::{Fate, Sent};
use crate::harness::{Fold, Server, Writes, sql_counts};

/// How many writes with an id are sent again after each round.
const REPEATED: usize = 12;
/// How often leases may end just while history is compared with what stands.
const TURNS: usize = 50;

/// What was written, as far as it is known.
#[derive(Default)]
pub struct Checker {
    fold: Fold,
    /// The namespaces and pools that stand.
    spaces: BTreeMap<String, What>,
    /// All up to here was looked at.
    revision: u64,
    /// At which revision each write was carried out, by its tag.
    done: HashMap<String, u64>,
    sent: HashMap<String, Sent>,
    /// The tags of the last round.
    recent: Vec<String>,
    pub acknowledged: usize,
    pub unanswered: usize,
    /// Unanswered ones that were carried out.
    pub carried_out: usize,
    pub repeated: usize,
    pub expired: usize,
    pub lost: Vec<String>,
    pub half_applied: Vec<String>,
}

impl Checker {
    /// Notes what was sent in a round.
    pub fn note(&mut self, sent: Vec<Sent>) {
        for sent in sent {
            self.acknowledged += usize::from(matches!(sent.fate, Fate::Answered(_)));
            self.unanswered += usize::from(matches!(sent.fate, Fate::Unanswered));
            self.recent.push(sent.tag.clone());
            self.sent.insert(sent.tag.clone(), sent);
        }
    }

    /// Whether nothing was lost, and nothing is there by halves.
    pub fn is_kept(&self) -> bool {
        self.lost.is_empty() && self.half_applied.is_empty()
    }

    /// What of it a writer has.
    pub fn own(&self, name: &str) -> BTreeMap<String, What> {
        let held = self.fold.0.values().filter(|record| record.service_name == name);
        let held = held.cloned().map(What::Assignment).map(|what| (what.key(), what));
        let is_own = |what: &What| match what {
            What::Namespace(it) => it.name.starts_with(&format!("{name}-")),
            What::Pool(it) => it.name.starts_with(&format!("{name}-")),
            What::Assignment(_) => false,
        };
        let spaces = self.spaces.iter().filter(|(_, what)| is_own(what));
        held.chain(spaces.map(|(key, what)| (key.clone(), what.clone()))).collect()
    }

    /// Looks at what the server has after a restart, and sends again what was sent before it.
    pub async fn check(&mut self, server: &Server) {
        let mut writes = server.writes().await;
        loop {
            let news = self.catch_up(server).await;
            let recent = std::mem::take(&mut self.recent);
            if recent.is_empty() {
                return;
            }
            self.look_for(&recent, &news);
            if !self.is_kept() {
                return;
            }
            // What is carried out only now is looked for in the next turn.
            self.repeat(&recent, &news, &mut writes).await;
        }
    }

    /// Looks at all of it again, from the beginning.
    pub async fn check_all(&mut self, server: &Server) {
        let all = self.sent.keys().cloned().collect::<Vec<_>>();
        let done = std::mem::take(&mut self.done);
        (self.fold, self.revision, self.expired) = (Fold::default(), 0, 0);
        self.spaces.clear();
        let news = self.catch_up(server).await;
        self.look_for(&all, &news);
        assert!(done.iter().all(|(tag, revision)| self.done.get(tag) == Some(revision)));
    }

    /// Reads what is new in the history, and sees that it leads to what stands.
    async fn catch_up(&mut self, server: &Server) -> BTreeMap<u64, Vec<Change>> {
        let mut all = BTreeMap::new();
        for _ in 0..TURNS {
            let news = self.since(server).await;
            for (revision, changes) in &news {
                assert_eq!(*revision, self.revision + 1, "a gap in the history");
                self.revision = *revision;
                self.take(*revision, changes);
            }
            all.extend(news);
            let (registered, spaces) = (server.everything().await, spaces(server).await);
            // A lease may have ended meanwhile.
            if server.info().await.revision == self.revision {
                self.fold.assert_is(registered);
                assert_eq!(self.spaces, spaces);
                return all;
            }
        }
        panic!("the history ends at {}, and the registry is further", self.revision);
    }

    /// The changes that were not looked at, by revision.
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

    /// Takes over a revision, which has to be the whole of what somebody sent.
    fn take(&mut self, revision: u64, changes: &[Change]) {
        let tag = changes[0].reason.clone();
        let together = (0..).zip(changes).all(|(place, it)| {
            (it.position, &it.reason, &it.time) == (place, &tag, &changes[0].time)
        });
        assert!(together, "{changes:?}");
        for change in changes {
            let what = What::of(change);
            match what {
                What::Assignment(_) => self.fold.apply(change),
                What::Namespace(_) | What::Pool(_) => {
                    let before = change.namespace_before.clone().map(What::Namespace);
                    let before = before.or(change.pool_before.clone().map(What::Pool));
                    assert_eq!(
                        self.spaces.remove(&what.key()).filter(|it| it.key() != "default"),
                        before
                    );
                    if change.namespace_after.is_some() || change.pool_after.is_some() {
                        self.spaces.insert(what.key(), what);
                    }
                }
            }
        }
        if changes[0].kind() == ChangeKind::Expired {
            self.expired += changes.len();
            // Leases that were taken together end together.
            let taken = |it: &proto::Assignment| (it.revision, it.expire_time);
            let ended = changes[0].before.as_ref().map(taken);
            if self.fold.0.values().any(|record| Some(taken(record)) == ended) {
                self.half_applied.push(format!("revision {revision}: {changes:?}"));
            }
            return;
        }
        let sent = self.sent.get(&tag).unwrap_or_else(|| panic!("nobody sent {changes:?}"));
        assert!(!matches!(sent.fate, Fate::Refused), "carried out in spite of all: {sent:?}");
        if changes.len() != sent.changes {
            self.half_applied.push(format!("{sent:?} became {changes:?}"));
        }
        let twice = self.done.insert(tag, revision);
        assert_eq!(twice, None, "carried out twice: {sent:?}");
    }

    /// Looks for each write that was acknowledged, and learns what came of the others.
    fn look_for(&mut self, tags: &[String], news: &BTreeMap<u64, Vec<Change>>) {
        for tag in tags {
            let sent = self.sent.get_mut(tag).unwrap();
            match &sent.fate {
                Fate::Answered(answer) => {
                    let there = news.get(&answer.revision).filter(|it| it[0].reason == *tag);
                    if there.is_none_or(|changes| !tells(changes, answer)) {
                        self.lost.push(format!("{sent:?}, there is {there:?}"));
                    }
                }
                Fate::Unanswered if self.done.contains_key(tag) => self.carried_out += 1,
                // It is not there now, and may not come later.
                Fate::Unanswered if !sent.has_id => sent.fate = Fate::Refused,
                Fate::Unanswered | Fate::Refused => {}
            }
        }
    }

    /// Sends writes again: what was carried out is told again, and the others are carried out.
    async fn repeat(
        &mut self,
        tags: &[String],
        news: &BTreeMap<u64, Vec<Change>>,
        writes: &mut Writes,
    ) {
        let mut left = REPEATED;
        for tag in tags.iter().rev() {
            let sent = &self.sent[tag];
            match &sent.fate {
                Fate::Answered(first) if sent.has_id && left > 0 => {
                    left -= 1;
                    assert_eq!(&sent.request.send(writes).await.unwrap(), first, "{tag}");
                }
                Fate::Unanswered if sent.has_id => {
                    let fate = Fate::of(sent.request.send(writes).await);
                    match (&fate, self.done.get(tag)) {
                        (Fate::Answered(answer), Some(revision)) => {
                            assert_eq!(answer.revision, *revision, "{sent:?}");
                            assert!(tells(&news[revision], answer), "{sent:?}: {answer:?}");
                        }
                        (Fate::Answered(_), None) => self.recent.push(tag.clone()),
                        (Fate::Refused, None) => {}
                        _ => panic!("{sent:?} again: {fate:?}"),
                    }
                    self.acknowledged += usize::from(matches!(fate, Fate::Answered(_)));
                    self.sent.get_mut(tag).unwrap().fate = fate;
                }
                _ => continue,
            }
            self.repeated += 1;
        }
    }
}

/// Whether the answer tells these changes.
fn tells(changes: &[Change], answer: &Answer) -> bool {
    let sorted = |all: Vec<What>| {
        let mut all: Vec<_> = all.into_iter().map(|what| (what.key(), what)).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    };
    sorted(changes.iter().map(What::of).collect()) == sorted(answer.told.clone())
}

/// The namespaces, but for the one that was always there, and the pools.
async fn spaces(server: &Server) -> BTreeMap<String, What> {
    let mut reads = server.reads().await;
    let request = proto::ListNamespacesRequest { page_size: 1000, ..Default::default() };
    let namespaces = reads.list_namespaces(request).await.unwrap().into_inner().namespaces;
    let namespaces = namespaces.into_iter().filter_map(|it| it.namespace);
    let request =
        proto::ListPoolsRequest { namespace: "-".into(), page_size: 1000, ..Default::default() };
    let pools = reads.list_pools(request).await.unwrap().into_inner().pools;
    let pools = pools.into_iter().filter_map(|it| it.pool);
    let all = namespaces.filter(|it| it.name != "default").map(What::Namespace);
    all.chain(pools.map(What::Pool)).map(|what| (what.key(), what)).collect()
}

/// That the file is whole, by SQLite's own account.
pub async fn assert_whole(server: &Server) {
    let query = "select integrity_check, 0 from pragma_integrity_check";
    let said = sql_counts(&server.database(), query).await;
    assert_eq!(said, [("ok".to_owned(), 0)]);
    let query = "select \"table\", rowid from pragma_foreign_key_check";
    assert_eq!(sql_counts(&server.database(), query).await, []);
}
