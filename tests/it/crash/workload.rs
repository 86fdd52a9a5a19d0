//! The writers of a round: each sends one write after the other until the server is gone, and notes
//! what it was told.

use std::collections::BTreeMap;

use portbook::grpc::proto::{self, Transport};
use tokio::sync::mpsc::UnboundedSender;
use tonic_types::StatusExt;

use super::request::{Answer, Request, What};
use crate::harness::{
    Dice, Writes, ensure, first_port, namespace, pool, ports, register, seconds, whatever,
};

/// The namespace with the pool that all writers share.
pub const LAB: &str = "lab";
/// The pool; it has TCP and UDP ports.
pub const SHARED: &str = "shared";
/// How many places a writer has for registrations, and how many ports apart they are.
const PLACES: u32 = 40;
const APART: u32 = 4;
const TRANSPORTS: [Transport; 4] =
    [Transport::Tcp, Transport::Udp, Transport::Sctp, Transport::Dccp];

/// A write that was sent.
#[derive(Debug)]
pub struct Sent {
    pub tag: String,
    pub request: Request,
    /// Whether it has a request id, which is its tag.
    pub has_id: bool,
    /// How many changes it makes if it is carried out.
    pub changes: usize,
    pub fate: Fate,
}

/// What came of it.
#[derive(Debug)]
pub enum Fate {
    Answered(Answer),
    Refused,
    /// Nobody knows.
    Unanswered,
}

impl Fate {
    pub fn of(answer: Result<Answer, tonic::Status>) -> Self {
        match answer {
            Ok(answer) => Self::Answered(answer),
            Err(status) if status.get_error_details().error_info().is_some() => Self::Refused,
            // The connection is gone.
            Err(_) => Self::Unanswered,
        }
    }
}

/// One writer.
pub struct Writer {
    pub number: u32,
    pub round: u32,
    pub dice: Dice,
    pub writes: Writes,
    /// What it has, as far as it knows.
    pub own: BTreeMap<String, What>,
    /// Is told of each acknowledgement.
    pub acknowledged: UnboundedSender<()>,
}

impl Writer {
    /// Writes until the server is gone.
    pub async fn run(mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        for count in 0.. {
            let (mut request, changes) = self.next(count);
            let tag = format!("{}.{}.{count}", self.round, self.number);
            let has_id = self.dice.roll(2) == 0;
            request.mark(&tag, has_id);
            let fate = if has_id && self.dice.roll(6) == 0 {
                self.send_twice(&request).await
            } else {
                Fate::of(request.send(&mut self.writes).await)
            };
            self.learn(&request, &fate);
            let is_gone = matches!(fate, Fate::Unanswered);
            all.push(Sent { tag, request, has_id, changes, fate });
            if is_gone {
                break;
            }
        }
        all
    }

    /// Sends it twice at once: both get one answer.
    async fn send_twice(&mut self, request: &Request) -> Fate {
        let mut again = self.writes.clone();
        let (one, other) = tokio::join!(request.send(&mut self.writes), request.send(&mut again));
        if let (Ok(one), Ok(other)) = (&one, &other) {
            assert_eq!(one, other);
        }
        match Fate::of(one) {
            Fate::Unanswered => Fate::of(other),
            fate => fate,
        }
    }

    fn learn(&mut self, request: &Request, fate: &Fate) {
        match fate {
            Fate::Answered(answer) => {
                let is_new = matches!(request, Request::Register(_) | Request::Batch(_));
                for what in &answer.told {
                    self.own.remove(&what.key());
                    if let What::Assignment(it) = what
                        && is_new
                    {
                        // What was there before is gone: its lease has ended.
                        self.forget(&it.namespace, first_port(it));
                    }
                }
                if !request.takes_away() {
                    let told = answer.told.iter().map(|what| (what.key(), what.clone()));
                    self.own.extend(told);
                }
                // The round may be over.
                let _ = self.acknowledged.send(());
            }
            // Its lease has ended, as it seems.
            Fate::Refused => match request {
                Request::Release(proto::ReleasePortRequest { port, namespace, .. })
                | Request::Renew(proto::RenewLeaseRequest { port, namespace, .. }) => {
                    self.forget(namespace, port.unwrap());
                }
                Request::Update(it) => {
                    let uid = &it.assignment.as_ref().unwrap().uid;
                    if let Some(What::Assignment(it)) = self.own.get(uid).cloned() {
                        self.forget(&it.namespace, first_port(&it));
                    }
                }
                _ => {}
            },
            Fate::Unanswered => {}
        }
    }

    fn forget(&mut self, namespace: &str, port: u32) {
        let is_there = |it: &proto::Assignment| it.namespace == namespace && first_port(it) == port;
        self.own.retain(|_, what| !matches!(what, What::Assignment(it) if is_there(it)));
    }

    /// What it holds, each with all its transports.
    fn held(&self) -> Vec<Vec<&proto::Assignment>> {
        let mut held: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for what in self.own.values() {
            if let What::Assignment(it) = what {
                held.entry((&it.namespace, first_port(it))).or_default().push(it);
            }
        }
        held.into_values().collect()
    }

