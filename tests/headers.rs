//! `HeadersLayer`: what its rules do to heads, and what it leaves alone.
#![cfg(feature = "headers")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::{
    cell::RefCell,
    future::{Ready, pending, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use common::Broken;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_passthrough::{
    ResponseHead,
    headers::{HeadersLayer, HeadersLayerBuilder, RequestRule, ResponseRule, Rule, Stage},
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

#[test]
fn each_action_does_what_it_says_on_requests_and_on_responses() {
    for (name, rule, expected) in actions() {
        let after = on_request([rule], BEFORE);
        assert_eq!(listed(&after), owned(expected), "{name} on a request");
    }
    for (name, rule, expected) in actions() {
        let after = on_response([rule], BEFORE);
        assert_eq!(listed(&after), owned(expected), "{name} on a response");
    }
}

#[test]
fn names_and_values_may_be_written_in_each_way() {
    const X_ID: HeaderName = HeaderName::from_static("x-id");
    let latin = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let rules: [(&str, ResponseRule, &str, &[u8]); 11] = [
        ("str", Rule::insert("x-id", "v"), "x-id", b"v"),
        (
            "String",
            Rule::insert("x-id".to_owned(), "v".to_owned()),
            "x-id",
            b"v",
        ),
        (
            "HeaderName, HeaderValue",
            Rule::insert(X_ID, HeaderValue::from_static("v")),
            "x-id",
            b"v",
        ),
        (
            "a constant of http",
            Rule::insert(header::VARY, "accept"),
            "vary",
            b"accept",
        ),
        (
            "the name of a constant",
            Rule::insert("vary", "accept"),
            "vary",
            b"accept",
        ),
        ("an upper-case str", Rule::insert("X-ID", "v"), "x-id", b"v"),
        (
            "an upper-case String",
            Rule::insert("X-Id".to_owned(), "v"),
            "x-id",
            b"v",
        ),
        (
            "a str that is not ASCII",
            Rule::insert("x-id", "caf\u{e9}"),
            "x-id",
            b"caf\xc3\xa9",
        ),
        (
            "a String that is not ASCII",
            Rule::insert("x-id", "\u{1f600}".to_owned()),
            "x-id",
            b"\xf0\x9f\x98\x80",
        ),
        (
            "a HeaderValue that is not UTF-8",
            Rule::insert("x-id", latin),
            "x-id",
            b"caf\xe9",
        ),
        ("an empty str", Rule::insert("x-id", ""), "x-id", b""),
    ];
    for (how, rule, name, value) in rules {
        let after = on_response([rule], &[]);
        assert_eq!(after.len(), 1, "{how}");
        assert_eq!(after[name].as_bytes(), value, "{how}");
    }
    // Other actions take names in the same ways.
    let upper_case = on_response(
        [
            Rule::remove("X-A"),
            Rule::append("X-B", "new"),
            Rule::if_absent("X-B", "never"),
        ],
        BEFORE,
    );
    assert_eq!(listed(&upper_case), owned(&[("x-b", "3"), ("x-b", "new")]));
}

#[test]
fn a_sensitive_value_stays_sensitive() {
    let mut secret = HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    let after = on_request([Rule::insert("authorization", secret)], &[]);
    assert!(after["authorization"].is_sensitive());
}

#[test]
fn rules_are_applied_in_order_and_see_what_those_before_did() {
    let count = |name: &'static str| {
        move |head: &ResponseHead<'_>| {
            let count = head.headers.get_all(name).iter().count();
            Some(HeaderValue::from(count))
        }
    };
    let after = on_response(
        [
            Rule::insert_with("x-count", count("x-a")),
            Rule::append("x-a", "3"),
            Rule::append_with("x-count", count("x-a")),
            Rule::insert("x-a", "4"),
            Rule::append_with("x-count", count("x-a")),
            Rule::remove("x-a"),
            Rule::append_with("x-count", count("x-a")),
            Rule::if_absent("x-a", "5"),
            Rule::if_absent("x-a", "6"),
            ResponseRule::insert("x-b", "7").when(|head| head.headers["x-a"] == "5"),
            ResponseRule::insert("x-b", "8").when(|head| head.headers["x-a"] == "1"),
        ],
        BEFORE,
    );
    assert_eq!(
        listed(&after),
        owned(&[
            ("x-a", "5"),
            ("x-b", "7"),
            ("x-count", "2"),
            ("x-count", "3"),
            ("x-count", "1"),
            ("x-count", "0"),
        ])
    );

    let after = on_request(
        [
            Rule::insert("x-a", "new"),
            RequestRule::insert_with("x-b", |head| head.headers.get("x-a").cloned()),
            Rule::remove("x-a"),
            RequestRule::insert("x-c", "never").when(|head| head.headers.contains_key("x-a")),
        ],
        BEFORE,
    );
    assert_eq!(listed(&after), owned(&[("x-b", "new")]));
}

