//! Node: its own `fetch`, and from npm `@microsoft/fetch-event-source` and `ws`.
//!
//! The packages are in `target/node`, put there by `npm ci`.

use std::{fmt::Write as _, net::SocketAddr};

use bytes::Bytes;
use futures_util::SinkExt;
use http::{StatusCode, header::SEC_WEBSOCKET_PROTOCOL};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    client::{Client, installed},
    ended, event, hung_up, is_json, pair, stream_of, upload,
    websocket::{accept, next},
};
use crate::{
    Gateway, event_stream, soon,
    upstream::{fail, gated, send},
};

/// Runs a script where the packages are, as that is where its imports are looked for.
fn node(script: &str, url: &str) -> Client {
    let packages = installed("node/node_modules");
    let mut command = Command::new("node");
    command
        .current_dir(packages)
        .args(["--input-type=module", "--eval", script, url]);
    Client::start(command)
}

#[tokio::test]
#[ignore = "needs Node"]
async fn fetch_reads_each_chunk_before_the_next_is_made() {
    let (mut upstream, mut gateway) = pair(&[]).await;
    let mut fetch = node(include_str!("fetch.mjs"), &gateway.chat());
    let (gate, _) = stream_of(&mut upstream).await;
    fetch.says("200 text/event-stream; charset=utf-8").await;
    for number in 1..=5 {
        event(&gate, number).await;
        let chunk = format!(r#""id: {number}\ndata: {number}\n\n""#);
        fetch.says(&chunk).await;
    }
    drop(gate);
    fetch.says("end").await;
    fetch.ends(0).await;
    ended(&mut gateway, StatusCode::OK, "complete").await;
}

#[tokio::test]
#[ignore = "needs Node"]
async fn a_fetch_that_is_aborted_is_counted_as_disconnected() {
    let (mut upstream, mut gateway) = pair(&[]).await;
    let mut fetch = node(include_str!("fetch.mjs"), &gateway.chat());
    let (gate, _) = stream_of(&mut upstream).await;
    fetch.says("200 text/event-stream; charset=utf-8").await;
    send(&gate, "data: one\n\n").await;
    fetch.says(r#""data: one\n\n""#).await;
    fetch.hears("hang up").await;
    fetch.says("AbortError This operation was aborted").await;
    hung_up(&gate).await;
    ended(&mut gateway, StatusCode::OK, "disconnected").await;
}

#[tokio::test]
#[ignore = "needs Node"]
async fn a_fetch_whose_stream_breaks_fails() {
    let (mut upstream, mut gateway) = pair(&[]).await;
    let mut fetch = node(include_str!("fetch.mjs"), &gateway.chat());
    let (gate, _) = stream_of(&mut upstream).await;
    fetch.says("200 text/event-stream; charset=utf-8").await;
    send(&gate, "data: one\n\n").await;
    fetch.says(r#""data: one\n\n""#).await;
    fail(&gate).await;
    fetch.says("TypeError terminated").await;
    ended(&mut gateway, StatusCode::OK, "body_error").await;
}

/// Over three streams: the first breaks, the second ends, the third it leaves.
#[tokio::test]
#[ignore = "needs Node"]
async fn fetch_event_source_comes_back_with_the_last_event_id() {
    let (mut upstream, mut gateway) = pair(&[]).await;
    let mut source = node(include_str!("fetch_event_source.mjs"), &gateway.chat());
    for (stream, last_event_id) in [None, Some("3"), Some("6")].into_iter().enumerate() {
        let mut arrival = upstream.arrival().await;
        let got = arrival.request.headers().get("last-event-id");
        assert_eq!(got.map(|id| id.to_str().unwrap()), last_event_id);
        assert!(is_json(&arrival));
        assert_eq!(upload(&mut arrival).await, r#"{"stream":true}"#);
        let (gate, body) = gated();
        arrival.answer(event_stream(body));
        source
            .says("open 200 text/event-stream; charset=utf-8")
            .await;
        for number in 1..=3 {
            let number = 3 * u32::try_from(stream).unwrap() + number;
            event(&gate, number).await;
            let seen = format!(r#"{{"id":"{number}","event":"","data":"{number}"}}"#);
            source.says(&seen).await;
        }
        let outcome = match stream {
            0 => {
                send(&gate, "data: never whole").await;
                fail(&gate).await;
                source.says("error terminated").await;
                "outcome=body_error"
            }
            1 => {
                drop(gate);
                source.says("error closed").await;
                "outcome=complete"
            }
            _ => {
                source.hears("leave").await;
                source.says("left").await;
                hung_up(&gate).await;
                "outcome=disconnected"
            }
        };
        gateway.logs(&["status=200", outcome]).await;
    }
    source.ends(0).await;
}

fn url(gateway: &Gateway) -> String {
    gateway.chat().replacen("http", "ws", 1)
}

/// What `ws_client.mjs` makes for `binary`, and the FNV-1a of it.
fn binary(length: usize) -> (Bytes, u32) {
    let bytes = (0..=250).cycle().take(length).collect::<Bytes>();
    let step = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(16_777_619);
    let sum = bytes.iter().fold(2_166_136_261, step);
    (bytes, sum)
}

const MEGABYTE: usize = 1_000_000;

#[tokio::test]
#[ignore = "needs Node"]
async fn a_ws_client_talks_with_a_server_of_another_make() {
    let (mut upstream, mut gateway) = pair(&[]).await;
    let mut client = node(include_str!("ws_client.mjs"), &url(&gateway));
    let (mut server, asked) = accept(&mut upstream).await;
    assert_eq!(asked[SEC_WEBSOCKET_PROTOCOL], "chat.v2");
    // It offers to compress, and this server does not.
    client.says("open chat.v2 \"\"").await;
    for number in 1..=3 {
        client.hears(&format!("text {number}")).await;
        let got = next(&mut server).await.unwrap().unwrap();
        assert_eq!(got, Message::text(number.to_string()));
        server
            .send(Message::text(format!("echo {number}")))
            .await
            .unwrap();
        client.says(&format!("text echo {number}")).await;
    }
    let (bytes, sum) = binary(MEGABYTE);
    client.hears(&format!("binary {MEGABYTE}")).await;
    assert!(next(&mut server).await.unwrap().unwrap() == Message::Binary(bytes.clone()));
    soon("the client", server.send(Message::Binary(bytes)))
        .await
        .unwrap();
    client.says(&format!("binary {MEGABYTE} {sum}")).await;

    client.hears("ping 1").await;
    assert_eq!(
        next(&mut server).await.unwrap().unwrap(),
        Message::Ping("1".into())
    );
    server.flush().await.unwrap();
    client.says("pong 1").await;
    server.send(Message::Ping("2".into())).await.unwrap();
    client.says("ping 2").await;
    assert_eq!(
        next(&mut server).await.unwrap().unwrap(),
        Message::Pong("2".into())
    );

    let metrics = gateway.metrics().await;
    metrics.assert("http_requests_in_flight", &[(&[], 1)]);
    client.hears("close 4321 enough").await;
    let enough = CloseFrame {
        code: CloseCode::from(4321),
        reason: "enough".into(),
    };
    let closed = next(&mut server).await.unwrap().unwrap();
    assert_eq!(closed, Message::Close(Some(enough)));
    assert!(next(&mut server).await.is_none());
    drop(server);
    client.says("close 4321 enough").await;
    client.ends(0).await;
    ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;
}

#[tokio::test]
#[ignore = "needs Node"]
async fn a_ws_client_tells_a_close_from_a_break() {
    let (mut upstream, mut gateway) = pair(&[]).await;
    let mut client = node(include_str!("ws_client.mjs"), &url(&gateway));
    let (mut server, _) = accept(&mut upstream).await;
    client.says("open chat.v2 \"\"").await;
    let restart = CloseFrame {
        code: CloseCode::Restart,
        reason: "back soon".into(),
    };
    server.close(Some(restart)).await.unwrap();
    next(&mut server).await.unwrap().unwrap();
    drop(server);
    client.says("close 1012 back soon").await;
    ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;

    let (mut upstream, gateway) = pair(&[]).await;
    let mut client = node(include_str!("ws_client.mjs"), &url(&gateway));
    let (server, _) = accept(&mut upstream).await;
    client.says("open chat.v2 \"\"").await;
    drop(server);
    client.says("close 1006 ").await;

    let mut client = node(include_str!("ws_client.mjs"), &url(&gateway));
    let (mut server, _) = accept(&mut upstream).await;
    client.says("open chat.v2 \"\"").await;
    client.hears("vanish").await;
    let end = next(&mut server).await.unwrap().unwrap_err();
    let reset = ProtocolError::ResetWithoutClosingHandshake;
    assert!(matches!(end, Error::Protocol(error) if error == reset));
}

/// They agree on compression, of which the gateway knows nothing.
#[tokio::test]
#[ignore = "needs Node"]
async fn a_ws_client_talks_with_a_ws_server() {
    let mut server = node(include_str!("ws_server.mjs"), "");
    let port = server.line().await.parse().unwrap();
    let mut gateway = Gateway::in_front_of(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let mut client = node(include_str!("ws_client.mjs"), &url(&gateway));
    server.says(r#"open 127.0.0.1 "permessage-deflate""#).await;
    client.says(r#"open chat.v2 "permessage-deflate""#).await;
    let mut all = String::new();
    for number in 1..=3 {
        write!(all, "{number} ").unwrap();
        client.hears(&format!("text {all}")).await;
        client.says(&format!("text {all}")).await;
    }
    let (_, sum) = binary(MEGABYTE);
    client.hears(&format!("binary {MEGABYTE}")).await;
    client.says(&format!("binary {MEGABYTE} {sum}")).await;
    client.hears("close 4000 bye").await;
    client.says("close 4000 bye").await;
    client.ends(0).await;
    server.says("close 4000 bye").await;
    ended(&mut gateway, StatusCode::SWITCHING_PROTOCOLS, "upgraded").await;
}
