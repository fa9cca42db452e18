//! `MetricsLayer`: the series that a real exporter renders, and their exact values.
#![cfg(feature = "metrics")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod common;
#[path = "common/drive.rs"]
mod drive;
#[path = "common/net.rs"]
mod net;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{End, Size, Step};
use drive::{Does, Exchange, Until, answer, answering, drive, exchange, hinting, request};
use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use metrics::with_local_recorder;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use net::{Proto, Served, loopback, raw_h1, serve, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    sync::mpsc,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_passthrough::{
    RequestHead, ResponseHead,
    metrics::{
        BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS, MetricsLayer,
        MetricsLayerBuilder, REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL,
        RESPONSE_BODY_BYTES, RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL,
    },
    observe::{MakeObserver, Moment, Observer, Outcome},
};

/// All that is rendered, each value by its series, the labels of a series in alphabetical order.
/// Sums of seconds are left out: no two runs agree on them.
type Series = BTreeMap<String, String>;

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// One bucket for all times, two for bytes.
fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[3600.0])
        .unwrap()
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &[4.0, 16.0])
        .unwrap()
        .build_recorder()
}

fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// All that is rendered, with nothing left out.
fn everything(recorder: &PrometheusRecorder) -> Series {
    let parsed = |line: &str| {
        let (key, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let labels: Vec<_> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| label.split_once('=').unwrap())
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        (series(name, &labels), value.to_owned())
    };
    let rendered = recorder.handle().render();
    let lines = rendered
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all = Series::new();
    for (series, value) in lines.map(parsed) {
        assert_eq!(all.insert(series.clone(), value), None, "{series} twice");
    }
    all
}

fn rendered(recorder: &PrometheusRecorder) -> Series {
    let mut all = everything(recorder);
    all.retain(|series, _| !series.contains("_seconds_sum"));
    all
}

/// The seconds that this histogram has summed up.
fn seconds(recorder: &PrometheusRecorder, name: &str, labels: &[(&str, &str)]) -> f64 {
    let all = everything(recorder);
    all[&series(&format!("{name}_sum"), labels)]
        .parse()
        .unwrap()
}

/// What should be rendered.
#[derive(Default)]
struct Expected(Series);

impl Expected {
    fn value(mut self, name: &str, labels: &Labels<'_>, value: usize) -> Self {
        let twice = self.0.insert(series(name, labels), value.to_string());
        assert_eq!(twice, None, "{name} {labels:?}");
        self
    }

    fn bucket(self, name: &str, labels: &Labels<'_>, le: &str, value: usize) -> Self {
        let labels = with(labels, [("le", le)]);
        self.value(&format!("{name}_bucket"), &labels, value)
    }

    fn seconds(self, name: &str, labels: &Labels<'_>, count: usize) -> Self {
        self.bucket(name, labels, "3600", count)
            .bucket(name, labels, "+Inf", count)
            .value(&format!("{name}_count"), labels, count)
    }

    /// The sizes of bodies.
    fn bytes(self, labels: &Labels<'_>, bodies: &[usize]) -> Self {
        let name = RESPONSE_BODY_BYTES;
        let up_to = |limit| bodies.iter().filter(|bytes| **bytes <= limit).count();
        self.bucket(name, labels, "4", up_to(4))
            .bucket(name, labels, "16", up_to(16))
            .bucket(name, labels, "+Inf", bodies.len())
            .value(&format!("{name}_count"), labels, bodies.len())
            .value(&format!("{name}_sum"), labels, bodies.iter().sum())
    }
}

fn with<'a, const N: usize>(base: &Labels<'a>, more: [(&'a str, &'a str); N]) -> Labels<'a> {
    base.iter().copied().chain(more).collect()
}

/// An exchange, and what is recorded of it.
struct Row {
    name: &'static str,
    exchange: Exchange,
    method: &'static str,
    /// The status and the kind, if there is a head.
    head: Option<(&'static str, &'static str)>,
    /// The status, if there is no head.
    otherwise: &'static str,
    outcome: Outcome,
    bytes: usize,
    /// Whether it is under way until what is left of it is dropped.
    is_held: bool,
}

impl Row {
    fn expected(&self, base: &Labels<'_>, is_over: bool) -> Series {
        let (status, kind) = self.head.unwrap_or((self.otherwise, "unary"));
        let by_kind = with(base, [("kind", kind)]);
        let by_status = with(base, [("status", status)]);
        let mut expected =
            Expected::default().value(REQUESTS_IN_FLIGHT, base, usize::from(!is_over));
        if self.head.is_some() {
            expected = expected.seconds(RESPONSE_HEAD_SECONDS, &by_kind, 1);
        }
        if self.head.is_some() || is_over {
            expected = expected.value(REQUESTS_TOTAL, &by_status, 1);
        }
        if is_over {
            let ended = with(&by_status, [("outcome", self.outcome.as_str())]);
            expected = expected.value(RESPONSES_ENDED_TOTAL, &ended, 1).seconds(
                REQUEST_DURATION_SECONDS,
                &by_kind,
                1,
            );
        }
        if self.head.is_some() && is_over {
            expected = expected.bytes(&by_kind, &[self.bytes]);
        }
        expected.0
    }
}