#[test]
fn values_are_computed_from_the_whole_head() {
    let layer = HeadersLayer::builder()
        .request(RequestRule::insert_with("x-request", |head| {
            let (method, uri, version) = (head.method, head.uri, head.version);
            let size = head.body_size.exact()?;
            let user = head.extensions.get::<&str>()?;
            HeaderValue::try_from(format!("{method} {uri} {version:?} {size} {user}")).ok()
        }))
        .response(ResponseRule::insert_with("x-response", |head| {
            let (status, version, tunnel) = (head.status, head.version, head.tunnel);
            let size = head.body_size.exact()?;
            let user = head.extensions.get::<&str>()?;
            let text = format!("{} {version:?} {size} {user} {tunnel}", status.as_u16());
            HeaderValue::try_from(text).ok()
        }))
        .build()
        .unwrap();
    for (method, status, tunnel) in [
        (Method::GET, 200, false),
        (Method::GET, 101, true),
        (Method::CONNECT, 200, true),
        (Method::CONNECT, 407, false),
    ] {
        let mut request = request(&[]);
        *request.method_mut() = method.clone();
        *request.uri_mut() = "http://h.example/p?q".parse().unwrap();
        *request.version_mut() = Version::HTTP_2;
        request.extensions_mut().insert("alice");
        let mut response = response(&[]);
        *response.status_mut() = status.try_into().unwrap();
        *response.version_mut() = Version::HTTP_10;
        response.extensions_mut().insert("bob");
        let (request, response) = pass(&layer, request, response);
        assert_eq!(
            request.headers()["x-request"],
            format!("{method} http://h.example/p?q HTTP/2.0 5 alice")
        );
        assert_eq!(
            response.headers()["x-response"],
            format!("{status} HTTP/1.0 5 bob {tunnel}")
        );
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let met = |conditions: [bool; 4]| {
        let [head, other_head, path, other_path] = conditions;
        let rule = ResponseRule::insert("x-met", "yes")
            .when(move |_| head)
            .when_request(move |_| path)
            .when(move |_| other_head)
            .when_request(move |_| other_path);
        on_response([rule], &[]).contains_key("x-met")
    };
    for bits in 0..16 {
        let conditions = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        assert_eq!(met(conditions), bits == 15, "{conditions:?}");
    }

    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let rule = RequestRule::insert("x-met", "yes")
            .when(move |_| first)
            .when(move |_| second);
        let met = on_request([rule], &[]).contains_key("x-met");
        assert_eq!(met, first && second, "{first} and {second}");
    }
}

#[test]
fn a_condition_keeps_every_action_from_acting() {
    for (name, rule, _) in actions() {
        let after = on_request([rule.when(|_| false)], BEFORE);
        assert_eq!(listed(&after), owned(BEFORE), "{name} on a request");
    }
    for (name, rule, _) in actions() {
        let after = on_response([rule.when(|_| false)], BEFORE);
        assert_eq!(listed(&after), owned(BEFORE), "{name} on a response");
    }
    for (name, rule, _) in actions() {
        let after = on_response([rule.when_request(|_| false)], BEFORE);
        assert_eq!(listed(&after), owned(BEFORE), "{name} on a response");
    }
    for (name, rule, expected) in actions() {
        let rule = rule.when(|_| true).when_request(|_| true);
        let after = on_response([rule], BEFORE);
        assert_eq!(listed(&after), owned(expected), "{name} on a response");
    }
}

#[test]
fn conditions_look_at_status_and_path() {
    let layer = responses([
        ResponseRule::insert("x-error", "yes").when(|head| head.status.is_server_error()),
        Rule::insert("deprecation", "@1767225600")
            .when_request(|request| request.uri.path().starts_with("/v1/")),
    ]);
    for (path, status, expected) in [
        ("/v1/chat", 200, &[("deprecation", "@1767225600")][..]),
        (
            "/v1/chat",
            503,
            &[("deprecation", "@1767225600"), ("x-error", "yes")],
        ),
        ("/v2/chat", 500, &[("x-error", "yes")]),
        ("/v2/chat", 499, &[]),
    ] {
        let mut request = request(&[]);
        *request.uri_mut() = path.parse().unwrap();
        let mut response = response(&[]);
        *response.status_mut() = status.try_into().unwrap();
        let (_, response) = pass(&layer, request, response);
        assert_eq!(
            listed(response.headers()),
            owned(expected),
            "{path} {status}"
        );
    }
}

