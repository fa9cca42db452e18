//! The same over HTTP/2, frame by frame, since no client can be talked into it.

use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::Change::{Body, But, With};
use crate::{
    Gateway,
    raw::{Heard, Recorder},
    soon,
    upstream::Upstream,
    wire::{Protocol, answer_of, ask, empty, read, request, text},
};

type Fields<'a> = &'a [(&'a str, &'a str)];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [
        length[1], length[2], length[3], kind, flags, 0, 0, 0, stream,
    ];
    [&head, payload].concat()
}

/// HPACK, each field as a literal that is not indexed: RFC 7541 §6.2.2.
fn headers(flags: u8, fields: Fields<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS | flags, 1, &block)
}

/// Sends these frames on a new connection. What becomes of stream 1: its status, or its end.
async fn answer(gateway: &Gateway, frames: &[u8]) -> String {
    let mut tcp = gateway.tcp().await;
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    tcp.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    tcp.write_all(frames).await.unwrap();
    loop {
        let mut head = [0; 9];
        soon("a frame", tcp.read_exact(&mut head)).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        soon("its payload", tcp.read_exact(&mut payload))
            .await
            .unwrap();
        match head[3] {
            // The first field is `:status`, from the static table: RFC 7541 appendix A.
            HEADERS => match payload[0] {
                0x88 => return "200".to_owned(),
                0x8c => return "400".to_owned(),
                other => return format!("field {other:#x}"),
            },
            RST_STREAM => return format!("reset {}", payload[3]),
            GOAWAY => return format!("goaway {}", payload[7]),
            _ => (),
        }
    }
}

/// RFC 9113 §7: `PROTOCOL_ERROR`, of the stream, or of the whole connection.
const RESET: &str = "reset 1";
const CLOSED: &str = "goaway 1";

const GOOD: Fields<'_> = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "a.example"),
];

/// What is made of the good request.
enum Change {
    /// These fields are added.
    With(Fields<'static>),
    /// This field has another value.
    But(&'static str, &'static str),
    /// A length is told, and a body follows.
    Body(&'static str, &'static [u8]),
}

impl Change {
    fn frames(&self) -> Vec<u8> {
        match *self {
            With(more) => headers(END_STREAM, &[GOOD, more].concat()),
            But(name, value) => {
                let change = |&(n, v)| (n, if n == name { value } else { v });
                let fields: Vec<_> = GOOD.iter().map(change).collect();
                headers(END_STREAM, &fields)
            }
            Body(length, body) => {
                let head = headers(0, &[GOOD, &[("content-length", length)]].concat());
                [head, frame(DATA, END_STREAM, 1, body)].concat()
            }
        }
    }
}

/// What is wrong with a request, and what becomes of it.
const WRONG: &[(&str, Change, &str)] = &[
    ("CR LF in a value", With(&[("x", "1\r\ny: 2")]), CLOSED),
    ("LF in a value", With(&[("x", "1\ny: 2")]), CLOSED),
    ("NUL in a value", With(&[("x", "1\0")]), CLOSED),
    ("CR LF in a name", With(&[("x\r\ny", "1")]), CLOSED),
    ("a colon in a name", With(&[("x:y", "1")]), CLOSED),
    ("upper case in a name", With(&[("X", "1")]), CLOSED),
    ("a coding", With(&[("transfer-encoding", "chunked")]), RESET),
    ("connection", With(&[("connection", "close")]), RESET),
    ("upgrade", With(&[("upgrade", "h2c")]), RESET),
    ("te", With(&[("te", "gzip")]), RESET),
    (
        "CR LF in the path",
        But(":path", "/ HTTP/1.1\r\nx: 1"),
        RESET,
    ),
    ("a space in the path", But(":path", "/a b"), RESET),
    ("no path", But(":path", ""), RESET),
    ("a space in the method", But(":method", "GET /x"), CLOSED),
    (
        "CR LF in the authority",
        But(":authority", "a\r\nx: 1"),
        RESET,
    ),
    ("a user", But(":authority", "me@a.example"), "400"),
    (
        "a port that is none",
        But(":authority", "a.example:x"),
        "400",
    ),
    ("another scheme", But(":scheme", "ftp"), "400"),
    ("two paths", With(&[(":path", "/b")]), RESET),
    (
        "a late pseudo field",
        With(&[("x", "1"), (":path", "/b")]),
        RESET,
    ),
    (
        "two hosts",
        With(&[("host", "a.example"), ("host", "b.example")]),
        "400",
    ),
    ("a host that is none", With(&[("host", "a b")]), "400"),
    ("a length that is none", Body("+2", b"hi"), RESET),
    ("no body", With(&[("content-length", "2")]), RESET),
    ("a body that is shorter", Body("5", b"hi"), RESET),
    ("a body that is longer", Body("1", b"hi"), RESET),
];

#[tokio::test]
async fn what_http2_may_not_have_in_a_request_reaches_nobody() {
    let mut upstream = Recorder::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    assert_eq!(answer(&gateway, &With(&[]).frames()).await, "200");
    assert!(matches!(upstream.next().await, Heard::Whole(_)));
    for (case, change, wanted) in WRONG {
        assert_eq!(answer(&gateway, &change.frames()).await, *wanted, "{case}");
        let url = format!("{}/next", gateway.url);
        let client = Protocol::Http1.client();
        let next = answer_of(ask(&client, request(Method::GET, &url, empty()))).await;
        assert_eq!(text(next).await, "ok");
        loop {
            match upstream.next().await {
                // Its head was on its way before the body showed.
                Heard::Broken(_) if case.contains("body") => (),
                Heard::Whole(next) if next.starts_with("GET /next HTTP/1.1\r\n") => break,
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}

/// Nobody behind the gateway has to choose.
#[tokio::test]
async fn a_host_beside_the_authority_is_not_passed_on() {
    let mut upstream = Recorder::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    let frames = With(&[("host", "b.example")]).frames();
    assert_eq!(answer(&gateway, &frames).await, "200");
    let Heard::Whole(heard) = upstream.next().await else {
        panic!("broken");
    };
    let hosts: Vec<_> = heard
        .lines()
        .filter(|line| line.contains("host: "))
        .collect();
    let own = format!("host: {}", upstream.address);
    assert_eq!(hosts, ["x-forwarded-host: a.example", &own]);
}

/// What there is of it must not pass for the whole.
#[tokio::test]
async fn a_request_that_is_reset_does_not_end_well_at_the_upstream() {
    for reason in [0, 2, 8] {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::in_front_of(upstream.address).await;
        let mut tcp = gateway.tcp().await;
        let start = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(SETTINGS, 0, 0, &[]),
            headers(0, GOOD),
            frame(DATA, 0, 1, b"hello"),
        ];
        tcp.write_all(&start.concat()).await.unwrap();
        let mut arrival = upstream.arrival().await;
        read(arrival.request.body_mut(), "hello").await;
        let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, reason]);
        tcp.write_all(&reset).await.unwrap();
        let end = soon("the break", arrival.request.body_mut().frame()).await;
        assert!(matches!(end, Some(Err(_))), "{reason}: {end:?}");
    }
}