/// A GET without a response head.
fn headless(
    name: &'static str,
    exchange: Exchange,
    status: &'static str,
    outcome: Outcome,
    is_held: bool,
) -> Row {
    Row {
        name,
        exchange,
        method: "GET",
        head: None,
        otherwise: status,
        outcome,
        bytes: 0,
        is_held,
    }
}

fn headless_rows() -> [Row; 5] {
    let unpolled = answering(answer(200, &[], [])).until(Until::Called);
    [
        headless("never polled", unpolled, "499", Outcome::Cancelled, true),
        headless(
            "pending",
            exchange(Does::NeverAnswer),
            "499",
            Outcome::Cancelled,
            true,
        ),
        headless(
            "failed",
            exchange(Does::Fail),
            "500",
            Outcome::ServiceError,
            false,
        ),
        headless(
            "panicked in the call",
            exchange(Does::PanicInCall),
            "500",
            Outcome::Panicked,
            false,
        ),
        headless(
            "panicked in the future",
            exchange(Does::PanicInFuture),
            "500",
            Outcome::Panicked,
            false,
        ),
    ]
}

/// Each way in which a body ends, for each kind that has one.
fn body_rows() -> Vec<Row> {
    /// Status, its label, content type, kind, how the body tells its size.
    type Sort = (
        u16,
        &'static str,
        &'static str,
        &'static str,
        Size,
        &'static [Step],
    );
    const PLAIN: &[Step] = &[];
    const TRAILERS: &[Step] = &[Step::Trailers];
    const SORTS: [Sort; 5] = [
        (201, "201", "text/html", "unary", Size::Exact, PLAIN),
        (200, "200", "text/html", "stream", Size::Unknown, PLAIN),
        (
            206,
            "206",
            "text/event-stream; charset=utf-8",
            "stream",
            Size::Exact,
            PLAIN,
        ),
        (
            404,
            "404",
            "application/x-ndjson",
            "stream",
            Size::Exact,
            PLAIN,
        ),
        (
            200,
            "200",
            "application/grpc+proto",
            "grpc",
            Size::Unknown,
            TRAILERS,
        ),
    ];
    let mut rows = Vec::new();
    for (code, status, content_type, kind, size, last) in SORTS {
        let row = |name, until, steps: &[Step], outcome, bytes, is_held| {
            let fields = [("content-type", content_type)];
            let response = answer(code, &fields, steps.iter().cloned());
            Row {
                name,
                exchange: answering(hinting(response, size, End::Hidden)).until(until),
                method: "GET",
                head: Some((status, kind)),
                otherwise: "none",
                outcome,
                bytes,
                is_held,
            }
        };
        let whole = [&[Step::Data(3), Step::Pending, Step::Data(2)], last].concat();
        let cut = [Step::Data(4), Step::Error, Step::Data(20)];
        let broken = [Step::Data(16), Step::Data(1), Step::Panic, Step::Data(20)];
        rows.extend([
            row("whole", Until::End, &whole, Outcome::Complete, 5, false),
            row("cut", Until::End, &cut, Outcome::BodyError, 4, false),
            row(
                "panicked",
                Until::End,
                &broken,
                Outcome::Panicked,
                17,
                false,
            ),
            row(
                "dropped mid-stream",
                Until::Polls(2),
                &whole,
                Outcome::Disconnected,
                3,
                true,
            ),
            row(
                "dropped unpolled",
                Until::Head,
                &whole,
                Outcome::Disconnected,
                0,
                true,
            ),
        ]);
    }
    rows
}

