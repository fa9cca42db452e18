//! What hyper puts on the wire, and how each exchange ends, over real connections.
//!
//! No test goes by the clock: each waits for what must have happened before. Each exchange is run
//! twice, bare and under all our layers, and must look the same from outside.
#![cfg(all(feature = "capture", feature = "headers", feature = "metrics"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod common;
#[path = "common/net.rs"]
mod net;
#[path = "common/stack.rs"]
mod stack;

use std::future::{pending, ready};

use bytes::Bytes;
use common::{
    Broken,
    End::{Hidden, Shown},
    Script, Size,
    Step::{self, Data, Error, Pending, Trailers},
    trailers,
};
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    ext::{Protocol, ReasonPhrase},
};
use hyper_util::rt::TokioIo;
use net::{
    BoxError, Client, Proto, Recorded, RequestBody, Served, frames_h2, pipe, raw_h1, serve, soon,
};
use stack::{Witness, stack};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    spawn,
    sync::mpsc,
    task::yield_now,
};
use tower::service_fn;
use tower_passthrough::observe::Tunnel;

type Reply = Result<Response<UnsyncBoxBody<Bytes, Broken>>, BoxError>;

/// A request, the service's reply, and what becomes of it.
struct Row {
    name: &'static str,
    ask: Ask,
    reply: fn() -> Reply,
    h1: Seen,
    h2: Seen,
}

enum Ask {
    Get,
    /// GET with `te: trailers`.
    GetTrailers,
    Head,
}

struct Seen {
    /// All bytes of the response on HTTP/1, or its frames on HTTP/2 and what the client made of
    /// them.
    wire: &'static str,
    /// What an observer is told: status, length of each data frame, trailers, outcome.
    told: &'static str,
}

#[tokio::test]
async fn every_row_of_the_truth_table() {
    for row in ROWS.iter().chain(&MORE_ROWS) {
        let reply = row.reply;
        let service = service_fn(move |_: Request<Incoming>| async move { reply() });

        let request = row.ask.h1();
        let bare = raw_h1(pipe(), service, &request).await;
        assert_eq!(bare, row.h1.wire, "{}, h1, bare", row.name);
        let witness = Witness::default();
        let worn = raw_h1(pipe(), stack(&witness, service), &request).await;
        assert_eq!(worn, bare, "{}, h1", row.name);
        assert_eq!(witness.story(), row.h1.told, "{}, h1", row.name);

        let bare = frames_h2(pipe(), service, row.ask.h2()).await;
        assert_eq!(bare, row.h2.wire, "{}, h2, bare", row.name);
        let witness = Witness::default();
        let worn = frames_h2(pipe(), stack(&witness, service), row.ask.h2()).await;
        assert_eq!(worn, bare, "{}, h2", row.name);
        assert_eq!(witness.story(), row.h2.told, "{}, h2", row.name);
    }
}

const STREAM: [Step; 3] = [Data(5), Data(5), Data(5)];
const TRAILED: [Step; 3] = [Data(5), Data(5), Trailers];

