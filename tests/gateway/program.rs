//! The gateway as a program: its demo, its metrics, how it starts and ends.

use crate::{CHAT_LABELS, Gateway};
use crate::{
    open_chat, soon,
    upstream::{Upstream, full},
    wire::{Protocol, answer_of, ask, empty, get, request, text},
};
use http::{
    Method, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;

#[tokio::test]
async fn with_no_option_it_serves_an_openai_shaped_demo() {
    let gateway = Gateway::start().await;
    let client = Protocol::Http2.client();
    let post = |body| ask(&client, request(Method::POST, &gateway.chat(), full(body)));
    let (streamed, whole) = (post(r#"{"stream": true, "messages": []}"#), post("{}"));

    let streamed = answer_of(streamed).await;
    assert_eq!(streamed.headers()[CONTENT_TYPE], "text/event-stream");
    let streamed = text(streamed).await;
    let mut events: Vec<_> = streamed
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    let chunks: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(
        chunks[chunks.len() - 1]["choices"][0]["finish_reason"],
        "stop"
    );
    let joined: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();

    let whole = answer_of(whole).await;
    assert!(whole.headers().contains_key(CONTENT_LENGTH));
    let whole: Value = serde_json::from_str(&text(whole).await).unwrap();
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["message"]["content"], joined);

    let refused = answer_of(post("no JSON")).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn metrics_count_every_exchange_once_in_buckets() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    let client = Protocol::Http1.client();

    for _ in 0..3 {
        let asked = ask(&client, request(Method::POST, &gateway.chat(), full("{}")));
        upstream
            .arrival()
            .await
            .answer(Response::new(full("whole")));
        assert_eq!(text(answer_of(asked).await).await, "whole");
        gateway.logs(&["outcome=complete"]).await;
    }
    for _ in 0..2 {
        let (gate, response) = open_chat(&client, &gateway, &mut upstream).await;
        drop(response);
        soon("the hang-up at the upstream", gate.closed()).await;
        gateway.logs(&["outcome=disconnected"]).await;
    }
    // Any path may be asked for, but not any path becomes a series.
    for path in ["/a", "/b"] {
        let asked = ask(
            &client,
            request(Method::GET, &format!("{}{path}", gateway.url), empty()),
        );
        let gone = Response::builder().status(StatusCode::GONE);
        upstream.arrival().await.answer(gone.body(empty()).unwrap());
        answer_of(asked).await;
        gateway
            .logs(&[&format!("path=\"{path}\""), "outcome=complete"])
            .await;
    }

    let metrics = gateway.metrics().await;
    let [service, path] = CHAT_LABELS;
    let other = "path=\"_other\"";
    metrics.assert(
        "http_requests_total",
        &[
            (&[service, path, "method=\"POST\"", "status=\"200\""], 5),
            (&[service, other, "method=\"GET\"", "status=\"410\""], 2),
        ],
    );
    metrics.assert(
        "http_responses_ended_total",
        &[
            (
                &[service, path, "status=\"200\"", "outcome=\"complete\""],
                3,
            ),
            (
                &[service, path, "status=\"200\"", "outcome=\"disconnected\""],
                2,
            ),
            (
                &[service, other, "status=\"410\"", "outcome=\"complete\""],
                2,
            ),
        ],
    );
    metrics.assert(
        "http_requests_in_flight",
        &[(&[service, path], 0), (&[service, other], 0)],
    );
    for (histogram, last) in [
        ("http_response_head_seconds_bucket", "le=\"30\""),
        ("http_request_duration_seconds_bucket", "le=\"3600\""),
        ("http_response_body_bytes_bucket", "le=\"67108864\""),
    ] {
        for bound in [last, "le=\"+Inf\""] {
            metrics.assert_has(histogram, &[service, path, "kind=\"unary\"", bound], 3);
            metrics.assert_has(histogram, &[service, path, "kind=\"stream\"", bound], 2);
            metrics.assert_has(histogram, &[service, other, "kind=\"unary\"", bound], 2);
        }
    }

    let healthy = get(&format!("{}/healthz", gateway.admin)).await;
    assert_eq!(text(healthy).await, "ok\n");
}
