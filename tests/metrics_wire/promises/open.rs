//! What is open takes time and is in flight.

use std::{
    future::ready,
    iter::repeat_n,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all};
use http::{Method, Request, Response};
use http_body_util::StreamBody;
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    spawn,
    sync::mpsc,
    time::sleep,
};
use tower::{Layer, service_fn};
use tower_passthrough::{
    metrics::{REQUEST_DURATION_SECONDS, RESPONSE_FIRST_BYTE_SECONDS, RESPONSE_HEAD_SECONDS},
    observe::{Outcome, Tunnel},
};

use super::{
    Connection, PROTOS, answering, assert_tells, entry, frame, open_after, read, read_bytes,
    streamed,
};
use crate::{
    books::{Entry, books},
    gate::gated,
    net::{Proto, no_body, soon},
    replies::{Reply, full, ok, reply},
};

#[tokio::test]
async fn the_duration_covers_the_body() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let (feed, lengths) = gated();
        let frames = Arc::new(Mutex::new(Some(lengths.map(|length| Ok(frame(length))))));
        let service = answering(&layer, move || {
            ok(StreamBody::new(frames.lock().unwrap().take().unwrap()))
        });
        let mut connection = Connection::open(proto, service).await;

        // The server's clock is ours: what lies between two events here bounds what it measures.
        // The pauses make it long enough to be told apart.
        let asked = Instant::now();
        let mut response = connection.get().await;
        let answered = Instant::now();
        sleep(Duration::from_millis(20)).await;
        let fed_first = Instant::now();
        feed.send(5).await.unwrap();
        read_bytes(response.body_mut(), 5).await;
        let got_first = Instant::now();
        sleep(Duration::from_millis(20)).await;
        let fed_last = Instant::now();
        drop(feed);
        assert_eq!(read(response).await, 0);
        let ended = Instant::now();
        connection.leave().await;

        let assert_between = |name, least: Duration, most: Duration| {
            let seconds = exporter.seconds(name);
            let is_between = least.as_secs_f64() <= seconds && seconds <= most.as_secs_f64();
            assert!(is_between, "{name}: {seconds}, not {least:?} to {most:?}");
        };
        assert_between(RESPONSE_HEAD_SECONDS, Duration::ZERO, answered - asked);
        assert_between(
            RESPONSE_FIRST_BYTE_SECONDS,
            fed_first - answered,
            got_first - asked,
        );
        assert_between(REQUEST_DURATION_SECONDS, fed_last - answered, ended - asked);
        assert_tells(&exporter, [streamed(5, Outcome::Complete)], proto);
    }
}

#[tokio::test]
async fn a_stream_is_in_flight_and_counted_while_it_is_open() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let open = || answering(&layer, || ok(open_after(5)));
        let mut connections = join_all([open(), open(), open()].map(|service| async {
            let mut connection = Connection::open(proto, service).await;
            let mut response = connection.get().await;
            read_bytes(response.body_mut(), 5).await;
            (connection, response)
        }))
        .await;
        let over = streamed(5, Outcome::Disconnected);
        let open = Entry {
            outcome: None,
            ..over.clone()
        };
        while let Some((connection, response)) = connections.pop() {
            let left = connections.len();
            let told = repeat_n(open.clone(), left + 1).chain(repeat_n(over.clone(), 2 - left));
            assert_tells(&exporter, told, proto);
            drop(response);
            connection.leave().await;
        }
        assert_tells(&exporter, repeat_n(over, 3), proto);
    }
}

/// Accepts all upgrades. A task keeps each tunnel until its client closes it.
fn tunnelling(mut request: Request<Incoming>, closed: mpsc::UnboundedSender<()>) -> Reply {
    let tunnel = request.extensions_mut().remove::<Tunnel>();
    let head = match *request.method() {
        Method::CONNECT => Response::builder(),
        _ => Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "test"),
    };
    spawn(async move {
        let mut io = TokioIo::new(upgrade::on(request).await.unwrap());
        io.read_to_end(&mut Vec::new()).await.unwrap();
        drop(tunnel);
        closed.send(()).unwrap();
    });
    reply(head, full(0))
}

#[tokio::test]
async fn a_tunnel_is_in_flight_until_it_is_closed() {
    let connect = || Request::connect("a:443");
    let switch = || {
        Request::get("http://a/")
            .header("connection", "upgrade")
            .header("upgrade", "test")
    };
    for (proto, asked, method, status) in [
        (Proto::H1, switch(), "GET", 101),
        (Proto::H1, connect(), "CONNECT", 200),
        (Proto::H2, connect(), "CONNECT", 200),
    ] {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let (close, mut closed) = mpsc::unbounded_channel();
        let service = service_fn(move |request| ready(tunnelling(request, close.clone())));
        let mut connection = Connection::open(proto, layer.layer(service)).await;
        let response = connection
            .ask(asked.body(no_body()).unwrap())
            .await
            .unwrap();
        let mut io = TokioIo::new(soon(upgrade::on(response)).await.unwrap());

        let over = Entry {
            base: vec![("method", method)],
            kind: "upgrade",
            outcome: Some(Outcome::Upgraded),
            ..entry(status)
        };
        let open = Entry {
            outcome: None,
            ..over.clone()
        };
        assert_tells(&exporter, [open], (proto, method));
        io.shutdown().await.unwrap();
        soon(closed.recv()).await.unwrap();
        assert_tells(&exporter, [over], (proto, method));
        connection.leave().await;
    }
}
