//! Bodies that have nothing to give by their head or by what they say of themselves, polled or not.

use http::StatusCode;
use tower_passthrough::observe::Outcome::{BodyError, Complete, Disconnected};

use crate::{
    At, Exchange, GET, HEAD,
    common::{
        Step::{Data, Error, Pending, Trailers},
        Told,
    },
};

#[test]
fn response_to_head_that_is_never_polled_is_complete() {
    for content_length in [None, Some(b"5".as_slice()), Some(b"7"), Some(b"0")] {
        Exchange {
            content_length,
            steps: &[Data(5)],
            ..HEAD
        }
        .always_ends(At::Drop, Complete);
    }
}

#[test]
fn status_without_content_that_is_never_polled_is_complete() {
    for status in [103, 204, 304] {
        Exchange {
            status: StatusCode::from_u16(status).unwrap(),
            steps: &[Data(5)],
            ..GET
        }
        .always_ends(At::Drop, Complete);
    }
}

#[test]
fn status_with_content_that_is_never_polled_is_disconnected() {
    for status in [200, 203, 205, 206, 303, 305, 404, 500, 999] {
        Exchange {
            status: StatusCode::from_u16(status).unwrap(),
            steps: &[Data(5)],
            ..GET
        }
        .always_ends(At::Drop, Disconnected);
    }
}

#[test]
fn empty_body_that_is_never_polled_is_complete_if_it_says_that_it_is_empty() {
    GET.ends([
        (At::Drop, Disconnected),
        (At::Head, Complete),
        (At::Drop, Complete),
        (At::Head, Complete),
    ]);
}

#[test]
fn empty_body_that_is_never_polled_is_complete_if_the_head_says_that_it_is_empty() {
    Exchange {
        content_length: Some(b"0"),
        ..GET
    }
    .ends([
        (At::Drop, Complete),
        (At::Head, Complete),
        (At::Drop, Complete),
        (At::Head, Complete),
    ]);
}

#[test]
fn empty_answer_to_head_ends_at_the_head_if_it_says_that_it_is_empty() {
    HEAD.ends([
        (At::Drop, Complete),
        (At::Head, Complete),
        (At::Drop, Complete),
        (At::Head, Complete),
    ]);
}

#[test]
fn response_to_head_that_is_polled_once_is_complete() {
    Exchange {
        steps: &[Data(5)],
        polls: 1,
        told: &[Told::Data(5)],
        ..HEAD
    }
    .ends([
        (At::Drop, Complete),
        (At::Poll(1), Complete),
        (At::Drop, Complete),
        (At::Poll(1), Complete),
    ]);
}

#[test]
fn response_to_head_that_is_polled_to_its_end_is_complete() {
    Exchange {
        steps: &[Data(3), Pending, Data(2)],
        polls: 4,
        told: &[Told::Data(3), Told::Data(2)],
        ..HEAD
    }
    .ends([
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
    ]);
}

#[test]
fn response_to_head_that_is_pending_is_complete() {
    Exchange {
        steps: &[Pending, Data(5)],
        polls: 1,
        ..HEAD
    }
    .always_ends(At::Drop, Complete);
}

#[test]
fn response_to_head_whose_body_fails_is_a_body_error() {
    Exchange {
        steps: &[Data(5), Error],
        polls: 2,
        told: &[Told::Data(5)],
        ..HEAD
    }
    .always_ends(At::Poll(2), BodyError);
}

#[test]
fn status_without_content_that_is_polled_is_complete() {
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        Exchange {
            status,
            steps: &[Data(3), Data(2)],
            polls: 1,
            told: &[Told::Data(3)],
            ..GET
        }
        .always_ends(At::Drop, Complete);
        Exchange {
            status,
            steps: &[Data(3), Trailers],
            polls: 2,
            told: &[Told::Data(3), Told::Trailers],
            ..GET
        }
        .always_ends(At::Poll(2), Complete);
    }
}