#[test]
fn a_condition_on_the_content_type_goes_by_the_media_type_alone() {
    for (content_type, met) in [
        ("text/css", true),
        ("Text/CSS", true),
        ("text/css;charset=utf-8", true),
        (" text/css\t; charset=utf-8", true),
        ("text/css; a=\"x;y\"", true),
        ("text/csss", false),
        ("text/cs", false),
        ("text", false),
        ("", false),
        ("text/html; text/css", false),
    ] {
        let fields = [("content-type", content_type)];
        let rule = ResponseRule::insert("x-met", "yes").when_content_type("text/css");
        let after = on_response([rule], &fields);
        assert_eq!(after.contains_key("x-met"), met, "{content_type:?}");
        let rule = RequestRule::insert("x-met", "yes").when_content_type("TEXT/css");
        let after = on_request([rule], &fields);
        assert_eq!(after.contains_key("x-met"), met, "{content_type:?}");
    }
    let rule = ResponseRule::insert("x-met", "yes").when_content_type("text/css");
    assert_eq!(on_response([rule], &[]).len(), 0);
}

#[test]
fn conditions_on_the_request_judge_it_as_it_came() {
    let layer = HeadersLayer::builder()
        .request(RequestRule::remove("x-debug"))
        .request(RequestRule::insert("x-added", "yes"))
        .response(
            ResponseRule::insert("x-saw-debug", "yes")
                .when_request(|request| request.headers.contains_key("x-debug")),
        )
        .response(
            ResponseRule::insert("x-saw-added", "yes")
                .when_request(|request| request.headers.contains_key("x-added")),
        )
        .build()
        .unwrap();
    let (request, response) = pass(&layer, request(&[("x-debug", "1")]), response(&[]));
    assert_eq!(listed(request.headers()), owned(&[("x-added", "yes")]));
    assert_eq!(listed(response.headers()), owned(&[("x-saw-debug", "yes")]));
}

/// A rule that appends its number if `holds` does, judged by the request.
fn numbered(number: usize, holds: fn(usize) -> bool) -> ResponseRule {
    ResponseRule::append("x-number", number.to_string()).when_request(move |_| holds(number))
}

#[test]
fn sixty_four_rules_may_have_conditions_on_the_request() {
    let rules: [fn(usize) -> bool; 6] = [
        |_| true,
        |_| false,
        |number| number % 2 == 0,
        |number| number % 3 == 0,
        |number| number == 0,
        |number| number == 63,
    ];
    for holds in rules {
        // Rules without such conditions, between the others, do not shift them.
        let layer = responses((0..64).flat_map(|number| {
            let plain = Rule::append("x-plain", "yes");
            [
                plain.when(move |_| number % 2 == 1),
                numbered(number, holds),
            ]
        }));
        let (_, response) = pass(&layer, request(&[]), response(&[]));
        let numbers = response.headers().get_all("x-number");
        let numbers: Vec<usize> = numbers
            .iter()
            .map(|number| number.to_str().unwrap().parse().unwrap())
            .collect();
        let expected: Vec<usize> = (0..64).filter(|number| holds(*number)).collect();
        assert_eq!(numbers, expected);
        assert_eq!(response.headers().get_all("x-plain").iter().count(), 32);
    }
}

#[test]
fn sixty_five_rules_with_conditions_on_the_request_are_refused() {
    let builder = || {
        (0..65).fold(HeadersLayer::builder(), |builder, number| {
            builder.response(numbered(number, |_| true))
        })
    };
    assert_eq!(
        builder().build().unwrap_err().to_string(),
        "more than 64 response rules have conditions on the request: \
         put some of them into a second layer"
    );
    // Several conditions on one rule count once, and rules without any not at all.
    let rule = || numbered(0, |_| true).when_request(|_| true);
    let layer = responses((0..64).map(|_| rule()).chain(
        (0..64).map(|number| ResponseRule::append("x-number", number.to_string()).when(|_| true)),
    ));
    let (_, response) = pass(&layer, request(&[]), response(&[]));
    assert_eq!(response.headers().get_all("x-number").iter().count(), 128);
}