/// Bodies that are dropped before they are polled to the end, and are complete all the same.
fn complete_when_dropped_rows() -> [Row; 5] {
    let five = |status| answer(status, &[], [Step::Data(5)]);
    let sized = answer(200, &[("content-length", "5")], [Step::Data(5)]);
    let row = |name, exchange, head, bytes, is_held| Row {
        name,
        exchange,
        method: "GET",
        head: Some(head),
        otherwise: "none",
        outcome: Outcome::Complete,
        bytes,
        is_held,
    };
    [
        row(
            "at the content-length",
            answering(sized).until(Until::Polls(1)),
            ("200", "unary"),
            5,
            true,
        ),
        row(
            "at the exact size",
            answering(hinting(five(200), Size::Exact, End::Hidden)).until(Until::Polls(1)),
            ("200", "unary"),
            5,
            true,
        ),
        row(
            "at the shown end",
            answering(hinting(five(200), Size::Unknown, End::Shown)).until(Until::Polls(1)),
            ("200", "stream"),
            5,
            false,
        ),
        row(
            "304",
            answering(five(304)).until(Until::Head),
            ("304", "stream"),
            0,
            true,
        ),
        Row {
            method: "HEAD",
            ..row(
                "HEAD",
                answering(hinting(five(200), Size::Exact, End::Hidden))
                    .method(Method::HEAD)
                    .until(Until::Head),
                ("200", "unary"),
                0,
                true,
            )
        },
    ]
}

fn upgrade_rows() -> [Row; 4] {
    let switching = || answering(answer(101, &[], [])).upgrade();
    let connected = || answering(answer(200, &[], [])).method(Method::CONNECT);
    let row = |name, exchange, method, status, is_held| Row {
        name,
        exchange,
        method,
        head: Some((status, "upgrade")),
        otherwise: "none",
        outcome: Outcome::Upgraded,
        bytes: 0,
        is_held,
    };
    [
        row("101", switching(), "GET", "101", false),
        row(
            "101, kept",
            switching().keeping_tunnel(),
            "GET",
            "101",
            true,
        ),
        row("CONNECT", connected(), "CONNECT", "200", false),
        row(
            "CONNECT, kept",
            connected().keeping_tunnel(),
            "CONNECT",
            "200",
            true,
        ),
    ]
}

fn rows() -> Vec<Row> {
    let mut rows = body_rows();
    rows.extend(headless_rows());
    rows.extend(complete_when_dropped_rows());
    rows.extend(upgrade_rows());
    rows
}

#[test]
fn each_ending_of_each_kind_has_its_exact_series() {
    let layer = MetricsLayer::builder().build().unwrap();
    for row in rows() {
        let recorder = recorder();
        let base = vec![("method", row.method)];
        let context = format!("{} {:?}", row.name, row.head);
        with_local_recorder(&recorder, || {
            let held = drive(&layer, row.exchange.clone());
            let expected = row.expected(&base, !row.is_held);
            assert_eq!(rendered(&recorder), expected, "{context}, held");
            drop(held);
            let expected = row.expected(&base, true);
            assert_eq!(rendered(&recorder), expected, "{context}, dropped");
        });
    }
}

#[test]
fn a_kept_tunnel_is_in_flight_without_its_response() {
    let layer = MetricsLayer::builder().build().unwrap();
    for row in upgrade_rows().into_iter().filter(|row| row.is_held) {
        let recorder = recorder();
        let base = vec![("method", row.method)];
        with_local_recorder(&recorder, || {
            let held = drive(&layer, row.exchange.clone()).unwrap();
            let tunnel = held.only_tunnel();
            let expected = row.expected(&base, false);
            assert_eq!(rendered(&recorder), expected, "{}", row.name);
            drop(tunnel);
            let expected = row.expected(&base, true);
            assert_eq!(rendered(&recorder), expected, "{}", row.name);
        });
    }
}

/// Settings for all labels, and what they give for a request without a host.
fn labelled() -> (MetricsLayerBuilder, Labels<'static>) {
    let builder = MetricsLayer::builder()
        .service("gateway")
        .hosts(["api.example"])
        .path(|_| "/v1/*".into());
    let labels = vec![
        ("service", "gateway"),
        ("host", "_other"),
        ("path", "/v1/*"),
    ];
    (builder, labels)
}

#[test]
fn the_base_labels_are_those_that_were_asked_for() {
    let (all, labels) = labelled();
    let builders = [
        (MetricsLayer::builder(), vec![]),
        (MetricsLayer::builder().service("gateway"), vec![labels[0]]),
        (
            MetricsLayer::builder().hosts(["api.example"]),
            vec![labels[1]],
        ),
        (
            MetricsLayer::builder().hosts([""; 0]),
            vec![("host", "_other")],
        ),
        (
            MetricsLayer::builder().path(|_| "/v1/*".into()),
            vec![labels[2]],
        ),
        (all, labels),
    ];
    for (builder, labels) in builders {
        let layer = builder.build().unwrap();
        for row in rows() {
            let recorder = recorder();
            with_local_recorder(&recorder, || drop(drive(&layer, row.exchange.clone())));
            let base = with(&labels, [("method", row.method)]);
            let context = format!("{} {labels:?}", row.name);
            assert_eq!(rendered(&recorder), row.expected(&base, true), "{context}");
        }
    }
}

