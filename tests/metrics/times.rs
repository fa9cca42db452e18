//! Times, what is recorded frame by frame, and buckets for all of it.

use std::{
    convert::Infallible,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response};
use http_body_util::{Empty, Full};
use metrics::with_local_recorder;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tower::{Layer, ServiceExt, service_fn};
use tower_passthrough::{
    RequestHead, ResponseHead,
    metrics::{
        BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS, MetricsLayer,
        MetricsLayerBuilder, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS, RESPONSE_BODY_BYTES,
        RESPONSE_BYTES_TOTAL, RESPONSE_FIRST_BYTE_SECONDS, RESPONSE_FRAME_GAP_SECONDS,
        RESPONSE_HEAD_SECONDS, semconv,
    },
    observe::{MakeObserver, Moment, Observer, Outcome},
};

use crate::{
    common::{End, Size, Step},
    drive::{Until, answer, answering, drive, hinting, request},
    series::{everything, recorder, rendered, seconds, series},
};

/// One exchange that is told in whole seconds: its head after the first of these numbers, then
/// data frames of these lengths at these times, then its end.
fn told(layer: &MetricsLayer, sort: &'static str, head: u64, frames: &[(usize, u64)], end: u64) {
    let start = Instant::now();
    let at = |seconds| Moment::from(start + Duration::from_secs(seconds));
    let request = request(Method::GET);
    let mut observer = layer.observe(&RequestHead::from(&request), &at(0)).unwrap();
    let (status, fields) = match sort {
        "unary" => (200, [("content-length", "9")]),
        "upgrade" => (101, [("x-upgrade", "any")]),
        "grpc" => (200, [("content-type", "application/grpc")]),
        _ => (200, [("x-length", "none")]),
    };
    let response = answer(status, &fields, []);
    observer.on_response(&ResponseHead::from(&response), &at(head));
    for (length, seconds) in frames {
        observer.on_data(&&vec![b'x'; *length][..], &at(*seconds));
    }
    observer.on_end(Outcome::Disconnected, &at(end));
}

#[test]
fn times_are_exactly_those_between_the_moments() {
    let layer = MetricsLayer::builder().build().unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        for head in 1..=3 {
            let frames = [(0, head + 1), (4, head + 7), (4, 20)];
            told(&layer, "stream", head, &frames, 30 + head);
        }
    });
    let labels = [("method", "GET"), ("kind", "stream")];
    let sum = |name| seconds(&recorder, name, &labels).to_string();
    assert_eq!(sum(RESPONSE_HEAD_SECONDS), "6");
    assert_eq!(sum(RESPONSE_FIRST_BYTE_SECONDS), "27");
    assert_eq!(sum(REQUEST_DURATION_SECONDS), "96");
    assert_eq!(sum(RESPONSE_BODY_BYTES), "24");

    let layer = MetricsLayer::builder().opentelemetry().build().unwrap();
    with_local_recorder(&recorder, || told(&layer, "stream", 1, &[(4, 2)], 30));
    let labels = [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("error.type", "disconnected"),
    ];
    let sum = seconds(&recorder, "http_server_request_duration", &labels);
    assert_eq!(sum.to_string(), "30");
}

#[test]
fn only_streams_and_calls_have_a_first_byte() {
    for (sort, frames, first) in [
        ("stream", &[(1, 2)][..], Some("2")),
        ("stream", &[(0, 2), (0, 3), (5, 4), (5, 5)], Some("4")),
        ("stream", &[(0, 2)], None),
        ("stream", &[], None),
        ("grpc", &[(1, 2)], Some("2")),
        ("unary", &[(1, 2)], None),
        ("upgrade", &[], None),
    ] {
        let layer = MetricsLayer::builder().build().unwrap();
        let recorder = recorder();
        with_local_recorder(&recorder, || told(&layer, sort, 1, frames, 9));
        let sum = format!("{RESPONSE_FIRST_BYTE_SECONDS}_sum");
        let sum = series(&sum, &[("method", "GET"), ("kind", sort)]);
        let all = everything(&recorder.handle());
        assert_eq!(all.get(&sum).map(|it| &**it), first, "{sort} {frames:?}");
        assert_eq!(
            all.keys()
                .any(|it| it.starts_with(RESPONSE_FIRST_BYTE_SECONDS)),
            first.is_some(),
            "{sort} {frames:?}"
        );
    }
}

