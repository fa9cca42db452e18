//! What streams through the gateway, and what becomes of it when either side leaves.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CONNECTION, TE, TRAILER, UPGRADE},
};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{CHAT_LABELS, Gateway, event_stream};
use crate::{
    soon,
    wire::{
        BOTH, Protocol, Upstream, answer_of, ask, empty, fail, full, gated, read, read_end,
        request, send, send_trailers, text,
    },
};

#[tokio::test]
async fn tokens_arrive_while_the_producer_is_blocked() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::in_front_of(upstream.address).await;
        let client = protocol.client();

        let asked = ask(&client, request(Method::POST, &gateway.chat(), full("{}")));
        let (gate, body) = gated();
        upstream.arrival().await.answer(event_stream(body));
        // There is no event yet, but the head is here.
        let mut response = answer_of(asked).await;
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        assert_eq!(
            response.headers()["cache-control"],
            "no-cache, no-transform"
        );

        for token in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            send(&gate, token).await;
            read(response.body_mut(), token).await;
        }
        let metrics = gateway.metrics().await;
        metrics.assert("http_requests_in_flight", &[(&CHAT_LABELS, 1)]);
        metrics.assert("http_responses_ended_total", &[]);

        drop(gate);
        read_end(response.body_mut()).await;
        gateway
            .logs(&["status=200", "outcome=complete", "bytes=35"])
            .await;
        gateway
            .metrics()
            .await
            .assert("http_requests_in_flight", &[(&CHAT_LABELS, 0)]);
    }
}

#[tokio::test]
async fn a_hang_up_in_mid_stream_reaches_the_upstream() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::in_front_of(upstream.address).await;
        let client = protocol.client();

        // Without an upload: until one is read to its end, hyper reads nothing else, and the end of
        // an HTTP/1 connection may stay unseen behind it.
        let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
        let (gate, body) = gated();
        upstream.arrival().await.answer(event_stream(body));
        let mut response = answer_of(asked).await;
        send(&gate, "data: one\n\n").await;
        read(response.body_mut(), "data: one\n\n").await;

        drop(response);
        soon("the hang-up at the upstream", gate.closed()).await;
        gateway
            .logs(&["status=200", "outcome=disconnected", "bytes=11"])
            .await;
    }
}

#[tokio::test]
async fn a_hang_up_before_the_head_reaches_the_upstream() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::in_front_of(upstream.address).await;
        let client = protocol.client();

        // Without an upload, as above.
        let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
        let mut arrival = upstream.arrival().await;
        asked.abort();
        arrival.abandoned().await;
        gateway.logs(&["outcome=cancelled", "bytes=0"]).await;
    }
}

#[tokio::test]
async fn a_break_at_the_upstream_breaks_the_clients_stream() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::in_front_of(upstream.address).await;
        let client = protocol.client();

        let asked = ask(&client, request(Method::POST, &gateway.chat(), full("{}")));
        let (gate, body) = gated();
        upstream.arrival().await.answer(event_stream(body));
        let mut response = answer_of(asked).await;
        send(&gate, "data: one\n\n").await;
        read(response.body_mut(), "data: one\n\n").await;

        fail(&gate).await;
        let end = soon("the break", response.body_mut().frame()).await;
        assert!(matches!(end, Some(Err(_))), "{protocol:?}: {end:?}");
        gateway
            .logs(&["status=200", "outcome=body_error", "bytes=11"])
            .await;
    }
}

#[tokio::test]
async fn an_upload_streams_up_before_and_while_the_answer_streams_down() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::in_front_of(upstream.address).await;
        let client = protocol.client();

        let (upload, body) = gated();
        let asked = ask(&client, request(Method::POST, &gateway.chat(), body));
        send(&upload, "before the head").await;
        let mut arrival = upstream.arrival().await;
        read(arrival.request.body_mut(), "before the head").await;

        let (download, body) = gated();
        let mut at_upstream = arrival.answer(Response::new(body)).into_body();
        let mut response = answer_of(asked).await;
        for echo in ["one", "two"] {
            send(&upload, echo).await;
            read(&mut at_upstream, echo).await;
            send(&download, echo).await;
            read(response.body_mut(), echo).await;
        }
        drop(upload);
        read_end(&mut at_upstream).await;
        drop(download);
        read_end(response.body_mut()).await;
        gateway.logs(&["outcome=complete", "bytes=6"]).await;
    }
}

