//! Why this crate: the same streams through a middleware that collects and rebuilds, through one
//! that wraps the data only, and through ours, over real sockets.
//!
//! No test goes by the clock. The producer of a stream waits for leave before each event, and all
//! that happens is written into one log.
#![cfg(all(feature = "capture", feature = "headers", feature = "metrics"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod common;
#[path = "../examples/audit/faults/mod.rs"]
mod faults;
#[path = "common/net.rs"]
mod net;
#[path = "common/stack.rs"]
mod stack;

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use Did::{End, Produce, Receive, ReceiveHead};
use bytes::Bytes;
use common::{
    End::{Hidden, Shown},
    Script, Size,
    Step::{Data, Error, Pending, Trailers},
};
use faults::{CollectLayer, DataOnlyLayer};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, channel::Channel};
use hyper::body::Incoming;
use net::{
    BoxError, Client, Proto, RequestBody, Served, Server, frames_h2, loopback, raw_h1, serve, soon,
};
use stack::{Witness, stack};
use tokio::{join, spawn, sync::mpsc, time::sleep};
use tower::{Layer, service_fn};

#[tokio::test]
async fn ours_hands_on_each_event_before_the_next_is_made() {
    for proto in [Proto::H1, Proto::H2] {
        let witness = Witness::default();
        let log = Log::default();
        let (service, producer) = sse(&log);
        in_lockstep(proto, stack(&witness, service), producer, &log).await;
        assert_eq!(witness.story(), "200 9 9 9 complete", "{proto:?}");
    }
}

#[tokio::test]
async fn passing_data_only_hands_on_each_event_before_the_next_is_made() {
    for proto in [Proto::H1, Proto::H2] {
        let log = Log::default();
        let (service, producer) = sse(&log);
        in_lockstep(proto, DataOnlyLayer.layer(service), producer, &log).await;
    }
}

/// Has each event made only after the client has read the one before.
async fn in_lockstep(proto: Proto, service: impl Served, producer: Producer, log: &Log) {
    let (mut reader, server) = connect(proto, service, log).await;
    reader.receive_head().await;
    for event in 0..3 {
        producer.go();
        reader.receive(event).await;
    }
    producer.end();
    reader.receive_end().await;
    server.closed().await;

    let expected = [
        ReceiveHead,
        Produce(0),
        Receive(0),
        Produce(1),
        Receive(1),
        Produce(2),
        Receive(2),
        End,
    ];
    assert_eq!(log.done(), expected, "{proto:?}");
}

#[tokio::test]
async fn collecting_hands_on_nothing_not_even_the_head_before_the_end() {
    for proto in [Proto::H1, Proto::H2] {
        let log = Log::default();
        let (service, mut producer) = sse(&log);
        let (mut reader, server) = connect(proto, CollectLayer.layer(service), &log).await;

        let reading = spawn(async move {
            reader.receive_head().await;
            for event in 0..3 {
                reader.receive(event).await;
            }
            reader.receive_end().await;
        });
        for _ in 0..3 {
            producer.go();
            // The client's word that it has read the event, as above, would never come.
            producer.made().await;
        }
        producer.end();
        reading.await.unwrap();
        server.closed().await;

        let expected = [
            Produce(0),
            Produce(1),
            Produce(2),
            End,
            ReceiveHead,
            Receive(0),
            Receive(1),
            Receive(2),
        ];
        assert_eq!(log.done(), expected, "{proto:?}");
    }
}

/// Run with `--nocapture` to see the figures. Nothing is asserted of them.
#[tokio::test]
async fn lag_of_the_first_event() {
    for proto in [Proto::H1, Proto::H2] {
        let bare = async {
            let log = Log::default();
            let (service, producer) = sse(&log);
            lag(proto, service, producer, &log).await
        };
        let collect = async {
            let log = Log::default();
            let (service, producer) = sse(&log);
            lag(proto, CollectLayer.layer(service), producer, &log).await
        };
        let ours = async {
            let log = Log::default();
            let (service, producer) = sse(&log);
            let service = stack(&Witness::default(), service);
            lag(proto, service, producer, &log).await
        };
        let (bare, collect, ours) = join!(bare, collect, ours);
        println!(
            "{proto:?}: of {TOKENS} tokens, one each {EACH:?}, the first waited \
             {bare:.1?} bare, {collect:.1?} behind collect-and-rebuild, {ours:.1?} behind ours"
        );
    }
}

const TOKENS: u32 = 20;
const EACH: Duration = Duration::from_millis(50);

