//! Streams that are opened after the signal, while the server still serves.

use std::time::Duration;

use http::header::RETRY_AFTER;
use tokio_util::sync::CancellationToken;
use tower_passthrough::{sse::DrainLayer, timer::TokioTimer};

use crate::{
    client::{Reader, connect, open_one, request},
    events::ids,
    gate::event_stream,
    net::Proto,
    server::{KINDS, Kind, Responder},
    signal::{Clock, Signal},
    source::{Fed, held, send},
};

const GRACE: Duration = Duration::from_secs(3_600);

/// The signal has been given, the server goes on.
fn given() -> Signal {
    let signal = Signal::default();
    signal.token.cancel();
    signal
}

fn each() -> impl Iterator<Item = (Kind, Proto)> {
    KINDS
        .into_iter()
        .flat_map(|kind| [Proto::H1, Proto::H2].map(|proto| (kind, proto)))
}

#[tokio::test]
async fn a_late_stream_ends_after_its_first_event() {
    for (kind, proto) in each() {
        let drain = DrainLayer::builder(given().maker(), GRACE, TokioTimer);
        let drain = drain.build().unwrap();
        // Events that are all there at once.
        let responder = Responder::new(|_| event_stream(held(3, 1..=u64::MAX, None)));
        let server = kind.serve(drain, responder, CancellationToken::new()).await;
        let (_client, mut reader) = open_one(proto, &server).await;
        reader.read_to_end().await.unwrap();
        assert_eq!(ids(3, &reader.bytes), [1], "{kind:?}, {proto:?}");
    }
}

#[tokio::test]
async fn a_late_stream_waits_for_its_first_event() {
    for (kind, proto) in each() {
        let (fed, signal) = (Fed::default(), given());
        let drain = DrainLayer::builder(signal.maker(), GRACE, TokioTimer);
        let drain = drain.build().unwrap();
        let never = CancellationToken::new();
        let server = kind.serve(drain, fed.responder(), never).await;
        let (_client, mut reader) = open_one(proto, &server).await;
        signal.seen_by(1).await;
        let gate = fed.gate();
        // A block without data is no event.
        send(&gate, "retry: 1\n\n").await;
        send(&gate, "data: 1\n\ndata: 2").await;
        reader.read_to_end().await.unwrap();
        assert_eq!(
            reader.bytes, b"retry: 1\n\ndata: 1\n\n",
            "{kind:?}, {proto:?}"
        );
    }
}

#[tokio::test]
async fn a_late_stream_without_an_event_ends_with_the_grace_period() {
    for (kind, proto) in each() {
        let (fed, signal, clock) = (Fed::default(), given(), Clock::new());
        let drain = DrainLayer::builder(signal.maker(), GRACE, clock.clone());
        let drain = drain.build().unwrap();
        let never = CancellationToken::new();
        let server = kind.serve(drain, fed.responder(), never).await;
        let (_client, mut reader) = open_one(proto, &server).await;
        signal.seen_by(1).await;
        let gate = fed.gate();
        send(&gate, ": wait\n").await;
        reader.read_to(7).await;
        clock.advance(GRACE);
        reader.read_to_end().await.unwrap();
        assert_eq!(reader.bytes, b": wait\n", "{kind:?}, {proto:?}");
        assert!(gate.is_closed());
    }
}

#[tokio::test]
async fn a_late_stream_is_refused_if_so_set() {
    for (kind, proto) in each() {
        let signal = Signal::default();
        let drain = DrainLayer::builder(signal.maker(), GRACE, TokioTimer)
            .refuse_late(Duration::from_millis(4_001))
            .build()
            .unwrap();
        let (fed, never) = (Fed::default(), CancellationToken::new());
        let server = kind.serve(drain, fed.responder(), never).await;
        let (_client, mut early) = open_one(proto, &server).await;
        let gate = fed.gate();
        send(&gate, "data: 1").await;
        early.read_to(7).await;

        signal.token.cancel();
        let mut client = connect(proto, &server).await;
        let late = client.send(request(1, 0)).await.unwrap();
        assert_eq!(late.status(), 503, "{kind:?}, {proto:?}");
        assert_eq!(late.headers()[RETRY_AFTER], "5");
        let mut late = Reader::new(late);
        late.read_to_end().await.unwrap();
        assert_eq!(late.bytes, b"");
        assert!(fed.gate().is_closed());

        send(&gate, "\n\n").await;
        early.read_to_end().await.unwrap();
        assert_eq!(early.bytes, b"data: 1\n\n");
    }
}
