//! The output of pools.

use serde_json::{Value, json};

use crate::cli::output::lists::{self, codes, ranges, transports};
use crate::cli::output::record::{text, timestamp};
use crate::cli::output::{bar, clean, enum_names, table};
use crate::cli::resource::{Property, Resource};
use crate::cli::time_args::format_duration;
use crate::grpc::proto;

/// The columns of `portbook pool list`.
pub(super) fn columns(has_namespace: bool) -> &'static [&'static str] {
    const COLUMNS: &[&str] = &["namespace", "name", "ports", "transport", "usage", "description"];
    if has_namespace { COLUMNS } else { &COLUMNS[1..] }
}

/// A pool, and its usage if it is known.
pub(in crate::cli) struct PoolView {
    pool: proto::Pool,
    usage: Option<proto::PoolUsage>,
}

impl From<proto::PoolSummary> for PoolView {
    fn from(summary: proto::PoolSummary) -> Self {
        let proto::PoolSummary { pool, usage } = summary;
        Self { pool: pool.unwrap_or_default(), usage: Some(usage.unwrap_or_default()) }
    }
}

impl From<Option<proto::Pool>> for PoolView {
    fn from(pool: Option<proto::Pool>) -> Self {
        Self { pool: pool.unwrap_or_default(), usage: None }
    }
}

impl Default for PoolView {
    fn default() -> Self {
        proto::PoolSummary::default().into()
    }
}

impl Resource for PoolView {
    const COLUMNS: &'static [&'static str] = &[
        "namespace",
        "name",
        "ports",
        "transport",
        "excluded",
        "cool-down",
        "accept",
        "description",
    ];

    fn properties(&self) -> Vec<Property> {
        let pool = &self.pool;
        let cool_down = pool.cool_down.map(format_duration).unwrap_or_default();
        vec![
            ("namespace", clean(&pool.namespace)),
            ("name", clean(&pool.name)),
            ("ports", ranges(&pool.ports)),
            ("transport", transports(&pool.transports)),
            ("excluded", table::cell(&ranges(&pool.excluded_ports))),
            ("cool-down", table::cell(&cool_down)),
            ("accept", table::cell(&codes(&pool.accept))),
            ("description", clean(&pool.description)),
            ("usage", bar::usage(&self.usage.unwrap_or_default())),
            ("created", timestamp(pool.create_time).unwrap_or_default()),
            ("updated", timestamp(pool.update_time).unwrap_or_default()),
            ("revision", pool.revision.to_string()),
            ("etag", clean(&pool.etag)),
        ]
    }

    fn object(&self) -> Value {
        let pool = &self.pool;
        let mut object = json!({
            "namespace": text(&pool.namespace),
            "name": text(&pool.name),
            "description": text(&pool.description),
            "ports": lists::range_objects(&pool.ports),
            "transports": enum_names::phrases::<proto::Transport>(&pool.transports),
            "excluded_ports": lists::range_objects(&pool.excluded_ports),
            "cool_down": pool.cool_down.map(|duration| duration.to_string()),
            "accept": lists::names(&pool.accept),
            "create_time": timestamp(pool.create_time),
            "update_time": timestamp(pool.update_time),
            "etag": text(&pool.etag),
            "revision": pool.revision,
        });
        if let Some(usage) = self.usage {
            let proto::PoolUsage { size, held, cooling, skipped, free } = usage;
            object["usage"] = json!({
                "size": size, "held": held, "cooling": cooling, "skipped": skipped, "free": free
            });
        }
        object
    }

    /// Port ranges as text, and the usage at the top level.
    fn csv_row(&self) -> Value {
        let mut row = self.object();
        row["ports"] = json!(ranges(&self.pool.ports));
        row["excluded_ports"] = json!(ranges(&self.pool.excluded_ports));
        let usage = row.as_object_mut().and_then(|fields| fields.remove("usage"));
        for (name, count) in usage.as_ref().and_then(Value::as_object).into_iter().flatten() {
            row[name] = count.clone();
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::View;
    use crate::cli::resource::List;

    #[test]
    fn a_pool_is_shown_with_its_usage_and_has_flat_csv_rows() {
        let single = |port| proto::PortRange { first: Some(port), last: Some(port) };
        let pool = proto::Pool {
            namespace: "default".into(),
            name: "web".into(),
            ports: vec![proto::PortRange { first: Some(8100), last: Some(8109) }, single(8200)],
            transports: vec![1, 2],
            ..proto::Pool::default()
        };
        let usage = proto::PoolUsage { size: 10, held: 5, cooling: 1, skipped: 0, free: 4 };
        let summary = proto::PoolSummary { pool: Some(pool), usage: Some(usage) };
        let pools = List { resources: vec![PoolView::from(summary)], columns: columns(false) };
        let expected = "\
NAME  PORTS            TRANSPORT  USAGE                                                          DESCRIPTION
web   8100-8109, 8200  tcp, udp   ██████████░░░░░░░░░░  5/10 held, 1 cooling, 0 skipped, 4 free
";
        assert_eq!(pools.table(), expected);
        let rows = pools.csv_rows();
        assert_eq!(rows[0]["ports"], "8100-8109, 8200");
        assert_eq!((&rows[0]["held"], rows[0].get("usage")), (&json!(5), None));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&rows[0]), keys(&pools.empty_row()));
    }
}
