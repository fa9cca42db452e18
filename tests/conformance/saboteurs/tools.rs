//! What several faults are made of.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::UPGRADE};
use http_body::{Body, SizeHint};
use tower_passthrough::conformance::ScriptedBody;

use crate::saboteur::{Answer, Foreign, Got, Reply, Stream};

pub(super) fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub(super) fn wake_who_polled_first(reply: &mut Reply, cx: &mut Context<'_>) -> Poll<Answer> {
    let first = reply.first_waker(cx);
    reply.ask(&mut Context::from_waker(&first))
}

pub(super) fn own_response(reply: &Reply) -> Response<Stream> {
    Response::new(reply.stream(ScriptedBody::default()))
}

pub(super) fn is_stream(polled: &Poll<Answer>) -> bool {
    matches!(polled, Poll::Ready(Ok(response)) if !response.body().is_end_stream())
}

pub(super) fn note_who_leaves(body: &mut Stream) {
    if body.frames > 0 && !body.is_over {
        body.memory.was_left.set(true);
    }
}

pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE)
}

pub(super) fn is_tunnel(response: &Response<Stream>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response.body().method == Method::CONNECT
}

pub(super) fn keep_one_value(fields: &mut HeaderMap) {
    for (name, value) in &mem::take(fields) {
        fields.insert(name, value.clone());
    }
}

pub(super) fn change(fields: &mut HeaderMap, name: &'static str) {
    if let Some(value) = fields.get_mut(name) {
        *value = HeaderValue::from_static("2");
    }
}

pub(super) fn changed(mut trailers: HeaderMap, name: &'static str) -> Got {
    change(&mut trailers, name);
    Got::Trailers(trailers)
}

pub(super) fn keep_text(fields: &mut HeaderMap) {
    for (name, value) in &mem::take(fields) {
        if value.to_str().is_ok() {
            fields.append(name, value.clone());
        }
    }
}

pub(super) fn set(response: &mut Response<Stream>, name: &'static str, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().entry(name).or_insert(value);
}

pub(super) fn set_for_a_stream(
    response: &mut Response<Stream>,
    name: &'static str,
    value: &'static str,
) {
    if !response.body().is_end_stream() {
        set(response, name, value);
    }
}

pub(super) fn at_least(lower: u64) -> SizeHint {
    let mut size = SizeHint::new();
    size.set_lower(lower);
    size
}

pub(super) fn at_most(upper: u64) -> SizeHint {
    let mut size = SizeHint::new();
    size.set_upper(upper);
    size
}

pub(super) fn failure() -> Got {
    Got::Failed(Foreign.into())
}

/// Changes the data without a copy.
pub(super) fn shouted(data: Bytes) -> Bytes {
    let mut data = data.try_into_mut().unwrap();
    data.make_ascii_uppercase();
    data.freeze()
}

/// Gives the beginning, and leaves the rest for the next poll.
pub(super) fn split(body: &mut Stream, mut data: Bytes) -> Got {
    body.ahead = Some(Got::Data(data.split_off(5)));
    Got::Data(data)
}

pub(super) fn doubled(body: &mut Stream, data: Bytes) -> Got {
    body.ahead = Some(Got::Data(data.clone()));
    Got::Data(data)
}

/// Gives it together with what comes next, if that is there.
pub(super) fn merged(body: &mut Stream, data: Bytes, cx: &mut Context<'_>) -> Got {
    body.take_ahead(cx);
    match body.ahead.take() {
        Some(Got::Data(next)) => Got::Data([data, next].concat().into()),
        ahead => {
            body.ahead = ahead;
            Got::Data(data)
        }
    }
}

/// Gives what is like this one poll later, and wakes for it.
pub(super) fn late(body: &mut Stream, cx: &mut Context<'_>, is_late: impl Fn(&Got) -> bool) -> Got {
    let was_held = body.ahead.is_some();
    let got = body.ask(cx);
    if was_held || !is_late(&got) {
        return got;
    }
    body.ahead = Some(got);
    cx.waker().wake_by_ref();
    Got::Pending
}

/// Holds each frame back until it is known what follows.
pub(super) fn one_frame_behind(body: &mut Stream, cx: &mut Context<'_>) -> Got {
    let got = body.ask(cx);
    if !matches!(got, Got::Data(_)) {
        return got;
    }
    match body.ask(cx) {
        Got::Pending => {
            body.ahead = Some(got);
            Got::Pending
        }
        next => {
            body.ahead = Some(next);
            got
        }
    }
}
