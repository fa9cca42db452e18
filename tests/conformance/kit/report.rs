//! What a report says, and what is excepted from it.

use std::{
    collections::BTreeSet,
    panic::catch_unwind,
    time::{Duration, Instant},
};

use http::{Request, Response};
use tower::{layer::util::Identity, service_fn, util::MapResponseLayer};
use tower_passthrough::{
    capture::{CaptureLayer, Summary},
    conformance::{self, Capability, Finding, Report, ScriptedBody, ScriptedError, Verdict},
};

use super::rebuild;
use crate::saboteurs::names;

#[test]
fn a_report_names_what_fails_and_says_what_it_does_to_a_user() {
    let report = conformance::check(MapResponseLayer::new(rebuild));
    assert!(!report.passes());
    let failures: Vec<_> = report.failures().collect();
    let [version, extensions, upgrade, connect] = failures[..] else {
        panic!("{report}");
    };
    assert_eq!(
        (version.check, version.capability, version.verdict),
        ("head.version", Capability::ResponseHead, Verdict::Failed)
    );
    assert_eq!(
        (&*version.expected, &*version.observed),
        ("HTTP/2.0", "HTTP/1.1")
    );
    assert_eq!(
        version.consequence,
        "the response was rebuilt: its version is lost"
    );
    assert_eq!(extensions.check, "head.extensions");
    assert_eq!(
        (&*extensions.expected, &*extensions.observed),
        ("extension", "no extension")
    );
    assert_eq!(upgrade.check, "upgrade.response");
    assert_eq!(connect.check, "connect.response");
}

#[test]
fn a_report_is_printed_as_a_table() {
    let table = conformance::check(MapResponseLayer::new(rebuild)).to_string();
    let lines: Vec<_> = table.lines().collect();
    let checks = conformance::check(Identity::new()).findings().len();
    assert_eq!(lines.len(), 1 + checks + 4 + 1);
    assert!(lines[0].starts_with("check "), "{table}");
    let version = lines
        .iter()
        .position(|line| line.starts_with("head.version "))
        .unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(lines[version]),
        ["head.version", "FAILED", "HTTP/2.0", "HTTP/1.1"]
    );
    assert_eq!(
        lines[version + 1],
        "    = the response was rebuilt: its version is lost"
    );
    assert_eq!(
        lines[lines.len() - 1],
        format!(
            "{checks} checks: {} passed, 4 failed, 0 unseen, 0 excepted, 0 not applicable",
            checks - 4
        )
    );
    // The columns are columns.
    let column = lines[0].find("verdict").unwrap();
    assert!(lines[version][column..].starts_with("FAILED"));
    let column = lines[0].find("observed").unwrap();
    assert!(lines[version][column..].starts_with("HTTP/1.1"));
}

#[test]
fn assert_panics_with_the_table() {
    let report = conformance::check(MapResponseLayer::new(rebuild));
    let panic = catch_unwind(|| report.assert()).unwrap_err();
    let message = panic.downcast::<String>().unwrap();
    assert_eq!(
        *message,
        format!("the layer is not streaming-safe\n\n{report}")
    );
}

#[test]
fn what_is_excepted_does_not_fail() {
    let report = conformance::check(MapResponseLayer::new(rebuild))
        .except(Capability::ResponseHead)
        .except(Capability::Upgrades);
    assert!(report.passes(), "{report}");
    assert_eq!(
        names(&report, Verdict::Excepted),
        [
            "head.version",
            "head.extensions",
            "upgrade.response",
            "connect.response"
        ]
    );
    assert_eq!(report.needless_exceptions(), []);

    let half = conformance::check(MapResponseLayer::new(rebuild)).except(Capability::ResponseHead);
    assert!(!half.passes());
    assert_eq!(
        names(&half, Verdict::Failed),
        ["upgrade.response", "connect.response"]
    );
}

#[test]
fn an_exception_that_is_not_needed_fails() {
    let report = conformance::check(Identity::new()).except(Capability::Trailers);
    assert!(!report.passes());
    assert_eq!(report.failures().count(), 0);
    assert_eq!(report.needless_exceptions(), [Capability::Trailers]);
    assert!(
        report
            .to_string()
            .contains("\nthe exception for Trailers is not needed\n"),
        "{report}"
    );
    assert!(catch_unwind(|| report.assert()).is_err());
}

#[test]
fn what_could_not_be_seen_does_not_pass_and_can_be_excepted() {
    // Answers by itself.
    let report = conformance::check_with(|_| {
        service_fn(async |_: Request<ScriptedBody>| {
            Ok::<_, ScriptedError>(Response::new(ScriptedBody::default()))
        })
    });
    assert!(!report.passes());
    // The request was there to be dropped, whoever was to answer it.
    assert_eq!(names(&report, Verdict::Passed), ["drop.future_unpolled"]);
    let trailers = |report: &Report| {
        let mut findings = report.findings().iter();
        findings
            .find(|finding| finding.check == "trailers.alone")
            .cloned()
            .unwrap()
    };
    let Finding {
        verdict,
        expected,
        observed,
        ..
    } = trailers(&report);
    assert_eq!(
        (verdict, &*expected, &*observed),
        (
            Verdict::Unseen,
            "",
            "the service was never called: a response"
        )
    );
    let report = report.except(Capability::Trailers);
    assert_eq!(trailers(&report).verdict, Verdict::Excepted);
}

/// Each check belongs to the capability that the documentation says.
#[test]
fn names_tell_the_capability() {
    let mut seen = BTreeSet::new();
    for finding in conformance::check(Identity::new()).findings() {
        let capability = match finding.check.split_once('.').unwrap() {
            ("head", "content_length") | ("size_hint", _) => Capability::SizeHint,
            ("frames", "content") => Capability::Content,
            ("frames", "no_copy") => Capability::Memory,
            ("call", _) => Capability::Calls,
            ("ready", _) => Capability::Readiness,
            ("service", _) => Capability::ServiceErrors,
            ("request", _) => Capability::RequestHead,
            ("request_body", _) => Capability::RequestBody,
            ("upgrade" | "connect", _) => Capability::Upgrades,
            ("head", _) => Capability::ResponseHead,
            ("frames", _) => Capability::Frames,
            ("trailers", _) => Capability::Trailers,
            ("errors", _) => Capability::Errors,
            ("polls", _) => Capability::Polls,
            ("end_stream", _) => Capability::EndStream,
            ("drop", _) => Capability::Cancellation,
            ("wakers", _) => Capability::Wakers,
            other => panic!("{other:?}"),
        };
        assert_eq!(finding.capability, capability, "{}", finding.check);
        assert!(seen.insert(finding.check), "{} twice", finding.check);
    }
}

#[test]
fn the_same_layer_always_gives_the_same_report() {
    let report = || conformance::check(MapResponseLayer::new(rebuild));
    let first = report();
    for _ in 0..20 {
        assert_eq!(report(), first);
    }
}

#[test]
fn the_kit_takes_less_than_50_ms() {
    let capture = CaptureLayer::new(|_: &Summary| {});
    let took = || {
        let start = Instant::now();
        conformance::check(capture.clone()).assert();
        start.elapsed()
    };
    // The least of several: other tests run beside this one.
    let least = (0..10).map(|_| took()).min().unwrap();
    assert!(least < Duration::from_millis(50), "{least:?}");
}
