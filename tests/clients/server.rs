//! A server on axum, under all layers that have to do with event streams.

use std::{
    convert::Infallible,
    future::ready,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    response::{Html, Sse, sse},
    routing::get,
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};
use tower_passthrough::{
    RequestHead,
    observe::{MakeObserver, Moment, ObserveLayer, Observer, Outcome},
    sse::{DrainLayer, KeepAliveLayer},
    timeout::IdleTimeoutLayer,
    timer::TokioTimer,
};

use crate::{
    chromium::PAGE,
    gate::{Gate, event_stream, gated},
    signal::{Clock, Signal},
    soon,
};

/// How the layers are set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// The least and the most.
    pub(crate) retry: [Duration; 2],
}

const KEEP_ALIVE: Duration = Duration::from_millis(20);
/// Only a test that moves the clock gets there.
pub(crate) const IDLE: Duration = Duration::from_secs(50);
const GRACE: Duration = Duration::from_secs(3_600);

pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    /// Requests for `/axum/events`.
    pub(crate) axum: Arrivals<sse::Event>,
    /// Requests for `/raw/events`.
    pub(crate) raw: Arrivals<Bytes>,
    pub(crate) witness: Witness,
    /// That of the idle timeout.
    pub(crate) clock: Clock,
    signal: Signal,
    done: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::on(listener, settings)
    }

    /// Another one, for clients who come to the same address. Connections that nobody has accepted
    /// wait there in between.
    pub(crate) fn on(listener: TcpListener, settings: Settings) -> Self {
        let signal = Signal::default();
        let witness = Witness::default();
        let clock = Clock::new();
        let (to_axum, axum) = arrivals();
        let (to_raw, raw) = arrivals();
        let [least, most] = settings.retry;
        let drain = DrainLayer::builder(signal.maker(), GRACE, TokioTimer)
            .retry_between(least, most)
            .build()
            .unwrap();
        let axum_events = move |headers: HeaderMap| ready(Sse::new(to_axum.enter(&headers)));
        let raw_events = move |headers: HeaderMap| {
            ready(event_stream(Body::from_stream(to_raw.enter(&headers))))
        };
        let app = Router::new()
            .route("/{kind}", get(Html(PAGE)))
            .route("/axum/events", get(axum_events))
            .route("/raw/events", get(raw_events))
            .layer(IdleTimeoutLayer::with_timer(IDLE, clock.clone()).unwrap())
            .layer(KeepAliveLayer::new(KEEP_ALIVE).unwrap())
            .layer(drain)
            .layer(ObserveLayer::new(witness.clone()));
        let accepts = listener.try_clone().unwrap();
        let served = axum::serve(tokio::net::TcpListener::from_std(accepts).unwrap(), app)
            .with_graceful_shutdown(signal.token.clone().cancelled_owned());
        Self {
            address: listener.local_addr().unwrap(),
            listener,
            axum,
            raw,
            witness,
            clock,
            signal,
            done: tokio::spawn(async { served.await.unwrap() }),
        }
    }

    /// Gives the signal to shut down, and to drain, and waits until its one stream has seen it.
    pub(crate) async fn drain(&self) {
        self.signal.token.cancel();
        self.signal.seen_by(1).await;
    }

    /// Waits until it has shut down.
    pub(crate) async fn shut_down(self) -> TcpListener {
        soon("the shutdown", self.done).await.unwrap();
        self.listener
    }
}

/// A request that has reached the server.
pub(crate) struct Arrival<T> {
    pub(crate) last_event_id: Option<String>,
    pub(crate) at: Instant,
    gate: Gate<T>,
}

impl<T> Arrival<T> {
    /// Makes this the next thing in the stream.
    pub(crate) async fn send(&self, it: T) {
        let sent = soon("the gate", self.gate.send(it)).await;
        assert!(sent.is_ok(), "the stream is gone");
    }
}

pub(crate) struct Arrivals<T>(mpsc::UnboundedReceiver<Arrival<T>>);

impl<T> Arrivals<T> {
    pub(crate) async fn next(&mut self) -> Arrival<T> {
        soon("a request", self.0.recv()).await.unwrap()
    }
}

struct Entrance<T>(mpsc::UnboundedSender<Arrival<T>>);

impl<T> Clone for Entrance<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

fn arrivals<T>() -> (Entrance<T>, Arrivals<T>) {
    let (entrance, arrivals) = mpsc::unbounded_channel();
    (Entrance(entrance), Arrivals(arrivals))
}

impl<T> Entrance<T> {
    /// The stream that the test feeds.
    fn enter(&self, headers: &HeaderMap) -> impl Stream<Item = Result<T, Infallible>> + use<T> {
        let (gate, items) = gated();
        let id = headers.get("last-event-id");
        let _ = self.0.send(Arrival {
            last_event_id: id.map(|id| id.to_str().unwrap().to_owned()),
            at: Instant::now(),
            gate,
        });
        items.map(Ok)
    }
}

/// Sees all that the server is handed.
#[derive(Clone, Default)]
pub(crate) struct Witness(watch::Sender<Told>);

#[derive(Default)]
struct Told {
    keep_alives: usize,
    outcomes: Vec<Outcome>,
}

impl Witness {
    /// Waits for so many more keep-alives.
    pub(crate) async fn keep_alives(&self, more: usize) {
        let mut told = self.0.subscribe();
        let enough = told.borrow().keep_alives + more;
        let comes = told.wait_for(|told| told.keep_alives >= enough);
        drop(soon("keep-alives", comes).await.unwrap());
    }

    /// Waits for so long that there were keep-alives, if there could be. From the call on there must
    /// be no place for one.
    pub(crate) async fn no_keep_alive(&self) {
        let before = self.0.borrow().keep_alives;
        sleep(KEEP_ALIVE * 5).await;
        assert_eq!(self.0.borrow().keep_alives, before);
    }

    /// Waits until an event stream is over.
    pub(crate) async fn outcome(&self) -> Outcome {
        let mut told = self.0.subscribe();
        let comes = told.wait_for(|told| !told.outcomes.is_empty());
        soon("an outcome", comes).await.unwrap().outcomes[0]
    }
}

impl MakeObserver for Witness {
    type Observer = Self;

    fn observe(&self, request: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        let is_stream = request.uri.path().ends_with("/events");
        is_stream.then(|| self.clone())
    }
}

impl Observer for Witness {
    fn on_data<D: Buf>(&mut self, data: &D, _: &Moment) {
        if data.chunk() == b": keep-alive\n" {
            self.0.send_modify(|told| told.keep_alives += 1);
        }
    }

    fn on_end(self, outcome: Outcome, _: &Moment) {
        self.0.send_modify(|told| told.outcomes.push(outcome));
    }
}
