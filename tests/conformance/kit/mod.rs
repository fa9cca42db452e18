//! The kit itself: what a report says, and around what it can be put.

mod around;
mod report;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{CONNECTION, CONTENT_LENGTH},
};
use http_body_util::{BodyExt, Full, Limited};
use tower::{BoxError, Service, ServiceBuilder, layer::util::Identity, service_fn};
use tower_passthrough::conformance::{
    self, Capability, Kit, ScriptedBody, ScriptedError, ScriptedService, Verdict,
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
