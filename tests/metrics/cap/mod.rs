//! No more label sets than there may be, exactly.

mod grpc;

use std::{sync::Arc, thread, time::Duration};

use http::{HeaderValue, Response};
use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusHandle;
use tower_passthrough::metrics::{
    GRPC_SERVER_HANDLED_TOTAL, MetricsLayer, MetricsLayerBuilder, OVERFLOW_TOTAL,
    REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSES_ENDED_TOTAL, semconv,
};

use crate::{
    common::{End, Script, Size, Step},
    drive::{Exchange, Until, answer, answering, drive, hinting},
    series::{recorder, series, shown},
};

fn explicit(builder: MetricsLayerBuilder) -> (MetricsLayer, PrometheusHandle) {
    let recorder = recorder();
    let handle = recorder.handle();
    (
        builder.recorder(Arc::new(recorder)).build().unwrap(),
        handle,
    )
}

fn empty() -> Response<Script> {
    hinting(answer(200, &[], []), Size::Exact, End::Shown)
}

fn to(path: &str) -> Exchange {
    let mut exchange = answering(empty());
    *exchange.request.uri_mut() = path.parse().unwrap();
    exchange
}

/// A call of this method, with this status.
fn call(path: &str, status: &str) -> Exchange {
    let fields = [
        ("content-type", "application/grpc"),
        ("grpc-status", status),
    ];
    let mut exchange = answering(hinting(answer(200, &fields, []), Size::Exact, End::Shown));
    *exchange.request.uri_mut() = path.parse().unwrap();
    *exchange.request.method_mut() = "POST".parse().unwrap();
    let fields = exchange.request.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    exchange
}

/// How many series this metric has, and their sum.
fn tally(handle: &PrometheusHandle, name: &str) -> (usize, u64) {
    let name = format!("{}{{", name.replace('.', "_"));
    let values: Vec<u64> = shown(handle)
        .into_iter()
        .filter(|(series, _)| series.starts_with(&name))
        .map(|(_, value)| value.parse().unwrap())
        .collect();
    (values.len(), values.iter().sum())
}

fn value(handle: &PrometheusHandle, name: &str, labels: &[(&str, &str)]) -> Option<String> {
    shown(handle).remove(&series(name, labels))
}

fn overflow(handle: &PrometheusHandle) -> Option<String> {
    value(handle, OVERFLOW_TOTAL, &[])
}

const OTHER: [(&str, &str); 3] = [("method", "_other"), ("path", "_other"), ("status", "200")];

#[test]
fn beyond_the_cap_all_is_other_and_counted_as_such() {
    fill(MetricsLayer::builder());
    // With sets that are all out of date at once.
    fill(MetricsLayer::builder().handle_ttl(Duration::from_nanos(1)));
}

fn fill(builder: MetricsLayerBuilder) {
    let builder = builder.raw_paths().max_label_sets(10);
    let (layer, handle) = explicit(builder);
    for path in 0..7 {
        drop(drive(&layer, to(&format!("/{path}"))));
    }
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (7, 7));
    assert_eq!(overflow(&handle), None);
    for path in 7..100 {
        drop(drive(&layer, to(&format!("/{path}"))));
    }
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (8, 100));
    assert_eq!(value(&handle, REQUESTS_TOTAL, &OTHER).unwrap(), "93");
    assert_eq!(overflow(&handle).unwrap(), "93");
    assert_eq!(tally(&handle, REQUESTS_IN_FLIGHT), (8, 0));
    // A known set stays as it is.
    for path in 0..7 {
        drop(drive(&layer, to(&format!("/{path}"))));
        let labels = [
            ("method", "GET"),
            ("path", &*format!("/{path}")),
            ("status", "200"),
        ];
        assert_eq!(value(&handle, REQUESTS_TOTAL, &labels).unwrap(), "2");
    }
    assert_eq!(overflow(&handle).unwrap(), "93");
}

#[test]
fn what_has_no_room_is_in_flight_as_other() {
    let builder = MetricsLayer::builder().raw_paths().max_label_sets(4);
    let (layer, handle) = explicit(builder.service("gateway"));
    drop(drive(&layer, to("/known")));
    let mut streaming = to("/unknown").until(Until::Polls(1));
    let response = answer(200, &[], [Step::Data(5)]);
    streaming.does = answering(response).does;
    let open = drive(&layer, streaming);
    let other = [
        ("service", "gateway"),
        ("method", "_other"),
        ("path", "_other"),
    ];
    let in_flight = || value(&handle, REQUESTS_IN_FLIGHT, &other).unwrap();
    assert_eq!(in_flight(), "1");
    let counted = || value(&handle, OVERFLOW_TOTAL, &[("service", "gateway")]).unwrap();
    assert_eq!(counted(), "1");
    drop(open);
    assert_eq!(in_flight(), "0");
    assert_eq!(counted(), "1");
    assert_eq!(tally(&handle, RESPONSES_ENDED_TOTAL), (2, 2));
}

#[test]
fn labels_of_responses_take_room_too() {
    let builder = MetricsLayer::builder()
        .raw_paths()
        .response_label("size", |head| {
            head.body_size
                .exact()
                .unwrap_or_default()
                .to_string()
                .into()
        })
        .max_label_sets(10);
    let (layer, handle) = explicit(builder);
    for path in 0..100 {
        drop(drive(&layer, to(&format!("/{path}"))));
    }
    // Seven sets: those of four requests, and of three of their responses.
    assert_eq!(tally(&handle, REQUESTS_IN_FLIGHT), (5, 0));
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (4, 100));
    let other = [&OTHER[..], &[("size", "_other")]].concat();
    assert_eq!(value(&handle, REQUESTS_TOTAL, &other).unwrap(), "97");
    assert_eq!(overflow(&handle).unwrap(), "97", "once for each exchange");
}

