//! Bodies that do not do what they say: handed on as they are, with one outcome.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use tower_passthrough::observe::Outcome::{self, BodyError, Complete, Disconnected};

use crate::{
    At, Exchange, GET, HEAD, Incoming, answer,
    common::{
        End, Huge, Size,
        Step::{Data, Error, Trailers},
        Told, Watch,
    },
    frames,
};

// A false end.

#[test]
fn data_after_an_end_claimed_at_the_head_is_handed_on_and_not_told() {
    for size in [Size::Unknown, Size::Exact, Size::Claimed(0)] {
        Exchange {
            steps: &[Data(3), Data(2), Trailers],
            polls: 4,
            ..GET
        }
        .ends_with((size, End::Claimed), At::Head, Complete);
    }
}

#[test]
fn error_after_an_end_claimed_at_the_head_is_handed_on_and_not_told() {
    Exchange {
        steps: &[Error],
        polls: 2,
        ..GET
    }
    .ends_with((Size::Unknown, End::Claimed), At::Head, Complete);
}

/// Says that it is over when one of its three frames has come.
struct Early(usize);

impl Body for Early {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0 += 1;
        Poll::Ready((self.0 <= 3).then(|| Ok(Frame::data(Bytes::from_static(b"x")))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 > 0
    }
}

#[test]
fn data_after_an_end_claimed_mid_stream_is_handed_on_and_not_told() {
    let watch = Watch::default();
    let mut body = answer(&watch, Incoming::default(), Response::new(Early(0))).into_body();
    assert_eq!(frames(&mut body, 5), frames(&mut Early(0), 5));
    drop(body);
    assert_eq!(
        watch.told(),
        [
            Told::Response(StatusCode::OK),
            Told::Data(1),
            Told::End(Complete)
        ]
    );
}

// A false size.

#[test]
fn more_bytes_than_the_exact_size_are_told() {
    for (size, outcome) in [
        (Size::Claimed(0), Complete),
        (Size::Claimed(2), Complete),
        (Size::Claimed(3), Complete),
        (Size::Claimed(4), Complete),
        (Size::Claimed(7), Complete),
        (Size::Claimed(8), Disconnected),
    ] {
        Exchange {
            steps: &[Data(3), Data(4), Data(1)],
            polls: 2,
            told: &[Told::Data(3), Told::Data(4)],
            ..GET
        }
        .ends_with((size, End::Hidden), At::Drop, outcome);
    }
}

#[test]
fn more_bytes_than_the_exact_size_still_end_with_none() {
    Exchange {
        steps: &[Data(7), Data(7)],
        polls: 3,
        told: &[Told::Data(7), Told::Data(7)],
        ..GET
    }
    .ends_with((Size::Claimed(3), End::Hidden), At::Poll(3), Complete);
}

#[test]
fn error_after_more_bytes_than_the_exact_size_is_a_body_error() {
    Exchange {
        steps: &[Data(7), Error],
        polls: 2,
        told: &[Told::Data(7)],
        ..GET
    }
    .ends_with((Size::Claimed(3), End::Hidden), At::Poll(2), BodyError);
}

#[test]
fn fewer_bytes_than_the_exact_size_are_disconnected_unless_none_comes() {
    for claimed in [4, 1 << 32, u64::MAX] {
        let exchange = Exchange {
            steps: &[Data(3)],
            polls: 1,
            told: &[Told::Data(3)],
            ..GET
        };
        let size = Size::Claimed(claimed);
        exchange.ends_with((size, End::Hidden), At::Drop, Disconnected);
        exchange.ends_with((size, End::Shown), At::Poll(1), Complete);
        Exchange {
            polls: 2,
            ..exchange
        }
        .ends_with((size, End::Hidden), At::Poll(2), Complete);
    }
}

// A false content-length.

#[test]
fn content_length_counts_only_if_it_is_a_number() {
    for (content_length, outcome) in [
        ("0", Complete),
        ("4", Complete),
        ("5", Complete),
        ("005", Complete),
        ("00000000000000000000000000000005", Complete),
        ("6", Disconnected),
        ("18446744073709551615", Disconnected),
        // Not one number of 64 bits: as if it were not there.
        ("18446744073709551616", Disconnected),
        ("99999999999999999999999999999999", Disconnected),
        ("+5", Disconnected),
        ("-5", Disconnected),
        ("5, 5", Disconnected),
        ("5,", Disconnected),
        ("", Disconnected),
        (" ", Disconnected),
        ("5 ", Disconnected),
        ("5.0", Disconnected),
        ("0x5", Disconnected),
        ("5e0", Disconnected),
        ("five", Disconnected),
        ("\u{665}", Disconnected),
        ("5\u{b2}", Disconnected),
    ] {
        Exchange {
            content_length: Some(content_length.as_bytes()),
            steps: &[Data(5)],
            polls: 1,
            told: &[Told::Data(5)],
            ..GET
        }
        .ends_with((Size::Unknown, End::Hidden), At::Drop, outcome);
    }
}

#[test]
fn content_length_that_is_not_utf8_is_ignored() {
    for content_length in [b"\xb5".as_slice(), b"5\xff", b"\xff5"] {
        let exchange = Exchange {
            content_length: Some(content_length),
            steps: &[Data(5)],
            polls: 1,
            told: &[Told::Data(5)],
            ..GET
        };
        exchange.ends_with((Size::Unknown, End::Hidden), At::Drop, Disconnected);
        exchange.ends_with((Size::Exact, End::Hidden), At::Drop, Complete);
    }
}

#[test]
fn content_length_and_exact_size_that_disagree_are_reached_with_the_lesser() {
    for (content_length, claimed, outcome) in [
        (b"5".as_slice(), 9, Complete),
        (b"9", 5, Complete),
        (b"0", 9, Complete),
        (b"9", 0, Complete),
        (b"18446744073709551615", 5, Complete),
        (b"5", u64::MAX, Complete),
        (b"+5", 9, Disconnected),
        (b"6", 9, Disconnected),
        (b"9", 6, Disconnected),
    ] {
        Exchange {
            content_length: Some(content_length),
            steps: &[Data(2), Data(3), Data(4)],
            polls: 2,
            told: &[Told::Data(2), Told::Data(3)],
            ..GET
        }
        .ends_with((Size::Claimed(claimed), End::Hidden), At::Drop, outcome);
    }
}

#[test]
fn more_bytes_than_the_content_length_still_end_with_none() {
    for content_length in [b"0".as_slice(), b"1", b"3", b"4"] {
        Exchange {
            content_length: Some(content_length),
            steps: &[Data(3), Data(2)],
            polls: 3,
            told: &[Told::Data(3), Told::Data(2)],
            ..GET
        }
        .ends([
            (At::Poll(3), Complete),
            (At::Poll(2), Complete),
            (At::Poll(3), Complete),
            (At::Poll(2), Complete),
        ]);
    }
}

#[test]
fn fewer_bytes_than_the_content_length_are_disconnected_unless_none_comes() {
    for content_length in [b"6".as_slice(), b"18446744073709551615"] {
        let exchange = Exchange {
            content_length: Some(content_length),
            steps: &[Data(3), Data(2)],
            polls: 2,
            told: &[Told::Data(3), Told::Data(2)],
            ..GET
        };
        exchange.ends_with((Size::Unknown, End::Hidden), At::Drop, Disconnected);
        Exchange {
            polls: 3,
            ..exchange
        }
        .ends_with((Size::Unknown, End::Hidden), At::Poll(3), Complete);
    }
}

#[test]
fn response_to_head_may_announce_what_it_likes() {
    for size in [Size::Unknown, Size::Claimed(0), Size::Claimed(u64::MAX)] {
        Exchange {
            content_length: Some(b"18446744073709551615"),
            steps: &[Data(5), Data(5)],
            polls: 1,
            told: &[Told::Data(5)],
            ..HEAD
        }
        .ends_with((size, End::Hidden), At::Drop, Complete);
    }
}

// A false length.

/// Yields as many frames of [`Huge`].
struct Hoard {
    frames: usize,
    size: SizeHint,
}

impl Body for Hoard {
    type Data = Huge;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Huge>, Infallible>>> {
        Poll::Ready(self.frames.checked_sub(1).map(|frames| {
            self.frames = frames;
            Ok(Frame::data(Huge))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

#[test]
fn frames_of_absurd_length_do_not_overflow() {
    let exact = SizeHint::with_exact;
    for (content_length, size, polls, outcome) in [
        (None, SizeHint::default(), 3, Disconnected),
        (None, SizeHint::default(), 4, Complete),
        (None, exact(0), 3, Complete),
        (None, exact(5), 3, Complete),
        (None, exact(u64::MAX), 3, Complete),
        (None, exact(u64::MAX), 4, Complete),
        (Some("5"), SizeHint::default(), 3, Complete),
        (
            Some("18446744073709551615"),
            SizeHint::default(),
            3,
            Complete,
        ),
        (Some("18446744073709551615"), exact(u64::MAX), 3, Complete),
    ] {
        hoard(content_length, size, polls, outcome);
    }
}

#[track_caller]
fn hoard(content_length: Option<&str>, size: SizeHint, polls: usize, outcome: Outcome) {
    let context = format!("{content_length:?}, {size:?}, {polls} polls");
    let watch = Watch::default();
    let mut response = Response::new(Hoard { frames: 3, size });
    if let Some(value) = content_length {
        let value = HeaderValue::from_str(value).unwrap();
        response.headers_mut().insert(CONTENT_LENGTH, value);
    }
    let mut body = answer(&watch, Incoming::default(), response).into_body();
    for poll in 1..=polls {
        let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(frame) = polled else {
            unreachable!("it is never pending");
        };
        assert_eq!(frame.is_some(), poll <= 3, "{context}");
    }
    drop(body);
    assert_eq!(
        watch.told(),
        [
            Told::Response(StatusCode::OK),
            Told::Data(usize::MAX),
            Told::Data(usize::MAX),
            Told::Data(usize::MAX),
            Told::End(outcome),
        ],
        "{context}"
    );
}
