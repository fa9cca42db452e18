//! The same shutdown without a `DrainLayer`: what it is for.

use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;

use crate::{
    client::open,
    net::Proto,
    server::{KINDS, Kind},
    source::{Fed, send},
};

const STREAMS: usize = 20;

#[tokio::test]
async fn without_a_drain_the_shutdown_waits_for_as_long_as_there_are_streams() {
    for kind in KINDS {
        for proto in [Proto::H1, Proto::H2] {
            wait(kind, proto).await;
        }
    }
}

async fn wait(kind: Kind, proto: Proto) {
    let (fed, shutdown) = (Fed::default(), CancellationToken::new());
    let server = kind
        .serve(Identity::new(), fed.responder(), shutdown.clone())
        .await;
    let (_clients, mut readers) = open(proto, &server, [0; STREAMS]).await;
    let gates = fed.gates();

    shutdown.cancel();
    let mut length = 0;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        length += event.len();
        for gate in &gates {
            send(gate, event).await;
        }
        for reader in &mut readers {
            reader.read_to(length).await;
        }
        assert!(!server.has_shut_down(), "{kind:?}, {proto:?}");
    }
    drop(gates);
    for reader in &mut readers {
        reader.read_to_end().await.unwrap();
    }
    server.shut_down().await;
}
