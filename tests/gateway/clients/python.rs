//! `openai`, the SDK for Python, that many clients of LLMs are made with.
//!
//! It is in `target/venv`, put there by `pip` from `requirements.txt`.

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    alone,
    client::{Client, installed},
    ended, hung_up, is_json, pair, upload,
};
use crate::{
    Gateway, event_stream,
    upstream::{Arrival, Gate, Upstream, fail, full, gated, send},
};

const PROTOCOLS: [&str; 2] = ["h1", "h2"];
const KINDS: [&str; 2] = ["sync", "async"];

fn python(gateway: &Gateway, protocol: &str, kind: &str, answer: &str) -> Client {
    let mut command = Command::new(installed("venv/bin/python"));
    command.args(["-c", include_str!("openai_sdk.py")]).args([
        &gateway.url,
        protocol,
        kind,
        answer,
    ]);
    Client::start(command)
}

/// The next request, which must be what the SDK asks.
async fn asked(upstream: &mut Upstream, streams: bool) -> Arrival {
    let mut arrival = upstream.arrival().await;
    let request = &arrival.request;
    assert_eq!(request.uri().path(), "/v1/chat/completions");
    assert_eq!(request.headers()["authorization"], "Bearer none");
    assert!(is_json(&arrival));
    let asked: Value = serde_json::from_slice(&upload(&mut arrival).await).unwrap();
    assert_eq!(asked["stream"], streams);
    assert_eq!(asked["messages"][0]["content"], "hello");
    arrival
}

async fn streamed(upstream: &mut Upstream, sdk: &mut Client) -> Gate {
    let (gate, body) = gated();
    asked(upstream, true).await.answer(event_stream(body));
    sdk.says("head").await;
    gate
}

async fn token(gate: &Gate, token: &str) {
    let chunk = json!({
        "id": "1", "object": "chat.completion.chunk", "created": 0, "model": "demo",
        "choices": [{ "index": 0, "delta": { "content": token } }],
    });
    send(gate, format!("data: {chunk}\n\n")).await;
}

#[tokio::test]
#[ignore = "needs Python"]
async fn each_token_is_read_before_the_next_is_made() {
    for protocol in PROTOCOLS {
        for kind in KINDS {
            let (mut upstream, mut gateway) = pair(&[]).await;
            let mut sdk = python(&gateway, protocol, kind, "stream");
            let gate = streamed(&mut upstream, &mut sdk).await;
            for word in ["one", "two", "three"] {
                token(&gate, word).await;
                sdk.says(word).await;
            }
            drop(gate);
            sdk.says("end").await;
            sdk.ends(0).await;
            ended(&mut gateway, StatusCode::OK, "complete").await;
        }
    }
}

/// Which the SDK skips; before the first token, between two, and after the last.
#[tokio::test]
#[ignore = "needs Python"]
async fn keep_alives_come_and_do_no_harm() {
    for protocol in PROTOCOLS {
        let (mut upstream, mut gateway) = pair(&["--keep-alive", "0.2"]).await;
        let mut sdk = python(&gateway, protocol, "sync", "stream");
        let gate = streamed(&mut upstream, &mut sdk).await;
        for word in ["one", "two"] {
            sdk.says("keep-alive").await;
            token(&gate, word).await;
            // Another one may have come before it.
            assert_eq!(sdk.line_but("keep-alive").await, word);
        }
        sdk.says("keep-alive").await;
        drop(gate);
        assert_eq!(sdk.line_but("keep-alive").await, "end");
        sdk.ends(0).await;
        ended(&mut gateway, StatusCode::OK, "complete").await;
    }
}

/// The SDK does not wait for the end of a stream that has said so, unless it needs the connection: how
/// that is counted depends on which of them is faster.
#[tokio::test]
#[ignore = "needs Python"]
async fn done_is_the_end_for_the_sdk_though_more_could_come() {
    for (protocol, kind, waits) in [
        ("h1", "sync", false),
        ("h2", "sync", false),
        ("h1", "async", true),
        ("h2", "async", false),
    ] {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let mut sdk = python(&gateway, protocol, kind, "stream");
        let gate = streamed(&mut upstream, &mut sdk).await;
        token(&gate, "one").await;
        sdk.says("one").await;
        send(&gate, "data: [DONE]\n\n").await;
        let outcome = if waits {
            drop(gate);
            "complete"
        } else {
            hung_up(&gate).await;
            "disconnected"
        };
        sdk.says("end").await;
        sdk.ends(0).await;
        ended(&mut gateway, StatusCode::OK, outcome).await;
    }
}

