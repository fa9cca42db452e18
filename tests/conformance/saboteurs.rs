//! Does the kit find what it says it finds? For each check there are layers with one fault each:
//! just that check must fail.

mod combined;
mod hints;
mod requests;
mod responses;
mod tasks;
mod tools;
mod uploads;

use std::{collections::BTreeSet, fmt::Write, task::Poll};

use tower_passthrough::conformance::{self, Report, Verdict};

use crate::saboteur::{Got, Saboteur, honest};

fn all() -> Vec<Saboteur> {
    [
        requests::all(),
        uploads::all(),
        responses::all(),
        hints::all(),
        tasks::all(),
        combined::all(),
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

/// As a limit does that first waits for a place of its own.
#[test]
fn a_layer_that_is_ready_one_poll_later_passes_every_check() {
    let late = honest().ready(|service, cx| {
        if !service.memory.was_ready.replace(true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = service.ask_ready(cx);
        service.memory.was_ready.set(polled.is_pending());
        polled
    });
    conformance::check(late).assert();
}

#[test]
fn a_body_that_wakes_itself_before_it_begins_passes_every_check() {
    let layer = honest().download(|body, cx| {
        if body.polls == 0 {
            cx.waker().wake_by_ref();
            return Got::Pending;
        }
        body.ask(cx)
    });
    conformance::check(layer).assert();
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

/// All checks but these.
pub(crate) fn all_but(seen: &[&str]) -> Vec<&'static str> {
    let report = conformance::check(honest());
    let checks = report.findings().iter().map(|finding| finding.check);
    checks.filter(|check| !seen.contains(check)).collect()
}
