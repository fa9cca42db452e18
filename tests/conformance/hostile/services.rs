//! What is done to the service and its future. Each function is one table.

use std::{panic::panic_any, task::Poll};

use super::{Hostile, PanicsWhenDropped, answer_at_once};
use crate::saboteur::{Foreign, breaks, breaks_all};

pub(super) fn services() -> Vec<Hostile> {
    vec![
        Hostile::new(
            breaks_all(
                ["call.once", "ready.pending", "ready.error"],
                "panics in poll_ready",
            )
            .ready(|_, _| panic!("hostile")),
            82,
            "call.once",
            "the layer panicked in poll_ready: hostile",
        ),
        Hostile::new(
            breaks_all(["call.once", "ready.error"], "is never ready").ready(|_, _| Poll::Pending),
            82,
            "call.once",
            "the layer is never ready",
        ),
        Hostile::new(
            breaks_all(
                ["call.once", "ready.error"],
                "is never ready, and always wakes",
            )
            .ready(|_, cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            }),
            82,
            "call.once",
            "the layer is never ready",
        ),
        Hostile::new(
            breaks_all(["call.once", "ready.pending"], "has always failed")
                .ready(|_, _| Poll::Ready(Err(Foreign.into()))),
            82,
            "call.once",
            "poll_ready failed: something went wrong",
        ),
        Hostile::new(
            breaks("ready.pending", "asks until the service is ready").ready(|service, cx| {
                loop {
                    if let ready @ Poll::Ready(_) = service.ask_ready(cx) {
                        return ready;
                    }
                }
            }),
            1,
            "ready.pending",
            "the layer panicked in poll_ready: polled 1000 times: the layer seems to poll on and on",
        ),
        Hostile::new(
            breaks("call.once", "panics when it is called").call(|_, _| panic!("hostile")),
            81,
            "call.once",
            "the layer panicked when called: hostile",
        ),
        Hostile::new(
            breaks(
                "call.once",
                "fails each request and never calls the service",
            )
            .call(|_, _| None)
            .reply(|_, _| Poll::Ready(Err(Foreign.into()))),
            81,
            "head.status",
            "the service was never called: an error: something went wrong",
        ),
        Hostile::new(
            breaks("call.once", "never calls the service and never answers").call(|_, _| None),
            81,
            "call.once",
            "pending, calls: 0",
        ),
    ]
}

pub(super) fn futures() -> Vec<Hostile> {
    vec![
        Hostile::new(
            breaks("call.once", "panics when the response is asked for")
                .reply(|_, _| panic!("hostile")),
            75,
            "call.once",
            "panic: hostile, calls: 1",
        ),
        Hostile::new(
            breaks("call.once", "panics with a number").reply(|_, _| panic_any(42)),
            75,
            "call.once",
            "panic: not a text, calls: 1",
        ),
        Hostile::new(
            breaks("call.once", "panics with what panics")
                .reply(|_, _| panic_any(PanicsWhenDropped)),
            75,
            "call.once",
            "panic: not a text, calls: 1",
        ),
        Hostile::new(
            breaks("call.once", "never answers").reply(|_, _| Poll::Pending),
            75,
            "call.once",
            "pending, calls: 1",
        ),
        Hostile::new(
            breaks("call.once", "never answers, and always wakes").reply(|_, cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            }),
            75,
            "call.once",
            "pending, calls: 1",
        ),
        Hostile::new(
            breaks("call.once", "calls the service and fails each request")
                .reply(|_, _| Poll::Ready(Err(Foreign.into()))),
            75,
            "head.status",
            "no response but an error: something went wrong",
        ),
        Hostile::new(
            breaks_all(
                [
                    "request_body.at_once",
                    "request_body.idle",
                    "wakers.future_new",
                    "wakers.future_idle",
                ],
                "polls until there is a response",
            )
            .reply(answer_at_once),
            2,
            "wakers.future_idle",
            "panic: polled 1000 times: the layer seems to poll on and on",
        ),
    ]
}
