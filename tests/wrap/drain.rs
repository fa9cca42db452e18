//! When and where `DrainLayer` ends a stream.

use std::{pin::Pin, task::Context, time::Duration};

use bytes::Bytes;
use http_body::Body;
use tower_passthrough::sse::{DrainBody, DrainError, DrainLayer};

use crate::{
    clock::{Clock, Signal, Waiting},
    common::{Broken, Given, Hints, hints, poll_body},
    events::{Fed, Feed, read, streamed},
};

const SECOND: Duration = Duration::from_secs(1);

type Drained = Pin<Box<DrainBody<Fed, Waiting, Clock>>>;

/// A stream, and all that moves it. The grace period is ten seconds.
pub(crate) struct Bench {
    pub(crate) feed: Feed,
    pub(crate) clock: Clock,
    pub(crate) signal: Signal,
    pub(crate) body: Drained,
}

fn open(signal: Signal) -> Bench {
    let (feed, clock) = (Feed::default(), Clock::default());
    let layer = DrainLayer::builder(signal.waiting(), 10 * SECOND, clock.clone());
    let body = streamed(&layer.build().unwrap(), feed.body());
    Bench {
        feed,
        clock,
        signal,
        body,
    }
}

/// One that begins before the signal.
pub(crate) fn in_time() -> Bench {
    open(Signal::default())
}

/// One that begins after the signal.
pub(crate) fn late() -> Bench {
    let signal = Signal::default();
    signal.come();
    open(signal)
}

