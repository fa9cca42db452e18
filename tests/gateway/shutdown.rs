//! How it ends.
#![cfg(unix)]

use std::process::Command;

use http::{Method, Response};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Child,
    time::{Duration, sleep},
};

use crate::{
    Gateway, open_chat,
    raw::{Recorder, gone},
    soon,
    tunnels::upgraded,
    upstream::{Upstream, full, gated, read_end, send},
    wire::{BOTH, Protocol, answer_of, ask, empty, get, read, request, text},
};

const SIGNALS: [&str; 2] = ["-TERM", "-INT"];

fn signal(gateway: &Gateway, signal: &str) {
    send_signal(&gateway.process.child, signal);
}

pub(crate) fn send_signal(process: &Child, signal: &str) {
    let id = process.id().unwrap().to_string();
    let killed = Command::new("sh")
        .args(["-c", "kill $0 $1", signal, &id])
        .status();
    assert!(killed.unwrap().success());
}

/// Signals, and waits until it is known.
async fn stop(gateway: &mut Gateway, with: &str) {
    signal(gateway, with);
    gateway.process.line(&["INFO", "a signal: "]).await;
}

async fn drained_by(upstream: &Upstream, seconds: &str) -> Gateway {
    let url = format!("http://{}", upstream.address);
    Gateway::start_with(&["--upstream", &url, "--drain", seconds]).await
}

/// Whether new clients are turned away.
async fn refuses(gateway: &Gateway) {
    let address = gateway.url.strip_prefix("http://").unwrap();
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    soon("the end of listening", refused).await;
}

#[tokio::test]
async fn a_signal_ends_it_when_all_is_done() {
    for (with, protocol) in SIGNALS.into_iter().zip(BOTH) {
        let mut upstream = Upstream::start().await;
        let mut gateway = drained_by(&upstream, "3600").await;
        let (client, server) = upgraded(&mut upstream, &gateway, "echo/1").await;
        let unary = ask(
            &protocol.client(),
            request(Method::GET, &gateway.url, empty()),
        );
        let unary_arrival = upstream.arrival().await;
        let of_stream = protocol.client();
        let (gate, mut stream) = open_chat(&of_stream, &gateway, &mut upstream).await;
        send(&gate, "data: one\n\ndata: tw").await;
        read(stream.body_mut(), "data: one\n\ndata: tw").await;

        stop(&mut gateway, with).await;
        let health = get(&format!("{}/healthz", gateway.admin)).await;
        assert_eq!(health.status(), 503);
        assert_eq!(text(health).await, "draining\n");
        refuses(&gateway).await;

        // An event stream ends after the event that is under way.
        send(&gate, "o\n\n").await;
        read(stream.body_mut(), "o\n\n").await;
        read_end(stream.body_mut()).await;
        soon("the end at the upstream", gate.closed()).await;
        // All else ends when it ends.
        unary_arrival.answer(Response::new(full("whole")));
        assert_eq!(text(answer_of(unary).await).await, "whole");
        let metrics = gateway.metrics().await;
        let tunnel: (&[&str], u64) = (&["path=\"/v1/chat/completions\""], 1);
        metrics.assert_has("http_requests_in_flight", tunnel.0, tunnel.1);
        let (mut client, mut server) = (client, server);
        client.write_all(b"ping").await.unwrap();
        soon("ping", server.read_exact(&mut [0; 4])).await.unwrap();
        drop((client, server));

        let (status, rest) = gateway.process.end().await;
        assert_eq!(status.code(), Some(0), "{rest}");
        assert!(rest.contains("ended"), "{rest}");
        assert!(!rest.contains("cut off"), "{rest}");
    }
}

/// That is so before the first request is there, and between two requests.
#[tokio::test]
async fn connections_on_which_nothing_is_under_way_do_not_hold_it_up() {
    let mut upstream = Upstream::start().await;
    let mut gateway = drained_by(&upstream, "3600").await;
    let mut unasking = Vec::new();
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: "] {
        let mut client = gateway.tcp().await;
        client.write_all(start.as_bytes()).await.unwrap();
        unasking.push(client);
    }
    let clients = BOTH.map(Protocol::client);
    for client in &clients {
        let asked = ask(client, request(Method::GET, &gateway.url, empty()));
        upstream
            .arrival()
            .await
            .answer(Response::new(full("whole")));
        assert_eq!(text(answer_of(asked).await).await, "whole");
    }
    stop(&mut gateway, "-TERM").await;
    let (status, rest) = gateway.process.end().await;
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(!rest.contains("cut off"), "{rest}");
    for mut client in unasking {
        gone(&mut client).await;
    }
}

