//! An axum router with server-sent events, wearing the three layers.
//!
//! What it shows: the layers go on with `.layer(..)`; handlers stay as they are. The feature `axum`,
//! which `full` includes, labels the metrics with the route.
//!
//! How to run it (an address may follow, the default is 127.0.0.1:3000):
//!
//! ```text
//! cargo run --example axum_sse --features full
//! ```
//!
//! What to look for: it prints what to try. Events come one by one; a stream that is hung up is
//! counted as `disconnected`, not as a success; `x-accel-buffering: no` is on event streams only.
#![allow(
    clippy::print_stdout,
    reason = "it tells what to try, and what happened"
)]

use std::{convert::Infallible, env::args, error::Error, future::ready, time::Duration};

use axum::{
    Router,
    extract::Path,
    response::sse::{Event, Sse},
    routing::get,
};
use futures_util::{Stream, StreamExt, stream};
use metrics_exporter_prometheus::{Matcher::Suffix, PrometheusBuilder};
use tower_passthrough::{
    capture::{CaptureLayer, Summary},
    headers::HeadersLayer,
    metrics::{self, MetricsLayer},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("seconds".into()), &metrics::DURATION_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Suffix("bytes".into()), &metrics::BODY_BYTES_BUCKETS)?
        .install_recorder()?;

    let app = Router::new()
        .route("/count/{to}", get(count))
        .layer(HeadersLayer::sse())
        .layer(MetricsLayer::builder().build()?)
        .layer(CaptureLayer::new(|exchange: &Summary| {
            println!("{} after {:?}", exchange.outcome, exchange.duration);
        }))
        .route("/metrics", get(move || ready(prometheus.render())));

    let listen = args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("curl -iN http://{address}/count/20    watch it, or hang up with Ctrl-C");
    println!("curl -s  http://{address}/metrics     see how it ended");
    Ok(axum::serve(listener, app).await?)
}

async fn count(Path(to): Path<u64>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::iter(1..=to).then(|n| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Event::default().data(n.to_string()))
    }))
}
