//! [`MetricsLayer`]: metrics of whole exchanges, through the `metrics` facade.
//!
//! A layer that looks at response heads only takes an hour-long stream for 3 ms, and a client that
//! hung up for a success. This one follows each exchange to its end.
//!
//! ```
//! use tower_passthrough::metrics::MetricsLayer;
//!
//! let layer = MetricsLayer::builder()
//!     .service("gateway")
//!     .hosts(["api.example", "chat.example"])
//!     .path(|request| match request.uri.path() {
//!         path if path.starts_with("/v1/") => "/v1/*".into(),
//!         _ => "_other".into(),
//!     })
//!     .skip(|request| request.uri.path() == "/healthz")
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! # What is recorded
//!
//! | name | type | labels beside the base labels | when |
//! |---|---|---|---|
//! | [`http_requests_total`](REQUESTS_TOTAL) | counter | `status` | at the response head; without one at the end |
//! | [`http_requests_in_flight`](REQUESTS_IN_FLIGHT) | gauge | | from the call to the end of the exchange |
//! | [`http_response_head_seconds`](RESPONSE_HEAD_SECONDS) | histogram | `kind` | at the response head |
//! | [`http_response_first_byte_seconds`](RESPONSE_FIRST_BYTE_SECONDS) | histogram | `kind` | at the first data frame that is not empty, if `kind` is `stream` or `grpc` |
//! | [`http_request_duration_seconds`](REQUEST_DURATION_SECONDS) | histogram | `kind` | at the end |
//! | [`http_request_body_bytes`](REQUEST_BODY_BYTES) | histogram | | at the call, if the request says its length |
//! | [`http_response_body_bytes`](RESPONSE_BODY_BYTES) | histogram | `kind` | at the end, if there was a head |
//! | [`http_responses_ended_total`](RESPONSES_ENDED_TOTAL) | counter | `status`, `outcome` | at the end |
//! | [`grpc_server_handled_total`](GRPC_SERVER_HANDLED_TOTAL) | counter | `grpc_service`, `grpc_method`, `grpc_code` | at the end of a gRPC call |
//! | [`http_response_bytes_total`](RESPONSE_BYTES_TOTAL) | counter | | at each data frame, [if asked for](MetricsLayerBuilder::live_bytes) |
//! | [`http_response_frame_gap_seconds`](RESPONSE_FRAME_GAP_SECONDS) | histogram | `kind` | at each data frame but the first, [if asked for](MetricsLayerBuilder::frame_gaps) |
//! | [`http_sse_events_total`](SSE_EVENTS_TOTAL) | counter | | at each data frame that completes events, [if asked for](MetricsLayerBuilder::sse_events) |
//! | [`http_sse_first_event_seconds`](SSE_FIRST_EVENT_SECONDS) | histogram | | at the first of these |
//! | [`http_sse_event_gap_seconds`](SSE_EVENT_GAP_SECONDS) | histogram | | at these, for each event but the first |
//! | [`http_metrics_overflow_total`](OVERFLOW_TOTAL) | counter | only `service` | when there is [no room](#bounds) |
//!
//! Base labels:
//! - `service`, `host`: if set on the builder
//! - `method`: the method; what no RFC defines is `_OTHER`
//! - `path`: if set on the builder; with the feature `axum` the route that axum matched, if it
//!   matched one
//! - [labels of your own](MetricsLayerBuilder::request_label)
//!
//! The others:
//! - `status`: the response's status. Without a response head `499` if the future was dropped
//!   (the client left, or a timeout struck), `500` if the service failed or panicked; both can be
//!   set
//! - `outcome`: [how the exchange ended](crate::observe::Outcome)
//! - `kind`: `upgrade` for 101 and for 2xx to CONNECT; `grpc` for content type
//!   `application/grpc*`; `stream` for `text/event-stream`, `application/x-ndjson` and what has
//!   no length at the head, unless its status or HEAD allows it no content; else `unary`. Without
//!   a head `grpc` for a gRPC call, else `unary`
//! - `grpc_code`: `OK`, `NotFound` and so on: what `grpc-status` says in the trailers or the header
//!   fields. If it is nowhere, what a client makes of that: `Canceled` if the client left,
//!   `Internal` if the service or its body failed, else what gRPC maps the HTTP status to; of 200
//!   that is `Unknown`. A call with the content type of gRPC-Web is not counted here: its status is
//!   in the body
//! - `grpc_service`, `grpc_method`: from the path, once a call of it was answered with content type
//!   `application/grpc*`. Until then, and if the code is `Unimplemented`, they are `_other`: any
//!   client can name any method. If a service answers every path like that, and not with
//!   `Unimplemented`, they are bounded [as paths are](#bounds)
//!
//! Durations are in seconds, sizes in bytes. They tell what was handed to the server, and when:
//! how much of it reached the client, and when, is not known here. An upgraded exchange ends as
//! [`Tunnel`](crate::observe::Tunnel) says.
//!
//! # OpenTelemetry style
//!
//! With [`opentelemetry`](MetricsLayerBuilder::opentelemetry) these are recorded instead, as
//! version 1.44.0 of the semantic conventions names them ([`semconv`]):
//!
//! | name | type | attributes | when |
//! |---|---|---|---|
//! | `http.server.active_requests` | gauge | `http.request.method`, `url.scheme`, `server.address` | from the call to the end of the exchange |
//! | `http.server.request.duration` | histogram | those, `network.protocol.version`, `http.route`, `http.response.status_code`, `error.type` | at the end |
//! | `http.server.request.body.size` | histogram | the same | at the end, if the request says its length |
//! | `http.server.response.body.size` | histogram | the same | at the end, if there was a head |
//! | `rpc.server.call.duration` | histogram | `rpc.system.name`, `rpc.method`, `rpc.response.status_code`, `error.type` | at the end of a gRPC call |
//! | `http_metrics_overflow_total` | counter | | when there is [no room](#bounds) |
//!
//! All have `service.name`, if a service is set; those of `http.server` have the
//! [labels of your own](MetricsLayerBuilder::request_label). `server.address` and `http.route` are
//! there as `host` and `path` are above; `http.response.status_code` is not, if there was no head.
//!
//! `error.type` of HTTP is the [outcome](crate::observe::Outcome), if that is neither `complete` nor
//! `upgraded`, else a status of 5xx; a client that left mid-body thus keeps its status, and has
//! `error.type="disconnected"`. `error.type` of a gRPC call is its status code, if that says that
//! the server failed: `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`,
//! `DATA_LOSS`.
//!
//! Where the conventions are silent, or not followed:
//! - They do not say what the duration of a streamed response is: here it runs to the end of the
//!   body. Nor whether a client that leaves is an error of the server's: here it is told as one.
//! - They want a way to set the list of known methods: here it is fixed.
//! - `url.scheme` is that of the request's target, else [what is set](MetricsLayerBuilder::scheme):
//!   nothing is read from `Forwarded` fields, which any client can write.
//! - `rpc.method` must be `_OTHER` if the server does not know the method: here, if it answers
//!   `UNIMPLEMENTED`, or has not answered a call of it yet.
//! - The up-down counter is a gauge, since the facade has no other.
//!
//! # Bounds
//!
//! Clients choose hosts, paths and methods; unbounded, label sets would be a memory attack. Of each
//! combination of labels the layer holds the handles, up to
//! [`max_label_sets`](MetricsLayerBuilder::max_label_sets). What comes then and is not held already
//! is recorded with `_other` for each base label but `service` (the method too, which is `_OTHER` if
//! only the method is not known), for each label from the response and for the names of a gRPC
//! method, and counted in [`http_metrics_overflow_total`](OVERFLOW_TOTAL). Values of more than 256
//! bytes are `_other` too.
//!
//! # Recorders
//!
//! Metrics go to the recorder that is installed when they are recorded, or to that of the thread
//! (`metrics::with_local_recorder`), as those of the facade's macros do; or to one
//! [that was given](MetricsLayerBuilder::recorder). What is recorded before one is installed is
//! lost. The in-flight gauge comes down in the recorder in which it went up.
//!
//! - The first exchange of a layer for a recorder that was not given starts a thread, and waits for it:
//!   a new thread has no recorder of its own, and so tells whether this one is there for all. If none
//!   can be started, the next exchange tries again.
//! - Handles of an installed recorder are kept for
//!   [some seconds](MetricsLayerBuilder::handle_ttl): a known label set costs no allocation. A
//!   recorder that is local to a thread is asked each time; that is for tests. If one takes the
//!   place of another at the same address, it is not told the descriptions again, and finds as much
//!   room for label sets as the other left.
//! - An exporter's idle timeout also forgets gauges: those of exchanges that are quiet for longer
//!   are missing until the next one begins, and then do not count the quiet ones. Let it spare
//!   gauges.
//! - Exporters may keep samples of histograms until they are drained:
//!   `PrometheusHandle::run_upkeep` is to be called now and then, if nobody scrapes.
//!
//! Exporters for Prometheus may render histograms as summaries unless they are given buckets, and
//! summaries cannot be aggregated over replicas. [`HEAD_SECONDS_BUCKETS`],
//! [`DURATION_SECONDS_BUCKETS`] and [`BODY_BYTES_BUCKETS`] fit what is recorded here:
//!
//! ```
//! use metrics_exporter_prometheus::{BuildError, Matcher::{Full, Suffix}, PrometheusBuilder};
//! use tower_passthrough::metrics::{
//!     BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS, REQUEST_DURATION_SECONDS,
//!     semconv,
//! };
//!
//! fn with_buckets(builder: PrometheusBuilder) -> Result<PrometheusBuilder, BuildError> {
//!     builder
//!         .set_buckets_for_metric(Suffix("_seconds".into()), HEAD_SECONDS_BUCKETS)?
//!         .set_buckets_for_metric(Full(REQUEST_DURATION_SECONDS.into()), DURATION_SECONDS_BUCKETS)?
//!         .set_buckets_for_metric(Suffix("_body_bytes".into()), BODY_BYTES_BUCKETS)
//! }
//!
//! fn with_conventional_buckets(builder: PrometheusBuilder) -> Result<PrometheusBuilder, BuildError> {
//!     builder
//!         .set_buckets_for_metric(Full(semconv::REQUEST_DURATION.into()), semconv::DURATION_BUCKETS)?
//!         .set_buckets_for_metric(Full(semconv::RPC_DURATION.into()), semconv::DURATION_BUCKETS)?
//!         .set_buckets_for_metric(Full(semconv::REQUEST_BODY_SIZE.into()), BODY_BYTES_BUCKETS)?
//!         .set_buckets_for_metric(Full(semconv::RESPONSE_BODY_SIZE.into()), BODY_BYTES_BUCKETS)
//! }
//!
//! let builder = with_conventional_buckets(with_buckets(PrometheusBuilder::new())?)?;
//! # let _ = builder;
//! # Ok::<(), BuildError>(())
//! ```

