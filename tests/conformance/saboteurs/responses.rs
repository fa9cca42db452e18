//! Faults on the way out: heads, frames, trailers, errors, polls. Each function is one table.

use std::task::Poll;

use bytes::Bytes;
use http::{
    Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, UPGRADE},
};
use http_body::Body;

use super::tools::{
    change, changed, doubled, failure, is_tunnel, keep_one_value, keep_text, late, nobody, set,
    set_for_a_stream, shouted, split,
};
use crate::saboteur::{Foreign, Got, Saboteur, breaks};

pub(super) fn all() -> Vec<Saboteur> {
    [
        response_heads(),
        upgrades(),
        frames(),
        pauses(),
        trailers(),
        errors(),
        polls(),
    ]
    .concat()
}

fn response_heads() -> Vec<Saboteur> {
    vec![
        breaks("head.at_once", "gives the head one poll late").reply(|reply, cx| {
            let was_held = reply.held.is_some();
            match reply.ask(cx) {
                Poll::Ready(Ok(response)) if !was_held => {
                    reply.held = Some(response);
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                polled => polled,
            }
        }),
        breaks("head.status", "makes 200 of each success").response(|response| {
            if response.status().is_success() {
                *response.status_mut() = StatusCode::OK;
            }
        }),
        breaks("head.status", "makes 500 of each failure").response(|response| {
            if response.status().is_server_error() {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }),
        breaks(
            "head.status",
            "makes an error of a response that tells of one",
        )
        .reply(|reply, cx| match reply.ask(cx) {
            Poll::Ready(Ok(response)) if response.status().is_server_error() => {
                Poll::Ready(Err(Foreign.into()))
            }
            polled => polled,
        })
        .hides(&["frames.of_failures"]),
        breaks("head.version", "loses the version of a response")
            .response(|response| *response.version_mut() = Version::default()),
        breaks("head.fields", "keeps one value of each response field")
            .response(|response| keep_one_value(response.headers_mut())),
        breaks("head.fields", "keeps only response fields that are text")
            .response(|response| keep_text(response.headers_mut())),
        breaks("head.fields", "changes a field of the response")
            .response(|response| change(response.headers_mut(), "etag")),
        breaks("head.fields", "loses a field of the response").response(|response| {
            response.headers_mut().remove("etag");
        }),
        breaks("head.extensions", "loses extensions of plain responses").response(|response| {
            if !is_tunnel(response) {
                response.extensions_mut().clear();
            }
        }),
        breaks("head.framing", "sets transfer-encoding for a stream")
            .response(|response| set_for_a_stream(response, "transfer-encoding", "chunked")),
        breaks("head.framing", "sets connection for a stream")
            .response(|response| set_for_a_stream(response, "connection", "keep-alive")),
        breaks("head.framing", "sets content-length for a stream")
            .response(|response| set_for_a_stream(response, "content-length", "0")),
        breaks("head.content_length", "loses content-length").response(|response| {
            response.headers_mut().remove(CONTENT_LENGTH);
        }),
        breaks("head.content_length", "changes content-length")
            .response(|response| change(response.headers_mut(), "content-length")),
    ]
}

fn upgrades() -> Vec<Saboteur> {
    vec![
        breaks("upgrade.response", "loses what grants an upgrade").response(|response| {
            response.headers_mut().remove(CONNECTION);
            response.headers_mut().remove(UPGRADE);
        }),
        breaks("upgrade.response", "makes 200 of 101").response(|response| {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                *response.status_mut() = StatusCode::OK;
            }
        }),
        breaks("upgrade.response", "sets content-length for an upgrade").response(|response| {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                set(response, "content-length", "0");
            }
        }),
        breaks("upgrade.response", "loses extensions of a granted upgrade").response(|response| {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                response.extensions_mut().clear();
            }
        }),
        breaks("connect.response", "makes 204 of the 200 to CONNECT").response(|response| {
            if response.body().method == Method::CONNECT {
                *response.status_mut() = StatusCode::NO_CONTENT;
            }
        }),
        breaks("connect.response", "sets transfer-encoding for a tunnel").response(|response| {
            if response.body().method == Method::CONNECT {
                set(response, "transfer-encoding", "chunked");
            }
        }),
        breaks("connect.response", "loses extensions of a granted tunnel").response(|response| {
            if response.body().method == Method::CONNECT {
                response.extensions_mut().clear();
            }
        }),
    ]
}

