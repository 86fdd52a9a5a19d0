//! Decisions: what a command leads to, given the registry as it stands. All rules that can refuse
//! a command are applied here.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use itertools::Itertools;
use jiff::Timestamp;

use super::assignment::{
    Assignment, Etag, NamespaceName, Origin, Record, Registration, Source, State, Uid,
};
use super::change::Change;
use super::command::{Command, Edits, Register, Release, Update};
use super::finding::{Finding, FindingCode, Severity, judge};
use super::port::{Port, PortRange, Transport};
use super::service_name::fold;
use super::snapshot::{Snapshot, UnknownNamespace};
use super::text::Text;

/// What a decision takes from the world.
pub struct Context<'a> {
    /// The time of the change.
    pub now: Timestamp,
    /// Makes a new uid for each call.
    pub new_uid: &'a mut dyn FnMut() -> Uid,
}

/// What an accepted command leads to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What changes, all at once; nothing if all is as asked for already.
    pub changes: Vec<Change>,
    /// The record that an update leaves as it was, because it is as asked for already.
    pub unchanged: Option<Arc<Record>>,
    /// What the rules had to say.
    pub findings: Vec<Finding>,
}

/// Why a command is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such namespace.
    #[error(transparent)]
    UnknownNamespace(#[from] UnknownNamespace),
    /// No such record.
    #[error("there is no assignment {0}")]
    UnknownUid(Uid),
    /// Nobody holds the port.
    #[error(
        "nothing is registered on {port}{} in namespace {namespace}",
        transport.map(|transport| format!("/{transport}")).unwrap_or_default()
    )]
    NothingHeld {
        /// Where.
        namespace: NamespaceName,
        /// Which port.
        port: Port,
        /// On which transport, if one was given.
        transport: Option<Transport>,
    },
    /// The record can't be changed.
    #[error("assignment {uid} is {}: only CUSTOM ones can be changed or released", source.name())]
    NotCustom {
        /// Which.
        uid: Uid,
        /// Where it comes from.
        r#source: Source,
    },
    /// The record is no longer in the state that the caller knows.
    #[error("assignment {uid} has changed since that etag was read: it is {current} now")]
    EtagMismatch {
        /// Which.
        uid: Uid,
        /// The present state.
        current: Etag,
    },
    /// Several services hold the port.
    #[error("{port} is held by different services ({}): say which transport", .holders.join(", "))]
    TransportAmbiguous {
        /// Which port.
        port: Port,
        /// `service/transport` of each.
        holders: Vec<String>,
    },
    /// The port is held together with others.
    #[error(
        "{port} is one of a run of ports that were registered together ({}): to release all of \
         them, give the uid",
        .holders.iter().filter_map(|record| record.ports).unique().join(", ")
    )]
    PartOfRange {
        /// Which port.
        port: Port,
        /// What holds it.
        holders: Vec<Arc<Record>>,
    },
    /// The rules say no: blockers, or else findings to be acknowledged.
    #[error("{}", sentences(.0))]
    Findings(Vec<Finding>),
}

/// What the findings say, each sentence once.
fn sentences(findings: &[Finding]) -> String {
    let messages = findings.iter().map(|finding| finding.message.as_str());
    messages.unique().collect::<Vec<_>>().join("; ")
}

/// Decides on a command. Nothing is changed by it.
///
/// # Errors
/// If a rule says no.
pub fn decide(
    snapshot: &Snapshot,
    command: &Command,
    context: &mut Context<'_>,
) -> Result<Decision, Refusal> {
    match command {
        Command::Register(register) => decide_register(snapshot, register, context),
        Command::Update(update) => decide_update(snapshot, update, context),
        Command::Release(release) => decide_release(snapshot, release),
    }
}

fn decide_register(
    snapshot: &Snapshot,
    register: &Register,
    context: &mut Context<'_>,
) -> Result<Decision, Refusal> {
    let view = snapshot.seen_from(&register.namespace)?;
    let findings = pass(&register.acknowledge, |severity| {
        let judged = register.transports.iter().map(|&transport| {
            judge(view, severity, register.service_name.as_str(), register.ports, transport)
        });
        judged.flatten().collect()
    })?;
    let changes = register
        .transports
        .iter()
        .map(|&transport| Change::Registered {
            after: Record::share(new_assignment(snapshot, register, transport, context)),
        })
        .collect();
    Ok(Decision { changes, unchanged: None, findings })
}

fn new_assignment(
    snapshot: &Snapshot,
    register: &Register,
    transport: Transport,
    context: &mut Context<'_>,
) -> Assignment {
    let details = &register.details;
    Assignment {
        uid: (context.new_uid)(),
        origin: Origin::Custom(Registration {
            namespace: register.namespace.clone(),
            labels: details.labels.clone(),
            create_time: context.now,
            update_time: context.now,
            revision: snapshot.revision().next(),
        }),
        service_name: Some(register.service_name.to_shared()),
        ports: Some(register.ports),
        transport: Some(transport),
        state: State::Assigned,
        description: details.description.to_shared(),
        assignee: details.assignee.to_shared(),
        contact: details.contact.to_shared(),
        reference: details.reference.to_shared(),
        assignment_notes: details.assignment_notes.to_shared(),
    }
}

