//! A browser: its `EventSource`, its streams of `fetch` and its `WebSocket`.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    event, hung_up, pair,
    websocket::{accept, next},
};
use crate::{
    Gateway, event_stream,
    patience::PATIENCE,
    upstream::{Gate, Upstream, fail, full, gated, send},
    webdriver::Browser,
    wire::Body,
};

/// A page that came through the gateway.
struct Page {
    browser: Browser,
    upstream: Upstream,
    gateway: Gateway,
    seen: usize,
}

impl Page {
    async fn open(test: &str) -> Self {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let browser = Browser::start(&format!("gateway-{test}")).await;
        let served = async { upstream.arrival().await.answer(html()) };
        tokio::join!(browser.open(&gateway.url), served);
        gateway.logs(&["path=\"/\"", "outcome=complete"]).await;
        Self {
            browser,
            upstream,
            gateway,
            seen: 0,
        }
    }

    async fn runs(&self, script: &str) {
        self.browser.run(script).await;
    }

    /// Waits until the page has been given one thing more, which must be this.
    async fn sees(&mut self, wanted: impl Into<Value>) {
        let wanted = wanted.into();
        let start = Instant::now();
        loop {
            let seen = self.browser.run("return seen").await;
            match seen.as_array().unwrap().get(self.seen) {
                Some(next) => {
                    assert_eq!(next, &wanted, "{seen}");
                    self.seen += 1;
                    return;
                }
                None => assert!(start.elapsed() < PATIENCE, "no {wanted} after {seen}"),
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Answers the next request with an event stream.
    async fn stream(&mut self, path: &str, last_event_id: Option<&str>) -> Gate {
        let arrival = self.upstream.arrival().await;
        assert_eq!(arrival.request.uri().path(), path);
        let got = arrival.request.headers().get("last-event-id");
        assert_eq!(got.map(|id| id.to_str().unwrap()), last_event_id);
        let (gate, body) = gated();
        arrival.answer(event_stream(body));
        gate
    }

    /// Waits until an exchange has ended like this, as the first of which this can be said.
    async fn counts(&mut self, status: StatusCode, outcome: &str) {
        let status = status.as_u16();
        let gateway = &mut self.gateway;
        gateway
            .logs(&[&format!("status={status}"), &format!("outcome={outcome}")])
            .await;
        let metrics = gateway.metrics().await;
        let labels = [
            format!("status=\"{status}\""),
            format!("outcome=\"{outcome}\""),
        ];
        let labels = labels.each_ref().map(String::as_str);
        metrics.assert_has("http_responses_ended_total", &labels, 1);
    }
}

fn html() -> Response<Body> {
    let html = Response::builder().header(CONTENT_TYPE, "text/html");
    html.body(full(include_str!("chromium.html"))).unwrap()
}

/// Over three streams: the first breaks, the second ends, the third it closes.
#[tokio::test]
#[ignore = "needs Chromium"]
async fn an_event_source_sees_each_event_at_once_and_comes_back() {
    let mut page = Page::open("event-source").await;
    page.runs("listen()").await;
    for (stream, last_event_id) in [None, Some("3"), Some("6")].into_iter().enumerate() {
        let gate = page.stream("/events", last_event_id).await;
        send(&gate, "retry: 1\n\n").await;
        page.sees("open").await;
        for number in 1..=3 {
            let number = 3 * u32::try_from(stream).unwrap() + number;
            event(&gate, number).await;
            page.sees(format!("{number} {number}")).await;
        }
        match stream {
            0 => {
                send(&gate, "data: never whole").await;
                fail(&gate).await;
                page.sees("again").await;
                page.counts(StatusCode::OK, "body_error").await;
            }
            1 => {
                drop(gate);
                page.sees("again").await;
                // The page itself was the first.
                let gateway = &mut page.gateway;
                gateway
                    .logs(&["path=\"/events\"", "outcome=complete"])
                    .await;
            }
            _ => {
                page.runs("source.close()").await;
                hung_up(&gate).await;
                page.counts(StatusCode::OK, "disconnected").await;
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_fetch_sees_each_chunk_at_once_and_how_the_stream_ends() {
    let mut page = Page::open("fetch").await;
    for end in ["end", "break", "abort"] {
        page.runs("read()").await;
        let gate = page.stream("/read", None).await;
        page.sees(200).await;
        for chunk in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            send(&gate, chunk).await;
            page.sees(chunk).await;
        }
        match end {
            "end" => {
                drop(gate);
                page.sees("end").await;
                let gateway = &mut page.gateway;
                gateway.logs(&["path=\"/read\"", "outcome=complete"]).await;
            }
            "break" => {
                fail(&gate).await;
                page.sees("TypeError").await;
                page.counts(StatusCode::OK, "body_error").await;
            }
            _ => {
                page.runs("hangUp.abort()").await;
                page.sees("AbortError").await;
                hung_up(&gate).await;
                page.counts(StatusCode::OK, "disconnected").await;
            }
        }
    }
}

/// Nothing in the page says goodbye.
#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_page_that_is_loaded_again_hangs_up() {
    let mut page = Page::open("reload").await;
    page.runs("listen()").await;
    let gate = page.stream("/events", None).await;
    page.sees("open").await;
    event(&gate, 1).await;
    page.sees("1 1").await;
    // The driver waits for the page.
    let served = async { page.upstream.arrival().await.answer(html()) };
    tokio::join!(page.browser.run("location.reload()"), served);
    hung_up(&gate).await;
    page.counts(StatusCode::OK, "disconnected").await;
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_websocket_talks_and_closes_with_a_code() {
    let mut page = Page::open("websocket").await;
    page.runs("talk()").await;
    let (mut server, _) = accept(&mut page.upstream).await;
    page.sees("open").await;
    for word in ["one", "two", "three"] {
        page.runs(&format!("socket.send({})", json!(word))).await;
        let got = next(&mut server).await.unwrap().unwrap();
        assert_eq!(got, Message::text(word));
        server
            .send(Message::text(format!("echo {word}")))
            .await
            .unwrap();
        page.sees(format!("echo {word}")).await;
    }
    let restart = CloseFrame {
        code: CloseCode::Restart,
        reason: "back soon".into(),
    };
    server.close(Some(restart)).await.unwrap();
    next(&mut server).await.unwrap().unwrap();
    drop(server);
    page.sees("1012 back soon true").await;
    page.counts(StatusCode::SWITCHING_PROTOCOLS, "upgraded")
        .await;
}
