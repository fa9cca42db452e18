//! Faults on the way in: readiness, calls, requests.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{
    Method, Version,
    header::{CONNECTION, HOST, UPGRADE},
};
use http_body::{Body, SizeHint};
use tower::Service;

use super::{
    all_but,
    tools::{
        change, changed, doubled, failure, is_stream, is_upgrade, keep_one_value, keep_text, late,
        merged, nobody, note_who_leaves, own_response, shouted, split,
    },
};
use crate::saboteur::{Foreign, Got, Saboteur, Stream, breaks};

pub(super) fn all() -> Vec<Saboteur> {
    [
        calls(),
        readiness(),
        service_errors(),
        request_heads(),
        upload_frames(),
        upload_polls(),
        upload_hints(),
        upload_ends(),
    ]
    .concat()
}

fn calls() -> Vec<Saboteur> {
    vec![
        breaks("call.once", "answers by itself and never calls the service")
            .call(|_, _| None)
            .reply(|reply, _| Poll::Ready(Ok(own_response(reply))))
            .hides(&all_but(&[
                "call.once",
                "ready.pending",
                "ready.waker",
                "ready.error",
            ])),
        breaks("call.once", "asks twice for a response that is not empty").reply(|reply, cx| {
            let polled = reply.ask(cx);
            if is_stream(&polled) {
                reply.call_again();
            }
            polled
        }),
        breaks("call.next", "is never ready again after a client left")
            .download_drop(note_who_leaves)
            .ready(|service, cx| {
                if service.memory.was_left.get() {
                    Poll::Pending
                } else {
                    service.ask_ready(cx)
                }
            }),
        breaks("call.next", "has failed for good after a client left")
            .download_drop(note_who_leaves)
            .ready(|service, cx| {
                if service.memory.was_left.get() {
                    Poll::Ready(Err(Foreign.into()))
                } else {
                    service.ask_ready(cx)
                }
            }),
        breaks("call.next", "panics when called after a client left")
            .download_drop(note_who_leaves)
            .call(|service, request| {
                assert!(!service.memory.was_left.get());
                Some(service.inner.call(request))
            }),
        breaks(
            "call.next",
            "is never ready again after a client left before the head",
        )
        .reply_drop(|reply| {
            if !reply.answered {
                reply.memory.was_left.set(true);
            }
        })
        .ready(|service, cx| {
            if service.memory.was_left.get() {
                Poll::Pending
            } else {
                service.ask_ready(cx)
            }
        }),
        breaks("call.side_by_side", "ends a stream when another begins").download(|body, cx| {
            if body.is_newest() {
                body.ask(cx)
            } else {
                Got::End
            }
        }),
        breaks("call.side_by_side", "is not ready while a stream is open").ready(|service, cx| {
            match service.memory.open.get() {
                0 => service.ask_ready(cx),
                _ => Poll::Pending,
            }
        }),
    ]
}

fn readiness() -> Vec<Saboteur> {
    vec![
        breaks("ready.pending", "says it is ready when the service is not")
            .ready(|service, cx| match service.ask_ready(cx) {
                Poll::Pending => Poll::Ready(Ok(())),
                ready @ Poll::Ready(_) => ready,
            })
            .hides(&["ready.waker"]),
        breaks("ready.pending", "fails when the service is not ready")
            .ready(|service, cx| match service.ask_ready(cx) {
                Poll::Pending => Poll::Ready(Err(Foreign.into())),
                ready @ Poll::Ready(_) => ready,
            })
            .hides(&["ready.waker"]),
        breaks("ready.pending", "panics when the service is not ready")
            .ready(|service, cx| match service.ask_ready(cx) {
                Poll::Pending => panic!("sabotage"),
                ready @ Poll::Ready(_) => ready,
            })
            .hides(&["ready.waker"]),
        breaks(
            "ready.waker",
            "asks for nobody whether the service is ready",
        )
        .ready(|service, _| service.ask_ready(&mut nobody())),
        breaks("ready.waker", "wakes who asked first whether it is ready").ready(|service, cx| {
            let first = service.first_waker(cx);
            service.ask_ready(&mut Context::from_waker(&first))
        }),
        breaks("ready.error", "takes a failed service for a ready one")
            .ready(|service, cx| service.ask_ready(cx).map(|_| Ok(()))),
        breaks("ready.error", "takes a failed service for a busy one").ready(|service, cx| {
            match service.ask_ready(cx) {
                Poll::Ready(Err(_)) => Poll::Pending,
                polled => polled,
            }
        }),
        breaks("ready.error", "panics when the service has failed for good")
            .ready(|service, cx| service.ask_ready(cx).map(Result::unwrap).map(Ok)),
        breaks("ready.same_service", "calls a clone of the service")
            .call(|service, request| Some(service.inner.clone().call(request))),
        breaks("ready.same_service", "asks only once whether it is ready").ready(|service, cx| {
            if service.memory.was_ready.get() {
                return Poll::Ready(Ok(()));
            }
            let polled = service.ask_ready(cx);
            service
                .memory
                .was_ready
                .set(matches!(polled, Poll::Ready(Ok(()))));
            polled
        }),
    ]
}

