//! Trailers, by which gRPC says how a call ended, on all ways through the gateway.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version,
    header::{CONNECTION, CONTENT_TYPE, TE, TRAILER},
};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::{
    Gateway, WAYS, soon,
    upstream::{Upstream, gated, send, send_trailers},
    wire::{Body, Protocol, answer_of, ask, empty, read, request},
};

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let name = HeaderName::from_static(name);
    HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
}

/// Announces trailers, and says that those of the answer are wanted.
fn with_trailers(gateway: &Gateway, body: Body) -> Request<Body> {
    let mut post = request(Method::POST, &gateway.chat(), body);
    let fields = post.headers_mut();
    fields.insert(TE, HeaderValue::from_static("trailers"));
    fields.insert(TRAILER, HeaderValue::from_static("x-sum"));
    post
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        let (upload, body) = gated();
        let asked = ask(&protocol.client(), with_trailers(&gateway, body));
        send(&upload, "up").await;
        send_trailers(&upload, trailers("x-sum", "of the upload")).await;
        drop(upload);
        let mut arrival = upstream.arrival().await;
        let is_http2 = arrival.request.version() == Version::HTTP_2;
        assert_eq!(is_http2, spoken == Protocol::Http2);
        assert_eq!(arrival.request.headers()[TE], "trailers");
        let connection = arrival.request.headers().get(CONNECTION);
        assert_eq!(connection.is_some_and(|it| it == "te"), !is_http2);
        let collected = soon("the upload", arrival.request.body_mut().collect()).await;
        let wanted = trailers("x-sum", "of the upload");
        assert_eq!(collected.unwrap().trailers(), Some(&wanted));

        let (download, body) = gated();
        let response = Response::builder().header(TRAILER, "x-sum");
        arrival.answer(response.body(body).unwrap());
        let response = answer_of(asked).await;
        send(&download, "down").await;
        send_trailers(&download, trailers("x-sum", "of the answer")).await;
        drop(download);
        let collected = soon("the answer", response.into_body().collect()).await;
        let wanted = trailers("x-sum", "of the answer");
        assert_eq!(collected.unwrap().trailers(), Some(&wanted));
        gateway.logs(&["outcome=complete"]).await;
    }
}

/// hyper leaves out of HTTP/1.1 what it may not have, or what nobody has announced; the rest arrives.
#[tokio::test]
async fn trailers_that_http1_does_not_announce_are_left_out() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::speaking(spoken, upstream.address).await;
        let (upload, body) = gated();
        let asked = ask(
            &protocol.client(),
            request(Method::POST, &gateway.chat(), body),
        );
        send(&upload, "up").await;
        send_trailers(&upload, trailers("x-sum", "1")).await;
        drop(upload);
        let mut arrival = upstream.arrival().await;
        let collected = soon("the upload", arrival.request.body_mut().collect()).await;
        let collected = collected.unwrap();
        let both_http2 = (protocol, spoken) == (Protocol::Http2, Protocol::Http2);
        assert_eq!(collected.trailers().is_some(), both_http2);
        assert_eq!(collected.to_bytes(), "up");

        let (download, body) = gated();
        arrival.answer(Response::new(body));
        let response = answer_of(asked).await;
        send(&download, "down").await;
        send_trailers(&download, trailers("x-sum", "1")).await;
        drop(download);
        let collected = soon("the answer", response.into_body().collect()).await;
        let collected = collected.unwrap();
        assert_eq!(collected.trailers().is_some(), both_http2);
        assert_eq!(collected.to_bytes(), "down");
    }
}

fn grpc(gateway: &Gateway, body: Body) -> Request<Body> {
    let url = format!("{}/chat.Chat/Talk", gateway.url);
    let mut call = request(Method::POST, &url, body);
    let fields = call.headers_mut();
    fields.insert(TE, HeaderValue::from_static("trailers"));
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    call
}

#[tokio::test]
async fn a_call_of_grpc_streams_both_ways_and_ends_with_its_status() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::speaking(Protocol::Http2, upstream.address).await;
    let client = Protocol::Http2.client();
    for (status, code) in [("0", "OK"), ("14", "Unavailable")] {
        let (up, body) = gated();
        let asked = ask(&client, grpc(&gateway, body));
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.request.headers()[TE], "trailers");
        let (down, body) = gated();
        let response = Response::builder().header(CONTENT_TYPE, "application/grpc");
        let mut at_upstream = arrival.answer(response.body(body).unwrap()).into_body();
        let mut response = answer_of(asked).await;
        for message in ["\0\0\0\0\x01a", "\0\0\0\0\x02bc"] {
            send(&up, message).await;
            read(&mut at_upstream, message).await;
            send(&down, message).await;
            read(response.body_mut(), message).await;
        }
        drop(up);
        let end = soon("the end", at_upstream.collect()).await.unwrap();
        assert_eq!(end.to_bytes(), "");
        send_trailers(&down, trailers("grpc-status", status)).await;
        drop(down);
        let end = soon("the status", response.into_body().collect()).await;
        let wanted = trailers("grpc-status", status);
        assert_eq!(end.unwrap().trailers(), Some(&wanted));
        gateway.logs(&["outcome=complete", "bytes=13"]).await;
        let metrics = gateway.metrics().await;
        let counted = format!("grpc_code=\"{code}\"");
        let labels: &[&str] = &[
            "grpc_service=\"chat.Chat\"",
            "grpc_method=\"Talk\"",
            &counted,
        ];
        metrics.assert_has("grpc_server_handled_total", labels, 1);
    }
}

/// The status is in the head, and the head is all there is.
#[tokio::test]
async fn a_call_of_grpc_may_have_nothing_but_its_status() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::speaking(Protocol::Http2, upstream.address).await;
    let asked = ask(&Protocol::Http2.client(), grpc(&gateway, empty()));
    let response = Response::builder()
        .header(CONTENT_TYPE, "application/grpc")
        .header("grpc-status", "12");
    let arrival = upstream.arrival().await;
    arrival.answer(response.body(empty()).unwrap());
    let response = answer_of(asked).await;
    assert_eq!(response.headers()["grpc-status"], "12");
    assert!(response.body().is_end_stream());
    gateway.logs(&["outcome=complete", "bytes=0"]).await;
    let metrics = gateway.metrics().await;
    let labels: &[&str] = &["grpc_code=\"Unimplemented\""];
    metrics.assert("grpc_server_handled_total", &[(labels, 1)]);
}
