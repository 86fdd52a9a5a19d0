//! What the server says where it says no, and what would help.

use std::collections::HashMap;
use std::time::Duration;

use itertools::Itertools;

use super::output::clean;
use crate::registry::name::NamespaceName;

/// What the server says where it says no.
#[derive(Debug)]
pub struct Refusal {
    /// In words.
    pub(super) message: String,
    /// The name of an `ErrorReason`, or empty.
    pub(super) reason: String,
    /// The metadata of the reason, as the API documents it.
    pub(super) metadata: HashMap<String, String>,
    /// When to try again, where that is told.
    pub(super) retry: Option<Duration>,
}

impl Refusal {
    /// A fact, or nothing where it is not told.
    fn get(&self, name: &str) -> Option<String> {
        let fact = self.metadata.get(name).map(|fact| clean(fact));
        fact.filter(|fact| !fact.is_empty())
    }

    /// A fact, or an empty word.
    pub(super) fn value(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }

    /// Findings as the flags take them.
    fn codes(&self) -> String {
        self.value("codes").replace("FINDING_CODE_", "")
    }

    /// What would help.
    pub(super) fn hint(&self) -> Option<String> {
        let value = |name| self.value(name);
        Some(match self.reason.as_str() {
            "ACKNOWLEDGEMENT_REQUIRED" => {
                format!("with this command: --acknowledge {}", self.codes())
            }
            "PORT_TAKEN" => {
                let metadata = ["holder_contact", "holder_uid"];
                let holder = metadata.iter().filter_map(|name| self.get(name)).join(", ");
                format!("the holder: {holder} · free ports nearby: portbook check SERVICE PORT")
            }
            "PORT_IN_POOL" => format!(
                "ask through the pool: --pool {pool}; or take a free one: portbook ensure {pool} \
                 SERVICE{in_namespace}",
                pool = value("pool"),
                in_namespace = self.in_namespace()
            ),
            "OUTSIDE_POOL" => format!(
                "what the pool has: portbook pool show {}{}",
                value("pool"),
                self.in_namespace()
            ),
            "FORBIDDEN_BY_POLICY" => format!(
                "the policy forbids {}: portbook namespace show {}",
                self.codes(),
                value("namespace")
            ),
            "POOL_EXHAUSTED" => self.exhausted(),
            "ENSURED_OTHERWISE" => format!(
                "it holds {} on {}; to have it otherwise: portbook release {}, or another --instance",
                value("ports"),
                value("transports"),
                value("uids").replace(',', " ")
            ),
            "PART_OF_RANGE" => {
                format!("all of them together, by uid: {}", value("uids").replace(',', " "))
            }
            "NO_LEASE" => {
                "it is held without end; release it and register it anew with --ttl".into()
            }
            "NAME_KEPT_BY_POOL" => "release it and ensure the other name".into(),
            "NAMESPACE_NOT_FOUND" => {
                let nearest = self.get("nearest").map(|names| format!("near it: {names}; "));
                format!("{}all of them: portbook namespace list", nearest.unwrap_or_default())
            }
            "POOL_NOT_FOUND" => {
                let nearest = self.get("nearest").map(|names| format!("near it: {names}; "));
                let all = self.in_namespace();
                format!("{}all of them: portbook pool list{all}", nearest.unwrap_or_default())
            }
            "NAMESPACE_NOT_EMPTY" => format!(
                "what is in it: portbook list --source custom{in_namespace}, portbook pool \
                 list{in_namespace}",
                in_namespace = self.in_namespace()
            ),
            "POOL_NOT_EMPTY" => format!(
                "what comes from it: portbook list --pool {}{}",
                value("pool"),
                self.in_namespace()
            ),
            "IN_THE_FUTURE" => {
                format!("the registry is at revision {}; left out means now", value("revision"))
            }
            "BEFORE_THE_BEGINNING" => format!("the registry was made at {}", value("create_time")),
            "MESSAGE_TOO_LARGE" => "send less at once, or start the server with a larger \
                                    --max-request-bytes"
                .into(),
            "TOKEN_MISSING" => {
                "give the token with --token, or in the variable PORTBOOK_TOKEN".into()
            }
            "TOKEN_INVALID" => {
                "an admin can make another: portbook token create; where there is no \
                                admin left, on the server's machine: portbook token recover"
                    .into()
            }
            "TOKEN_EXPIRED" => {
                "an admin can move its end: portbook token update NAME --ttl 90d".into()
            }
            "PERMISSION_DENIED" => self.denied(),
            "TOKEN_NOT_FOUND" => "all there are or were: portbook token list --ended".into(),
            "TOKEN_ALREADY_EXISTS" => format!(
                "what it may do: portbook token show {token}; a new secret for it: portbook token \
                 rotate {token}",
                token = value("token")
            ),
            "TOKEN_REVOKED" => "names that are taken: portbook token list --ended".into(),
            "LAST_ADMIN" => "such a one: portbook token create NAME --role admin".into(),
            "NO_SECRET" => "its certificate is renewed by whoever issued it".into(),
            "RATE_LIMITED" | "OVERLOADED" => {
                format!("try again in {:?}", self.retry.unwrap_or(Duration::from_secs(1)))
            }
            "DEADLINE_PASSED" => "a write may still be carried out: look with portbook history \
                                  before it is made again, or repeat it with the same --request-id"
                .into(),
            _ => return None,
        })
    }

