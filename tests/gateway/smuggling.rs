//! Requests that two who read them could take for different ones: refused, or made harmless.

use http::{Method, StatusCode};

use crate::{
    Gateway,
    raw::{Heard, Recorder, say},
    wire::{Protocol, answer_of, ask, empty, request, text},
};

/// In front of an upstream that writes down what reaches it.
struct Pair {
    gateway: Gateway,
    upstream: Recorder,
}

impl Pair {
    async fn start() -> Self {
        let upstream = Recorder::start().await;
        let gateway = Gateway::in_front_of(upstream.address).await;
        Self { gateway, upstream }
    }

    /// Asserts that nothing is on its way to the upstream, by what comes next.
    async fn assert_nothing_came(&mut self, case: &str) {
        let url = format!("{}/next", self.gateway.url);
        let asked = ask(
            &Protocol::Http1.client(),
            request(Method::GET, &url, empty()),
        );
        let answer = answer_of(asked).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(text(answer).await, "ok");
        match self.upstream.next().await {
            Heard::Whole(next) if next.starts_with("GET /next HTTP/1.1\r\n") => (),
            other => panic!("{case:?} {other:?}"),
        }
    }

    /// The same, but that the start of what broke may have come.
    async fn assert_only_broken(&mut self, case: &str) {
        let url = format!("{}/next", self.gateway.url);
        let client = Protocol::Http1.client();
        let answer = answer_of(ask(&client, request(Method::GET, &url, empty()))).await;
        assert_eq!(text(answer).await, "ok");
        loop {
            if let Heard::Whole(next) = self.upstream.next().await {
                assert!(
                    next.starts_with("GET /next HTTP/1.1\r\n"),
                    "{case:?} {next:?}"
                );
                return;
            }
        }
    }

    /// What one good request of [`POST`] becomes, with this framing.
    fn forwarded(&self, framing: &str, body: &str) -> Vec<String> {
        let host = format!("host: {}", self.upstream.address);
        let fields = [
            framing,
            &host,
            "via: 1.1 gateway",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: a.example",
            "x-forwarded-proto: http",
        ];
        sorted("POST / HTTP/1.1", fields, body)
    }
}

fn sorted<'a>(first: &str, fields: impl IntoIterator<Item = &'a str>, body: &str) -> Vec<String> {
    let mut fields: Vec<_> = fields.into_iter().map(str::to_owned).collect();
    fields.sort();
    [vec![first.to_owned()], fields, vec![body.to_owned()]].concat()
}

fn parts(heard: &Heard) -> Vec<String> {
    let Heard::Whole(message) = heard else {
        panic!("{heard:?}");
    };
    let (start, body) = message.split_once("\r\n\r\n").unwrap();
    let (first, fields) = start.split_once("\r\n").unwrap();
    sorted(first, fields.split("\r\n"), body)
}

/// The head up to the fields that are tried, and a second request that must not be seen as one.
const POST: &str = "POST / HTTP/1.1\r\nhost: a.example\r\n";
const CHUNKED: &str = "\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a.example\r\n\r\n";
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: a.example\r\n\r\n";

/// Fields and what follows them, and how they are refused.
const AMBIGUOUS: &[(&str, &str, u16)] = &[
    // Codings that hyper does not decode, or others might not see.
    ("transfer-encoding: xchunked\r\n", CHUNKED, 400),
    ("transfer-encoding: gzip\r\n", CHUNKED, 400),
    ("transfer-encoding: identity\r\n", CHUNKED, 400),
    ("transfer-encoding: chunked, identity\r\n", CHUNKED, 400),
    ("transfer-encoding: chunked;\r\n", CHUNKED, 400),
    ("transfer-encoding: chunked;q=1\r\n", CHUNKED, 400),
    ("transfer-encoding: \"chunked\"\r\n", CHUNKED, 400),
    ("transfer-encoding: \x0bchunked\r\n", CHUNKED, 400),
    ("transfer-encoding:\r\n", CHUNKED, 400),
    ("transfer-encoding: gzip, chunked\r\n", CHUNKED, 501),
    ("transfer-encoding: chunked, chunked\r\n", CHUNKED, 501),
    ("transfer-encoding: ,chunked\r\n", CHUNKED, 501),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        CHUNKED,
        501,
    ),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        CHUNKED,
        400,
    ),
    // Lengths.
    (
        "content-length: 5\r\ncontent-length: 6\r\n",
        "\r\nhello",
        400,
    ),
    ("content-length: +5\r\n", "\r\nhello", 400),
    ("content-length: -5\r\n", "\r\nhello", 400),
    ("content-length: 5, 5\r\n", "\r\nhello", 400),
    ("content-length: 0x5\r\n", "\r\nhello", 400),
    ("content-length: 5 5\r\n", "\r\nhello", 400),
    ("content-length:\r\n", "\r\nhello", 400),
    ("content-length: 18446744073709551616\r\n", "\r\nhello", 400),
    ("content-length: 18446744073709551615\r\n", "\r\nhello", 431),
    // Lines.
    ("content-length : 5\r\n", "\r\nhello", 400),
    (" content-length: 5\r\n", "\r\nhello", 400),
    ("x: 1\r\n content-length: 5\r\n", "\r\nhello", 400),
    ("x: 1\rcontent-length: 5\r\n", "\r\nhello", 400),
    ("x: 1\0\r\n", "\r\n", 400),
    ("x\0: 1\r\n", "\r\n", 400),
    ("no colon\r\n", "\r\n", 400),
    (": no name\r\n", "\r\n", 400),
    // Whom it is for. There is one `host` already.
    ("host: a.example\r\n", "\r\n", 400),
    ("host: b.example\r\n", "\r\n", 400),
];

