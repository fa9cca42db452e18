//! What other layers get wrong: one test each, over HTTP/1.1 and HTTP/2.

mod counts;
mod labels;
mod open;
mod sizes;

use std::{fmt::Debug, future::ready};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tower::{Layer, service_fn};
use tower_passthrough::{metrics::MetricsLayer, observe::Outcome};

use crate::{
    books::{Entry, Expected, Exporter, assert_agree},
    common::{
        Broken, End, Script, Size,
        Step::{self},
    },
    net::{Client, Proto, RequestBody, Served, Server, loopback, no_body, serve, soon},
    replies::Reply,
};

const PROTOS: [Proto; 2] = [Proto::H1, Proto::H2];

/// Both ends of a connection.
struct Connection {
    client: Client,
    server: Server,
}

impl Connection {
    async fn open(proto: Proto, service: impl Served) -> Self {
        let (near, far) = loopback().await;
        let server = serve(proto, far, service);
        let client = Client::connect(proto, near).await;
        Self { client, server }
    }

    async fn ask(&mut self, request: Request<RequestBody>) -> hyper::Result<Response<Incoming>> {
        self.client.send(request).await
    }

    async fn get(&mut self) -> Response<Incoming> {
        self.ask(get()).await.unwrap()
    }

    /// The client leaves. Back when the server has let go of everything.
    async fn leave(self) {
        drop(self.client);
        self.server.closed().await;
    }
}

/// Wraps a service that answers all requests so.
fn answering(
    layer: &MetricsLayer,
    reply: impl Fn() -> Reply + Clone + Send + 'static,
) -> impl Served {
    layer.layer(service_fn(move |_: Request<Incoming>| ready(reply())))
}

fn request(method: Method) -> http::request::Builder {
    Request::builder().method(method).uri("http://a/")
}

fn get() -> Request<RequestBody> {
    request(Method::GET).body(no_body()).unwrap()
}

/// A body of unknown size that shows its end to nobody.
fn script(steps: impl IntoIterator<Item = Step>) -> Script {
    Script::new(steps, Size::Unknown, End::Hidden)
}

fn frame(length: usize) -> Frame<Bytes> {
    Frame::data(vec![b'x'; length].into())
}

/// Yields one frame, and then stays open.
fn open_after(length: usize) -> impl Body<Data = Bytes, Error = Broken> + Send {
    StreamBody::new(stream::iter([Ok(frame(length))]).chain(stream::pending()))
}

/// Reads to the end, or to where it breaks.
async fn read(response: Response<Incoming>) -> usize {
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(Ok(frame)) = soon(body.frame()).await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    bytes
}

async fn read_bytes(body: &mut Incoming, bytes: usize) {
    let mut read = 0;
    while read < bytes {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(read, bytes);
}

/// A GET with a sized response of no bytes that is complete.
fn entry(status: u16) -> Entry {
    Entry {
        base: vec![("method", "GET")],
        status,
        has_head: true,
        kind: "unary",
        outcome: Some(Outcome::Complete),
        request_bytes: Some(0),
        response_bytes: 0,
        has_first_byte: false,
        call: None,
    }
}

fn sized(status: u16, bytes: u64) -> Entry {
    Entry {
        response_bytes: bytes,
        ..entry(status)
    }
}

fn streamed(bytes: u64, outcome: Outcome) -> Entry {
    Entry {
        kind: "stream",
        outcome: Some(outcome),
        response_bytes: bytes,
        has_first_byte: bytes > 0,
        ..entry(200)
    }
}

fn headless(status: u16, outcome: Outcome) -> Entry {
    Entry {
        has_head: false,
        outcome: Some(outcome),
        ..entry(status)
    }
}

fn assert_tells(
    exporter: &Exporter,
    entries: impl IntoIterator<Item = Entry>,
    context: impl Debug,
) {
    let context = format!("{context:?}");
    assert_agree(&exporter.series(), &Expected::of(entries), &context);
}
