//! The rows of the tables: every layer that is measured, ours and others'.

use axum_otel_metrics::HttpMetricsLayerBuilder;
use axum_prometheus::BaseMetricLayer;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Empty;
use opentelemetry_instrumentation_tower::http::server;
use tower::{
    Layer, Service, layer::util::Identity, limit::ConcurrencyLimitLayer, util::MapResponseLayer,
};
use tower_http::{
    metrics::InFlightRequestsLayer,
    on_early_drop::{EarlyDropsAsFailures, OnEarlyDropLayer},
    set_header::SetResponseHeaderLayer,
    trace::{DefaultOnFailure, TraceLayer},
};
use tower_otel::metrics::HttpLayer;
use tower_otel_http_metrics::HTTPMetricsLayerBuilder;
use tower_passthrough::{headers::HeadersLayer, observe::ObserveLayer};

use super::{
    Answer, Frames, Load, Sort,
    exporters::Exporters,
    ours::{
        Count, Nothing, all, buffering_1000, buffering_auto, capture, concurrency_limit, drain,
        for_long_streams, idle_timeout, keep_alive, metrics, metrics_of_events, tap, three_headers,
    },
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bare,
    Ours,
    OurMetrics,
    Theirs,
    TheirMetrics,
}

pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// How many bytes its body is larger than the inner one.
    pub(crate) carried: usize,
    pub(crate) drive: Box<dyn Fn(Load)>,
}

impl Row {
    /// What this row costs more than the bare one; of the bare one, what it costs.
    pub(crate) fn over_bare(&self, cost: f64, bare: f64, digits: usize) -> String {
        if self.kind == Kind::Bare {
            format!("{cost:.digits$}")
        } else {
            format!("{:+.digits$}", cost - bare)
        }
    }
}

fn row<L, B>(kind: Kind, name: &'static str, layer: L) -> Row
where
    L: Layer<Answer> + 'static,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    of_sort(Sort::Plain, kind, name, layer)
}

fn events<L, B>(kind: Kind, name: &'static str, layer: L) -> Row
where
    L: Layer<Answer> + 'static,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    of_sort(Sort::Events, kind, name, layer)
}

fn of_sort<L, B>(sort: Sort, kind: Kind, name: &'static str, layer: L) -> Row
where
    L: Layer<Answer> + 'static,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    Row {
        kind,
        name,
        carried: size_of::<B>() - size_of::<Frames>(),
        drive: Box::new(move |load| load.drive(&layer, sort)),
    }
}

/// Each bare service is followed by all that is to be compared with it.
pub(crate) fn rows(exporters: &Exporters) -> Vec<Row> {
    let mut rows = ours();
    rows.extend(tower());
    rows.extend(tower_http());
    rows.extend(their_metrics(exporters));
    rows.extend(of_event_streams());
    rows
}

/// For each of these, the one of the bare service that it is to be compared with.
pub(crate) fn bare_of<T>(all: &[T], kind: impl Fn(&T) -> Kind) -> impl Iterator<Item = &T> {
    let mut bare = None;
    all.iter().map(move |it| {
        if kind(it) == Kind::Bare {
            bare = Some(it);
        }
        bare.expect("the first is bare")
    })
}

fn ours() -> Vec<Row> {
    use Kind::{Bare, OurMetrics, Ours};

    let both = ObserveLayer::new((metrics(), capture()));
    vec![
        row(Bare, "bare", Identity::new()),
        row(Ours, "observe, not watching", ObserveLayer::new(Nothing)),
        row(Ours, "observe, counting bytes", ObserveLayer::new(Count(0))),
        row(Ours, "capture", capture()),
        row(Ours, "headers, three", three_headers()),
        row(Ours, "headers, sse, skipped", HeadersLayer::sse()),
        row(Ours, "tap, skipped", tap()),
        row(Ours, "keep-alive, skipped", keep_alive()),
        row(Ours, "drain, skipped", drain()),
        row(Ours, "idle timeout", idle_timeout()),
        row(Ours, "concurrency limit", concurrency_limit()),
        row(Ours, "buffering, 1,000 routes", buffering_1000()),
        row(Ours, "buffering, nothing to say", buffering_auto()),
        row(OurMetrics, "metrics", metrics()),
        row(
            OurMetrics,
            "metrics of events, skipped",
            metrics_of_events(),
        ),
        row(OurMetrics, "metrics and capture in one", both),
        row(OurMetrics, "headers, metrics, capture", all(metrics())),
    ]
}

fn of_event_streams() -> Vec<Row> {
    use Kind::{Bare, Ours};

    vec![
        events(Bare, "bare, event stream", Identity::new()),
        events(Ours, "metrics, event stream", metrics()),
        events(Ours, "metrics of events", metrics_of_events()),
        events(Ours, "tap", tap()),
        events(Ours, "keep-alive", keep_alive()),
        events(Ours, "drain", drain()),
        events(Ours, "idle timeout, event stream", idle_timeout()),
        events(Ours, "drain, keep-alive, idle timeout", for_long_streams()),
    ]
}

fn tower() -> Vec<Row> {
    let limit = ConcurrencyLimitLayer::new(1_000);
    vec![row(Kind::Theirs, "tower ConcurrencyLimit", limit)]
}

fn tower_http() -> Vec<Row> {
    use Kind::Theirs;

    let name = HeaderName::from_static;
    let value = HeaderValue::from_static("1");
    let header = |field| SetResponseHeaderLayer::overriding(name(field), value.clone());
    let three = (header("x-a"), header("x-b"), header("x-c"));
    let by_hand = MapResponseLayer::new(|mut response: Response<Frames>| {
        for field in ["x-a", "x-b", "x-c"].map(HeaderName::from_static) {
            let value = HeaderValue::from_static("1");
            response.headers_mut().insert(field, value);
        }
        response
    });
    let early_drop = OnEarlyDropLayer::new(EarlyDropsAsFailures::new(DefaultOnFailure::new()));
    let in_flight = InFlightRequestsLayer::pair().0;
    vec![
        row(Theirs, "three headers by hand", by_hand),
        row(Theirs, "tower-http SetResponseHeader", header("x-a")),
        row(Theirs, "tower-http SetResponseHeader, three", three),
        row(Theirs, "tower-http InFlightRequests", in_flight),
        row(Theirs, "tower-http OnEarlyDrop", early_drop),
        row(
            Theirs,
            "tower-http Trace, no subscriber",
            TraceLayer::new_for_http(),
        ),
    ]
}

fn their_metrics(exporters: &Exporters) -> Vec<Row> {
    use Kind::TheirMetrics;

    let axum_otel = HttpMetricsLayerBuilder::new()
        .with_provider(exporters.provider_32())
        .build();
    let tower_otel_http = HTTPMetricsLayerBuilder::builder()
        .with_meter(exporters.meter_30())
        .build()
        .expect("a meter is all that it asks for");
    vec![
        row(TheirMetrics, "axum-prometheus", BaseMetricLayer::new()),
        row(
            TheirMetrics,
            "axum-prometheus, body size",
            BaseMetricLayer::with_response_body_size(),
        ),
        row(TheirMetrics, "axum-otel-metrics", axum_otel),
        row(
            TheirMetrics,
            "opentelemetry-instrumentation-tower",
            server::Layer::new(),
        ),
        row(
            TheirMetrics,
            "tower-otel",
            HttpLayer::server(&exporters.meter()),
        ),
        row(TheirMetrics, "tower-otel-http-metrics", tower_otel_http),
    ]
}
