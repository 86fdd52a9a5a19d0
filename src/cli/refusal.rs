//! Calls that the server rejected, and hints on what to do about each reason.

use std::collections::HashMap;
use std::time::Duration;

use itertools::Itertools;

use super::output::clean;
use crate::registry::name::NamespaceName;

/// The error status of a call that the server rejected.
#[derive(Debug)]
pub struct Refusal {
    /// The message of the status.
    pub(super) message: String,
    /// The name of the `ErrorReason`, or empty.
    pub(super) reason: String,
    /// The metadata of the reason, as the API documents it.
    pub(super) metadata: HashMap<String, String>,
    /// The delay before another attempt, if the server sent one.
    pub(super) retry: Option<Duration>,
}

impl Refusal {
    /// A value of the metadata, unless it is missing or empty.
    fn get(&self, name: &str) -> Option<String> {
        let value = self.metadata.get(name).map(|value| clean(value));
        value.filter(|value| !value.is_empty())
    }

    /// A value of the metadata, or an empty text.
    pub(super) fn value(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }

    /// Finding codes as `--acknowledge` accepts them.
    fn codes(&self) -> String {
        self.value("codes").replace("FINDING_CODE_", "")
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        let value = |name| self.value(name);
        Some(match self.reason.as_str() {
            "ACKNOWLEDGEMENT_REQUIRED" => {
                format!("to override: --acknowledge {}", self.codes())
            }
            "PORT_TAKEN" => {
                let names = ["holder_contact", "holder_uid"];
                let holder = names.iter().filter_map(|name| self.get(name)).join(", ");
                format!("to find free ports nearby: portbook check SERVICE PORT; holder: {holder}")
            }
            "PORT_IN_POOL" => format!(
                "to register a port of the pool: --pool {pool}; to allocate a free one: portbook \
                 ensure {pool} SERVICE{in_namespace}",
                pool = value("pool"),
                in_namespace = self.in_namespace()
            ),
            "OUTSIDE_POOL" => format!(
                "to show the ports of the pool: portbook pool show {}{}",
                value("pool"),
                self.in_namespace()
            ),
            "FORBIDDEN_BY_POLICY" => format!(
                "the policy forbids {}; to show the policy: portbook namespace show {}",
                self.codes(),
                value("namespace")
            ),
            "POOL_EXHAUSTED" => self.exhausted(),
            "ENSURED_OTHERWISE" => format!(
                "current ports: {} on {}; to change them: portbook release {}, or use another \
                 --instance",
                value("ports"),
                value("transports"),
                value("uids").replace(',', " ")
            ),
            "PART_OF_RANGE" => {
                format!(
                    "to change the complete range, use its uids: {}",
                    value("uids").replace(',', " ")
                )
            }
            "NO_LEASE" => {
                "to add a lease, release it and register it again with --ttl".into()
            }
            "NAME_KEPT_BY_POOL" => {
                "to change the name, release the port and run portbook ensure with the new name"
                    .into()
            }
            "NAMESPACE_NOT_FOUND" => {
                "to list namespaces: portbook namespace list".into()
            }
            "POOL_NOT_FOUND" => format!("to list pools: portbook pool list{}", self.in_namespace()),
            "NAMESPACE_NOT_EMPTY" => format!(
                "to list its contents: portbook list --source custom{in_namespace}, portbook pool \
                 list{in_namespace}",
                in_namespace = self.in_namespace()
            ),
            "POOL_NOT_EMPTY" => format!(
                "to list its allocated ports: portbook list --pool {}{}",
                value("pool"),
                self.in_namespace()
            ),
            "MESSAGE_TOO_LARGE" => "send less in one call, or start the server with a larger \
                                    --max-request-bytes"
                .into(),
            "TOKEN_MISSING" => {
                "specify the token with --token or the environment variable PORTBOOK_TOKEN".into()
            }
            "TOKEN_INVALID" => "an admin can create a token: portbook token create; without an \
                                admin, on the host of the server: portbook token recover"
                .into(),
            "TOKEN_EXPIRED" => {
                "an admin can extend it: portbook token update NAME --ttl 90d".into()
            }
            "PERMISSION_DENIED" => self.denied(),
            "TOKEN_NOT_FOUND" => {
                "to list all tokens, including revoked and expired ones: portbook token list --ended"
                    .into()
            }
            "TOKEN_ALREADY_EXISTS" => format!(
                "to show it: portbook token show {token}; to replace its secret: portbook token \
                 rotate {token}",
                token = value("token")
            ),
            "TOKEN_REVOKED" => {
                "to list the names that are in use: portbook token list --ended".into()
            }
            "LAST_ADMIN" => {
                "to create another admin: portbook token create NAME --role admin".into()
            }
            "NO_SECRET" => "to renew its certificate, contact the authority that issued it".into(),
            "RATE_LIMITED" | "OVERLOADED" => {
                format!("try again in {:?}", self.retry.unwrap_or(Duration::from_secs(1)))
            }
            "DEADLINE_PASSED" => {
                "the write may still be committed: check with portbook history, or \
                                  repeat the command with the same --request-id"
                    .into()
            }
            _ => return None,
        })
    }

