//! Permissions: whether a role allows a command, based on the command and its target.

use super::token::{Grants, Role};
use crate::registry::assignment::Record;
use crate::registry::command::{Command, Register, RegistrationSelector};
use crate::registry::finding::{Finding, FindingCode, Severity};
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::snapshot::Snapshot;

/// Why a caller is not allowed. Contains nothing that the caller did not send.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The role is too low.
    #[error("this call needs a token of role {required}")]
    Role {
        /// The least sufficient role.
        required: &'static str,
    },
    /// A system port, which only an admin may acknowledge.
    #[error("system ports (1-1023) need a token of role admin")]
    SystemPort,
    /// The token has no grant for the named namespace or pool.
    #[error("this token is not granted {}: ask an admin for the grant", scope(.namespace, .pool.as_ref()))]
    NotGranted {
        /// The namespace.
        namespace: NamespaceName,
        /// The pool, if one was named.
        pool: Option<PoolName>,
    },
    /// The token has no grant for the registration that was named by uid or port.
    #[error(
        "this token is not granted the namespace or pool of that assignment: ask an admin for the grant"
    )]
    Assignment,
}

fn scope(namespace: &NamespaceName, pool: Option<&PoolName>) -> String {
    match pool {
        Some(pool) => format!("pool {pool} of namespace {namespace}"),
        None => format!("namespace {namespace} outside its pools"),
    }
}

/// Checks whether the role allows the command.
///
/// # Errors
/// If it does not.
pub fn permit(snapshot: &Snapshot, command: &Command, role: &Role) -> Result<(), Denied> {
    let grants = match role {
        Role::Admin => return Ok(()),
        Role::Viewer => return Err(Denied::Role { required: required_role(command) }),
        Role::Registrar(grants) => grants,
    };
    match command {
        Command::Register(register) => permit_register(grants, register),
        Command::RegisterAll(registers) => {
            registers.iter().try_for_each(|register| permit_register(grants, register))
        }
        Command::Ensure(ensure) => permit_scope(grants, &ensure.namespace, Some(&ensure.pool)),
        Command::Renew(renew) => permit_selected(snapshot, grants, &renew.selector),
        Command::Release(selector) => permit_selected(snapshot, grants, selector),
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
        | Command::DeletePool(_) => Err(Denied::Role { required: required_role(command) }),
    }
}

/// Checks whether the role may acknowledge the findings.
///
/// # Errors
/// If one of the findings requires a higher role.
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

/// Checks whether the role may change tokens.
///
/// # Errors
/// If it does not.
pub fn permit_administration(role: &Role) -> Result<(), Denied> {
    match role {
        Role::Admin => Ok(()),
        Role::Viewer | Role::Registrar(_) => Err(Denied::Role { required: "admin" }),
    }
}

const fn required_role(command: &Command) -> &'static str {
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
    permit_scope(grants, &register.namespace, register.pool.as_ref())
}

fn permit_scope(
    grants: &Grants,
    namespace: &NamespaceName,
    pool: Option<&PoolName>,
) -> Result<(), Denied> {
    if grants.allow(namespace, pool) {
        Ok(())
    } else {
        Err(Denied::NotGranted { namespace: namespace.clone(), pool: pool.cloned() })
    }
}

fn permit_record(grants: &Grants, record: &Record) -> Result<(), Denied> {
    // Records that can't be changed are refused by `decide`.
    let Some(registration) = record.registration() else { return Ok(()) };
    let pool = registration.pooled.as_ref().map(|pooled| &pooled.pool);
    if grants.allow(&registration.namespace, pool) { Ok(()) } else { Err(Denied::Assignment) }
}

fn permit_selected(
    snapshot: &Snapshot,
    grants: &Grants,
    selector: &RegistrationSelector,
) -> Result<(), Denied> {
    match selector {
        RegistrationSelector::Uid { uid, .. } => {
            let record = snapshot.by_uid(*uid);
            record.map_or(Ok(()), |record| permit_record(grants, record))
        }
        RegistrationSelector::Port { namespace, .. } if !grants.has_namespace(namespace) => {
            Err(Denied::NotGranted { namespace: namespace.clone(), pool: None })
        }
        RegistrationSelector::Port { namespace, port, transport } => {
            let Ok(view) = snapshot.view(namespace) else { return Ok(()) };
            let mut holders = view.holders(*port, *transport);
            holders.try_for_each(|record| permit_record(grants, record))
        }
    }
}