#[tokio::test]
async fn a_head_of_which_two_could_make_different_things_is_refused() {
    let mut pair = Pair::start().await;
    for &(fields, rest, status) in AMBIGUOUS {
        let answer = say(&pair.gateway, format!("{POST}{fields}{rest}").as_bytes()).await;
        let refused = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&refused), "{fields:?}: {answer}");
        // Even when the connection stays open, what follows is not a request in its own right.
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{fields:?}: {answer}"
        );
        pair.assert_nothing_came(fields).await;
    }
}

const MALFORMED: &[&str] = &[
    "GET / HTTP/1.1\r\nconnection: close\r\n\r\n", // no host
    "GET / HTTP/1.1\r\nconnection: close\r\nhost:\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: a b\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: a/b\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: me@a\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: a, b\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: :1\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: a:x\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: a:+1\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: a:65536\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: a:1:2\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: [::1\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\nhost: [::1]a\r\n\r\n",
    // The target counts more than the field, which is good here.
    "GET http://me:secret@b/ HTTP/1.1\r\nconnection: close\r\nhost: a\r\n\r\n",
    "GET http://@b/ HTTP/1.1\r\nconnection: close\r\nhost: a\r\n\r\n",
    "GET http://b:x/ HTTP/1.1\r\nconnection: close\r\nhost: a\r\n\r\n",
    "GET http://:80/ HTTP/1.1\r\nconnection: close\r\nhost: a\r\n\r\n",
    "GET ftp://b/ HTTP/1.1\r\nconnection: close\r\nhost: a\r\n\r\n",
    "CONNECT me@b:1 HTTP/1.1\r\nconnection: close\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
    "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET\r\n\r\n",
    "G@T / HTTP/1.1\r\nhost: a\r\n\r\n",
];

#[tokio::test]
async fn a_request_line_or_host_that_is_malformed_is_refused() {
    let mut pair = Pair::start().await;
    for &head in MALFORMED {
        let answer = say(&pair.gateway, head.as_bytes()).await;
        let is_refused = ["HTTP/1.1 400 ", "HTTP/1.0 400 "]
            .iter()
            .any(|refused| answer.starts_with(refused));
        assert!(is_refused, "{head:?}: {answer}");
        pair.assert_nothing_came(head).await;
    }
}

const CODED: &str = "transfer-encoding: chunked";
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
const SIZED: &str = "content-length: 5";
const BOTH: &str = "5\r\nhello\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a.example\r\n\r\n";

/// Fields and body, and the framing and the body at the upstream.
const REPAIRED: &[(&str, &str, &str, &str)] = &[
    (
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        BOTH,
        CODED,
        CHUNKS,
    ),
    (
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        BOTH,
        CODED,
        CHUNKS,
    ),
    (
        "connection: close\r\ntransfer-encoding: CHUNKED \r\n",
        CHUNKS,
        CODED,
        CHUNKS,
    ),
    (
        "connection: close\r\ncontent-length: 5\r\ncontent-length: 5\r\n",
        "hello",
        SIZED,
        "hello",
    ),
    // It would have no length otherwise.
    (
        "connection: close, content-length\r\ncontent-length: 5\r\n",
        "hello",
        SIZED,
        "hello",
    ),
    (
        "connection: close, transfer-encoding\r\ntransfer-encoding: chunked\r\n",
        CHUNKS,
        CODED,
        CHUNKS,
    ),
    // Lines that end with LF alone.
    (
        "connection: close\ncontent-length: 5\n",
        "hello",
        SIZED,
        "hello",
    ),
];

/// RFC 9112 §6.1: processed by the transfer coding alone, and then the connection is closed.
#[tokio::test]
async fn what_is_repaired_reaches_the_upstream_with_one_framing() {
    let mut pair = Pair::start().await;
    for &(fields, sent, framing, body) in REPAIRED {
        let said = format!("{POST}{fields}\r\n{sent}");
        let answer = say(&pair.gateway, said.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{fields:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{fields:?}: {answer}"
        );
        let heard = pair.upstream.next().await;
        assert_eq!(parts(&heard), pair.forwarded(framing, body), "{fields:?}");
        pair.assert_nothing_came(fields).await;
    }
}

const MALFORMED_CHUNKS: &[&str] = &[
    "10000000000000000\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\rhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello!\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
];

/// The head is on its way when it shows, so the upstream may have seen it: but no whole request.
#[tokio::test]
async fn chunks_that_are_malformed_break_the_request_at_the_upstream() {
    let mut pair = Pair::start().await;
    let overlong = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    for &chunks in MALFORMED_CHUNKS.iter().chain([&&*overlong]) {
        let said = format!("{POST}transfer-encoding: chunked\r\n\r\n{chunks}{HIDDEN}");
        let answer = say(&pair.gateway, said.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{chunks:?}: {answer}"
        );
        pair.assert_only_broken(chunks).await;
    }
}
