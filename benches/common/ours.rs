//! The layers of this package, as they are measured.

use std::{borrow::Cow, hint::black_box, sync::Arc};

use bytes::Buf;
use metrics::Recorder;
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
    headers::{HeadersLayer, ResponseRule},
    metrics::{MetricsLayer, MetricsLayerBuilder},
    observe::{MakeObserver, Moment, Observer, Outcome},
};

/// All metrics, with all base labels.
pub(crate) fn metrics() -> MetricsLayer {
    metrics_to(None)
}

/// The same, to this recorder.
pub(crate) fn metrics_to(recorder: Option<Arc<dyn Recorder + Send + Sync>>) -> MetricsLayer {
    fn path<'a>(request: &RequestHead<'a>) -> Cow<'a, str> {
        request.uri.path().into()
    }
    let builder = MetricsLayer::builder()
        .service("bench")
        .hosts(["api.example"])
        .path(path);
    recorder
        .into_iter()
        .fold(builder, MetricsLayerBuilder::recorder)
        .build()
        .expect("valid settings")
}

pub(crate) fn capture() -> CaptureLayer<impl Fn(&Summary) + Copy + Send + 'static> {
    CaptureLayer::new(|summary: &Summary| {
        black_box(summary);
    })
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
