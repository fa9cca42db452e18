//! Exact numbers of allocations per request and per frame, and the size of what a body carries.
#![cfg(all(
    feature = "capture",
    feature = "headers",
    feature = "limit",
    feature = "metrics"
))]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    borrow::Cow,
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{CONTENT_TYPE, HOST},
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tower::{Layer, Service, layer::util::Identity};
use tower_passthrough::{
    RequestHead, ResponseHead,
    capture::{CaptureLayer, CaptureObserver, Summary},
    headers::{HeadersLayer, ResponseRule},
    limit::{ConcurrencyLimitLayer, Permit},
    metrics::{MetricsLayer, MetricsLayerBuilder, MetricsObserver},
    observe::{MakeObserver, Moment, ObserveLayer, Observer, Outcome, ResponseBody},
};

/// Yields as many frames of 64 bytes, and allocates nothing.
struct Frames(usize);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.checked_sub(1).map(|left| {
            self.0 = left;
            Ok(Frame::data(Bytes::from_static(&[b'x'; 64])))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64 * 64)
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }
}

/// Answers with so many frames, and with these header fields.
#[derive(Clone)]
struct Answer {
    frames: usize,
    fields: Vec<HeaderName>,
}

impl Service<Request<Empty<Bytes>>> for Answer {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Frames>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let mut response = Response::new(Frames(self.frames));
        // A call is answered as one.
        if let Some(content_type) = request.headers().get(CONTENT_TYPE) {
            let content_type = content_type.clone();
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        for name in &self.fields {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static("1"));
        }
        ready(Ok(response))
    }
}

/// Answers with this status and no frame.
struct Refuse(u16);

impl Service<Request<Empty<Bytes>>> for Refuse {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Frames>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        let mut response = Response::new(Frames(0));
        *response.status_mut() = self.0.try_into().unwrap();
        ready(Ok(response))
    }
}

/// One exchange, driven to the end of its body.
fn exchange<S, B>(service: &mut S, request: Request<Empty<Bytes>>)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
    B: Body<Error: std::fmt::Debug>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
        panic!("no answer");
    };
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) else {
            panic!("no frame");
        };
    }
}

fn get() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

/// The allocations of one exchange with so many frames. The first exchange is not counted: it may
/// make what all later ones share.
fn allocations<L, B>(layer: &L, frames: usize, request: fn() -> Request<Empty<Bytes>>) -> u64
where
    L: Layer<Answer>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
    B: Body<Error: std::fmt::Debug>,
{
    let mut service = layer.layer(Answer {
        frames,
        fields: Vec::new(),
    });
    exchange(&mut service, request());
    let of_request = measure(|| drop(request())).count_total;
    measure(|| exchange(&mut service, request())).count_total - of_request
}

/// Counts bytes: as much as any observer does.
#[derive(Clone, Default)]
struct Count(u64);

impl MakeObserver for Count {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Count {
    fn on_data<D: bytes::Buf>(&mut self, data: &D, _: &Moment) {
        self.0 += data.remaining() as u64;
    }

    fn on_end(self, _: Outcome, _: &Moment) {
        std::hint::black_box(self.0);
    }
}

fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets(&[1.0])
        .unwrap()
        .build_recorder()
}

fn gateway_metrics() -> MetricsLayerBuilder {
    MetricsLayer::builder()
        .service("gateway")
        .hosts(["api.example", "chat.example"])
        .path(|_| "/".into())
        .recorder(Arc::new(recorder()))
}

#[test]
fn the_bare_service_allocates_nothing() {
    assert_eq!(allocations(&Identity::new(), 1000, get), 0);
}

#[test]
fn observing_allocates_nothing() {
    let layer = ObserveLayer::new(Count::default());
    assert_eq!(allocations(&layer, 1, get), 0);
    assert_eq!(allocations(&layer, 1000, get), 0);
}

#[test]
fn capturing_allocates_nothing() {
    let layer = CaptureLayer::new(|summary: &Summary| assert!(summary.body_bytes > 0));
    assert_eq!(allocations(&layer, 1, get), 0);
    assert_eq!(allocations(&layer, 1000, get), 0);
}

#[test]
fn a_request_that_may_upgrade_costs_its_tunnel() {
    let upgrade = || {
        let mut request = get();
        *request.method_mut() = Method::CONNECT;
        request
    };
    let layer = ObserveLayer::new(Count::default());
    // The tunnel itself; the extensions' map, its table and the box in it.
    assert_eq!(allocations(&layer, 1, upgrade), 4);
}

fn to_chat() -> Request<Empty<Bytes>> {
    let mut request = get();
    let host = HeaderValue::from_static("Chat.example:8080");
    request.headers_mut().insert(HOST, host);
    request
}

fn call() -> Request<Empty<Bytes>> {
    let mut request = to_chat();
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/chat.v1.Chat/Say");
    let content_type = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert(CONTENT_TYPE, content_type);
    request
}

fn plan<'a>(request: &RequestHead<'a>) -> Cow<'a, str> {
    match request.headers.get("x-plan") {
        Some(_) => "paid".into(),
        None => "free".into(),
    }
}

fn size<'a>(head: &ResponseHead<'a>) -> Cow<'a, str> {
    match head.body_size.exact() {
        Some(64) => "small".into(),
        _ => "large".into(),
    }
}