/// The table of the crate's docs.
const ROWS: [Row; 9] = [
    Row {
        name: "full",
        ask: Ask::Get,
        reply: || ok(full(5)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nxxxxx",
            told: "200 5 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
            told: "200 5 complete",
        },
    },
    Row {
        name: "empty",
        ask: Ask::Get,
        reply: || ok(full(0)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            told: "200 complete",
        },
        h2: Seen {
            wire: "HEADERS END_STREAM => 200, 0 bytes",
            told: "200 complete",
        },
    },
    Row {
        name: "stream of unknown size",
        ask: Ask::Get,
        reply: || ok(Script::new(STREAM, Size::Unknown, Hidden)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                       5\r\nxxxxx\r\n5\r\nxxxxx\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            told: "200 5 5 5 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, DATA 5, DATA 0 END_STREAM => 200, 15 bytes",
            told: "200 5 5 5 complete",
        },
    },
    Row {
        name: "stream with content-length",
        ask: Ask::Get,
        reply: || {
            with(
                "content-length",
                "15",
                Script::new(STREAM, Size::Unknown, Hidden),
            )
        },
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n\
                       xxxxxxxxxxxxxxx",
            told: "200 5 5 5 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, DATA 5, DATA 0 END_STREAM => \
                       200 content-length: 15, 15 bytes",
            told: "200 5 5 5 complete",
        },
    },
    Row {
        name: "trailers",
        ask: Ask::GetTrailers,
        reply: || {
            with(
                "trailer",
                "x-checksum",
                Script::new(TRAILED, Size::Unknown, Hidden),
            )
        },
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\ntrailer: x-checksum\r\nconnection: close\r\n\
                       transfer-encoding: chunked\r\n\r\n\
                       5\r\nxxxxx\r\n5\r\nxxxxx\r\n0\r\nx-checksum: 42\r\n\r\n",
            told: "200 5 5 trailers complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, HEADERS END_STREAM => \
                       200, x-checksum: 42, 10 bytes",
            told: "200 5 5 trailers complete",
        },
    },
    Row {
        name: "HEAD, full",
        ask: Ask::Head,
        reply: || ok(full(5)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\n",
            told: "200 complete",
        },
        h2: Seen {
            // hyper sends the data all the same, which a client must take for an error.
            wire: "HEADERS, DATA 5 END_STREAM => \
                       200 content-length: 5, broken: PROTOCOL_ERROR",
            told: "200 5 complete",
        },
    },
    Row {
        name: "HEAD, stream",
        ask: Ask::Head,
        reply: || ok(Script::new(STREAM, Size::Unknown, Hidden)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
            told: "200 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, DATA 5, DATA 0 END_STREAM => \
                       200, broken: PROTOCOL_ERROR",
            told: "200 5 5 5 complete",
        },
    },
    Row {
        name: "204 with a body",
        ask: Ask::Get,
        reply: || status(204, full(5)),
        h1: Seen {
            wire: "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
            told: "204 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5 END_STREAM => 204 content-length: 5, 5 bytes",
            told: "204 5 complete",
        },
    },
    Row {
        name: "304 with a stream",
        ask: Ask::Get,
        reply: || status(304, Script::new(STREAM, Size::Unknown, Hidden)),
        h1: Seen {
            wire: "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n",
            told: "304 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, DATA 5, DATA 0 END_STREAM => 304, 15 bytes",
            told: "304 5 5 5 complete",
        },
    },
];

