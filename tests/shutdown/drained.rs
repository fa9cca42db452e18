//! A thousand streams are drained, and their clients reconnect to another server.

use std::{
    collections::HashSet,
    iter,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::join;
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;
use tower_passthrough::{sse::DrainLayer, timer::TokioTimer};

use crate::{
    client::{Reader, most_sockets, open, open_one},
    events::{ids, length, length_within},
    gate::event_stream,
    net::Proto,
    server::{KINDS, Kind, Responder, Server},
    signal::Signal,
    source::{Fed, Hold, asked, held, send},
};

const STREAMS: usize = 1_000;
/// So many events are left for the second server.
const MORE: u64 = 3;
/// One of so many streams goes on.
const GOING_ON: usize = 50;
const RETRY_MILLIS: RangeInclusive<u64> = 1_000..=5_000;
const GRACE: Duration = Duration::from_secs(3_600);

/// What a stream does at the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits between two events, and goes on waiting.
    Between,
    /// It waits within an event, and goes on once the signal was seen.
    Within,
    /// It never waits for long.
    GoingOn,
}

/// How the stream of that number is at the signal, and how many whole events it has sent by then.
fn state(stream: usize) -> (State, u64) {
    let state = match stream {
        _ if stream % GOING_ON == 0 => State::GoingOn,
        _ if stream % 2 == 0 => State::Between,
        _ => State::Within,
    };
    (state, stream as u64 % 6)
}

/// How many bytes it has sent before it waits.
fn sent(stream: usize) -> usize {
    match state(stream) {
        (State::Between | State::GoingOn, events) => length(stream, events),
        (State::Within, events) => length_within(stream, events + 1),
    }
}

#[derive(Clone, Default)]
struct Gates {
    /// What goes on does so before the signal.
    go_on: CancellationToken,
    /// What is within an event goes on after it.
    finish: CancellationToken,
    never: CancellationToken,
}

impl Gates {
    fn hold(&self, stream: usize) -> Hold {
        let until = match state(stream).0 {
            State::Between => &self.never,
            State::Within => &self.finish,
            State::GoingOn => &self.go_on,
        };
        Hold {
            at: sent(stream),
            until: until.clone(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_move_to_another_server_without_losing_an_event() {
    for kind in KINDS {
        for proto in [Proto::H1, Proto::H2] {
            let start = Instant::now();
            hand_over(kind, proto).await;
            let took = start.elapsed();
            let sockets = most_sockets();
            println!("{kind:?}, {proto:?}, at most {sockets} sockets: {took:?}");
        }
    }
}

async fn hand_over(kind: Kind, proto: Proto) {
    let (signal, gates) = (Signal::default(), Gates::default());
    let first = first_server(kind, &signal, &gates).await;
    let from_start = iter::repeat_n(0, STREAMS);
    let (clients, mut readers) = open(proto, &first, from_start).await;
    let begin = readers
        .iter_mut()
        .enumerate()
        .map(async |(stream, reader)| {
            let millis = reader.read_retry().await;
            reader.read_to(sent(stream)).await;
            millis
        });
    let waits = HashSet::<_>::from_iter(join_all(begin).await);
    assert!(waits.iter().all(|millis| RETRY_MILLIS.contains(millis)));
    assert!(waits.len() > STREAMS / 2, "{} of {STREAMS}", waits.len());
    gates.go_on.cancel();
    for stream in (0..STREAMS).step_by(GOING_ON) {
        readers[stream].read_to(sent(stream) + 1_000).await;
    }

    signal.token.cancel();
    let ends = join_all(readers.iter_mut().map(Reader::read_to_end));
    let finish = async {
        signal.seen_by(STREAMS).await;
        gates.finish.cancel();
    };
    let (ends, ()) = join!(ends, finish);
    for (stream, end) in ends.into_iter().enumerate() {
        end.unwrap_or_else(|error| panic!("stream {stream} is broken: {error:?}"));
    }
    first.shut_down().await;
    drop(clients);
    let seen = readers
        .iter()
        .enumerate()
        .map(|(stream, reader)| whole(stream, &reader.bytes));
    go_on(kind, proto, seen.collect()).await;
}

/// The ids of the events that the stream has sent by its end: all of them, and whole.
fn whole(stream: usize, bytes: &[u8]) -> Vec<u64> {
    let ids = ids(stream, bytes);
    let last = ids.len() as u64;
    match state(stream) {
        (State::Between, events) => assert_eq!(last, events, "stream {stream}"),
        (State::Within, events) => assert_eq!(last, events + 1, "stream {stream}"),
        (State::GoingOn, events) => assert!(last > events, "stream {stream}"),
    }
    ids
}

/// All clients reconnect, and get what is left, after what they have seen.
async fn go_on(kind: Kind, proto: Proto, seen: Vec<Vec<u64>>) {
    let second = second_server(kind).await;
    let last_event_ids = seen.iter().map(|ids| ids.len() as u64);
    let (_clients, readers) = open(proto, &second, last_event_ids).await;
    let both = seen.into_iter().zip(readers).enumerate();
    let end = both.map(async |(stream, (mut seen, mut reader))| {
        let all: Vec<_> = (1..=seen.len() as u64 + MORE).collect();
        reader.read_to_end().await.unwrap();
        seen.extend(ids(stream, &reader.bytes));
        assert_eq!(seen, all, "stream {stream}");
    });
    join_all(end).await;
}

/// Its streams go on for ever, from their first event on.
async fn first_server(kind: Kind, signal: &Signal, gates: &Gates) -> Server {
    let (least, most) = RETRY_MILLIS.into_inner();
    let drain = DrainLayer::builder(signal.maker(), GRACE, TokioTimer)
        .retry_between(Duration::from_millis(least), Duration::from_millis(most))
        .build()
        .unwrap();
    let gates = gates.clone();
    let responder = Responder::new(move |request| {
        let (stream, _) = asked(request);
        event_stream(held(stream, 1..=u64::MAX, Some(gates.hold(stream))))
    });
    kind.serve(drain, responder, signal.token.clone()).await
}

/// Its streams go on where the client has got to, with a few events.
async fn second_server(kind: Kind) -> Server {
    let responder = Responder::new(|request| {
        let (stream, last) = asked(request);
        event_stream(held(stream, last + 1..=last + MORE, None))
    });
    let never = CancellationToken::new();
    kind.serve(Identity::new(), responder, never).await
}

#[tokio::test]
async fn the_frame_that_ends_the_event_under_way_is_passed_on_up_to_its_last_whole_event() {
    for kind in KINDS {
        for proto in [Proto::H1, Proto::H2] {
            let (fed, signal) = (Fed::default(), Signal::default());
            let drain = DrainLayer::new(signal.maker(), GRACE).unwrap();
            let server = kind
                .serve(drain, fed.responder(), signal.token.clone())
                .await;
            let (_client, mut reader) = open_one(proto, &server).await;
            let gate = fed.gate();
            send(&gate, "data: 1\n").await;
            reader.read_to(8).await;
            signal.token.cancel();
            signal.seen_by(1).await;
            send(&gate, "data\n\ndata: 2\n\n: 3\ndata: 3\n\n: 4\nid: 4\n").await;
            reader.read_to_end().await.unwrap();
            let read = String::from_utf8(reader.bytes).unwrap();
            let whole = "data: 1\ndata\n\ndata: 2\n\n: 3\ndata: 3\n\n: 4\n";
            assert_eq!(read, whole, "{kind:?}, {proto:?}");
            server.shut_down().await;
        }
    }
}