    /// The next write, and how many changes it makes if it is carried out.
    fn next(&mut self, count: u32) -> (Request, usize) {
        match self.dice.roll(16) {
            0..=2 => {
                let (request, changes) = self.registration();
                (Request::Register(request), changes)
            }
            3..=4 => self.batch(),
            5..=7 => self.ensure(),
            8 => self.space(count),
            act => {
                let which = self.dice.roll(1 << 20) as usize;
                let held = self.held();
                if held.is_empty() {
                    return self.ensure();
                }
                of_what_is_held(act, &held[which % held.len()], count)
            }
        }
    }

    /// One on one or several transports; sometimes where it has something already.
    fn registration(&mut self) -> (proto::RegisterPortRequest, usize) {
        let place = self.number * PLACES + self.dice.roll(PLACES);
        let first = 10_000 + place * APART;
        // The ports of a run are released by uid, one transport at a time: no runs here, so that
        // there is a write that releases several transports together.
        let transports = &TRANSPORTS[..=self.dice.roll(4) as usize];
        let ttl = match self.dice.roll(4) {
            0 => seconds(1),
            1 => seconds(3_600),
            _ => None,
        };
        let request = proto::RegisterPortRequest {
            namespace: if place.is_multiple_of(2) { LAB.into() } else { "default".into() },
            transports: transports.iter().map(|it| (*it).into()).collect(),
            labels: [("round".into(), self.round.to_string())].into(),
            ttl,
            ..whatever(register(&format!("w{}", self.number), first))
        };
        (request, transports.len())
    }

    fn batch(&mut self) -> (Request, usize) {
        let (mut requests, mut changes) = (Vec::new(), 0);
        let mut places = std::collections::HashSet::new();
        for _ in 0..2 + self.dice.roll(6) {
            let (request, more) = self.registration();
            if places.insert(request.ports) {
                requests.push(request);
                changes += more;
            }
        }
        (
            Request::Batch(proto::BatchRegisterPortsRequest { requests, ..Default::default() }),
            changes,
        )
    }

    fn ensure(&mut self) -> (Request, usize) {
        let request = proto::EnsurePortRequest {
            namespace: LAB.into(),
            instance: format!("i{}", self.dice.roll(6)),
            // Longer than any renewal, so that it always moves the end.
            ttl: seconds(86_400),
            ..ensure(SHARED, &format!("w{}", self.number))
        };
        (Request::Ensure(request), 2)
    }

    /// Makes, changes or deletes a namespace or a pool of its own.
    fn space(&mut self, count: u32) -> (Request, usize) {
        let which = self.dice.roll(3);
        let description = format!("{}.{count}", self.round);
        let goes = self.dice.roll(3) == 0;
        let request = if self.dice.roll(2) == 0 {
            let name = format!("w{}-{which}", self.number);
            let mut wish = namespace(&name, proto::NamespacePolicy::default());
            wish.namespace.as_mut().unwrap().description = description;
            match self.own.contains_key(&name) {
                false => Request::CreateNamespace(wish),
                true if goes => Request::DeleteNamespace(proto::DeleteNamespaceRequest {
                    name,
                    ..Default::default()
                }),
                true => Request::UpdateNamespace(proto::UpdateNamespaceRequest {
                    namespace: wish.namespace,
                    ..Default::default()
                }),
            }
        } else {
            let (name, namespace) = (format!("w{}-{which}", self.number), LAB.to_owned());
            let first = 40_000 + (self.number * 3 + which) * 10;
            let wish = proto::Pool {
                namespace: namespace.clone(),
                description,
                excluded_ports: ports(first + 2, first + 3).into_iter().collect(),
                ..pool(&name, first, first + 9)
            };
            match self.own.contains_key(&format!("{namespace}/{name}")) {
                false => Request::CreatePool(proto::CreatePoolRequest {
                    pool: Some(wish),
                    ..Default::default()
                }),
                true if goes => Request::DeletePool(proto::DeletePoolRequest {
                    namespace,
                    name,
                    ..Default::default()
                }),
                true => Request::UpdatePool(proto::UpdatePoolRequest {
                    pool: Some(wish),
                    ..Default::default()
                }),
            }
        };
        (request, 1)
    }
}

/// A write about something held, on all its transports but for an update.
fn of_what_is_held(act: u32, records: &[&proto::Assignment], count: u32) -> (Request, usize) {
    let first = records[0];
    let (namespace, port) = (first.namespace.clone(), Some(first_port(first)));
    match act {
        9..=10 => {
            let assignment = proto::Assignment {
                uid: first.uid.clone(),
                description: format!("{count} after {}", first.revision),
                ..Default::default()
            };
            let assignment = Some(assignment);
            (
                Request::Update(proto::UpdateAssignmentRequest {
                    assignment,
                    ..Default::default()
                }),
                1,
            )
        }
        11..=12 if first.expire_time.is_some() => {
            let ttl = seconds(7_200);
            let request = proto::RenewLeaseRequest { namespace, port, ttl, ..Default::default() };
            (Request::Renew(request), records.len())
        }
        _ => {
            let request = proto::ReleasePortRequest { namespace, port, ..Default::default() };
            (Request::Release(request), records.len())
        }
    }
}
