//! How many may be connected, or asking, at once.

use bytes::Bytes;
use h2::SendStream;
use http::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Duration, sleep},
};

use crate::{
    Gateway, open_chat,
    raw::{Heard, Recorder, gone, read_head},
    soon,
    tunnels::upgraded,
    upstream::Upstream,
    wire::{Protocol, answer_of, ask, empty, request},
};

async fn with_one_place(upstream: &Upstream) -> Gateway {
    let url = format!("http://{}", upstream.address);
    Gateway::start_with(&["--upstream", &url, "--max-connections", "1"]).await
}

const WAITING: &[u8] = b"GET /waiting HTTP/1.1\r\nhost: a.example\r\n\r\n";

#[tokio::test]
async fn the_next_connection_is_accepted_when_one_leaves() {
    let mut upstream = Upstream::start().await;
    let gateway = with_one_place(&upstream).await;
    let client = Protocol::Http2.client();
    let (_gate, response) = open_chat(&client, &gateway, &mut upstream).await;
    let mut waiting = gateway.tcp().await;
    waiting.write_all(WAITING).await.unwrap();

    // There is one place for a connection, and any number of exchanges on it.
    for _ in 0..20 {
        let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.request.uri(), "/v1/chat/completions");
        arrival.answer(Response::new(empty()));
        answer_of(asked).await;
    }
    drop((client, response));
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.request.uri(), "/waiting");
    arrival.answer(Response::new(empty()));
    read_head(&mut waiting).await;
}

#[tokio::test]
async fn a_tunnel_holds_the_place_of_its_connection() {
    let mut upstream = Upstream::start().await;
    let mut gateway = with_one_place(&upstream).await;
    let (mut client, mut server) = upgraded(&mut upstream, &gateway, "echo/1").await;
    let mut waiting = gateway.tcp().await;
    waiting.write_all(WAITING).await.unwrap();
    for _ in 0..20 {
        ping(&mut client, &mut server).await;
        let metrics = gateway.metrics().await;
        let tunnel: (&[&str], u64) = (&["method=\"GET\""], 1);
        metrics.assert("http_requests_in_flight", &[tunnel]);
    }
    drop((client, server));
    gateway.logs(&["outcome=upgraded"]).await;
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.request.uri(), "/waiting");
    arrival.answer(Response::new(empty()));
    read_head(&mut waiting).await;
}

async fn ping(
    client: &mut TokioIo<hyper::upgrade::Upgraded>,
    server: &mut TokioIo<hyper::upgrade::Upgraded>,
) {
    client.write_all(b"ping").await.unwrap();
    soon("ping", server.read_exact(&mut [0; 4])).await.unwrap();
}

/// hyper's pool has one connection to an upstream that speaks HTTP/2, and opens no second one.
#[tokio::test]
async fn over_http2_the_upstream_says_how_many_it_answers_at_once_and_others_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::speaking(Protocol::Http2, address).await;
    let (sender, mut arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(one_at_a_time(tcp, sender.clone()));
        }
    });
    let client = Protocol::Http2.client();
    let get = || ask(&client, request(Method::GET, &gateway.url, empty()));
    let first = get();
    let mut stream = soon("the first", arrivals.recv()).await.unwrap();
    let _first = answer_of(first).await;
    let second = get();
    for _ in 0..20 {
        gateway.metrics().await;
        assert!(arrivals.try_recv().is_err(), "it did not wait");
    }
    stream.send_data("".into(), true).unwrap();
    let mut stream = soon("the second", arrivals.recv()).await.unwrap();
    let _second = answer_of(second).await;
    stream.send_data("".into(), true).unwrap();
}