#[test]
fn conditions_are_judged_once_for_each_exchange_and_not_mixed_up() {
    let judged = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&judged);
    let layer = responses(
        [Rule::insert("x-first", "yes").when_request(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            request.uri.path() == "/first"
        })],
    );
    let service = layer.layer(service_fn(|_: Request<Unpolled>| {
        ready(Ok::<_, Broken>(response(&[])))
    }));
    // Both are under way at once.
    let call = |path: &'static str| {
        let mut request = request(&[]);
        *request.uri_mut() = path.parse().unwrap();
        service.clone().call(request)
    };
    let (first, second) = (call("/first"), call("/second"));
    assert_eq!(judged.load(Ordering::SeqCst), 2);
    let second = second.now_or_never().unwrap().unwrap();
    let first = first.now_or_never().unwrap().unwrap();
    assert_eq!(first.headers().len(), 1);
    assert_eq!(second.headers().len(), 0);
    assert_eq!(judged.load(Ordering::SeqCst), 2);
}

const NO_CACHE: &str = "no-cache, no-transform";

#[test]
fn sse_sets_two_fields_on_event_streams_and_nothing_else() {
    for content_type in [
        "text/event-stream",
        "Text/Event-Stream",
        "TEXT/EVENT-STREAM",
        "text/event-stream;charset=utf-8",
        "text/event-stream; charset=UTF-8",
        "text/event-stream ; charset=utf-8; x=y",
        "text/event-stream\t;x",
        "text/event-stream;",
        " text/event-stream",
        "text/event-stream ",
    ] {
        let (request, response) = pass(
            &HeadersLayer::sse(),
            request(&[("accept", "text/event-stream")]),
            response(&[("content-type", content_type)]),
        );
        assert_eq!(
            listed(request.headers()),
            owned(&[("accept", "text/event-stream")])
        );
        assert_eq!(
            listed(response.headers()),
            owned(&[
                ("cache-control", NO_CACHE),
                ("content-type", content_type),
                ("x-accel-buffering", "no"),
            ]),
            "{content_type:?}"
        );
    }
}

#[test]
fn sse_leaves_what_is_not_an_event_stream() {
    for content_type in [
        Some("text/html"),
        Some("application/x-ndjson"),
        Some("application/grpc"),
        Some("text/event-streams"),
        Some("text/event-strea"),
        Some("text/event_stream"),
        Some("text / event-stream"),
        Some("x-text/event-stream"),
        Some("text/html; text/event-stream"),
        Some("text/event-stream, text/html"),
        Some("\"text/event-stream\""),
        Some("text/event-stream\u{e9}"),
        Some(";text/event-stream"),
        Some(""),
        None,
    ] {
        let mut fields = vec![("x-accel-buffering", "yes"), ("cache-control", "private")];
        fields.extend(content_type.map(|content_type| ("content-type", content_type)));
        let (request, response) = pass(
            &HeadersLayer::sse(),
            // Only the response counts.
            request(&[("content-type", "text/event-stream")]),
            response(&fields),
        );
        assert_eq!(response.headers(), &map(&fields), "{content_type:?}");
        assert_eq!(
            listed(request.headers()),
            owned(&[("content-type", "text/event-stream")])
        );
    }
}

#[test]
fn sse_keeps_a_cache_control_and_overrides_x_accel_buffering() {
    for (before, after) in [
        (
            &[("cache-control", "private")][..],
            &[("cache-control", "private"), ("x-accel-buffering", "no")][..],
        ),
        (
            &[("cache-control", "no-cache"), ("cache-control", "no-store")],
            &[
                ("cache-control", "no-cache"),
                ("cache-control", "no-store"),
                ("x-accel-buffering", "no"),
            ],
        ),
        (
            &[("cache-control", "")],
            &[("cache-control", ""), ("x-accel-buffering", "no")],
        ),
        (
            &[("x-accel-buffering", "yes"), ("x-accel-buffering", "maybe")],
            &[("cache-control", NO_CACHE), ("x-accel-buffering", "no")],
        ),
    ] {
        let event_stream = ("content-type", "text/event-stream");
        let mut fields = before.to_vec();
        fields.push(event_stream);
        let (_, response) = pass(&HeadersLayer::sse(), request(&[]), response(&fields));
        let mut expected = owned(after);
        expected.push(owned(&[event_stream]).remove(0));
        expected.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(listed(response.headers()), expected, "{before:?}");
    }
}

