//! Streams that stop within an event, and are drained.

use std::time::Duration;

use tower_passthrough::sse::DrainLayer;

use crate::{
    client::{Reader, request},
    net::{Client, Proto, Recorded, Recording, soon},
    server::{KINDS, Kind},
    signal::{Clock, Signal},
    source::{Fed, send},
};

/// Of the grace period.
const MOST: Duration = Duration::from_millis(29_999);
const REST: Duration = Duration::from_millis(1);

#[tokio::test]
async fn an_event_that_is_not_over_within_the_grace_period_is_broken_off() {
    for kind in KINDS {
        let h1 = break_off(kind, Proto::H1).await;
        let h1 = String::from_utf8(h1.bytes()).unwrap();
        let (_, chunks) = h1.split_once("\r\n\r\n").unwrap();
        // Nothing ends the body.
        assert_eq!(chunks, "F\r\ndata: 1\n\ndata: \r\n1\r\n2\r\n", "{kind:?}");

        let h2 = break_off(kind, Proto::H2).await;
        let frames = "HEADERS, DATA 15, DATA 1, RST_STREAM INTERNAL_ERROR";
        assert_eq!(h2.frames(), frames, "{kind:?}");
    }
}

/// Gives back all that was on the wire.
async fn break_off(kind: Kind, proto: Proto) -> Recording {
    let (fed, signal, clock) = (Fed::default(), Signal::default(), Clock::new());
    let drain = DrainLayer::builder(signal.maker(), MOST + REST, clock.clone());
    let drain = drain.build().unwrap();
    let server = kind
        .serve(drain, fed.responder(), signal.token.clone())
        .await;
    let tcp = server.socket().await;
    let (tcp, recording) = Recorded::new(tcp);
    let mut client = Client::connect(proto, tcp).await;
    let response = client.send(request(0, 0)).await.unwrap();
    let (mut reader, gate) = (Reader::new(response), fed.gate());
    send(&gate, "data: 1\n\ndata: ").await;
    reader.read_to(15).await;

    signal.token.cancel();
    signal.seen_by(1).await;
    clock.advance(MOST);
    send(&gate, "2").await;
    reader.read_to(16).await;
    assert!(!server.has_shut_down());
    clock.advance(REST);
    let error = reader.read_to_end().await;
    assert!(error.is_err(), "{kind:?}, {proto:?}: a proper end");
    assert_eq!(reader.bytes, b"data: 1\n\ndata: 2");
    // The source has been let go.
    soon(gate.closed()).await;
    server.shut_down().await;
    recording
}
