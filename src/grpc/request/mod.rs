//! Proto to domain: whole requests, so that the domain is asked with valid values only.

#![expect(clippy::missing_errors_doc, reason = "each fails by noting the fault of its field")]

mod assignment;
mod query;
mod settings;
mod token;

pub use assignment::{ensure, register, register_all, release, renew, update};
pub use query::{AsOf, as_of, change_filter, check, filter, watch_filter, wishes};
pub use settings::{
    create_namespace, create_pool, delete_namespace, delete_pool, update_namespace, update_pool,
};
pub use token::{create_token, update_token};

use super::fields::{Fields, Read};
use crate::store::RequestKey;

/// What comes with every write.
#[derive(Debug)]
pub struct WriteOptions {
    /// How to know the request again.
    pub request: Option<RequestKey>,
    /// Why.
    pub reason: String,
    /// Decide only, and change nothing.
    pub validate_only: bool,
}

fn note(
    fields: &mut Fields,
    validate_only: bool,
    request_id: String,
    reason: String,
    fingerprint: [u8; 32],
) -> Read<WriteOptions> {
    let is_id = request_id.len() <= 64 && request_id.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_id {
        fields.fault("request_id", "is not 1-64 visible ASCII characters");
    }
    let reason = fields.text::<512>("reason", reason)?.as_str().to_owned();
    let request = (!request_id.is_empty()).then_some(RequestKey { id: request_id, fingerprint });
    Ok(WriteOptions { request, reason, validate_only })
}

/// Which fields of a resource an update takes over (AIP-134).
struct Mask(Vec<String>);

impl Mask {
    /// The mask, if it names nothing but what can be changed.
    fn read(
        fields: &mut Fields,
        mask: Option<prost_types::FieldMask>,
        editable: &[&str],
    ) -> Read<Self> {
        const FIELD: &str = "update_mask";
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        if paths.len() > 1 && paths.iter().any(|path| path == "*") {
            return Err(fields.fault(FIELD, "has * beside other paths"));
        }
        let is_known = |path: &str| path == "*" || editable.contains(&path);
        match paths.iter().find(|path| !is_known(path)) {
            None => Ok(Self(paths)),
            Some(stranger) => {
                let known = editable.join(", ");
                let fault =
                    format!("{stranger:?} can't be changed: {known} can, or * for all of them");
                Err(fields.fault(FIELD, fault))
            }
        }
    }

    /// Whether a field is taken over. Without a mask, what is not empty is.
    fn has(&self, path: &str, is_empty: bool) -> bool {
        match &self.0[..] {
            [] => !is_empty,
            [all] if all == "*" => true,
            paths => paths.iter().any(|wanted| wanted == path),
        }
    }

    /// The value of a field, if it is taken over.
    fn value<T>(
        &self,
        path: &str,
        is_empty: bool,
        read: impl FnOnce() -> Read<T>,
    ) -> Read<Option<T>> {
        self.has(path, is_empty).then(read).transpose()
    }
}
