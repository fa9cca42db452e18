//! Labels that are made of the response.

use std::future::{Ready, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response};
use http_body_util::Empty;
use metrics::with_local_recorder;
use tower::{Layer, ServiceExt, service_fn};
use tower_passthrough::metrics::{
    MetricsLayer, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL,
    RESPONSE_BODY_BYTES, RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL, semconv,
};

use super::{cache_hit, cached};
use crate::{
    common::{Broken, Script},
    drive::{Does, answer, drive, exchange, request},
    series::{Expected, counted, recorder, rendered, requests_by, with},
};

#[test]
fn a_label_of_the_response_is_on_all_that_comes_after_it() {
    let layer = cached(MetricsLayer::builder());
    for (exchange, cache, status, outcome) in [
        (cache_hit(), "hit", "200", "complete"),
        (exchange(Does::Fail), "", "500", "service_error"),
        (exchange(Does::NeverAnswer), "", "499", "cancelled"),
        (exchange(Does::PanicInCall), "", "500", "panicked"),
    ] {
        let recorder = recorder();
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let base = [("method", "GET")];
        let labelled = with(&base, [("cache", cache)]);
        let by_kind = with(&labelled, [("kind", "unary")]);
        let by_status = with(&labelled, [("status", status)]);
        let ended = with(&by_status, [("outcome", outcome)]);
        let mut expected = Expected::default()
            .value(REQUESTS_IN_FLIGHT, &base, 0)
            .bytes(REQUEST_BODY_BYTES, &base, &[0])
            .value(REQUESTS_TOTAL, &by_status, 1)
            .seconds(REQUEST_DURATION_SECONDS, &by_kind, 1)
            .value(RESPONSES_ENDED_TOTAL, &ended, 1);
        if cache == "hit" {
            expected = expected.seconds(RESPONSE_HEAD_SECONDS, &by_kind, 1).bytes(
                RESPONSE_BODY_BYTES,
                &by_kind,
                &[5],
            );
        }
        assert_eq!(rendered(&recorder), expected.0, "{outcome}");
    }
}

#[test]
fn a_label_of_the_response_is_no_attribute_of_what_is_in_flight() {
    let layer = cached(MetricsLayer::builder().opentelemetry());
    let recorder = recorder();
    with_local_recorder(&recorder, || drop(drive(&layer, cache_hit())));
    let active = [("http.request.method", "GET"), ("url.scheme", "http")];
    let labels = with(
        &active,
        [
            ("cache", "hit"),
            ("network.protocol.version", "1.1"),
            ("http.response.status_code", "200"),
        ],
    );
    let expected = Expected::default()
        .value(semconv::ACTIVE_REQUESTS, &active, 0)
        .seconds(semconv::REQUEST_DURATION, &labels, 1)
        .bytes(semconv::REQUEST_BODY_SIZE, &labels, &[0])
        .bytes(semconv::RESPONSE_BODY_SIZE, &labels, &[5]);
    assert_eq!(rendered(&recorder), expected.0);
}

#[test]
fn the_response_is_labelled_though_the_layer_is_gone() {
    type Answer = fn(Request<Empty<Bytes>>) -> Ready<Result<Response<Script>, Broken>>;
    let hit: Answer = |_| ready(Ok(answer(200, &[("x-cache", "hit")], [])));
    let failing: Answer = |_| ready(Err(Broken));
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        for answer in [hit, hit, failing] {
            // `oneshot` lets go of the service as soon as it has called it.
            let service = cached(MetricsLayer::builder()).layer(service_fn(answer));
            drop(service.oneshot(request(Method::GET)).now_or_never());
        }
    });
    let expected = [counted("", 1), counted("hit", 2)].concat();
    assert_eq!(requests_by(&recorder, "cache"), expected);
}

#[test]
fn a_response_label_that_panics_is_an_exchange_without_a_head() {
    let layer = MetricsLayer::builder()
        .response_label("cache", |_| panic!("label"))
        .build()
        .unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        assert!(drive(&layer, cache_hit()).is_none());
    });
    let base = [("method", "GET")];
    let labelled = with(&base, [("cache", "")]);
    let by_kind = with(&labelled, [("kind", "unary")]);
    let by_status = with(&labelled, [("status", "500")]);
    let ended = with(&by_status, [("outcome", "panicked")]);
    let expected = Expected::default()
        .value(REQUESTS_IN_FLIGHT, &base, 0)
        .bytes(REQUEST_BODY_BYTES, &base, &[0])
        .value(REQUESTS_TOTAL, &by_status, 1)
        .seconds(REQUEST_DURATION_SECONDS, &by_kind, 1)
        .value(RESPONSES_ENDED_TOTAL, &ended, 1);
    assert_eq!(rendered(&recorder), expected.0);
}
