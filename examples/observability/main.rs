//! A server to operate: metrics in buckets, and a Prometheus and a Grafana that read them.
//!
//! What it shows: `prometheus.yml` scrapes two replicas, `rules.yml` adds up their rates, errors
//! and durations, `dashboard.json` shows them. All three fit any service that wears
//! `MetricsLayer` with the label `service`, and whose histograms have buckets: those add up over
//! replicas, summaries do not.
//!
//! How to run it, with the program `prometheus` of <https://prometheus.io> or of Debian (whose
//! package also starts one of its own, on the same port: `systemctl stop prometheus`):
//!
//! ```text
//! cargo run --example observability --features full -- --listen 127.0.0.1:3001
//! cargo run --example observability --features full -- --listen 127.0.0.1:3002
//! prometheus --config.file examples/observability/prometheus.yml --storage.tsdb.path target/tsdb
//! ```
//!
//! In Grafana, from version 10: add a Prometheus data source, <http://127.0.0.1:9090>, and import
//! `dashboard.json` (Dashboards, New, Import).
//!
//! What to look for: it prints what to try. A stream that breaks or is hung up has status 200, and
//! is a failure or an abort nonetheless; open streams are in flight from their first moment, and
//! how long they last does not hide how long the plain answers take. The label `path` is the route
//! that axum matched: the feature `axum`, which `full` includes.
#![allow(clippy::print_stdout, reason = "it tells what to try")]

mod answers;

use std::{error::Error, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use clap::Parser;
use metrics_exporter_prometheus::{
    Matcher::{Full, Suffix},
    PrometheusBuilder,
};
use tokio::time::interval;
use tower_passthrough::{headers::HeadersLayer, metrics};

/// A server to operate.
#[derive(Debug, Parser)]
struct Options {
    /// Where clients and Prometheus connect.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3001")]
    listen: String,

    /// The label `service`, by which replicas belong together.
    #[arg(long, value_name = "NAME", default_value = "demo")]
    service: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { listen, service } = Options::parse();
    let duration = Full(metrics::REQUEST_DURATION_SECONDS.into());
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("seconds".into()), metrics::HEAD_SECONDS_BUCKETS)?
        .set_buckets_for_metric(duration, metrics::DURATION_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Suffix("bytes".into()), metrics::BODY_BYTES_BUCKETS)?
        .install_recorder()?;
    let upkeep = prometheus.clone();
    tokio::spawn(async move {
        // Takes in what the histograms have gathered, even if nobody scrapes.
        let mut ticks = interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });

    let layer = metrics::MetricsLayer::builder().service(service);
    let app = Router::new()
        .route("/echo", post(answers::echo))
        .route("/status/{code}", get(answers::status))
        .route("/slow/{millis}", get(answers::slow))
        .route("/events/{count}", get(answers::events))
        .route("/broken/{count}", get(answers::broken))
        .route("/demo.Clock/Tick", post(answers::grpc_message))
        .route("/demo.Clock/Set", post(answers::grpc_status("7"))) // PERMISSION_DENIED
        .route("/demo.Clock/Sync", post(answers::grpc_status("13"))) // INTERNAL
        .layer(HeadersLayer::sse())
        .layer(layer.build()?)
        .route("/metrics", get(async move || prometheus.render()));

    let listener = tokio::net::TcpListener::bind(listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("metrics   {url}/metrics");
    println!("JSON      curl {url}/echo --json '{{}}'");
    println!("errors    curl -i {url}/status/503    curl -iN {url}/broken/5");
    println!("waiting   curl {url}/slow/1500        hang up, and it is cancelled");
    println!("a stream  curl -N {url}/events/100    hang up, and it is disconnected");
    Ok(axum::serve(listener, app).await?)
}