#[test]
fn metrics_of_a_known_label_set_allocate_nothing() {
    type Style = fn(MetricsLayerBuilder) -> MetricsLayerBuilder;
    let styles: [(&str, Style); 7] = [
        ("plain", |it| it),
        ("frame by frame", |it| it.live_bytes().frame_gaps()),
        ("conventional", MetricsLayerBuilder::opentelemetry),
        ("preset", MetricsLayerBuilder::only_requests_total),
        ("prefix", |it| it.prefix("app_")),
        ("labels", |it| {
            it.request_label("plan", plan).response_label("size", size)
        }),
        ("conventional labels", |it| {
            let it = it.opentelemetry();
            it.request_label("plan", plan).response_label("size", size)
        }),
    ];
    for (name, style) in styles {
        for request in [get, to_chat, call] {
            let layer = style(gateway_metrics()).build().unwrap();
            let bare = allocations(&Identity::new(), 1, request);
            assert_eq!(allocations(&layer, 1, request), bare, "{name}");
            // As many frames as an exporter's histogram takes without another block for them.
            assert_eq!(allocations(&layer, 20, request), bare, "{name}");
        }
    }
}

#[test]
fn metrics_of_what_has_no_room_allocate_nothing() {
    for style in [MetricsLayerBuilder::opentelemetry, |it| it] {
        for request in [get, to_chat] {
            let layer = style(gateway_metrics().max_label_sets(4)).build().unwrap();
            let mut service = layer.layer(Answer {
                frames: 1,
                fields: Vec::new(),
            });
            let mut other = get();
            *other.method_mut() = Method::PUT;
            exchange(&mut service, other);
            assert_eq!(allocations(&layer, 1, request), 0);
            assert_eq!(allocations(&layer, 50, request), 0);
        }
    }
}

/// The allocations of the third of three calls.
fn of_third_call(layer: &MetricsLayer, status: u16) -> u64 {
    let mut service = layer.layer(Refuse(status));
    let mut cost = || {
        let call = call();
        measure(|| exchange(&mut service, call)).count_total
    };
    [cost(), cost(), cost()][2]
}

#[test]
fn metrics_of_calls_that_have_no_room_allocate_nothing() {
    for style in [MetricsLayerBuilder::opentelemetry, |it| it] {
        let layer = style(gateway_metrics().max_label_sets(4)).build().unwrap();
        // The request has the only room, its method none.
        let mut request = to_chat();
        *request.method_mut() = Method::POST;
        exchange(&mut layer.layer(Refuse(500)), request);
        assert_eq!(of_third_call(&layer, 500), 0);
    }
}

#[test]
fn metrics_of_calls_that_are_not_there_allocate_what_they_let_go() {
    // By 404, unimplemented: nothing is held for these, since any client can name any.
    let layer = gateway_metrics().build().unwrap();
    assert_eq!(of_third_call(&layer, 404), 13);
    let layer = gateway_metrics().opentelemetry().build().unwrap();
    assert_eq!(of_third_call(&layer, 404), 6);
}

#[test]
fn metrics_never_allocate_per_frame() {
    let layer = gateway_metrics().build().unwrap();
    assert_eq!(allocations(&layer, 1_000_000, get), 0);
    let layer = gateway_metrics().live_bytes().build().unwrap();
    assert_eq!(allocations(&layer, 100_000, get), 0);
}

#[test]
fn three_headers_allocate_what_the_header_map_does() {
    let fields = ["x-a", "x-b", "x-c"].map(HeaderName::from_static);
    let layer = fields
        .iter()
        .fold(HeadersLayer::builder(), |builder, name| {
            builder.response(ResponseRule::insert(name.clone(), "1"))
        })
        .build()
        .unwrap();
    let mut by_hand = Answer {
        frames: 1,
        fields: fields.to_vec(),
    };
    exchange(&mut by_hand, get());
    let of_the_map = measure(|| exchange(&mut by_hand, get())).count_total;

    assert_eq!(of_the_map, 2);
    assert_eq!(allocations(&layer, 1, get), of_the_map);
    assert_eq!(allocations(&layer, 1000, get), of_the_map);
}

#[test]
fn rules_that_do_not_apply_allocate_nothing() {
    assert_eq!(allocations(&HeadersLayer::sse(), 1, get), 0);
}

#[test]
fn limit_that_is_not_reached_allocates_nothing() {
    let layer = ConcurrencyLimitLayer::new(1).unwrap();
    assert_eq!(allocations(&layer, 1, get), 0);
    assert_eq!(allocations(&layer, 1000, get), 0);
    // As a server goes about it: a clone for each request, ready before it is called.
    let service = layer.layer(Answer {
        frames: 1,
        fields: Vec::new(),
    });
    let by_a_server = || {
        let mut service = service.clone();
        let readiness = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(readiness.is_ready());
        exchange(&mut service, get());
    };
    assert_eq!(measure(by_a_server).count_total, 0);
    assert_eq!(measure(by_a_server).count_total, 0);
}

#[test]
fn a_body_carries_no_more_than_this() {
    fn carried_with<O: Observer>() -> usize {
        size_of::<ResponseBody<[u64; 4], O>>() - size_of::<[u64; 4]>()
    }
    fn carried<M: MakeObserver>(_: &M) -> usize {
        carried_with::<M::Observer>()
    }
    assert_eq!(carried(&Count::default()), 32);
    assert_eq!(carried_with::<Permit>(), 24);
    assert_eq!(carried(&CaptureLayer::new(|_: &Summary| ())), 96);
    assert_eq!(carried(&MetricsLayer::builder().build().unwrap()), 96);
    assert_eq!(size_of::<CaptureObserver<(), ()>>(), 80);
    assert_eq!(size_of::<MetricsObserver>(), 80);
}
