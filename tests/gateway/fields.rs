//! Header fields about one connection, or one hop, on their way through the gateway.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use crate::{
    Gateway,
    raw::{Heard, Recorder, say},
    upstream::{Upstream, full},
    wire::{BOTH, Protocol, answer_of, ask, empty, request, text},
};

pub(crate) type Fields = &'static [(&'static str, &'static str)];

pub(crate) fn fields(listed: Fields) -> HeaderMap {
    let field = |&(name, value)| {
        let value = HeaderValue::from_static(value);
        (HeaderName::from_static(name), value)
    };
    listed.iter().map(field).collect()
}

/// What reaches the upstream of these fields, without those that the gateway adds.
async fn forwarded(upstream: &mut Upstream, gateway: &Gateway, sent: Fields) -> HeaderMap {
    let mut post = request(Method::POST, &gateway.chat(), full("hello"));
    *post.headers_mut() = fields(sent);
    let asked = ask(&Protocol::Http1.client(), post);
    let arrival = upstream.arrival().await;
    let mut got = arrival.request.headers().clone();
    arrival.answer(Response::new(empty()));
    answer_of(asked).await;
    for added in [
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ] {
        assert!(got.remove(added).is_some(), "{added}");
    }
    got
}

/// What a client sends, and what of it reaches the upstream: RFC 9110 §7.6.1.
const ABOUT_CONNECTION: [(Fields, Fields); 8] = [
    (&[("connection", "keep-alive")], &[]),
    (
        &[("connection", "keep-alive, X-Private"), ("x-private", "1")],
        &[],
    ),
    (
        &[
            ("connection", "x-a ,, X-B"),
            ("connection", "x-c"),
            ("x-a", "1"),
            ("x-b", "1"),
            ("x-c", "1"),
            ("x-d", "1"),
        ],
        &[("x-d", "1")],
    ),
    (
        &[
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "not named by connection"),
        ],
        &[],
    ),
    // What is said of trailers is said to the upstream anew.
    (
        &[("te", "deflate, Trailers")],
        &[("connection", "te"), ("te", "trailers")],
    ),
    (&[("te", "deflate")], &[]),
    // Names that nobody may take away.
    (
        &[
            ("connection", "host, content-length, te"),
            ("te", "trailers"),
        ],
        &[("connection", "te"), ("te", "trailers")],
    ),
    (&[("trailer", "x-sum")], &[("trailer", "x-sum")]),
];

#[tokio::test]
async fn request_fields_about_the_connection_stay_on_their_side() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    for (sent, wanted) in ABOUT_CONNECTION {
        let mut got = forwarded(&mut upstream, &gateway, sent).await;
        assert_eq!(got.remove("content-length").unwrap(), "5", "{sent:?}");
        assert_eq!(got, fields(wanted), "{sent:?}");
    }
}

#[tokio::test]
async fn what_is_no_token_does_not_hide_the_others_that_connection_names() {
    let mut upstream = Recorder::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    let said = b"GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\
        connection: x-a, \xff\r\nconnection: close\r\n\r\n";
    let answer = say(&gateway, said).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    match upstream.next().await {
        Heard::Whole(heard) => assert!(!heard.contains("\r\nx-a:"), "{heard}"),
        broken @ Heard::Broken(_) => panic!("{broken:?}"),
    }
}

#[tokio::test]
async fn response_fields_about_the_connection_stay_on_their_side() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::in_front_of(upstream.address).await;
        let client = protocol.client();
        let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
        let mut response = Response::new(full("hello back"));
        *response.headers_mut() = fields(&[
            ("connection", "X-Internal, content-length"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("x-public", "1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        upstream.arrival().await.answer(response);
        let response = answer_of(asked).await;
        let mut got = response.headers().clone();
        assert!(got.remove("date").is_some());
        let wanted = fields(&[
            ("x-public", "1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("content-length", "10"),
            ("via", "1.1 gateway"),
        ]);
        assert_eq!(got, wanted, "{protocol:?}");
        assert_eq!(text(response).await, "hello back");
    }
}

/// What a client sends, and its `max-forwards` at the upstream: RFC 9110 §7.6.2.
const HOPS: [(&str, &str, Option<&str>); 7] = [
    ("OPTIONS", "max-forwards: 2\r\n", Some("1")),
    ("OPTIONS", "max-forwards: 1\r\n", Some("0")),
    ("TRACE", "max-forwards: 10\r\n", Some("9")),
    ("OPTIONS", "", None),
    // It says nothing there.
    ("GET", "max-forwards: 2\r\n", Some("2")),
    ("GET", "max-forwards: 0\r\n", Some("0")),
    ("OPTIONS", "max-forwards: few\r\n", Some("few")),
];

#[tokio::test]
async fn hops_are_counted_down_where_they_count() {
    let mut upstream = Recorder::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    let end = "host: a\r\nconnection: close\r\n\r\n";
    for (method, sent, wanted) in HOPS {
        let said = format!("{method} / HTTP/1.1\r\n{sent}{end}");
        let answer = say(&gateway, said.as_bytes()).await;
        assert!(answer.ends_with("\r\n\r\nok"), "{said:?}: {answer}");
        let Heard::Whole(heard) = upstream.next().await else {
            panic!("{said:?}");
        };
        let mut lines = heard.lines();
        let got = lines.find_map(|line| line.strip_prefix("max-forwards: "));
        assert_eq!(got, wanted, "{said:?}");
    }
    for (method, first) in [("OPTIONS", "HTTP/1.1 200 "), ("TRACE", "HTTP/1.1 501 ")] {
        let said = format!("{method} / HTTP/1.1\r\nmax-forwards: 0\r\n{end}");
        let answer = say(&gateway, said.as_bytes()).await;
        assert!(answer.starts_with(first), "{said:?}: {answer}");
        assert!(!answer.contains("\r\nvia: "), "{said:?}: {answer}");
    }
    let last = format!("GET /last HTTP/1.1\r\n{end}");
    say(&gateway, last.as_bytes()).await;
    let heard = upstream.next().await;
    let is_last = matches!(&heard, Heard::Whole(heard) if heard.starts_with("GET /last "));
    assert!(is_last, "{heard:?}");
}
