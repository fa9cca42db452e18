//! Faults on the way in: readiness, calls, heads of requests. Each function is one table.

use std::task::{Context, Poll};

use http::{
    Method, Version,
    header::{CONNECTION, HOST, UPGRADE},
};
use tower::Service;

use super::{
    all_but,
    tools::{
        change, is_stream, is_upgrade, keep_one_value, keep_text, nobody, note_who_leaves,
        own_response,
    },
};
use crate::saboteur::{Foreign, Got, Saboteur, breaks};

pub(super) fn all() -> Vec<Saboteur> {
    [calls(), readiness(), service_errors(), request_heads()].concat()
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
