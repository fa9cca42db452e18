//! Faults on the way in: bodies of requests. Each function is one table.

use std::task::Context;

use bytes::Bytes;
use http_body::{Body, SizeHint};

use super::tools::{changed, doubled, failure, keep_text, late, merged, nobody, shouted, split};
use crate::saboteur::{Got, Saboteur, Stream, breaks};

pub(super) fn all() -> Vec<Saboteur> {
    [frames(), polls(), hints(), ends()].concat()
}

fn frames() -> Vec<Saboteur> {
    vec![
        breaks("request_body.frames", "splits the third frame of an upload").upload(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if body.frames == 2 => split(body, data),
                got => got,
            }
        }),
        breaks("request_body.frames", "merges the third frame of an upload").upload(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if body.frames == 2 => merged(body, data, cx),
                got => got,
            }
        }),
        breaks("request_body.frames", "loses empty frames of an upload").upload(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if data.is_empty() => body.ask(cx),
                got => got,
            }
        }),
        breaks("request_body.frames", "doubles empty frames of an upload").upload(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if data.is_empty() => doubled(body, data),
                got => got,
            }
        }),
        breaks("request_body.frames", "panics at empty frames of an upload").upload(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if data.is_empty() => panic!("sabotage"),
                got => got,
            }
        }),
        breaks(
            "request_body.frames",
            "splits frames of an upload of more than 64 KiB",
        )
        .upload(|body, cx| match body.ask(cx) {
            Got::Data(data) if data.len() > 1 << 16 => split(body, data),
            got => got,
        }),
        breaks("request_body.content", "changes an upload where it lies").upload(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if !data.is_empty() => Got::Data(shouted(data)),
                got => got,
            }
        }),
        breaks("request_body.no_copy", "copies an upload").upload(|body, cx| {
            body.ask(cx)
                .on_data(|data| Got::Data(Bytes::copy_from_slice(&data)))
        }),
        breaks(
            "request_body.trailers",
            "loses trailers that are all of an upload",
        )
        .upload(|body, cx| match body.ask(cx) {
            Got::Trailers(_) if body.frames == 0 => Got::End,
            got => got,
        }),
        breaks("request_body.trailers", "changes a trailer of a request").upload(|body, cx| {
            body.ask(cx)
                .on_trailers(|trailers| changed(trailers, "grpc-status"))
        }),
        breaks("request_body.trailers", "ends an upload at its trailers")
            .upload(|body, cx| body.ask(cx).on_trailers(|_| Got::End)),
        breaks(
            "request_body.trailers",
            "keeps only request trailers that are text",
        )
        .upload(|body, cx| {
            body.ask(cx).on_trailers(|mut trailers| {
                keep_text(&mut trailers);
                Got::Trailers(trailers)
            })
        }),
        breaks(
            "request_body.trailers",
            "fails at the trailers of an upload",
        )
        .upload(|body, cx| body.ask(cx).on_trailers(|_| failure())),
    ]
}

fn polls() -> Vec<Saboteur> {
    vec![
        breaks("request_body.at_once", "holds an upload back after a pause").upload(|body, cx| {
            let goes_on = body.is_paused;
            late(body, cx, |got| goes_on && matches!(got, Got::Data(_)))
        }),
        breaks("request_body.at_once", "holds the end of an upload back").upload(|body, cx| {
            let is_over = body.is_over;
            late(body, cx, |got| !is_over && matches!(got, Got::End))
        }),
        breaks("request_body.at_once", "ends an upload when it pauses").upload(
            |body, cx| match body.ask(cx) {
                Got::Pending if body.frames > 0 => Got::End,
                got => got,
            },
        ),
        breaks(
            "request_body.at_once",
            "breaks off an upload when it pauses",
        )
        .upload(|body, cx| match body.ask(cx) {
            Got::Pending if body.frames > 0 => failure(),
            got => got,
        }),
        breaks(
            "request_body.unread",
            "reads an upload before the service does",
        )
        .request(|request| {
            if !request.body().is_end_stream() && request.body().left().is_none() {
                request.body_mut().take_ahead(&mut nobody());
            }
        }),
        breaks(
            "request_body.unread",
            "reads what the service leaves of an upload",
        )
        .upload_drop(|body| drop(body.ask(&mut nobody()))),
        breaks("request_body.read_ahead", "reads on in an upload").upload(|body, cx| {
            let got = body.ask(cx);
            if let Got::Data(_) = got {
                body.take_ahead(cx);
            }
            got
        }),
        breaks(
            "request_body.idle",
            "asks to be polled while an upload waits",
        )
        .upload(|body, cx| {
            let got = body.ask(cx);
            if let Got::Pending = got {
                cx.waker().wake_by_ref();
            }
            got
        }),
        breaks("request_body.waker", "polls an upload for nobody")
            .upload(|body, _| body.ask(&mut nobody())),
        breaks(
            "request_body.waker",
            "polls an upload for nobody once it flows",
        )
        .upload(|body, cx| match body.frames {
            0 => body.ask(cx),
            _ => body.ask(&mut nobody()),
        }),
        breaks("request_body.waker", "wakes who polled an upload first").upload(|body, cx| {
            let first = body.first_waker(cx);
            body.ask(&mut Context::from_waker(&first))
        }),
    ]
}