fn frames() -> Vec<Saboteur> {
    vec![
        breaks("frames.boundaries", "splits frames of 13 B").download(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if data.len() == 13 => split(body, data),
                got => got,
            }
        }),
        breaks("frames.empty", "loses empty frames").download(|body, cx| match body.ask(cx) {
            Got::Data(data) if data.is_empty() => body.ask(cx),
            got => got,
        }),
        breaks("frames.empty", "doubles empty frames").download(|body, cx| match body.ask(cx) {
            Got::Data(data) if data.is_empty() => doubled(body, data),
            got => got,
        }),
        breaks("frames.empty", "takes an empty frame for the end").download(|body, cx| match body
            .ask(cx)
        {
            Got::Data(data) if data.is_empty() => Got::End,
            got => got,
        }),
        breaks("frames.large", "splits frames of more than 64 KiB").download(|body, cx| match body
            .ask(cx)
        {
            Got::Data(data) if data.len() > 1 << 16 => split(body, data),
            got => got,
        }),
        breaks("frames.large", "fails at frames of more than 64 KiB").download(
            |body, cx| match body.ask(cx) {
                Got::Data(data) if data.len() > 1 << 16 => failure(),
                got => got,
            },
        ),
        breaks("frames.many", "ends a stream after 50 frames").download(|body, cx| {
            match body.frames {
                50.. => Got::End,
                _ => body.ask(cx),
            }
        }),
        breaks(
            "frames.of_failures",
            "reads the body of a failure, to log it",
        )
        .response(|response| {
            if response.status().is_server_error() {
                while !matches!(response.body_mut().ask(&mut nobody()), Got::End) {}
            }
        }),
        breaks("frames.content", "changes data where it lies").download(|body, cx| {
            match body.ask(cx) {
                Got::Data(data) if !data.is_empty() => Got::Data(shouted(data)),
                got => got,
            }
        }),
        breaks("frames.no_copy", "copies data").download(|body, cx| {
            body.ask(cx)
                .on_data(|data| Got::Data(Bytes::copy_from_slice(&data)))
        }),
    ]
}

fn pauses() -> Vec<Saboteur> {
    vec![
        breaks("frames.at_once", "holds data back after a pause").download(|body, cx| {
            let goes_on = body.is_paused;
            late(body, cx, |got| goes_on && matches!(got, Got::Data(_)))
        }),
        breaks("frames.at_once", "holds the end back").download(|body, cx| {
            let is_over = body.is_over || body.has_failed;
            late(body, cx, |got| !is_over && matches!(got, Got::End))
        }),
        breaks("frames.pending", "says something when nothing comes").download(
            |body, cx| match body.ask(cx) {
                Got::Pending if !body.is_paused => Got::Data(Bytes::from_static(b": wait\n")),
                got => got,
            },
        ),
        breaks("frames.pending", "gives an empty frame before the first").download(|body, cx| {
            match body.ask(cx) {
                Got::Pending if body.polls == 0 => Got::Data(Bytes::new()),
                got => got,
            }
        }),
        breaks("frames.pending", "ends a stream when it pauses").download(|body, cx| {
            match body.ask(cx) {
                Got::Pending if body.frames > 0 => Got::End,
                got => got,
            }
        }),
        breaks("frames.pending", "breaks off a stream when it pauses").download(|body, cx| {
            match body.ask(cx) {
                Got::Pending if body.frames > 0 => failure(),
                got => got,
            }
        }),
    ]
}

fn trailers() -> Vec<Saboteur> {
    vec![
        breaks("trailers.after_data", "keeps only trailers that are text").download(|body, cx| {
            body.ask(cx).on_trailers(|mut trailers| {
                keep_text(&mut trailers);
                Got::Trailers(trailers)
            })
        }),
        breaks("trailers.after_data", "changes a trailer").download(|body, cx| {
            body.ask(cx)
                .on_trailers(|trailers| changed(trailers, "grpc-status"))
        }),
        breaks(
            "trailers.after_data",
            "loses trailers of streams of unknown size",
        )
        .download(|body, cx| match body.ask(cx) {
            Got::Trailers(_) if body.frames > 0 && body.left().is_none() => Got::End,
            got => got,
        }),
        breaks("trailers.alone", "loses trailers that come without data").download(|body, cx| {
            match body.ask(cx) {
                Got::Trailers(_) if body.frames == 0 => Got::End,
                got => got,
            }
        }),
        breaks(
            "trailers.after_exact_size",
            "ends a body when its bytes are out",
        )
        .download(|body, cx| match body.left() {
            Some(0) => Got::End,
            _ => body.ask(cx),
        }),
    ]
}