#[test]
fn live_bytes_are_counted_as_they_pass() {
    let layer = MetricsLayer::builder().live_bytes().build().unwrap();
    for size in [Size::Unknown, Size::Exact] {
        let recorder = recorder();
        let total = series(RESPONSE_BYTES_TOTAL, &[("method", "GET")]);
        let steps = [Step::Data(3), Step::Data(0), Step::Pending, Step::Data(20)];
        with_local_recorder(&recorder, || {
            for (polls, bytes) in [(1, "3"), (2, "6"), (3, "9"), (4, "32")] {
                let response = hinting(answer(200, &[], steps.clone()), size, End::Hidden);
                let held = drive(&layer, answering(response).until(Until::Polls(polls)));
                assert_eq!(rendered(&recorder)[&total], bytes, "{size:?} {polls}");
                drop(held);
                assert_eq!(rendered(&recorder)[&total], bytes, "{size:?} {polls}");
            }
        });
        let kind = if size == Size::Exact {
            "unary"
        } else {
            "stream"
        };
        let labels = [("method", "GET"), ("kind", kind)];
        let sum = series("http_response_body_bytes_sum", &labels);
        assert_eq!(rendered(&recorder)[&sum], "32", "the same, once");
    }
}

#[test]
fn gaps_are_those_between_data_frames() {
    let layer = MetricsLayer::builder().frame_gaps().build().unwrap();
    for (sort, frames, gaps) in [
        (
            "stream",
            &[(1, 2), (1, 5), (0, 6), (1, 16)][..],
            Some(("3", "14")),
        ),
        ("grpc", &[(1, 2), (1, 5)], Some(("1", "3"))),
        ("unary", &[(1, 2), (1, 5), (1, 5)], Some(("2", "3"))),
        ("stream", &[(1, 2)], None),
        ("stream", &[], None),
    ] {
        let recorder = recorder();
        with_local_recorder(&recorder, || told(&layer, sort, 1, frames, 99));
        let all = everything(&recorder.handle());
        let of = |what: &str| {
            let name = format!("{RESPONSE_FRAME_GAP_SECONDS}_{what}");
            let labels = [("method", "GET"), ("kind", sort)];
            all.get(&series(&name, &labels)).map(|it| &**it)
        };
        assert_eq!(of("count").zip(of("sum")), gaps, "{sort} {frames:?}");
    }
}

#[test]
fn frames_are_recorded_only_if_asked_for() {
    for (builder, has_bytes, has_gaps) in [
        (MetricsLayer::builder(), false, false),
        (MetricsLayer::builder().live_bytes(), true, false),
        (MetricsLayer::builder().frame_gaps(), false, true),
        (
            MetricsLayer::builder().live_bytes().frame_gaps(),
            true,
            true,
        ),
    ] {
        let layer = builder.build().unwrap();
        let recorder = recorder();
        let frames = [(1, 2), (1, 4)];
        with_local_recorder(&recorder, || told(&layer, "stream", 1, &frames, 9));
        let all = rendered(&recorder);
        let has = |name: &str| all.keys().any(|series| series.starts_with(name));
        assert_eq!(has(RESPONSE_BYTES_TOTAL), has_bytes);
        assert_eq!(has(RESPONSE_FRAME_GAP_SECONDS), has_gaps);
    }
}

#[test]
fn durations_run_to_the_last_thing_that_happened() {
    const PAUSE: Duration = Duration::from_millis(20);
    let layer = MetricsLayer::builder().build().unwrap();
    let times = |exchange, kind, method| {
        let recorder = recorder();
        with_local_recorder(&recorder, || {
            let held = drive(&layer, exchange);
            thread::sleep(PAUSE);
            drop(held);
        });
        let labels = [("method", method), ("kind", kind)];
        let head = seconds(&recorder, RESPONSE_HEAD_SECONDS, &labels);
        (head, seconds(&recorder, REQUEST_DURATION_SECONDS, &labels))
    };
    let five = || answer(200, &[], [Step::Data(5)]);

    // A stream that is dropped lasted until then.
    let (head, whole) = times(answering(five()).until(Until::Polls(1)), "stream", "GET");
    assert!(whole - head >= PAUSE.as_secs_f64(), "{head} {whole}");

    // An empty body, or none at all, ends with the head, whenever it is dropped.
    let empty = hinting(answer(204, &[], []), Size::Exact, End::Shown);
    let (head, whole) = times(answering(empty), "unary", "GET");
    assert_eq!(head.to_bits(), whole.to_bits(), "{head} {whole}");
    let to_head = answering(five()).method(Method::HEAD).until(Until::Head);
    let (head, whole) = times(to_head, "unary", "HEAD");
    assert_eq!(head.to_bits(), whole.to_bits(), "{head} {whole}");
}

