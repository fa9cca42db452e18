//! Bodies that are dropped: mid-stream, and when all that was announced had been handed over.

use tower_passthrough::observe::Outcome::{Complete, Disconnected};

use crate::{
    At, Exchange, GET,
    common::{
        Step::{Data, Pending, Trailers},
        Told,
    },
};

#[test]
fn drop_before_first_frame_is_disconnected() {
    Exchange {
        steps: &[Data(3), Data(2)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_after_first_frame_is_disconnected() {
    Exchange {
        steps: &[Data(3), Data(2)],
        polls: 1,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_while_pending_before_first_frame_is_disconnected() {
    Exchange {
        steps: &[Pending, Data(5)],
        polls: 1,
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_while_pending_after_first_frame_is_disconnected() {
    Exchange {
        steps: &[Data(3), Pending, Data(2)],
        polls: 2,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_after_an_empty_frame_is_disconnected() {
    Exchange {
        steps: &[Data(0), Data(5)],
        polls: 1,
        told: &[Told::Data(0)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_one_byte_short_of_the_content_length_is_disconnected() {
    Exchange {
        content_length: Some(b"6"),
        steps: &[Data(3), Data(2), Data(1)],
        polls: 2,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_after_the_content_length_is_complete() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(3), Pending, Data(2)],
        polls: 3,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .ends([
        (At::Drop, Complete),
        (At::Poll(3), Complete),
        (At::Drop, Complete),
        (At::Poll(3), Complete),
    ]);
}

#[test]
fn drop_after_the_exact_size_is_complete() {
    Exchange {
        steps: &[Data(3), Data(2)],
        polls: 2,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .ends([
        // Nothing tells this one from a client that left.
        (At::Drop, Disconnected),
        (At::Poll(2), Complete),
        (At::Drop, Complete),
        (At::Poll(2), Complete),
    ]);
}

#[test]
fn drop_between_the_content_length_and_the_trailers_is_complete() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(3), Data(2), Trailers],
        polls: 2,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .always_ends(At::Drop, Complete);
}

#[test]
fn drop_while_pending_after_the_content_length_is_complete() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(5), Pending, Trailers],
        polls: 2,
        told: &[Told::Data(5)],
        ..GET
    }
    .always_ends(At::Drop, Complete);
}
