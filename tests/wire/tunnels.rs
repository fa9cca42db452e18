//! Upgrades and CONNECT: bytes both ways, until nobody holds the tunnel any more.

use std::future::ready;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, ext::Protocol};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    spawn,
    sync::mpsc,
};
use tower::service_fn;
use tower_passthrough::observe::Tunnel;

use crate::{
    common::Broken,
    net::{Client, Proto, Recorded, Served, no_body, pipe, serve, soon},
    replies::{Reply, full, ok, reply},
    stack::{Witness, stack},
    status,
};

/// A way to turn a connection, or a stream of it, into a tunnel.
struct Way {
    name: &'static str,
    proto: Proto,
    ask: fn() -> http::request::Builder,
    accepted: &'static str,
    /// What the client reads of a `ping` that comes back: bytes on HTTP/1, frames on HTTP/2.
    wire: &'static str,
}

const WAYS: [Way; 4] = [
    Way {
        name: "h1 upgrade",
        proto: Proto::H1,
        ask: || {
            Request::get("/echo")
                .header("connection", "upgrade")
                .header("upgrade", "echo")
        },
        accepted: "101",
        wire: "HTTP/1.1 204 No Content\r\n\r\n\
               HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n\
               ping",
    },
    Way {
        name: "h1 CONNECT",
        proto: Proto::H1,
        ask: || Request::connect("a:443"),
        accepted: "200",
        wire: "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\nping",
    },
    Way {
        name: "h2 CONNECT",
        proto: Proto::H2,
        ask: || Request::connect("a:443"),
        accepted: "200",
        wire: "HEADERS END_STREAM, HEADERS, DATA 4, DATA 0 END_STREAM",
    },
    Way {
        name: "h2 extended CONNECT",
        proto: Proto::H2,
        ask: || Request::connect("http://a/echo").extension(Protocol::from_static("echo")),
        accepted: "200",
        wire: "HEADERS END_STREAM, HEADERS, DATA 4, DATA 0 END_STREAM",
    },
];

/// What the handler does with its [`Tunnel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Moves it into the task that serves the tunnel.
    Task,
    /// Takes no notice of it.
    Nobody,
}

#[tokio::test]
async fn tunnels_carry_bytes_both_ways_and_end_with_who_holds_them() {
    for way in WAYS {
        let (service, ended) = echo(Holder::Nobody);
        let bare = through(&way, service, ended, || (), || ()).await;
        assert_eq!(bare, way.wire, "{}, bare", way.name);

        // Each connection has carried an ordinary exchange before.
        let head = format!("204 complete {}", way.accepted);
        let end = format!("{head} upgraded");
        for (holder, open) in [(Holder::Task, &head), (Holder::Nobody, &end)] {
            let witness = Witness::default();
            let story = |told: &str| assert_eq!(witness.story(), told, "{}, {holder:?}", way.name);
            let (service, ended) = echo(holder);
            let service = stack(&witness, service);
            let worn = through(&way, service, ended, || story(open), || story(&end)).await;
            assert_eq!(worn, bare, "{}, {holder:?}", way.name);
            story(&end);
        }
    }
}

/// Sends an ordinary request, then a `ping` through a tunnel and back. Gives back what was read.
async fn through(
    way: &Way,
    service: impl Served,
    mut ended: mpsc::UnboundedReceiver<()>,
    while_open: impl FnOnce(),
    at_end: impl FnOnce(),
) -> String {
    let (near, far) = pipe();
    let (near, recording) = Recorded::new(near);
    let server = serve(way.proto, far, service);
    let mut client = Client::connect(way.proto, near).await;
    // An extended CONNECT may be sent only after the server's settings have come.
    let request = Request::get("http://a/").body(no_body()).unwrap();
    soon(client.send(request).await.unwrap().into_body().collect())
        .await
        .unwrap();

    let request = (way.ask)().body(no_body()).unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status().as_str(), way.accepted);
    let tunnel = soon(hyper::upgrade::on(response)).await.unwrap();
    let mut tunnel = TokioIo::new(tunnel);
    tunnel.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    soon(tunnel.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ping");
    while_open();

    tunnel.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(tunnel.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
    soon(ended.recv()).await.unwrap();
    at_end();

    drop(tunnel);
    drop(client);
    server.closed().await;
    match way.proto {
        Proto::H1 => String::from_utf8(recording.bytes()).unwrap(),
        Proto::H2 => recording.frames(),
    }
}

/// A service that sends back what comes through a tunnel. It tells when a tunnel has ended.
fn echo(
    holder: Holder,
) -> (
    impl Served<Body = UnsyncBoxBody<Bytes, Broken>>,
    mpsc::UnboundedReceiver<()>,
) {
    let (end, ended) = mpsc::unbounded_channel();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let end = end.clone();
        async move {
            let upgrade = request.headers().contains_key("upgrade");
            if !upgrade && request.method() != Method::CONNECT {
                return status(204, full(0));
            }
            let tunnel = match holder {
                Holder::Task => request.extensions_mut().remove::<Tunnel>(),
                Holder::Nobody => None,
            };
            let upgraded = hyper::upgrade::on(request);
            spawn(async move {
                let (mut read, mut write) = split(TokioIo::new(upgraded.await.unwrap()));
                copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
                drop(tunnel);
                end.send(()).unwrap();
            });
            if upgrade {
                let head = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
                let head = head.header("connection", "upgrade");
                reply(head.header("upgrade", "echo"), full(0))
            } else {
                ok(full(0))
            }
        }
    });
    (service, ended)
}

#[tokio::test]
async fn refused_tunnel_ends_as_any_other_exchange_though_it_is_held() {
    for way in WAYS {
        let (tunnels, mut received) = mpsc::unbounded_channel();
        let service = service_fn(move |request| ready(refuse(request, &tunnels)));
        let witness = Witness::default();
        let (near, far) = pipe();
        let server = serve(way.proto, far, stack(&witness, service));
        let mut client = Client::connect(way.proto, near).await;
        for ask in [|| Request::get("http://a/"), way.ask] {
            let request = ask().body(no_body()).unwrap();
            let response = client.send(request).await.unwrap();
            soon(response.into_body().collect()).await.unwrap();
        }
        drop(client);
        server.closed().await;
        assert_eq!(
            witness.story(),
            "204 complete 403 5 complete",
            "{}",
            way.name
        );
        let offered = [received.recv().await, received.recv().await].map(|t| t.unwrap().is_some());
        assert_eq!(offered, [false, true], "{}", way.name);
    }
}

fn refuse(
    mut request: Request<Incoming>,
    tunnels: &mpsc::UnboundedSender<Option<Tunnel>>,
) -> Reply {
    tunnels.send(request.extensions_mut().remove()).unwrap();
    match request.uri().path() {
        "/" => status(204, full(0)),
        _ => status(403, full(5)),
    }
}