/// Neighbours of the table's rows, and the ways to fail.
const MORE_ROWS: [Row; 14] = [
    Row {
        name: "stream that shows its end",
        ask: Ask::Get,
        reply: || {
            ok(Script::new(
                [Data(5), Pending, Data(5)],
                Size::Unknown,
                Shown,
            ))
        },
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                       5\r\nxxxxx\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            told: "200 5 5 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5 END_STREAM => 200, 10 bytes",
            told: "200 5 5 complete",
        },
    },
    Row {
        name: "stream of unknown size that shows that it is empty",
        ask: Ask::Get,
        reply: || ok(Script::new([], Size::Unknown, Shown)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            told: "200 complete",
        },
        h2: Seen {
            wire: "HEADERS END_STREAM => 200, 0 bytes",
            told: "200 complete",
        },
    },
    Row {
        name: "stream of exact size that hides its end",
        ask: Ask::Get,
        reply: || ok(Script::new(STREAM, Size::Exact, Hidden)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 15\r\n\r\n\
                       xxxxxxxxxxxxxxx",
            told: "200 5 5 5 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, DATA 5, DATA 0 END_STREAM => \
                       200 content-length: 15, 15 bytes",
            told: "200 5 5 5 complete",
        },
    },
    Row {
        name: "trailers that the client does not want",
        ask: Ask::Get,
        reply: || {
            with(
                "trailer",
                "x-checksum",
                Script::new(TRAILED, Size::Unknown, Hidden),
            )
        },
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\ntrailer: x-checksum\r\nconnection: close\r\n\
                       transfer-encoding: chunked\r\n\r\n\
                       5\r\nxxxxx\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            told: "200 5 5 trailers complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, HEADERS END_STREAM => \
                       200, x-checksum: 42, 10 bytes",
            told: "200 5 5 trailers complete",
        },
    },
    Row {
        name: "trailers that the head does not announce",
        ask: Ask::GetTrailers,
        reply: || ok(Script::new(TRAILED, Size::Unknown, Shown)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                       5\r\nxxxxx\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            told: "200 5 5 trailers complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, HEADERS END_STREAM => \
                       200, x-checksum: 42, 10 bytes",
            told: "200 5 5 trailers complete",
        },
    },
    Row {
        name: "trailers after a body of exact size",
        ask: Ask::GetTrailers,
        reply: || {
            with(
                "trailer",
                "x-checksum",
                Script::new(TRAILED, Size::Exact, Shown),
            )
        },
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\ntrailer: x-checksum\r\nconnection: close\r\n\
                       content-length: 10\r\n\r\nxxxxxxxxxx",
            told: "200 5 5 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, HEADERS END_STREAM => \
                       200 content-length: 10, x-checksum: 42, 10 bytes",
            told: "200 5 5 trailers complete",
        },
    },
    Row {
        name: "nothing but trailers",
        ask: Ask::GetTrailers,
        reply: || {
            with(
                "trailer",
                "x-checksum",
                Script::new([Trailers], Size::Unknown, Shown),
            )
        },
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\ntrailer: x-checksum\r\nconnection: close\r\n\
                       transfer-encoding: chunked\r\n\r\n0\r\nx-checksum: 42\r\n\r\n",
            told: "200 trailers complete",
        },
        h2: Seen {
            wire: "HEADERS, HEADERS END_STREAM => 200, x-checksum: 42, 0 bytes",
            told: "200 trailers complete",
        },
    },
    Row {
        name: "HEAD, content-length of what GET would give",
        ask: Ask::Head,
        reply: || with("content-length", "15", full(0)),
        h1: Seen {
            wire: "HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n",
            told: "200 complete",
        },
        h2: Seen {
            wire: "HEADERS END_STREAM => 200 content-length: 15, 0 bytes",
            told: "200 complete",
        },
    },
    Row {
        name: "204 with a stream",
        ask: Ask::Get,
        reply: || status(204, Script::new(STREAM, Size::Unknown, Hidden)),
        h1: Seen {
            wire: "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
            told: "204 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, DATA 5, DATA 5, DATA 0 END_STREAM => 204, 15 bytes",
            told: "204 5 5 5 complete",
        },
    },
    Row {
        name: "304 with a body",
        ask: Ask::Get,
        reply: || status(304, full(5)),
        h1: Seen {
            wire: "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n",
            told: "304 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5 END_STREAM => 304 content-length: 5, 5 bytes",
            told: "304 5 complete",
        },
    },
    Row {
        name: "extension that the server goes by",
        ask: Ask::Get,
        reply: || {
            let mut response = ok(full(5))?;
            let reason = ReasonPhrase::from_static(b"Fine");
            response.extensions_mut().insert(reason);
            Ok(response)
        },
        h1: Seen {
            wire: "HTTP/1.1 200 Fine\r\nconnection: close\r\ncontent-length: 5\r\n\r\nxxxxx",
            told: "200 5 complete",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
            told: "200 5 complete",
        },
    },
    Row {
        name: "service error",
        ask: Ask::Get,
        reply: || Err(Broken.into()),
        h1: Seen {
            wire: "",
            told: "service_error",
        },
        h2: Seen {
            wire: "RST_STREAM INTERNAL_ERROR => broken: INTERNAL_ERROR",
            told: "service_error",
        },
    },
    Row {
        name: "body error in mid-stream",
        ask: Ask::Get,
        reply: || {
            ok(Script::new(
                [Data(5), Pending, Error],
                Size::Unknown,
                Hidden,
            ))
        },
        h1: Seen {
            // There is no last chunk.
            wire: "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                       5\r\nxxxxx\r\n",
            told: "200 5 body_error",
        },
        h2: Seen {
            wire: "HEADERS, DATA 5, RST_STREAM INTERNAL_ERROR => 200, broken: INTERNAL_ERROR",
            told: "200 5 body_error",
        },
    },
    Row {
        name: "body error before anything is flushed",
        ask: Ask::Get,
        reply: || {
            with(
                "content-length",
                "15",
                Script::new([Data(5), Error], Size::Unknown, Hidden),
            )
        },
        h1: Seen {
            // Told is what the server was handed: it threw all of this away.
            wire: "",
            told: "200 5 body_error",
        },
        h2: Seen {
            wire: "RST_STREAM INTERNAL_ERROR => broken: INTERNAL_ERROR",
            told: "200 5 body_error",
        },
    },
];

#[tokio::test]
async fn a_stream_to_an_http_1_0_client_ends_with_the_connection() {
    let service =
        service_fn(|_: Request<Incoming>| async { ok(Script::new(STREAM, Size::Unknown, Hidden)) });
    let request = "GET / HTTP/1.0\r\n\r\n";
    let bare = raw_h1(pipe(), service, request).await;
    assert_eq!(bare, "HTTP/1.0 200 OK\r\n\r\nxxxxxxxxxxxxxxx");
    let witness = Witness::default();
    assert_eq!(
        raw_h1(pipe(), stack(&witness, service), request).await,
        bare
    );
    assert_eq!(witness.story(), "200 5 5 5 complete");
}

