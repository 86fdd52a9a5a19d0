//! Decisions: the effects of a command on the current state. All rules that can refuse a command
//! are applied here.

mod assignment;
pub mod dry_run;
mod lease;
mod namespace;
mod pool;
mod refusal;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

pub use assignment::cooling_until;
pub use refusal::{Exhausted, Refusal};

use super::assignment::{Etag, Record, Uid};
use super::change::Change;
use super::command::Command;
use super::finding::{Finding, FindingCode, blocking};
use super::judge::{RegistrationQuery, judge};
use super::namespace::Namespace;
use super::pool::SharedPool;
use super::snapshot::{Snapshot, View};

/// The inputs of a decision from outside the registry.
pub struct Context<'a> {
    /// The time of the change.
    pub now: Timestamp,
    /// Makes a new uid for each call.
    pub new_uid: &'a mut dyn FnMut() -> Uid,
}

/// The effects of an accepted command.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The changes, applied together; none if the state is already as requested.
    pub changes: Vec<Change>,
    /// The resources that are already as requested.
    pub unchanged: Unchanged,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// The resources that a command leaves unchanged.
#[derive(Clone, Debug, Default)]
pub enum Unchanged {
    /// None.
    #[default]
    Nothing,
    /// Registrations.
    Assignments(Vec<Arc<Record>>),
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A pool.
    Pool(Arc<SharedPool>),
}

impl Decision {
    fn of(change: Change) -> Self {
        Self { changes: vec![change], ..Self::default() }
    }

    fn unchanged(unchanged: Unchanged) -> Self {
        Self { unchanged, ..Self::default() }
    }
}

/// Decides a command, without changing anything.
///
/// # Errors
/// If a rule refuses the command.
pub fn decide(
    snapshot: &Snapshot,
    command: &Command,
    context: &mut Context<'_>,
) -> Result<Decision, Refusal> {
    match command {
        Command::Register(register) => assignment::register(snapshot, register, context),
        Command::RegisterAll(registers) => assignment::register_all(snapshot, registers, context),
        Command::Ensure(ensure) => pool::ensure(snapshot, ensure, context),
        Command::Renew(renew) => lease::renew(snapshot, renew, context),
        Command::Update(update) => assignment::update(snapshot, update, context),
        Command::Release(selector) => assignment::release(snapshot, selector, context),
        Command::Expire(time) => Ok(lease::expire(snapshot, *time, context)),
        Command::CreateNamespace(create) => namespace::create(snapshot, create, context),
        Command::UpdateNamespace(update) => namespace::update(snapshot, update, context),
        Command::DeleteNamespace(delete) => namespace::delete(snapshot, delete),
        Command::CreatePool(create) => pool::create(snapshot, create, context),
        Command::UpdatePool(update) => pool::update(snapshot, update, context),
        Command::DeletePool(delete) => pool::delete(snapshot, delete),
    }
}

/// All findings, if none of them blocks the command.
fn check_findings(
    view: View<'_>,
    query: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
) -> Result<Vec<Finding>, Refusal> {
    let all = judge(view, query);
    let findings = blocking(&all, acknowledged);
    if findings.is_empty() {
        return Ok(all);
    }
    Err(Refusal::Findings { namespace: view.namespace().name.clone(), findings })
}

/// Checks that the resource is still in the state that the caller expects, if an etag was sent.
fn check_etag(
    expected: Option<Etag>,
    current: Etag,
    uid: Option<Uid>,
    resource: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    match expected {
        Some(etag) if etag != current => {
            Err(Refusal::EtagMismatch { resource: resource(), uid, current })
        }
        _ => Ok(()),
    }
}
