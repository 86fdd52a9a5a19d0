//! Proto to domain: parses requests into commands and queries with valid values.

#![expect(clippy::missing_errors_doc, reason = "each fails if a field is invalid")]

mod assignment;
mod query;
mod settings;
mod token;

pub use query::{AsOf, as_of, change_filter, check, check_batch, filter, watch_filter};
pub use token::{create_token, update_token};

use std::mem;

use prost::Message;
use sha2::{Digest, Sha256};

use super::fields::{Fields, Parsed};
use super::proto;
use crate::registry::command::Command;
use crate::store::RequestKey;

/// The options of every write.
#[derive(Debug)]
pub struct WriteOptions {
    /// Identifies a retry of the request.
    pub request: Option<RequestKey>,
    /// The reason, recorded in the history.
    pub reason: String,
    /// Validate only: change nothing.
    pub validate_only: bool,
}

/// A request of a write: a command with options.
pub trait WriteRequest: Message {
    /// Parses the request.
    fn parse(self, fields: &mut Fields) -> Parsed<(Command, WriteOptions)>;
}

macro_rules! write_requests {
    ($($rpc:ident: $request:ident, $command:path;)+) => {$(
        impl WriteRequest for proto::$request {
            fn parse(mut self, fields: &mut Fields) -> Parsed<(Command, WriteOptions)> {
                let fingerprint = fingerprint(stringify!($rpc), &self);
                let (id, reason) = (mem::take(&mut self.request_id), mem::take(&mut self.reason));
                let validate_only = self.validate_only;
                let command = $command(fields, self);
                let options = write_options(fields, RequestKey { id, fingerprint }, reason, validate_only);
                Ok((command?, options?))
            }
        }
    )+};
}

/// Distinguishes a request from others with the same id.
fn fingerprint(rpc: &str, request: &impl Message) -> [u8; 32] {
    let digest = Sha256::new().chain_update(rpc).chain_update(request.encode_to_vec());
    digest.finalize().into()
}

fn write_options(
    fields: &mut Fields,
    key: RequestKey,
    reason: String,
    validate_only: bool,
) -> Parsed<WriteOptions> {
    if key.id.len() > 64 || !key.id.bytes().all(|byte| byte.is_ascii_graphic()) {
        fields.invalid("request_id", "is not 1-64 visible ASCII characters");
    }
    let reason = fields.text::<512>("reason", reason)?.as_str().to_owned();
    let request = (!key.id.is_empty()).then_some(key);
    Ok(WriteOptions { request, reason, validate_only })
}

write_requests! {
    RegisterPort: RegisterPortRequest, assignment::register;
    BatchRegisterPorts: BatchRegisterPortsRequest, assignment::register_all;
    EnsurePort: EnsurePortRequest, assignment::ensure;
    RenewLease: RenewLeaseRequest, assignment::renew;
    UpdateAssignment: UpdateAssignmentRequest, assignment::update;
    ReleasePort: ReleasePortRequest, assignment::release;
    CreateNamespace: CreateNamespaceRequest, settings::create_namespace;
    UpdateNamespace: UpdateNamespaceRequest, settings::update_namespace;
    DeleteNamespace: DeleteNamespaceRequest, settings::delete_namespace;
    CreatePool: CreatePoolRequest, settings::create_pool;
    UpdatePool: UpdatePoolRequest, settings::update_pool;
    DeletePool: DeletePoolRequest, settings::delete_pool;
}

/// The fields of a resource that an update changes (AIP-134).
struct Mask(Vec<String>);

impl Mask {
    /// The mask, if it contains only editable fields.
    fn read(
        fields: &mut Fields,
        mask: Option<prost_types::FieldMask>,
        editable: &[&str],
    ) -> Parsed<Self> {
        const FIELD: &str = "update_mask";
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        if paths.len() > 1 && paths.iter().any(|path| path == "*") {
            return Err(fields.invalid(FIELD, "contains * and other paths"));
        }
        let is_known = |path: &str| path == "*" || editable.contains(&path);
        match paths.iter().find(|path| !is_known(path)) {
            None => Ok(Self(paths)),
            Some(unknown) => {
                let editable = editable.join(", ");
                let description =
                    format!("{unknown:?} can't be updated: use {editable}, or * for all of them");
                Err(fields.invalid(FIELD, description))
            }
        }
    }

    /// Whether a field is updated. Without a mask, all fields that are not empty are.
    fn has(&self, path: &str, is_empty: bool) -> bool {
        match &self.0[..] {
            [] => !is_empty,
            [all] if all == "*" => true,
            paths => paths.iter().any(|masked| masked == path),
        }
    }

    /// The value of a field, if it is updated.
    fn value<T>(
        &self,
        path: &str,
        is_empty: bool,
        read: impl FnOnce() -> Parsed<T>,
    ) -> Parsed<Option<T>> {
        self.has(path, is_empty).then(read).transpose()
    }
}
