//! Clients, proxies and servers that others have made, with the gateway between them and an upstream
//! that the test drives.
//!
//! What a client has been given it reports, a line each. The next event is not made before the one
//! before is reported: so it is order that is tested, and not the clock, but for gRPC's deadline.
//!
//! Those that need more than Rust are ignored, by modules: `cargo test --all-features --test gateway
//! -- --ignored clients::curl`. `.ci/run` shows how to get what they need.

mod chromium;
mod client;
mod curl;
mod grpc;
mod nginx;
mod node;
mod python;
mod websocket;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::{
    Gateway, event_stream, soon,
    upstream::{Arrival, Gate, Upstream, gated, send},
};

/// A gateway, and the upstream behind it.
async fn pair(options: &[&str]) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::start_with(&[&["--upstream", &url], options].concat()).await;
    (upstream, gateway)
}

/// A gateway with no upstream behind it.
async fn alone() -> Gateway {
    let vacant = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = vacant.local_addr().unwrap();
    drop(vacant);
    Gateway::in_front_of(address).await
}

/// Answers the next request with an event stream.
async fn stream_of(upstream: &mut Upstream) -> (Gate, Request<Incoming>) {
    let (gate, body) = gated();
    let request = upstream.arrival().await.answer(event_stream(body));
    (gate, request)
}

async fn event(gate: &Gate, number: u32) {
    send(gate, format!("id: {number}\ndata: {number}\n\n")).await;
}

/// Reads all of an upload.
async fn upload(arrival: &mut Arrival) -> Bytes {
    let upload = soon("the upload", arrival.request.body_mut().collect()).await;
    upload.unwrap().to_bytes()
}

async fn hung_up(gate: &Gate) {
    soon("the hang-up at the upstream", gate.closed()).await;
}

/// Waits until the gateway's one exchange is over, and counted with this outcome and no other.
async fn ended(gateway: &mut Gateway, status: StatusCode, outcome: &str) {
    let status = status.as_u16();
    let logged = [format!("status={status}"), format!("outcome={outcome}")];
    gateway.logs(&logged.each_ref().map(String::as_str)).await;
    let metrics = gateway.metrics().await;
    let labels = [
        format!("status=\"{status}\""),
        format!("outcome=\"{outcome}\""),
    ];
    let labels: &[&str] = &labels.each_ref().map(String::as_str);
    metrics.assert("http_responses_ended_total", &[(labels, 1)]);
    metrics.assert("http_requests_in_flight", &[(&[], 0)]);
}

fn is_json(arrival: &Arrival) -> bool {
    arrival.request.headers().get(CONTENT_TYPE)
        == Some(&HeaderValue::from_static("application/json"))
}