/// There is little time for the rest of it: a test that was too slow tries again.
#[tokio::test]
async fn a_first_request_that_is_under_way_is_answered() {
    let upstream = Recorder::start().await;
    for _ in 0..3 {
        let answer = asked_around_the_signal(&upstream).await;
        if answer.starts_with("HTTP/1.1 200 OK\r\n") {
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
            return;
        }
        assert_eq!(answer, "");
    }
    panic!("it is not answered");
}

async fn asked_around_the_signal(upstream: &Recorder) -> String {
    let url = format!("http://{}", upstream.address);
    let mut gateway = Gateway::start_with(&["--upstream", &url, "--drain", "3600"]).await;
    let mut client = gateway.tcp().await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // Then all connections before it are accepted.
    get(&gateway.url).await;
    stop(&mut gateway, "-TERM").await;
    refuses(&gateway).await;
    let mut answer = String::new();
    let asked = async {
        client.write_all(b"host: a.example\r\n\r\n").await?;
        client.read_to_string(&mut answer).await
    };
    // It fails if the gateway has closed the connection.
    let _ = soon("the answer or the end", asked).await;
    let (status, rest) = gateway.process.end().await;
    assert_eq!(status.code(), Some(0), "{rest}");
    answer
}

#[tokio::test]
async fn what_is_not_done_in_time_is_cut_off() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let mut gateway = drained_by(&upstream, "0.3").await;
        let (mut client, _server) = upgraded(&mut upstream, &gateway, "echo/1").await;
        let asked = ask(
            &protocol.client(),
            request(Method::GET, &gateway.url, empty()),
        );
        let (gate, body) = gated();
        upstream.arrival().await.answer(Response::new(body));
        let mut response = answer_of(asked).await;
        send(&gate, "half of it").await;
        read(response.body_mut(), "half of it").await;

        stop(&mut gateway, "-TERM").await;
        let end = soon("the cut", response.body_mut().frame()).await;
        assert!(matches!(end, Some(Err(_))), "{end:?}");
        soon("the end at the upstream", gate.closed()).await;
        gone_io(&mut client).await;
        let (status, rest) = gateway.process.end().await;
        assert_eq!(status.code(), Some(0), "{rest}");
        assert!(rest.contains("WARN not all was done in time"), "{rest}");
        assert!(rest.contains("outcome=disconnected"), "{rest}");
        assert!(rest.contains("outcome=upgraded"), "{rest}");
    }
}

async fn gone_io(io: &mut (impl AsyncReadExt + Unpin)) {
    let end = soon("the end", io.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (first, second) in [("-TERM", "-TERM"), ("-INT", "-INT"), ("-INT", "-TERM")] {
        let mut upstream = Upstream::start().await;
        let mut gateway = drained_by(&upstream, "3600").await;
        let client = Protocol::Http1.client();
        let asked = ask(&client, request(Method::GET, &gateway.url, empty()));
        let _arrival = upstream.arrival().await;
        stop(&mut gateway, first).await;
        signal(&gateway, second);
        let (status, rest) = gateway.process.end().await;
        assert_eq!(status.code(), Some(1), "{rest}");
        assert!(rest.contains("WARN a further signal: cut off"), "{rest}");
        assert!(soon("the cut", asked).await.unwrap().is_err());
    }
}

/// The system's resolver has no way to be told to stop. Here it reads a file of which there is no end:
/// glibc does so before it asks DNS, so where DNS is not asked there is nothing to be seen.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
#[ignore = "needs a system that looks names up in DNS"]
async fn a_name_that_is_being_looked_up_holds_it_up_in_no_way() {
    let aliases = concat!(env!("CARGO_TARGET_TMPDIR"), "/aliases");
    let _ = std::fs::remove_file(aliases);
    assert!(
        Command::new("mkfifo")
            .arg(aliases)
            .status()
            .unwrap()
            .success()
    );
    let environment = [("HOSTALIASES", aliases)];
    let options = [
        "--upstream=http://name",
        "--drain=3600",
        "--connect-timeout=3600",
    ];
    let mut gateway = Gateway::start_in(&environment, &options).await;
    let client = Protocol::Http1.client();
    let asked = ask(&client, request(Method::GET, &gateway.url, empty()));
    let looking_up = async {
        loop {
            match tokio::net::unix::pipe::OpenOptions::new().open_sender(aliases) {
                Ok(writer) => return writer,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let _endless = soon("the look-up", looking_up).await;
    asked.abort();
    gateway.logs(&["outcome=cancelled"]).await;

    stop(&mut gateway, "-TERM").await;
    let (status, rest) = gateway.process.end().await;
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(!rest.contains("cut off"), "{rest}");
}