fn hints() -> Vec<Saboteur> {
    vec![
        breaks("request_body.size_hint", "hides the size of an upload")
            .upload_size(|_| SizeHint::default()),
        breaks(
            "request_body.size_hint",
            "says the first size of an upload again and again",
        )
        .upload_size(|body| body.first_size),
        breaks(
            "request_body.size_hint",
            "takes an upload of unknown size for an empty one",
        )
        .upload_size(|body| SizeHint::with_exact(body.left().unwrap_or(0))),
        breaks(
            "request_body.size_hint",
            "panics when asked for the size of half an upload",
        )
        .upload_size(|body| {
            assert!(body.frames == 0);
            body.ask_size()
        }),
        breaks("request_body.end_stream", "hides the end of an upload").upload_end(|_| false),
        breaks(
            "request_body.end_stream",
            "says of each upload that it is over",
        )
        .upload_end(|_| true),
        breaks("request_body.end_stream", "hides that there is no upload")
            .upload_end(|body| body.polls > 0 && body.ask_end()),
        breaks(
            "request_body.end_stream",
            "takes the last byte of an upload for its end",
        )
        .upload_end(|body| body.left() == Some(0) || body.ask_end()),
        breaks(
            "request_body.end_stream",
            "panics when asked for the end of half an upload",
        )
        .upload_end(|body| {
            assert!(body.frames == 0);
            body.ask_end()
        }),
    ]
}

fn ends() -> Vec<Saboteur> {
    vec![
        breaks(
            "request_body.error",
            "takes an upload that broke off for a whole one",
        )
        .upload(|body, cx| body.ask(cx).on_error(|_| Got::End))
        .hides(&["request_body.error_source"]),
        breaks("request_body.error", "never ends an upload that broke off")
            .upload(|body, cx| body.ask(cx).on_error(|_| Got::Pending))
            .hides(&["request_body.error_source"]),
        breaks("request_body.error", "panics when an upload breaks off")
            .upload(|body, cx| body.ask(cx).on_error(|_| panic!("sabotage")))
            .hides(&["request_body.error_source"]),
        breaks(
            "request_body.error_source",
            "replaces the error of an upload",
        )
        .upload(|body, cx| body.ask(cx).on_error(|_| failure())),
        breaks(
            "request_body.after_end",
            "panics after the end of an upload",
        )
        .upload(|body, cx| {
            assert!(!body.is_over);
            body.ask(cx)
        }),
        breaks("request_body.after_end", "never ends an upload twice").upload(|body, cx| {
            if body.is_over {
                Got::Pending
            } else {
                body.ask(cx)
            }
        }),
        breaks(
            "request_body.after_end",
            "gives data after the end of an upload",
        )
        .upload(|body, cx| {
            if body.is_over {
                Got::Data(Bytes::from_static(b"more"))
            } else {
                body.ask(cx)
            }
        }),
        breaks(
            "request_body.dropped",
            "keeps an upload until there is a response",
        )
        .upload_drop(Stream::hand_back),
        breaks("request_body.dropped", "keeps an upload that was begun").upload_drop(|body| {
            if body.frames > 0 {
                body.hand_back();
            }
        }),
        breaks("request_body.dropped", "keeps an upload that nobody reads").upload_drop(|body| {
            if body.polls == 0 {
                body.hand_back();
            }
        }),
    ]
}