#[test]
fn the_preset_has_one_counter_with_exactly_four_labels() {
    let (builder, labels) = labelled();
    let layer = builder.only_requests_total().build().unwrap();
    for row in rows() {
        let recorder = recorder();
        let status = row.head.map_or(row.otherwise, |(status, _)| status);
        let counted = Expected::default()
            .value(REQUESTS_TOTAL, &with(&labels, [("status", status)]), 1)
            .0;
        let context = format!("{} {:?}", row.name, row.head);
        with_local_recorder(&recorder, || {
            let held = drive(&layer, row.exchange.clone());
            // Counted as soon as the status is known.
            let is_counted = row.head.is_some() || !row.is_held;
            let expected = if is_counted {
                counted.clone()
            } else {
                Series::new()
            };
            assert_eq!(rendered(&recorder), expected, "{context}, held");
            drop(held);
            assert_eq!(rendered(&recorder), counted, "{context}, dropped");
        });
    }

    let recorder = recorder();
    with_local_recorder(&recorder, || {
        for row in rows() {
            drop(drive(&layer, row.exchange));
        }
    });
    let requests: Vec<_> = label_of_requests(&recorder, "status");
    let total: u64 = requests.iter().map(|(_, count)| count).sum();
    assert_eq!(total, rows().len() as u64, "{requests:?}");
}

