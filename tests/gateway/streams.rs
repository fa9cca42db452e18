//! What streams through the gateway, and what becomes of it when either side leaves.

use http::{Method, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;

use crate::{CHAT_LABELS, Gateway, WAYS};
use crate::{
    open_chat, soon,
    upstream::{Upstream, fail, full, gated, read_end, send},
    wire::{BOTH, answer_of, ask, read, request, text},
};

#[tokio::test]
async fn tokens_arrive_while_the_producer_is_blocked() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        let client = protocol.client();
        // There is no event yet, but the head is here.
        let (gate, mut response) = open_chat(&client, &gateway, &mut upstream).await;
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

/// None of it is about event streams alone.
#[tokio::test]
async fn lines_of_json_arrive_while_the_producer_is_blocked() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
        let client = protocol.client();
        let asked = ask(&client, request(Method::POST, &gateway.chat(), full("{}")));
        let (gate, body) = gated();
        let response = Response::builder().header(CONTENT_TYPE, "application/x-ndjson");
        upstream
            .arrival()
            .await
            .answer(response.body(body).unwrap());
        let mut response = answer_of(asked).await;
        // A piece that is no whole line is passed on as well.
        for piece in ["{\"a\":1}\n", "{\"b\"", ":2}\n"] {
            send(&gate, piece).await;
            read(response.body_mut(), piece).await;
        }
        drop(gate);
        read_end(response.body_mut()).await;
        gateway.logs(&["outcome=complete", "bytes=16"]).await;
    }
}

#[tokio::test]
async fn a_quiet_event_stream_is_kept_alive_between_two_events() {
    let mut upstream = Upstream::start().await;
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::start_with(&["--upstream", &url, "--keep-alive", "0.1"]).await;
    for protocol in BOTH {
        let client = protocol.client();
        let (gate, mut response) = open_chat(&client, &gateway, &mut upstream).await;
        send(&gate, "data: one\n\n").await;
        let mut all = String::new();
        while !all.contains("data: one\n\n: keep-alive\n") {
            let frame = soon("a comment", response.body_mut().frame()).await;
            let data = frame.unwrap().unwrap().into_data().unwrap();
            all.push_str(std::str::from_utf8(&data).unwrap());
        }
        send(&gate, "data: two\n\n").await;
        drop(gate);
        all.push_str(&text(response).await);
        // More of them may come, before the first event and after it.
        let events = all.replace(": keep-alive\n", "");
        assert_eq!(events, "data: one\n\ndata: two\n\n", "{all}");
    }
}

#[tokio::test]
async fn an_upload_streams_up_before_and_while_the_answer_streams_down() {
    for (protocol, spoken) in WAYS {
        let mut upstream = Upstream::start().await;
        let mut gateway = Gateway::speaking(spoken, upstream.address).await;
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
    for (protocol, spoken) in WAYS {
        for hangs_up in [false, true] {
            let mut upstream = Upstream::start().await;
            let gateway = Gateway::speaking(spoken, upstream.address).await;
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
