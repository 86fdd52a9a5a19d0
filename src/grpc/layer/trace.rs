//! Spans of calls, in the caller's trace or in a new one.

use std::net::SocketAddr;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanKind, Status as SpanStatus, Tracer as _};
use opentelemetry::{KeyValue, trace::SpanBuilder};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use tonic::Code;

use crate::access::Token;
use crate::grpc::rpcs::Rpc;
use crate::metrics::CODES;

/// Creates the spans of calls.
#[derive(Clone, Debug)]
pub struct Tracing(SdkTracer);

/// The span of a call.
#[derive(Debug)]
pub struct Span(opentelemetry_sdk::trace::Span);

impl Tracing {
    /// Creates spans with this tracer.
    #[must_use]
    pub const fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// Starts the span of a call, as a child of the caller's span (W3C Trace Context).
    #[must_use]
    pub fn start(&self, rpc: &Rpc, headers: &HeaderMap, peer: SocketAddr) -> Span {
        let parent = TraceContextPropagator::new().extract(&Carrier(headers));
        let attributes = vec![
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", rpc.service),
            KeyValue::new("rpc.method", rpc.method),
            KeyValue::new("network.peer.address", peer.ip().to_string()),
            KeyValue::new("network.peer.port", i64::from(peer.port())),
        ];
        let span = SpanBuilder::from_name(rpc.name())
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        Span(self.0.build_with_context(span, &parent))
    }
}

impl Span {
    /// Ends the span with the status of its call.
    pub fn end(mut self, code: Code, reason: Option<&str>, caller: Option<&Token>) {
        self.0.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
        if let Some(caller) = caller {
            self.0.set_attribute(KeyValue::new("user.name", caller.name.to_string()));
        }
        // A client's mistake is not an error of the server (OpenTelemetry's conventions for gRPC).
        let is_server_error = matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        );
        if is_server_error {
            let description = reason.unwrap_or(CODES[code as usize]);
            self.0.set_status(SpanStatus::error(description.to_owned()));
        }
        self.0.end();
    }
}

struct Carrier<'h>(&'h HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|key| key.as_str()).collect()
    }
}
