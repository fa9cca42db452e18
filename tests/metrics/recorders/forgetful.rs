//! Recorders that forget what was not used for a while.

use std::{sync::Arc, thread::sleep, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use metrics_util::MetricKindMask;
use tower_passthrough::{
    metrics::{
        GRPC_SERVER_HANDLED_TOTAL, MetricsLayer, REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT,
        REQUESTS_TOTAL, RESPONSES_ENDED_TOTAL,
    },
    observe::Outcome,
};

use super::{GET, explicit, stream, whole};
use crate::{
    common::Step,
    drive::{Until, answer, answering, drive},
    rows::Row,
    series::{Series, exporter, series, shown, with},
};

const IDLE: Duration = Duration::from_millis(40);

/// A layer whose exporter forgets what is idle for [`IDLE`] and is looked at meanwhile.
fn forgetful(ttl: Duration) -> (MetricsLayer, PrometheusHandle) {
    let builder = exporter().idle_timeout(MetricKindMask::ALL, Some(IDLE));
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    let builder = MetricsLayer::builder().handle_ttl(ttl);
    (
        builder.recorder(Arc::new(recorder)).build().unwrap(),
        handle,
    )
}

/// Waits until the exporter has forgotten everything.
fn forget(handle: &PrometheusHandle) {
    shown(handle);
    sleep(IDLE * 2);
    assert_eq!(shown(handle), Series::new());
}

fn requests(handle: &PrometheusHandle) -> Option<String> {
    let labels = with(&[GET], [("status", "200")]);
    shown(handle).remove(&series(REQUESTS_TOTAL, &labels))
}

#[test]
fn a_series_that_was_forgotten_is_there_again_when_it_is_used() {
    let (layer, handle) = forgetful(IDLE / 4);
    for round in 1..=3 {
        for _ in 0..round {
            drop(drive(&layer, whole()));
        }
        // Looked at once: what is looked at twice may be forgotten in between.
        let all = shown(&handle);
        let ok = with(&[GET], [("status", "200")]);
        assert_eq!(all[&series(REQUESTS_TOTAL, &ok)], round.to_string());
        let lasted = format!("{REQUEST_DURATION_SECONDS}_count");
        let lasted = series(&lasted, &[GET, ("kind", "unary")]);
        assert_eq!(all[&lasted], round.to_string());
        assert_eq!(all[&series(REQUESTS_IN_FLIGHT, &[GET])], "0");
        forget(&handle);
    }
}

#[test]
fn handles_that_are_kept_for_too_long_record_nothing() {
    // Not a promise: it shows that the exporter forgets, and that the TTL is what helps.
    let (layer, handle) = forgetful(Duration::MAX);
    drop(drive(&layer, whole()));
    assert_eq!(requests(&handle), Some("1".to_owned()));
    forget(&handle);
    drop(drive(&layer, whole()));
    assert_eq!(requests(&handle), None);
}

#[test]
fn nothing_is_lost_when_handles_are_renewed() {
    let builder = MetricsLayer::builder().handle_ttl(Duration::from_nanos(1));
    let (layer, handle) = explicit(builder);
    let open: Vec<_> = (0..10).map(|_| drive(&layer, stream())).collect();
    for _ in 0..90 {
        drop(drive(&layer, whole()));
    }
    assert_eq!(shown(&handle)[&series(REQUESTS_IN_FLIGHT, &[GET])], "10");
    drop(open);
    let all = shown(&handle);
    assert_eq!(requests(&handle), Some("100".to_owned()));
    assert_eq!(all[&series(REQUESTS_IN_FLIGHT, &[GET])], "0");
    let lasted = |kind| {
        let labels = [GET, ("kind", kind)];
        all[&series("http_request_duration_seconds_count", &labels)].clone()
    };
    assert_eq!(
        (lasted("stream"), lasted("unary")),
        ("10".into(), "90".into())
    );
}

#[test]
fn a_stream_that_outlives_its_handles_ends_where_the_exporter_looks() {
    for is_gone in [false, true] {
        let (layer, handle) = forgetful(IDLE / 4);
        // Takes the handles for the end of such a stream, that are forgotten later.
        drop(drive(&layer, stream()));
        let open = drive(&layer, stream());
        assert_eq!(shown(&handle)[&series(REQUESTS_IN_FLIGHT, &[GET])], "1");
        forget(&handle);
        if is_gone {
            drop(layer);
        }
        drop(open);

        let ended = with(&[GET], [("status", "200"), ("outcome", "disconnected")]);
        let all = shown(&handle);
        assert_eq!(all[&series(RESPONSES_ENDED_TOTAL, &ended)], "1");
        let kind = [GET, ("kind", "stream")];
        assert_eq!(
            all[&series("http_request_duration_seconds_count", &kind)],
            "1"
        );
        assert_eq!(all[&series("http_response_body_bytes_sum", &kind)], "5");
        // The gauge that it was in is forgotten.
        assert_eq!(all.get(&series(REQUESTS_IN_FLIGHT, &[GET])), None);
    }
}

#[test]
fn a_call_that_outlives_its_handles_ends_where_the_exporter_looks() {
    for is_gone in [false, true] {
        let (layer, handle) = forgetful(IDLE / 4);
        let call = || {
            let fields = [("content-type", "application/grpc")];
            let response = answer(200, &fields, [Step::Data(5)]);
            let exchange = answering(response).until(Until::Polls(1));
            let call = Row::of("call", exchange, ("200", "grpc"), Outcome::Disconnected, 5);
            drive(&layer, call.call("Canceled").exchange)
        };
        drop(call());
        let open = call();
        forget(&handle);
        if is_gone {
            drop(layer);
        }
        drop(open);
        let labels = [
            ("method", "POST"),
            ("grpc_service", "chat.v1.Chat"),
            ("grpc_method", "Say"),
            ("grpc_code", "Canceled"),
        ];
        let handled = series(GRPC_SERVER_HANDLED_TOTAL, &labels);
        assert_eq!(shown(&handle).remove(&handled).as_deref(), Some("1"));
    }
}

#[test]
fn what_is_in_flight_is_never_negative() {
    let (layer, handle) = forgetful(IDLE / 4);
    let gauge = || shown(&handle).remove(&series(REQUESTS_IN_FLIGHT, &[GET]));
    let old = [(); 2].map(|()| drive(&layer, stream()));
    assert_eq!(gauge().as_deref(), Some("2"));
    forget(&handle);
    let new = drive(&layer, stream());
    drop(old);
    assert_eq!(gauge().as_deref(), Some("1"));
    drop(new);
    assert_eq!(gauge().as_deref(), Some("0"));
}

#[test]
fn a_finished_body_that_is_kept_for_long_ends_where_the_exporter_looks() {
    let (layer, handle) = forgetful(IDLE / 4);
    let kept = || {
        let fields = [("content-length", "5")];
        let response = answer(200, &fields, [Step::Data(5)]);
        drive(&layer, answering(response).until(Until::Polls(1)))
    };
    drop(kept());
    let open = kept();
    forget(&handle);
    drop(open);
    let ended = with(&[GET], [("status", "200"), ("outcome", "complete")]);
    let ended = series(RESPONSES_ENDED_TOTAL, &ended);
    assert_eq!(shown(&handle).remove(&ended).as_deref(), Some("1"));
}
