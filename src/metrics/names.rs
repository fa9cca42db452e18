//! The names of the metrics, what they mean, and buckets that fit them.

use metrics::Unit;

/// Counter: requests by status, counted as soon as the status is known. Labels: the base labels
/// and `status`.
pub const REQUESTS_TOTAL: &str = "http_requests_total";

/// Gauge: exchanges that are not over. Labels: the base labels.
pub const REQUESTS_IN_FLIGHT: &str = "http_requests_in_flight";

/// Histogram, in seconds: from the call of the service to its response head. Labels: the base
/// labels and `kind`.
pub const RESPONSE_HEAD_SECONDS: &str = "http_response_head_seconds";

/// Histogram, in seconds: from the call of the service to the first data frame that is not empty,
/// of the kinds `stream` and `grpc`. Labels: the base labels and `kind`.
pub const RESPONSE_FIRST_BYTE_SECONDS: &str = "http_response_first_byte_seconds";

/// Histogram, in seconds: from the call of the service to the end of the exchange. Labels: the
/// base labels and `kind`.
pub const REQUEST_DURATION_SECONDS: &str = "http_request_duration_seconds";

/// Histogram, in bytes: how long the request's body says that it is, if it does: its
/// `content-length`, else its exact size hint. Labels: the base labels.
pub const REQUEST_BODY_BYTES: &str = "http_request_body_bytes";

/// Histogram, in bytes: what the response body handed to the server. Labels: the base labels and
/// `kind`.
pub const RESPONSE_BODY_BYTES: &str = "http_response_body_bytes";

/// Counter: exchanges that are over. Labels: the base labels, `status` and `outcome`.
pub const RESPONSES_ENDED_TOTAL: &str = "http_responses_ended_total";

/// Counter: gRPC calls that are over. Labels: the base labels, `grpc_service`, `grpc_method` and
/// `grpc_code`.
pub const GRPC_SERVER_HANDLED_TOTAL: &str = "grpc_server_handled_total";

/// Counter, in bytes: what response bodies hand to the server, frame by frame. Labels: the base
/// labels. Only with [`live_bytes`](super::MetricsLayerBuilder::live_bytes).
pub const RESPONSE_BYTES_TOTAL: &str = "http_response_bytes_total";

/// Histogram, in seconds: between two data frames of a response. Labels: the base labels and
/// `kind`. Only with [`frame_gaps`](super::MetricsLayerBuilder::frame_gaps).
pub const RESPONSE_FRAME_GAP_SECONDS: &str = "http_response_frame_gap_seconds";

/// Counter: server-sent events that response bodies hand to the server, as a client counts them: blank
/// lines that a `data` field precedes. Labels: the base labels. Only with
/// [`sse_events`](super::MetricsLayerBuilder::sse_events).
pub const SSE_EVENTS_TOTAL: &str = "http_sse_events_total";

/// Histogram, in seconds: from the call of the service to the frame that completes the first event
/// of an event stream, such as the first token of a language model. Labels: the base labels. Only with
/// [`sse_events`](super::MetricsLayerBuilder::sse_events).
pub const SSE_FIRST_EVENT_SECONDS: &str = "http_sse_first_event_seconds";

/// Histogram, in seconds: between the frames that complete two events of an event stream; 0 if it is
/// the same. Labels: the base labels. Only with
/// [`sse_events`](super::MetricsLayerBuilder::sse_events).
pub const SSE_EVENT_GAP_SECONDS: &str = "http_sse_event_gap_seconds";

/// Counter: exchanges that were recorded under `_other`, because there was no room for their
/// labels. Labels: `service`, if it is set.
pub const OVERFLOW_TOTAL: &str = "http_metrics_overflow_total";

/// Buckets for [`RESPONSE_HEAD_SECONDS`], [`RESPONSE_FIRST_BYTE_SECONDS`],
/// [`RESPONSE_FRAME_GAP_SECONDS`], [`SSE_FIRST_EVENT_SECONDS`] and [`SSE_EVENT_GAP_SECONDS`]: 1 ms
/// to 30 s.
pub const HEAD_SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Buckets for [`REQUEST_DURATION_SECONDS`], where a stream may last: 1 ms to an hour.
pub const DURATION_SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0,
];

