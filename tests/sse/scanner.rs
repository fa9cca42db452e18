//! `Scanner` against the reference: any bytes, in any pieces, at any place.

use bytes::{Buf, Bytes};
use proptest::prelude::*;
use tower_passthrough::sse::Scanner;

use crate::{
    reader::{Reading, read},
    streams::{cases, lengths, pieces, stream},
};

/// What a scanner says of a stream so far.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    events: u64,
    is_between_events: bool,
    is_safe_for_injection: bool,
}

fn said(scanner: &Scanner) -> Said {
    Said {
        events: scanner.events(),
        is_between_events: scanner.is_between_events(),
        is_safe_for_injection: scanner.is_safe_for_injection(),
    }
}

/// What is to be said of a stream so far, by the reference alone.
fn expected(so_far: &[u8]) -> Said {
    let reading = read(so_far);
    let is_between_events = reading.rest.is_empty() && !reading.is_mid_event;
    Said {
        events: reading.events.len() as u64,
        is_between_events,
        is_safe_for_injection: is_between_events && injection_is_seen(so_far).is_none(),
    }
}

const COMMENT: &[u8] = b": x\n";

/// What may follow, that makes a client see more of a comment put in here than the comment.
fn injection_is_seen(so_far: &[u8]) -> Option<&'static [u8]> {
    const CONTINUATIONS: [&[u8]; 6] = [
        b"",
        b"\n",
        b"data: a\n\n",
        b"\xBB\xBFdata: a\n\n",
        b"\xBFdata: a\n\n",
        b"\xEF\xBB\xBFdata: a\n\n",
    ];
    CONTINUATIONS
        .into_iter()
        .find(|next| !comment_is_invisible(so_far, next))
}

/// Whether a comment between the two adds but its line.
fn comment_is_invisible(so_far: &[u8], next: &[u8]) -> bool {
    let without = read(&[so_far, next].concat());
    let with = with_comment(so_far, next);
    let mut lines = with.lines;
    let at = read(so_far).lines.len();
    let comment = (at < lines.len()).then(|| lines.remove(at));
    comment.as_deref() == Some(": x")
        && (lines, with.rest, with.events) == (without.lines, without.rest, without.events)
}

/// At the start of the stream a mark after the comment is no longer a leading one, and dropped.
fn with_comment(so_far: &[u8], next: &[u8]) -> Reading {
    let next = match next.strip_prefix(b"\xEF\xBB\xBF") {
        Some(next) if so_far.is_empty() => next,
        _ => next,
    };
    read(&[so_far, COMMENT, next].concat())
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn any_pieces_of_any_bytes_are_read_as_the_reference_does(
        stream in stream(),
        lengths in lengths(),
    ) {
        let mut scanner = Scanner::new();
        let mut taken = 0;
        for piece in pieces(&stream, &lengths) {
            let before = scanner.events();
            prop_assert_eq!(scanner.feed(piece), scanner.events() - before);
            taken += piece.len();
            prop_assert_eq!(said(&scanner), expected(&stream[..taken]));
        }
        let mut whole = Scanner::new();
        whole.feed(&stream);
        prop_assert_eq!(said(&whole), expected(&stream));
    }

    #[test]
    fn every_place_is_judged_as_by_the_reference(stream in stream()) {
        let mut scanner = Scanner::new();
        prop_assert_eq!(said(&scanner), expected(b""));
        for at in 0..stream.len() {
            scanner.feed(&stream[at..=at]);
            prop_assert_eq!(said(&scanner), expected(&stream[..=at]), "at {}", at);
        }
    }

    #[test]
    fn nothing_is_changed_by_what_is_put_in_at_a_safe_place(
        stream in stream(),
        next in stream(),
    ) {
        let mut scanner = Scanner::new();
        for at in 0..=stream.len() {
            if scanner.is_safe_for_injection() {
                prop_assert!(comment_is_invisible(&stream[..at], &next), "at {}", at);
            }
            scanner.feed(stream.get(at..=at).unwrap_or_default());
        }
    }

    #[test]
    fn nothing_is_lost_where_a_stream_ends_between_events(
        stream in stream(),
        other in stream(),
    ) {
        let mut scanner = Scanner::new();
        scanner.feed(&stream);
        // What comes after a place between events is read as if it were a stream of its own, but
        // for what comes before text, and for the id.
        let next = [b":\n", &other[..]].concat();
        if scanner.is_between_events() {
            let data = |bytes: &[u8]| {
                let events = read(bytes).events.into_iter();
                events.map(|event| (event.event, event.data)).collect::<Vec<_>>()
            };
            let apart = [data(&stream), data(&next)].concat();
            prop_assert_eq!(data(&[&stream[..], &next].concat()), apart);
        }
    }

    #[test]
    fn chunks_of_a_buf_are_read_as_one(stream in stream(), at in any::<prop::sample::Index>()) {
        let (first, second) = stream.split_at(at.index(stream.len() + 1));
        let buf = first.chain(second);
        let mut scanner = Scanner::new();
        let events = scanner.feed_buf(&buf);
        prop_assert_eq!(buf.remaining(), stream.len());
        prop_assert_eq!(events, scanner.events());
        prop_assert_eq!(said(&scanner), expected(&stream));
    }
}