#[test]
fn an_exchange_overflows_once_though_all_its_sets_do() {
    let builder = MetricsLayer::builder()
        .raw_paths()
        .response_label("any", |_| "any".into())
        .max_label_sets(4);
    let (layer, handle) = explicit(builder);
    for service in 0..10 {
        drop(drive(&layer, call(&format!("/s{service}/m"), "0")));
    }
    // The first has room for its request only.
    assert_eq!(overflow(&handle).unwrap(), "10");
    assert_eq!(tally(&handle, REQUESTS_IN_FLIGHT), (2, 0));
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (1, 10));
    assert_eq!(tally(&handle, GRPC_SERVER_HANDLED_TOTAL), (1, 10));
}

#[test]
fn conventional_sets_are_bounded_too() {
    let builder = MetricsLayer::builder()
        .opentelemetry()
        .path(|request| request.uri.path().to_owned().into())
        .max_label_sets(10);
    let (layer, handle) = explicit(builder);
    for path in 0..100 {
        drop(drive(&layer, to(&format!("/{path}"))));
    }
    let lasted = format!("{}_count", semconv::REQUEST_DURATION);
    assert_eq!(tally(&handle, &lasted), (8, 100));
    assert_eq!(tally(&handle, semconv::ACTIVE_REQUESTS), (2, 0));
    assert_eq!(overflow(&handle).unwrap(), "93");
}

#[test]
fn the_preset_holds_no_set_for_each_method() {
    let builder = MetricsLayer::builder()
        .service("s")
        .hosts(["h"])
        .raw_paths()
        .only_requests_total()
        .max_label_sets(5);
    let (layer, handle) = explicit(builder);
    for path in ["/1", "/2", "/3"] {
        for method in ["GET", "POST", "PUT", "X"] {
            drop(drive(&layer, to(path).method(method.parse().unwrap())));
        }
    }
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (3, 12));
    let counted = value(&handle, OVERFLOW_TOTAL, &[("service", "s")]);
    assert_eq!(counted.unwrap(), "4", "only the third path");
}

/// Requests of so many paths from this thread.
fn ask(layer: &MetricsLayer, prefix: &str, paths: usize) {
    for path in 0..paths {
        drop(drive(layer, to(&format!("{prefix}/{path}"))));
    }
}

#[test]
fn four_threads_at_once_hold_no_more() {
    for _ in 0..10 {
        let builder = MetricsLayer::builder().raw_paths().max_label_sets(50);
        let (layer, handle) = explicit(builder);
        thread::scope(|scope| {
            for thread in ["/0", "/1", "/2", "/3"] {
                scope.spawn(|| ask(&layer, thread, 250));
            }
        });
        assert_eq!(tally(&handle, REQUESTS_TOTAL), (48, 1000));
        assert_eq!(tally(&handle, REQUESTS_IN_FLIGHT), (48, 0));
        assert_eq!(value(&handle, REQUESTS_TOTAL, &OTHER).unwrap(), "953");
        assert_eq!(overflow(&handle).unwrap(), "953");
    }
}

#[test]
fn four_threads_with_the_same_paths_hold_each_once() {
    let builder = MetricsLayer::builder().raw_paths().max_label_sets(103);
    let (layer, handle) = explicit(builder);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(&layer, "", 100));
        }
    });
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (100, 400));
    assert_eq!(overflow(&handle), None);
}

#[test]
fn values_that_are_too_long_are_other() {
    let builder = MetricsLayer::builder().raw_paths().max_label_sets(100);
    let (layer, handle) = explicit(builder);
    // With the slash: 255, 256, 257 bytes.
    for length in [254, 255, 256, 1000] {
        for letter in ["a", "b"] {
            drop(drive(&layer, to(&format!("/{}", letter.repeat(length)))));
        }
    }
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (5, 8));
    let labels = [("method", "GET"), ("path", "_other"), ("status", "200")];
    assert_eq!(value(&handle, REQUESTS_TOTAL, &labels).unwrap(), "4");
    assert_eq!(overflow(&handle), None, "they share a set that has room");

    let path = format!("/{}/{}", "s".repeat(257), "m".repeat(256));
    drop(drive(&layer, call(&path, "0")));
    let method = "m".repeat(256);
    let labels = [
        ("method", "POST"),
        ("path", "_other"),
        ("grpc_service", "_other"),
        ("grpc_method", &method),
        ("grpc_code", "OK"),
    ];
    assert_eq!(
        value(&handle, GRPC_SERVER_HANDLED_TOTAL, &labels).unwrap(),
        "1"
    );
}

/// Both live at the same time, and so at different addresses.
#[test]
fn another_recorder_finds_an_empty_table() {
    let layer = MetricsLayer::builder()
        .raw_paths()
        .max_label_sets(4)
        .build()
        .unwrap();
    let [filling, other] = [recorder(), recorder()];
    for round in 1..=3 {
        for (recorder, path) in [(&filling, "/a"), (&other, "/b")] {
            with_local_recorder(recorder, || drop(drive(&layer, to(path))));
            let labels = [("method", "GET"), ("path", path), ("status", "200")];
            let seen = value(&recorder.handle(), REQUESTS_TOTAL, &labels);
            assert_eq!(seen, Some(round.to_string()));
            if path == "/a" {
                with_local_recorder(recorder, || drop(drive(&layer, to("/one-too-many"))));
            }
        }
        assert_eq!(overflow(&filling.handle()), Some(round.to_string()));
        assert_eq!(overflow(&other.handle()), None);
    }
}