/// Answers with a list of the frames that the request came in.
async fn list(request: Request<Incoming>) -> Reply {
    let mut body = request.into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap();
        frames.push(match frame.into_data() {
            Ok(data) => format!("{data:?}"),
            Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
        });
    }
    ok(Full::from(frames.join(" ")).map_err(|never| match never {}))
}

const FRAMES: &str = r#"b"Hello" b"World!" {"x-checksum": "42"}"#;

#[tokio::test]
async fn h1_request_chunks_and_trailers_reach_the_handler() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n\
                   5\r\nHello\r\n6\r\nWorld!\r\n0\r\nx-checksum: 42\r\n\r\n";
    let bare = raw_h1(pipe(), service_fn(list), request).await;
    assert!(bare.ends_with(&format!("\r\n\r\n{FRAMES}")), "{bare:?}");
    let witness = Witness::default();
    let worn = raw_h1(pipe(), stack(&witness, service_fn(list)), request).await;
    assert_eq!(worn, bare);
    assert_eq!(witness.story(), format!("200 {} complete", FRAMES.len()));
}

#[tokio::test]
async fn h2_request_frames_and_trailers_reach_the_handler() {
    let witness = Witness::default();
    let (near, far) = pipe();
    let server = serve(Proto::H2, far, stack(&witness, service_fn(list)));
    let mut client = Client::connect(Proto::H2, near).await;
    let frames = [
        Frame::data("Hello".into()),
        Frame::data("World!".into()),
        Frame::trailers(trailers()),
    ];
    let body = StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync();
    let response = client.send(Request::post("http://a/").body(body).unwrap());
    let body = soon(response.await.unwrap().into_body().collect()).await;
    assert_eq!(body.unwrap().to_bytes(), FRAMES);
    drop(client);
    server.closed().await;
    assert_eq!(witness.story(), format!("200 {} complete", FRAMES.len()));
}

/// How far an exchange has come when the client leaves.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Called,
    Head,
    Data,
    /// As `Data`, but the head says how much there should be.
    DataOfLength,
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// Hangs up.
    Connection,
    /// Drops what it has of the exchange. On HTTP/2 the connection goes on.
    Exchange,
}

#[tokio::test]
async fn client_that_leaves() {
    for proto in [Proto::H1, Proto::H2] {
        for leave in [Leave::Connection, Leave::Exchange] {
            for (stage, told) in [
                (Stage::Called, "cancelled"),
                (Stage::Head, "200 disconnected"),
                (Stage::Data, "200 5 disconnected"),
                (Stage::DataOfLength, "200 5 disconnected"),
            ] {
                let witness = leave_at(stage, proto, leave).await;
                assert_eq!(witness.story(), told, "{stage:?} {proto:?} {leave:?}");
            }
        }
    }
}

async fn leave_at(stage: Stage, proto: Proto, leave: Leave) -> Witness {
    let (calls, mut called) = mpsc::unbounded_channel();
    let service = service_fn(move |_: Request<Incoming>| {
        calls.send(()).unwrap();
        stall(stage)
    });
    let witness = Witness::default();
    let (near, far) = pipe();
    let server = serve(proto, far, stack(&witness, service));
    let mut client = Client::connect(proto, near).await;

    let request = Request::get("http://a/").body(no_body()).unwrap();
    if matches!(stage, Stage::Called) {
        let response = client.send(request);
        tokio::select! {
            response = response => panic!("{response:?}"),
            called = soon(called.recv()) => called.unwrap(),
        }
        if leave == Leave::Exchange {
            until(|| witness.is_over()).await;
        }
    } else {
        let mut response = client.send(request).await.unwrap();
        if !matches!(stage, Stage::Head) {
            let frame = soon(response.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "xxxxx");
        }
        assert!(!witness.is_over());
        if leave == Leave::Exchange {
            drop(response);
            until(|| witness.is_over()).await;
        }
    }
    drop(client);
    server.closed().await;
    witness
}

/// A route with an endless stream may be asked for its head. There is no more to it than that.
#[tokio::test]
async fn head_of_an_endless_stream_is_complete() {
    for (proto, told) in [(Proto::H1, "200 complete"), (Proto::H2, "200 5 complete")] {
        let witness = Witness::default();
        let (near, far) = pipe();
        let service = service_fn(|_: Request<Incoming>| stall(Stage::Data));
        let server = serve(proto, far, stack(&witness, service));
        let mut client = Client::connect(proto, near).await;
        let request = Request::head("http://a/").body(no_body()).unwrap();
        assert_eq!(client.send(request).await.unwrap().status(), 200);
        drop(client);
        server.closed().await;
        assert_eq!(witness.story(), told, "{proto:?}");
    }
}