    /// How to show and change the permissions of the token.
    fn denied(&self) -> String {
        let show = "to show the permissions of your token: portbook token show";
        let flags = match (self.get("role"), self.get("namespace")) {
            (Some(role), _) if role == "registrar" => {
                "--role registrar --grant NAMESPACE".to_owned()
            }
            (Some(role), _) => format!("--role {role}"),
            (None, Some(namespace)) => {
                let pool = self.get("pool").map(|pool| format!("/{pool}")).unwrap_or_default();
                format!("--grant {namespace}{pool} (and all its current grants)")
            }
            (None, None) => return show.to_owned(),
        };
        format!("{show}; an admin can change them: portbook token update NAME {flags}")
    }

    /// The flag for a namespace other than the default.
    fn in_namespace(&self) -> String {
        let named = self.get("namespace").filter(|name| name != NamespaceName::DEFAULT);
        named.map(|name| format!(" --namespace {name}")).unwrap_or_default()
    }

    /// The usage of a pool without a free port, and when the next port becomes free.
    fn exhausted(&self) -> String {
        let value = |name| self.value(name);
        let mut parts = vec![format!(
            "{} ports: {} held, {} cooling down, {} skipped",
            value("size"),
            value("held"),
            value("cooling"),
            value("skipped")
        )];
        let leases = self.get("next_expire_times").map(|leases| leases.replace(',', ", "));
        parts.extend(leases.map(|leases| format!("next leases to expire: {leases}")));
        let cool_down = self.get("next_cool_down_end_time");
        parts.extend(cool_down.map(|end| format!("next cool-down ends at {end}")));
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_next_command() {
        let hint = |reason: &str, metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
            let refusal = Refusal {
                message: String::new(),
                reason: reason.into(),
                metadata: metadata.collect(),
                retry: None,
            };
            refusal.hint().unwrap_or_default()
        };
        assert_eq!(
            hint("PORT_TAKEN", &[("holder_uid", "0197"), ("holder_contact", "a@example.com")]),
            "to find free ports nearby: portbook check SERVICE PORT; holder: a@example.com, 0197"
        );
        assert_eq!(
            hint("PORT_IN_POOL", &[("pool", "web"), ("namespace", "prod")]),
            "to register a port of the pool: --pool web; to allocate a free one: portbook ensure \
             web SERVICE --namespace prod"
        );
        let metadata = [
            ("size", "10"),
            ("held", "6"),
            ("cooling", "3"),
            ("skipped", "1"),
            ("next_expire_times", "2026-03-31T12:00:00Z 8100 billing,2026-04-01T12:00:00Z 8101 x"),
            ("next_cool_down_end_time", "2026-03-31T09:00:00Z"),
        ];
        assert_eq!(
            hint("POOL_EXHAUSTED", &metadata),
            "10 ports: 6 held, 3 cooling down, 1 skipped; next leases to expire: \
             2026-03-31T12:00:00Z 8100 billing, 2026-04-01T12:00:00Z 8101 x; next cool-down ends \
             at 2026-03-31T09:00:00Z"
        );
        assert_eq!(
            hint("NAMESPACE_NOT_FOUND", &[("nearest", "prod")]),
            "to list namespaces: portbook namespace list"
        );
        assert_eq!(hint("POOL_NOT_FOUND", &[]), "to list pools: portbook pool list");
        let codes = "FINDING_CODE_SYSTEM_PORT,FINDING_CODE_DYNAMIC_PORT";
        assert_eq!(
            hint("FORBIDDEN_BY_POLICY", &[("codes", codes), ("namespace", "prod")]),
            "the policy forbids SYSTEM_PORT,DYNAMIC_PORT; to show the policy: portbook namespace \
             show prod"
        );
        let show = "to show the permissions of your token: portbook token show";
        let denied = format!("{show}; an admin can change them: portbook token update NAME");
        for (metadata, flags) in [
            (
                &[("namespace", "prod"), ("pool", "web")][..],
                "--grant prod/web (and all its current grants)",
            ),
            (&[("role", "admin"), ("namespace", "")], "--role admin"),
            (&[("role", "registrar")], "--role registrar --grant NAMESPACE"),
        ] {
            assert_eq!(hint("PERMISSION_DENIED", metadata), format!("{denied} {flags}"));
        }
        assert_eq!(hint("PERMISSION_DENIED", &[]), show);
        assert_eq!(hint("OVERLOADED", &[]), "try again in 1s");
        assert_eq!(hint("INVALID_FIELD", &[]), "");
    }
}
