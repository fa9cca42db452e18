//! Layers that do what no layer should: panic, never return what they owe, never stop. Each must
//! end as findings, soon, and take nothing else with it.

mod downloads;
mod drops;
mod hints;
mod services;
mod uploads;

use std::{
    fmt::Write,
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use http_body::Body;
use tower_passthrough::conformance::{self, Report, Verdict};

use crate::{
    saboteur::{Answer, Got, Reply, Sabotaged, Saboteur, Stream, honest},
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
        services::services(),
        services::futures(),
        downloads::downloads(),
        downloads::endless(),
        uploads::uploads(),
        hints::hints(),
        drops::drops(),
    ]
    .into_iter()
    .flatten()
    .collect()
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
