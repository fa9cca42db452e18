//! A tonic server wearing the layers, which calls itself.
//!
//! What it shows: the layers go on with `Server::layer`, and all four kinds of calls pass through
//! them. What became of a call stands in the trailers, after its last message: `CaptureLayer` and
//! `MetricsLayer` read it there. Messages and service are written by hand, so that no compiler of
//! protocol buffers is needed; what `tonic-build` generates wears the layers in the same way.
//!
//! How to run it (two addresses may follow, for gRPC and for the metrics, the defaults are
//! 127.0.0.1:3000 and 127.0.0.1:3001):
//!
//! ```text
//! cargo run --example grpc --features full
//! ```
//!
//! What to look for: it makes eight calls, and prints a line when each is over. All have the HTTP
//! status 200, and seven are complete, but three of these have failed: `grpc_status` is in the
//! trailers of the first, and in the header fields of the others, which have no message. The last
//! one has no status, because the client has left. Then it serves until Ctrl-C, so that you can look
//! at the metrics: `grpc_server_handled_total` counts calls by code, the last one as `Canceled`; a
//! method that does not exist is `_other`.
#![allow(clippy::print_stdout, reason = "it tells what happens")]

mod calls;
mod echo;

use std::{env::args, error::Error};

use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher::Suffix, PrometheusBuilder};
use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
    metrics::{BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, MetricsLayer},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Enough to be looked at. One that runs for long needs upkeep: see the example `observability`.
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("seconds".into()), DURATION_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Suffix("bytes".into()), BODY_BYTES_BUCKETS)?
        .install_recorder()?;

    let mut addresses = args().skip(1);
    let mut listen = |or: &str| TcpListener::bind(addresses.next().unwrap_or(or.to_owned()));
    let grpc = listen("127.0.0.1:3000").await?;
    let admin = listen("127.0.0.1:3001").await?;
    let url = format!("http://{}", grpc.local_addr()?);
    println!("gRPC     {url}");
    println!("metrics  http://{}/metrics", admin.local_addr()?);

    let server = Server::builder()
        // As in a `ServiceBuilder`, the first one is the outermost.
        .layer(CaptureLayer::with_context(path, log))
        .layer(MetricsLayer::builder().service("echo").build()?)
        .add_routes(echo::routes())
        .serve_with_incoming(TcpIncoming::from(grpc));
    let metrics = Router::new().route("/metrics", get(async move || prometheus.render()));
    let metrics = axum::serve(admin, metrics);
    tokio::try_join!(
        async { Ok(server.await?) },
        async { Ok(metrics.await?) },
        calls::all(&url),
    )?;
    Ok(())
}

fn path(request: &RequestHead<'_>) -> String {
    request.uri.path().to_owned()
}

fn log(call: &Summary<String>) {
    let status = call.status.as_ref().map_or("-", StatusCode::as_str);
    let grpc_status = call.grpc_status.map_or("-".into(), |it| it.to_string());
    println!(
        "{:<16} status={status} outcome={} grpc_status={grpc_status} trailers={}",
        call.context, call.outcome, call.trailers
    );
}
