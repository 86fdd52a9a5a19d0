//! Traces: the spans of calls, sent to a collector (OTLP over gRPC).

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::grpc::layer::trace::Tracing;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Where spans go, until they are flushed at the end.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Sends spans to this collector: of calls whose caller traces them, and this share of the others.
    pub(super) fn new(endpoint: &str, ratio: f64) -> Result<Self, ExporterBuildError> {
        let exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(TIMEOUT);
        let share = Box::new(Sampler::TraceIdRatioBased(ratio));
        let resource = Resource::builder().with_service_name("portbook").build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter.build()?)
            .with_sampler(Sampler::ParentBased(share))
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    /// Makes spans.
    pub(super) fn tracing(&self) -> Tracing {
        Tracing::new(self.0.tracer("portbook"))
    }

    /// Sends what was not sent yet; waits for it, so not to be called where others wait.
    pub(super) fn flush(self) {
        if let Err(fault) = self.0.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(%fault, "the last spans could not be sent");
        }
    }
}
