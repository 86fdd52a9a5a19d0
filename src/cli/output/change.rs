//! Changes in words: what happened to what, and which of its fields were changed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::record::{self, text, timestamp};
use super::resource::{self, codes, ranges, transports};
use super::{clean, enum_names, table};
use crate::cli::time_args::format_duration;
use crate::grpc::proto;

/// What happened: `registered`, `namespace created`.
pub(in crate::cli) fn kind(change: &proto::Change) -> String {
    enum_names::change_kind(change.kind).unwrap_or("-").replace('_', " ").to_lowercase()
}

/// The assignment that was changed, as it is now, or else as it was.
pub(in crate::cli) fn assignment(change: &proto::Change) -> Option<&proto::Assignment> {
    change.after.as_ref().or(change.before.as_ref())
}

fn namespace(change: &proto::Change) -> Option<&proto::Namespace> {
    change.namespace_after.as_ref().or(change.namespace_before.as_ref())
}

fn pool(change: &proto::Change) -> Option<&proto::Pool> {
    change.pool_after.as_ref().or(change.pool_before.as_ref())
}

/// The namespace that it happened in.
pub(in crate::cli) fn namespace_name(change: &proto::Change) -> &str {
    assignment(change)
        .map(|record| record.namespace.as_str())
        .or_else(|| pool(change).map(|pool| pool.namespace.as_str()))
        .or_else(|| namespace(change).map(|namespace| namespace.name.as_str()))
        .unwrap_or_default()
}

/// What there is to say of it: which namespace or pool, which fields were changed, until when it
/// holds.
pub(in crate::cli) fn details(change: &proto::Change) -> String {
    let mut facts = Vec::new();
    facts.extend(namespace(change).map(|namespace| namespace.name.clone()));
    facts.extend(pool(change).map(|pool| pool.name.clone()));
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            facts.extend(differences(&facts_of(before), &facts_of(after)));
        }
        (None, Some(after)) => {
            facts.extend(text(&after.pool).map(|pool| format!("from the pool {pool}")));
            facts.extend(after.expire_time.map(|end| format!("until {}", table::time(end))));
        }
        _ => {}
    }
    if let (Some(before), Some(after)) = (&change.namespace_before, &change.namespace_after) {
        facts.extend(differences(&facts_of_namespace(before), &facts_of_namespace(after)));
    }
    if let (Some(before), Some(after)) = (&change.pool_before, &change.pool_after) {
        facts.extend(differences(&facts_of_pool(before), &facts_of_pool(after)));
    }
    facts.extend(change.cool_down_end_time.map(|end| format!("rests until {}", table::time(end))));
    clean(&facts.join("; "))
}

/// A field that can be changed, and its value in words.
type Fact = (String, String);

fn fact(name: &str, value: impl Into<String>) -> Fact {
    (name.to_owned(), value.into())
}

fn facts_of(record: &proto::Assignment) -> Vec<Fact> {
    let labels = record.labels.iter().map(|(key, value)| fact(&format!("label {key}"), value));
    let facts = [
        fact("service name", &record.service_name),
        fact("description", &record.description),
        fact("assignee", &record.assignee),
        fact("contact", &record.contact),
        fact("reference", &record.reference),
        fact("notes", &record.assignment_notes),
        fact("until", record.expire_time.map(table::time).unwrap_or_default()),
    ];
    facts.into_iter().chain(labels).collect()
}

fn facts_of_namespace(namespace: &proto::Namespace) -> Vec<Fact> {
    let policy = namespace.policy.clone().unwrap_or_default();
    vec![
        fact("description", &namespace.description),
        fact("accept", codes(&policy.accept)),
        fact("forbid", codes(&policy.forbid)),
        fact("cool-down", policy.cool_down.map(format_duration).unwrap_or_default()),
    ]
}

fn facts_of_pool(pool: &proto::Pool) -> Vec<Fact> {
    vec![
        fact("description", &pool.description),
        fact("ports", ranges(&pool.ports)),
        fact("transports", transports(&pool.transports)),
        fact("excluded", ranges(&pool.excluded_ports)),
        fact("cool-down", pool.cool_down.map(format_duration).unwrap_or_default()),
        fact("accept", codes(&pool.accept)),
    ]
}

