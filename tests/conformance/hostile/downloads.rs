//! What is done with the body of the response. Each function is one table.

use std::panic::panic_any;

use bytes::Bytes;
use http::HeaderMap;

use super::{Hostile, poll_on};
use crate::saboteur::{Foreign, Got, breaks_all};

const NO_FRAME: [&str; 10] = [
    "frames.boundaries",
    "frames.empty",
    "frames.large",
    "frames.many",
    "frames.of_failures",
    "frames.content",
    "trailers.after_data",
    "trailers.alone",
    "trailers.after_exact_size",
    "polls.end_again",
];

pub(super) fn downloads() -> Vec<Hostile> {
    let barren = |how| breaks_all(NO_FRAME, how);
    vec![
        Hostile::new(
            barren("panics when a frame is asked for").download(|_, _| panic!("hostile")),
            23,
            "frames.boundaries",
            "panic: hostile",
        ),
        Hostile::new(
            barren("panics with a number when a frame is asked for").download(|_, _| panic_any(42)),
            23,
            "frames.boundaries",
            "panic: not a text",
        ),
        Hostile::new(
            barren("never gives a frame").download(|_, _| Got::Pending),
            23,
            "frames.boundaries",
            "pending",
        ),
        Hostile::new(
            barren("never gives a frame, and always wakes").download(|_, cx| {
                cx.waker().wake_by_ref();
                Got::Pending
            }),
            23,
            "frames.boundaries",
            "pending",
        ),
        Hostile::new(
            barren("always fails").download(|_, _| Got::Failed(Foreign.into())),
            23,
            "frames.boundaries",
            "error",
        ),
    ]
}

pub(super) fn endless() -> Vec<Hostile> {
    vec![
        Hostile::new(
            breaks_all(
                [
                    "frames.boundaries",
                    "frames.empty",
                    "frames.large",
                    "frames.many",
                    "frames.of_failures",
                    "frames.content",
                    "trailers.after_data",
                    "polls.end_again",
                ],
                "gives trailers for ever",
            )
            .download(|_, _| Got::Trailers(HeaderMap::new())),
            23,
            "polls.end_again",
            "trailers, trailers, trailers",
        ),
        Hostile::new(
            breaks_all(
                [
                    "frames.boundaries",
                    "frames.empty",
                    "frames.large",
                    "frames.many",
                    "frames.of_failures",
                    "frames.content",
                    "frames.pending",
                    "frames.no_copy",
                    "trailers.after_data",
                    "trailers.alone",
                    "trailers.after_exact_size",
                    "polls.end_again",
                    "size_hint.during",
                    "end_stream.last_frame",
                ],
                "gives data for ever",
            )
            .download(|_, _| Got::Data(Bytes::from_static(b"data: more\n\n"))),
            15,
            "polls.end_again",
            "12 B, 12 B, 12 B",
        ),
        Hostile::new(
            breaks_all(
                NO_FRAME
                    .into_iter()
                    .chain(["size_hint.during", "end_stream.last_frame"]),
                "gives empty frames for ever",
            )
            .download(|_, _| Got::Data(Bytes::new())),
            17,
            "frames.boundaries",
            "0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, \
             0 B, 0 B, 0 B, and so on",
        ),
        Hostile::new(
            breaks_all(
                ["frames.pending", "wakers.body_new", "wakers.body_idle"],
                "polls until there is a frame",
            )
            .download(poll_on),
            2,
            "wakers.body_idle",
            "panic: polled 1000 times: the layer seems to poll on and on",
        ),
    ]
}
