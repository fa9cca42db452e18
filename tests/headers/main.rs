//! `HeadersLayer`: what its rules do to heads, and what it leaves alone.
#![cfg(feature = "headers")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod actions;
#[path = "../common/mod.rs"]
mod common;
mod conditions;
mod full;
mod refused;
mod sse;
mod untouched;

use std::{
    cell::RefCell,
    future::ready,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use common::Broken;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, ServiceExt, service_fn};
use tower_passthrough::headers::{
    HeadersLayer, HeadersLayerBuilder, RequestRule, ResponseRule, Rule, Stage,
};

/// A body of which nothing is asked: neither `Send` nor `Default`, and it is never polled.
#[derive(Debug, PartialEq, Eq)]
struct Unpolled(u64, PhantomData<*const ()>);

const UNPOLLED: Unpolled = Unpolled(5, PhantomData);

impl Body for Unpolled {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        panic!("polled")
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

type Fields<'a> = [(&'a str, &'a str)];

fn map(fields: &Fields<'_>) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| (name.parse().unwrap(), bytes(value));
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        let _: bool = map.append::<HeaderName>(name, value);
    }
    map
}

/// A value as it is, ASCII or not.
fn bytes(value: &str) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap()
}

/// The fields by name, the values of each in their order.
fn listed(map: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).unwrap();
    let mut listed: Vec<_> = map
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    listed.sort_by(|(one, _), (other, _)| one.cmp(other));
    listed
}

fn owned(fields: &Fields<'_>) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(owned).collect()
}

fn request(fields: &Fields<'_>) -> Request<Unpolled> {
    let mut request = Request::new(UNPOLLED);
    *request.headers_mut() = map(fields);
    request
}

fn response(fields: &Fields<'_>) -> Response<Unpolled> {
    let mut response = Response::new(UNPOLLED);
    *response.headers_mut() = map(fields);
    response
}

/// Passes a request and its response through the layer: what the service gets, and what its caller
/// gets. The response has the type of the service's own, or this would not compile.
fn pass(
    layer: &HeadersLayer,
    request: Request<Unpolled>,
    response: Response<Unpolled>,
) -> (Request<Unpolled>, Response<Unpolled>) {
    let seen = RefCell::new(None);
    let answer = RefCell::new(Some(response));
    let service = layer.layer(service_fn(|request: Request<Unpolled>| {
        seen.replace(Some(request));
        ready(Ok::<_, Broken>(answer.take().unwrap()))
    }));
    let response: Response<Unpolled> = service.oneshot(request).now_or_never().unwrap().unwrap();
    (seen.take().unwrap(), response)
}

fn requests(rules: impl IntoIterator<Item = RequestRule>) -> HeadersLayer {
    let add = |builder: HeadersLayerBuilder, rule| builder.request(rule);
    let rules = rules.into_iter();
    rules.fold(HeadersLayer::builder(), add).build().unwrap()
}

fn responses(rules: impl IntoIterator<Item = ResponseRule>) -> HeadersLayer {
    let add = |builder: HeadersLayerBuilder, rule| builder.response(rule);
    let rules = rules.into_iter();
    rules.fold(HeadersLayer::builder(), add).build().unwrap()
}

/// What becomes of the fields of a request.
fn on_request(rules: impl IntoIterator<Item = RequestRule>, fields: &Fields<'_>) -> HeaderMap {
    let (request, response) = pass(&requests(rules), request(fields), response(fields));
    assert_eq!(response.headers(), &map(fields), "the response is left");
    request.into_parts().0.headers
}

/// What becomes of the fields of a response.
fn on_response(rules: impl IntoIterator<Item = ResponseRule>, fields: &Fields<'_>) -> HeaderMap {
    let (request, response) = pass(&responses(rules), request(fields), response(fields));
    assert_eq!(request.headers(), &map(fields), "the request is left");
    response.into_parts().0.headers
}

