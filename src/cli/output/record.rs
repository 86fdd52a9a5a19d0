//! Assignments as JSON: every field of the API, absent fields as null.

use serde_json::{Value, json};

use super::enum_names;
use crate::grpc::proto;

/// The assignment as a JSON object, in the field order of the API.
pub(in crate::cli) fn object(record: &proto::Assignment) -> Value {
    let ports = record.ports.unwrap_or_default();
    json!({
        "uid": text(&record.uid),
        "source": enum_names::name(record.source()),
        "namespace": text(&record.namespace),
        "service_name": text(&record.service_name),
        "aliases": record.aliases,
        "first_port": ports.first,
        "last_port": ports.last,
        "transport": enum_names::transport(record.transport()),
        "state": enum_names::name(record.state()),
        "description": text(&record.description),
        "assignee": text(&record.assignee),
        "contact": text(&record.contact),
        "reference": text(&record.reference),
        "registration_date": text(&record.registration_date),
        "modification_date": text(&record.modification_date),
        "service_code": text(&record.service_code),
        "unauthorized_use_reported": text(&record.unauthorized_use_reported),
        "assignment_notes": text(&record.assignment_notes),
        "labels": record.labels,
        "guide": text(&record.guide),
        "create_time": timestamp(record.create_time),
        "update_time": timestamp(record.update_time),
        "etag": text(&record.etag),
        "revision": (record.revision != 0).then_some(record.revision),
        "expire_time": timestamp(record.expire_time),
        "ttl": record.ttl.map(|ttl| ttl.to_string()),
        "pool": text(&record.pool),
        "instance": text(&record.instance),
        "url": text(&record.url),
    })
}

/// A time in RFC 3339 with its full precision.
pub(in crate::cli) fn timestamp(time: Option<prost_types::Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// The assignments as JSON objects.
pub(in crate::cli) fn objects(records: &[proto::Assignment]) -> Vec<Value> {
    records.iter().map(object).collect()
}

/// The text, or `None` if it is empty.
pub(in crate::cli) fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::details::DetailedMessage;
    use crate::registry::details::TextField;

    #[test]
    fn every_descriptive_field_is_a_key() {
        let mut record = proto::Assignment::default();
        for field in TextField::ALL {
            field.name().clone_into(record.text_mut(field));
        }
        let object = object(&record);
        for field in TextField::ALL {
            assert_eq!(object[field.name()], field.name());
        }
    }

    #[test]
    fn absent_fields_are_null_and_times_are_rfc_3339() {
        let time = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_456_000 };
        let record = proto::Assignment {
            transport: 1,
            ports: Some(proto::PortRange { first: Some(0), last: Some(7) }),
            create_time: Some(time),
            ttl: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            ..proto::Assignment::default()
        };
        let object = object(&record);
        assert_eq!(object["create_time"], "2023-11-14T22:13:20.123456Z");
        assert_eq!(object["transport"], "tcp");
        assert_eq!((&object["first_port"], &object["last_port"]), (&json!(0), &json!(7)));
        for field in ["uid", "source", "service_name", "description", "update_time", "revision"] {
            assert_eq!(object[field], Value::Null, "{field}");
        }
        assert_eq!(object["labels"], json!({}));
        assert_eq!(object["ttl"], "3600s");
        let fields: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields[23..], ["revision", "expire_time", "ttl", "pool", "instance", "url"]);
    }
}
