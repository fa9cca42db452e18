//! An axum router with server-sent events, wearing what they need.
//!
//! What it shows: the layers go on with `.layer(..)`, the last one outermost; handlers stay as they
//! are. The feature `axum`, which `full` includes, labels the metrics with the route; `tokio` has the
//! timer of the layers that wait.
//!
//! How to run it (an address may follow, the default is 127.0.0.1:3000):
//!
//! ```text
//! cargo run --example axum_sse --features full
//! ```
//!
//! What to look for: it prints what to try. Events come one by one; a stream that is hung up is
//! counted as `disconnected`, not as a success; `x-accel-buffering: no` is on event streams only. A
//! stream that counts slowly gets comments in between. Ctrl-C ends all streams after an event, and the
//! server is done; a client that asks again with `Last-Event-ID` goes on where it was. One that does
//! not read what it was sent is let go after ten seconds.
#![allow(
    clippy::print_stdout,
    reason = "it tells what to try, and what happened"
)]

use std::{
    collections::HashMap,
    convert::Infallible,
    env::args,
    error::Error,
    future::{IntoFuture, ready},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Query},
    http::HeaderMap,
    response::sse::{Event, Sse},
    routing::get,
};
use futures_util::{Stream, StreamExt, stream};
use metrics_exporter_prometheus::{Matcher::Suffix, PrometheusBuilder};
use tokio_util::sync::CancellationToken;
use tower_passthrough::{
    capture::{CaptureLayer, Summary},
    headers::HeadersLayer,
    metrics::{self, MetricsLayer},
    sse::{DrainLayer, KeepAliveLayer},
    timeout::IdleTimeoutLayer,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Enough to be looked at. One that runs for long needs upkeep: see the example `observability`.
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("seconds".into()), metrics::DURATION_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Suffix("bytes".into()), metrics::BODY_BYTES_BUCKETS)?
        .install_recorder()?;

    let shutdown = CancellationToken::new();
    let signal = shutdown.clone();
    let app = Router::new()
        .route("/count/{to}", get(count))
        .layer(IdleTimeoutLayer::new(Duration::from_secs(60))?)
        .layer(KeepAliveLayer::new(Duration::from_secs(1))?)
        .layer(DrainLayer::new(
            move || signal.clone().cancelled_owned(),
            Duration::from_secs(5),
        )?)
        .layer(HeadersLayer::sse())
        .layer(MetricsLayer::builder().sse_events().build()?)
        .layer(CaptureLayer::new(|exchange: &Summary| {
            println!("{} after {:?}", exchange.outcome, exchange.duration);
        }))
        .route("/metrics", get(move || ready(prometheus.render())));

    let listen = args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("curl -iN http://{address}/count/20    watch it, or hang up with Ctrl-C");
    println!("curl -iN 'http://{address}/count/3?every=2500'    with comments in between");
    println!("curl -s  http://{address}/metrics     see how it ended");
    println!("Ctrl-C here                           ends all streams after an event");
    let draining = shutdown.clone().cancelled_owned();
    let server = axum::serve(listener, app)
        .with_graceful_shutdown(draining)
        .into_future();
    let limit = async {
        tokio::signal::ctrl_c().await?;
        shutdown.cancel();
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!("some clients do not read: they are let go");
        Ok(())
    };
    tokio::select! {
        done = server => Ok(done?),
        done = limit => done,
    }
}

/// Counts on from where the client was.
async fn count(
    Path(to): Path<u64>,
    Query(query): Query<HashMap<String, u64>>,
    fields: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = fields.get("last-event-id").and_then(|id| id.to_str().ok());
    let from = last
        .and_then(|id| id.parse().ok())
        .map_or(1, |last: u64| last.saturating_add(1));
    let pause = Duration::from_millis(query.get("every").copied().unwrap_or(100));
    Sse::new(stream::iter(from..=to).then(move |n| async move {
        tokio::time::sleep(pause).await;
        Ok(Event::default().id(n.to_string()).data(n.to_string()))
    }))
}