/// Comes as far as `stage` and no further.
async fn stall(stage: Stage) -> Reply {
    let forever = stream::pending();
    let data = stream::iter([Ok(Frame::data(Bytes::from("xxxxx")))]);
    match stage {
        Stage::Called => pending().await,
        Stage::Head => ok(StreamBody::new(forever)),
        Stage::Data => ok(StreamBody::new(data.chain(forever))),
        Stage::DataOfLength => with("content-length", "15", StreamBody::new(data.chain(forever))),
    }
}

/// A way to turn a connection, or a stream of it, into a tunnel.
struct Way {
    name: &'static str,
    proto: Proto,
    ask: fn() -> http::request::Builder,
    accepted: &'static str,
    /// What the client reads of a `ping` that comes back: bytes on HTTP/1, frames on HTTP/2.
    wire: &'static str,
}

const WAYS: [Way; 4] = [
    Way {
        name: "h1 upgrade",
        proto: Proto::H1,
        ask: || {
            Request::get("/echo")
                .header("connection", "upgrade")
                .header("upgrade", "echo")
        },
        accepted: "101",
        wire: "HTTP/1.1 204 No Content\r\n\r\n\
               HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n\
               ping",
    },
    Way {
        name: "h1 CONNECT",
        proto: Proto::H1,
        ask: || Request::connect("a:443"),
        accepted: "200",
        wire: "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\nping",
    },
    Way {
        name: "h2 CONNECT",
        proto: Proto::H2,
        ask: || Request::connect("a:443"),
        accepted: "200",
        wire: "HEADERS END_STREAM, HEADERS, DATA 4, DATA 0 END_STREAM",
    },
    Way {
        name: "h2 extended CONNECT",
        proto: Proto::H2,
        ask: || Request::connect("http://a/echo").extension(Protocol::from_static("echo")),
        accepted: "200",
        wire: "HEADERS END_STREAM, HEADERS, DATA 4, DATA 0 END_STREAM",
    },
];

/// What the handler does with its [`Tunnel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Moves it into the task that serves the tunnel.
    Task,
    /// Takes no notice of it.
    Nobody,
}

#[tokio::test]
async fn tunnels_carry_bytes_both_ways_and_end_with_who_holds_them() {
    for way in WAYS {
        let (service, ended) = echo(Holder::Nobody);
        let bare = through(&way, service, ended, || (), || ()).await;
        assert_eq!(bare, way.wire, "{}, bare", way.name);

        // Each connection has carried an ordinary exchange before.
        let head = format!("204 complete {}", way.accepted);
        let end = format!("{head} upgraded");
        for (holder, open) in [(Holder::Task, &head), (Holder::Nobody, &end)] {
            let witness = Witness::default();
            let story = |told: &str| assert_eq!(witness.story(), told, "{}, {holder:?}", way.name);
            let (service, ended) = echo(holder);
            let service = stack(&witness, service);
            let worn = through(&way, service, ended, || story(open), || story(&end)).await;
            assert_eq!(worn, bare, "{}, {holder:?}", way.name);
            story(&end);
        }
    }
}

