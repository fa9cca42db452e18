//! The layers around a client: what they watch is what the client gives to its user.
#![cfg(all(feature = "capture", feature = "headers", feature = "metrics"))]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "common/stack.rs"]
mod stack;

use std::{future::IntoFuture, net::Ipv4Addr};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use stack::{Witness, stack};
use tokio::net::TcpListener;
use tower::ServiceExt;

/// What a client that wears the layers is told of one exchange with this server. `None` asks a
/// port at which nobody listens. The body is read to its end, or let go after one frame.
async fn story(server: Option<Router>, to_its_end: bool) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    match server {
        Some(router) => drop(tokio::spawn(axum::serve(listener, router).into_future())),
        None => drop(listener),
    }
    let witness = Witness::default();
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let request = Request::get(uri).body(Empty::new()).unwrap();
    if let Ok(mut response) = stack(&witness, client).oneshot(request).await {
        if to_its_end {
            response.collect().await.unwrap();
        } else {
            response.frame().await.unwrap().unwrap();
        }
    }
    witness.story()
}

#[tokio::test]
async fn each_way_in_which_a_request_can_end_is_told_once() {
    let whole = Router::new().route("/", get(|| async { "hello" }));
    let endless = Router::new().route(
        "/",
        get(|| async {
            let first = stream::iter([Ok::<_, std::io::Error>("first")]);
            Body::from_stream(first.chain(stream::pending()))
        }),
    );
    assert_eq!(story(Some(whole), true).await, "200 5 complete");
    assert_eq!(story(Some(endless), false).await, "200 5 disconnected");
    assert_eq!(story(None, true).await, "service_error");
}