/// How long the first of some tokens is under way.
async fn lag(proto: Proto, service: impl Served, mut producer: Producer, log: &Log) -> Duration {
    let (mut reader, server) = connect(proto, service, log).await;
    let reading = spawn(async move {
        reader.receive_head().await;
        for event in 0..TOKENS {
            reader.receive(event).await;
        }
        reader.receive_end().await;
    });
    for _ in 0..TOKENS {
        sleep(EACH).await;
        producer.go();
        producer.made().await;
    }
    producer.end();
    reading.await.unwrap();
    server.closed().await;
    log.when(Receive(0)) - log.when(Produce(0))
}

/// A reply, and what of it goes over the wire, with `te: trailers` in the request.
struct Row {
    name: &'static str,
    reply: fn() -> Response<Script>,
    /// Without any layer, and behind ours.
    right: Wire,
    data_only: Wire,
    collect: Wire,
}

struct Wire {
    /// All bytes but those of the status line and `connection: close`.
    h1: &'static str,
    /// The frames, and what the client made of them.
    h2: &'static str,
}

#[tokio::test]
async fn ours_keeps_on_the_wire_what_the_others_lose() {
    for row in ROWS {
        let reply = row.reply;
        let service = service_fn(move |_: Request<Incoming>| ready(Ok::<_, BoxError>(reply())));
        row.right.check("bare", row.name, service).await;
        let ours = stack(&Witness::default(), service);
        row.right.check("ours", row.name, ours).await;
        let data_only = DataOnlyLayer.layer(service);
        row.data_only.check("data only", row.name, data_only).await;
        let collect = CollectLayer.layer(service);
        row.collect.check("collect", row.name, collect).await;
    }
}

const ROWS: [Row; 4] = [
    Row {
        name: "body of known size",
        reply: || Response::new(Script::new([Data(5)], Size::Exact, Shown)),
        right: Wire {
            h1: "content-length: 5\r\n\r\nxxxxx",
            h2: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
        },
        // Chunked: the client can no longer tell how much there is to come.
        data_only: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            h2: "HEADERS, DATA 5, DATA 0 END_STREAM => 200, 5 bytes",
        },
        collect: Wire {
            h1: "content-length: 5\r\n\r\nxxxxx",
            h2: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
        },
    },
    Row {
        name: "empty body",
        reply: || Response::new(Script::new([], Size::Exact, Shown)),
        right: Wire {
            h1: "content-length: 0\r\n\r\n",
            h2: "HEADERS END_STREAM => 200, 0 bytes",
        },
        // The head no longer says that there is nothing to come.
        data_only: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            h2: "HEADERS, DATA 0 END_STREAM => 200, 0 bytes",
        },
        collect: Wire {
            h1: "content-length: 0\r\n\r\n",
            h2: "HEADERS END_STREAM => 200, 0 bytes",
        },
    },
    Row {
        name: "stream with trailers",
        reply: || {
            let body = Script::new([Data(5), Trailers], Size::Unknown, Hidden);
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert("trailer", HeaderValue::from_static("x-checksum"));
            response
        },
        right: Wire {
            h1: "trailer: x-checksum\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n0\r\nx-checksum: 42\r\n\r\n",
            h2: "HEADERS, DATA 5, HEADERS END_STREAM => 200, x-checksum: 42, 5 bytes",
        },
        // No trailers, though the head promises them.
        data_only: Wire {
            h1: "trailer: x-checksum\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n0\r\n\r\n",
            h2: "HEADERS, DATA 5, DATA 0 END_STREAM => 200, 5 bytes",
        },
        collect: Wire {
            h1: "trailer: x-checksum\r\ncontent-length: 5\r\n\r\nxxxxx",
            h2: "HEADERS, DATA 5 END_STREAM => 200 content-length: 5, 5 bytes",
        },
    },
    Row {
        name: "error in mid-stream",
        reply: || {
            let steps = [Data(5), Pending, Error];
            Response::new(Script::new(steps, Size::Unknown, Hidden))
        },
        right: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n",
            h2: "HEADERS, DATA 5, RST_STREAM INTERNAL_ERROR => 200, broken: INTERNAL_ERROR",
        },
        data_only: Wire {
            h1: "transfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n",
            h2: "HEADERS, DATA 5, RST_STREAM INTERNAL_ERROR => 200, broken: INTERNAL_ERROR",
        },
        // Not even what came before the error.
        collect: Wire {
            h1: "",
            h2: "RST_STREAM INTERNAL_ERROR => broken: INTERNAL_ERROR",
        },
    },
];

