//! A client of hyper's.

use std::io;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinHandle;

use crate::patience::soon;

pub(crate) type Body = BoxBody<Bytes, io::Error>;
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
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