mod builder;
mod checks;
mod key;
mod labels;
mod names;
mod observer;
mod opentelemetry;
mod prometheus;
mod set;
mod settings;
mod source;
mod table;

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use self::table::Table;
pub use self::{
    builder::MetricsLayerBuilder,
    names::{
        BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, GRPC_SERVER_HANDLED_TOTAL,
        HEAD_SECONDS_BUCKETS, OVERFLOW_TOTAL, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS,
        REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES, RESPONSE_BYTES_TOTAL,
        RESPONSE_FIRST_BYTE_SECONDS, RESPONSE_FRAME_GAP_SECONDS, RESPONSE_HEAD_SECONDS,
        RESPONSES_ENDED_TOTAL, SSE_EVENT_GAP_SECONDS, SSE_EVENTS_TOTAL, SSE_FIRST_EVENT_SECONDS,
        semconv,
    },
    observer::MetricsObserver,
};
use crate::{
    RequestHead,
    observe::{MakeObserver, Moment, Observe},
};

/// Records metrics of each exchange, from its request to its end.
///
/// See the [module docs](self) for what is recorded. Clones share their settings and handles.
#[derive(Clone)]
pub struct MetricsLayer {
    table: Arc<Table>,
}

impl MetricsLayer {
    /// A builder for a layer that records all metrics, with the one label that needs no choice:
    /// `method`.
    pub fn builder() -> MetricsLayerBuilder {
        MetricsLayerBuilder::new()
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Observe<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe::new(inner, self.clone())
    }
}

impl MakeObserver for MetricsLayer {
    type Observer = MetricsObserver;

    fn observe(&self, request: &RequestHead<'_>, at: &Moment) -> Option<MetricsObserver> {
        let skip = self.table.settings().skip.as_ref();
        if skip.is_some_and(|skip| skip(request)) {
            return None;
        }
        Some(MetricsObserver::begin(&self.table, request, at))
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer")
            .field("settings", self.table.settings())
            .finish_non_exhaustive()
    }
}
