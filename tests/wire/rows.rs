//! The truth table: one row an exchange, and all that is on the wire and told of it. It is one table,
//! so it is one file.

use http::Request;
use hyper::{body::Incoming, ext::ReasonPhrase};
use tower::service_fn;

use crate::{
    STREAM, TRAILED,
    common::{
        Broken,
        End::{Hidden, Shown},
        Script, Size,
        Step::{Data, Error, Pending, Trailers},
    },
    net::{RequestBody, frames_h2, no_body, pipe, raw_h1},
    replies::{Reply, full, ok},
    stack::{Witness, stack},
    status, with,
};

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
