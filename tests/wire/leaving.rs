//! Clients that leave.

use std::future::pending;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tower::service_fn;

use crate::{
    net::{Client, Proto, no_body, pipe, serve, soon},
    replies::{Reply, ok},
    stack::{Witness, stack},
    until, with,
};

/// How far an exchange has come when the client leaves.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Called,
    Head,
    Data,
    /// As `Data`, but the head says how much there should be.
    DataOfLength,
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// Hangs up.
    Connection,
    /// Drops what it has of the exchange. On HTTP/2 the connection goes on.
    Exchange,
}

#[tokio::test]
async fn client_that_leaves() {
    for proto in [Proto::H1, Proto::H2] {
        for leave in [Leave::Connection, Leave::Exchange] {
            for (stage, told) in [
                (Stage::Called, "cancelled"),
                (Stage::Head, "200 disconnected"),
                (Stage::Data, "200 5 disconnected"),
                (Stage::DataOfLength, "200 5 disconnected"),
            ] {
                let witness = leave_at(stage, proto, leave).await;
                assert_eq!(witness.story(), told, "{stage:?} {proto:?} {leave:?}");
            }
        }
    }
}

async fn leave_at(stage: Stage, proto: Proto, leave: Leave) -> Witness {
    let (calls, mut called) = mpsc::unbounded_channel();
    let service = service_fn(move |_: Request<Incoming>| {
        calls.send(()).unwrap();
        stall(stage)
    });
    let witness = Witness::default();
    let (near, far) = pipe();
    let server = serve(proto, far, stack(&witness, service));
    let mut client = Client::connect(proto, near).await;

    let request = Request::get("http://a/").body(no_body()).unwrap();
    if matches!(stage, Stage::Called) {
        let response = client.send(request);
        tokio::select! {
            response = response => panic!("{response:?}"),
            called = soon(called.recv()) => called.unwrap(),
        }
        if leave == Leave::Exchange {
            until(|| witness.is_over()).await;
        }
    } else {
        let mut response = client.send(request).await.unwrap();
        if !matches!(stage, Stage::Head) {
            let frame = soon(response.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "xxxxx");
        }
        assert!(!witness.is_over());
        if leave == Leave::Exchange {
            drop(response);
            until(|| witness.is_over()).await;
        }
    }
    drop(client);
    server.closed().await;
    witness
}

/// A route with an endless stream may be asked for its head. There is no more to it than that.
#[tokio::test]
async fn head_of_an_endless_stream_is_complete() {
    for (proto, told) in [(Proto::H1, "200 complete"), (Proto::H2, "200 5 complete")] {
        let witness = Witness::default();
        let (near, far) = pipe();
        let service = service_fn(|_: Request<Incoming>| stall(Stage::Data));
        let server = serve(proto, far, stack(&witness, service));
        let mut client = Client::connect(proto, near).await;
        let request = Request::head("http://a/").body(no_body()).unwrap();
        assert_eq!(client.send(request).await.unwrap().status(), 200);
        drop(client);
        server.closed().await;
        assert_eq!(witness.story(), told, "{proto:?}");
    }
}

/// Comes as far as `stage` and no further.
async fn stall(stage: Stage) -> Reply {
    let forever = stream::pending();
    let data = stream::iter([Ok(Frame::data(Bytes::from("xxxxx")))]);
    match stage {
        Stage::Called => pending().await,
        Stage::Head => ok(StreamBody::new(forever)),
        Stage::Data => ok(StreamBody::new(data.chain(forever))),
        Stage::DataOfLength => with("content-length", "15", StreamBody::new(data.chain(forever))),
    }
}
