//! Changes of the history: their kind, resource and changed fields as text and JSON.

use std::collections::BTreeSet;
use std::iter;

use serde_json::{Value, json};

use super::record::{self, text, timestamp};
use super::{clean, enum_names, table};
use crate::cli::details;
use crate::cli::namespace::NamespaceView;
use crate::cli::pool::PoolView;
use crate::cli::resource::Resource;
use crate::grpc::details::DetailedMessage;
use crate::grpc::proto;
use crate::registry::details::TextField;

/// The kind of change: `registered`, `namespace created`.
pub(in crate::cli) fn kind(change: &proto::Change) -> String {
    enum_names::phrase(change.kind())
}

/// The changed assignment: after the change, or before it if it was removed.
pub(in crate::cli) fn assignment(change: &proto::Change) -> Option<&proto::Assignment> {
    change.after.as_ref().or(change.before.as_ref())
}

fn namespace(change: &proto::Change) -> Option<&proto::Namespace> {
    change.namespace_after.as_ref().or(change.namespace_before.as_ref())
}

fn pool(change: &proto::Change) -> Option<&proto::Pool> {
    change.pool_after.as_ref().or(change.pool_before.as_ref())
}

/// The namespace of the change.
pub(in crate::cli) fn namespace_name(change: &proto::Change) -> &str {
    assignment(change)
        .map(|record| record.namespace.as_str())
        .or_else(|| pool(change).map(|pool| pool.namespace.as_str()))
        .or_else(|| namespace(change).map(|namespace| namespace.name.as_str()))
        .unwrap_or_default()
}

/// The details of a change: the namespace or pool, the changed fields, the expiry and the end of
/// the cool-down.
pub(in crate::cli) fn details(change: &proto::Change) -> String {
    let mut details = Vec::new();
    details.extend(namespace(change).map(|namespace| namespace.name.clone()));
    details.extend(pool(change).map(|pool| pool.name.clone()));
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            details.extend(differences(&assignment_fields(before), &assignment_fields(after)));
        }
        (None, Some(after)) => {
            details.extend(text(&after.pool).map(|pool| format!("from pool {pool}")));
            details.extend(after.expire_time.map(|end| format!("expires {}", table::time(end))));
        }
        _ => {}
    }
    if let (Some(before), Some(after)) = (&change.namespace_before, &change.namespace_after) {
        details.extend(differences(
            &resource_fields(&namespace_view(before)),
            &resource_fields(&namespace_view(after)),
        ));
    }
    if let (Some(before), Some(after)) = (&change.pool_before, &change.pool_after) {
        details.extend(differences(
            &resource_fields(&pool_view(before)),
            &resource_fields(&pool_view(after)),
        ));
    }
    details.extend(
        change.cool_down_end_time.map(|end| format!("cooling down until {}", table::time(end))),
    );
    clean(&details.join("; "))
}

/// The name of a field that can change, and its value as text.
type Field = (String, String);

fn field(name: &str, value: impl Into<String>) -> Field {
    (name.to_owned(), value.into())
}

fn assignment_fields(record: &proto::Assignment) -> Vec<Field> {
    let labels = record.labels.iter().map(|(key, value)| field(&format!("label {key}"), value));
    let texts = TextField::ALL.map(|text| field(details::display_name(text), record.text(text)));
    let service_name = field("service name", &record.service_name);
    let expires = field("expires", record.expire_time.map(table::time).unwrap_or_default());
    iter::once(service_name).chain(texts).chain([expires]).chain(labels).collect()
}

/// The properties of a resource, except those that every update changes.
fn resource_fields(resource: &impl Resource) -> Vec<Field> {
    let mut properties = resource.properties();
    properties.retain(|(name, _)| !["updated", "revision", "etag"].contains(name));
    properties.into_iter().map(|(name, value)| field(name, value)).collect()
}

fn namespace_view(namespace: &proto::Namespace) -> NamespaceView {
    Some(namespace.clone()).into()
}

fn pool_view(pool: &proto::Pool) -> PoolView {
    Some(pool.clone()).into()
}

