//! Every layer of this crate, alone and stacked.

use std::error::Error;

use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, SERVER, TE},
};
use http_body::Body;
use tower::{Layer, Service, layer::util::Identity};
use tower_passthrough::{
    RequestHead,
    buffering::{Buffering, BufferingControl, BufferingLayer, Policy},
    capture::{CaptureLayer, Summary},
    conformance::{
        self, Capability, Finding, Kit, Report, ScriptedBody, ScriptedError, ScriptedService,
        Verdict,
    },
    headers::{HeadersLayer, RequestRule, ResponseRule},
    limit::ConcurrencyLimitLayer,
    metrics::MetricsLayer,
    observe::{MakeObserver, Moment, ObserveLayer},
    sse::{TapLayer, Tapped},
};

use crate::common::Watch;

pub(crate) fn observe() -> ObserveLayer<Watch> {
    ObserveLayer::new(Watch::default())
}

pub(crate) fn capture() -> CaptureLayer<impl Fn(&Summary) + Clone + Send + Sync + 'static> {
    CaptureLayer::new(|_: &Summary| {})
}

pub(crate) fn metrics() -> MetricsLayer {
    MetricsLayer::builder()
        .service("test")
        .hosts(["conformance.test"])
        .build()
        .unwrap()
}

/// Lets in all that the kit has open at once, through all places where it stands.
fn limit() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(100).unwrap()
}

fn tap() -> TapLayer<impl Fn(&RequestHead<'_>) -> fn(Tapped<'_>) + Clone> {
    let sink: fn(Tapped<'_>) = |_| {};
    TapLayer::new(move |_: &RequestHead<'_>| sink)
}

/// Rules of every sort, on fields that the kit does not call foreign.
pub(crate) fn headers() -> HeadersLayer {
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

fn buffering(policy: Policy) -> BufferingLayer {
    let control = BufferingControl::new(Buffering::On);
    control.set("/*", policy).unwrap();
    BufferingLayer::new(control)
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
pub(crate) fn assert_safe<L, B>(name: &str, layer: L)
where
    L: Layer<ScriptedService>,
    L::Service: Service<Request<ScriptedBody>, Response = Response<B>, Error = ScriptedError>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    for (kind, kit) in kits() {
        assert_passes(name, kind, &kit.check(&layer));
    }
}

#[track_caller]
fn assert_passes(name: &str, kind: &str, report: &Report) {
    assert!(report.passes(), "{name}, {kind}\n{report}");
    let not_looked_at = |finding: &&Finding| finding.verdict != Verdict::Passed;
    assert_eq!(
        report.findings().iter().find(not_looked_at),
        None,
        "{name}, {kind}"
    );
}

/// The same of a layer that may change the bytes of event streams of unknown length. Their bounds
/// are then these, and that is all that is excepted.
#[track_caller]
pub(crate) fn assert_safe_but_for_bounds<L, B>(name: &str, layer: L, bounds: &str)
where
    L: Layer<ScriptedService>,
    L::Service: Service<Request<ScriptedBody>, Response = Response<B>, Error = ScriptedError>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    for (kind, kit) in kits() {
        let report = kit.check(&layer);
        if kind != "events" {
            assert_passes(name, kind, &report);
            continue;
        }
        let report = report.except(Capability::SizeHint);
        assert!(report.passes(), "{name}, {kind}\n{report}");
        let not_passed: Vec<_> = report
            .findings()
            .iter()
            .filter(|finding| finding.verdict != Verdict::Passed)
            .map(|finding| (finding.check, finding.verdict, &*finding.observed))
            .collect();
        let expected = ("size_hint.bounds", Verdict::Excepted, bounds);
        assert_eq!(not_passed, [expected], "{name}");
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
    assert_safe("tap", tap());
    assert_safe("tap, skipping", tap().max_event_bytes(0));
    assert_safe("headers", headers());
    assert_safe("headers, for events", HeadersLayer::sse());
    assert_safe("limit", limit());
    for kind in [Buffering::Off, Buffering::On, Buffering::Auto] {
        let policy = Policy::new(kind);
        assert_safe(&format!("buffering {kind}"), buffering(policy));
        let name = format!("buffering {kind}, overriding");
        assert_safe(&name, buffering(policy.overriding()));
    }
}

#[test]
fn layers_are_streaming_safe_in_any_order() {
    let auto = || buffering(Policy::new(Buffering::Auto).overriding());
    assert_safe(
        "o c m h b",
        (observe(), capture(), metrics(), headers(), auto()),
    );
    assert_safe(
        "b h o c m",
        (auto(), headers(), observe(), capture(), metrics()),
    );
    assert_safe(
        "m b h o c",
        (metrics(), auto(), headers(), observe(), capture()),
    );
    assert_safe(
        "c m b h o",
        (capture(), metrics(), auto(), headers(), observe()),
    );
    assert_safe(
        "h b m c o",
        (headers(), auto(), metrics(), capture(), observe()),
    );
    assert_safe(
        "m c o b h",
        (metrics(), capture(), observe(), auto(), headers()),
    );
    assert_safe("l o m h", (limit(), observe(), metrics(), headers()));
    assert_safe("h c l m", (headers(), capture(), limit(), metrics()));
    assert_safe("c h m l", (capture(), headers(), metrics(), limit()));
    assert_safe("t m c h", (tap(), metrics(), capture(), headers()));
    assert_safe("h m t c", (headers(), metrics(), tap(), capture()));
}

/// Short enough for miri.
#[test]
fn all_layers_are_streaming_safe_in_one_stack() {
    let buffering = buffering(Policy::new(Buffering::Auto));
    conformance::check((
        limit(),
        observe(),
        capture(),
        metrics(),
        tap(),
        headers(),
        buffering,
    ))
    .assert();
}

#[test]
fn a_layer_is_streaming_safe_in_itself() {
    let buffering = || buffering(Policy::new(Buffering::Auto).overriding());
    assert_safe("observe twice", (observe(), observe()));
    assert_safe("capture twice", (capture(), capture()));
    assert_safe("metrics twice", (metrics(), metrics()));
    assert_safe("tap twice", (tap(), tap()));
    assert_safe("headers twice", (headers(), headers()));
    assert_safe("limit twice", (limit(), limit()));
    let limit = limit();
    assert_safe("one limit twice", (limit.clone(), limit));
    assert_safe("buffering twice", (buffering(), buffering()));
}