async fn one_at_a_time(tcp: TcpStream, sender: mpsc::UnboundedSender<SendStream<Bytes>>) {
    let mut http2 = h2::server::Builder::new();
    let http2 = http2.max_concurrent_streams(1).handshake(tcp);
    let mut http2 = http2.await.unwrap();
    while let Some(Ok((_, mut respond))) = http2.accept().await {
        let stream = respond.send_response(Response::new(()), false);
        sender.send(stream.unwrap()).unwrap();
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn a_client_that_does_not_ask_is_sent_away() {
    let upstream = Recorder::start().await;
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::start_with(&["--upstream", &url, "--client-timeout", "0.2"]).await;
    for start in [
        b"",
        &PREFACE[..1],
        &PREFACE[..16],
        &PREFACE[..23],
        b"G",
        b"GET / HTTP/1.1\r\nhost: a.example\r\n",
        // It asks nothing further.
        b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n",
    ] {
        let mut client = gateway.tcp().await;
        client.write_all(start).await.unwrap();
        gone(&mut client).await;
    }
    // It answers PINGs, but that is no request.
    let http2 = h2::client::handshake(gateway.tcp().await);
    let (_quiet, connection) = http2.await.unwrap();
    let _ = soon("the end of a connection", connection).await;
}

/// Over HTTP/2 exchanges may be quiet, and clients idle between them.
#[tokio::test]
async fn a_client_that_has_asked_over_http2_keeps_its_connection() {
    let mut upstream = Upstream::start().await;
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::start_with(&["--upstream", &url, "--client-timeout", "5"]).await;
    let (mut client, connection) = h2::client::handshake(gateway.tcp().await).await.unwrap();
    tokio::spawn(connection);
    // Longer than it may take.
    for pause in [Duration::from_millis(5_500), Duration::ZERO] {
        let get = Request::get(gateway.chat()).body(()).unwrap();
        let (answer, _) = client.send_request(get, true).unwrap();
        upstream.arrival().await.answer(Response::new(empty()));
        soon("an answer", answer).await.unwrap();
        sleep(pause).await;
    }
}

/// The upstream may be about to close it.
#[tokio::test]
async fn a_connection_to_the_upstream_that_was_idle_is_not_used_again() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    // Less than the 5 s after which many close it.
    for (connection, pause) in [(0, Duration::from_millis(4_800)), (1, Duration::ZERO)] {
        let client = Protocol::Http1.client();
        let asked = ask(&client, request(Method::GET, &gateway.chat(), empty()));
        let arrival = upstream.arrival().await;
        assert_eq!(arrival.connection, connection);
        arrival.answer(Response::new(empty()));
        answer_of(asked).await;
        sleep(pause).await;
    }
}

async fn say_byte_by_byte(gateway: &Gateway, said: &[u8]) -> TcpStream {
    let mut client = gateway.tcp().await;
    client.set_nodelay(true).unwrap();
    for byte in said {
        client.write_u8(*byte).await.unwrap();
        tokio::task::yield_now().await;
    }
    client
}

#[tokio::test]
async fn it_is_told_from_the_first_bytes_which_http_a_client_speaks() {
    let mut upstream = Recorder::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    for method in ["GET", "P", "PRINT", "PRIO"] {
        let head = format!("{method} / HTTP/1.1\r\nhost: a.example\r\n\r\n");
        let mut client = say_byte_by_byte(&gateway, head.as_bytes()).await;
        let answer = read_head(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let Heard::Whole(message) = upstream.next().await else {
            panic!("{method} is broken");
        };
        assert!(message.starts_with(&format!("{method} / ")), "{message}");
    }
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut client = say_byte_by_byte(&gateway, &[PREFACE, &settings].concat()).await;
    let mut frame = [0; 9];
    soon("a frame", client.read_exact(&mut frame))
        .await
        .unwrap();
    assert_eq!(frame[3], settings[3]);
}

/// The system then notices that the other side is gone, when that could not say so.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn tcp_is_kept_alive_with_clients_and_where_connect_goes() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = target.local_addr().unwrap().to_string();
    let gateway = Gateway::start_with(&["--allow-connect", &there]).await;
    let mut client = gateway.tcp().await;
    let connect = format!("CONNECT {there} HTTP/1.1\r\nhost: {there}\r\n\r\n");
    client.write_all(connect.as_bytes()).await.unwrap();
    let (server, _) = soon("a connection", target.accept()).await.unwrap();
    read_head(&mut client).await;
    for tcp in [client, server] {
        let kept_alive = async {
            while !is_kept_alive(&tcp) {
                tokio::task::yield_now().await;
            }
        };
        soon("keep-alive", kept_alive).await;
    }
}

/// Whether the timer of the gateway's side is that of keep-alive, as it is when all is acknowledged.
#[cfg(target_os = "linux")]
fn is_kept_alive(tcp: &TcpStream) -> bool {
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let local = port(tcp.peer_addr().unwrap());
    let remote = port(tcp.local_addr().unwrap());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().any(|socket| {
        let fields: Vec<_> = socket.split_whitespace().collect();
        fields[1].ends_with(&local) && fields[2].ends_with(&remote) && fields[5].starts_with("02:")
    })
}
