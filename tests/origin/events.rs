//! When events arrive: each before the next is made, or none before the end.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use Did::{End, Produce, Receive, ReceiveHead};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, channel::Channel};
use hyper::body::Incoming;
use tokio::{join, spawn, sync::mpsc, time::sleep};
use tower::{Layer, service_fn};

use crate::{
    faults::{CollectLayer, DataOnlyLayer},
    get,
    net::{BoxError, Client, Proto, Served, Server, loopback, serve, soon},
    stack::{Witness, stack},
};

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