#[test]
fn sse_goes_by_the_content_type_of_any_status() {
    for status in [200, 206, 404, 503] {
        let mut response = response(&[("content-type", "text/event-stream")]);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let (_, response) = pass(&HeadersLayer::sse(), request(&[]), response);
        assert_eq!(response.headers().len(), 3, "{status}");
        assert_eq!(response.status(), status);
    }
}

#[test]
fn sse_twice_is_sse() {
    let service = ServiceBuilder::new()
        .layer(HeadersLayer::sse())
        .layer(HeadersLayer::sse())
        .service(service_fn(|_: Request<Unpolled>| {
            let event_stream = [("content-type", "text/event-stream")];
            ready(Ok::<_, Broken>(response(&event_stream)))
        }));
    let response = service.oneshot(request(&[])).now_or_never();
    assert_eq!(response.unwrap().unwrap().headers().len(), 3);
}

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

const CONNECTION_SPECIFIC: &str = "the field is connection-specific: HTTP/2 forbids it \
    (RFC 9113 section 8.2.2), on HTTP/1 it is the server's own";
const TE: &str = "the field is connection-specific: HTTP/2 allows nothing but `trailers` in it \
    (RFC 9113 section 8.2.2), which is the client's own";
const LENGTH: &str = "the field tells the length of a body that this layer does not know";
const TRAILER: &str = "the field announces the trailers of a body that this layer does not know";

#[test]
fn what_no_rule_may_name_is_refused_with_the_reason() {
    for (name, why) in [
        ("connection", CONNECTION_SPECIFIC),
        ("keep-alive", CONNECTION_SPECIFIC),
        ("proxy-connection", CONNECTION_SPECIFIC),
        ("transfer-encoding", CONNECTION_SPECIFIC),
        ("upgrade", CONNECTION_SPECIFIC),
        ("te", TE),
        ("content-length", LENGTH),
        ("trailer", TRAILER),
        ("Connection", CONNECTION_SPECIFIC),
        ("KEEP-ALIVE", CONNECTION_SPECIFIC),
        ("Proxy-Connection", CONNECTION_SPECIFIC),
        ("Transfer-Encoding", CONNECTION_SPECIFIC),
        ("UPGRADE", CONNECTION_SPECIFIC),
        ("Content-Length", LENGTH),
        ("Trailer", TRAILER),
    ] {
        // It is called as it was written.
        let expected = format!("header rule for `{name}`: {why}");
        for (action, rule) in naming(name) {
            assert_eq!(refused_request(rule), expected, "{action}");
        }
        for (action, rule) in naming(name) {
            // Neither conditions nor other rules make it right.
            let rule = rule.when(|_| false).when_content_type("text/css");
            assert_eq!(refused_response(rule), expected, "{action}");
        }
    }
    assert_eq!(
        refused_response(Rule::insert("CONNECTION", "close")),
        format!("header rule for `CONNECTION`: {CONNECTION_SPECIFIC}"),
        "a static name"
    );
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        assert_eq!(
            refused_response(Rule::remove(name.clone())),
            format!("header rule for `{name}`: {CONNECTION_SPECIFIC}"),
        );
    }
}

#[test]
fn names_next_to_the_refused_ones_are_not_refused() {
    for name in [
        "tea",
        "trailers",
        "content-type",
        "x-connection",
        "via",
        "host",
    ] {
        for (action, rule) in naming(name) {
            let built = HeadersLayer::builder().request(rule).build();
            assert!(built.is_ok(), "{action} {name}");
        }
        for (action, rule) in naming(name) {
            let built = HeadersLayer::builder().response(rule).build();
            assert!(built.is_ok(), "{action} {name}");
        }
    }
}

#[test]
fn invalid_names_are_refused() {
    for name in ["", "x y", "x:y", "x\n", "caf\u{e9}", ":status"] {
        let expected = format!("header rule for `{name}`: invalid HTTP header name");
        for (action, rule) in naming(name) {
            assert_eq!(refused_request(rule), expected, "{action}");
        }
        for (action, rule) in naming(name) {
            assert_eq!(refused_response(rule), expected, "{action}");
        }
    }
    assert_eq!(
        refused_response(Rule::insert("x y", "v")),
        "header rule for `x y`: invalid HTTP header name"
    );
}

