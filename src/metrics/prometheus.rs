//! What is recorded in the style of Prometheus.

use std::sync::OnceLock;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Label};

use super::{
    GRPC_SERVER_HANDLED_TOTAL, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT,
    REQUESTS_TOTAL, RESPONSE_BODY_BYTES, RESPONSE_BYTES_TOTAL, RESPONSE_FIRST_BYTE_SECONDS,
    RESPONSE_FRAME_GAP_SECONDS, RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL,
    SSE_EVENT_GAP_SECONDS, SSE_EVENTS_TOTAL, SSE_FIRST_EVENT_SECONDS,
    labels::{GrpcCode, Kind},
    set::{ByStatus, End, Registry, as_f64, status_label},
};
use crate::observe::Outcome;

/// The handles of one label set.
#[derive(Debug, Default)]
pub(super) struct Prometheus {
    in_flight: OnceLock<Gauge>,
    request_body_bytes: OnceLock<Histogram>,
    live_bytes: OnceLock<Counter>,
    events: OnceLock<Counter>,
    first_event: OnceLock<Histogram>,
    event_gap: OnceLock<Histogram>,
    kinds: [OfKind; Kind::COUNT],
    statuses: ByStatus<OfStatus>,
    calls: [OnceLock<Counter>; GrpcCode::COUNT],
}

#[derive(Debug, Default)]
struct OfKind {
    head: OnceLock<Histogram>,
    first_byte: OnceLock<Histogram>,
    frame_gap: OnceLock<Histogram>,
    duration: OnceLock<Histogram>,
    body_bytes: OnceLock<Histogram>,
}

#[derive(Debug, Default)]
struct OfStatus {
    requests: OnceLock<Counter>,
    ended: [OnceLock<Counter>; Outcome::COUNT],
}

impl Prometheus {
    pub(super) fn in_flight(&self, registry: &Registry) -> &Gauge {
        self.in_flight
            .get_or_init(|| registry.gauge(REQUESTS_IN_FLIGHT, |_| true))
    }

    pub(super) fn on_request(&self, registry: &Registry, bytes: u64) {
        self.request_body_bytes
            .get_or_init(|| registry.histogram(REQUEST_BODY_BYTES, []))
            .record(as_f64(bytes));
    }

    pub(super) fn on_response(
        &self,
        registry: &Registry,
        status: StatusCode,
        kind: Kind,
        seconds: f64,
    ) {
        self.count(registry, status);
        let series = &self.kinds[kind as usize].head;
        record(registry, series, RESPONSE_HEAD_SECONDS, kind, seconds);
    }

    pub(super) fn on_first_byte(&self, registry: &Registry, kind: Kind, seconds: f64) {
        let series = &self.kinds[kind as usize].first_byte;
        record(registry, series, RESPONSE_FIRST_BYTE_SECONDS, kind, seconds);
    }

    pub(super) fn on_frame_gap(&self, registry: &Registry, kind: Kind, seconds: f64) {
        let series = &self.kinds[kind as usize].frame_gap;
        record(registry, series, RESPONSE_FRAME_GAP_SECONDS, kind, seconds);
    }

    pub(super) fn on_live_bytes(&self, registry: &Registry, bytes: u64) {
        self.live_bytes
            .get_or_init(|| registry.counter(RESPONSE_BYTES_TOTAL, []))
            .increment(bytes);
    }

    pub(super) fn on_events(&self, registry: &Registry, events: u64) {
        self.events
            .get_or_init(|| registry.counter(SSE_EVENTS_TOTAL, []))
            .increment(events);
    }

    pub(super) fn on_first_event(&self, registry: &Registry, seconds: f64) {
        self.first_event
            .get_or_init(|| registry.histogram(SSE_FIRST_EVENT_SECONDS, []))
            .record(seconds);
    }

    pub(super) fn on_event_gaps(&self, registry: &Registry, seconds: f64, count: usize) {
        self.event_gap
            .get_or_init(|| registry.histogram(SSE_EVENT_GAP_SECONDS, []))
            .record_many(seconds, count);
    }

    pub(super) fn on_end(&self, registry: &Registry, end: &End) {
        let status = registry.settings().status_of(end);
        let had_head = end.status.is_some();
        if !had_head {
            self.count(registry, status);
        }
        self.statuses.of(Some(status)).ended[end.outcome as usize]
            .get_or_init(|| {
                let outcome = Label::from_static_parts("outcome", end.outcome.as_str());
                registry.counter(RESPONSES_ENDED_TOTAL, [status_label(status), outcome])
            })
            .increment(1);
        let kind = &self.kinds[end.kind as usize];
        record(
            registry,
            &kind.duration,
            REQUEST_DURATION_SECONDS,
            end.kind,
            end.seconds,
        );
        if had_head {
            let bytes = as_f64(end.response_bytes);
            record(
                registry,
                &kind.body_bytes,
                RESPONSE_BODY_BYTES,
                end.kind,
                bytes,
            );
        }
    }

    pub(super) fn on_call(&self, registry: &Registry, code: GrpcCode) {
        self.calls[code.index()]
            .get_or_init(|| {
                let code = Label::from_static_parts("grpc_code", code.camel_case());
                registry.counter(GRPC_SERVER_HANDLED_TOTAL, [code])
            })
            .increment(1);
    }

    fn count(&self, registry: &Registry, status: StatusCode) {
        self.statuses
            .of(Some(status))
            .requests
            .get_or_init(|| registry.counter(REQUESTS_TOTAL, [status_label(status)]))
            .increment(1);
    }
}

/// Records with the label `kind`.
fn record(
    registry: &Registry,
    series: &OnceLock<Histogram>,
    name: &'static str,
    kind: Kind,
    value: f64,
) {
    series
        .get_or_init(|| registry.histogram(name, [Label::from_static_parts("kind", kind.as_str())]))
        .record(value);
}
