//! `TapLayer` beside a parser of others: `eventsource-stream`, which many clients are built on.
//!
//! It departs from the standard, so these streams are left out:
//! - What is not UTF-8 is an error to it, not U+FFFD.
//! - At a leading byte order mark it panics: it takes one byte of the three off.
//!
//! And since it reads a CR at the end of what has come only once the next byte comes, every stream
//! ends with another byte.

use std::{convert::Infallible, panic::catch_unwind};

use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;

use crate::{
    reader::Message,
    reference::Told,
    streams::{cases, lengths, pieces, stream as any_stream},
    tap::told,
};

/// What they read.
fn theirs(frames: &[Bytes]) -> Vec<Result<Told, EventStreamError<Infallible>>> {
    let frames = frames.iter().cloned().map(Ok::<_, Infallible>);
    let events = stream::iter(frames).eventsource().map(|event| {
        let event = event?;
        let message = Message::new(&event.event, &event.id, &event.data);
        Ok(Told::Event(message))
    });
    events.collect().now_or_never().expect("it never waits")
}

#[test]
fn what_is_left_out_still_has_to_be() {
    let read = |stream: &'static [u8]| theirs(&[Bytes::from_static(stream)]);
    let error = read(b"data: \xFF\n\n").swap_remove(0);
    assert!(matches!(error, Err(EventStreamError::Utf8(_))), "{error:?}");
    assert!(catch_unwind(|| read(b"\xEF\xBB\xBFdata: 1\n\n")).is_err());
    assert_eq!(read(b"data: 1\r\r"), []);
    assert_eq!(read(b"data: 1\r\r:").len(), 1);
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn both_read_the_same_events(stream in any_stream(), lengths in lengths()) {
        let stream = String::from_utf8_lossy(&stream).into_owned() + ":";
        prop_assume!(!stream.starts_with('\u{feff}'));
        let pieces = pieces(stream.as_bytes(), &lengths);
        let frames: Vec<Bytes> = pieces.map(Bytes::copy_from_slice).collect();
        let mut ours = told(usize::MAX, frames.clone());
        ours.pop();
        let theirs: Result<Vec<_>, _> = theirs(&frames).into_iter().collect();
        prop_assert_eq!(ours, theirs.expect("it is UTF-8"));
    }
}