#[test]
fn exchanges_of_all_kinds_add_up() {
    let recorder = recorder();
    let layer = MetricsLayer::builder().build().unwrap();
    with_local_recorder(&recorder, || {
        for row in rows() {
            drop(drive(&layer, row.exchange));
        }
    });
    let of = |name: &str, label: (&str, &str)| {
        let label = format!("{}={:?}", label.0, label.1);
        rendered(&recorder)
            .into_iter()
            .filter(|(series, _)| series.starts_with(&format!("{name}{{")))
            .filter(|(series, _)| series.contains(&label))
            .map(|(_, value)| value.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let count = |holds: fn(&Row) -> bool| rows().iter().filter(|row| holds(row)).count() as u64;
    for outcome in [
        Outcome::Complete,
        Outcome::Upgraded,
        Outcome::BodyError,
        Outcome::Disconnected,
        Outcome::ServiceError,
        Outcome::Cancelled,
        Outcome::Panicked,
    ] {
        let expected = rows().iter().filter(|row| row.outcome == outcome).count() as u64;
        let ended = of(RESPONSES_ENDED_TOTAL, ("outcome", outcome.as_str()));
        assert_eq!(ended, expected, "{outcome}");
    }
    for (kind, bytes) in [("unary", 39), ("stream", 92), ("grpc", 29), ("upgrade", 0)] {
        let sum = of("http_response_body_bytes_sum", ("kind", kind));
        assert_eq!(sum, bytes, "{kind}");
    }
    assert_eq!(
        of(REQUESTS_TOTAL, ("status", "499")),
        count(|row| row.outcome == Outcome::Cancelled)
    );
    for method in ["GET", "HEAD", "CONNECT"] {
        let expected = rows().iter().filter(|row| row.method == method).count() as u64;
        assert_eq!(of(REQUESTS_TOTAL, ("method", method)), expected);
        assert_eq!(
            of("http_request_duration_seconds_count", ("method", method)),
            expected
        );
        assert_eq!(of(REQUESTS_IN_FLIGHT, ("method", method)), 0);
    }
}

#[test]
fn exchanges_that_overlap_are_all_in_flight() {
    let recorder = recorder();
    let layer = MetricsLayer::builder().build().unwrap();
    let in_flight =
        || rendered(&recorder)[&series(REQUESTS_IN_FLIGHT, &[("method", "GET")])].clone();
    with_local_recorder(&recorder, || {
        let streaming = || answering(answer(200, &[], [Step::Data(5), Step::Data(5)]));
        let mut held: Vec<_> = (0..3)
            .map(|polls| drive(&layer, streaming().until(Until::Polls(polls))))
            .collect();
        held.push(drive(&layer, exchange(Does::NeverAnswer)));
        assert_eq!(in_flight(), "4");
        for left in (0..4).rev() {
            drop(held.remove(0));
            assert_eq!(in_flight(), left.to_string());
        }
    });
}

#[test]
fn times_are_exactly_those_between_the_moments() {
    let layer = MetricsLayer::builder().build().unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        let start = Instant::now();
        let at = |seconds| Moment::from(start + Duration::from_secs(seconds));
        for times in 1..=3 {
            let request = request(Method::GET);
            let mut observer = layer.observe(&RequestHead::from(&request), &at(0)).unwrap();
            observer.on_response(&ResponseHead::from(&answer(200, &[], [])), &at(times));
            observer.on_data(&&b"data"[..], &at(20));
            observer.on_end(Outcome::Disconnected, &at(30 + times));
        }
    });
    let labels = [("method", "GET"), ("kind", "stream")];
    let sum = |name: &str| everything(&recorder)[&series(&format!("{name}_sum"), &labels)].clone();
    assert_eq!(sum(RESPONSE_HEAD_SECONDS), "6");
    assert_eq!(sum(REQUEST_DURATION_SECONDS), "96");
    assert_eq!(sum(RESPONSE_BODY_BYTES), "12");
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
    let (head, whole) = times(to_head, "stream", "HEAD");
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
    let of = |name: &str| Matcher::Full(name.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(of(RESPONSE_HEAD_SECONDS), &HEAD_SECONDS_BUCKETS)
        .unwrap()
        .set_buckets_for_metric(of(REQUEST_DURATION_SECONDS), &DURATION_SECONDS_BUCKETS)
        .unwrap()
        .set_buckets_for_metric(of(RESPONSE_BODY_BYTES), &BODY_BYTES_BUCKETS)
        .unwrap()
        .build_recorder();
    let sizes = [0, 256, 257, 4096, 16385];
    let layer = MetricsLayer::builder().build().unwrap();
    with_local_recorder(&recorder, || {
        for size in sizes {
            drop(drive(
                &layer,
                answering(answer(200, &[], [Step::Data(size)])),
            ));
        }
    });
    let all = rendered(&recorder);
    let buckets = |name: &str| {
        let buckets = all.iter().filter(|(series, _)| series.starts_with(name));
        buckets
            .filter(|(series, _)| series.contains("_bucket{"))
            .count()
    };
    // Those of the table, and the one without a limit.
    assert_eq!(
        buckets(RESPONSE_HEAD_SECONDS),
        HEAD_SECONDS_BUCKETS.len() + 1
    );
    assert_eq!(
        buckets(REQUEST_DURATION_SECONDS),
        DURATION_SECONDS_BUCKETS.len() + 1
    );
    assert_eq!(buckets(RESPONSE_BODY_BYTES), BODY_BYTES_BUCKETS.len() + 1);
    for (le, count) in [
        ("256", 2),
        ("1024", 3),
        ("4096", 4),
        ("16384", 4),
        ("65536", 5),
        ("67108864", 5),
        ("+Inf", 5),
    ] {
        let labels = [("method", "GET"), ("kind", "stream"), ("le", le)];
        let bucket = &all[&series("http_response_body_bytes_bucket", &labels)];
        assert_eq!(bucket, &count.to_string(), "{le}");
    }
    for buckets in [
        &HEAD_SECONDS_BUCKETS[..],
        &DURATION_SECONDS_BUCKETS,
        &BODY_BYTES_BUCKETS,
    ] {
        assert!(buckets.is_sorted_by(|one, next| one < next), "{buckets:?}");
    }
}

/// The values of this label in the series of requests, and how often each was counted.
fn label_of_requests(recorder: &PrometheusRecorder, label: &str) -> Vec<(String, u64)> {
    let of = |series: &str| {
        let labels = series.strip_prefix(REQUESTS_TOTAL)?.strip_prefix('{')?;
        let rest = labels.split_once(&format!("{label}=\""))?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    rendered(recorder)
        .into_iter()
        .filter_map(|(series, count)| Some((of(&series)?, count.parse().unwrap())))
        .collect()
}

fn counted(label: &str, count: u64) -> Vec<(String, u64)> {
    vec![(label.to_owned(), count)]
}

#[test]
fn the_host_is_one_of_the_list_or_other() {
    let hosts = ["api.example", "Chat.Example", "192.0.2.1", "[2001:db8::1]"];
    let layer = MetricsLayer::builder().hosts(hosts).build().unwrap();
    for (target, field, label) in [
        ("/", Some("api.example"), "api.example"),
        ("/", Some("API.EXAMPLE:8080"), "api.example"),
        ("/", Some("chat.example"), "Chat.Example"),
        ("/", Some("192.0.2.1:80"), "192.0.2.1"),
        ("/", Some("[2001:DB8::1]:443"), "[2001:db8::1]"),
        ("http://api.example/", None, "api.example"),
        ("http://api.example:81/", Some("x.example"), "api.example"),
        ("http://x.example/", Some("api.example"), "_other"),
        ("/", Some("x.example"), "_other"),
        ("/", Some("www.api.example"), "_other"),
        ("/", Some("api.example."), "_other"),
        ("/", Some("api.example, x.example"), "_other"),
        ("/", Some(""), "_other"),
        ("/", Some("caf\u{e9}"), "_other"),
        ("/", None, "_other"),
    ] {
        let recorder = recorder();
        let mut exchange = answering(answer(200, &[], []));
        *exchange.request.uri_mut() = target.parse().unwrap();
        if let Some(host) = field {
            let host = http::HeaderValue::from_bytes(host.as_bytes()).unwrap();
            exchange.request.headers_mut().insert("host", host);
        }
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let context = format!("{target} {field:?}");
        assert_eq!(
            label_of_requests(&recorder, "host"),
            counted(label, 1),
            "{context}"
        );
    }
}

#[test]
fn the_path_is_what_the_callback_makes_of_the_request() {
    #[derive(Clone)]
    struct Route(&'static str);

    let layer = MetricsLayer::builder()
        .path(|request: &RequestHead<'_>| match request.extensions.get() {
            Some(Route(route)) => Cow::Borrowed(*route),
            None => format!("{} unmatched", request.method).into(),
        })
        .build()
        .unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        for path in ["/users/1", "/users/2", "/robots.txt"] {
            let mut exchange = answering(answer(200, &[], []));
            *exchange.request.uri_mut() = path.parse().unwrap();
            if path.starts_with("/users/") {
                let extensions = exchange.request.extensions_mut();
                extensions.insert(Route("/users/{id}"));
            }
            drop(drive(&layer, exchange));
        }
    });
    assert_eq!(
        label_of_requests(&recorder, "path"),
        [counted("/users/{id}", 2), counted("GET unmatched", 1)].concat()
    );
}

