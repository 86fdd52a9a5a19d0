//! The writers of a round: each sends one write after the other until the server is killed, and
//! records the responses.

use std::collections::BTreeMap;

use portbook::grpc::proto::{self, Transport};
use tokio::sync::mpsc::UnboundedSender;
use tonic_types::StatusExt;

use super::request::{Request, Resource, Response};
use crate::harness::{
    Random, Writes, acknowledge_all, ensure, first_port, namespace, pool, ports, register, seconds,
};

/// The namespace of the pool that all writers share.
pub const LAB: &str = "lab";
/// The pool; it has TCP and UDP ports.
pub const SHARED: &str = "shared";
/// The number of port slots of a writer, and the distance between them.
const SLOTS: u32 = 40;
const APART: u32 = 4;
const TRANSPORTS: [Transport; 4] =
    [Transport::Tcp, Transport::Udp, Transport::Sctp, Transport::Dccp];

/// A write that was sent.
#[derive(Debug)]
pub struct Sent {
    pub tag: String,
    pub request: Request,
    /// Whether the tag is sent as the request id.
    pub has_id: bool,
    /// The number of changes that it makes if it is executed.
    pub changes: usize,
    pub outcome: WriteOutcome,
}

/// The outcome of a write.
#[derive(Debug)]
pub enum WriteOutcome {
    Answered(Response),
    Refused,
    /// No response was received.
    Unanswered,
}

impl WriteOutcome {
    pub fn of(response: Result<Response, tonic::Status>) -> Self {
        match response {
            Ok(response) => Self::Answered(response),
            Err(status) if status.get_error_details().error_info().is_some() => Self::Refused,
            // The connection is closed.
            Err(_) => Self::Unanswered,
        }
    }
}

/// One writer.
pub struct Writer {
    pub number: u32,
    pub round: u32,
    pub random: Random,
    pub writes: Writes,
    /// Its registrations and resources, according to the responses.
    pub owned: BTreeMap<String, Resource>,
    /// Receives a message for each acknowledgement.
    pub acknowledged: UnboundedSender<()>,
}

impl Writer {
    /// Writes until the server is killed.
    pub async fn run(mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        for count in 0.. {
            let (mut request, changes) = self.next(count);
            let tag = format!("{}.{}.{count}", self.round, self.number);
            let has_id = self.random.below(2) == 0;
            request.mark(&tag, has_id);
            let outcome = if has_id && self.random.below(6) == 0 {
                self.send_twice(&request).await
            } else {
                WriteOutcome::of(request.send(&mut self.writes).await)
            };
            self.apply(&request, &outcome);
            let is_gone = matches!(outcome, WriteOutcome::Unanswered);
            all.push(Sent { tag, request, has_id, changes, outcome });
            if is_gone {
                break;
            }
        }
        all
    }

    /// Sends the request twice concurrently: both get the same response.
    async fn send_twice(&mut self, request: &Request) -> WriteOutcome {
        let mut again = self.writes.clone();
        let (one, other) = tokio::join!(request.send(&mut self.writes), request.send(&mut again));
        if let (Ok(one), Ok(other)) = (&one, &other) {
            assert_eq!(one, other);
        }
        match WriteOutcome::of(one) {
            WriteOutcome::Unanswered => WriteOutcome::of(other),
            outcome => outcome,
        }
    }

    fn apply(&mut self, request: &Request, outcome: &WriteOutcome) {
        match outcome {
            WriteOutcome::Answered(response) => {
                let is_new = matches!(request, Request::Register(_) | Request::Batch(_));
                for resource in &response.resources {
                    self.owned.remove(&resource.key());
                    if let Resource::Assignment(it) = resource
                        && is_new
                    {
                        // The previous registration is gone: its lease has expired.
                        self.remove(&it.namespace, first_port(it));
                    }
                }
                if !request.removes() {
                    let resources = response
                        .resources
                        .iter()
                        .map(|resource| (resource.key(), resource.clone()));
                    self.owned.extend(resources);
                }
                // The round may have ended.
                let _ = self.acknowledged.send(());
            }
            // Its lease has probably expired.
            WriteOutcome::Refused => match request {
                Request::Release(proto::ReleasePortRequest { port, namespace, .. })
                | Request::Renew(proto::RenewLeaseRequest { port, namespace, .. }) => {
                    self.remove(namespace, port.unwrap());
                }
                Request::Update(it) => {
                    let uid = &it.assignment.as_ref().unwrap().uid;
                    if let Some(Resource::Assignment(it)) = self.owned.get(uid).cloned() {
                        self.remove(&it.namespace, first_port(&it));
                    }
                }
                _ => {}
            },
            WriteOutcome::Unanswered => {}
        }
    }

