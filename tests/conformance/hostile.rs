//! Layers that do what no layer should: panic, never return what they owe, never stop. Each must
//! end as findings, soon, and take nothing else with it.

use std::{
    fmt::Write,
    mem,
    panic::panic_any,
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tower_passthrough::conformance::{self, Report, Verdict};

use crate::{
    saboteur::{
        Answer, Foreign, Got, Reply, Sabotaged, Saboteur, Stream, breaks, breaks_all, honest,
    },
    saboteurs::{all_but, names},
};

/// The report, if there is one before long. It takes milliseconds.
fn soon(check: impl FnOnce() -> Report + Send + 'static) -> Report {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(check()));
    told.recv_timeout(Duration::from_secs(20))
        .expect("the kit hangs, or panics")
}

/// A hostile layer, how many checks see nothing of it, and what one observes.
struct Hostile {
    layer: Saboteur,
    unseen: usize,
    check: &'static str,
    observed: &'static str,
}

impl Hostile {
    fn new(layer: Saboteur, unseen: usize, check: &'static str, observed: &'static str) -> Self {
        Self {
            layer,
            unseen,
            check,
            observed,
        }
    }
}

#[test]
fn each_hostile_layer_ends_as_findings() {
    let mut wrong = String::new();
    for hostile in all() {
        let layer = hostile.layer.clone();
        let report = soon(move || conformance::check(layer));
        let found = (
            names(&report, Verdict::Failed),
            names(&report, Verdict::Unseen).len(),
            observed(&report, hostile.check),
        );
        let expected = (hostile.layer.breaks, hostile.unseen, hostile.observed);
        if found != expected {
            let how = hostile.layer.how;
            writeln!(wrong, "{how}\n  found {found:?}\n  not   {expected:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_layer_that_panics_around_the_service_is_never_called() {
    let report = soon(|| conformance::check_with(|_| -> Sabotaged { panic!("hostile") }));
    assert_eq!(names(&report, Verdict::Failed), ["call.once"]);
    assert_eq!(names(&report, Verdict::Unseen), all_but(&["call.once"]));
    assert_eq!(
        observed(&report, "call.once"),
        "the layer panicked around the service: hostile"
    );
}

#[test]
fn a_layer_that_polls_until_there_is_a_response_gets_no_more_of_an_upload() {
    let report = soon(|| conformance::check(honest().reply(answer_at_once)));
    assert_eq!(
        observed(&report, "request_body.at_once"),
        "9 B; panic: polled 1000 times: the layer seems to poll on and on"
    );
}

/// What does no harm to what goes through is none of the kit's business.
#[test]
fn a_layer_that_polls_and_drops_bodies_on_other_threads_passes() {
    let layer = honest()
        .download(|body, cx| {
            let mut inner = body.inner.take().unwrap();
            let waker = cx.waker().clone();
            let polls = thread::spawn(move || {
                let polled = Pin::new(&mut inner).poll_frame(&mut Context::from_waker(&waker));
                (inner, polled)
            });
            let (inner, polled) = polls.join().unwrap();
            body.inner = Some(inner);
            Got::from(polled)
        })
        .download_drop(|body| {
            let inner = body.inner.take();
            thread::spawn(move || drop(inner)).join().unwrap();
        });
    soon(|| conformance::check(layer)).assert();
}

/// A panic that is thrown while another one unwinds ends the process, and the test with it.
#[test]
fn a_layer_that_panics_again_when_it_is_dropped_does_not_abort() {
    let again = [
        honest()
            .reply(|_, _| panic!("hostile"))
            .reply_drop(|_| panic!("again")),
        honest()
            .download(|_, _| panic!("hostile"))
            .download_drop(|_| panic!("again")),
        honest()
            .upload(|_, _| panic!("hostile"))
            .upload_drop(|_| panic!("again")),
        honest()
            .ready(|_, _| panic!("hostile"))
            .service_drop(|_| panic!("again")),
        honest()
            .download_drop(|_| panic!("hostile"))
            .service_drop(|_| panic!("again")),
        honest()
            .reply_drop(|_| panic!("hostile"))
            .service_drop(|_| panic!("again")),
    ];
    for layer in again {
        assert!(!soon(|| conformance::check(layer)).passes());
    }
}

fn observed<'a>(report: &'a Report, check: &str) -> &'a str {
    let mut findings = report.findings().iter();
    let finding = findings.find(|finding| finding.check == check);
    &finding.unwrap().observed
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("hostile");
    }
}

fn all() -> Vec<Hostile> {
    [
        services(),
        futures(),
        downloads(),
        endless(),
        uploads(),
        hints(),
        drops(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn services() -> Vec<Hostile> {
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

fn futures() -> Vec<Hostile> {
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

const NO_FRAME: [&str; 10] = [
    "frames.boundaries",
    "frames.empty",
    "frames.large",
    "frames.many",
    "frames.of_failures",
    "frames.content",
    "trailers.after_data",
    "trailers.alone",
    "trailers.after_exact_size",
    "polls.end_again",
];

fn downloads() -> Vec<Hostile> {
    let barren = |how| breaks_all(NO_FRAME, how);
    vec![
        Hostile::new(
            barren("panics when a frame is asked for").download(|_, _| panic!("hostile")),
            23,
            "frames.boundaries",
            "panic: hostile",
        ),
        Hostile::new(
            barren("panics with a number when a frame is asked for").download(|_, _| panic_any(42)),
            23,
            "frames.boundaries",
            "panic: not a text",
        ),
        Hostile::new(
            barren("never gives a frame").download(|_, _| Got::Pending),
            23,
            "frames.boundaries",
            "pending",
        ),
        Hostile::new(
            barren("never gives a frame, and always wakes").download(|_, cx| {
                cx.waker().wake_by_ref();
                Got::Pending
            }),
            23,
            "frames.boundaries",
            "pending",
        ),
        Hostile::new(
            barren("always fails").download(|_, _| Got::Failed(Foreign.into())),
            23,
            "frames.boundaries",
            "error",
        ),
    ]
}

fn endless() -> Vec<Hostile> {
    vec![
        Hostile::new(
            breaks_all(
                [
                    "frames.boundaries",
                    "frames.empty",
                    "frames.large",
                    "frames.many",
                    "frames.of_failures",
                    "frames.content",
                    "trailers.after_data",
                    "polls.end_again",
                ],
                "gives trailers for ever",
            )
            .download(|_, _| Got::Trailers(HeaderMap::new())),
            23,
            "polls.end_again",
            "trailers, trailers, trailers",
        ),
        Hostile::new(
            breaks_all(
                [
                    "frames.boundaries",
                    "frames.empty",
                    "frames.large",
                    "frames.many",
                    "frames.of_failures",
                    "frames.content",
                    "frames.pending",
                    "frames.no_copy",
                    "trailers.after_data",
                    "trailers.alone",
                    "trailers.after_exact_size",
                    "polls.end_again",
                    "size_hint.during",
                    "end_stream.last_frame",
                ],
                "gives data for ever",
            )
            .download(|_, _| Got::Data(Bytes::from_static(b"data: more\n\n"))),
            15,
            "polls.end_again",
            "12 B, 12 B, 12 B",
        ),
        Hostile::new(
            breaks_all(
                NO_FRAME
                    .into_iter()
                    .chain(["size_hint.during", "end_stream.last_frame"]),
                "gives empty frames for ever",
            )
            .download(|_, _| Got::Data(Bytes::new())),
            17,
            "frames.boundaries",
            "0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, 0 B, \
             0 B, 0 B, 0 B, and so on",
        ),
        Hostile::new(
            breaks_all(
                ["frames.pending", "wakers.body_new", "wakers.body_idle"],
                "polls until there is a frame",
            )
            .download(poll_on),
            2,
            "wakers.body_idle",
            "panic: polled 1000 times: the layer seems to poll on and on",
        ),
    ]
}

fn uploads() -> Vec<Hostile> {
    vec![
        Hostile::new(
            breaks_all(
                [
                    "request_body.frames",
                    "request_body.content",
                    "request_body.at_once",
                    "request_body.trailers",
                    "request_body.size_hint",
                    "request_body.end_stream",
                    "request_body.error",
                    "request_body.after_end",
                ],
                "panics when a frame of an upload is asked for",
            )
            .upload(|_, _| panic!("hostile")),
            3,
            "request_body.after_end",
            "panic: hostile, panic: hostile",
        ),
        Hostile::new(
            breaks("request_body.at_once", "never gives a frame of an upload")
                .upload(|_, _| Got::Pending),
            13,
            "request_body.at_once",
            "nothing; late",
        ),
        Hostile::new(
            breaks(
                "request_body.at_once",
                "never gives a frame of an upload, and always wakes",
            )
            .upload(|_, cx| {
                cx.waker().wake_by_ref();
                Got::Pending
            }),
            13,
            "request_body.at_once",
            "nothing; late",
        ),
        Hostile::new(
            breaks_all(
                [
                    "request_body.frames",
                    "request_body.content",
                    "request_body.no_copy",
                    "request_body.at_once",
                    "request_body.trailers",
                    "request_body.size_hint",
                    "request_body.end_stream",
                    "request_body.error",
                    "request_body.after_end",
                ],
                "gives data of an upload for ever",
            )
            .upload(|_, _| Got::Data(Bytes::from_static(b"more"))),
            3,
            "request_body.after_end",
            "4 B, 4 B",
        ),
        Hostile::new(
            breaks_all(
                ["request_body.at_once", "request_body.idle"],
                "polls until there is a frame of an upload",
            )
            .upload(poll_on),
            1,
            "request_body.at_once",
            "9 B, panic: polled 1000 times: the layer seems to poll on and on, \
             panic: polled 1000 times: the layer seems to poll on and on",
        ),
    ]
}

fn hints() -> Vec<Hostile> {
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

fn drops() -> Vec<Hostile> {
    // They are dropped with the future, when that has answered.
    let before_the_head = [
        "call.once",
        "service.error",
        "head.at_once",
        "drop.future_unpolled",
        "drop.future",
    ];
    let futures = ["drop.future_unpolled", "drop.future"];
    let bodies = ["drop.body_unpolled", "drop.body", "drop.body_pending"];
    let uploads = ["request_body.dropped", "drop.future_unpolled"];
    vec![
        Hostile::new(
            breaks_all(before_the_head, "panics when its future is dropped")
                .reply_drop(|_| panic!("hostile")),
            55,
            "drop.future",
            "panic: hostile",
        ),
        Hostile::new(
            breaks_all(bodies, "panics when its body is dropped")
                .download_drop(|_| panic!("hostile")),
            0,
            "drop.body",
            "panic: hostile",
        ),
        Hostile::new(
            breaks_all(before_the_head, "panics when its upload is dropped")
                .upload_drop(|_| panic!("hostile")),
            56,
            "drop.future_unpolled",
            "panic: hostile",
        ),
        Hostile::new(
            breaks_all([], "panics when it is dropped").service_drop(|_| panic!("hostile")),
            85,
            "call.once",
            "the layer panicked: hostile",
        ),
        Hostile::new(
            breaks_all(futures, "leaks its future")
                .reply_drop(|reply| mem::forget(reply.inner.take())),
            0,
            "drop.future",
            "kept",
        ),
        Hostile::new(
            breaks_all(bodies, "leaks its body").download_drop(Stream::keep),
            0,
            "drop.body",
            "kept",
        ),
        Hostile::new(
            breaks_all(uploads, "leaks its upload").upload_drop(Stream::keep),
            0,
            "request_body.dropped",
            "unread: kept, begun: kept",
        ),
    ]
}

fn answer_at_once(reply: &mut Reply, cx: &mut Context<'_>) -> Poll<Answer> {
    loop {
        if let answer @ Poll::Ready(_) = reply.ask(cx) {
            return answer;
        }
    }
}

fn poll_on(body: &mut Stream, cx: &mut Context<'_>) -> Got {
    loop {
        match body.ask(cx) {
            Got::Pending => {}
            got => return got,
        }
    }
}
