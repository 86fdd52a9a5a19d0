//! Decisions: what a command leads to, given the registry as it stands. All rules that can refuse
//! a command are applied here.

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
    /// What stays as it is, because it is as asked for already.
    pub unchanged: Unchanged,
    /// What the rules had to say.
    pub findings: Vec<Finding>,
}

/// What a command leaves as it is.
#[derive(Clone, Debug, Default)]
pub enum Unchanged {
    /// Nothing that it was about.
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

    fn nothing(unchanged: Unchanged) -> Self {
        Self { unchanged, ..Self::default() }
    }
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
        Command::Register(register) => assignment::register(snapshot, register, context),
        Command::RegisterAll(registers) => assignment::register_all(snapshot, registers, context),
        Command::Ensure(ensure) => pool::ensure(snapshot, ensure, context),
        Command::Renew(renew) => lease::renew(snapshot, renew, context),
        Command::Update(update) => assignment::update(snapshot, update, context),
        Command::Release(held) => assignment::release(snapshot, held, context),
        Command::Expire(end) => Ok(lease::expire(snapshot, *end, context)),
        Command::CreateNamespace(create) => namespace::create(snapshot, create, context),
        Command::UpdateNamespace(update) => namespace::update(snapshot, update, context),
        Command::DeleteNamespace(delete) => namespace::delete(snapshot, delete),
        Command::CreatePool(create) => pool::create(snapshot, create, context),
        Command::UpdatePool(update) => pool::update(snapshot, update, context),
        Command::DeletePool(delete) => pool::delete(snapshot, delete),
    }
}

/// What the rules have to say, if nothing of it is in the way.
fn pass(
    view: View<'_>,
    asked: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
) -> Result<Vec<Finding>, Refusal> {
    let found = judge(view, asked);
    let findings = blocking(&found, acknowledged);
    if findings.is_empty() {
        return Ok(found);
    }
    Err(Refusal::Findings { namespace: view.namespace().name.clone(), findings })
}

/// That a thing is still in the state that the caller knows, if one was named.
fn check_etag(
    asked: Option<Etag>,
    current: Etag,
    uid: Option<Uid>,
    of: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    match asked {
        Some(etag) if etag != current => Err(Refusal::EtagMismatch { of: of(), uid, current }),
        _ => Ok(()),
    }
}