    fn remove(&mut self, namespace: &str, port: u32) {
        let is_there = |it: &proto::Assignment| it.namespace == namespace && first_port(it) == port;
        self.owned
            .retain(|_, resource| !matches!(resource, Resource::Assignment(it) if is_there(it)));
    }

    /// Its registrations, grouped by port across transports.
    fn held(&self) -> Vec<Vec<&proto::Assignment>> {
        let mut held: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for resource in self.owned.values() {
            if let Resource::Assignment(it) = resource {
                held.entry((&it.namespace, first_port(it))).or_default().push(it);
            }
        }
        held.into_values().collect()
    }

    /// The next write, and the number of changes that it makes if it is executed.
    fn next(&mut self, count: u32) -> (Request, usize) {
        match self.random.below(16) {
            0..=2 => {
                let (request, changes) = self.registration();
                (Request::Register(request), changes)
            }
            3..=4 => self.batch(),
            5..=7 => self.ensure(),
            8 => self.namespace_or_pool(count),
            act => {
                let which = self.random.below(1 << 20) as usize;
                let held = self.held();
                if held.is_empty() {
                    return self.ensure();
                }
                write_to_existing(act, &held[which % held.len()], count)
            }
        }
    }

    /// A registration on one or several transports; sometimes on a port of this writer.
    fn registration(&mut self) -> (proto::RegisterPortRequest, usize) {
        let slot = self.number * SLOTS + self.random.below(SLOTS);
        let first = 10_000 + slot * APART;
        // A port range is released by uid, one transport at a time. Use single ports, so that one
        // write releases several transports.
        let transports = &TRANSPORTS[..=self.random.below(4) as usize];
        let ttl = match self.random.below(4) {
            0 => seconds(1),
            1 => seconds(3_600),
            _ => None,
        };
        let request = proto::RegisterPortRequest {
            namespace: if slot.is_multiple_of(2) { LAB.into() } else { "default".into() },
            transports: transports.iter().map(|it| (*it).into()).collect(),
            labels: [("round".into(), self.round.to_string())].into(),
            ttl,
            ..acknowledge_all(register(&format!("w{}", self.number), first))
        };
        (request, transports.len())
    }

    fn batch(&mut self) -> (Request, usize) {
        let (mut requests, mut changes) = (Vec::new(), 0);
        let mut places = std::collections::HashSet::new();
        for _ in 0..2 + self.random.below(6) {
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
            instance: format!("i{}", self.random.below(6)),
            // Longer than any renewal, so that it always extends the lease.
            ttl: seconds(86_400),
            ..ensure(SHARED, &format!("w{}", self.number))
        };
        (Request::Ensure(request), 2)
    }

    /// Creates, updates or deletes a namespace or pool of this writer.
    fn namespace_or_pool(&mut self, count: u32) -> (Request, usize) {
        let which = self.random.below(3);
        let description = format!("{}.{count}", self.round);
        let goes = self.random.below(3) == 0;
        let request = if self.random.below(2) == 0 {
            let name = format!("w{}-{which}", self.number);
            let mut desired = namespace(&name, proto::NamespacePolicy::default());
            desired.namespace.as_mut().unwrap().description = description;
            match self.owned.contains_key(&name) {
                false => Request::CreateNamespace(desired),
                true if goes => Request::DeleteNamespace(proto::DeleteNamespaceRequest {
                    name,
                    ..Default::default()
                }),
                true => Request::UpdateNamespace(proto::UpdateNamespaceRequest {
                    namespace: desired.namespace,
                    ..Default::default()
                }),
            }
        } else {
            let (name, namespace) = (format!("w{}-{which}", self.number), LAB.to_owned());
            let first = 40_000 + (self.number * 3 + which) * 10;
            let desired = proto::Pool {
                namespace: namespace.clone(),
                description,
                excluded_ports: ports(first + 2, first + 3).into_iter().collect(),
                ..pool(&name, first, first + 9)
            };
            match self.owned.contains_key(&format!("{namespace}/{name}")) {
                false => Request::CreatePool(proto::CreatePoolRequest {
                    pool: Some(desired),
                    ..Default::default()
                }),
                true if goes => Request::DeletePool(proto::DeletePoolRequest {
                    namespace,
                    name,
                    ..Default::default()
                }),
                true => Request::UpdatePool(proto::UpdatePoolRequest {
                    pool: Some(desired),
                    ..Default::default()
                }),
            }
        };
        (request, 1)
    }
}

/// A write to an existing registration, on all its transports unless it is an update.
fn write_to_existing(act: u32, records: &[&proto::Assignment], count: u32) -> (Request, usize) {
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
