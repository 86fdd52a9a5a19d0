//! The state of the registry as metrics, read at each scrape.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::registry::assignment::Source;
use crate::registry::usage::usage;
use crate::store::SizeReader;
use crate::writer::RegistryHandle;

/// Collects the metrics of the registry.
#[derive(Clone, Default)]
pub(super) struct RegistryMetrics {
    registry: Arc<OnceLock<(RegistryHandle, SizeReader)>>,
}

impl RegistryMetrics {
    /// Sets the registry and the size of its database.
    pub(super) fn set_registry(&self, handle: RegistryHandle, size: SizeReader) {
        // A process has one registry.
        let _ = self.registry.set((handle, size));
    }

    /// Whether the registry is loaded and its writer is running.
    pub(super) fn is_running(&self) -> bool {
        self.registry.get().is_some_and(|(handle, _)| handle.is_running())
    }
}

impl fmt::Debug for RegistryMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryMetrics")
    }
}

impl Collector for RegistryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let Some((handle, size)) = self.registry.get() else { return Ok(()) };
        let help = "Size of the database including its write-ahead log";
        let metric = encoder.encode_descriptor("database_bytes", help, None, gauge)?;
        ConstGauge::new(size()).encode(metric)?;
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
