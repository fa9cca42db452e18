//! Streams whose clients do not read, and are drained: what no layer can end.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_passthrough::{sse::DrainLayer, timer::TokioTimer};

use crate::{
    client::open_one,
    gate::Gate,
    net::Proto,
    server::{KINDS, Kind},
    signal::Signal,
    source::Fed,
};

/// That nothing comes can only be seen by waiting: too short a time lets the test pass, and finds less.
const A_WHILE: Duration = Duration::from_millis(300);
/// How long nobody takes anything if there is no room: too short a time would leave room.
const FULL: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_stream_that_is_not_read_is_waited_for_and_ends_when_it_is() {
    for kind in KINDS {
        for proto in [Proto::H1, Proto::H2] {
            wait(kind, proto).await;
        }
    }
}

async fn wait(kind: Kind, proto: Proto) {
    let (fed, signal) = (Fed::default(), Signal::default());
    let drain = DrainLayer::builder(signal.maker(), GRACE, TokioTimer);
    let drain = drain.build().unwrap();
    let server = kind
        .serve(drain, fed.responder(), signal.token.clone())
        .await;
    let (_client, mut reader) = open_one(proto, &server).await;
    let gate = fed.gate();
    fill(&gate).await;

    signal.token.cancel();
    sleep(A_WHILE).await;
    assert!(!server.has_shut_down(), "{kind:?}, {proto:?}");
    assert!(!gate.is_closed(), "{kind:?}, {proto:?}");

    reader.read_to_end().await.unwrap();
    assert!(reader.bytes.ends_with(b"x\n\n"), "{kind:?}, {proto:?}");
    server.shut_down().await;
}

/// Sends until there is no room on the way to the client.
async fn fill(gate: &Gate) {
    let event = format!("data: {}\n\n", "x".repeat(1 << 16));
    while timeout(FULL, gate.send(event.clone().into())).await.is_ok() {}
}
