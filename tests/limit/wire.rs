//! Event streams over real sockets: who waits, and until when. No clock decides.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{FutureExt, future::Either, future::select};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tower::{Layer, Service};
use tower_passthrough::limit::ConcurrencyLimitLayer;

use crate::{
    gate::{Gate, event_stream, gated_body},
    net::{Client, Proto, RequestBody, Served, Server, loopback, no_body, serve, soon},
};

/// The other ends of the streams that are open, in the order in which they were asked for.
type Streams = Arc<Mutex<Vec<Gate>>>;

/// Answers with an event stream that the test fills and ends.
#[derive(Clone, Default)]
struct Events(Streams);

impl Service<Request<Incoming>> for Events {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Incoming>) -> Self::Future {
        let (gate, body) = gated_body();
        self.0.lock().unwrap().push(gate);
        ready(Ok(event_stream(body)))
    }
}

/// Tells of each service inside that is not ready.
#[derive(Clone)]
struct Sentry<S> {
    inner: S,
    waits: mpsc::UnboundedSender<()>,
}

impl<S, R> Service<R> for Sentry<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let polled = self.inner.poll_ready(cx);
        if polled.is_pending() {
            self.waits.send(()).unwrap();
        }
        polled
    }

    fn call(&mut self, request: R) -> S::Future {
        self.inner.call(request)
    }
}

/// A server with a layer that lets two in, and three clients.
struct Scene {
    clients: [Client; 3],
    streams: Streams,
    waits: mpsc::UnboundedReceiver<()>,
    servers: Vec<Server>,
}

/// On one connection over HTTP/2, on three over HTTP/1.
async fn scene<L>(proto: Proto, layer: L) -> Scene
where
    L: Layer<Events>,
    L::Service: Clone,
    Sentry<L::Service>: Served,
{
    let events = Events::default();
    let streams = Arc::clone(&events.0);
    let (sender, waits) = mpsc::unbounded_channel();
    let service = Sentry {
        inner: layer.layer(events),
        waits: sender,
    };
    let mut servers = Vec::new();
    let mut connect = async || {
        let (near, far) = loopback().await;
        servers.push(serve(proto, far, service.clone()));
        Client::connect(proto, near).await
    };
    let first = connect().await;
    let clients = match (first.beside(), first.beside()) {
        (Some(second), Some(third)) => [first, second, third],
        _ => [first, connect().await, connect().await],
    };
    Scene {
        clients,
        streams,
        waits,
        servers,
    }
}

fn get() -> Request<RequestBody> {
    Request::new(no_body())
}

/// The stream that was opened last.
fn last(streams: &Streams) -> Gate {
    streams.lock().unwrap().last().unwrap().clone()
}

/// Asks for a stream, and reads its first event.
async fn open(client: &mut Client, streams: &Streams) -> Response<Incoming> {
    let mut response = client.send(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    event(&mut response, &last(streams)).await;
    response
}

/// Sends an event, and reads it.
async fn event(response: &mut Response<Incoming>, stream: &Gate) {
    let sent = Bytes::from_static(b"data: 1\n\n");
    soon(stream.send(sent.clone())).await.unwrap();
    let frame = soon(response.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), sent);
}

/// How one of the two first streams ends.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Finished,
    Left,
}

async fn third_waits(proto: Proto, ends: Ends) {
    let mut scene = scene(proto, ConcurrencyLimitLayer::new(2).unwrap()).await;
    let [first, second, third] = &mut scene.clients;
    let _kept = open(first, &scene.streams).await;
    let mut stream = open(second, &scene.streams).await;

    let mut asked = Box::pin(third.send(get()));
    match select(&mut asked, pin!(soon(scene.waits.recv()))).await {
        Either::Left(_) => panic!("{proto:?}, {ends:?}: let in"),
        Either::Right((waits, _)) => assert_eq!(waits, Some(()), "{proto:?}, {ends:?}"),
    }
    // The two streams go on, and nothing comes of the third.
    let senders = scene.streams.lock().unwrap().clone();
    assert_eq!(senders.len(), 2, "{proto:?}, {ends:?}");
    for _ in 0..3 {
        event(&mut stream, &senders[1]).await;
        assert!((&mut asked).now_or_never().is_none(), "{proto:?}, {ends:?}");
    }
    drop(senders);

    match ends {
        Ends::Finished => {
            drop(scene.streams.lock().unwrap().remove(1));
            let rest = soon(stream.into_body().collect()).await.unwrap();
            assert_eq!(rest.to_bytes(), "", "{proto:?}");
        }
        Ends::Left => drop(stream),
    }
    let mut response = asked.await.unwrap();
    event(&mut response, &last(&scene.streams)).await;

    drop(scene.clients);
    for server in scene.servers {
        server.closed().await;
    }
}

#[tokio::test]
#[cfg_attr(miri, ignore = "sockets")]
async fn third_stream_waits_until_one_of_two_is_finished() {
    third_waits(Proto::H1, Ends::Finished).await;
    third_waits(Proto::H2, Ends::Finished).await;
}

#[tokio::test]
#[cfg_attr(miri, ignore = "sockets")]
async fn third_stream_waits_until_the_client_of_one_of_two_has_left() {
    third_waits(Proto::H1, Ends::Left).await;
    third_waits(Proto::H2, Ends::Left).await;
}

/// What the layer is there for.
#[tokio::test]
#[cfg_attr(miri, ignore = "sockets")]
async fn layer_of_tower_lets_the_third_stream_in() {
    for proto in [Proto::H1, Proto::H2] {
        let mut scene = scene(proto, tower::limit::ConcurrencyLimitLayer::new(2)).await;
        let mut open_streams = Vec::new();
        for client in &mut scene.clients {
            open_streams.push(open(client, &scene.streams).await);
        }
        let senders = scene.streams.lock().unwrap().clone();
        for (response, sender) in open_streams.iter_mut().zip(&senders) {
            event(response, sender).await;
        }
        assert_eq!(senders.len(), 3, "{proto:?}");
        assert!(scene.waits.try_recv().is_err(), "{proto:?}: nobody waited");
    }
}
