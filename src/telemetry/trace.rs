//! Traces: exports the spans of calls to a collector (OTLP over gRPC).

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::grpc::layer::trace::Tracing;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Exports spans.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Exports to this collector the spans of calls whose caller samples them, and this ratio of the
    /// others.
    pub(super) fn new(endpoint: &str, ratio: f64) -> Result<Self, ExporterBuildError> {
        let exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(TIMEOUT);
        let sampler = Box::new(Sampler::TraceIdRatioBased(ratio));
        let resource = Resource::builder().with_service_name("portbook").build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter.build()?)
            .with_sampler(Sampler::ParentBased(sampler))
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    /// Creates spans.
    pub(super) fn tracing(&self) -> Tracing {
        Tracing::new(self.0.tracer("portbook"))
    }

    /// Exports the remaining spans. Blocks, so it must not be called on an async thread.
    pub(super) fn flush(self) {
        if let Err(error) = self.0.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(error = %error, "the last spans could not be sent");
        }
    }
}
