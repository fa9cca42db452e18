//! Faults in what is dropped, and in who is woken.

use std::{mem, task::Context};

use http::Method;

use super::tools::{nobody, wake_who_polled_first};
use crate::saboteur::{Saboteur, Stream, breaks};

pub(super) fn all() -> Vec<Saboteur> {
    [futures_dropped(), bodies_dropped(), wakers()].concat()
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