/// What comes out of a stream with these frames, waiting after each, if the signal comes after so
/// many of them. What is still to come then is there by the next poll.
fn drained(frames: &[&'static str], before: usize) -> Vec<String> {
    let mut bench = in_time();
    let mut given = Vec::new();
    for frame in &frames[..before] {
        bench.feed.data(*frame);
        given.append(&mut read(&mut bench.body));
    }
    bench.signal.come();
    for frame in &frames[before..] {
        given.append(&mut read(&mut bench.body));
        bench.feed.data(*frame);
    }
    given.append(&mut read(&mut bench.body));
    ended_once(given)
}

/// The same, with one end only, however often it was asked for.
fn ended_once(mut given: Vec<String>) -> Vec<String> {
    given.dedup_by(|next, last| next == "end" && last == "end");
    given
}

#[test]
fn a_stream_ends_at_the_next_boundary() {
    type Row = (
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
    );
    // Before the signal, after it, and what comes out after it.
    let rows: [Row; 22] = [
        (&[], &["data: 1\n\n"], &["end"]),
        (&["data: 1\n\n"], &["data: 2\n\n"], &["end"]),
        (&["data: 1\n\n: own\n"], &["data: 2\n\n"], &["end"]),
        (&["data: 1\r\n\r\n"], &["data: 2"], &["end"]),
        (&["data: 1\r\r"], &["data: 2"], &["end"]),
        (&["data: 1\r\n\r"], &["\ndata: 2"], &["end"]),
        (&["d"], &["ata: 1\n\n"], &["ata: 1\n\n", "end"]),
        (
            &["data: 1"],
            &["\n\ndata: 2\n\nda"],
            &["\n\ndata: 2\n\n", "end"],
        ),
        (&["data: 1"], &["\n", "\n", "x"], &["\n", "\n", "end"]),
        (&["data: 1\n"], &["\ndata: 2\n"], &["\n", "end"]),
        (&["data: 1\n"], &["\n: own\n: o"], &["\n: own\n", "end"]),
        (&["data: 1\n"], &["\n\n\n\nid: 2"], &["\n\n\n\n", "end"]),
        (&["data: 1\r\n"], &["\r\ndata: 2"], &["\r\n", "end"]),
        (&["data: 1\r\n"], &["\r"], &["\r", "end"]),
        (&["data: 1\r"], &["\ndata: 2\r"], &["\ndata: 2\r"]),
        (&["data: 1\r"], &["\rdata: 2\r"], &["\r", "end"]),
        (&["data: 1\r"], &["\n\rdata: 2"], &["\n\r", "end"]),
        (&["data: 1\n"], &["\r\r\n\n\rid"], &["\r\r\n\n\r", "end"]),
        (&[": ow"], &["n\nid: 1\n\n"], &["n\nid: 1\n\n", "end"]),
        (&[": ow"], &["n\nid"], &["n\n", "end"]),
        (&["\u{feff}d"], &["ata: 1\n\nx"], &["ata: 1\n\n", "end"]),
        (&["id: 1\n"], &["x\n", "", "\n"], &["x\n", "", "\n", "end"]),
    ];
    for (before, after, expected) in rows {
        let frames = [before, after].concat();
        let expected = [before, expected].concat();
        assert_eq!(drained(&frames, before.len()), expected, "{frames:?}");
    }
}

#[test]
fn a_stream_ends_at_the_next_boundary_from_each_of_its_bytes() {
    for stream in [
        "data: 1\n\nid: 2\ndata: 2\n\n",
        "data: 1\r\n\r\nid: 2\r\ndata: 2\r\n\r\n",
        "data: 1\r\rid: 2\rdata: 2\r\r",
        "data: 1\r\n\nid: 2\rdata: 2\n\r\n",
        "\u{feff}data: 1\n\n: own\r\nid: 2\n\n",
    ] {
        let bytes: Vec<String> = stream
            .as_bytes()
            .iter()
            .map(|byte| crate::events::text(&[*byte]))
            .collect();
        for before in 0..=stream.len() {
            let mut bench = in_time();
            let mut given = Vec::new();
            for (at, byte) in stream.as_bytes().iter().enumerate() {
                if at == before {
                    bench.signal.come();
                    given.append(&mut read(&mut bench.body));
                }
                bench.feed.data(vec![*byte]);
                given.append(&mut read(&mut bench.body));
            }
            bench.signal.come();
            given.append(&mut read(&mut bench.body));
            let end = boundary(stream, before);
            let mut given = ended_once(given);
            assert_eq!(given.pop().as_deref(), Some("end"), "{stream:?} {before}");
            assert_eq!(given, bytes[..end], "{stream:?} {before}");
        }
    }
}

/// The first place from here on where all lines are over and the last that is no comment is blank.
fn boundary(stream: &str, from: usize) -> usize {
    let is_boundary = |end: &usize| {
        // A part of the mark is not over, and no text either.
        let Some(before) = stream.get(..*end) else {
            return false;
        };
        let lines = before.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let lines = lines.replace('\r', "\n");
        let Some(lines) = lines.strip_suffix('\n') else {
            return lines.is_empty();
        };
        let last = lines.rsplit('\n').find(|line| !line.starts_with(':'));
        last.is_none_or(str::is_empty)
    };
    (from..=stream.len()).find(is_boundary).unwrap()
}

#[test]
fn the_last_frame_is_cut_and_not_copied() {
    let mut bench = in_time();
    bench.feed.data("data: 1\n");
    read(&mut bench.body);
    bench.signal.come();
    let sent = Bytes::from("\ndata: 2\n\ndata: 3".to_owned());
    for sent in [Bytes::from("id: 1\n".to_owned()), sent] {
        bench.feed.data(sent.clone());
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let Given::Data(given) = poll_body(&mut bench.body, cx) else {
            panic!("no data");
        };
        assert_eq!(given.as_ptr(), sent.as_ptr());
        assert!(sent.starts_with(&given));
    }
}

#[test]
fn an_event_that_takes_too_long_is_never_completed() {
    let mut bench = in_time();
    bench.feed.data("data: 1\n");
    read(&mut bench.body);
    bench.signal.come();
    assert!(read(&mut bench.body).is_empty());
    bench.clock.pass(9 * SECOND);
    // Whatever comes meanwhile: the grace period is for all of it.
    bench.feed.data("data: 2\n");
    assert_eq!(read(&mut bench.body), ["data: 2\n"]);
    assert!(!bench.feed.is_dropped());
    bench.clock.pass(SECOND);
    bench.feed.data("\n");
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Some(Err(error))) = bench.body.as_mut().poll_frame(cx) else {
        panic!("no error");
    };
    assert!(error.downcast_ref::<DrainError>().is_some());
    assert_eq!(
        error.to_string(),
        "the event stream was cut off to shut down, with an event under way"
    );
    assert!(bench.feed.is_dropped());
    assert_eq!(read(&mut bench.body), ["end"]);
    assert_eq!(read(&mut bench.body), ["end"]);
}

#[test]
fn a_stream_that_never_waits_is_cut_off_too() {
    let mut bench = in_time();
    bench.signal.come();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let cut_off_after = (0..100).find(|_| {
        bench.feed.data("data: on and on\n");
        let given = poll_body(&mut bench.body, cx);
        bench.clock.pass(SECOND);
        given == Given::Error
    });
    assert_eq!(cut_off_after, Some(16 + 10));
}

#[test]
fn a_stream_that_never_waits_sees_the_signal_within_16_frames() {
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    for before in 0..40 {
        let mut bench = in_time();
        let mut next = || {
            bench.feed.data("data: 1\n\ndata");
            poll_body(&mut bench.body, cx)
        };
        for _ in 0..before {
            assert_eq!(next(), Given::Data("data: 1\n\ndata".into()));
        }
        bench.signal.come();
        let frames = (1..=16).find(|_| next() == Given::Data("data: 1\n\n".into()));
        assert_eq!(frames, Some(16 - before % 16));
        assert_eq!(next(), Given::End);
        // One look at the head, one each 16 frames.
        assert_eq!(bench.signal.polls(), 1 + before / 16 + 1);
    }
}

