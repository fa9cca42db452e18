//! The service: streams of events that go on for ever, or up to some event.

use std::{
    convert::Infallible,
    mem,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::request::Parts;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use crate::{
    events,
    gate::{Gate, event_stream, gated_body},
    net::soon,
    server::Responder,
};

/// Frames split events, line ends and all.
const FRAMES: [usize; 7] = [1, 2, 3, 5, 7, 11, 13];
/// So many frames are there at once, of a stream that goes on.
const BURST: usize = 100;

/// The number of the stream that is asked for, and the event after which.
pub(crate) fn asked(request: &Parts) -> (usize, u64) {
    let stream = request.uri.path().strip_prefix('/').unwrap();
    let last_event_id = request.headers["last-event-id"].to_str().unwrap();
    (stream.parse().unwrap(), last_event_id.parse().unwrap())
}

/// Where a stream waits.
#[derive(Clone)]
pub(crate) struct Hold {
    /// After so many bytes.
    pub(crate) at: usize,
    /// For this, to go on.
    pub(crate) until: CancellationToken,
}

/// The events of this range, held once.
pub(crate) fn held(stream: usize, ids: RangeInclusive<u64>, hold: Option<Hold>) -> Body {
    let source = Source {
        stream,
        ids,
        pending: BytesMut::new(),
        sent: 0,
        frames: 0,
        hold,
    };
    let frames = stream::unfold(source, async |mut source| {
        Some((Ok::<_, Infallible>(source.next().await?), source))
    });
    Body::from_stream(frames)
}

struct Source {
    stream: usize,
    /// Those that are still to come.
    ids: RangeInclusive<u64>,
    /// What is left of those before.
    pending: BytesMut,
    sent: usize,
    frames: usize,
    hold: Option<Hold>,
}

impl Source {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hold) = self.hold.take_if(|hold| hold.at == self.sent) {
            hold.until.cancelled().await;
        }
        if self.frames % BURST == BURST - 1 {
            yield_now().await;
        }
        let mut length = FRAMES[self.frames % FRAMES.len()];
        if let Some(hold) = &self.hold {
            length = length.min(hold.at - self.sent);
        }
        while self.pending.len() < length {
            let Some(id) = self.ids.next() else { break };
            self.pending.extend(events::bytes(self.stream, id));
        }
        length = length.min(self.pending.len());
        self.frames += 1;
        self.sent += length;
        (length > 0).then(|| self.pending.split_to(length).freeze())
    }
}

/// Bodies that are fed by the test.
#[derive(Clone, Default)]
pub(crate) struct Fed(Arc<Mutex<Vec<Gate>>>);

impl Fed {
    pub(crate) fn responder(&self) -> Responder {
        let fed = self.clone();
        Responder::new(move |_| {
            let (gate, body) = gated_body();
            fed.0.lock().unwrap().push(gate);
            event_stream(body)
        })
    }

    /// Those of all streams so far that were not taken yet.
    pub(crate) fn gates(&self) -> Vec<Gate> {
        mem::take(&mut self.0.lock().unwrap())
    }

    /// That of the one stream.
    pub(crate) fn gate(&self) -> Gate {
        let mut gates = self.gates();
        assert_eq!(gates.len(), 1);
        gates.remove(0)
    }
}

pub(crate) async fn send(gate: &Gate, text: &'static str) {
    soon(gate.send(text.into())).await.unwrap();
}
