//! Faults that cannot but break several things at once. Each function is one table.

use std::task::Poll;

use http_body::{Body, SizeHint};

use super::tools::{merged, one_frame_behind, wake_who_polled_first};
use crate::saboteur::{Got, Saboteur, breaks_all};

pub(super) fn all() -> Vec<Saboteur> {
    [guesses(), disorders()].concat()
}

/// What is forgotten, or guessed, about hints and trailers.
fn guesses() -> Vec<Saboteur> {
    vec![
        breaks_all(
            [
                "size_hint.before",
                "size_hint.during",
                "size_hint.after",
                "size_hint.bounds",
                "size_hint.empty",
                "size_hint.to_head",
            ],
            "leaves size_hint at its default",
        )
        .download_size(|_| SizeHint::default()),
        breaks_all(
            [
                "end_stream.empty",
                "end_stream.last_frame",
                "end_stream.after",
            ],
            "leaves is_end_stream at its default",
        )
        .download_end(|_| false),
        breaks_all(
            [
                "end_stream.before_trailers",
                "end_stream.before_error",
                "end_stream.hidden",
            ],
            "takes the last byte of a known size for the end",
        )
        .download_end(|body| body.left() == Some(0) || body.ask_end()),
        breaks_all(
            [
                "trailers.after_data",
                "trailers.alone",
                "trailers.after_exact_size",
            ],
            "takes trailers for the end",
        )
        .download(|body, cx| body.ask(cx).on_trailers(|_| Got::End)),
    ]
}

/// What comes in another order, or at another time.
fn disorders() -> Vec<Saboteur> {
    vec![
        breaks_all(
            ["frames.boundaries", "polls.read_ahead"],
            "merges frames of 11 B with the next",
        )
        .download(|body, cx| match body.ask(cx) {
            Got::Data(data) if data.len() == 11 => merged(body, data, cx),
            got => got,
        }),
        breaks_all(
            ["errors.order", "polls.read_ahead"],
            "lets an error overtake the frame before it",
        )
        .download(|body, cx| {
            let got = body.ask(cx);
            if body.frames == 0 || body.left().is_some() || !matches!(got, Got::Data(_)) {
                return got;
            }
            body.take_ahead(cx);
            match body.ahead.take() {
                Some(Got::Failed(error)) => Got::Failed(error),
                ahead => {
                    body.ahead = ahead;
                    got
                }
            }
        }),
        breaks_all(
            ["frames.at_once", "polls.read_ahead"],
            "gives a frame when the next is there",
        )
        .download(one_frame_behind)
        .hides(&["frames.pending"]),
        breaks_all(
            ["request_body.at_once", "request_body.read_ahead"],
            "gives a frame of an upload when the next is there",
        )
        .upload(one_frame_behind)
        .hides(&["request_body.dropped"]),
        breaks_all(
            ["request_body.trailers", "request_body.end_stream"],
            "ends an upload when its bytes are out",
        )
        .upload(|body, cx| {
            if body.left() == Some(0) {
                Got::End
            } else {
                body.ask(cx)
            }
        }),
        breaks_all(
            ["request_body.waker", "wakers.future_new"],
            "wakes who polled a call first",
        )
        .reply(wake_who_polled_first),
        breaks_all(
            ["head.at_once", "polls.before_asked"],
            "waits for the first frame before it gives the head",
        )
        .reply(|reply, cx| {
            let mut polled = reply.ask(cx);
            let Poll::Ready(Ok(response)) = &mut polled else {
                return polled;
            };
            if response.body().is_end_stream() {
                return polled;
            }
            response.body_mut().take_ahead(cx);
            if response.body().ahead.is_some() {
                return polled;
            }
            if let Poll::Ready(Ok(response)) = polled {
                reply.held = Some(response);
            }
            Poll::Pending
        })
        .hides(&[
            "frames.pending",
            "wakers.body",
            "wakers.body_new",
            "wakers.body_idle",
        ]),
    ]
}
