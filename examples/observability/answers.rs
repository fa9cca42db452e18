//! What there is to ask for.

use std::{convert::Infallible, io, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, sse},
};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::time::sleep;

pub(crate) async fn echo(it: Json<serde_json::Value>) -> Json<serde_json::Value> {
    it
}

pub(crate) async fn status(Path(code): Path<u16>) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)
}

pub(crate) async fn slow(Path(millis): Path<u64>) -> &'static str {
    sleep(Duration::from_millis(millis)).await;
    "at last\n"
}

fn ticks(count: u64) -> impl Stream<Item = io::Result<sse::Event>> {
    stream::iter(1..=count).then(async |n| {
        sleep(Duration::from_millis(60)).await;
        Ok(sse::Event::default().data(n.to_string()))
    })
}

pub(crate) async fn events(Path(count): Path<u64>) -> impl IntoResponse {
    sse::Sse::new(ticks(count))
}

pub(crate) async fn broken(Path(count): Path<u64>) -> impl IntoResponse {
    let failure = io::Error::other("out of luck");
    sse::Sse::new(ticks(count).chain(stream::iter([Err(failure)])))
}

const GRPC: [(&str, &str); 1] = [("content-type", "application/grpc")];

/// An empty message, and the status `OK` in the trailers.
pub(crate) async fn grpc_message() -> impl IntoResponse {
    sleep(Duration::from_millis(600)).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let message = Frame::data(Bytes::from_static(&[0; 5]));
    let frames = [message, Frame::trailers(trailers)].map(Ok::<_, Infallible>);
    (GRPC, Body::new(StreamBody::new(stream::iter(frames))))
}

/// A status in the header fields, and no message.
pub(crate) fn grpc_status(status: &'static str) -> impl IntoResponse + Clone {
    (GRPC, [("grpc-status", status)])
}
