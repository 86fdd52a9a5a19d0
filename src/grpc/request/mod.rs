//! Proto to domain: parses requests into commands and queries with valid values.

#![expect(clippy::missing_errors_doc, reason = "each fails if a field is invalid")]

mod assignment;
mod query;
mod settings;
mod token;

pub use assignment::{ensure, register, register_all, release, renew, update};
pub use query::{AsOf, as_of, change_filter, check, check_batch, filter, watch_filter};
pub use settings::{
    create_namespace, create_pool, delete_namespace, delete_pool, update_namespace, update_pool,
};
pub use token::{create_token, update_token};

use std::mem;

use prost::Message;

use super::fields::{FieldResult, Fields};
use super::proto;
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

/// A request of a write. All writes have the same options.
pub trait WriteRequest: Message {
    /// Takes the options out of the request.
    fn take_options(&mut self) -> UnparsedOptions;
}

/// The options of a write as received.
#[derive(Debug)]
pub struct UnparsedOptions {
    request_id: String,
    reason: String,
    validate_only: bool,
}

impl UnparsedOptions {
    /// Parses the options. The fingerprint distinguishes requests with the same id.
    pub fn parse(self, fields: &mut Fields, fingerprint: [u8; 32]) -> FieldResult<WriteOptions> {
        let Self { request_id: id, reason, validate_only } = self;
        if id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            fields.invalid("request_id", "is not 1-64 visible ASCII characters");
        }
        let reason = fields.text::<512>("reason", reason)?.as_str().to_owned();
        let request = (!id.is_empty()).then_some(RequestKey { id, fingerprint });
        Ok(WriteOptions { request, reason, validate_only })
    }
}

macro_rules! write_requests {
    ($($request:ident),+ $(,)?) => {$(
        impl WriteRequest for proto::$request {
            fn take_options(&mut self) -> UnparsedOptions {
                UnparsedOptions {
                    request_id: mem::take(&mut self.request_id),
                    reason: mem::take(&mut self.reason),
                    validate_only: mem::take(&mut self.validate_only),
                }
            }
        }
    )+};
}

write_requests! {
    RegisterPortRequest, BatchRegisterPortsRequest, EnsurePortRequest, RenewLeaseRequest,
    UpdateAssignmentRequest, ReleasePortRequest, CreateNamespaceRequest, UpdateNamespaceRequest,
    DeleteNamespaceRequest, CreatePoolRequest, UpdatePoolRequest, DeletePoolRequest,
}

/// The fields of a resource that an update changes (AIP-134).
struct Mask(Vec<String>);

impl Mask {
    /// The mask, if it contains only editable fields.
    fn read(
        fields: &mut Fields,
        mask: Option<prost_types::FieldMask>,
        editable: &[&str],
    ) -> FieldResult<Self> {
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
        read: impl FnOnce() -> FieldResult<T>,
    ) -> FieldResult<Option<T>> {
        self.has(path, is_empty).then(read).transpose()
    }
}
