//! The output of pools.

use serde_json::{Value, json};

use crate::cli::output::resource::{self, codes, ranges, transports};
use crate::cli::output::{self, bar, clean, record, table};
use crate::cli::time_args::format_duration;
use crate::grpc::proto;

/// The properties that tables show of a pool.
fn properties(pool: &proto::Pool) -> [(&'static str, String); 8] {
    let cell = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        ("namespace", clean(&pool.namespace)),
        ("name", clean(&pool.name)),
        ("ports", ranges(&pool.ports)),
        ("transport", transports(&pool.transports)),
        ("excluded", cell(ranges(&pool.excluded_ports))),
        ("cool-down", cell(pool.cool_down.map(format_duration).unwrap_or_default())),
        ("accept", cell(codes(&pool.accept))),
        ("description", clean(&pool.description)),
    ]
}

fn summary_object(summary: &proto::PoolSummary) -> Value {
    let mut object = resource::pool(&summary.pool.clone().unwrap_or_default());
    let proto::PoolUsage { size, held, cooling, skipped, free } = summary.usage.unwrap_or_default();
    object["usage"] = json!({
        "size": size, "held": held, "cooling": cooling, "skipped": skipped, "free": free
    });
    object
}

/// The object as a flat CSV row: port ranges as text, and the usage at the top level.
fn flat(mut object: Value, pool: &proto::Pool) -> Value {
    object["ports"] = json!(ranges(&pool.ports));
    object["excluded_ports"] = json!(ranges(&pool.excluded_ports));
    let usage = object.as_object_mut().and_then(|fields| fields.remove("usage"));
    for (name, count) in usage.as_ref().and_then(Value::as_object).into_iter().flatten() {
        object[name] = count.clone();
    }
    object
}

/// Pools and their usage.
pub(super) struct Summaries {
    pub(super) pools: Vec<proto::PoolSummary>,
    pub(super) has_namespace: bool,
}

impl output::View for Summaries {
    fn table(&self) -> String {
        if self.pools.is_empty() {
            return String::new();
        }
        let rows = self.pools.iter().map(|summary| {
            let pool = summary.pool.clone().unwrap_or_default();
            let usage = bar::usage(&summary.usage.unwrap_or_default());
            let [(_, namespace), (_, name), (_, ports), (_, transport), .., (_, description)] =
                properties(&pool);
            let row = [name, ports, transport, usage, description];
            self.has_namespace.then_some(namespace).into_iter().chain(row).collect()
        });
        let header = ["NAME", "PORTS", "TRANSPORT", "USAGE", "DESCRIPTION"];
        let namespace = self.has_namespace.then_some("NAMESPACE");
        let header = namespace.into_iter().chain(header).map(String::from).collect();
        table::render(Some(header), rows)
    }

    fn objects(&self) -> Vec<Value> {
        self.pools.iter().map(summary_object).collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        let row = |summary: &proto::PoolSummary| {
            flat(summary_object(summary), &summary.pool.clone().unwrap_or_default())
        };
        self.pools.iter().map(row).collect()
    }

    fn empty_row(&self) -> Value {
        flat(summary_object(&proto::PoolSummary::default()), &proto::Pool::default())
    }
}

/// All fields of a pool.
pub(super) struct Details(pub(super) proto::PoolSummary);

impl output::View for Details {
    fn table(&self) -> String {
        let pool = self.0.pool.clone().unwrap_or_default();
        let rest = [
            ("usage", bar::usage(&self.0.usage.unwrap_or_default())),
            ("created", record::timestamp(pool.create_time).unwrap_or_default()),
            ("updated", record::timestamp(pool.update_time).unwrap_or_default()),
            ("revision", pool.revision.to_string()),
            ("etag", clean(&pool.etag)),
        ];
        table::properties(properties(&pool).into_iter().chain(rest))
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn csv_rows(&self) -> Vec<Value> {
        vec![flat(self.json(), &self.0.pool.clone().unwrap_or_default())]
    }

    fn json(&self) -> Value {
        summary_object(&self.0)
    }
}

/// A pool after a write.
pub(super) struct Written {
    pub(super) heading: String,
    pub(super) pool: proto::Pool,
}

impl output::View for Written {
    fn table(&self) -> String {
        let (header, row) = properties(&self.pool)
            .into_iter()
            .map(|(name, value)| (name.to_uppercase(), value))
            .unzip::<_, _, Vec<_>, Vec<_>>();
        format!("{}\n{}", self.heading, table::render(Some(header), [row]))
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn csv_rows(&self) -> Vec<Value> {
        vec![flat(self.json(), &self.pool)]
    }

    fn json(&self) -> Value {
        resource::pool(&self.pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::View;

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
        let pools = Summaries { pools: vec![summary], has_namespace: false };
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