#[test]
fn a_late_stream_ends_after_its_first_event() {
    type Row = (&'static [&'static str], &'static [&'static str]);
    let rows: [Row; 8] = [
        (&["data: 1\n\n", "data: 2\n\n"], &["data: 1\n\n", "end"]),
        (
            &["data: 1\n\ndata: 2\n\nda"],
            &["data: 1\n\ndata: 2\n\n", "end"],
        ),
        (
            &[": own\n\n", "retry: 1\n\n", "data\n\n"],
            &[": own\n\n", "retry: 1\n\n", "data\n\n", "end"],
        ),
        (&["id: 1\n\n"], &["id: 1\n\n"]),
        (&["da", "ta: 1\n\nx"], &["da", "ta: 1\n\n", "end"]),
        (&["\n: x\nid"], &["\n: x\nid"]),
        (&["data: 1\r\r\n"], &["data: 1\r\r\n", "end"]),
        (&["", "data"], &["", "data"]),
    ];
    for (frames, expected) in rows {
        // All frames are there at once, or each is waited for.
        let (mut at_once, mut one_by_one) = (late(), late());
        let mut given = read(&mut one_by_one.body);
        for frame in frames {
            at_once.feed.data(*frame);
            one_by_one.feed.data(*frame);
            given.append(&mut read(&mut one_by_one.body));
        }
        assert_eq!(ended_once(given), expected, "{frames:?}");
        assert_eq!(read(&mut at_once.body), expected, "{frames:?}");
    }
}

#[test]
fn a_late_stream_that_says_nothing_ends_with_the_grace_period() {
    for (begun, end) in [("", "end"), (": own\n", "end"), ("id: 1\n", "error")] {
        let mut bench = late();
        bench.feed.data(begun);
        assert_eq!(read(&mut bench.body), [begun]);
        bench.clock.pass(9 * SECOND);
        assert!(read(&mut bench.body).is_empty());
        bench.clock.pass(SECOND);
        assert_eq!(read(&mut bench.body), [end]);
        assert!(bench.feed.is_dropped());
    }
}

#[test]
fn a_stream_is_late_if_its_head_is() {
    // This one's head came before the signal, though nobody has asked for its body yet.
    let mut bench = in_time();
    bench.signal.come();
    assert_eq!(read(&mut bench.body), ["end"]);
}

#[test]
fn the_inner_body_is_let_go_with_the_end() {
    let mut bench = in_time();
    bench.feed.size(0, Some(100));
    bench.feed.data("data: 1\n\ndata: 2");
    assert_eq!(read(&mut bench.body), ["data: 1\n\ndata: 2"]);
    bench.signal.come();
    assert!(read(&mut bench.body).is_empty());
    let hinted = |lower, upper, is_end_stream| Hints {
        lower,
        upper,
        is_end_stream,
    };
    assert_eq!(hints(&bench.body), hinted(0, Some(100), false));
    bench.feed.data("\n\nx");
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    assert_eq!(poll_body(&mut bench.body, cx), Given::Data("\n\n".into()));
    assert!(bench.feed.is_dropped());
    assert_eq!(hints(&bench.body), hinted(0, Some(0), true));
    let polls = bench.feed.polls();
    assert_eq!(read(&mut bench.body), ["end"]);
    assert_eq!(read(&mut bench.body), ["end"]);
    assert_eq!(bench.feed.polls(), polls);
}

#[test]
fn a_stream_that_ends_by_itself_while_it_is_drained_ends_as_it_does() {
    type End = fn(&Feed);
    let ends: [(&[&str], End); 4] = [
        (&["end"], Feed::end),
        (&["error"], Feed::error),
        // Whatever the inner body would say if it were asked once more.
        (&["trailers", "end"], Feed::trailers),
        (&["trailers", "end"], |feed| {
            feed.trailers();
            feed.end();
        }),
    ];
    for (expected, end) in ends {
        for comes in [false, true] {
            let mut bench = in_time();
            bench.feed.data("data: 1\n");
            assert_eq!(read(&mut bench.body), ["data: 1\n"]);
            if comes {
                bench.signal.come();
                assert!(read(&mut bench.body).is_empty());
            }
            end(&bench.feed);
            assert_eq!(read(&mut bench.body), expected);
            // No grace period is over after that.
            assert!(bench.feed.is_dropped());
            bench.signal.come();
            bench.clock.pass(100 * SECOND);
            assert_eq!(read(&mut bench.body), ["end"]);
        }
    }
}

#[test]
fn the_error_of_the_inner_body_is_the_one_in_the_box() {
    let mut bench = in_time();
    bench.feed.error();
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Some(Err(error))) = bench.body.as_mut().poll_frame(cx) else {
        panic!("no error");
    };
    assert_eq!(error.downcast_ref(), Some(&Broken));
}

#[test]
fn nothing_is_timed_until_the_signal_comes() {
    let mut bench = in_time();
    for _ in 0..100 {
        bench.feed.data("data: 1\n\n");
        assert_eq!(read(&mut bench.body), ["data: 1\n\n"]);
        bench.clock.pass(SECOND);
    }
    assert_eq!((bench.clock.made(), bench.clock.asked()), (0, 0));
    assert_eq!(bench.signal.made(), 2);
}