    /// What somebody may do who may not do this, and how they come to more.
    fn denied(&self) -> String {
        let own = "what your token may do: portbook token show";
        let flags = match (self.get("role"), self.get("namespace")) {
            (Some(role), _) if role == "registrar" => {
                "--role registrar --grant NAMESPACE".to_owned()
            }
            (Some(role), _) => format!("--role {role}"),
            (None, Some(namespace)) => {
                let pool = self.get("pool").map(|pool| format!("/{pool}")).unwrap_or_default();
                format!("--grant {namespace}{pool}, and the grants it has")
            }
            (None, None) => return own.to_owned(),
        };
        format!("{own}; an admin can change that: portbook token update NAME {flags}")
    }

    /// The flag for a namespace that is not the default.
    fn in_namespace(&self) -> String {
        let named = self.get("namespace").filter(|name| name != NamespaceName::DEFAULT);
        named.map(|name| format!(" --namespace {name}")).unwrap_or_default()
    }

    /// How a pool without a free port is used, and when one may be free again.
    fn exhausted(&self) -> String {
        let value = |name| self.value(name);
        let mut parts = vec![format!(
            "{} ports: {} held, {} cooling, {} skipped",
            value("size"),
            value("held"),
            value("cooling"),
            value("skipped")
        )];
        let leases = self.get("next_expire_times").map(|leases| leases.replace(',', ", "));
        parts.extend(leases.map(|leases| format!("leases that end next: {leases}")));
        let rest = self.get("next_cool_down_end_time");
        parts.extend(rest.map(|end| format!("the next port has rested at {end}")));
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_next() {
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
            "the holder: a@example.com, 0197 · free ports nearby: portbook check SERVICE PORT"
        );
        assert_eq!(
            hint("PORT_IN_POOL", &[("pool", "web"), ("namespace", "prod")]),
            "ask through the pool: --pool web; or take a free one: portbook ensure web SERVICE \
             --namespace prod"
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
            "10 ports: 6 held, 3 cooling, 1 skipped; leases that end next: 2026-03-31T12:00:00Z \
             8100 billing, 2026-04-01T12:00:00Z 8101 x; the next port has rested at \
             2026-03-31T09:00:00Z"
        );
        assert_eq!(
            hint("NAMESPACE_NOT_FOUND", &[("nearest", "prod")]),
            "near it: prod; all of them: portbook namespace list"
        );
        assert_eq!(hint("POOL_NOT_FOUND", &[]), "all of them: portbook pool list");
        let codes = "FINDING_CODE_SYSTEM_PORT,FINDING_CODE_DYNAMIC_PORT";
        assert_eq!(
            hint("FORBIDDEN_BY_POLICY", &[("codes", codes), ("namespace", "prod")]),
            "the policy forbids SYSTEM_PORT,DYNAMIC_PORT: portbook namespace show prod"
        );
        let denied = "what your token may do: portbook token show; an admin can change that: \
                      portbook token update NAME";
        for (metadata, flags) in [
            (
                &[("namespace", "prod"), ("pool", "web")][..],
                "--grant prod/web, and the grants it has",
            ),
            (&[("role", "admin"), ("namespace", "")], "--role admin"),
            (&[("role", "registrar")], "--role registrar --grant NAMESPACE"),
        ] {
            assert_eq!(hint("PERMISSION_DENIED", metadata), format!("{denied} {flags}"));
        }
        assert_eq!(hint("PERMISSION_DENIED", &[]), "what your token may do: portbook token show");
        assert_eq!(hint("OVERLOADED", &[]), "try again in 1s");
        assert_eq!(hint("INVALID_FIELD", &[]), "");
    }
}
