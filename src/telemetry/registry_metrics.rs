//! The state of the registry as metrics, read at each scrape.

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

/// Collects the metrics of the registry.
#[derive(Clone, Debug)]
pub(super) struct RegistryMetrics {
    database: PathBuf,
    handle: Arc<OnceLock<RegistryHandle>>,
}

impl RegistryMetrics {
    /// Metrics of the database file, and of the registry once it is set.
    pub(super) fn new(database: PathBuf) -> Self {
        Self { database, handle: Arc::default() }
    }

    /// Sets the registry.
    pub(super) fn set_registry(&self, handle: RegistryHandle) {
        // A process has one registry.
        let _ = self.handle.set(handle);
    }

    /// Whether the registry is loaded and its writer is running.
    pub(super) fn is_running(&self) -> bool {
        self.handle.get().is_some_and(RegistryHandle::is_running)
    }
}

impl Collector for RegistryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let bytes = sqlite::size(&self.database);
        let help = "Size of the database including its write-ahead log";
        let metric = encoder.encode_descriptor("database_bytes", help, None, gauge)?;
        ConstGauge::new(bytes).encode(metric)?;
        let Some(handle) = self.handle.get() else { return Ok(()) };
        let snapshot = handle.snapshot();

        let help = "Commands waiting for the writer";
        let metric = encoder.encode_descriptor("writer_queue_depth", help, None, gauge)?;
        ConstGauge::new(handle.queued() as u64).encode(metric)?;
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

        let help = "Ports of pools, by status";
        let mut metric = encoder.encode_descriptor("pool_ports", help, None, gauge)?;
        for view in snapshot.views_after(None) {
            for pool in view.pools() {
                let of = usage(view, pool, handle.now());
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