#[test]
fn invalid_values_are_refused() {
    const WHY: &str = "header rule for `x-id`: failed to parse header value";
    for value in ["a\nb", "a\r\nx-evil: 1", "\0", "\u{7f}", "a\x1b"] {
        assert_eq!(refused_request(Rule::insert("X-ID", value)), WHY);
        assert_eq!(refused_response(Rule::insert("x-id", value)), WHY);
        assert_eq!(refused_response(Rule::append("x-id", value)), WHY);
        assert_eq!(refused_response(Rule::if_absent("x-id", value)), WHY);
        let value = value.to_owned();
        assert_eq!(refused_response(Rule::insert("x-id", value)), WHY);
    }
}

#[test]
fn invalid_media_types_are_refused() {
    for media_type in [
        "",
        "text",
        "text/",
        "/css",
        "text/css; charset=utf-8",
        "text/css ",
        "text /css",
        "text/c/ss",
        "text/caf\u{e9}",
        "text/*/x",
    ] {
        let expected = format!(
            "header rule for `x-id`: `{media_type}` is not a media type: \
             write `type/subtype`, without parameters"
        );
        let rule = RequestRule::insert("x-id", "v").when_content_type(media_type);
        assert_eq!(refused_request(rule), expected);
        let rule = ResponseRule::remove("x-id").when_content_type(media_type);
        assert_eq!(refused_response(rule), expected);
    }
}

#[test]
fn the_first_fault_is_the_one_that_is_told() {
    let rule = ResponseRule::insert("connection", "\n").when_content_type("css");
    assert_eq!(
        refused_response(rule),
        format!("header rule for `connection`: {CONNECTION_SPECIFIC}")
    );
    let error = HeadersLayer::builder()
        .response(ResponseRule::insert("trailer", "x"))
        .response(ResponseRule::insert("x y", "x"))
        .request(RequestRule::insert("x-fine", "x"))
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("header rule for `trailer`: {TRAILER}")
    );
}

/// As many different fields as a header map can hold.
fn full() -> HeaderMap {
    let mut map = HeaderMap::new();
    for number in 0.. {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        if map.try_insert(name, HeaderValue::from(number)).is_err() {
            break;
        }
    }
    map
}

#[test]
fn a_full_header_map_is_no_panic() {
    let full = full();
    let rules = || {
        naming("x-new").into_iter().chain([
            ("insert", Rule::insert("x-new", "v")),
            (
                "insert_with",
                Rule::insert_with("x-new", |_| Some(HeaderValue::from_static("v"))),
            ),
            (
                "append_with",
                Rule::append_with("x-new", |_| Some(HeaderValue::from_static("v"))),
            ),
            (
                "if_absent_with",
                Rule::if_absent_with("x-new", |_| Some(HeaderValue::from_static("v"))),
            ),
        ])
    };
    for (action, rule) in rules() {
        let mut response = response(&[]);
        *response.headers_mut() = full.clone();
        let (_, response) = pass(&responses([rule]), request(&[]), response);
        assert!(*response.headers() == full, "{action}");
    }

    // There is room again once a rule has made some.
    let mut request = request(&[]);
    *request.headers_mut() = full.clone();
    let layer = requests([
        Rule::insert("x-refused", "v"),
        Rule::remove("x-7"),
        Rule::insert("x-new", "v"),
    ]);
    let (request, _) = pass(&layer, request, response(&[]));
    assert_eq!(request.headers().keys_len(), full.keys_len());
    assert_eq!(request.headers().get("x-refused"), None);
    assert_eq!(request.headers().get("x-7"), None);
    assert_eq!(request.headers()["x-new"], "v");
}

#[test]
fn a_rule_on_a_field_of_a_full_header_map_is_no_panic() {
    let mut full = full();
    for name in ["x-0", "x-1"] {
        drop(full.remove(name));
    }
    full.extend(map(BEFORE));
    for (action, rule, expected) in actions() {
        let mut response = response(&[]);
        *response.headers_mut() = full.clone();
        let (_, response) = pass(&responses([rule]), request(&[]), response);
        let mut after = listed(response.headers());
        after.retain(|(name, _)| ["x-a", "x-b", "x-c"].contains(&&**name));
        // A full map takes no new field, and perhaps no other value for one that it has.
        let is_applied = after == owned(expected);
        let is_left = after == owned(BEFORE) && !action.starts_with("remove");
        assert!(is_applied || is_left, "{action}: {after:?}");
    }
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