/// What the rules have to say, if nothing of it is in the way: first the blockers, then what has to
/// be acknowledged, then what is worth knowing.
fn pass(
    acknowledged: &BTreeSet<FindingCode>,
    judge: impl Fn(Severity) -> Vec<Finding>,
) -> Result<Vec<Finding>, Refusal> {
    let blockers = judge(Severity::Blocker);
    if !blockers.is_empty() {
        return Err(Refusal::Findings(blockers));
    }
    let mut findings = judge(Severity::Acknowledge);
    let is_new = |finding: &Finding| !acknowledged.contains(&finding.code);
    if findings.iter().any(is_new) {
        findings.retain(is_new);
        return Err(Refusal::Findings(findings));
    }
    findings.extend(judge(Severity::Note));
    Ok(findings)
}

fn decide_update(
    snapshot: &Snapshot,
    update: &Update,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let (before, registration) = registered(snapshot, update.uid, update.etag)?;
    let findings = judge_new_name(snapshot, before, registration, update)?;
    let mut after = (**before).clone();
    edit(&mut after, &update.edits);
    let mut changed = registration.clone();
    if let Some(labels) = &update.edits.labels {
        changed.labels = labels.clone();
    }
    after.origin = Origin::Custom(changed.clone());
    if after == ***before {
        let unchanged = Some(Arc::clone(before));
        return Ok(Decision { changes: Vec::new(), unchanged, findings });
    }
    after.origin = Origin::Custom(Registration {
        // A clock that was set back must not make a record older than it is.
        update_time: context.now.max(changed.update_time),
        revision: snapshot.revision().next(),
        ..changed
    });
    let change = Change::Updated { before: Arc::clone(before), after: Record::share(after) };
    Ok(Decision { changes: vec![change], unchanged: None, findings })
}

/// A new service name is judged as if the ports were free and asked for by it.
fn judge_new_name(
    snapshot: &Snapshot,
    before: &Record,
    registration: &Registration,
    update: &Update,
) -> Result<Vec<Finding>, Refusal> {
    let (Some(name), Some(ports), Some(transport)) =
        (&update.edits.service_name, before.ports, before.transport)
    else {
        return Ok(Vec::new());
    };
    let old_name = before.service_name.as_deref().unwrap_or_default();
    if fold(old_name) == fold(name.as_str()) {
        return Ok(Vec::new());
    }
    let view = snapshot.seen_from(&registration.namespace)?;
    pass(&update.acknowledge, |severity| match severity {
        // The ports are held already: by this very record.
        Severity::Blocker => Vec::new(),
        severity => judge(view, severity, name.as_str(), ports, transport),
    })
}

fn edit(assignment: &mut Assignment, edits: &Edits) {
    fn put<const MAX: usize>(text: &mut Arc<str>, edit: Option<&Text<MAX>>) {
        if let Some(edit) = edit {
            *text = edit.to_shared();
        }
    }
    if let Some(name) = &edits.service_name {
        assignment.service_name = Some(name.to_shared());
    }
    put(&mut assignment.description, edits.description.as_ref());
    put(&mut assignment.assignee, edits.assignee.as_ref());
    put(&mut assignment.contact, edits.contact.as_ref());
    put(&mut assignment.reference, edits.reference.as_ref());
    put(&mut assignment.assignment_notes, edits.assignment_notes.as_ref());
}

fn decide_release(snapshot: &Snapshot, release: &Release) -> Result<Decision, Refusal> {
    let given_back = match release {
        Release::Uid { uid, etag } => vec![registered(snapshot, *uid, *etag)?.0],
        Release::Port { namespace, port, transport } => {
            held(snapshot, namespace, *port, *transport)?
        }
    };
    let changes = given_back
        .into_iter()
        .map(|before| Change::Released { before: Arc::clone(before) })
        .collect();
    Ok(Decision { changes, ..Decision::default() })
}

/// The registration with this uid, if it is one and in the state that the caller knows.
fn registered(
    snapshot: &Snapshot,
    uid: Uid,
    etag: Option<Etag>,
) -> Result<(&Arc<Record>, &Registration), Refusal> {
    let record = snapshot.by_uid(uid).ok_or(Refusal::UnknownUid(uid))?;
    let registration =
        record.registration().ok_or(Refusal::NotCustom { uid, source: record.source() })?;
    match etag {
        Some(etag) if etag != registration.etag() => {
            Err(Refusal::EtagMismatch { uid, current: registration.etag() })
        }
        _ => Ok((record, registration)),
    }
}

fn held<'a>(
    snapshot: &'a Snapshot,
    namespace: &NamespaceName,
    port: Port,
    transport: Option<Transport>,
) -> Result<Vec<&'a Arc<Record>>, Refusal> {
    let view = snapshot.seen_from(namespace)?;
    let holders: Vec<_> = view.holders(port, transport).collect();
    match holders.first() {
        None => Err(Refusal::NothingHeld { namespace: namespace.clone(), port, transport }),
        Some(first) if holders.iter().any(|other| name(other) != name(first)) => {
            let holders = holders.iter().map(|record| {
                let name = record.service_name.as_deref().unwrap_or_default();
                format!("{name}/{}", record.transport.map_or("", Transport::name))
            });
            Err(Refusal::TransportAmbiguous { port, holders: holders.collect() })
        }
        // Who names one port of a run may not know of the others.
        Some(_) if holders.iter().any(|record| record.ports != Some(PortRange::single(port))) => {
            Err(Refusal::PartOfRange { port, holders: holders.into_iter().cloned().collect() })
        }
        Some(_) => Ok(holders),
    }
}

fn name(record: &Record) -> Option<Cow<'_, str>> {
    record.service_name.as_deref().map(fold)
}
