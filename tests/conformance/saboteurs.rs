//! Does the kit find what it says it finds? For each check there are layers with one fault each:
//! just that check must fail.

use std::{
    collections::BTreeSet,
    fmt::Write,
    mem,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE},
};
use http_body::{Body, SizeHint};
use tower::Service;
use tower_passthrough::conformance::{self, Report, ScriptedBody, Verdict};

use crate::saboteur::{Answer, Foreign, Got, Reply, Saboteur, Stream, breaks, breaks_all, honest};

fn all() -> Vec<Saboteur> {
    [
        calls(),
        readiness(),
        service_errors(),
        request_heads(),
        upload_frames(),
        upload_polls(),
        upload_hints(),
        upload_ends(),
        response_heads(),
        upgrades(),
        frames(),
        pauses(),
        trailers(),
        errors(),
        polls(),
        sizes(),
        ends(),
        futures_dropped(),
        bodies_dropped(),
        wakers(),
        guesses(),
        disorders(),
    ]
    .concat()
}

/// The names of the checks with this verdict, in the order of the report.
pub(crate) fn names(report: &Report, verdict: Verdict) -> Vec<&'static str> {
    let findings = report.findings().iter();
    findings
        .filter(|finding| finding.verdict == verdict)
        .map(|finding| finding.check)
        .collect()
}

#[test]
fn a_layer_without_a_fault_passes_every_check() {
    let report = conformance::check(honest());
    report.assert();
    assert_eq!(
        names(&report, Verdict::Passed).len(),
        report.findings().len()
    );
}

