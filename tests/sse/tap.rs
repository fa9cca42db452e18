//! `TapLayer`: which events the sink is told, and when, of any stream in any frames.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Empty;
use proptest::prelude::*;
use tower::{Layer, Service};
use tower_passthrough::{
    RequestHead,
    observe::Outcome,
    sse::{TapLayer, Tapped},
};

use crate::{
    gate::event_stream,
    reader::Message,
    reference::{Told, tap},
    scanner::Hidden,
    streams::{cases, lengths, pieces, stream},
    vectors::{Vector, vectors},
};

/// A body of these frames.
#[derive(Debug)]
pub(crate) struct Frames<D>(pub(crate) VecDeque<D>);

impl<D: Buf + Unpin> Body for Frames<D> {
    type Data = D;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<D>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|data| Ok(Frame::data(data))))
    }
}

/// Answers its one request with an event stream of this body.
pub(crate) struct Stream<B>(Option<B>);

impl<B> Service<Request<Empty<Bytes>>> for Stream<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        ready(Ok(event_stream(self.0.take().unwrap())))
    }
}

/// The body of an event stream, behind the layer.
pub(crate) fn tapped<L, B, R>(layer: &L, body: B) -> R
where
    L: Layer<Stream<B>>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<R>, Error = Infallible>,
{
    let call = layer
        .layer(Stream(Some(body)))
        .call(Request::new(Empty::new()));
    call.now_or_never().unwrap().unwrap().into_body()
}

/// What a body yields that never waits and never fails.
pub(crate) fn next<B>(body: &mut B) -> Option<B::Data>
where
    B: Body<Error = Infallible> + Unpin,
{
    let polled = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(frame) = polled else {
        panic!("it never waits");
    };
    frame.map(|frame| frame.unwrap().into_data().ok().unwrap())
}

