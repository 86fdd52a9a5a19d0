//! Tokens as messages, without their secrets.

use super::timestamp;
use crate::access::{Credential, Role, Token};
use crate::grpc::proto;

/// A token.
#[must_use]
pub fn token(token: &Token) -> proto::Token {
    let (credential, secret) = match &token.credential {
        Credential::Secret(secret) => (proto::Credential::Secret, Some(secret)),
        Credential::Certificate => (proto::Credential::Certificate, None),
    };
    let previous = secret.and_then(|secret| secret.previous.as_ref());
    let (role, grants) = match &token.role {
        Role::Viewer => (proto::Role::Viewer, Vec::new()),
        Role::Registrar(grants) => {
            let grants = grants.0.iter().map(|(namespace, pools)| proto::Grant {
                namespace: namespace.to_string(),
                pools: pools.iter().map(ToString::to_string).collect(),
            });
            (proto::Role::Registrar, grants.collect())
        }
        Role::Admin => (proto::Role::Admin, Vec::new()),
    };
    proto::Token {
        name: token.name.to_string(),
        description: token.description.as_str().to_owned(),
        role: role.into(),
        grants,
        credential: credential.into(),
        expire_time: token.expire_time.map(timestamp),
        create_time: Some(timestamp(token.create_time)),
        creator: token.creator.0.to_string(),
        update_time: Some(timestamp(token.update_time)),
        rotate_time: secret.map(|secret| timestamp(secret.rotate_time)),
        former_expire_time: previous.map(|previous| timestamp(previous.expire_time)),
        revoke_time: token.revoke_time.map(timestamp),
    }
}
