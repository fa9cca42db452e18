//! What is dropped. The function is one table.

use std::mem;

use super::Hostile;
use crate::saboteur::{Stream, breaks_all};

pub(super) fn drops() -> Vec<Hostile> {
    // They are dropped with the future, when that has answered.
    let before_the_head = [
        "call.once",
        "service.error",
        "head.at_once",
        "drop.future_unpolled",
        "drop.future",
    ];
    let futures = ["drop.future_unpolled", "drop.future"];
    let bodies = ["drop.body_unpolled", "drop.body", "drop.body_pending"];
    let uploads = ["request_body.dropped", "drop.future_unpolled"];
    vec![
        Hostile::new(
            breaks_all(before_the_head, "panics when its future is dropped")
                .reply_drop(|_| panic!("hostile")),
            55,
            "drop.future",
            "panic: hostile",
        ),
        Hostile::new(
            breaks_all(bodies, "panics when its body is dropped")
                .download_drop(|_| panic!("hostile")),
            0,
            "drop.body",
            "panic: hostile",
        ),
        Hostile::new(
            breaks_all(before_the_head, "panics when its upload is dropped")
                .upload_drop(|_| panic!("hostile")),
            56,
            "drop.future_unpolled",
            "panic: hostile",
        ),
        Hostile::new(
            breaks_all([], "panics when it is dropped").service_drop(|_| panic!("hostile")),
            85,
            "call.once",
            "the layer panicked: hostile",
        ),
        Hostile::new(
            breaks_all(futures, "leaks its future")
                .reply_drop(|reply| mem::forget(reply.inner.take())),
            0,
            "drop.future",
            "kept",
        ),
        Hostile::new(
            breaks_all(bodies, "leaks its body").download_drop(Stream::keep),
            0,
            "drop.body",
            "kept",
        ),
        Hostile::new(
            breaks_all(uploads, "leaks its upload").upload_drop(Stream::keep),
            0,
            "request_body.dropped",
            "unread: kept, begun: kept",
        ),
    ]
}
