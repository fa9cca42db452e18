//! Faults in what the response's body says of itself. Each function is one table.

use std::task::Context;

use http::Method;
use http_body::SizeHint;

use super::tools::{at_least, at_most};
use crate::saboteur::{Got, Saboteur, Stream, breaks};

pub(super) fn all() -> Vec<Saboteur> {
    [sizes(), ends()].concat()
}

fn sizes() -> Vec<Saboteur> {
    vec![
        breaks("size_hint.before", "hides the size of what is to come").download_size(|body| {
            match body.left() {
                Some(1..) if body.polls == 0 && body.method != Method::HEAD => SizeHint::default(),
                _ => body.ask_size(),
            }
        }),
        breaks("size_hint.before", "promises a byte too much").download_size(|body| {
            match body.left() {
                Some(left @ 1..) if body.polls == 0 && body.method != Method::HEAD => {
                    SizeHint::with_exact(left + 1)
                }
                _ => body.ask_size(),
            }
        }),
        breaks("size_hint.during", "says the first size until the end").download_size(|body| {
            if body.is_over {
                body.ask_size()
            } else {
                body.first_size
            }
        }),
        breaks("size_hint.during", "hides the size of what is left").download_size(|body| {
            if body.frames > 0 && !body.is_over {
                SizeHint::default()
            } else {
                body.ask_size()
            }
        }),
        breaks("size_hint.during", "panics when asked for what is left").download_size(|body| {
            assert!(body.frames == 0 || body.is_over);
            body.ask_size()
        }),
        breaks("size_hint.after", "still promises bytes after the end").download_size(|body| {
            if body.is_over {
                body.first_size
            } else {
                body.ask_size()
            }
        }),
        breaks("size_hint.after", "knows no size after the end").download_size(|body| {
            if body.is_over {
                SizeHint::default()
            } else {
                body.ask_size()
            }
        }),
        breaks("size_hint.bounds", "hides sizes that are not exact").download_size(
            |body| match body.left() {
                Some(_) => body.ask_size(),
                None => SizeHint::default(),
            },
        ),
        breaks("size_hint.bounds", "hides the lower bound").download_size(|body| {
            match (body.left(), body.ask_size().upper()) {
                (None, Some(upper)) => at_most(upper),
                _ => body.ask_size(),
            }
        }),
        breaks("size_hint.bounds", "takes the upper bound for the size").download_size(|body| {
            match body.ask_size().upper() {
                Some(upper) => SizeHint::with_exact(upper),
                None => body.ask_size(),
            }
        }),
        breaks("size_hint.unknown", "takes a stream for an empty body").download_size(|body| {
            match body.ask_size().upper() {
                Some(_) => body.ask_size(),
                None => SizeHint::with_exact(0),
            }
        }),
        breaks("size_hint.unknown", "promises bytes of a stream").download_size(|body| match body
            .ask_size()
            .upper()
        {
            Some(_) => body.ask_size(),
            None => at_least(1),
        }),
        breaks("size_hint.empty", "hides that a body is empty").download_size(|body| {
            match body.left() {
                Some(0) if body.polls == 0 => SizeHint::default(),
                _ => body.ask_size(),
            }
        }),
        breaks("size_hint.to_head", "hides the size from HEAD").download_size(|body| {
            if body.method == Method::HEAD {
                SizeHint::default()
            } else {
                body.ask_size()
            }
        }),
        breaks("size_hint.to_head", "empties responses to HEAD").download_size(|body| {
            if body.method == Method::HEAD {
                SizeHint::with_exact(0)
            } else {
                body.ask_size()
            }
        }),
    ]
}

fn ends() -> Vec<Saboteur> {
    /// Knows what follows the last byte, and says that nothing does.
    fn read_on_after_the_last_byte(body: &mut Stream, cx: &mut Context<'_>) -> Got {
        let got = body.ask(cx);
        if matches!(got, Got::Data(_)) && body.left() == Some(0) {
            body.take_ahead(cx);
        }
        got
    }

    vec![
        breaks("end_stream.empty", "is never over before the first poll")
            .download_end(|body| body.polls > 0 && body.ask_end()),
        breaks("end_stream.before", "is over before the first poll")
            .download_end(|body| body.polls == 0 || body.ask_end()),
        breaks("end_stream.during", "is over after one frame of a stream")
            .download_end(|body| body.frames == 1 && body.left().is_none() || body.ask_end()),
        breaks(
            "end_stream.during",
            "panics when asked for the end in mid-stream",
        )
        .download_end(|body| {
            assert!(body.frames != 1 || body.left().is_some() || body.is_over);
            body.ask_end()
        }),
        breaks("end_stream.last_frame", "hides the end until it was polled")
            .download_end(|body| body.ask_end() && (body.frames == 0 || body.is_over)),
        breaks(
            "end_stream.before_trailers",
            "is over when trailers are left",
        )
        .download(read_on_after_the_last_byte)
        .download_end(|body| matches!(body.ahead, Some(Got::Trailers(_))) || body.ask_end()),
        breaks("end_stream.before_error", "is over when an error is left")
            .download(read_on_after_the_last_byte)
            .download_end(|body| matches!(body.ahead, Some(Got::Failed(_))) || body.ask_end()),
        breaks("end_stream.hidden", "finds out the end")
            .download(read_on_after_the_last_byte)
            .download_end(|body| matches!(body.ahead, Some(Got::End)) || body.ask_end()),
        breaks("end_stream.after", "is not over after the end")
            .download_end(|body| body.ask_end() && !body.is_over),
    ]
}