/// Buckets for [`REQUEST_BODY_BYTES`] and [`RESPONSE_BODY_BYTES`]: 256 B to 64 MiB.
pub const BODY_BYTES_BUCKETS: &[f64] = &[
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The metrics of the OpenTelemetry semantic conventions, version 1.44.0.
///
/// <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/> and
/// <https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/>
pub mod semconv {
    /// Histogram, in seconds: from the call of the service to the end of the exchange. Attributes:
    /// `http.request.method`, `url.scheme`, `network.protocol.version`, `http.route`,
    /// `server.address`, `service.name`, labels of one's own, `http.response.status_code`,
    /// `error.type`; each where [it is known](crate::metrics#opentelemetry-style).
    pub const REQUEST_DURATION: &str = "http.server.request.duration";

    /// Gauge: exchanges that are not over. Attributes: `http.request.method`, `url.scheme`,
    /// `server.address`, `service.name`, labels of one's own from the request.
    pub const ACTIVE_REQUESTS: &str = "http.server.active_requests";

    /// Histogram, in bytes: how long the request's body says that it is, if it does; recorded at
    /// the end. Attributes: those of [`REQUEST_DURATION`].
    pub const REQUEST_BODY_SIZE: &str = "http.server.request.body.size";

    /// Histogram, in bytes: what the response body handed to the server; recorded at the end, if
    /// there was a head. Attributes: those of [`REQUEST_DURATION`].
    pub const RESPONSE_BODY_SIZE: &str = "http.server.response.body.size";

    /// Histogram, in seconds: gRPC calls, from the call of the service to the end of the exchange.
    /// Attributes: `rpc.system.name`, `rpc.method`, `rpc.response.status_code`, `error.type`,
    /// `service.name`.
    pub const RPC_DURATION: &str = "rpc.server.call.duration";

    /// Buckets for [`REQUEST_DURATION`] and [`RPC_DURATION`], as the conventions advise them: 5 ms
    /// to 10 s. Streams that last longer all end in `+Inf`:
    /// [`DURATION_SECONDS_BUCKETS`](super::DURATION_SECONDS_BUCKETS) tells more of those.
    pub const DURATION_BUCKETS: &[f64] = &[
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
}

/// What sort of metric it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Instrument {
    Counter,
    Gauge,
    Histogram,
}

/// A metric as it is described to a recorder.
pub(super) type Description = (&'static str, Instrument, Unit, &'static str);

use Instrument::{Counter, Gauge, Histogram};

/// What the Prometheus style records. The first two are all that there is of
/// [`only_requests_total`](super::MetricsLayerBuilder::only_requests_total).
pub(super) const PROMETHEUS: &[Description] = &[
    (
        REQUESTS_TOTAL,
        Counter,
        Unit::Count,
        "Requests by response status, counted at the response head",
    ),
    (
        OVERFLOW_TOTAL,
        Counter,
        Unit::Count,
        "Exchanges recorded under _other for want of room",
    ),
    (
        REQUESTS_IN_FLIGHT,
        Gauge,
        Unit::Count,
        "Exchanges that are not over",
    ),
    (
        RESPONSE_HEAD_SECONDS,
        Histogram,
        Unit::Seconds,
        "Time to the response head",
    ),
    (
        RESPONSE_FIRST_BYTE_SECONDS,
        Histogram,
        Unit::Seconds,
        "Time to the first byte of a streamed response body",
    ),
    (
        REQUEST_DURATION_SECONDS,
        Histogram,
        Unit::Seconds,
        "Time to the end of the exchange",
    ),
    (
        REQUEST_BODY_BYTES,
        Histogram,
        Unit::Bytes,
        "Announced size of request bodies",
    ),
    (
        RESPONSE_BODY_BYTES,
        Histogram,
        Unit::Bytes,
        "Response body bytes handed to the server",
    ),
    (
        RESPONSES_ENDED_TOTAL,
        Counter,
        Unit::Count,
        "Exchanges that are over, by how they ended",
    ),
    (
        GRPC_SERVER_HANDLED_TOTAL,
        Counter,
        Unit::Count,
        "gRPC calls that are over, by status code",
    ),
    (
        RESPONSE_BYTES_TOTAL,
        Counter,
        Unit::Bytes,
        "Response body bytes handed to the server, as they pass",
    ),
    (
        RESPONSE_FRAME_GAP_SECONDS,
        Histogram,
        Unit::Seconds,
        "Time between two data frames of a response",
    ),
    (
        SSE_EVENTS_TOTAL,
        Counter,
        Unit::Count,
        "Server-sent events handed to the server, as they pass",
    ),
    (
        SSE_FIRST_EVENT_SECONDS,
        Histogram,
        Unit::Seconds,
        "Time to the first event of an event stream",
    ),
    (
        SSE_EVENT_GAP_SECONDS,
        Histogram,
        Unit::Seconds,
        "Time between two events of an event stream",
    ),
];

/// What the OpenTelemetry style records.
pub(super) const OPENTELEMETRY: &[Description] = &[
    (
        semconv::REQUEST_DURATION,
        Histogram,
        Unit::Seconds,
        "Duration of HTTP server requests, to the end of the response body",
    ),
    (
        semconv::ACTIVE_REQUESTS,
        Gauge,
        Unit::Count,
        "Number of active HTTP server requests",
    ),
    (
        semconv::REQUEST_BODY_SIZE,
        Histogram,
        Unit::Bytes,
        "Size of HTTP server request bodies",
    ),
    (
        semconv::RESPONSE_BODY_SIZE,
        Histogram,
        Unit::Bytes,
        "Size of HTTP server response bodies",
    ),
    (
        semconv::RPC_DURATION,
        Histogram,
        Unit::Seconds,
        "Duration of incoming remote procedure calls",
    ),
    (
        OVERFLOW_TOTAL,
        Counter,
        Unit::Count,
        "Exchanges recorded under _other for want of room",
    ),
];
