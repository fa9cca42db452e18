//! The kit itself: what a report says, and around what it can be put.

use std::{
    collections::BTreeSet,
    panic::catch_unwind,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::Request as AxumRequest,
    middleware::{Next, from_fn},
};
use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{CONNECTION, CONTENT_LENGTH},
};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use tower::{
    BoxError, Service, ServiceBuilder,
    layer::util::Identity,
    limit::ConcurrencyLimitLayer,
    service_fn,
    timeout::TimeoutLayer,
    util::{BoxCloneSyncService, MapResponseLayer},
};
use tower_passthrough::{
    capture::{CaptureLayer, Summary},
    conformance::{
        self, Capability, Finding, Kit, Report, ScriptedBody, ScriptedError, ScriptedService,
        Verdict,
    },
};

use crate::saboteurs::names;

/// A fault: the response is rebuilt from its parts that this author knew of.
fn rebuild(response: Response<ScriptedBody>) -> Response<ScriptedBody> {
    let (parts, body) = response.into_parts();
    let mut rebuilt = Response::new(body);
    *rebuilt.status_mut() = parts.status;
    *rebuilt.headers_mut() = parts.headers;
    rebuilt
}

#[test]
fn a_layer_that_changes_nothing_passes_every_check() {
    let report = conformance::check(Identity::new());
    assert!(report.passes());
    assert_eq!(
        names(&report, Verdict::Passed).len(),
        report.findings().len()
    );
    assert_eq!(report.failures().count(), 0);
    report.assert();
}

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

#[test]
fn fields_of_the_kit_are_in_every_head() {
    let sent = HeaderName::from_static("x-sent");
    let answered = HeaderName::from_static("x-answered");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let responses = Arc::new(Mutex::new(Vec::new()));
    Kit::new()
        .request_field(sent.clone(), HeaderValue::from_static("1"))
        .request_field(sent.clone(), HeaderValue::from_static("2"))
        // Instead of the script's.
        .response_field(CONTENT_LENGTH, HeaderValue::from_static("20"))
        .response_field(CONNECTION, HeaderValue::from_static("close"))
        .response_field(
            HeaderName::from_static("etag"),
            HeaderValue::from_static("\"9\""),
        )
        .response_field(answered.clone(), HeaderValue::from_static("3"))
        .check_with(|service| {
            let (requests, responses) = (requests.clone(), responses.clone());
            let (sent, answered) = (sent.clone(), answered.clone());
            ServiceBuilder::new()
                .map_request(move |request: Request<ScriptedBody>| {
                    let values = request.headers().get_all(&sent).iter().cloned();
                    requests.lock().unwrap().push(values.collect::<Vec<_>>());
                    request
                })
                .map_response(move |response: Response<ScriptedBody>| {
                    let fields = response.headers();
                    let both = (fields["etag"].clone(), fields[&answered].clone());
                    responses.lock().unwrap().push(both);
                    response
                })
                .service(service)
        })
        .assert();
    let (requests, responses) = (requests.lock().unwrap(), responses.lock().unwrap());
    assert!(requests.len() > 80 && responses.len() > 70);
    assert!(requests.iter().all(|values| values == &["1", "2"]));
    assert!(
        responses
            .iter()
            .all(|(etag, answered)| etag == "\"9\"" && answered == "3")
    );
}

#[test]
fn a_service_that_cannot_fail_is_not_asked_to() {
    let report = conformance::check_with(ScriptedService::infallible);
    report.assert();
    assert_eq!(
        names(&report, Verdict::NotApplicable),
        ["ready.error", "service.error", "service.error_source"]
    );
    assert!(
        report
            .to_string()
            .contains("the service was made infallible"),
        "{report}"
    );
}

#[test]
fn an_axum_router_and_its_middleware_can_be_checked() {
    async fn pass_on(request: AxumRequest, next: Next) -> axum::response::Response {
        next.run(request).await
    }
    let report = conformance::check_with(|service: ScriptedService| {
        Router::<()>::new()
            .fallback_service(service.infallible())
            .layer(from_fn(pass_on))
    });
    assert_eq!(
        names(&report, Verdict::Failed),
        ["ready.pending"],
        "{report}"
    );
    assert_eq!(names(&report, Verdict::Unseen), ["ready.waker"]);
    report.except(Capability::Readiness).assert();
}

