//! Streams of any kind: data of another type, bodies that stay on one thread, borrow, or may not
//! move.

use std::{
    cell::Cell,
    future::ready,
    marker::PhantomPinned,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tower_passthrough::{
    sse::{DrainError, DrainLayer, KeepAliveLayer},
    timeout::IdleTimeoutLayer,
};

use crate::{
    clock::{Clock, Signal},
    events::streamed,
};

const SECOND: Duration = Duration::from_secs(1);

/// Bytes in up to two places.
#[derive(Debug)]
struct Parts<const SHOWS_BOTH: bool>(Bytes, Bytes);

impl<const SHOWS_BOTH: bool> Buf for Parts<SHOWS_BOTH> {
    fn remaining(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.0.is_empty() { &self.1 } else { &self.0 }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [std::io::IoSlice<'a>]) -> usize {
        let chunks = [&self.0, &self.1];
        let shown = if SHOWS_BOTH { 2 } else { 1 };
        for (place, chunk) in into.iter_mut().zip(&chunks[..shown]) {
            *place = std::io::IoSlice::new(chunk);
        }
        shown
    }

    fn advance(&mut self, count: usize) {
        let first = usize::min(count, self.0.len());
        self.0.advance(first);
        self.1.advance(count - first);
    }
}

impl<const SHOWS_BOTH: bool> From<Bytes> for Parts<SHOWS_BOTH> {
    fn from(bytes: Bytes) -> Self {
        Self(bytes, Bytes::new())
    }
}

/// Yields these pieces, in pairs, and then waits for ever. Neither `Send` nor `Unpin`.
struct Local<'a, const SHOWS_BOTH: bool> {
    pieces: Cell<&'a [(&'static str, &'static str)]>,
    _not_send: Rc<()>,
    _pinned: PhantomPinned,
}

impl<const SHOWS_BOTH: bool> Body for Local<'_, SHOWS_BOTH> {
    type Data = Parts<SHOWS_BOTH>;
    type Error = &'static str;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, &'static str>>> {
        let Some(((first, second), rest)) = self.pieces.get().split_first() else {
            return Poll::Pending;
        };
        self.pieces.set(rest);
        let [first, second] = [*first, *second].map(Bytes::from);
        Poll::Ready(Some(Ok(Frame::data(Parts(first, second)))))
    }
}

fn local<'a, const SHOWS_BOTH: bool>(
    pieces: &'a [(&'static str, &'static str)],
) -> Local<'a, SHOWS_BOTH> {
    Local {
        pieces: Cell::new(pieces),
        _not_send: Rc::new(()),
        _pinned: PhantomPinned,
    }
}

/// What there is to read now, each frame as the chunks it is in.
fn chunks<B>(body: &mut Pin<Box<B>>) -> Vec<Vec<String>>
where
    B: Body<Data: Buf>,
{
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let mut frames = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(cx) {
        let Ok(mut data) = frame.into_data() else {
            panic!("trailers");
        };
        let mut chunks = Vec::new();
        while data.has_remaining() {
            chunks.push(String::from_utf8(data.chunk().to_vec()).unwrap());
            data.advance(data.chunk().len());
        }
        frames.push(chunks);
    }
    frames
}

#[test]
fn data_in_parts_is_read_and_handed_on_as_it_is() {
    let pieces = [("data: 1\n", "\nid: 2\n"), ("\nda", "ta: 3\n\n")];
    let clock = Clock::default();
    let layer = KeepAliveLayer::builder(SECOND, clock.clone()).build();
    let mut body = streamed(&layer.unwrap(), local::<true>(&pieces));
    let expected = [["data: 1\n", "\nid: 2\n"], ["\nda", "ta: 3\n\n"]];
    assert_eq!(chunks(&mut body), expected);
    clock.pass(SECOND);
    assert_eq!(chunks(&mut body), [[": keep-alive\n"]]);

    // One event is under way.
    let signal = Signal::default();
    let layer = DrainLayer::builder(signal.waiting(), SECOND, Clock::default());
    let layer = layer.build().unwrap();
    let mut body = streamed(&layer, local::<true>(&pieces[..1]));
    assert_eq!(chunks(&mut body), expected[..1]);
    signal.come();
    assert!(chunks(&mut body).is_empty());

    // Of the frame in which it ends, what is left is in one part.
    let layer = DrainLayer::builder(|| ready(()), SECOND, Clock::default());
    let mut body = streamed(&layer.build().unwrap(), local::<true>(&pieces));
    assert_eq!(chunks(&mut body), [["data: 1\n\n"]]);

    let layer = IdleTimeoutLayer::with_timer(SECOND, Clock::default());
    let mut body = streamed(&layer.unwrap(), local::<true>(&pieces));
    assert_eq!(chunks(&mut body), expected);
}

#[test]
fn data_that_does_not_show_all_of_its_parts_is_left_alone() {
    let pieces = [("data: 1\n", "\n"), ("data: 2\n\n", "")];
    let expected = [vec!["data: 1\n", "\n"], vec!["data: 2\n\n"]];
    let clock = Clock::default();
    let layer = KeepAliveLayer::builder(SECOND, clock.clone()).build();
    let mut body = streamed(&layer.unwrap(), local::<false>(&pieces));
    assert_eq!(chunks(&mut body), expected);
    clock.pass(SECOND);
    assert!(chunks(&mut body).is_empty());

    // Nobody knows where such a stream may end.
    let (clock, signal) = (Clock::default(), Signal::default());
    let layer = DrainLayer::builder(signal.waiting(), SECOND, clock.clone());
    let mut body = streamed(&layer.build().unwrap(), local::<false>(&pieces));
    assert_eq!(chunks(&mut body), expected);
    signal.come();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    assert!(body.as_mut().poll_frame(cx).is_pending());
    clock.pass(SECOND);
    let Poll::Ready(Some(Err(error))) = body.as_mut().poll_frame(cx) else {
        panic!("no error");
    };
    assert!(error.is::<DrainError>());
}

#[test]
fn a_mark_is_taken_off_data_in_parts() {
    for (pieces, expected) in [
        ([("\u{feff}", "data"), ("", "")], vec![vec!["data"], vec![]]),
        ([("\u{feff}", ""), ("da", "ta")], vec![vec!["da", "ta"]]),
    ] {
        let retry = Duration::from_millis(5);
        let layer = DrainLayer::builder(Signal::default().waiting(), SECOND, Clock::default())
            .retry_between(retry, retry);
        let mut body = streamed(&layer.build().unwrap(), local::<true>(&pieces));
        let mut given = chunks(&mut body);
        assert_eq!(given.remove(0), ["retry: 5\n"]);
        assert_eq!(given, expected);
    }
}
