//! The client, and an upstream that does what a test tells it to.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::soon;

pub(crate) type Body = BoxBody<Bytes, io::Error>;
pub(crate) type Gate = mpsc::Sender<io::Result<Frame<Bytes>>>;

/// A body of unknown length that yields what is sent through the gate.
///
/// `Gate::closed` tells that the body was dropped.
pub(crate) fn gated() -> (Gate, Body) {
    let (gate, frames) = mpsc::channel(1);
    let frames = stream::unfold(frames, |mut frames| async {
        frames.recv().await.map(|frame| (frame, frames))
    });
    (gate, StreamBody::new(frames).boxed())
}

pub(crate) fn full(text: &'static str) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) async fn send(gate: &Gate, text: &'static str) {
    let frame = Frame::data(Bytes::from(text));
    soon("the gate", gate.send(Ok(frame))).await.unwrap();
}

pub(crate) async fn send_trailers(gate: &Gate, trailers: HeaderMap) {
    let frame = Frame::trailers(trailers);
    soon("the gate", gate.send(Ok(frame))).await.unwrap();
}

pub(crate) async fn fail(gate: &Gate) {
    let error = io::Error::other("broken on purpose");
    soon("the gate", gate.send(Err(error))).await.unwrap();
}

/// Reads just this, in however many pieces.
pub(crate) async fn read(body: &mut Incoming, wanted: &str) {
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        let frame = soon(wanted, body.frame()).await.expect("more of it");
        got.extend_from_slice(&frame.unwrap().into_data().expect("data"));
    }
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

/// Reads on to a clean end that nothing precedes; HTTP/2 may say it with an empty frame.
pub(crate) async fn read_end(body: &mut Incoming) {
    let rest = soon("the end", body.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "");
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = soon("the whole body", response.into_body().collect()).await;
    String::from_utf8(body.unwrap().to_bytes().into()).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

impl Protocol {
    pub(crate) fn client(self) -> Client<HttpConnector, Body> {
        Client::builder(TokioExecutor::new())
            .http2_only(self == Self::Http2)
            .build_http()
    }
}

pub(crate) fn request(method: Method, url: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(url);
    request.body(body).unwrap()
}

/// Sends a request in the background; aborting the task hangs up.
pub(crate) fn ask(
    client: &Client<HttpConnector, Body>,
    request: Request<Body>,
) -> JoinHandle<Result<Response<Incoming>, Error>> {
    tokio::spawn(client.request(request))
}

pub(crate) async fn answer_of(
    asked: JoinHandle<Result<Response<Incoming>, Error>>,
) -> Response<Incoming> {
    soon("the response head", asked).await.unwrap().unwrap()
}

pub(crate) async fn get(url: &str) -> Response<Incoming> {
    let client = Protocol::Http1.client();
    answer_of(ask(&client, request(Method::GET, url, empty()))).await
}

/// An HTTP/1 server whose requests are answered by the test.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// A request that has reached the upstream. Dropped, its connection breaks without an answer.
pub(crate) struct Arrival {
    pub(crate) request: Request<Incoming>,
    answer: oneshot::Sender<Response<Body>>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let sender = sender.clone();
                let service = service_fn(move |request| {
                    let (answer, answered) = oneshot::channel();
                    let _ = sender.send(Arrival { request, answer });
                    answered
                });
                tokio::spawn(async move {
                    auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(tcp), service)
                        .await
                });
            }
        });
        Self { address, arrivals }
    }

    pub(crate) async fn arrival(&mut self) -> Arrival {
        let arrival = soon("a request at the upstream", self.arrivals.recv()).await;
        arrival.unwrap()
    }
}

impl Arrival {
    pub(crate) fn answer(self, response: Response<Body>) -> Request<Incoming> {
        assert!(self.answer.send(response).is_ok(), "the gateway has gone");
        self.request
    }

    /// Waits until nobody wants the answer any more.
    pub(crate) async fn abandoned(&mut self) {
        soon("the hang-up at the upstream", self.answer.closed()).await;
    }
}
