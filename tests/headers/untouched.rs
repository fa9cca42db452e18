//! What no rule names: the rest of the heads, bodies, errors and readiness.

use std::{
    future::{Ready, pending, ready},
    marker::PhantomData,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_passthrough::headers::{HeadersLayer, RequestRule, ResponseRule};

use crate::{
    BEFORE, UNPOLLED, Unpolled, common::Broken, listed, map, owned, pass, request, response,
};

#[test]
fn all_that_no_rule_names_is_left_alone() {
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Own(&'static str);

    // The last word on these stays with the service and its server.
    let foreign = [
        ("connection", "upgrade"),
        ("content-length", "5"),
        ("keep-alive", "timeout=5"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("set-cookie", "a=3"),
        ("trailer", "x-checksum"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("x-latin", "caf\u{e9}"),
    ];
    let layer = HeadersLayer::builder()
        .request(RequestRule::insert("x-new", "1"))
        .request(RequestRule::remove("x-old"))
        .response(ResponseRule::insert("x-new", "1"))
        .response(ResponseRule::remove("x-old"))
        .build()
        .unwrap();
    let mut fields = foreign.to_vec();
    fields.push(("x-old", "0"));

    let mut request = request(&fields);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "http://h.example/p?q".parse().unwrap();
    *request.version_mut() = Version::HTTP_10;
    request.extensions_mut().insert(Own("request"));
    let mut response = response(&fields);
    *response.status_mut() = StatusCode::IM_A_TEAPOT;
    *response.version_mut() = Version::HTTP_2;
    response.extensions_mut().insert(Own("response"));
    let (request, response) = pass(&layer, request, response);

    let mut expected = owned(&foreign);
    expected.push(("x-new".to_owned(), "1".to_owned()));
    let (head, body) = request.into_parts();
    assert_eq!(listed(&head.headers), expected);
    assert_eq!(head.method, Method::POST);
    assert_eq!(head.uri, "http://h.example/p?q");
    assert_eq!(head.version, Version::HTTP_10);
    assert_eq!(head.extensions.get(), Some(&Own("request")));
    assert_eq!(head.extensions.len(), 1);
    assert_eq!(body, UNPOLLED);
    let (head, body) = response.into_parts();
    assert_eq!(listed(&head.headers), expected);
    assert_eq!(head.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(head.version, Version::HTTP_2);
    assert_eq!(head.extensions.get(), Some(&Own("response")));
    assert_eq!(head.extensions.len(), 1);
    assert_eq!(body, UNPOLLED);
}

#[test]
fn a_layer_without_rules_does_nothing() {
    let layer = HeadersLayer::builder().build().unwrap();
    let (request, response) = pass(&layer, request(BEFORE), response(BEFORE));
    assert_eq!(request.headers(), &map(BEFORE));
    assert_eq!(response.headers(), &map(BEFORE));
}

/// A service whose body type cannot be told apart by its traits: if the layer changed it, this
/// would not compile.
#[test]
fn the_body_keeps_its_type() {
    fn body_of<S>(_: &S) -> PhantomData<S::Response>
    where
        S: Service<Request<Full<Bytes>>>,
    {
        PhantomData
    }
    let inner = service_fn(|_: Request<Full<Bytes>>| ready(Ok::<_, Broken>(response(&[]))));
    let outer = HeadersLayer::sse().layer(inner);
    let _: [PhantomData<Response<Unpolled>>; 2] = [body_of(&inner), body_of(&outer)];
}

#[test]
fn an_error_of_the_service_passes() {
    let layer = HeadersLayer::builder()
        .request(RequestRule::insert("x-new", "1"))
        .response(ResponseRule::insert_with("x-new", |_| {
            panic!("there is no response")
        }))
        .build()
        .unwrap();
    let service = layer.layer(service_fn(|request: Request<Unpolled>| {
        assert_eq!(request.headers()["x-new"], "1");
        ready(Err::<Response<Unpolled>, _>(Broken))
    }));
    let result = service.oneshot(request(&[])).now_or_never().unwrap();
    assert_eq!(result.unwrap_err(), Broken);
}

/// Is not ready at first, then is, then fails.
struct Unready(u8);

impl Service<Request<Unpolled>> for Unready {
    type Response = Response<Unpolled>;
    type Error = Broken;
    type Future = Ready<Result<Response<Unpolled>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0 += 1;
        match self.0 {
            1 => Poll::Pending,
            2 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Broken)),
        }
    }

    fn call(&mut self, _: Request<Unpolled>) -> Self::Future {
        ready(Ok(response(&[])))
    }
}

#[test]
fn a_service_that_pends_or_is_not_ready_is_waited_for() {
    let pends = HeadersLayer::sse().layer(service_fn(|_: Request<Unpolled>| {
        pending::<Result<Response<Unpolled>, Broken>>()
    }));
    assert!(pends.oneshot(request(&[])).now_or_never().is_none());

    let mut service = HeadersLayer::sse().layer(Unready(0));
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || service.poll_ready(&mut cx);
    assert_eq!(poll(), Poll::Pending);
    assert_eq!(poll(), Poll::Ready(Ok(())));
    assert_eq!(poll(), Poll::Ready(Err(Broken)));
}
