//! What a role lets somebody do, decided on what is asked and on what it is about.

use super::token::{Grants, Role};
use crate::registry::assignment::Record;
use crate::registry::command::{Command, Register, RegistrationSelector};
use crate::registry::finding::{Finding, FindingCode, Severity};
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::snapshot::Snapshot;

/// What somebody may not do. It tells nothing that the caller has not said.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Their role is too low.
    #[error("this call needs a token of role {needed}")]
    Role {
        /// The least that would do.
        needed: &'static str,
    },
    /// A system port, which only an admin may acknowledge.
    #[error("system ports (1-1023) need a token of role admin")]
    SystemPort,
    /// A namespace that they named.
    #[error("this token is not granted {}: ask an admin for the grant", place(.namespace, .pool.as_ref()))]
    NotGranted {
        /// Which.
        namespace: NamespaceName,
        /// The pool of it that was named, if one was.
        pool: Option<PoolName>,
    },
    /// A registration that they named by its uid or its port.
    #[error(
        "this token is not granted the place where that assignment is: ask an admin for the grant"
    )]
    Assignment,
}

fn place(namespace: &NamespaceName, pool: Option<&PoolName>) -> String {
    match pool {
        Some(pool) => format!("the pool {pool} of the namespace {namespace}"),
        None => format!("the namespace {namespace} outside its pools"),
    }
}

/// Whether somebody of this role may have the command decided.
///
/// # Errors
/// If not.
pub fn permit(snapshot: &Snapshot, command: &Command, role: &Role) -> Result<(), Denied> {
    let grants = match role {
        Role::Admin => return Ok(()),
        Role::Viewer => return Err(Denied::Role { needed: needed(command) }),
        Role::Registrar(grants) => grants,
    };
    match command {
        Command::Register(register) => permit_register(grants, register),
        Command::RegisterAll(registers) => {
            registers.iter().try_for_each(|register| permit_register(grants, register))
        }
        Command::Ensure(ensure) => permit_place(grants, &ensure.namespace, Some(&ensure.pool)),
        Command::Renew(renew) => permit_held(snapshot, grants, &renew.held),
        Command::Release(held) => permit_held(snapshot, grants, held),
        Command::Update(update) => {
            let record = snapshot.by_uid(update.uid);
            record.map_or(Ok(()), |record| permit_record(grants, record))
        }
        Command::Expire(_)
        | Command::CreateNamespace(_)
        | Command::UpdateNamespace(_)
        | Command::DeleteNamespace(_)
        | Command::CreatePool(_)
        | Command::UpdatePool(_)
        | Command::DeletePool(_) => Err(Denied::Role { needed: needed(command) }),
    }
}

/// Whether somebody of this role may go on with what the rules had to say.
///
/// # Errors
/// If it takes a higher role to acknowledge one of the findings.
pub fn permit_findings(findings: &[Finding], role: &Role) -> Result<(), Denied> {
    let is_acknowledged = |finding: &Finding| {
        finding.code == FindingCode::SystemPort && finding.severity == Severity::Acknowledge
    };
    match role {
        Role::Admin => Ok(()),
        _ if findings.iter().any(is_acknowledged) => Err(Denied::SystemPort),
        _ => Ok(()),
    }
}

/// Whether somebody of this role may change tokens.
///
/// # Errors
/// If not.
pub fn permit_administration(role: &Role) -> Result<(), Denied> {
    match role {
        Role::Admin => Ok(()),
        Role::Viewer | Role::Registrar(_) => Err(Denied::Role { needed: "admin" }),
    }
}

const fn needed(command: &Command) -> &'static str {
    match command {
        Command::Register(_)
        | Command::RegisterAll(_)
        | Command::Ensure(_)
        | Command::Renew(_)
        | Command::Update(_)
        | Command::Release(_) => "registrar",
        _ => "admin",
    }
}

fn permit_register(grants: &Grants, register: &Register) -> Result<(), Denied> {
    permit_place(grants, &register.namespace, register.pool.as_ref())
}

fn permit_place(
    grants: &Grants,
    namespace: &NamespaceName,
    pool: Option<&PoolName>,
) -> Result<(), Denied> {
    if grants.cover(namespace, pool) {
        Ok(())
    } else {
        Err(Denied::NotGranted { namespace: namespace.clone(), pool: pool.cloned() })
    }
}

fn permit_record(grants: &Grants, record: &Record) -> Result<(), Denied> {
    // What is nobody's to change is refused as that.
    let Some(registration) = record.registration() else { return Ok(()) };
    let pool = registration.pooled.as_ref().map(|pooled| &pooled.pool);
    if grants.cover(&registration.namespace, pool) { Ok(()) } else { Err(Denied::Assignment) }
}

fn permit_held(
    snapshot: &Snapshot,
    grants: &Grants,
    held: &RegistrationSelector,
) -> Result<(), Denied> {
    match held {
        RegistrationSelector::Uid { uid, .. } => {
            let record = snapshot.by_uid(*uid);
            record.map_or(Ok(()), |record| permit_record(grants, record))
        }
        RegistrationSelector::Port { namespace, .. } if !grants.has_namespace(namespace) => {
            Err(Denied::NotGranted { namespace: namespace.clone(), pool: None })
        }
        RegistrationSelector::Port { namespace, port, transport } => {
            let Ok(view) = snapshot.view(namespace) else { return Ok(()) };
            let mut held = view.holders(*port, *transport);
            held.try_for_each(|record| permit_record(grants, record))
        }
    }
}
