//! curl: what people first try a stream with.

use std::{fs, path::PathBuf, process};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_LENGTH, TE, TRAILER},
};
use tokio::process::Command;

use super::{alone, client::Client, ended, event, hung_up, pair, stream_of, upload};
use crate::{
    upstream::{fail, full, gated, read_end, send, send_trailers},
    wire::{empty, read},
};

const HTTP1: &str = "--http1.1";
const HTTP2: &str = "--http2-prior-knowledge";

fn curl(protocol: &str, arguments: &[&str]) -> Client {
    // -q: nothing of what the user has set.
    let ours = ["-q", "-sS", "--no-buffer", "--noproxy", "*", protocol];
    let mut command = Command::new("curl");
    command.args(ours).args(arguments);
    Client::start(command)
}

/// The lines of a head that it prints.
async fn head(curl: &mut Client) -> Vec<String> {
    let mut head = Vec::new();
    loop {
        match curl.line().await {
            line if line.is_empty() => return head,
            line => head.push(line),
        }
    }
}

#[tokio::test]
#[ignore = "needs curl"]
async fn each_event_is_printed_before_the_next_is_made() {
    for (protocol, options) in [
        (HTTP1, &[][..]),
        (HTTP2, &[]),
        (HTTP1, &["--upstream-h2"]),
        (HTTP2, &["--upstream-h2"]),
    ] {
        let (mut upstream, mut gateway) = pair(options).await;
        let mut curl = curl(protocol, &[&gateway.chat()]);
        let (gate, _) = stream_of(&mut upstream).await;
        for number in 1..=5 {
            event(&gate, number).await;
            curl.says(&format!("id: {number}")).await;
            curl.says(&format!("data: {number}")).await;
            curl.says("").await;
        }
        drop(gate);
        curl.ends(0).await;
        ended(&mut gateway, StatusCode::OK, "complete").await;
    }
}

#[tokio::test]
#[ignore = "needs curl"]
async fn killed_before_or_after_the_head_it_is_counted_as_gone() {
    for protocol in [HTTP1, HTTP2] {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let waiting = curl(protocol, &[&gateway.chat()]);
        let mut arrival = upstream.arrival().await;
        waiting.kill().await;
        arrival.abandoned().await;
        gateway.logs(&["outcome=cancelled"]).await;

        let (mut upstream, mut gateway) = pair(&[]).await;
        let mut reading = curl(protocol, &[&gateway.chat()]);
        let (gate, _) = stream_of(&mut upstream).await;
        send(&gate, "data: one\n\n").await;
        reading.says("data: one").await;
        reading.kill().await;
        hung_up(&gate).await;
        ended(&mut gateway, StatusCode::OK, "disconnected").await;
    }
}

#[tokio::test]
#[ignore = "needs curl"]
async fn a_stream_that_breaks_is_an_error() {
    const PARTIAL_FILE: i32 = 18;
    const HTTP2_STREAM: i32 = 92;
    for (protocol, code) in [(HTTP1, PARTIAL_FILE), (HTTP2, HTTP2_STREAM)] {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let mut curl = curl(protocol, &[&gateway.chat()]);
        let (gate, _) = stream_of(&mut upstream).await;
        send(&gate, "data: one\n").await;
        curl.says("data: one").await;
        fail(&gate).await;
        curl.ends(code).await;
        ended(&mut gateway, StatusCode::OK, "body_error").await;
    }
}

#[tokio::test]
#[ignore = "needs curl"]
async fn an_upstream_that_is_down_is_an_error() {
    const HTTP_RETURNED_ERROR: i32 = 22;
    for protocol in [HTTP1, HTTP2] {
        let mut gateway = alone().await;
        let mut curl = curl(protocol, &["--fail-with-body", &gateway.chat()]);
        curl.says("the upstream cannot be reached").await;
        curl.ends(HTTP_RETURNED_ERROR).await;
        ended(&mut gateway, StatusCode::BAD_GATEWAY, "complete").await;
    }
}

/// curl treats them as header fields that come late.
#[tokio::test]
#[ignore = "needs curl"]
async fn trailers_are_printed_after_the_body() {
    for protocol in [HTTP1, HTTP2] {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let url = gateway.chat();
        let arguments = ["--dump-header", "-", "-H", "TE: trailers", &url];
        let mut curl = curl(protocol, &arguments);
        let (gate, body) = gated();
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(TRAILER, HeaderValue::from_static("x-sum"));
        let asked = upstream.arrival().await.answer(response);
        assert_eq!(asked.headers()[TE], "trailers");
        assert!(head(&mut curl).await.contains(&"trailer: x-sum".to_owned()));
        send(&gate, "the body\n").await;
        curl.says("the body").await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        send_trailers(&gate, trailers).await;
        drop(gate);
        curl.says("x-sum: 42").await;
        curl.ends(0).await;
        ended(&mut gateway, StatusCode::OK, "complete").await;
    }
}

#[tokio::test]
#[ignore = "needs curl"]
async fn head_keeps_the_length_of_what_is_not_sent() {
    for protocol in [HTTP1, HTTP2] {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let mut curl = curl(protocol, &["--head", &gateway.chat()]);
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.request.method(), Method::HEAD);
        arrival.answer(Response::new(full("twelve bytes")));
        let head = head(&mut curl).await;
        assert!(head.contains(&"content-length: 12".to_owned()), "{head:?}");
        curl.ends(0).await;
        ended(&mut gateway, StatusCode::OK, "complete").await;
    }
}

#[tokio::test]
#[ignore = "needs curl"]
async fn a_large_file_arrives_as_it_is_with_its_length() {
    let sent = (0..4_000_037_u32)
        .flat_map(u32::to_le_bytes)
        .collect::<Bytes>();
    let file = File::new(&sent);
    for protocol in [HTTP1, HTTP2] {
        let (mut upstream, mut gateway) = pair(&[]).await;
        let url = gateway.chat();
        let curl = curl(protocol, &["-T", file.0.to_str().unwrap(), &url]);
        let mut arrival = upstream.arrival().await;
        let length = &arrival.request.headers()[CONTENT_LENGTH];
        assert_eq!(length, &sent.len().to_string());
        assert!(upload(&mut arrival).await == sent);
        arrival.answer(Response::new(empty()));
        curl.ends(0).await;
        ended(&mut gateway, StatusCode::OK, "complete").await;
    }
}

/// Removed when dropped.
struct File(PathBuf);

impl File {
    fn new(content: &[u8]) -> Self {
        let name = format!("curl-upload-{}", process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[tokio::test]
#[ignore = "needs curl"]
async fn what_is_typed_goes_up_while_the_answer_comes_down() {
    for protocol in [HTTP1, HTTP2] {
        let (mut upstream, mut gateway) = pair(&[]).await;
        // `.` reads the standard input, and does not wait for it.
        let mut curl = curl(protocol, &["-T", ".", &gateway.chat()]);
        let (gate, mut request) = stream_of(&mut upstream).await;
        for line in ["one", "two", "three"] {
            curl.hears(line).await;
            read(request.body_mut(), &format!("{line}\n")).await;
            send(&gate, format!("echo {line}\n")).await;
            curl.says(&format!("echo {line}")).await;
        }
        curl.hears_no_more();
        read_end(request.body_mut()).await;
        drop(gate);
        curl.ends(0).await;
        ended(&mut gateway, StatusCode::OK, "complete").await;
    }
}
