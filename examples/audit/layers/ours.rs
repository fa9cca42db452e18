//! The layers of this package.

use std::future::pending;

use tower::ServiceBuilder;
use tower_passthrough::{
    BuildError, RequestHead,
    buffering::{Buffering, BufferingControl, BufferingLayer},
    capture::{CaptureLayer, Summary},
    conformance::Kit,
    headers::HeadersLayer,
    limit::ConcurrencyLimitLayer,
    metrics::MetricsLayer,
    observe::{MakeObserver, Moment, ObserveLayer, Observer, Outcome},
    sse::{DrainLayer, KeepAliveLayer, TapLayer, Tapped},
    timeout::IdleTimeoutLayer,
};

use super::{Audit, MINUTE, checked, stream_of};

pub(super) fn audits() -> Result<Vec<Audit>, BuildError> {
    Ok([that_pass()?, that_end_or_add()?]
        .into_iter()
        .flatten()
        .collect())
}

fn that_pass() -> Result<Vec<Audit>, BuildError> {
    // `HeadersLayer::sse` leaves other responses alone, and `TapLayer` does not look at them.
    let sse = stream_of("text/event-stream");
    let metrics = MetricsLayer::builder()
        .service("audit")
        .sse_events()
        .build()?;
    let capture = CaptureLayer::new(|_: &Summary| {});
    let limit = ConcurrencyLimitLayer::new(100)?;
    let buffering = BufferingLayer::new(BufferingControl::new(Buffering::Auto));
    let tap = TapLayer::new(|_: &RequestHead<'_>| |_: Tapped<'_>| {});
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(Watch))
        .layer(HeadersLayer::sse())
        .layer(metrics.clone())
        .layer(capture.clone())
        .layer(tap.clone())
        .layer(buffering.clone())
        .layer(limit.clone());
    Ok(checked! { "tower-passthrough", sse;
        "ObserveLayer" => ObserveLayer::new(Watch),
        "HeadersLayer" => HeadersLayer::sse(),
        "MetricsLayer" => metrics.clone(),
        "CaptureLayer" => capture.clone(),
        "TapLayer" => tap.clone(),
        "BufferingLayer" => buffering.clone(),
        "ConcurrencyLimitLayer" => limit.clone(),
        "these seven, stacked" => stack.clone(),
    })
}

/// Of event streams, these change the size hints by design.
fn that_end_or_add() -> Result<Vec<Audit>, BuildError> {
    let keep_alive = KeepAliveLayer::new(MINUTE)?;
    let drain = DrainLayer::new(pending::<()>, MINUTE)?;
    let idle_timeout = IdleTimeoutLayer::new(MINUTE)?;
    let stack = ServiceBuilder::new()
        .layer(drain.clone())
        .layer(keep_alive.clone())
        .layer(idle_timeout.clone());
    let plain = checked! { "tower-passthrough", Kit::new();
        "KeepAliveLayer" => keep_alive.clone(),
        "DrainLayer" => drain.clone(),
        "IdleTimeoutLayer" => idle_timeout.clone(),
        "these three, stacked" => stack.clone(),
    };
    let sse = checked! { "tower-passthrough", stream_of("text/event-stream");
        "KeepAliveLayer (SSE)" => keep_alive.clone(),
        "DrainLayer (SSE)" => drain.clone(),
        "IdleTimeoutLayer (SSE)" => idle_timeout.clone(),
    };
    Ok([plain, sse].into_iter().flatten().collect())
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