fn service_errors() -> Vec<Saboteur> {
    vec![
        breaks("service.error", "makes a response of the service's error")
            .reply(|reply, cx| match reply.ask(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(Ok(own_response(reply))),
                polled => polled,
            })
            .hides(&["service.error_source"]),
        breaks("service.error", "never answers when the service fails")
            .reply(|reply, cx| match reply.ask(cx) {
                Poll::Ready(Err(_)) => Poll::Pending,
                polled => polled,
            })
            .hides(&["service.error_source"]),
        breaks("service.error", "panics when the service fails")
            .reply(|reply, cx| reply.ask(cx).map(Result::unwrap).map(Ok))
            .hides(&["service.error_source"]),
        breaks("service.error_source", "replaces the service's error")
            .reply(|reply, cx| reply.ask(cx).map_err(|_| Foreign.into())),
    ]
}

fn request_heads() -> Vec<Saboteur> {
    vec![
        breaks("request.head", "loses the query").request(|request| {
            if request.uri().query().is_some() {
                *request.uri_mut() = request.uri().path().parse().unwrap();
            }
        }),
        breaks("request.head", "loses the version of a request")
            .request(|request| *request.version_mut() = Version::default()),
        breaks("request.head", "makes HEAD of GET").request(|request| {
            if request.method() == Method::GET {
                *request.method_mut() = Method::HEAD;
            }
        }),
        breaks("request.fields", "loses the host").request(|request| {
            request.headers_mut().remove(HOST);
        }),
        breaks("request.fields", "changes the host")
            .request(|request| change(request.headers_mut(), "host")),
        breaks("request.fields", "keeps one value of each request field")
            .request(|request| keep_one_value(request.headers_mut())),
        breaks("request.fields", "keeps only request fields that are text")
            .request(|request| keep_text(request.headers_mut())),
        breaks("request.extensions", "loses extensions of plain requests").request(|request| {
            if !is_upgrade(request) && request.method() != Method::CONNECT {
                request.extensions_mut().clear();
            }
        }),
        breaks("upgrade.request", "loses what asks for an upgrade").request(|request| {
            request.headers_mut().remove(CONNECTION);
            request.headers_mut().remove(UPGRADE);
        }),
        breaks("upgrade.request", "loses extensions of upgrades").request(|request| {
            if is_upgrade(request) {
                request.extensions_mut().clear();
            }
        }),
        breaks("connect.request", "makes a path of what CONNECT aims at").request(|request| {
            if request.method() == Method::CONNECT {
                *request.uri_mut() = "/".parse().unwrap();
            }
        }),
        breaks("connect.request", "loses extensions of CONNECT").request(|request| {
            if request.method() == Method::CONNECT {
                request.extensions_mut().clear();
            }
        }),
    ]
}

fn upload_frames() -> Vec<Saboteur> {
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

fn upload_polls() -> Vec<Saboteur> {
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

fn upload_hints() -> Vec<Saboteur> {
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

fn upload_ends() -> Vec<Saboteur> {
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
