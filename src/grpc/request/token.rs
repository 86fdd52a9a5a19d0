//! Writes of tokens.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Mask;
use crate::access::{CreateToken, Grants, Role, TokenHash, UpdateToken};
use crate::grpc::fields::{Fields, Parsed};
use crate::grpc::proto;
use crate::registry::name::PoolName;

/// The most grants of a token, and the most pools of a grant.
const MAX_GRANTS: usize = 100;
const MAX_POOLS: usize = 100;

/// A new token, with the hash of its secret if it has one.
pub fn create_token(
    fields: &mut Fields,
    request: proto::CreateTokenRequest,
    hash: Option<TokenHash>,
) -> Parsed<CreateToken> {
    let token = fields.message("token", request.token)?;
    let name = fields.required("token.name", &token.name);
    if proto::Credential::try_from(token.credential).is_err() {
        fields
            .invalid("token.credential", format!("{} is not a valid Credential", token.credential));
    }
    let role = role(fields, token.role, &token.grants);
    let description = fields.text("token.description", token.description);
    let expire_time = expire_time(fields, token.expire_time);
    Ok(CreateToken {
        name: name?,
        description: description?,
        role: role?,
        hash,
        expire_time: expire_time?,
    })
}

/// An update of a token.
pub fn update_token(
    fields: &mut Fields,
    request: proto::UpdateTokenRequest,
) -> Parsed<UpdateToken> {
    let token = fields.message("token", request.token)?;
    let editable = ["description", "role", "grants", "expire_time"];
    let mask = Mask::read(fields, request.update_mask, &editable)?;
    let name = fields.required("token.name", &token.name);
    let updates_role =
        mask.has("role", token.role == 0) || mask.has("grants", token.grants.is_empty());
    // Only registrars have grants, so grants imply the role.
    let number = match token.role {
        0 if !token.grants.is_empty() => proto::Role::Registrar.into(),
        number => number,
    };
    let role = updates_role.then(|| role(fields, number, &token.grants)).transpose();
    let description = mask.value("description", token.description.is_empty(), || {
        fields.text("token.description", token.description)
    });
    let expire_time = mask.value("expire_time", token.expire_time.is_none(), || {
        expire_time(fields, token.expire_time)
    });
    Ok(UpdateToken {
        name: name?,
        description: description?,
        role: role?,
        expire_time: expire_time?,
    })
}

fn role(fields: &mut Fields, role: i32, grants: &[proto::Grant]) -> Parsed<Role> {
    let role = match proto::Role::try_from(role) {
        Ok(proto::Role::Viewer) => Role::Viewer,
        Ok(proto::Role::Admin) => Role::Admin,
        Ok(proto::Role::Registrar) if grants.is_empty() => {
            return Err(
                fields.invalid("token.grants", "is missing: a REGISTRAR needs at least one grant")
            );
        }
        Ok(proto::Role::Registrar) => return Ok(Role::Registrar(read_grants(fields, grants)?)),
        Ok(proto::Role::Unspecified) => {
            return Err(
                fields.invalid("token.role", "is missing: expected VIEWER, REGISTRAR or ADMIN")
            );
        }
        Err(_) => return Err(fields.invalid("token.role", format!("{role} is not a valid Role"))),
    };
    if grants.is_empty() {
        Ok(role)
    } else {
        Err(fields.invalid("token.grants", "is only valid for a REGISTRAR"))
    }
}

fn read_grants(fields: &mut Fields, grants: &[proto::Grant]) -> Parsed<Grants> {
    if grants.len() > MAX_GRANTS {
        return Err(fields.invalid("token.grants", format!("has more than {MAX_GRANTS}")));
    }
    let mut read = BTreeMap::new();
    for (index, grant) in grants.iter().enumerate() {
        let field = format!("token.grants[{index}]");
        let namespace = fields.required(&format!("{field}.namespace"), &grant.namespace);
        if grant.pools.len() > MAX_POOLS {
            fields.invalid(&format!("{field}.pools"), format!("has more than {MAX_POOLS}"));
        }
        let pools = grant.pools.iter().take(MAX_POOLS);
        let pools = pools.map(|pool| fields.required(&format!("{field}.pools"), pool));
        let pools = pools.collect::<Parsed<BTreeSet<PoolName>>>();
        if read.insert(namespace?, pools?).is_some() {
            fields.invalid(&field, format!("contains {} twice", grant.namespace));
        }
    }
    Ok(Grants(read.into()))
}

fn expire_time(
    fields: &mut Fields,
    time: Option<prost_types::Timestamp>,
) -> Parsed<Option<Timestamp>> {
    time.map(|time| fields.time("token.expire_time", time)).transpose()
}