/// As many chunks of one byte, all of which can be seen.
struct Bytewise<'a>(&'a [u8]);

impl Buf for Bytewise<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.0[..self.0.len().min(1)]
    }

    fn advance(&mut self, count: usize) {
        self.0 = &self.0[count..];
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [std::io::IoSlice<'a>]) -> usize {
        let chunks = self.0.chunks(1).map(std::io::IoSlice::new);
        into.iter_mut()
            .zip(chunks)
            .map(|(slot, chunk)| *slot = chunk)
            .count()
    }
}

/// Shows its first byte, and nothing behind it.
pub(crate) struct Hidden<'a>(pub(crate) &'a [u8]);

impl Buf for Hidden<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.0[..self.0.len().min(1)]
    }

    fn advance(&mut self, count: usize) {
        self.0 = &self.0[count..];
    }
}

#[test]
fn up_to_64_chunks_can_be_seen() {
    let event = |len: usize| format!("data:{}\n\n", "x".repeat(len - 7));
    let mut scanner = Scanner::new();
    assert_eq!(scanner.feed_buf(&Bytewise(event(64).as_bytes())), 1);
    assert!(scanner.is_between_events());
    assert_eq!(scanner.feed_buf(&Bytewise(event(65).as_bytes())), 0);
    assert_eq!(scanner.events(), 1);
    assert!(!scanner.is_between_events() && !scanner.is_safe_for_injection());
}

#[test]
fn a_scanner_that_was_shown_less_than_all_has_lost_its_way() {
    let mut scanner = Scanner::new();
    assert_eq!(scanner.feed_buf(&Hidden(b"")), 0);
    assert_eq!(scanner.feed_buf(&Hidden(b"\n")), 0);
    assert!(scanner.is_safe_for_injection(), "one byte is all");

    assert_eq!(scanner.feed_buf(&Hidden(b"\n\n")), 0);
    assert!(!scanner.is_between_events() && !scanner.is_safe_for_injection());
    assert_eq!(scanner.feed_buf(&Bytes::from("\n\ndata: 1\n\n")), 0);
    assert_eq!(scanner.feed(b"data: 1\n\n"), 0);
    assert_eq!(scanner.events(), 0);
    assert!(!scanner.is_between_events() && !scanner.is_safe_for_injection());
}

#[test]
fn a_scanner_takes_16_bytes_however_long_the_line() {
    assert_eq!(size_of::<Scanner>(), 16);
    let mut scanner = Scanner::new();
    let memory = allocation_counter::measure(|| {
        scanner.feed(b"data: ");
        for _ in 0..1_000 {
            scanner.feed(&[b'x'; 1_000]);
        }
        assert_eq!(scanner.feed(b"\n\n"), 1);
    });
    assert_eq!(memory.count_total, 0);
}