#[test]
fn each_fault_fails_the_checks_that_are_for_it_and_no_other() {
    let mut wrong = String::new();
    for saboteur in all() {
        let report = conformance::check(saboteur.clone());
        let failed = names(&report, Verdict::Failed);
        let unseen = names(&report, Verdict::Unseen);
        let Saboteur {
            how, breaks, hides, ..
        } = saboteur;
        if (&failed, &unseen) != (&breaks, &hides) {
            writeln!(wrong, "{how}\n  failed {failed:?}, not {breaks:?}").unwrap();
            writeln!(wrong, "  unseen {unseen:?}, not {hides:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_check_has_a_fault_that_fails_it_alone() {
    let report = conformance::check(honest());
    let checks = report.findings().iter().map(|finding| finding.check);
    let alone = all()
        .into_iter()
        .filter_map(|saboteur| match *saboteur.breaks {
            [check] => Some(check),
            _ => None,
        });
    assert_eq!(
        alone.collect::<BTreeSet<_>>(),
        checks.collect::<BTreeSet<_>>()
    );
}

#[test]
fn each_check_and_each_fault_has_a_name_of_its_own() {
    let report = conformance::check(honest());
    let checks = report.findings().iter().map(|finding| finding.check);
    let faults = all();
    let hows = faults.iter().map(|saboteur| saboteur.how);
    assert_eq!(
        checks.collect::<BTreeSet<_>>().len(),
        report.findings().len()
    );
    assert_eq!(hows.collect::<BTreeSet<_>>().len(), faults.len());
}

/// All but what there is to see of a service that is never called: whether the layer asks it if it
/// is ready, and reads uploads by itself.
pub(crate) fn all_but(seen: &[&str]) -> Vec<&'static str> {
    let report = conformance::check(honest());
    let checks = report.findings().iter().map(|finding| finding.check);
    checks.filter(|check| !seen.contains(check)).collect()
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
        }),
        breaks("head.version", "loses the version of a response")
            .response(|response| *response.version_mut() = Version::default()),
        breaks("head.fields", "keeps one value of each response field")
            .response(|response| keep_one_value(response.headers_mut())),
        breaks("head.fields", "keeps only response fields that are text")
            .response(|response| keep_text(response.headers_mut())),
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
        breaks("head.content_length", "changes content-length").response(|response| {
            if let Some(length) = response.headers_mut().get_mut(CONTENT_LENGTH) {
                *length = HeaderValue::from_static("0");
            }
        }),
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
                set(response, TRANSFER_ENCODING.as_str(), "chunked");
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
        breaks(
            "frames.boundaries",
            "moves a byte of the last of three frames",
        )
        .download(|body, cx| match body.ask(cx) {
            Got::Data(data) if data.len() == 13 && body.frames == 2 => split(body, data),
            got => got,
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

fn futures_dropped() -> Vec<Saboteur> {
    vec![
        breaks("drop.future_unpolled", "keeps a call that was never polled").reply_drop(|reply| {
            if reply.polls == 0 {
                mem::forget(reply.inner.take());
            }
        }),
        breaks(
            "drop.future_unpolled",
            "panics when dropped before the first poll",
        )
        .reply_drop(|reply| assert!(reply.polls > 0)),
        breaks("drop.future", "keeps a call that was begun").reply_drop(|reply| {
            if reply.polls > 0 && !reply.answered {
                mem::forget(reply.inner.take());
            }
        }),
        breaks("drop.future", "panics when dropped before it answers")
            .reply_drop(|reply| assert!(reply.polls == 0 || reply.answered)),
    ]
}

fn bodies_dropped() -> Vec<Saboteur> {
    fn is_midstream(body: &Stream) -> bool {
        body.frames > 0 && !body.is_paused && !body.is_over
    }

    vec![
        breaks("drop.body_unpolled", "keeps a body that nobody reads").download_drop(|body| {
            if body.polls == 0 {
                body.keep();
            }
        }),
        breaks("drop.body_unpolled", "panics when nobody reads the body")
            .download_drop(|body| assert!(body.polls > 0)),
        breaks("drop.body", "keeps a stream in mid-stream").download_drop(|body| {
            if is_midstream(body) {
                body.keep();
            }
        }),
        breaks("drop.body", "panics when dropped in mid-stream")
            .download_drop(|body| assert!(!is_midstream(body))),
        breaks("drop.body_pending", "keeps a stream that pauses").download_drop(|body| {
            if body.is_paused {
                body.keep();
            }
        }),
        breaks("drop.body_pending", "panics when dropped in a pause")
            .download_drop(|body| assert!(!body.is_paused)),
    ]
}

fn wakers() -> Vec<Saboteur> {
    vec![
        breaks("wakers.future", "polls a GET for nobody at first").reply(|reply, cx| {
            if reply.polls == 0 && reply.method == Method::GET {
                reply.ask(&mut nobody())
            } else {
                reply.ask(cx)
            }
        }),
        breaks("wakers.future_new", "wakes who polled a GET first").reply(|reply, cx| {
            if reply.method == Method::GET {
                wake_who_polled_first(reply, cx)
            } else {
                reply.ask(cx)
            }
        }),
        breaks("wakers.future_idle", "polls a call over and over").reply(|reply, cx| {
            let polled = reply.ask(cx);
            cx.waker().wake_by_ref();
            polled
        }),
        breaks("wakers.body", "polls a body for nobody at first").download(|body, cx| {
            match body.polls {
                0 => body.ask(&mut nobody()),
                _ => body.ask(cx),
            }
        }),
        breaks("wakers.body", "polls a body for nobody once it flows").download(|body, cx| {
            match body.frames {
                0 => body.ask(cx),
                _ => body.ask(&mut nobody()),
            }
        }),
        breaks("wakers.body_new", "wakes who polled a body first").download(|body, cx| {
            let first = body.first_waker(cx);
            body.ask(&mut Context::from_waker(&first))
        }),
        breaks("wakers.body_idle", "polls a body over and over").download(|body, cx| {
            let got = body.ask(cx);
            cx.waker().wake_by_ref();
            got
        }),
    ]
}

/// Faults that cannot but break several things: of hints and trailers.
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

/// Faults that cannot but break several things: what comes in another order, or at another time.
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

fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn wake_who_polled_first(reply: &mut Reply, cx: &mut Context<'_>) -> Poll<Answer> {
    let first = reply.first_waker(cx);
    reply.ask(&mut Context::from_waker(&first))
}

fn own_response(reply: &Reply) -> Response<Stream> {
    Response::new(reply.stream(ScriptedBody::default()))
}

fn is_stream(polled: &Poll<Answer>) -> bool {
    matches!(polled, Poll::Ready(Ok(response)) if !response.body().is_end_stream())
}

fn note_who_leaves(body: &mut Stream) {
    if body.frames > 0 && !body.is_over {
        body.memory.was_left.set(true);
    }
}

fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE)
}

fn is_tunnel(response: &Response<Stream>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response.body().method == Method::CONNECT
}

fn keep_one_value(fields: &mut HeaderMap) {
    for (name, value) in &mem::take(fields) {
        fields.insert(name, value.clone());
    }
}

fn keep_text(fields: &mut HeaderMap) {
    for (name, value) in &mem::take(fields) {
        if value.to_str().is_ok() {
            fields.append(name, value.clone());
        }
    }
}

fn set(response: &mut Response<Stream>, name: &'static str, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().entry(name).or_insert(value);
}

fn set_for_a_stream(response: &mut Response<Stream>, name: &'static str, value: &'static str) {
    if !response.body().is_end_stream() {
        set(response, name, value);
    }
}

fn at_least(lower: u64) -> SizeHint {
    let mut size = SizeHint::new();
    size.set_lower(lower);
    size
}

fn at_most(upper: u64) -> SizeHint {
    let mut size = SizeHint::new();
    size.set_upper(upper);
    size
}

fn failure() -> Got {
    Got::Failed(Foreign.into())
}

/// Changes the data without a copy.
fn shouted(data: Bytes) -> Bytes {
    let mut data = data.try_into_mut().unwrap();
    data.make_ascii_uppercase();
    data.freeze()
}

/// Gives the beginning, and leaves the rest for the next poll.
fn split(body: &mut Stream, mut data: Bytes) -> Got {
    body.ahead = Some(Got::Data(data.split_off(5)));
    Got::Data(data)
}

fn doubled(body: &mut Stream, data: Bytes) -> Got {
    body.ahead = Some(Got::Data(data.clone()));
    Got::Data(data)
}

/// Gives it together with what comes next, if that is there.
fn merged(body: &mut Stream, data: Bytes, cx: &mut Context<'_>) -> Got {
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
fn late(body: &mut Stream, cx: &mut Context<'_>, is_late: impl Fn(&Got) -> bool) -> Got {
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
fn one_frame_behind(body: &mut Stream, cx: &mut Context<'_>) -> Got {
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