/// `description: old → new` for each fact that is not the same.
fn differences(before: &[Fact], after: &[Fact]) -> Vec<String> {
    let value = |facts: &[Fact], name: &str| {
        let found = facts.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    // The facts of both, in their order, each once.
    let mut seen = BTreeSet::new();
    let names = before.iter().chain(after).map(|(name, _)| name).filter(|name| seen.insert(*name));
    let changed = names.map(|name| (name, value(before, name), value(after, name)));
    let word = |value: String| if value.is_empty() { "-".to_owned() } else { value };
    changed
        .filter(|(_, old, new)| old != new)
        .map(|(name, old, new)| format!("{name}: {} → {}", word(old), word(new)))
        .collect()
}

/// The change as an object, in the order of the API.
pub(in crate::cli) fn object(change: &proto::Change) -> Value {
    json!({
        "revision": change.revision,
        "position": change.position,
        "time": timestamp(change.time),
        "actor": text(&change.actor),
        "reason": text(&change.reason),
        "kind": enum_names::change_kind(change.kind),
        "before": change.before.as_ref().map(record::object),
        "after": change.after.as_ref().map(record::object),
        "namespace_before": change.namespace_before.as_ref().map(resource::namespace),
        "namespace_after": change.namespace_after.as_ref().map(resource::namespace),
        "pool_before": change.pool_before.as_ref().map(resource::pool),
        "pool_after": change.pool_after.as_ref().map(resource::pool),
        "cool_down_end_time": timestamp(change.cool_down_end_time),
    })
}

/// The change as an object without objects in it.
pub(in crate::cli) fn row(change: &proto::Change) -> Value {
    let record = assignment(change).cloned().unwrap_or_default();
    let ports = record.ports.unwrap_or_default();
    json!({
        "revision": change.revision,
        "position": change.position,
        "time": timestamp(change.time),
        "actor": text(&change.actor),
        "reason": text(&change.reason),
        "kind": enum_names::change_kind(change.kind),
        "namespace": text(namespace_name(change)),
        "service_name": text(&record.service_name),
        "first_port": ports.first,
        "last_port": ports.last,
        "transport": enum_names::transport(record.transport),
        "uid": text(&record.uid),
        "details": text(&details(change)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> proto::Assignment {
        proto::Assignment {
            namespace: "prod".into(),
            service_name: "billing".into(),
            description: "Invoices".into(),
            labels: [("tier".to_owned(), "1".to_owned())].into(),
            ..proto::Assignment::default()
        }
    }

    fn at(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 5000 }
    }

    #[test]
    fn an_update_tells_which_fields_were_changed() {
        let after = proto::Assignment {
            description: "Invoices\u{1b} and reminders".into(),
            contact: "billing@example.com".into(),
            labels: [("area".to_owned(), "eu".to_owned())].into(),
            ..record()
        };
        let change = proto::Change {
            kind: proto::ChangeKind::Updated.into(),
            before: Some(record()),
            after: Some(after),
            ..proto::Change::default()
        };
        assert_eq!(kind(&change), "updated");
        assert_eq!(namespace_name(&change), "prod");
        assert_eq!(
            details(&change),
            "description: Invoices → Invoices\u{fffd} and reminders; \
             contact: - → billing@example.com; label tier: 1 → -; label area: - → eu"
        );
    }

    #[test]
    fn leases_and_rests_tell_their_ends() {
        let leased = proto::Assignment { expire_time: Some(at(0)), pool: "web".into(), ..record() };
        let renewed = proto::Assignment { expire_time: Some(at(3600)), ..leased.clone() };
        let change = |before: Option<&proto::Assignment>, after: Option<&proto::Assignment>| {
            let (before, after) = (before.cloned(), after.cloned());
            details(&proto::Change { before, after, ..proto::Change::default() })
        };
        assert_eq!(change(None, Some(&leased)), "from the pool web; until 1970-01-01T00:00:00Z");
        assert_eq!(
            change(Some(&leased), Some(&renewed)),
            "until: 1970-01-01T00:00:00Z → 1970-01-01T01:00:00Z"
        );
        let released = proto::Change {
            before: Some(renewed),
            cool_down_end_time: Some(at(60)),
            ..proto::Change::default()
        };
        assert_eq!(details(&released), "rests until 1970-01-01T00:01:00Z");
    }

    #[test]
    fn changes_of_namespaces_and_pools_name_them() {
        let pool = |cool_down| proto::Pool {
            namespace: "prod".into(),
            name: "web".into(),
            ports: vec![proto::PortRange { first: Some(1), last: Some(2) }],
            cool_down: Some(prost_types::Duration { seconds: cool_down, nanos: 0 }),
            ..proto::Pool::default()
        };
        let change = proto::Change {
            kind: proto::ChangeKind::PoolUpdated.into(),
            pool_before: Some(pool(86_400)),
            pool_after: Some(pool(3600)),
            ..proto::Change::default()
        };
        assert_eq!(kind(&change), "pool updated");
        assert_eq!(namespace_name(&change), "prod");
        assert_eq!(details(&change), "web; cool-down: 1d → 1h");
        assert_eq!(object(&change)["pool_after"]["ports"], json!([{"first": 1, "last": 2}]));
        let namespace = proto::Namespace { name: "prod".into(), ..proto::Namespace::default() };
        let gone = proto::Change { namespace_before: Some(namespace), ..proto::Change::default() };
        assert_eq!((details(&gone).as_str(), namespace_name(&gone)), ("prod", "prod"));
    }

    #[test]
    fn rows_and_objects_of_every_change_have_the_same_fields() {
        let keys = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let full = proto::Change { after: Some(record()), ..proto::Change::default() };
        assert_eq!(keys(row(&full)), keys(row(&proto::Change::default())));
        assert_eq!(keys(object(&full)), keys(object(&proto::Change::default())));
        assert_eq!(row(&full)["service_name"], "billing");
    }
}
