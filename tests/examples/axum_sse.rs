//! The example `axum_sse`.

use std::process::Command;

use http::Method;

use crate::{
    process::{Process, url},
    wire::{Protocol, answer_of, ask, empty, get, read, request, text},
};

#[tokio::test]
async fn axum_sse_streams_and_tells_a_hang_up_from_a_success() {
    let mut example = Process::start("axum_sse", &["127.0.0.1:0"]);
    let url = url(&example.line(&["/count/20"]).await);

    let whole = get(&format!("{url}/count/2")).await;
    assert_eq!(whole.headers()["content-type"], "text/event-stream");
    assert_eq!(whole.headers()["x-accel-buffering"], "no");
    assert_eq!(text(whole).await, "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n");
    example.line(&["complete after"]).await;

    let mut endless = get(&format!("{url}/count/1000000")).await;
    read(endless.body_mut(), "id: 1\ndata: 1\n\n").await;
    drop(endless);
    example.line(&["disconnected after"]).await;

    let metrics = text(get(&format!("{url}/metrics")).await).await;
    for outcome in ["complete", "disconnected"] {
        let counted = format!("path=\"/count/{{to}}\",status=\"200\",outcome=\"{outcome}\"}} 1\n");
        assert!(metrics.contains(&counted), "{metrics}");
    }
    assert!(metrics.contains("http_request_duration_seconds_bucket"));
}

#[tokio::test]
async fn axum_sse_sends_comments_while_it_is_quiet() {
    let mut example = Process::start("axum_sse", &["127.0.0.1:0"]);
    let url = url(&example.line(&["/count/20"]).await);

    let slow = get(&format!("{url}/count/1?every=1500")).await;
    assert_eq!(text(slow).await, ": keep-alive\nid: 1\ndata: 1\n\n");
}

#[tokio::test]
async fn axum_sse_shuts_down_between_two_events_and_goes_on_where_the_client_was() {
    let mut example = Process::start("axum_sse", &["127.0.0.1:0"]);
    let first = url(&example.line(&["/count/20"]).await);

    let mut stream = get(&format!("{first}/count/1000000")).await;
    read(stream.body_mut(), "id: 1\ndata: 1\n\n").await;
    let pid = example.child.id().unwrap().to_string();
    let interrupt = Command::new("sh")
        .args(["-c", "kill -INT $0", &pid])
        .status();
    assert!(interrupt.unwrap().success());
    let rest = text(stream).await;
    let (status, _) = example.end().await;
    assert!(status.success(), "{status}");

    let events: Vec<_> = rest.split_inclusive("\n\n").collect();
    for (event, n) in events.iter().zip(2..) {
        assert_eq!(*event, format!("id: {n}\ndata: {n}\n\n"));
    }

    let mut example = Process::start("axum_sse", &["127.0.0.1:0"]);
    let second = url(&example.line(&["/count/20"]).await);
    let last = events.len() + 1;
    let mut request = request(Method::GET, &format!("{second}/count/1000000"), empty());
    request.headers_mut().insert("last-event-id", last.into());
    let mut stream = answer_of(ask(&Protocol::Http1.client(), request)).await;
    let next = last + 1;
    read(stream.body_mut(), &format!("id: {next}\ndata: {next}\n\n")).await;
}
