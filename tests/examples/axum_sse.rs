//! The example `axum_sse`.

use std::process::Command;

use bytes::Bytes;
use http::{Method, Request};
use tokio::net::TcpStream;

use crate::{
    patience::soon,
    process::{Process, url},
    until,
    wire::{Protocol, answer_of, ask, empty, get, read, request, text},
};

/// Ctrl-C.
fn interrupt(example: &Process) {
    let pid = example.child.id().unwrap().to_string();
    let kill = Command::new("sh")
        .args(["-c", "kill -INT $0", &pid])
        .status();
    assert!(kill.unwrap().success());
}

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

    let slow = text(get(&format!("{url}/count/1?every=3500")).await).await;
    // How many there are is up to the clock.
    assert!(slow.starts_with(": keep-alive\n"), "{slow}");
    assert_eq!(slow.replace(": keep-alive\n", ""), "id: 1\ndata: 1\n\n");
}

#[tokio::test]
async fn axum_sse_shuts_down_between_two_events_and_goes_on_where_the_client_was() {
    let mut example = Process::start("axum_sse", &["127.0.0.1:0"]);
    let first = url(&example.line(&["/count/20"]).await);

    let mut stream = get(&format!("{first}/count/1000000")).await;
    read(stream.body_mut(), "id: 1\ndata: 1\n\n").await;
    interrupt(&example);
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

/// Takes as long as the example waits.
#[tokio::test]
async fn axum_sse_lets_go_of_a_client_that_does_not_read() {
    let mut example = Process::start("axum_sse", &["127.0.0.1:0"]);
    let url = url(&example.line(&["/count/20"]).await);

    let tcp = TcpStream::connect(url.replace("http://", ""))
        .await
        .unwrap();
    let mut no_window = h2::client::Builder::new();
    no_window.initial_window_size(0);
    let handshake = no_window.handshake::<_, Bytes>(tcp);
    let (mut client, connection) = soon("the handshake", handshake).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("{url}/count/1000000")).body(());
    let (response, _) = client.send_request(request.unwrap(), true).unwrap();
    let _unread = soon("the head", response).await.unwrap();
    until("an event that waits to be read", async || {
        let metrics = text(get(&format!("{url}/metrics")).await).await;
        let made = metrics
            .lines()
            .any(|line| line.starts_with("http_sse_events_total{") && line.ends_with("} 1"));
        if made { Ok(()) } else { Err(metrics) }
    })
    .await;

    interrupt(&example);
    example.line(&["they are let go"]).await;
    example.line(&["disconnected after"]).await;
    let (status, _) = example.end().await;
    assert!(status.success(), "{status}");
}