/// `description: old → new` for each changed field.
fn differences(before: &[Field], after: &[Field]) -> Vec<String> {
    let value = |fields: &[Field], name: &str| {
        let field = fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    // The names of both sides in order, each once.
    let mut seen = BTreeSet::new();
    let names = before.iter().chain(after).map(|(name, _)| name).filter(|name| seen.insert(*name));
    let changed = names.map(|name| (name, value(before, name), value(after, name)));
    changed
        .filter(|(_, old, new)| old != new)
        .map(|(name, old, new)| format!("{name}: {} → {}", table::cell(&old), table::cell(&new)))
        .collect()
}

/// The change as a JSON object, in the field order of the API.
pub(in crate::cli) fn object(change: &proto::Change) -> Value {
    json!({
        "revision": change.revision,
        "position": change.position,
        "time": timestamp(change.time),
        "actor": text(&change.actor),
        "reason": text(&change.reason),
        "kind": enum_names::name(change.kind()),
        "before": change.before.as_ref().map(record::object),
        "after": change.after.as_ref().map(record::object),
        "namespace_before": change.namespace_before.as_ref().map(|namespace| namespace_view(namespace).object()),
        "namespace_after": change.namespace_after.as_ref().map(|namespace| namespace_view(namespace).object()),
        "pool_before": change.pool_before.as_ref().map(|pool| pool_view(pool).object()),
        "pool_after": change.pool_after.as_ref().map(|pool| pool_view(pool).object()),
        "cool_down_end_time": timestamp(change.cool_down_end_time),
    })
}

/// The change as a flat object.
pub(in crate::cli) fn row(change: &proto::Change) -> Value {
    let record = assignment(change).cloned().unwrap_or_default();
    let ports = record.ports.unwrap_or_default();
    json!({
        "revision": change.revision,
        "position": change.position,
        "time": timestamp(change.time),
        "actor": text(&change.actor),
        "reason": text(&change.reason),
        "kind": enum_names::name(change.kind()),
        "namespace": text(namespace_name(change)),
        "service_name": text(&record.service_name),
        "first_port": ports.first,
        "last_port": ports.last,
        "transport": enum_names::transport(record.transport()),
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
    fn an_update_lists_the_changed_fields() {
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
    fn leases_and_cool_downs_show_their_end_times() {
        let leased = proto::Assignment { expire_time: Some(at(0)), pool: "web".into(), ..record() };
        let renewed = proto::Assignment { expire_time: Some(at(3600)), ..leased.clone() };
        let change = |before: Option<&proto::Assignment>, after: Option<&proto::Assignment>| {
            let (before, after) = (before.cloned(), after.cloned());
            details(&proto::Change { before, after, ..proto::Change::default() })
        };
        assert_eq!(change(None, Some(&leased)), "from pool web; expires 1970-01-01T00:00:00Z");
        assert_eq!(
            change(Some(&leased), Some(&renewed)),
            "expires: 1970-01-01T00:00:00Z → 1970-01-01T01:00:00Z"
        );
        let released = proto::Change {
            before: Some(renewed),
            cool_down_end_time: Some(at(60)),
            ..proto::Change::default()
        };
        assert_eq!(details(&released), "cooling down until 1970-01-01T00:01:00Z");
    }

    #[test]
    fn changes_of_namespaces_and_pools_show_their_names() {
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
        let deleted =
            proto::Change { namespace_before: Some(namespace), ..proto::Change::default() };
        assert_eq!((details(&deleted).as_str(), namespace_name(&deleted)), ("prod", "prod"));
    }

    #[test]
    fn rows_and_objects_of_all_changes_have_the_same_fields() {
        let keys = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let full = proto::Change { after: Some(record()), ..proto::Change::default() };
        assert_eq!(keys(row(&full)), keys(row(&proto::Change::default())));
        assert_eq!(keys(object(&full)), keys(object(&proto::Change::default())));
        assert_eq!(row(&full)["service_name"], "billing");
    }
}
