//! Every layer of this crate, alone and stacked.

use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, SERVER, TE},
};
use http_body::Body;
use tower::{Layer, Service, layer::util::Identity};
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
    conformance::{self, Finding, Kit, ScriptedBody, ScriptedError, ScriptedService, Verdict},
    headers::{HeadersLayer, RequestRule, ResponseRule},
    metrics::MetricsLayer,
    observe::{MakeObserver, Moment, ObserveLayer},
};

use crate::common::Watch;

fn observe() -> ObserveLayer<Watch> {
    ObserveLayer::new(Watch::default())
}

fn capture() -> CaptureLayer<impl Fn(&Summary) + Clone + Send + Sync + 'static> {
    CaptureLayer::new(|_: &Summary| {})
}

fn metrics() -> MetricsLayer {
    MetricsLayer::builder()
        .service("test")
        .hosts(["conformance.test"])
        .build()
        .unwrap()
}

/// Rules of every sort, on fields that the kit does not call foreign.
fn headers() -> HeadersLayer {
    HeadersLayer::builder()
        .request(RequestRule::insert("x-request-id", "7"))
        .request(RequestRule::append("via", "1.1 test"))
        .response(ResponseRule::if_absent("x-content-type-options", "nosniff"))
        .response(ResponseRule::insert_with("x-length", |head| {
            head.body_size.exact().map(HeaderValue::from)
        }))
        .response(ResponseRule::remove(SERVER))
        .response(
            ResponseRule::insert(CACHE_CONTROL, "no-store").when_content_type("text/event-stream"),
        )
        .build()
        .unwrap()
}

#[derive(Clone)]
struct Unwatched;

impl MakeObserver for Unwatched {
    type Observer = Watch;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Watch> {
        None
    }
}

/// The plain kit, and kits for what our layers treat apart.
fn kits() -> [(&'static str, Kit); 4] {
    let of_type = |content_type| {
        Kit::new()
            .request_field(ACCEPT, HeaderValue::from_static(content_type))
            .request_field(TE, HeaderValue::from_static("trailers"))
            .response_field(CONTENT_TYPE, HeaderValue::from_static(content_type))
    };
    let grpc_status = HeaderName::from_static("grpc-status");
    [
        ("plain", Kit::new()),
        ("events", of_type("text/event-stream; charset=utf-8")),
        ("gRPC", of_type("application/grpc+proto")),
        (
            "gRPC, trailers only",
            of_type("application/grpc").response_field(grpc_status, HeaderValue::from_static("5")),
        ),
    ]
}

#[track_caller]
fn assert_safe<L, B>(name: &str, layer: L)
where
    L: Layer<ScriptedService>,
    L::Service: Service<Request<ScriptedBody>, Response = Response<B>, Error = ScriptedError>,
    B: Body<Error = ScriptedError>,
{
    for (kind, kit) in kits() {
        let report = kit.check(&layer);
        assert!(report.passes(), "{name}, {kind}\n{report}");
        let not_looked_at = |finding: &&Finding| finding.verdict != Verdict::Passed;
        assert_eq!(
            report.findings().iter().find(not_looked_at),
            None,
            "{name}, {kind}"
        );
    }
}

#[test]
fn no_layer_is_streaming_safe() {
    assert_safe("no layer", Identity::new());
}

#[test]
fn each_layer_is_streaming_safe_alone() {
    assert_safe("observe", observe());
    assert_safe(
        "observe, as a pair",
        ObserveLayer::new((Watch::default(), Watch::default())),
    );
    assert_safe("observe, watching nothing", ObserveLayer::new(Unwatched));
    assert_safe("capture", capture());
    assert_safe("metrics", metrics());
    assert_safe("metrics, plain", MetricsLayer::builder().build().unwrap());
    assert_safe(
        "metrics, requests only",
        MetricsLayer::builder()
            .service("test")
            .hosts(["conformance.test"])
            .path(|head| head.uri.path().into())
            .only_requests_total()
            .build()
            .unwrap(),
    );
    assert_safe("headers", headers());
    assert_safe("headers, for events", HeadersLayer::sse());
}

#[test]
fn layers_are_streaming_safe_in_any_order() {
    assert_safe("o c m h", (observe(), capture(), metrics(), headers()));
    assert_safe("h o c m", (headers(), observe(), capture(), metrics()));
    assert_safe("m h o c", (metrics(), headers(), observe(), capture()));
    assert_safe("c m h o", (capture(), metrics(), headers(), observe()));
    assert_safe("h m c o", (headers(), metrics(), capture(), observe()));
    assert_safe("m c o h", (metrics(), capture(), observe(), headers()));
}

/// Short enough for miri.
#[test]
fn all_layers_are_streaming_safe_in_one_stack() {
    conformance::check((observe(), capture(), metrics(), headers())).assert();
}

#[test]
fn a_layer_is_streaming_safe_in_itself() {
    assert_safe("observe twice", (observe(), observe()));
    assert_safe("capture twice", (capture(), capture()));
    assert_safe("metrics twice", (metrics(), metrics()));
    assert_safe("headers twice", (headers(), headers()));
}
