//! A WebSocket, in flight until it closes.
//!
//! What it shows: what follows an upgrade is no HTTP, so that to a layer the exchange is over with
//! the response head. A handler that holds the `Tunnel` of its request for as long as it serves the
//! socket keeps it open.
//!
//! How to run it (an address may follow, the default is 127.0.0.1:3000):
//!
//! ```text
//! cargo run --example websocket --features full
//! ```
//!
//! What to look for: open the page that it prints. It has a socket to each of two handlers, which
//! differ in that one holds its tunnel. That one is in flight as long as it is open, and its line is
//! printed when it closes, with the time that it was open. The line of the other is printed at once.
#![allow(
    clippy::print_stdout,
    reason = "it tells what to try, and what happened"
)]

use std::{env::args, error::Error, future::ready};

use axum::{
    Extension, Router,
    extract::ws::{WebSocket, WebSocketUpgrade},
    response::{Html, Response},
    routing::{any, get},
};
use metrics_exporter_prometheus::{Matcher::Suffix, PrometheusBuilder};
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
    metrics::{BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, MetricsLayer},
    observe::Tunnel,
};

async fn held(upgrade: WebSocketUpgrade, Extension(tunnel): Extension<Tunnel>) -> Response {
    upgrade.on_upgrade(async |socket| {
        let _open = tunnel; // until this task is done
        echo(socket).await;
    })
}

async fn forgotten(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break; // the client has gone
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Enough to be looked at. One that runs for long needs upkeep: see the example `observability`.
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("seconds".into()), DURATION_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Suffix("bytes".into()), BODY_BYTES_BUCKETS)?
        .install_recorder()?;

    let path = |request: &RequestHead<'_>| request.uri.path().to_owned();
    let log = |it: &Summary<String>| {
        println!("{} {} after {:.3?}", it.context, it.outcome, it.duration);
    };
    let app = Router::new()
        .route("/held", any(held))
        .route("/forgotten", any(forgotten))
        .layer(MetricsLayer::builder().build()?)
        .layer(CaptureLayer::with_context(path, log))
        .route("/", get(Html(PAGE)))
        .route("/metrics", get(move || ready(prometheus.render())));

    let listen = args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("http://{address}/                    a page with both, in a browser");
    println!("npx wscat -c ws://{address}/held     or one in a terminal");
    println!("curl -s http://{address}/metrics | grep in_flight");
    Ok(axum::serve(listener, app).await?)
}

const PAGE: &str = r#"<!doctype html>
<html lang="en"><meta charset="utf-8">
<title>In flight until it closes</title><link rel="icon" href="data:,">
<p><button name="/held">open</button> a socket whose handler holds its tunnel
<p><button name="/forgotten">open</button> a socket whose handler does not
<p>What the metrics say: <pre id="in_flight"></pre>
<script>
  for (const button of document.querySelectorAll("button")) {
    let socket;
    button.onclick = () => {
      if (socket) return socket.close();
      socket = new WebSocket(`ws://${location.host}${button.name}`);
      socket.onopen = () => button.textContent = "close";
      socket.onclose = () => { socket = undefined; button.textContent = "open"; };
    };
    button.click();
  }
  setInterval(async () => {
    const metrics = await (await fetch("/metrics")).text();
    const lines = metrics.match(/^http_requests_in_flight.*/gm);
    document.getElementById("in_flight").textContent = lines?.join("\n");
  }, 300);
</script>
"#;