#[test]
fn a_path_callback_that_panics_leaves_nothing_in_flight() {
    let layer = MetricsLayer::builder()
        .path(|_| panic!("path"))
        .build()
        .unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        assert!(drive(&layer, answering(answer(200, &[], []))).is_none());
    });
    assert_eq!(rendered(&recorder), Series::new());
}

#[test]
fn methods_that_nobody_defined_are_one_series() {
    let layer = MetricsLayer::builder().build().unwrap();
    for (method, label) in [
        ("GET", "GET"),
        ("PATCH", "PATCH"),
        ("QUERY", "QUERY"),
        ("get", "_OTHER"),
        ("PROPFIND", "_OTHER"),
        ("_OTHER", "_OTHER"),
        ("A-METHOD-THAT-IS-LONGER-THAN-15-BYTES", "_OTHER"),
    ] {
        let recorder = recorder();
        let exchange = answering(answer(200, &[], [])).method(method.parse().unwrap());
        with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
        let labels = label_of_requests(&recorder, "method");
        assert_eq!(labels, counted(label, 1), "{method}");
    }
}

/// Names that differ, without any system to them.
fn names(of: fn(u8) -> char) -> impl Iterator<Item = String> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letter = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        of(state.to_le_bytes()[3] % 26)
    };
    std::iter::from_fn(move || Some((0..12).map(|_| letter()).collect()))
}

#[test]
fn a_thousand_hosts_and_methods_are_one_series_each() {
    let layer = MetricsLayer::builder()
        .hosts(["api.example"])
        .build()
        .unwrap();
    let recorder = recorder();
    let hosts = names(|letter| char::from(b'a' + letter));
    let methods = names(|letter| char::from(b'A' + letter));
    let mut exchanges: Vec<_> = hosts
        .zip(methods)
        .take(1000)
        .map(|(host, method)| {
            let does = answering(hinting(answer(200, &[], []), Size::Exact, End::Shown));
            let mut exchange = does.method(method.parse().unwrap());
            let fields = exchange.request.headers_mut();
            fields.insert("host", format!("{host}.example").parse().unwrap());
            exchange
        })
        .collect();
    exchanges.push(exchange(Does::Fail).method("OTHER".parse().unwrap()));
    with_local_recorder(&recorder, || {
        for exchange in exchanges {
            drop(drive(&layer, exchange));
        }
    });

    let base = vec![("host", "_other"), ("method", "_OTHER")];
    let by_kind = with(&base, [("kind", "unary")]);
    let ok = with(&base, [("status", "200")]);
    let failed = with(&base, [("status", "500")]);
    let complete = with(&ok, [("outcome", "complete")]);
    let service_error = with(&failed, [("outcome", "service_error")]);
    let expected = Expected::default()
        .value(REQUESTS_TOTAL, &ok, 1000)
        .value(REQUESTS_TOTAL, &failed, 1)
        .value(REQUESTS_IN_FLIGHT, &base, 0)
        .seconds(RESPONSE_HEAD_SECONDS, &by_kind, 1000)
        .seconds(REQUEST_DURATION_SECONDS, &by_kind, 1001)
        .bytes(&by_kind, &[0; 1000])
        .value(RESPONSES_ENDED_TOTAL, &complete, 1000)
        .value(RESPONSES_ENDED_TOTAL, &service_error, 1);
    assert_eq!(rendered(&recorder), expected.0);
}