#[tokio::test]
async fn an_upload_that_breaks_does_not_end_well_at_the_upstream() {
    for protocol in BOTH {
        for hangs_up in [false, true] {
            let mut upstream = Upstream::start().await;
            let gateway = Gateway::in_front_of(upstream.address).await;
            let client = protocol.client();

            let (upload, body) = gated();
            let asked = ask(&client, request(Method::POST, &gateway.chat(), body));
            send(&upload, "half of it").await;
            let mut arrival = upstream.arrival().await;
            read(arrival.request.body_mut(), "half of it").await;

            if hangs_up {
                asked.abort();
            } else {
                fail(&upload).await;
            }
            let end = soon("the break", arrival.request.body_mut().frame()).await;
            assert!(
                matches!(end, Some(Err(_))),
                "{protocol:?} {hangs_up}: {end:?}"
            );
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::in_front_of(upstream.address).await;
        let trailers = |value| {
            let name = HeaderName::from_static("x-sum");
            HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
        };

        let (upload, body) = gated();
        let mut post = request(Method::POST, &gateway.chat(), body);
        post.headers_mut()
            .insert(TE, HeaderValue::from_static("trailers"));
        post.headers_mut()
            .insert(TRAILER, HeaderValue::from_static("x-sum"));
        let asked = ask(&protocol.client(), post);
        send(&upload, "up").await;
        send_trailers(&upload, trailers("of the upload")).await;
        drop(upload);
        let mut arrival = upstream.arrival().await;
        assert_eq!(arrival.request.headers()[TE], "trailers");
        let collected = soon("the upload", arrival.request.body_mut().collect()).await;
        assert_eq!(
            collected.unwrap().trailers(),
            Some(&trailers("of the upload"))
        );

        let (download, body) = gated();
        let response = Response::builder().header(TRAILER, "x-sum");
        arrival.answer(response.body(body).unwrap());
        let response = answer_of(asked).await;
        send(&download, "down").await;
        send_trailers(&download, trailers("of the answer")).await;
        drop(download);
        let collected = soon("the answer", response.into_body().collect()).await;
        assert_eq!(
            collected.unwrap().trailers(),
            Some(&trailers("of the answer"))
        );
        gateway.logs(&["outcome=complete"]).await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_until_it_is_closed() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    let client = Protocol::Http1.client();

    let mut upgrade = request(Method::GET, &gateway.chat(), empty());
    let headers = upgrade.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("echo/1"));
    let asked = ask(&client, upgrade);

    let switching = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "echo/1");
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.request.headers()[CONNECTION], "upgrade");
    assert_eq!(arrival.request.headers()[UPGRADE], "echo/1");
    let at_upstream = arrival.answer(switching.body(empty()).unwrap());
    let response = answer_of(asked).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[CONNECTION], "upgrade");
    assert_eq!(response.headers()[UPGRADE], "echo/1");

    let server = soon("the upstream's upgrade", hyper::upgrade::on(at_upstream)).await;
    let client = soon("the client's upgrade", hyper::upgrade::on(response)).await;
    let mut server = TokioIo::new(server.unwrap());
    let mut client = TokioIo::new(client.unwrap());
    for (at_client, at_server) in [("ping", "pong"), ("again", "and again")] {
        client.write_all(at_client.as_bytes()).await.unwrap();
        read_from(&mut server, at_client).await;
        server.write_all(at_server.as_bytes()).await.unwrap();
        read_from(&mut client, at_server).await;
    }

    let metrics = gateway.metrics().await;
    metrics.assert("http_requests_in_flight", &[(&CHAT_LABELS, 1)]);
    metrics.assert("http_responses_ended_total", &[]);
    drop(client);
    let end = soon("the end of the tunnel", server.read(&mut [0; 1])).await;
    assert_eq!(end.unwrap(), 0);
    drop(server);
    gateway.logs(&["status=101", "outcome=upgraded"]).await;
    let metrics = gateway.metrics().await;
    metrics.assert("http_requests_in_flight", &[(&CHAT_LABELS, 0)]);
    metrics.assert(
        "http_responses_ended_total",
        &[(&["status=\"101\"", "outcome=\"upgraded\""], 1)],
    );
}

async fn read_from(io: &mut (impl AsyncRead + Unpin), wanted: &str) {
    let mut got = vec![0; wanted.len()];
    soon(wanted, io.read_exact(&mut got)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

#[tokio::test]
async fn an_upgrade_that_is_refused_or_is_to_http2_is_an_ordinary_exchange() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    for protocol in ["websocket", "h2c"] {
        let mut upgrade = request(Method::GET, &gateway.chat(), empty());
        let headers = upgrade.headers_mut();
        headers.insert(
            CONNECTION,
            HeaderValue::from_static("Upgrade, HTTP2-Settings"),
        );
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        headers.insert("http2-settings", HeaderValue::from_static("AAMAAABk"));
        let asked = ask(&Protocol::Http1.client(), upgrade);
        let arrival = upstream.arrival().await;
        let forwarded = arrival.request.headers().get(UPGRADE);
        assert_eq!(forwarded.is_some(), protocol == "websocket");
        assert!(!arrival.request.headers().contains_key("http2-settings"));
        arrival.answer(Response::new(full("no")));
        assert_eq!(text(answer_of(asked).await).await, "no");
        gateway.logs(&["status=200", "outcome=complete"]).await;
    }
}
