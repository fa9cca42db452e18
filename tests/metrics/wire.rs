//! Over real connections: what is counted is exactly what the clients did.

use std::{convert::Infallible, future::pending};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use metrics::with_local_recorder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    sync::mpsc,
};
use tower::{Layer, service_fn};
use tower_passthrough::metrics::{
    MetricsLayer, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL,
    RESPONSE_BODY_BYTES, RESPONSE_FIRST_BYTE_SECONDS, RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL,
};

use crate::{
    net::{Proto, Served, Server, loopback, raw_h1, serve, soon},
    series::{Expected, Labels, in_flight, recorder, rendered, with},
};

type ServerBody = UnsyncBoxBody<Bytes, Infallible>;

/// Serves by path: a sized body of 10 bytes; a stream of 3 times 7; one that stays open after its
/// first 7; and no answer at all, but word that the request is there.
fn served(layer: &MetricsLayer, arrived: mpsc::UnboundedSender<()>) -> impl Served {
    let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"7 bytes")));
    layer.layer(service_fn(move |request: Request<Incoming>| {
        let arrived = arrived.clone();
        async move {
            let body: ServerBody = match request.uri().path() {
                "/sized" => Full::new(Bytes::from_static(b"0123456789")).boxed_unsync(),
                "/streamed" => {
                    let frames = stream::iter([frame(), frame(), frame()]);
                    StreamBody::new(frames).boxed_unsync()
                }
                "/endless" => {
                    let frames = stream::iter([frame()]).chain(stream::pending());
                    StreamBody::new(frames).boxed_unsync()
                }
                _ => {
                    arrived.send(()).unwrap();
                    pending().await
                }
            };
            Ok::<_, Infallible>(Response::new(body))
        }
    }))
}

fn written(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: API.example:80\r\nconnection: close\r\n\r\n")
}

/// Asks for `path` on a connection of its own, and leaves it open.
async fn asked(path: &str, service: impl Served) -> (TcpStream, Server) {
    let (mut near, far) = loopback().await;
    let server = serve(Proto::H1, far, service);
    soon(near.write_all(written(path).as_bytes()))
        .await
        .unwrap();
    (near, server)
}

async fn read_until(near: &mut TcpStream, end: &str) {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(soon(near.read_u8()).await.unwrap());
    }
}

const SIZED: usize = 5;
const STREAMED: usize = 4;
const GONE_MID_STREAM: usize = 3;
const GONE_BEFORE_HEAD: usize = 2;

#[test]
fn sums_agree_exactly_over_real_connections() {
    let layer = MetricsLayer::builder()
        .service("gateway")
        .hosts(["api.example"])
        .build()
        .unwrap();
    let recorder = recorder();
    let base = vec![
        ("service", "gateway"),
        ("host", "api.example"),
        ("method", "GET"),
    ];
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let service = || served(&layer, arrived.clone());
    with_local_recorder(&recorder, || {
        // All its tasks run on this thread, where the recorder is.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let exchanges = exchanges(service, arrivals, || in_flight(&recorder, &base));
        runtime.unwrap().block_on(exchanges);
    });
    assert_eq!(rendered(&recorder), expected(&base).0);
}

async fn exchanges<S: Served>(
    service: impl Fn() -> S,
    mut arrivals: mpsc::UnboundedReceiver<()>,
    in_flight: impl Fn() -> String,
) {
    let endless = (0..GONE_MID_STREAM).map(|_| asked("/endless", service()));
    let mut endless = join_all(endless).await;
    for (near, _) in &mut endless {
        read_until(near, "\r\n\r\n7\r\n7 bytes\r\n").await;
    }
    assert_eq!(in_flight(), "3", "streaming");

    let whole =
        async |path: &'static str| raw_h1(loopback().await, service(), &written(path)).await;
    for response in join_all((0..SIZED).map(|_| whole("/sized"))).await {
        assert!(
            response.ends_with("content-length: 10\r\n\r\n0123456789"),
            "{response}"
        );
    }
    for response in join_all((0..STREAMED).map(|_| whole("/streamed"))).await {
        assert_eq!(response.matches("7 bytes").count(), 3, "{response}");
    }
    assert_eq!(in_flight(), "3", "whole responses are over");

    let hanging = (0..GONE_BEFORE_HEAD).map(|_| asked("/hanging", service()));
    let hanging = join_all(hanging).await;
    for _ in &hanging {
        soon(arrivals.recv()).await.unwrap();
    }
    assert_eq!(in_flight(), "5", "streaming and waiting");
    for (near, server) in endless.into_iter().chain(hanging) {
        drop(near);
        server.closed().await;
    }
}

/// All that is recorded of [`exchanges`].
fn expected(base: &Labels<'static>) -> Expected {
    let heads = SIZED + STREAMED + GONE_MID_STREAM;
    let ok = with(base, [("status", "200")]);
    let gone = with(base, [("status", "499")]);
    let unary = with(base, [("kind", "unary")]);
    let streams = with(base, [("kind", "stream")]);
    let complete = with(&ok, [("outcome", "complete")]);
    let disconnected = with(&ok, [("outcome", "disconnected")]);
    let cancelled = with(&gone, [("outcome", "cancelled")]);
    let stream_bytes = [&[21; STREAMED][..], &[7; GONE_MID_STREAM]].concat();
    Expected::default()
        .value(REQUESTS_IN_FLIGHT, base, 0)
        .value(REQUESTS_TOTAL, &ok, heads)
        .value(REQUESTS_TOTAL, &gone, GONE_BEFORE_HEAD)
        .value(RESPONSES_ENDED_TOTAL, &complete, SIZED + STREAMED)
        .value(RESPONSES_ENDED_TOTAL, &disconnected, GONE_MID_STREAM)
        .value(RESPONSES_ENDED_TOTAL, &cancelled, GONE_BEFORE_HEAD)
        .seconds(RESPONSE_HEAD_SECONDS, &unary, SIZED)
        .seconds(RESPONSE_HEAD_SECONDS, &streams, stream_bytes.len())
        .seconds(REQUEST_DURATION_SECONDS, &unary, SIZED + GONE_BEFORE_HEAD)
        .seconds(REQUEST_DURATION_SECONDS, &streams, stream_bytes.len())
        .seconds(RESPONSE_FIRST_BYTE_SECONDS, &streams, stream_bytes.len())
        .bytes(REQUEST_BODY_BYTES, base, &vec![0; heads + GONE_BEFORE_HEAD])
        .bytes(RESPONSE_BODY_BYTES, &unary, &[10; SIZED])
        .bytes(RESPONSE_BODY_BYTES, &streams, &stream_bytes)
}
