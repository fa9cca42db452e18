//! How long the gateway waits for an upstream that does nothing.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Duration, sleep},
};

use crate::{
    Gateway,
    failures::{TOO_LATE, asked, assert_told},
    soon,
    upstream::{Upstream, gated, read_end, send},
    wire::{BOTH, Protocol, answer_of, ask, read, request, text},
};

#[tokio::test]
async fn an_upstream_that_takes_too_long_to_answer_is_a_504_once_it_has_the_request() {
    for protocol in BOTH {
        let mut upstream = Upstream::start().await;
        let url = format!("http://{}", upstream.address);
        let options = ["--upstream", &url, "--connect-timeout", "60"];
        let options = [&options[..], &["--header-timeout", "2"]].concat();
        let mut gateway = Gateway::start_with(&options).await;

        let (gate, body) = gated();
        let post = request(Method::POST, &gateway.chat(), body);
        let asked = ask(&protocol.client(), post);
        let mut arrival = upstream.arrival().await;
        for _ in 0..2 {
            // Slow as it is, it is under way.
            sleep(Duration::from_millis(2_500)).await;
            send(&gate, "more").await;
            read(arrival.request.body_mut(), "more").await;
        }
        assert!(!asked.is_finished());
        drop(gate);
        read_end(arrival.request.body_mut()).await;
        let wanted = (504, "http_response_timeout", TOO_LATE);
        assert_told(&mut gateway, answer_of(asked).await, wanted).await;
        arrival.abandoned().await;
    }
}

/// Ample time for a head on a busy machine; what follows takes longer.
#[tokio::test]
async fn a_head_that_has_come_in_time_is_all_that_is_asked_for() {
    let mut upstream = Upstream::start().await;
    let url = format!("http://{}", upstream.address);
    let options = ["--upstream", &url, "--header-timeout", "5"];
    let gateway = Gateway::start_with(&options).await;
    let mut under_way = Vec::new();
    for protocol in BOTH {
        let asked = asked(&gateway, protocol);
        let (gate, body) = gated();
        upstream.arrival().await.answer(Response::new(body));
        under_way.push((answer_of(asked).await, gate));
    }
    sleep(Duration::from_millis(5_500)).await;
    for (response, gate) in under_way {
        send(&gate, "late").await;
        drop(gate);
        assert_eq!(text(response).await, "late");
    }
}

/// The client has more to send, and nobody takes it.
#[tokio::test]
async fn an_upstream_that_does_not_take_an_upload_is_a_504() {
    for way in [&[][..], &["--upstream-h2"]] {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", upstream.local_addr().unwrap());
        let options = ["--upstream", &url, "--connect-timeout", "60"];
        let options = [&options[..], &["--header-timeout", "0.3"], way].concat();
        let gateway = Gateway::start_with(&options).await;
        let mut tcp = gateway.tcp().await;
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n";
        tcp.write_all(head.as_bytes()).await.unwrap();
        let (_accepted, _) = soon("a connection", upstream.accept()).await.unwrap();
        let (mut read, mut write) = tcp.split();
        let mut answer = [0; 13];
        let upload = async {
            while write.write_all(&[0; 8_192]).await.is_ok() {}
            // The gateway has closed the connection: its answer is there.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = soon("the answer", read.read_exact(&mut answer)) => drop(read.unwrap()),
            () = upload => (),
        }
        assert_eq!(&answer, b"HTTP/1.1 504 ", "{way:?}");
    }
}

#[tokio::test]
async fn a_request_for_which_the_upstream_has_no_stream_is_a_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let options = ["--upstream", &url, "--upstream-h2", "--connect-timeout"];
    let options = [&options[..], &["5", "--header-timeout", "5"]].concat();
    let mut gateway = Gateway::start_with(&options).await;
    let first = asked(&gateway, Protocol::Http1);
    let (tcp, _) = soon("a connection", listener.accept()).await.unwrap();
    let mut upstream = h2::server::Builder::new();
    let upstream = upstream.max_concurrent_streams(1).handshake(tcp);
    let mut upstream: h2::server::Connection<_, Bytes> =
        soon("the preface", upstream).await.unwrap();
    let (_request, mut answer) = soon("a request", upstream.accept()).await.unwrap().unwrap();
    let mut body = answer.send_response(Response::new(()), false).unwrap();
    // All others at once; but the first keeps them from coming.
    tokio::spawn(async move {
        while let Some(Ok((_request, mut answer))) = upstream.accept().await {
            // To one that was given up in vain.
            let _ = answer.send_response(Response::new(()), true);
        }
    });
    let first = answer_of(first).await;

    // One waits within the connection, and one for it.
    for asked in [(); 2].map(|()| asked(&gateway, Protocol::Http1)) {
        let wanted = (504, "http_response_timeout", TOO_LATE);
        assert_told(&mut gateway, answer_of(asked).await, wanted).await;
    }
    body.send_data("whole".into(), true).unwrap();
    assert_eq!(text(first).await, "whole");
    let asked = asked(&gateway, Protocol::Http1);
    assert_eq!(answer_of(asked).await.status(), StatusCode::OK);
}

/// Without probes, one that has vanished without a word is waited for until its time is over, and
/// in mid-stream without end. The system tells of its timer, in hundredths of a second.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_asks_whether_a_quiet_upstream_is_still_there() {
    for spoken in BOTH {
        let mut upstream = Upstream::start().await;
        let gateway = Gateway::speaking(spoken, upstream.address).await;
        let _asked = asked(&gateway, Protocol::Http1);
        let _arrival = upstream.arrival().await;
        let timer = async {
            loop {
                match probes_timer(upstream.address.port()) {
                    Some(timer) => return timer,
                    None => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let timer = soon("the probes' timer", timer).await;
        assert!(timer <= 2_000, "{spoken:?}: {timer}");
    }
}

/// As `proc_net_tcp` of the kernel's documentation has it: 1 is established, 2 the timer of probes.
#[cfg(target_os = "linux")]
fn probes_timer(upstream: u16) -> Option<u32> {
    let remote = format!(" 0100007F:{upstream:04X} 01 ");
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let connection = connections.lines().find(|line| line.contains(&remote))?;
    let timer = connection
        .split(' ')
        .find_map(|field| field.strip_prefix("02:"))?;
    u32::from_str_radix(timer, 16).ok()
}