fn errors() -> Vec<Saboteur> {
    const NO_ERROR: [&str; 3] = ["errors.order", "errors.once", "errors.source"];
    vec![
        breaks("errors.arrive", "takes a stream that broke for a whole one")
            .download(|body, cx| body.ask(cx).on_error(|_| Got::End))
            .hides(&NO_ERROR),
        breaks(
            "errors.arrive",
            "takes a stream that breaks at once for an empty one",
        )
        .download(|body, cx| {
            let is_first = body.frames == 0;
            match body.ask(cx) {
                Got::Failed(_) if is_first => Got::End,
                got => got,
            }
        }),
        breaks("errors.arrive", "never ends a stream that broke")
            .download(|body, cx| body.ask(cx).on_error(|_| Got::Pending))
            .hides(&NO_ERROR),
        breaks("errors.arrive", "panics when a stream breaks")
            .download(|body, cx| body.ask(cx).on_error(|_| panic!("sabotage")))
            .hides(&NO_ERROR),
        breaks("errors.order", "announces an error in a frame of its own").download(|body, cx| {
            let is_announced = body.ahead.is_some();
            match body.ask(cx) {
                Got::Failed(error) if !is_announced => {
                    body.ahead = Some(Got::Failed(error));
                    Got::Data(Bytes::from_static(b"event: error\n\n"))
                }
                got => got,
            }
        }),
        breaks("errors.once", "repeats an error").download(|body, cx| {
            if body.has_failed {
                failure()
            } else {
                body.ask(cx)
            }
        }),
        breaks("errors.once", "never ends after an error").download(|body, cx| {
            if body.has_failed {
                Got::Pending
            } else {
                body.ask(cx)
            }
        }),
        breaks("errors.once", "panics when polled after an error").download(|body, cx| {
            assert!(!body.has_failed);
            body.ask(cx)
        }),
        breaks("errors.once", "gives data after an error").download(|body, cx| {
            if body.has_failed {
                Got::Data(Bytes::from_static(b"data: sorry\n\n"))
            } else {
                body.ask(cx)
            }
        }),
        breaks("errors.source", "replaces the error of a stream")
            .download(|body, cx| body.ask(cx).on_error(|_| failure())),
    ]
}

fn polls() -> Vec<Saboteur> {
    vec![
        breaks("polls.before_asked", "reads the first frame with the head").reply(|reply, cx| {
            let mut polled = reply.ask(cx);
            if let Poll::Ready(Ok(response)) = &mut polled {
                if !response.body().is_end_stream() {
                    response.body_mut().take_ahead(cx);
                }
            }
            polled
        }),
        breaks("polls.read_ahead", "reads on in a stream").download(|body, cx| {
            let got = body.ask(cx);
            if let Got::Data(_) = got {
                body.take_ahead(cx);
            }
            got
        }),
        breaks("polls.after_end", "polls once more after the end").download(|body, cx| {
            let got = body.ask(cx);
            if let Got::End = got {
                body.ask(cx);
            }
            got
        }),
        breaks("polls.after_error", "polls once more after an error").download(|body, cx| {
            let got = body.ask(cx);
            if let Got::Failed(_) = got {
                body.ask(cx);
            }
            got
        }),
        breaks("polls.end_again", "panics when polled after the end").download(|body, cx| {
            assert!(!body.is_over);
            body.ask(cx)
        }),
        breaks("polls.end_again", "never ends twice").download(|body, cx| {
            if body.is_over {
                Got::Pending
            } else {
                body.ask(cx)
            }
        }),
        breaks("polls.end_again", "gives data after the end").download(|body, cx| {
            if body.is_over {
                Got::Data(Bytes::from_static(b"data: [DONE]\n\n"))
            } else {
                body.ask(cx)
            }
        }),
        breaks("polls.end_again", "fails after the end").download(|body, cx| {
            if body.is_over {
                failure()
            } else {
                body.ask(cx)
            }
        }),
    ]
}