#[test]
fn what_is_not_a_host_is_refused() {
    for host in [
        "",
        "api.example:80",
        "user@api.example",
        "http://api.example",
        "api.example/",
        "a b",
        "2001:db8::1",
        "[2001:db8::1]:443",
        "caf\u{e9}.example",
    ] {
        let built = MetricsLayer::builder().hosts(["api.example", host]).build();
        assert_eq!(
            built.unwrap_err().to_string(),
            format!(
                "metrics: `{host}` is not a host: write a name or an address, without a port, \
                 an IPv6 address in brackets"
            )
        );
    }
}

#[test]
fn the_preset_needs_all_its_labels() {
    fn path<'a>(_: &RequestHead<'a>) -> Cow<'a, str> {
        "/".into()
    }
    let message = |setting: &str| {
        format!(
            "metrics: `only_requests_total` has the labels service, host, path and status, \
             but `{setting}` is not set"
        )
    };
    let builder = || MetricsLayer::builder().only_requests_total();
    for (builder, expected) in [
        (builder(), message("service")),
        (builder().hosts(["h"]).path(path), message("service")),
        (builder().service("s").path(path), message("hosts")),
        (builder().service("s"), message("hosts")),
        (builder().service("s").hosts(["h"]), message("path")),
    ] {
        assert_eq!(builder.build().unwrap_err().to_string(), expected);
    }
    assert!(
        builder()
            .service("s")
            .hosts(["h"])
            .path(path)
            .build()
            .is_ok()
    );
}

#[test]
fn a_layer_goes_to_the_recorder_that_there_is_at_the_time() {
    let layer = MetricsLayer::builder().build().unwrap();
    let empty = || answering(hinting(answer(200, &[], []), Size::Exact, End::Shown));
    let mut service = layer.layer(service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut call = || drop(service.call(request(Method::GET)).now_or_never().unwrap());

    // Nobody listens yet.
    call();
    drop(drive(&layer, empty()));
    let (first, second) = (recorder(), recorder());
    with_local_recorder(&first, || {
        call();
        call();
    });
    with_local_recorder(&second, &mut call);
    with_local_recorder(&first, &mut call);
    assert_eq!(label_of_requests(&first, "method"), counted("GET", 3));
    assert_eq!(label_of_requests(&second, "method"), counted("GET", 1));
}

#[test]
fn the_gauge_that_went_up_is_the_one_that_comes_down() {
    let layer = MetricsLayer::builder().build().unwrap();
    let recorder = recorder();
    let in_flight =
        || rendered(&recorder)[&series(REQUESTS_IN_FLIGHT, &[("method", "GET")])].clone();
    let streaming = || answering(answer(200, &[], [Step::Data(5)])).until(Until::Head);
    let (here, there) = with_local_recorder(&recorder, || {
        (drive(&layer, streaming()), drive(&layer, streaming()))
    });
    assert_eq!(in_flight(), "2");
    // Where this recorder is not known.
    drop(here);
    assert_eq!(in_flight(), "1");
    thread::spawn(move || drop(there)).join().unwrap();
    assert_eq!(in_flight(), "0");
}

#[test]
fn a_gauge_comes_down_if_the_exchange_is_dropped_by_a_panic() {
    let layer = MetricsLayer::builder().build().unwrap();
    let recorder = recorder();
    let streaming = answering(answer(200, &[], [Step::Data(5)])).until(Until::Polls(1));
    with_local_recorder(&recorder, || {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _held = drive(&layer, streaming);
            panic!("elsewhere");
        }));
        assert!(unwound.is_err());
    });
    let base = vec![("method", "GET")];
    let all = rendered(&recorder);
    assert_eq!(all[&series(REQUESTS_IN_FLIGHT, &base)], "0");
    let ended = with(&base, [("status", "200"), ("outcome", "disconnected")]);
    assert_eq!(all[&series(RESPONSES_ENDED_TOTAL, &ended)], "1");
}

type ServerBody = UnsyncBoxBody<Bytes, Infallible>;

/// Serves by path: a sized body of 10 bytes; a stream of 3 times 7; one that stays open after its
/// first 7; and no answer at all, but word that the request is there.
fn served(layer: &MetricsLayer, arrived: mpsc::UnboundedSender<()>) -> impl Served {
    let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"7 bytes")));
    layer.layer(service_fn(move |request: Request<Incoming>| {
        let arrived = arrived.clone();
        async move {
            let body: ServerBody = match request.uri().path() {
                "/sized" => Full::new(Bytes::from_static(b"0123456789")).boxed_unsync(),
                "/streamed" => {
                    let frames = stream::iter([frame(), frame(), frame()]);
                    StreamBody::new(frames).boxed_unsync()
                }
                "/endless" => {
                    let frames = stream::iter([frame()]).chain(stream::pending());
                    StreamBody::new(frames).boxed_unsync()
                }
                _ => {
                    arrived.send(()).unwrap();
                    pending().await
                }
            };
            Ok::<_, Infallible>(Response::new(body))
        }
    }))
}

