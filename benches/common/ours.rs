//! The layers of this package, as they are measured.

use std::{borrow::Cow, hint::black_box, sync::Arc, time::Duration};

use bytes::Buf;
use metrics::Recorder;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower_passthrough::{
    RequestHead,
    buffering::{Buffering, BufferingControl, BufferingLayer},
    capture::{CaptureLayer, Summary},
    headers::{HeadersLayer, ResponseRule},
    limit::ConcurrencyLimitLayer,
    metrics::{MetricsLayer, MetricsLayerBuilder},
    observe::{MakeObserver, Moment, Observer, Outcome},
    sse::{DrainLayer, KeepAliveLayer, TapLayer, Tapped},
    timeout::IdleTimeoutLayer,
    timer::TokioTimer,
};

/// All metrics, with all base labels.
pub(crate) fn metrics() -> MetricsLayer {
    metrics_to(None)
}

/// The same, to this recorder.
pub(crate) fn metrics_to(recorder: Option<Arc<dyn Recorder + Send + Sync>>) -> MetricsLayer {
    recorder
        .into_iter()
        .fold(settings(), MetricsLayerBuilder::recorder)
        .build()
        .expect("valid settings")
}

pub(crate) fn metrics_of_events() -> MetricsLayer {
    settings().sse_events().build().expect("valid settings")
}

fn settings() -> MetricsLayerBuilder {
    fn path<'a>(request: &RequestHead<'a>) -> Cow<'a, str> {
        request.uri.path().into()
    }
    MetricsLayer::builder()
        .service("bench")
        .hosts(["api.example"])
        .path(path)
}

pub(crate) fn capture() -> CaptureLayer<impl Fn(&Summary) + Copy + Send + 'static> {
    CaptureLayer::new(|summary: &Summary| {
        black_box(summary);
    })
}

pub(crate) fn tap() -> TapLayer<impl Fn(&RequestHead<'_>) -> fn(Tapped<'_>) + Copy> {
    let sink: fn(Tapped<'_>) = |tapped| {
        black_box(tapped);
    };
    TapLayer::new(move |_: &RequestHead<'_>| sink)
}

pub(crate) fn three_headers() -> HeadersLayer {
    ["x-a", "x-b", "x-c"]
        .into_iter()
        .fold(HeadersLayer::builder(), |builder, name| {
            builder.response(ResponseRule::insert(name, "1"))
        })
        .build()
        .expect("valid rules")
}

pub(crate) fn keep_alive() -> KeepAliveLayer<TokioTimer> {
    KeepAliveLayer::new(Duration::from_secs(15)).expect("valid settings")
}

pub(crate) fn idle_timeout() -> IdleTimeoutLayer<TokioTimer> {
    IdleTimeoutLayer::new(Duration::from_secs(60)).expect("a limit")
}

/// With a signal that takes a lock to look for, as those of tokio do.
pub(crate) fn drain() -> DrainLayer<Signal, TokioTimer> {
    let token = CancellationToken::new();
    let signal: Signal = Box::new(move || token.clone().cancelled_owned());
    DrainLayer::new(signal, Duration::from_secs(10)).expect("valid settings")
}

pub(crate) type Signal = Box<dyn Fn() -> WaitForCancellationFutureOwned>;

/// In the order that they should be worn in.
pub(crate) fn for_long_streams() -> (
    DrainLayer<Signal, TokioTimer>,
    KeepAliveLayer<TokioTimer>,
    IdleTimeoutLayer<TokioTimer>,
) {
    (drain(), keep_alive(), idle_timeout())
}

/// That is never reached.
pub(crate) fn concurrency_limit() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(1_000).expect("not zero")
}

/// As many routes, half of them prefixes. For the path that a [`Load`](super::Load) asks for there is
/// no exact route, and its prefix is the shortest of three that lie within each other.
pub(crate) fn buffering(routes: usize) -> BufferingControl {
    let control = BufferingControl::new(Buffering::Auto);
    let set = |route: &str| control.set(route, Buffering::Off).expect("a route");
    set("/v1/*");
    set("/v1/a/*");
    set("/v1/a/b/*");
    for route in 0..routes.saturating_sub(3) {
        let all_under = ["", "/*"][route % 2];
        set(&format!("/service-{route:06}/v1/files{all_under}"));
    }
    control
}

/// A plain response has a length: there is nothing to set.
pub(crate) fn buffering_auto() -> BufferingLayer {
    BufferingLayer::new(BufferingControl::new(Buffering::Auto))
}

pub(crate) fn buffering_1000() -> BufferingLayer {
    BufferingLayer::new(buffering(1_000))
}

/// What a gateway would wear.
pub(crate) fn all(
    metrics: MetricsLayer,
) -> (
    HeadersLayer,
    MetricsLayer,
    CaptureLayer<impl Fn(&Summary) + Copy + Send + 'static>,
) {
    (three_headers(), metrics, capture())
}

/// Watches no exchange.
#[derive(Clone)]
pub(crate) struct Nothing;

impl MakeObserver for Nothing {
    type Observer = Count;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Count> {
        black_box(None)
    }
}

/// Counts the bytes of each exchange.
#[derive(Clone)]
pub(crate) struct Count(pub(crate) u64);

impl MakeObserver for Count {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Count {
    fn on_data<D: Buf>(&mut self, data: &D, _: &Moment) {
        self.0 += data.remaining() as u64;
    }

    fn on_end(self, _: Outcome, _: &Moment) {
        black_box(self.0);
    }
}