/// Sends an ordinary request, then a `ping` through a tunnel and back. Gives back what was read.
async fn through(
    way: &Way,
    service: impl Served,
    mut ended: mpsc::UnboundedReceiver<()>,
    while_open: impl FnOnce(),
    at_end: impl FnOnce(),
) -> String {
    let (near, far) = pipe();
    let (near, recording) = Recorded::new(near);
    let server = serve(way.proto, far, service);
    let mut client = Client::connect(way.proto, near).await;
    // An extended CONNECT may be sent only after the server's settings have come.
    let request = Request::get("http://a/").body(no_body()).unwrap();
    soon(client.send(request).await.unwrap().into_body().collect())
        .await
        .unwrap();

    let request = (way.ask)().body(no_body()).unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status().as_str(), way.accepted);
    let tunnel = soon(hyper::upgrade::on(response)).await.unwrap();
    let mut tunnel = TokioIo::new(tunnel);
    tunnel.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    soon(tunnel.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ping");
    while_open();

    tunnel.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(tunnel.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
    soon(ended.recv()).await.unwrap();
    at_end();

    drop(tunnel);
    drop(client);
    server.closed().await;
    match way.proto {
        Proto::H1 => String::from_utf8(recording.bytes()).unwrap(),
        Proto::H2 => recording.frames(),
    }
}

/// A service that sends back what comes through a tunnel. It tells when a tunnel has ended.
fn echo(
    holder: Holder,
) -> (
    impl Served<Body = UnsyncBoxBody<Bytes, Broken>>,
    mpsc::UnboundedReceiver<()>,
) {
    let (end, ended) = mpsc::unbounded_channel();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let end = end.clone();
        async move {
            let upgrade = request.headers().contains_key("upgrade");
            if !upgrade && request.method() != Method::CONNECT {
                return status(204, full(0));
            }
            let tunnel = match holder {
                Holder::Task => request.extensions_mut().remove::<Tunnel>(),
                Holder::Nobody => None,
            };
            let upgraded = hyper::upgrade::on(request);
            spawn(async move {
                let (mut read, mut write) = split(TokioIo::new(upgraded.await.unwrap()));
                copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
                drop(tunnel);
                end.send(()).unwrap();
            });
            if upgrade {
                let head = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
                let head = head.header("connection", "upgrade");
                reply(head.header("upgrade", "echo"), full(0))
            } else {
                ok(full(0))
            }
        }
    });
    (service, ended)
}

#[tokio::test]
async fn refused_tunnel_ends_as_any_other_exchange_though_it_is_held() {
    for way in WAYS {
        let (tunnels, mut received) = mpsc::unbounded_channel();
        let service = service_fn(move |request| ready(refuse(request, &tunnels)));
        let witness = Witness::default();
        let (near, far) = pipe();
        let server = serve(way.proto, far, stack(&witness, service));
        let mut client = Client::connect(way.proto, near).await;
        for ask in [|| Request::get("http://a/"), way.ask] {
            let request = ask().body(no_body()).unwrap();
            let response = client.send(request).await.unwrap();
            soon(response.into_body().collect()).await.unwrap();
        }
        drop(client);
        server.closed().await;
        assert_eq!(
            witness.story(),
            "204 complete 403 5 complete",
            "{}",
            way.name
        );
        let offered = [received.recv().await, received.recv().await].map(|t| t.unwrap().is_some());
        assert_eq!(offered, [false, true], "{}", way.name);
    }
}

fn refuse(
    mut request: Request<Incoming>,
    tunnels: &mpsc::UnboundedSender<Option<Tunnel>>,
) -> Reply {
    tunnels.send(request.extensions_mut().remove()).unwrap();
    match request.uri().path() {
        "/" => status(204, full(0)),
        _ => status(403, full(5)),
    }
}

impl Ask {
    fn h1(&self) -> String {
        let head = match self {
            Self::Get => "GET / HTTP/1.1\r\nconnection: close",
            Self::GetTrailers => "GET / HTTP/1.1\r\nconnection: te, close\r\nte: trailers",
            Self::Head => "HEAD / HTTP/1.1\r\nconnection: close",
        };
        format!("{head}\r\nhost: a\r\n\r\n")
    }

    fn h2(&self) -> Request<RequestBody> {
        let request = match self {
            Self::Get => Request::get("http://a/"),
            Self::GetTrailers => Request::get("http://a/").header("te", "trailers"),
            Self::Head => Request::head("http://a/"),
        };
        request.body(no_body()).unwrap()
    }
}

/// Waits until something holds that can come to hold only by what others do.
async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            yield_now().await;
        }
    })
    .await;
}

fn no_body() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn full(length: usize) -> impl Body<Data = Bytes, Error = Broken> + Send {
    Full::from(vec![b'x'; length]).map_err(|never| match never {})
}

fn ok(body: impl Body<Data = Bytes, Error = Broken> + Send + 'static) -> Reply {
    reply(Response::builder(), body)
}

fn with(
    name: &str,
    value: &str,
    body: impl Body<Data = Bytes, Error = Broken> + Send + 'static,
) -> Reply {
    reply(Response::builder().header(name, value), body)
}

fn status(status: u16, body: impl Body<Data = Bytes, Error = Broken> + Send + 'static) -> Reply {
    reply(Response::builder().status(status), body)
}

fn reply(
    head: http::response::Builder,
    body: impl Body<Data = Bytes, Error = Broken> + Send + 'static,
) -> Reply {
    Ok(head.body(body.boxed_unsync())?)
}
