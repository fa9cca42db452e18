//! Upstreams over https, with certificates of an authority that only these tests know.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Version,
    header::{CONNECTION, TE, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, sleep},
};

use crate::{
    Gateway, event_stream, soon,
    upstream::{Upstream, full, gated, read_end, send},
    wire::{BOTH, Protocol, answer_of, ask, empty, get, read, request, text},
};

pub(crate) const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/tls/ca.pem");

async fn in_front_of(upstream: &Upstream) -> Gateway {
    let url = format!("https://localhost:{}", upstream.address.port());
    Gateway::start_in(&[("SSL_CERT_FILE", CA)], &["--upstream", &url]).await
}

#[tokio::test]
async fn the_protocol_of_an_https_upstream_is_negotiated() {
    for (protocols, version, connection) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2, None),
        (&["h2"], Version::HTTP_2, None),
        (&["http/1.1"], Version::HTTP_11, None),
        (&[], Version::HTTP_11, None),
    ] {
        for protocol in BOTH {
            let mut upstream = Upstream::start_tls(protocols).await;
            let gateway = in_front_of(&upstream).await;
            let mut get = request(Method::GET, &gateway.chat(), empty());
            let trailers = HeaderValue::from_static("trailers");
            get.headers_mut().insert(TE, trailers);
            let asked = ask(&protocol.client(), get);
            let arrival = upstream.arrival().await;
            assert_eq!(arrival.request.version(), version, "{protocols:?}");
            // gRPC servers ask for it.
            assert_eq!(arrival.request.headers()[TE], "trailers");
            assert_eq!(arrival.request.headers().get(CONNECTION), connection);

            let (gate, body) = gated();
            arrival.answer(event_stream(body));
            let mut response = answer_of(asked).await;
            send(&gate, "data: one\n\n").await;
            read(response.body_mut(), "data: one\n\n").await;
            drop(gate);
            read_end(response.body_mut()).await;
        }
    }
}

#[tokio::test]
async fn a_connection_over_tls_is_used_again() {
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let mut upstream = Upstream::start_tls(protocols).await;
        let gateway = in_front_of(&upstream).await;
        for _ in 0..3 {
            let client = Protocol::Http1.client();
            let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
            let arrival = upstream.arrival().await;
            assert_eq!(arrival.connection, 0);
            arrival.answer(Response::new(full("whole")));
            assert_eq!(text(answer_of(asked).await).await, "whole");
        }
    }
}

/// hyper's pool takes a connection over HTTP/2 for idle when no request has begun on it for long.
#[tokio::test]
async fn a_stream_goes_on_when_its_connection_is_used_no_more() {
    let mut upstream = Upstream::start_tls(&["h2"]).await;
    let gateway = in_front_of(&upstream).await;
    let (upload, body) = gated();
    let post = request(Method::POST, &gateway.chat(), body);
    let asked = ask(&Protocol::Http2.client(), post);
    let arrival = upstream.arrival().await;
    let (gate, body) = gated();
    let mut at_upstream = arrival.answer(event_stream(body));
    let mut response = answer_of(asked).await;
    // The pool looks each 4 s for what has been there for 4 s.
    sleep(Duration::from_secs(9)).await;
    let asked = ask(
        &Protocol::Http1.client(),
        request(Method::GET, &gateway.chat(), empty()),
    );
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.connection, 1);
    arrival.answer(Response::new(empty()));
    answer_of(asked).await;
    send(&upload, "more").await;
    read(at_upstream.body_mut(), "more").await;
    send(&gate, "data: one\n\n").await;
    read(response.body_mut(), "data: one\n\n").await;
    drop((upload, gate));
    read_end(at_upstream.body_mut()).await;
    read_end(response.body_mut()).await;
}

/// With HTTP/2, which TLS would negotiate otherwise, a connection cannot be upgraded.
#[tokio::test]
async fn an_upgrade_over_tls_is_asked_for_over_http1() {
    let mut upstream = Upstream::start_tls(&["h2", "http/1.1"]).await;
    let gateway = in_front_of(&upstream).await;
    let mut upgrade = request(Method::GET, &gateway.chat(), empty());
    *upgrade.headers_mut() = HeaderMap::from_iter([
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
    ]);
    let asked = ask(&Protocol::Http1.client(), upgrade);
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.request.version(), Version::HTTP_11);
    let switching = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket");
    let at_upstream = arrival.answer(switching.body(empty()).unwrap());
    let response = answer_of(asked).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);

    let server = soon("the upstream's upgrade", hyper::upgrade::on(at_upstream)).await;
    let client = soon("the client's upgrade", hyper::upgrade::on(response)).await;
    let (mut server, mut client) = (TokioIo::new(server.unwrap()), TokioIo::new(client.unwrap()));
    let mut got = [0; 4];
    client.write_all(b"ping").await.unwrap();
    soon("ping", server.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"ping");
    server.write_all(b"pong").await.unwrap();
    soon("pong", client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"pong");
}

#[tokio::test]
async fn an_upstream_whose_certificate_is_not_trusted_is_not_spoken_to() {
    let tls = Upstream::start_tls(&["http/1.1"]).await.address.port();
    let plain = Upstream::start().await.address.port();
    let other_ca = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/gateway/tls/upstream.pem"
    );
    for (ca, upstream) in [
        (other_ca, format!("https://localhost:{tls}")),
        (CA, format!("https://127.0.0.1:{tls}")), // not the name in the certificate
        (CA, format!("https://localhost:{plain}")),
    ] {
        let gateway = Gateway::start_in(&[("SSL_CERT_FILE", ca)], &["--upstream", &upstream]).await;
        let response = get(&gateway.chat()).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{upstream}");
        let told = "gateway; error=tls_protocol_error";
        assert_eq!(response.headers()["proxy-status"], told, "{upstream}");
        assert_eq!(text(response).await, "the upstream cannot be reached\n");
    }
}
