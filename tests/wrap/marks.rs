//! A byte order mark after something was put in is no longer at the start: it is taken off.

use std::time::Duration;

use http_body::Body;
use tower_passthrough::sse::{DrainLayer, KeepAliveLayer};

use crate::{
    clock::{Clock, Signal},
    common::{Broken, hints},
    events::{Fed, Feed, read, streamed},
};

const SECOND: Duration = Duration::from_secs(1);
const COMMENT: &str = ": keep-alive\n";
const RETRY: &str = "retry: 5\n";

/// A body that begins with a comment, which is read.
fn after_comment(feed: &Feed) -> impl Body<Data = bytes::Bytes, Error = Broken> + Unpin + use<> {
    let clock = Clock::default();
    let layer = KeepAliveLayer::builder(SECOND, clock.clone());
    let mut body = streamed(&layer.build().unwrap(), feed.body());
    assert!(read(&mut body).is_empty());
    clock.pass(SECOND);
    assert_eq!(read(&mut body), [COMMENT]);
    body
}

/// A body that begins with a hint when to retry, which is read.
fn after_retry(feed: &Feed) -> impl Body<Data = bytes::Bytes> + Unpin + use<> {
    let retry = Duration::from_millis(5);
    let layer = DrainLayer::builder(Signal::default().waiting(), SECOND, Clock::default())
        .retry_between(retry, retry)
        .build()
        .unwrap();
    let mut body = streamed::<_, Fed, _>(&layer, feed.body());
    assert_eq!(read(&mut body), [RETRY]);
    body
}

/// What comes out of a body that yields these frames and ends.
fn frames<B>(feed: &Feed, mut body: B, pieces: &[&[u8]]) -> Vec<String>
where
    B: Body<Data = bytes::Bytes> + Unpin,
{
    let mut frames = Vec::new();
    for piece in pieces {
        feed.data(piece.to_vec());
        frames.append(&mut read(&mut body));
    }
    feed.end();
    frames.append(&mut read(&mut body));
    assert_eq!(frames.pop().as_deref(), Some("end"));
    frames
}

#[test]
fn a_mark_is_taken_off_and_what_only_began_like_one_is_given_back() {
    type Row = (&'static [&'static [u8]], &'static [&'static str]);
    let rows: [Row; 15] = [
        (&[b"\xEF\xBB\xBFdata"], &["data"]),
        (&[b"\xEF\xBB\xBF", b"data"], &["data"]),
        (&[b"\xEF", b"\xBB", b"\xBF", b"data"], &["data"]),
        (&[b"\xEF", b"\xBB\xBFdata"], &["data"]),
        (&[b"\xEF\xBB", b"\xBFdata"], &["data"]),
        (&[b"\xEF", b"", b"\xBB", b"\xBFdata"], &["", "data"]),
        (&[b"", b"\xEF\xBB\xBF"], &[""]),
        (&[b"data", b"\xEF\xBB\xBFdata"], &["data", "\u{feff}data"]),
        (&[b"\xEF\xBB\xBF\xEF\xBB\xBFdata"], &["\u{feff}data"]),
        (&[b"\xEF\xBB\xBF", b"\xEF\xBB\xBF"], &["\u{feff}"]),
        (&[b"\xEF\xBBA"], &["\\xef\\xbbA"]),
        (&[b"\xEF", b"\xBB", b"A", b"B"], &["\\xef\\xbbA", "B"]),
        (&[b"\xEFA"], &["\\xefA"]),
        (&[b"\xEF", b"A"], &["\\xefA"]),
        (
            &[b"\xEF\xBB", b"\xEF\xBB\xBF"],
            &["\\xef\\xbb\\xef\\xbb\\xbf"],
        ),
    ];
    for (pieces, expected) in rows {
        let feed = Feed::default();
        let given = frames(&feed, after_comment(&feed), pieces);
        assert_eq!(given, expected, "{pieces:?}");
        let feed = Feed::default();
        let given = frames(&feed, after_retry(&feed), pieces);
        assert_eq!(given, expected, "{pieces:?}");
    }
}

#[test]
fn a_mark_that_is_still_at_the_start_stays() {
    let clock = Clock::default();
    let layer = KeepAliveLayer::builder(SECOND, clock.clone());
    let feed = Feed::default();
    let mut body = streamed(&layer.build().unwrap(), feed.body());
    feed.data("\u{feff}");
    assert_eq!(read(&mut body), ["\u{feff}"]);
    clock.pass(SECOND);
    // What follows the mark is still no event; a second mark would be text.
    assert_eq!(read(&mut body), [COMMENT]);
    feed.data("\u{feff}");
    assert_eq!(read(&mut body), ["\u{feff}"]);
}

#[test]
fn a_comment_may_be_put_in_while_a_mark_is_held_back() {
    let clock = Clock::default();
    let layer = KeepAliveLayer::builder(SECOND, clock.clone());
    let feed = Feed::default();
    let mut body = streamed(&layer.build().unwrap(), feed.body());
    assert!(read(&mut body).is_empty());
    for piece in [b"\xEF", b"\xBB", b"A"] {
        clock.pass(SECOND);
        assert_eq!(read(&mut body), [COMMENT]);
        feed.data(piece.as_slice());
        let expected: &[&str] = if piece == b"A" { &["\\xef\\xbbA"] } else { &[] };
        assert_eq!(read(&mut body), expected);
    }
    clock.pass(SECOND);
    assert!(read(&mut body).is_empty()); // within a line
}

#[test]
fn hints_allow_for_a_mark_that_may_be_taken_off() {
    let feed = Feed::default();
    let mut body = after_comment(&feed);
    let mut retried = after_retry(&feed);
    feed.size(10, Some(20));
    let mut bounds = |piece: Option<&'static [u8]>| {
        if let Some(piece) = piece {
            feed.data(piece);
            read(&mut body);
            feed.data(piece);
            read(&mut retried);
        }
        (hints(&body).lower, hints(&retried).upper)
    };
    assert_eq!(bounds(None), (7, Some(20)));
    assert_eq!(bounds(Some(b"\xEF")), (8, Some(21)));
    assert_eq!(bounds(Some(b"\xBB")), (9, Some(22)));
    assert_eq!(bounds(Some(b"A")), (10, Some(20)));

    feed.size(2, None);
    assert_eq!(hints(&after_comment(&feed)).lower, 0);
}
