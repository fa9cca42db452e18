//! Connections that stop speaking HTTP.

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONNECTION, HOST, UPGRADE},
};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    CHAT_LABELS, Gateway,
    raw::say,
    soon,
    upstream::{Upstream, full},
    wire::{BOTH, Body, Protocol, answer_of, ask, empty, request, text},
};

fn upgrade(gateway: &Gateway, protocol: &'static str) -> Request<Body> {
    let mut upgrade = request(Method::GET, &gateway.chat(), empty());
    *upgrade.headers_mut() = HeaderMap::from_iter([
        (CONNECTION, HeaderValue::from_static("keep-alive, Upgrade")),
        (UPGRADE, HeaderValue::from_static(protocol)),
    ]);
    upgrade
}

/// Both ends of an upgraded connection.
pub(crate) async fn upgraded(
    upstream: &mut Upstream,
    gateway: &Gateway,
    protocol: &'static str,
) -> (TokioIo<Upgraded>, TokioIo<Upgraded>) {
    let asked = ask(&Protocol::Http1.client(), upgrade(gateway, protocol));
    let switching = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, protocol);
    let arrival = upstream.arrival().await;
    assert_eq!(arrival.request.headers()[CONNECTION], "upgrade");
    assert_eq!(arrival.request.headers()[UPGRADE], protocol);
    let at_upstream = arrival.answer(switching.body(empty()).unwrap());
    let response = answer_of(asked).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[CONNECTION], "upgrade");
    assert_eq!(response.headers()[UPGRADE], protocol);
    let server = soon("the upstream's upgrade", hyper::upgrade::on(at_upstream)).await;
    let client = soon("the client's upgrade", hyper::upgrade::on(response)).await;
    (TokioIo::new(client.unwrap()), TokioIo::new(server.unwrap()))
}

async fn pass(
    from: &mut (impl AsyncWrite + Unpin),
    to: &mut (impl AsyncRead + Unpin),
    bytes: &[u8],
) {
    from.write_all(bytes).await.unwrap();
    from.flush().await.unwrap();
    let mut got = vec![0; bytes.len()];
    soon("what was sent", to.read_exact(&mut got))
        .await
        .unwrap();
    assert_eq!(got, bytes);
}

/// One side ends, the other one goes on, until it ends, too.
async fn half_closes<A, B>(mut first: A, mut second: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..2 {
        pass(&mut first, &mut second, b"\0ping\xff").await;
        pass(&mut second, &mut first, b"\r\n\r\n").await;
    }
    first.shutdown().await.unwrap();
    let end = soon("the end of one side", second.read(&mut [0; 1])).await;
    assert_eq!(end.unwrap(), 0);
    pass(&mut second, &mut first, b"still there").await;
    second.shutdown().await.unwrap();
    let end = soon("the end of the other side", first.read(&mut [0; 1])).await;
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn an_upgraded_connection_carries_any_protocol_until_both_sides_have_ended() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    for (round, protocol) in (1..).zip(["websocket", "echo/1", "TLS/1.0"]) {
        for client_first in [true, false] {
            let (client, server) = upgraded(&mut upstream, &gateway, protocol).await;
            let metrics = gateway.metrics().await;
            metrics.assert("http_requests_in_flight", &[(&CHAT_LABELS, 1)]);
            if client_first {
                half_closes(client, server).await;
            } else {
                half_closes(server, client).await;
            }
            gateway.logs(&["status=101", "outcome=upgraded"]).await;
        }
        let metrics = gateway.metrics().await;
        metrics.assert("http_requests_in_flight", &[(&CHAT_LABELS, 0)]);
        let ended: (&[&str], u64) = (&["status=\"101\"", "outcome=\"upgraded\""], 2 * round);
        metrics.assert("http_responses_ended_total", &[ended]);
    }
}