#[tokio::test]
#[ignore = "needs Python"]
async fn a_stream_that_is_closed_is_counted_as_disconnected() {
    for protocol in PROTOCOLS {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let mut sdk = python(&gateway, protocol, "sync", "stream");
        let gate = streamed(&mut upstream, &mut sdk).await;
        token(&gate, "leave").await;
        sdk.says("leave").await;
        sdk.says("left").await;
        hung_up(&gate).await;
        ended(&mut gateway, StatusCode::OK, "disconnected").await;
    }
}

#[tokio::test]
#[ignore = "needs Python"]
async fn a_task_that_is_cancelled_hangs_up_before_and_after_the_head() {
    for protocol in PROTOCOLS {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let mut sdk = python(&gateway, protocol, "async", "stream");
        let mut arrival = asked(&mut upstream, true).await;
        sdk.hears("leave").await;
        sdk.says("cancelled").await;
        arrival.abandoned().await;
        gateway.logs(&["outcome=cancelled"]).await;

        let (mut upstream, mut gateway) = pair(&[]).await;
        let mut sdk = python(&gateway, protocol, "async", "stream");
        let gate = streamed(&mut upstream, &mut sdk).await;
        token(&gate, "one").await;
        sdk.says("one").await;
        sdk.hears("leave").await;
        sdk.says("cancelled").await;
        hung_up(&gate).await;
        ended(&mut gateway, StatusCode::OK, "disconnected").await;
    }
}

#[tokio::test]
#[ignore = "needs Python"]
async fn a_stream_that_breaks_raises() {
    for protocol in PROTOCOLS {
        for kind in KINDS {
            let (mut upstream, mut gateway) = pair(&[]).await;
            let mut sdk = python(&gateway, protocol, kind, "stream");
            let gate = streamed(&mut upstream, &mut sdk).await;
            token(&gate, "one").await;
            sdk.says("one").await;
            fail(&gate).await;
            sdk.says("APIConnectionError").await;
            sdk.ends(0).await;
            ended(&mut gateway, StatusCode::OK, "body_error").await;
        }
    }
}

#[tokio::test]
#[ignore = "needs Python"]
async fn an_answer_in_one_piece_arrives_whole() {
    for protocol in PROTOCOLS {
        for kind in KINDS {
            let (mut upstream, mut gateway) = pair(&[]).await;
            let mut sdk = python(&gateway, protocol, kind, "whole");
            let completion = r#"{"id":"1","object":"chat.completion","created":0,"model":"demo",
                "choices":[{"index":0,"finish_reason":"stop",
                "message":{"role":"assistant","content":"hello back"}}]}"#;
            let arrival = asked(&mut upstream, false).await;
            arrival.answer(as_json(StatusCode::OK, completion));
            sdk.says("hello back").await;
            sdk.ends(0).await;
            ended(&mut gateway, StatusCode::OK, "complete").await;
        }
    }
}

fn as_json(status: StatusCode, json: &'static str) -> Response<crate::wire::Body> {
    let mut response = Response::new(full(json));
    *response.status_mut() = status;
    let is_json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, is_json);
    response
}

#[tokio::test]
#[ignore = "needs Python"]
async fn errors_of_the_upstream_and_of_the_gateway_are_told_apart() {
    for protocol in PROTOCOLS {
        for answer in ["stream", "whole"] {
            let (mut upstream, mut gateway) = pair(&[]).await;
            let mut sdk = python(&gateway, protocol, "sync", answer);
            let refusal = r#"{"error":{"message":"slow down"}}"#;
            let arrival = asked(&mut upstream, answer == "stream").await;
            arrival.answer(as_json(StatusCode::TOO_MANY_REQUESTS, refusal));
            sdk.says(&format!("RateLimitError 429 {refusal}")).await;
            sdk.ends(0).await;
            ended(&mut gateway, StatusCode::TOO_MANY_REQUESTS, "complete").await;

            let mut gateway = alone().await;
            let mut sdk = python(&gateway, protocol, "sync", answer);
            sdk.says("InternalServerError 502 the upstream cannot be reached")
                .await;
            sdk.ends(0).await;
            ended(&mut gateway, StatusCode::BAD_GATEWAY, "complete").await;
        }
    }
}