fn written(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: API.example:80\r\nconnection: close\r\n\r\n")
}

/// Asks for `path` on a connection of its own, and leaves it open.
async fn asked(path: &str, service: impl Served) -> (TcpStream, net::Server) {
    let (mut near, far) = loopback().await;
    let server = serve(Proto::H1, far, service);
    soon(near.write_all(written(path).as_bytes()))
        .await
        .unwrap();
    (near, server)
}

async fn read_until(near: &mut TcpStream, end: &str) {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(soon(near.read_u8()).await.unwrap());
    }
}

#[test]
fn sums_agree_exactly_over_real_connections() {
    const SIZED: usize = 5;
    const STREAMED: usize = 4;
    const GONE_MID_STREAM: usize = 3;
    const GONE_BEFORE_HEAD: usize = 2;
    let layer = MetricsLayer::builder()
        .service("gateway")
        .hosts(["api.example"])
        .build()
        .unwrap();
    let recorder = recorder();
    let base = vec![
        ("service", "gateway"),
        ("host", "api.example"),
        ("method", "GET"),
    ];
    let in_flight = || rendered(&recorder)[&series(REQUESTS_IN_FLIGHT, &base)].clone();

    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let service = || served(&layer, arrived.clone());
    let exchanges = async {
        let endless = (0..GONE_MID_STREAM).map(|_| asked("/endless", service()));
        let mut endless = join_all(endless).await;
        for (near, _) in &mut endless {
            read_until(near, "\r\n\r\n7\r\n7 bytes\r\n").await;
        }
        assert_eq!(in_flight(), "3", "streaming");

        let whole =
            async |path: &'static str| raw_h1(loopback().await, service(), &written(path)).await;
        for response in join_all((0..SIZED).map(|_| whole("/sized"))).await {
            assert!(
                response.ends_with("content-length: 10\r\n\r\n0123456789"),
                "{response}"
            );
        }
        for response in join_all((0..STREAMED).map(|_| whole("/streamed"))).await {
            assert_eq!(response.matches("7 bytes").count(), 3, "{response}");
        }
        assert_eq!(in_flight(), "3", "whole responses are over");

        let hanging = (0..GONE_BEFORE_HEAD).map(|_| asked("/hanging", service()));
        let hanging = join_all(hanging).await;
        for _ in &hanging {
            soon(arrivals.recv()).await.unwrap();
        }
        assert_eq!(in_flight(), "5", "streaming and waiting");
        for (near, server) in endless.into_iter().chain(hanging) {
            drop(near);
            server.closed().await;
        }
    };
    with_local_recorder(&recorder, || {
        // All its tasks run on this thread, where the recorder is.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(exchanges);
    });

    let heads = SIZED + STREAMED + GONE_MID_STREAM;
    let ok = with(&base, [("status", "200")]);
    let gone = with(&base, [("status", "499")]);
    let unary = with(&base, [("kind", "unary")]);
    let streams = with(&base, [("kind", "stream")]);
    let complete = with(&ok, [("outcome", "complete")]);
    let disconnected = with(&ok, [("outcome", "disconnected")]);
    let cancelled = with(&gone, [("outcome", "cancelled")]);
    let stream_bytes = [&[21; STREAMED][..], &[7; GONE_MID_STREAM]].concat();
    let expected = Expected::default()
        .value(REQUESTS_IN_FLIGHT, &base, 0)
        .value(REQUESTS_TOTAL, &ok, heads)
        .value(REQUESTS_TOTAL, &gone, GONE_BEFORE_HEAD)
        .value(RESPONSES_ENDED_TOTAL, &complete, SIZED + STREAMED)
        .value(RESPONSES_ENDED_TOTAL, &disconnected, GONE_MID_STREAM)
        .value(RESPONSES_ENDED_TOTAL, &cancelled, GONE_BEFORE_HEAD)
        .seconds(RESPONSE_HEAD_SECONDS, &unary, SIZED)
        .seconds(RESPONSE_HEAD_SECONDS, &streams, stream_bytes.len())
        .seconds(REQUEST_DURATION_SECONDS, &unary, SIZED + GONE_BEFORE_HEAD)
        .seconds(REQUEST_DURATION_SECONDS, &streams, stream_bytes.len())
        .bytes(&unary, &[10; SIZED])
        .bytes(&streams, &stream_bytes);
    assert_eq!(rendered(&recorder), expected.0);
}
