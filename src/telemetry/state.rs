//! The state of the registry as metrics, read when they are asked for.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::registry::assignment::Source;
use crate::registry::usage::usage;
use crate::store::sqlite;
use crate::writer::RegistryHandle;

/// What there is to tell of a registry.
#[derive(Clone, Debug)]
pub(super) struct State {
    database: PathBuf,
    registrar: Arc<OnceLock<RegistryHandle>>,
}

impl State {
    /// Tells of the registry in this file, once there is one.
    pub(super) fn new(database: PathBuf) -> Self {
        Self { database, registrar: Arc::default() }
    }

    /// There is a registry now.
    pub(super) fn is_of(&self, registrar: RegistryHandle) {
        // There is one registry in a process.
        let _ = self.registrar.set(registrar);
    }

    /// Whether there is a registry, and somebody to write to it.
    pub(super) fn is_running(&self) -> bool {
        self.registrar.get().is_some_and(RegistryHandle::is_running)
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let bytes = sqlite::size(&self.database);
        let help = "How large the database is, with its write-ahead log";
        let metric = encoder.encode_descriptor("database_bytes", help, None, gauge)?;
        ConstGauge::new(bytes).encode(metric)?;
        let Some(registrar) = self.registrar.get() else { return Ok(()) };
        let snapshot = registrar.snapshot();

        let help = "Commands that wait for the writer";
        let metric = encoder.encode_descriptor("writer_queue_depth", help, None, gauge)?;
        ConstGauge::new(registrar.queued() as u64).encode(metric)?;
        let metric = encoder.encode_descriptor("revision", "The last revision", None, gauge)?;
        ConstGauge::new(snapshot.revision().0).encode(metric)?;

        let help = "Assignments, by source";
        let mut metric = encoder.encode_descriptor("assignments", help, None, gauge)?;
        let records = snapshot.reference().records();
        for source in Source::ALL {
            let count = match source {
                Source::Custom => snapshot.size() - records.len(),
                source => records.iter().filter(|record| record.source() == source).count(),
            };
            let labels = [("source", source.name())];
            ConstGauge::new(count as u64).encode(metric.encode_family(&labels)?)?;
        }

        let help = "Ports of pools, by what they are";
        let mut metric = encoder.encode_descriptor("pool_ports", help, None, gauge)?;
        for view in snapshot.views_after(None) {
            for pool in view.pools() {
                let of = usage(view, pool, registrar.now());
                let parts = [
                    ("held", of.held),
                    ("cooling", of.cooling),
                    ("skipped", of.skipped),
                    ("free", of.free),
                ];
                for (status, ports) in parts {
                    let labels = [
                        ("namespace", pool.namespace.as_str()),
                        ("pool", pool.name.as_str()),
                        ("status", status),
                    ];
                    ConstGauge::new(ports).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
