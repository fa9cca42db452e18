//! What is said of size and end. The function is one table.

use super::Hostile;
use crate::saboteur::{breaks, breaks_all};

pub(super) fn hints() -> Vec<Hostile> {
    let sizes = [
        "size_hint.before",
        "size_hint.during",
        "size_hint.after",
        "size_hint.bounds",
        "size_hint.unknown",
        "size_hint.empty",
        "size_hint.to_head",
    ];
    let ends = [
        "end_stream.empty",
        "end_stream.before",
        "end_stream.during",
        "end_stream.last_frame",
        "end_stream.before_trailers",
        "end_stream.before_error",
        "end_stream.hidden",
        "end_stream.after",
    ];
    vec![
        Hostile::new(
            breaks_all(sizes, "panics in size_hint").download_size(|_| panic!("hostile")),
            0,
            "size_hint.before",
            "panic: hostile",
        ),
        Hostile::new(
            breaks_all(ends, "panics in is_end_stream").download_end(|_| panic!("hostile")),
            0,
            "end_stream.before",
            "panic: hostile",
        ),
        Hostile::new(
            breaks("request_body.size_hint", "panics in an upload's size_hint")
                .upload_size(|_| panic!("hostile")),
            0,
            "request_body.size_hint",
            "panic: hostile, panic: hostile, panic: hostile; panic: hostile, panic: hostile; \
             panic: hostile, panic: hostile",
        ),
        Hostile::new(
            breaks(
                "request_body.end_stream",
                "panics in an upload's is_end_stream",
            )
            .upload_end(|_| panic!("hostile")),
            0,
            "request_body.end_stream",
            "panic: hostile, panic: hostile, panic: hostile; panic: hostile, panic: hostile; \
             panic: hostile, panic: hostile, panic: hostile",
        ),
    ]
}
