//! The layers of this package.

use tower::ServiceBuilder;
use tower_passthrough::{
    BuildError, RequestHead,
    capture::{CaptureLayer, Summary},
    headers::HeadersLayer,
    metrics::MetricsLayer,
    observe::{MakeObserver, Moment, ObserveLayer, Observer, Outcome},
};

use super::{Audit, checked, stream_of};

pub(super) fn audits() -> Result<Vec<Audit>, BuildError> {
    // `HeadersLayer::sse` leaves other responses alone.
    let sse = stream_of("text/event-stream");
    let metrics = MetricsLayer::builder().service("audit").build()?;
    let capture = CaptureLayer::new(|_: &Summary| {});
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(Watch))
        .layer(HeadersLayer::sse())
        .layer(metrics.clone())
        .layer(capture.clone());
    Ok(checked! { "tower-passthrough", sse;
        "ObserveLayer" => ObserveLayer::new(Watch),
        "HeadersLayer" => HeadersLayer::sse(),
        "MetricsLayer" => metrics.clone(),
        "CaptureLayer" => capture.clone(),
        "these four, stacked" => stack.clone(),
    })
}

/// Watches, and does nothing with what it sees.
#[derive(Clone)]
struct Watch;

impl MakeObserver for Watch {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(Self)
    }
}

impl Observer for Watch {
    fn on_end(self, _: Outcome, _: &Moment) {}
}