impl Wire {
    async fn check(&self, layer: &str, name: &str, service: impl Served) {
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: te, close\r\nte: trailers\r\n\r\n";
        let h1 = raw_h1(loopback().await, service.clone(), request).await;
        let h1 = h1
            .replacen("HTTP/1.1 200 OK\r\n", "", 1)
            .replacen("connection: close\r\n", "", 1);
        assert_eq!(h1, self.h1, "{name}, {layer}, h1");
        let h2 = frames_h2(loopback().await, service, get()).await;
        assert_eq!(h2, self.h2, "{name}, {layer}, h2");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    /// The handler wrote the event of this number.
    Produce(u32),
    /// The handler was told to end.
    End,
    /// The client got the response head.
    ReceiveHead,
    /// The client got the event of this number.
    Receive(u32),
}

/// What was done so far, and when.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<(Did, Instant)>>>);

impl Log {
    fn write(&self, did: Did) {
        self.0.lock().unwrap().push((did, Instant::now()));
    }

    fn done(&self) -> Vec<Did> {
        self.0.lock().unwrap().iter().map(|(did, _)| *did).collect()
    }

    fn when(&self, what: Did) -> Instant {
        let log = self.0.lock().unwrap();
        let (_, at) = log.iter().find(|(did, _)| *did == what).unwrap();
        *at
    }
}

/// A service that answers one request with a stream of events, each as its [`Producer`] says.
fn sse(log: &Log) -> (impl Served<Body = Channel<Bytes, BoxError>>, Producer) {
    let (leave, leaves) = mpsc::unbounded_channel();
    let (tell, made) = mpsc::unbounded_channel();
    let task = Arc::new(Mutex::new(Some((leaves, tell, log.clone()))));
    let service = service_fn(move |_: Request<Incoming>| {
        let (mut leaves, tell, log) = task.lock().unwrap().take().expect("a second request");
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        spawn(async move {
            let mut event = 0;
            while leaves.recv().await.is_some() {
                log.write(Produce(event));
                let data = sse_event(event).into();
                sender.send_data(data).await.unwrap();
                tell.send(()).unwrap();
                event += 1;
            }
        });
        let response = Response::builder().header("content-type", "text/event-stream");
        ready(response.body(body))
    });
    let log = log.clone();
    (service, Producer { leave, made, log })
}

fn sse_event(number: u32) -> String {
    format!("data: {number}\n\n")
}

/// Has the events made. It makes none by itself.
struct Producer {
    leave: mpsc::UnboundedSender<()>,
    made: mpsc::UnboundedReceiver<()>,
    log: Log,
}

impl Producer {
    fn go(&self) {
        self.leave.send(()).unwrap();
    }

    /// Waits until the next event has been handed to the body.
    async fn made(&mut self) {
        soon(self.made.recv()).await.unwrap();
    }

    fn end(self) {
        self.log.write(End);
    }
}

async fn connect(proto: Proto, service: impl Served, log: &Log) -> (Reader, Server) {
    let (near, far) = loopback().await;
    let server = serve(proto, far, service);
    let reader = Reader {
        client: Client::connect(proto, near).await,
        body: None,
        unread: String::new(),
        log: log.clone(),
    };
    (reader, server)
}

/// A client that reads a stream of events.
struct Reader {
    client: Client,
    body: Option<Incoming>,
    unread: String,
    log: Log,
}

impl Reader {
    async fn receive_head(&mut self) {
        let response = self.client.send(get()).await.unwrap();
        self.log.write(ReceiveHead);
        self.body = Some(response.into_body());
    }

    async fn receive(&mut self, event: u32) {
        let event_text = sse_event(event);
        while self.unread.len() < event_text.len() {
            let frame = soon(self.body.as_mut().unwrap().frame()).await;
            let data = frame.unwrap().unwrap().into_data().unwrap();
            self.unread += std::str::from_utf8(&data).unwrap();
        }
        let rest = self.unread.split_off(event_text.len());
        assert_eq!(self.unread, event_text);
        self.unread = rest;
        self.log.write(Receive(event));
    }

    async fn receive_end(self) {
        let rest = soon(self.body.unwrap().collect()).await.unwrap();
        assert_eq!(
            (self.unread, rest.to_bytes()),
            (String::new(), Bytes::new())
        );
    }
}

fn get() -> Request<RequestBody> {
    let request = Request::get("http://a/").header("te", "trailers");
    let body = Empty::new().map_err(|never| match never {});
    request.body(body.boxed_unsync()).unwrap()
}
