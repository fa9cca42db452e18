//! What is done with the body of the request. The function is one table.

use bytes::Bytes;

use super::{Hostile, poll_on};
use crate::saboteur::{Got, breaks, breaks_all};

pub(super) fn uploads() -> Vec<Hostile> {
    vec![
        Hostile::new(
            breaks_all(
                [
                    "request_body.frames",
                    "request_body.content",
                    "request_body.at_once",
                    "request_body.trailers",
                    "request_body.size_hint",
                    "request_body.end_stream",
                    "request_body.error",
                    "request_body.after_end",
                ],
                "panics when a frame of an upload is asked for",
            )
            .upload(|_, _| panic!("hostile")),
            3,
            "request_body.after_end",
            "panic: hostile, panic: hostile",
        ),
        Hostile::new(
            breaks("request_body.at_once", "never gives a frame of an upload")
                .upload(|_, _| Got::Pending),
            13,
            "request_body.at_once",
            "nothing; late",
        ),
        Hostile::new(
            breaks(
                "request_body.at_once",
                "never gives a frame of an upload, and always wakes",
            )
            .upload(|_, cx| {
                cx.waker().wake_by_ref();
                Got::Pending
            }),
            13,
            "request_body.at_once",
            "nothing; late",
        ),
        Hostile::new(
            breaks_all(
                [
                    "request_body.frames",
                    "request_body.content",
                    "request_body.no_copy",
                    "request_body.at_once",
                    "request_body.trailers",
                    "request_body.size_hint",
                    "request_body.end_stream",
                    "request_body.error",
                    "request_body.after_end",
                ],
                "gives data of an upload for ever",
            )
            .upload(|_, _| Got::Data(Bytes::from_static(b"more"))),
            3,
            "request_body.after_end",
            "4 B, 4 B",
        ),
        Hostile::new(
            breaks_all(
                ["request_body.at_once", "request_body.idle"],
                "polls until there is a frame of an upload",
            )
            .upload(poll_on),
            1,
            "request_body.at_once",
            "9 B, panic: polled 1000 times: the layer seems to poll on and on, \
             panic: polled 1000 times: the layer seems to poll on and on",
        ),
    ]
}
