//! Event streams that the test feeds: what must have arrived is read while nothing more can come.
#![allow(dead_code, reason = "each test file uses a part")]

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, Stream},
};
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use tokio::sync::mpsc;

/// What a test sends with. Its stream ends when it is dropped, and it knows when the stream was.
pub(crate) type Gate<T = Bytes> = mpsc::Sender<T>;

/// Yields what is sent through the gate.
pub(crate) fn gated<T>() -> (Gate<T>, impl Stream<Item = T> + use<T>) {
    let (gate, items) = mpsc::channel(1);
    let items = stream::unfold(items, async |mut items| Some((items.recv().await?, items)));
    (gate, items)
}

/// The same as a body.
pub(crate) fn gated_body() -> (Gate, Body) {
    let (gate, data) = gated();
    (gate, Body::from_stream(data.map(Ok::<_, Infallible>)))
}

pub(crate) fn event_stream<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