/// The message of the error with which a rule is refused.
fn refused_request(rule: RequestRule) -> String {
    let layer = HeadersLayer::builder().request(rule).build();
    layer.unwrap_err().to_string()
}

fn refused_response(rule: ResponseRule) -> String {
    let layer = HeadersLayer::builder().response(rule).build();
    layer.unwrap_err().to_string()
}

const BEFORE: &Fields<'static> = &[("x-a", "1"), ("x-a", "2"), ("x-b", "3")];

/// Each action: on a field with two values, and on one that is absent.
fn actions<S: Stage>() -> Vec<(&'static str, Rule<S>, &'static Fields<'static>)> {
    const INSERTED: &Fields<'static> = &[("x-a", "new"), ("x-b", "3")];
    const APPENDED: &Fields<'static> = &[("x-a", "1"), ("x-a", "2"), ("x-a", "new"), ("x-b", "3")];
    const ADDED: &Fields<'static> = &[("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("x-c", "new")];

    let new = || Some(HeaderValue::from_static("new"));
    vec![
        ("insert", Rule::insert("x-a", "new"), INSERTED),
        ("insert, absent", Rule::insert("x-c", "new"), ADDED),
        ("append", Rule::append("x-a", "new"), APPENDED),
        ("append, absent", Rule::append("x-c", "new"), ADDED),
        ("if_absent", Rule::if_absent("x-a", "new"), BEFORE),
        ("if_absent, absent", Rule::if_absent("x-c", "new"), ADDED),
        ("remove", Rule::remove("x-a"), &[("x-b", "3")]),
        ("remove, absent", Rule::remove("x-c"), BEFORE),
        (
            "insert_with",
            Rule::insert_with("x-a", move |_| new()),
            INSERTED,
        ),
        (
            "insert_with, absent",
            Rule::insert_with("x-c", move |_| new()),
            ADDED,
        ),
        (
            "insert_with nothing",
            Rule::insert_with("x-a", |_| None),
            BEFORE,
        ),
        (
            "append_with",
            Rule::append_with("x-a", move |_| new()),
            APPENDED,
        ),
        (
            "append_with, absent",
            Rule::append_with("x-c", move |_| new()),
            ADDED,
        ),
        (
            "append_with nothing",
            Rule::append_with("x-a", |_| None),
            BEFORE,
        ),
        (
            "if_absent_with",
            Rule::if_absent_with("x-a", |_| panic!("not called")),
            BEFORE,
        ),
        (
            "if_absent_with, absent",
            Rule::if_absent_with("x-c", move |_| new()),
            ADDED,
        ),
        (
            "if_absent_with nothing, absent",
            Rule::if_absent_with("x-c", |_| None),
            BEFORE,
        ),
    ]
}

/// Every action with this name.
fn naming<S: Stage>(name: &str) -> [(&'static str, Rule<S>); 7] {
    let name = || name.to_owned();
    [
        ("insert", Rule::insert(name(), "v")),
        ("append", Rule::append(name(), "v")),
        ("if_absent", Rule::if_absent(name(), "v")),
        ("remove", Rule::remove(name())),
        ("insert_with", Rule::insert_with(name(), |_| None)),
        ("append_with", Rule::append_with(name(), |_| None)),
        ("if_absent_with", Rule::if_absent_with(name(), |_| None)),
    ]
}

#[test]
fn a_layer_tells_its_rules() {
    let layer = HeadersLayer::builder()
        .request(RequestRule::remove("x-debug"))
        .response(
            ResponseRule::append("x-id", "secret")
                .when(|_| true)
                .when_request(|_| true),
        )
        .build()
        .unwrap();
    let debug = format!("{layer:?}");
    assert!(
        debug.contains("action: remove, name: \"x-debug\", conditions: 0"),
        "{debug}"
    );
    assert!(
        debug.contains("action: append, name: \"x-id\", conditions: 2"),
        "{debug}"
    );
    assert!(!debug.contains("secret"), "{debug}");
}