#[test]
fn the_time_to_the_head_counts_from_the_call() {
    const PAUSE: Duration = Duration::from_millis(20);
    let recorder = recorder();
    let layer = MetricsLayer::builder().build().unwrap();
    with_local_recorder(&recorder, || {
        let service = layer.layer(service_fn(|_: Request<Empty<Bytes>>| {
            thread::sleep(PAUSE);
            async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"body")))) }
        }));
        let response = service.oneshot(request(Method::GET)).now_or_never();
        drop(response.unwrap().unwrap());
    });
    let labels = [("method", "GET"), ("kind", "unary")];
    let head = seconds(&recorder, RESPONSE_HEAD_SECONDS, &labels);
    assert!(head >= PAUSE.as_secs_f64(), "{head}");
}

#[test]
fn the_buckets_of_the_crate_fit_its_metrics() {
    type Style = fn(MetricsLayerBuilder) -> MetricsLayerBuilder;
    let plain: Style = |builder| builder.frame_gaps();
    let conventional: Style = MetricsLayerBuilder::opentelemetry;
    for (style, name, buckets) in [
        (plain, RESPONSE_HEAD_SECONDS, HEAD_SECONDS_BUCKETS),
        (plain, RESPONSE_FIRST_BYTE_SECONDS, HEAD_SECONDS_BUCKETS),
        (plain, RESPONSE_FRAME_GAP_SECONDS, HEAD_SECONDS_BUCKETS),
        (plain, REQUEST_DURATION_SECONDS, DURATION_SECONDS_BUCKETS),
        (plain, REQUEST_BODY_BYTES, BODY_BYTES_BUCKETS),
        (plain, RESPONSE_BODY_BYTES, BODY_BYTES_BUCKETS),
        (
            conventional,
            semconv::REQUEST_DURATION,
            semconv::DURATION_BUCKETS,
        ),
        (conventional, semconv::REQUEST_BODY_SIZE, BODY_BYTES_BUCKETS),
        (
            conventional,
            semconv::RESPONSE_BODY_SIZE,
            BODY_BYTES_BUCKETS,
        ),
    ] {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
            .unwrap()
            .build_recorder();
        let layer = style(MetricsLayer::builder()).build().unwrap();
        let response = || answer(200, &[], [Step::Data(5), Step::Data(5)]);
        with_local_recorder(&recorder, || drop(drive(&layer, answering(response()))));
        let bucket = format!("{}_bucket{{", name.replace('.', "_"));
        let mut limits: Vec<f64> = rendered(&recorder)
            .keys()
            .filter(|series| series.starts_with(&bucket))
            .map(|series| series.split_once("le=\"").unwrap().1)
            .map(|rest| rest.split_once('"').unwrap().0.parse().unwrap())
            .collect();
        limits.sort_by(f64::total_cmp);
        assert_eq!(limits, [buckets, &[f64::INFINITY]].concat(), "{name}");
    }
}

#[test]
fn buckets_reach_as_far_as_they_say() {
    // https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
    let advised = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    let bits = |buckets: &[f64]| buckets.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(semconv::DURATION_BUCKETS), bits(&advised));
    for (buckets, first, last) in [
        (HEAD_SECONDS_BUCKETS, 0.001, 30.0),
        (DURATION_SECONDS_BUCKETS, 0.001, 3600.0),
        (BODY_BYTES_BUCKETS, 256.0, 67_108_864.0),
    ] {
        let ends = [buckets[0], buckets[buckets.len() - 1]];
        assert_eq!(bits(&ends), bits(&[first, last]));
    }
}

#[test]
fn a_size_falls_into_its_bucket() {
    let recorder = PrometheusBuilder::new()
        .set_buckets(BODY_BYTES_BUCKETS)
        .unwrap()
        .build_recorder();
    let layer = MetricsLayer::builder().build().unwrap();
    with_local_recorder(&recorder, || {
        for size in [0, 256, 257, 4096, 16385] {
            let response = answer(200, &[], [Step::Data(size)]);
            drop(drive(&layer, answering(response)));
        }
    });
    let all = rendered(&recorder);
    for (le, count) in [
        ("256", "2"),
        ("1024", "3"),
        ("4096", "4"),
        ("16384", "4"),
        ("65536", "5"),
        ("67108864", "5"),
        ("+Inf", "5"),
    ] {
        let labels = [("method", "GET"), ("kind", "stream"), ("le", le)];
        let bucket = series("http_response_body_bytes_bucket", &labels);
        assert_eq!(all[&bucket], count, "{le}");
    }
}