#[tokio::test]
async fn a_side_that_breaks_off_takes_the_other_one_along() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    for client_first in [true, false] {
        let (client, server) = upgraded(&mut upstream, &gateway, "echo/1").await;
        let (first, mut second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        drop(first);
        let end = soon("the end", second.read(&mut [0; 1])).await;
        assert_eq!(end.unwrap(), 0);
        drop(second);
        gateway.logs(&["outcome=upgraded"]).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_or_not_the_upstreams_is_an_ordinary_exchange() {
    let mut upstream = Upstream::start().await;
    let mut gateway = Gateway::in_front_of(upstream.address).await;
    for (connection, protocol, forwarded) in [
        ("Upgrade", "websocket", Some("websocket")),
        ("Upgrade, HTTP2-Settings", "h2c", None),
        ("Upgrade, HTTP2-Settings", "websocket, h2c", None),
        ("keep-alive", "websocket", None),
    ] {
        let mut upgrade = upgrade(&gateway, protocol);
        let headers = upgrade.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
        if connection.contains("Settings") {
            headers.insert("http2-settings", HeaderValue::from_static("AAMAAABk"));
        }
        let asked = ask(&Protocol::Http1.client(), upgrade);
        let arrival = upstream.arrival().await;
        let got = arrival.request.headers();
        let got_upgrade = got.get(UPGRADE).map(|it| it.to_str().unwrap());
        assert_eq!(got_upgrade, forwarded, "{connection} {protocol}");
        assert!(!got.contains_key("http2-settings"));
        arrival.answer(Response::new(full("no")));
        assert_eq!(text(answer_of(asked).await).await, "no");
        gateway.logs(&["status=200", "outcome=complete"]).await;
    }
}

#[tokio::test]
async fn the_upstream_switches_to_a_protocol_that_was_asked_for() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(upstream.address).await;
    for (asked_for, switched_to, is_fine) in [
        ("echo/1", "echo/2", false),
        ("echo/1", "echo", false),
        ("echo", "other", false),
        ("echo, other/1", "Other/1", true),
        ("TLS/1.2, TLS/1.0", "TLS/1.0, HTTP/1.1", true),
    ] {
        let asked = ask(&Protocol::Http1.client(), upgrade(&gateway, asked_for));
        let switching = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, switched_to);
        let arrival = upstream.arrival().await;
        let at_upstream = arrival.answer(switching.body(empty()).unwrap());
        let response = answer_of(asked).await;
        if is_fine {
            assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
            assert_eq!(response.headers()[UPGRADE], switched_to);
        } else {
            let told = &response.headers()["proxy-status"];
            assert_eq!(told, "gateway; error=http_upgrade_failed", "{switched_to}");
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
            let server = hyper::upgrade::on(at_upstream);
            let mut server = TokioIo::new(soon("the upgrade", server).await.unwrap());
            let end = soon("the end", server.read(&mut [0; 1])).await;
            assert_eq!(end.unwrap(), 0);
        }
    }
}

/// Asks for a tunnel, over a connection of its own.
async fn connect(
    gateway: &Gateway,
    protocol: Protocol,
    target: &str,
) -> hyper::Result<Response<Incoming>> {
    let io = TokioIo::new(gateway.tcp().await);
    let mut connect = Request::new(empty());
    *connect.method_mut() = Method::CONNECT;
    *connect.uri_mut() = target.parse::<Uri>().unwrap();
    if protocol == Protocol::Http1 {
        connect.headers_mut().insert(HOST, target.parse().unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection.with_upgrades());
        soon("the answer", sender.send_request(connect)).await
    } else {
        let http2 = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = http2.await?;
        tokio::spawn(connection);
        soon("the answer", sender.send_request(connect)).await
    }
}

#[tokio::test]
async fn connect_opens_a_tunnel_where_it_may() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let also = ["--allow-connect", "127.0.0.1:1"];
    let allowed = ["--allow-connect", &format!("LocalHost:{port}")];
    let mut gateway = Gateway::start_with(&[also, allowed].concat()).await;
    for protocol in BOTH {
        for client_first in [true, false] {
            let asked = format!("localhost:{port}");
            let response = connect(&gateway, protocol, &asked).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers().get("content-length"), None);
            let (server, _) = soon("a connection", target.accept()).await.unwrap();
            let client = soon("the tunnel", hyper::upgrade::on(response)).await;
            let client = TokioIo::new(client.unwrap());
            let metrics = gateway.metrics().await;
            let labels: &[&str] = &["method=\"CONNECT\""];
            metrics.assert("http_requests_in_flight", &[(labels, 1)]);
            if client_first {
                half_closes(client, server).await;
            } else {
                half_closes(server, client).await;
            }
            let log = ["method=CONNECT", "status=200", "outcome=upgraded"];
            gateway.logs(&log).await;
            let metrics = gateway.metrics().await;
            metrics.assert("http_requests_in_flight", &[(labels, 0)]);
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";

#[tokio::test]
async fn connect_goes_nowhere_else() {
    let gateway = Gateway::start_with(&["--allow-connect", "127.0.0.1:1"]).await;
    let nowhere = Gateway::start().await;
    let denied = (403, "http_request_denied", "CONNECT may not go there\n");
    let no_connection = "there is no connection to where CONNECT asks for\n";
    let refused = (502, "connection_refused", no_connection);
    for (gateway, target, (status, error, reason)) in [
        (&nowhere, "127.0.0.1:1", denied),
        (&gateway, "127.0.0.1:2", denied),
        (&gateway, "localhost:1", denied),
        (&gateway, "127.0.0.1:1", refused),
    ] {
        for protocol in BOTH {
            let response = connect(gateway, protocol, target).await.unwrap();
            assert_eq!(response.status(), status, "{protocol:?} {target}");
            let told = format!("gateway; error={error}");
            assert_eq!(response.headers()["proxy-status"], told);
            assert_eq!(text(response).await, reason);
        }
        // What a client has sent after the head was meant for the tunnel.
        let head = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
        let answer = say(gateway, format!("{head}{GET}").as_bytes()).await;
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.ends_with(reason), "{answer}");
    }
    // What comes after the head would belong to the tunnel, or to the request.
    let head = "CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: 127.0.0.1:1\r\n";
    for rest in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = say(&gateway, format!("{head}{rest}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{rest:?}: {answer}");
    }
}
