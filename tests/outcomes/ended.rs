//! Bodies that are polled to their end, and after it.

use std::sync::{Arc, atomic::Ordering};

use http::Response;
use tower_passthrough::observe::Outcome::{BodyError, Complete};

use crate::{
    At, Exchange, GET, Incoming, answer,
    common::{
        End, Script, Size,
        Step::{Data, Error, Pending, Trailers},
        Told, Watch,
    },
    frames,
};

#[test]
fn none_is_complete() {
    Exchange {
        steps: &[Data(3), Pending, Data(2)],
        polls: 4,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .ends([
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
    ]);
}

#[test]
fn none_at_the_first_poll_is_complete() {
    Exchange { polls: 1, ..GET }.ends([
        (At::Poll(1), Complete),
        (At::Head, Complete),
        (At::Poll(1), Complete),
        (At::Head, Complete),
    ]);
}

#[test]
fn none_after_pending_is_complete() {
    Exchange {
        steps: &[Data(5), Pending],
        polls: 3,
        told: &[Told::Data(5)],
        ..GET
    }
    .always_ends(At::Poll(3), Complete);
}

#[test]
fn trailers_are_complete() {
    Exchange {
        steps: &[Data(3), Pending, Trailers],
        polls: 3,
        told: &[Told::Data(3), Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(3), Complete);
}

#[test]
fn trailers_without_data_are_complete() {
    Exchange {
        steps: &[Trailers],
        polls: 1,
        told: &[Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(1), Complete);
}

#[test]
fn trailers_after_the_content_length_are_told() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(3), Data(2), Trailers],
        polls: 3,
        told: &[Told::Data(3), Told::Data(2), Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(3), Complete);
}

#[test]
fn error_is_a_body_error() {
    Exchange {
        steps: &[Data(3), Pending, Error],
        polls: 3,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Poll(3), BodyError);
}

#[test]
fn error_before_first_frame_is_a_body_error() {
    Exchange {
        steps: &[Error, Data(5)],
        polls: 1,
        ..GET
    }
    .always_ends(At::Poll(1), BodyError);
}

#[test]
fn error_after_the_content_length_is_a_body_error() {
    Exchange {
        content_length: Some(b"3"),
        steps: &[Data(3), Error],
        polls: 2,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Poll(2), BodyError);
}

#[test]
fn what_comes_after_the_end_is_handed_on_and_not_told() {
    Exchange {
        steps: &[Data(3), Error, Data(2), Pending, Trailers],
        polls: 8,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Poll(2), BodyError);
    Exchange {
        steps: &[Data(3), Trailers, Data(2), Error],
        polls: 6,
        told: &[Told::Data(3), Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(2), Complete);
}

#[test]
fn polls_after_the_end_reach_the_body_one_for_one() {
    for steps in [&[Data(3)], &[Error]] {
        for polls in 0..6 {
            let mut bare = Script::new(steps.clone(), Size::Exact, End::Shown);
            let script = Script::new(steps.clone(), Size::Exact, End::Shown);
            let after_end = Arc::clone(&script.polls_after_end);
            let watch = Watch::default();
            let mut body = answer(&watch, Incoming::default(), Response::new(script)).into_body();

            assert_eq!(frames(&mut body, polls), frames(&mut bare, polls));
            assert_eq!(
                after_end.load(Ordering::SeqCst),
                bare.polls_after_end.load(Ordering::SeqCst),
                "{polls} polls of {steps:?}"
            );
            drop(body);
            assert_eq!(watch.outcomes().len(), 1, "{polls} polls of {steps:?}");
        }
    }
}
