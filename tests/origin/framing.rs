//! What is left on the wire.

use std::future::ready;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tower::{Layer, service_fn};

use crate::{
    common::{
        End::{Hidden, Shown},
        Script, Size,
        Step::{Data, Error, Pending, Trailers},
    },
    faults::{CollectLayer, DataOnlyLayer},
    get,
    net::{BoxError, Served, frames_h2, loopback, raw_h1},
    stack::{Witness, stack},
};

/// A reply, and what of it goes over the wire, with `te: trailers` in the request.
struct Row {
    name: &'static str,
    reply: fn() -> Response<Script>,
    /// Without any layer, and behind ours.
    right: Wire,
    data_only: Wire,
    collect: Wire,
}

struct Wire {
    /// All bytes but those of the status line and `connection: close`.
    h1: &'static str,
    /// The frames, and what the client made of them.
    h2: &'static str,
}

#[tokio::test]
async fn ours_keeps_on_the_wire_what_the_others_lose() {
    for row in ROWS {
        let reply = row.reply;
        let service = service_fn(move |_: Request<Incoming>| ready(Ok::<_, BoxError>(reply())));
        row.right.check("bare", row.name, service).await;
        let ours = stack(&Witness::default(), service);
        row.right.check("ours", row.name, ours).await;
        let data_only = DataOnlyLayer.layer(service);
        row.data_only.check("data only", row.name, data_only).await;
        let collect = CollectLayer.layer(service);
        row.collect.check("collect", row.name, collect).await;
    }
}

const ROWS: [Row; 4] = [
    Row {
        name: "body of known size",
        reply: || Response::new(Script::new([Data(5)], Size::Exact, Shown)),
        right: Wire {
            h1: "content-length: 5\r\n\r\nxxxxx",
            h2: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
        },
        // Chunked: the client can no longer tell how much there is to come.
        data_only: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            h2: "HEADERS, DATA 5, DATA 0 END_STREAM => 200, 5 bytes",
        },
        collect: Wire {
            h1: "content-length: 5\r\n\r\nxxxxx",
            h2: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
        },
    },
    Row {
        name: "empty body",
        reply: || Response::new(Script::new([], Size::Exact, Shown)),
        right: Wire {
            h1: "content-length: 0\r\n\r\n",
            h2: "HEADERS END_STREAM => 200, 0 bytes",
        },
        // The head no longer says that there is nothing to come.
        data_only: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            h2: "HEADERS, DATA 0 END_STREAM => 200, 0 bytes",
        },
        collect: Wire {
            h1: "content-length: 0\r\n\r\n",
            h2: "HEADERS END_STREAM => 200, 0 bytes",
        },
    },
    Row {
        name: "stream with trailers",
        reply: || {
            let body = Script::new([Data(5), Trailers], Size::Unknown, Hidden);
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert("trailer", HeaderValue::from_static("x-checksum"));
            response
        },
        right: Wire {
            h1: "trailer: x-checksum\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n0\r\nx-checksum: 42\r\n\r\n",
            h2: "HEADERS, DATA 5, HEADERS END_STREAM => 200, x-checksum: 42, 5 bytes",
        },
        // No trailers, though the head promises them.
        data_only: Wire {
            h1: "trailer: x-checksum\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            h2: "HEADERS, DATA 5, DATA 0 END_STREAM => 200, 5 bytes",
        },
        collect: Wire {
            h1: "trailer: x-checksum\r\ncontent-length: 5\r\n\r\nxxxxx",
            h2: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
        },
    },
    Row {
        name: "error in mid-stream",
        reply: || {
            let steps = [Data(5), Pending, Error];
            Response::new(Script::new(steps, Size::Unknown, Hidden))
        },
        right: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n",
            h2: "HEADERS, DATA 5, RST_STREAM INTERNAL_ERROR => 200, broken: INTERNAL_ERROR",
        },
        data_only: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n",
            h2: "HEADERS, DATA 5, RST_STREAM INTERNAL_ERROR => 200, broken: INTERNAL_ERROR",
        },
        // Not even what came before the error.
        collect: Wire {
            h1: "",
            h2: "RST_STREAM INTERNAL_ERROR => broken: INTERNAL_ERROR",
        },
    },
];

impl Wire {
    async fn check(&self, layer: &str, name: &str, service: impl Served) {
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: te, close\r\nte: trailers\r\n\r\n";
        let h1 = raw_h1(loopback().await, service.clone(), request).await;
        let h1 = h1
            .replacen("HTTP/1.1 200 OK\r\n", "", 1)
            .replacen("connection: close\r\n", "", 1);
        assert_eq!(h1, self.h1, "{name}, {layer}, h1");
        let h2 = frames_h2(loopback().await, service, get()).await;
        assert_eq!(h2, self.h2, "{name}, {layer}, h2");
    }
}