#[test]
fn boxed_bodies_and_services_can_be_checked() {
    type BoxBody = UnsyncBoxBody<bytes::Bytes, BoxError>;
    type Boxed = BoxCloneSyncService<Request<ScriptedBody>, Response<BoxBody>, BoxError>;
    let boxed = |body: ScriptedBody| BoxBody::new(body.map_err(Into::into));
    conformance::check_with(move |service: ScriptedService| -> Boxed {
        let service = ServiceBuilder::new()
            .map_err(BoxError::from)
            .map_request(move |request: Request<ScriptedBody>| request.map(boxed))
            .map_response(move |response: Response<ScriptedBody>| response.map(boxed))
            .service(service);
        BoxCloneSyncService::new(service)
    })
    .assert();
}

#[test]
fn a_service_may_borrow() {
    let count = std::cell::Cell::new(0);
    conformance::check_with(|service: ScriptedService| {
        let counted = |response: Response<ScriptedBody>| {
            count.set(count.get() + 1);
            response
        };
        ServiceBuilder::new().map_response(counted).service(service)
    })
    .assert();
    assert!(count.get() > 70, "{}", count.get());
}

#[tokio::test]
async fn layers_with_timers_and_limits_can_be_checked_in_an_async_test() {
    conformance::check(TimeoutLayer::new(Duration::from_secs(60))).assert();
    let limits = (ConcurrencyLimitLayer::new(2), ConcurrencyLimitLayer::new(2));
    conformance::check(limits).assert();
}

type Lock = Arc<tokio::sync::Mutex<()>>;

async fn locking<F: Future>(lock: Lock, response: F) -> F::Output {
    for _ in 0..3 {
        drop(lock.lock().await);
    }
    response.await
}

fn check_locking() -> Report {
    conformance::check_with(|mut service: ScriptedService| {
        let lock = Lock::default();
        service_fn(move |request: Request<ScriptedBody>| {
            locking(lock.clone(), service.call(request))
        })
    })
    .except(Capability::Readiness) // a function is always ready
}

#[tokio::test]
async fn locks_of_tokio_want_an_async_test_without_a_budget() {
    assert!(
        !check_locking().passes(),
        "the budget does not matter any more: say so in the docs"
    );
    tokio::task::unconstrained(async { check_locking().assert() }).await;
}

#[test]
fn a_body_may_drop_what_it_wraps_at_its_end() {
    conformance::check_with(|service: ScriptedService| {
        let fused = |response: Response<ScriptedBody>| response.map(BodyExt::fuse);
        ServiceBuilder::new().map_response(fused).service(service)
    })
    .assert();
}

#[test]
fn an_error_that_was_made_a_text_is_found_out() {
    let report = conformance::check_with(|service: ScriptedService| {
        let as_text = |error: ScriptedError| BoxError::from(error.to_string());
        ServiceBuilder::new().map_err(as_text).service(service)
    });
    let failures: Vec<_> = report.failures().collect();
    let [finding] = failures[..] else {
        panic!("{report}");
    };
    assert_eq!(finding.check, "service.error_source");
    assert_eq!(finding.expected, "the service's error among the sources");
    assert_eq!(finding.observed, "only `scripted error`");
}

#[test]
fn a_layer_that_cuts_a_stream_at_a_limit_may_say_so() {
    type Cut = Limited<ScriptedBody>;
    conformance::check_with(|service: ScriptedService| {
        ServiceBuilder::new()
            .map_response(|response: Response<ScriptedBody>| {
                response.map(|body| Cut::new(body, 1 << 20))
            })
            .map_request(|request: Request<ScriptedBody>| {
                request.map(|body| Cut::new(body, 1 << 20))
            })
            .service(service)
    })
    .assert();
}

#[test]
fn a_layer_that_rebuilds_the_body_is_found_out() {
    let report = conformance::check_with(|mut service: ScriptedService| {
        service_fn(move |request: Request<ScriptedBody>| {
            let response = service.call(request);
            async move {
                let (head, body) = response.await?.into_parts();
                let collected = body.collect().await?;
                Ok::<_, ScriptedError>(Response::from_parts(head, Full::new(collected.to_bytes())))
            }
        })
    });
    let failed: BTreeSet<_> = report
        .failures()
        .map(|finding| finding.capability)
        .collect();
    for capability in [
        Capability::Readiness,
        Capability::ResponseHead,
        Capability::Frames,
        Capability::Trailers,
        Capability::Errors,
        Capability::Polls,
        Capability::SizeHint,
        Capability::EndStream,
    ] {
        assert!(failed.contains(&capability), "{capability}\n{report}");
    }
}
