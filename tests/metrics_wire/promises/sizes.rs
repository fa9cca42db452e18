//! Bytes, and bodies that are dropped when there are no more of them to come.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tower_passthrough::observe::Outcome;

use super::{
    Connection, PROTOS, answering, assert_tells, open_after, read, read_bytes, script, sized,
    streamed,
};
use crate::{
    books::books,
    common::{Broken, End, Script, Size, Step::Data},
    replies::{Reply, full, ok, reply},
};

#[tokio::test]
async fn bytes_are_those_that_the_server_was_handed() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.build().unwrap();
        let whole: [(fn() -> Reply, usize); 3] = [
            (|| ok(full(100_000)), 100_000),
            (|| ok(script([Data(7), Data(0), Data(7), Data(7)])), 21),
            (|| ok(full(0)), 0),
        ];
        for (reply, bytes) in whole {
            let mut connection = Connection::open(proto, answering(&layer, reply)).await;
            assert_eq!(read(connection.get().await).await, bytes);
            connection.leave().await;
        }
        let open = answering(&layer, || ok(open_after(7)));
        let mut connection = Connection::open(proto, open).await;
        let mut response = connection.get().await;
        read_bytes(response.body_mut(), 7).await;
        connection.leave().await;

        let told = [
            sized(200, 100_000),
            streamed(21, Outcome::Complete),
            sized(200, 0),
            streamed(7, Outcome::Disconnected),
        ];
        assert_tells(&exporter, told, proto);
    }
}

/// Neither ends after its last frame nor says that it has.
struct Unending(Script);

impl Body for Unending {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.0.steps.is_empty() {
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_at_its_announced_length_is_complete() {
    fn body(size: Size) -> Unending {
        Unending(Script::new([Data(5), Data(10)], size, End::Hidden))
    }
    let declared: fn() -> Reply = || {
        let head = Response::builder().header("content-length", "15");
        reply(head, body(Size::Unknown))
    };
    let exact: fn() -> Reply = || ok(body(Size::Exact));
    for (announced, reply) in [("content-length", declared), ("size hint", exact)] {
        for proto in PROTOS {
            let (builder, exporter) = books();
            let layer = builder.build().unwrap();
            let mut connection = Connection::open(proto, answering(&layer, reply)).await;
            let mut response = connection.get().await;
            read_bytes(response.body_mut(), 15).await;
            connection.leave().await;
            assert_tells(&exporter, [sized(200, 15)], (announced, proto));
        }
    }
}