/// A sink, and all that it was told.
pub(crate) fn sink() -> (
    impl FnMut(Tapped<'_>) + Clone + Send + 'static,
    impl Fn() -> Vec<Told>,
) {
    let told = Arc::<Mutex<Vec<Told>>>::default();
    let all = Arc::clone(&told);
    let sink = move |tapped: Tapped<'_>| told.lock().unwrap().push(tapped.into());
    (sink, move || all.lock().unwrap().clone())
}

/// What is told of a stream in these frames, up to its end.
pub(crate) fn told<D: Buf + Unpin>(
    max_event_bytes: usize,
    frames: impl IntoIterator<Item = D>,
) -> Vec<Told> {
    let (sink, told) = sink();
    let layer = TapLayer::new(move |_: &RequestHead<'_>| sink.clone());
    let layer = layer.max_event_bytes(max_event_bytes);
    let mut body = tapped(&layer, Frames(frames.into_iter().collect()));
    while next(&mut body).is_some() {}
    told()
}

fn with_end(mut told: Vec<Told>) -> Vec<Told> {
    told.push(Told::End(Outcome::Complete));
    told
}

fn bytes(text: &[u8]) -> Bytes {
    Bytes::copy_from_slice(text)
}

/// Mostly such as are near to the length of an event.
fn max_event_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(usize::MAX),
        1 => Just(0),
        4 => 0..40_usize,
        1 => 0..300_usize,
    ]
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_frames_of_any_stream_are_told_as_by_the_reference_and_at_once(
        stream in stream(),
        lengths in lengths(),
        max in max_event_bytes(),
    ) {
        let (sink, told) = sink();
        let layer = TapLayer::new(move |_: &RequestHead<'_>| sink.clone()).max_event_bytes(max);
        let frames: VecDeque<Bytes> = pieces(&stream, &lengths).map(bytes).collect();
        let mut body = tapped(&layer, Frames(frames.clone()));
        let mut taken = 0;
        for frame in frames {
            let passed = next(&mut body).unwrap();
            prop_assert_eq!(&passed, &frame);
            prop_assert_eq!(passed.as_ptr(), frame.as_ptr());
            taken += frame.len();
            prop_assert_eq!(told(), tap(&stream[..taken], max), "after {} bytes", taken);
        }
        prop_assert_eq!(next(&mut body), None);
        drop(body);
        prop_assert_eq!(told(), with_end(tap(&stream, max)));
    }

    #[test]
    fn a_stream_is_told_the_same_byte_by_byte_and_whole_and_in_chunks(
        stream in stream(),
        max in max_event_bytes(),
        at in any::<prop::sample::Index>(),
    ) {
        let expected = with_end(tap(&stream, max));
        prop_assert_eq!(&told(max, [bytes(&stream)]), &expected);
        prop_assert_eq!(&told(max, stream.chunks(1).map(bytes)), &expected);
        let (first, second) = stream.split_at(at.index(stream.len() + 1));
        prop_assert_eq!(&told(max, [bytes(first).chain(bytes(second))]), &expected);
    }
}

#[test]
fn the_events_of_each_vector_are_told_whole_and_byte_by_byte() {
    for Vector {
        name,
        stream,
        events,
    } in vectors()
    {
        let expected = with_end(events.into_iter().map(Told::Event).collect());
        assert_eq!(told(usize::MAX, [bytes(&stream)]), expected, "{name}");
        let bytewise = stream.chunks(1).map(bytes);
        assert_eq!(told(usize::MAX, bytewise), expected, "{name}");
    }
}

/// A message without an id.
fn message(data: &str) -> Told {
    Told::Event(Message::new("message", "", data))
}

#[test]
fn an_event_is_told_up_to_just_so_many_bytes_of_its_lines() {
    // Each is followed by another, which is told whatever became of it.
    for (event, bytes_of_lines, read) in [
        ("data:12345\n\n", 10, message("12345")),
        ("data: 12345\r\n\r\n", 11, message("12345")),
        ("data:1\ndata\ndata:2\n\n", 16, message("1\n\n2")),
        (":comment\ndata:1\n: another\n:\n\n", 6, message("1")),
        ("data:1\nretry:5\nother\n\n", 18, message("1")),
        (
            "event:add\rid:7\revent:put\rdata:1\r\r",
            28,
            Told::Event(Message::new("put", "7", "1")),
        ),
        ("data:\u{fffd}\n\n", 8, message("\u{fffd}")),
    ] {
        let stream = format!("{event}data\n\n");
        let id = if event.contains("id:7") { "7" } else { "" };
        let last = Told::Event(Message::new("message", id, ""));
        let end = Told::End(Outcome::Complete);
        for frame in [1, 2, 3, 5, stream.len()] {
            let frames = || stream.as_bytes().chunks(frame).map(bytes);
            let context = format!("{event:?} in frames of {frame}");
            let expected = [read.clone(), last.clone(), end.clone()];
            assert_eq!(told(bytes_of_lines, frames()), expected, "{context}");
            let skipped = Told::Skipped(bytes_of_lines as u64);
            let expected = [skipped, last.clone(), end.clone()];
            assert_eq!(told(bytes_of_lines - 1, frames()), expected, "{context}");
        }
    }
}

#[test]
fn the_bound_is_64_kib_if_nothing_else_is_said() {
    let first_told = |len: usize| {
        let frames = [
            bytes(b"data: "),
            bytes(&vec![b'x'; len - 6]),
            bytes(b"\n\n"),
        ];
        let (sink, told) = sink();
        let layer = TapLayer::new(move |_: &RequestHead<'_>| sink.clone());
        let mut body = tapped(&layer, Frames(frames.into()));
        while next(&mut body).is_some() {}
        told().swap_remove(0)
    };
    assert_eq!(first_told(65_536), message(&"x".repeat(65_530)));
    assert_eq!(first_told(65_537), Told::Skipped(65_537));
}

#[test]
fn the_id_of_a_skipped_event_counts_if_its_line_fits() {
    let event = "data:123456789\nid:4567\n\ndata\n\n";
    let skipped_with = |id| {
        let last = Message::new("message", id, "");
        with_end(vec![Told::Skipped(21), Told::Event(last)])
    };
    for frame in [1, 4, 30] {
        let frames = || event.as_bytes().chunks(frame).map(bytes);
        assert_eq!(told(20, frames()), skipped_with("4567"));
        assert_eq!(told(7, frames()), skipped_with("4567"));
        assert_eq!(told(6, frames()), skipped_with(""));
    }
}

#[test]
fn what_is_not_dispatched_is_not_told_however_long() {
    let stream = b"id: 1\nevent: much too long\n\n: comment\n\ndata: unfinished\n";
    assert_eq!(told(10, [bytes(stream)]), with_end(vec![]));
    assert_eq!(told(100, [bytes(stream)]), with_end(vec![]));
}

#[test]
fn a_frame_that_does_not_show_all_of_its_bytes_loses_the_stream() {
    let frames: [Box<dyn Buf>; 4] = [
        Box::new(&b"data: 1\n\ndata: 2\n"[..]),
        Box::new(Hidden(b"\ndata: 3\n\n")),
        Box::new(&b"data: 4\n\n"[..]),
        Box::new(Hidden(b"\n\n\n\n")),
    ];
    let expected = with_end(vec![message("1"), Told::Lost]);
    assert_eq!(told(100, frames), expected);
}
