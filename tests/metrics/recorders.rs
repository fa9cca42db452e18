//! Where metrics go: recorders that come, go and forget. The global one, of which a process has
//! one only, is in `tests/metrics_global.rs`.

use std::{
    convert::Infallible,
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, sleep},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response};
use http_body_util::Empty;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_util::MetricKindMask;
use tower::{Layer, Service, service_fn};
use tower_passthrough::{
    metrics::{
        GRPC_SERVER_HANDLED_TOTAL, MetricsLayer, MetricsLayerBuilder, REQUEST_DURATION_SECONDS,
        REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSES_ENDED_TOTAL,
    },
    observe::Outcome,
};

use crate::{
    common::{End, Size, Step},
    drive::{Exchange, Until, answer, answering, drive, hinting, request},
    rows::{Row, rows},
    series::{
        Series, counted, exporter, in_flight, recorder, rendered, requests_by, series, shown, with,
    },
};

const GET: (&str, &str) = ("method", "GET");

fn whole() -> Exchange {
    answering(hinting(answer(200, &[], []), Size::Exact, End::Shown))
}

/// A stream that is open until it is dropped.
fn stream() -> Exchange {
    answering(answer(200, &[], [Step::Data(5)])).until(Until::Polls(1))
}

/// A layer that records to an exporter of its own.
fn explicit(builder: MetricsLayerBuilder) -> (MetricsLayer, PrometheusHandle) {
    let recorder = recorder();
    let handle = recorder.handle();
    (
        builder.recorder(Arc::new(recorder)).build().unwrap(),
        handle,
    )
}

#[test]
fn a_layer_goes_to_the_recorder_that_there_is_at_the_time() {
    let layer = MetricsLayer::builder().build().unwrap();
    let mut service = layer.layer(service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut call = || drop(service.call(request(Method::GET)).now_or_never().unwrap());

    // Nobody listens yet.
    call();
    drop(drive(&layer, whole()));
    let (first, second) = (recorder(), recorder());
    with_local_recorder(&first, || {
        call();
        call();
    });
    with_local_recorder(&second, &mut call);
    with_local_recorder(&first, &mut call);
    assert_eq!(requests_by(&first, "method"), counted("GET", 3));
    assert_eq!(requests_by(&second, "method"), counted("GET", 1));
}

#[test]
fn a_recorder_in_the_place_of_another_is_not_taken_for_it() {
    fn place(layer: &MetricsLayer, requests: u64) -> usize {
        let recorder = recorder();
        with_local_recorder(&recorder, || {
            for _ in 0..requests {
                drop(drive(layer, whole()));
            }
        });
        assert_eq!(requests_by(&recorder, "method"), counted("GET", requests));
        assert_eq!(in_flight(&recorder, &[GET]), "0");
        ptr::from_ref(&recorder).addr()
    }
    let layer = MetricsLayer::builder().build().unwrap();
    let places = [1, 2, 3].map(|requests| place(&layer, requests));
    assert_eq!(places[0], places[1], "the case that this is about");
    assert_eq!(places[0], places[2], "the case that this is about");
}

#[test]
fn the_gauge_that_went_up_is_the_one_that_comes_down() {
    let layer = MetricsLayer::builder().build().unwrap();
    let (first, second) = (recorder(), recorder());
    let in_flight = || in_flight(&first, &[GET]);
    let [here, there, elsewhere] =
        with_local_recorder(&first, || [(); 3].map(|()| drive(&layer, stream())));
    assert_eq!(in_flight(), "3");
    // Where this recorder is not known.
    drop(here);
    assert_eq!(in_flight(), "2");
    thread::spawn(move || drop(there)).join().unwrap();
    assert_eq!(in_flight(), "1");
    with_local_recorder(&second, || drop(elsewhere));
    assert_eq!(in_flight(), "0");

    // The ends went to where they happened: two to nobody, one to the other recorder.
    let ended = with(&[GET], [("status", "200"), ("outcome", "disconnected")]);
    let ended = series(RESPONSES_ENDED_TOTAL, &ended);
    assert_eq!(rendered(&first).get(&ended), None);
    assert_eq!(rendered(&second)[&ended], "1");
    let gauge = series(REQUESTS_IN_FLIGHT, &[GET]);
    assert_eq!(rendered(&second).get(&gauge), None);
    assert_eq!(requests_by(&first, "method"), counted("GET", 3));
    assert_eq!(requests_by(&second, "method"), []);
}

#[test]
fn two_threads_with_a_recorder_each_do_not_mix() {
    fn watched(layer: &MetricsLayer, requests: u64) {
        let recorder = recorder();
        with_local_recorder(&recorder, || {
            for _ in 0..requests {
                drop(drive(layer, stream()));
            }
        });
        assert_eq!(requests_by(&recorder, "method"), counted("GET", requests));
        assert_eq!(in_flight(&recorder, &[GET]), "0");
    }
    let layer = MetricsLayer::builder().build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| watched(&layer, 50));
        scope.spawn(|| watched(&layer, 70));
    });
}

#[test]
fn an_explicit_recorder_is_the_only_one() {
    let local = recorder();
    for row in rows() {
        let (layer, handle) = explicit(MetricsLayer::builder());
        let base = vec![("method", row.method)];
        with_local_recorder(&local, || {
            let held = drive(&layer, row.exchange.clone());
            assert_eq!(
                shown(&handle),
                row.expected(&base, !row.is_held),
                "{}",
                row.name
            );
            drop(held);
            assert_eq!(shown(&handle), row.expected(&base, true), "{}", row.name);
        });
    }
    assert_eq!(rendered(&local), Series::new());
}

#[test]
fn an_explicit_recorder_is_told_on_all_threads() {
    let held: Vec<_> = rows().into_iter().filter(|row| row.is_held).collect();
    assert!(held.len() > 5);
    for row in held {
        let (layer, handle) = explicit(MetricsLayer::builder());
        let base = vec![("method", row.method)];
        let held = drive(&layer, row.exchange.clone());
        thread::spawn(move || drop(held)).join().unwrap();
        assert_eq!(shown(&handle), row.expected(&base, true), "{}", row.name);
    }
}

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

/// Uses the layer that records to it while it is told what the metrics mean.
struct UsesItsLayer {
    layer: OnceLock<MetricsLayer>,
    used: AtomicUsize,
}

impl UsesItsLayer {
    fn is_described(&self) {
        if self.used.fetch_add(1, Ordering::Relaxed) == 0 {
            let layer = self.layer.get().unwrap();
            drop(drive(layer, answering(answer(200, &[], []))));
        }
    }
}

impl Recorder for UsesItsLayer {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.is_described();
    }
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.is_described();
    }
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.is_described();
    }
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn a_recorder_is_not_told_under_a_lock_what_the_metrics_mean() {
    let recorder = Arc::new(UsesItsLayer {
        layer: OnceLock::new(),
        used: AtomicUsize::new(0),
    });
    let builder = MetricsLayer::builder().recorder(recorder.clone());
    let layer = builder.build().unwrap();
    assert!(recorder.layer.set(layer.clone()).is_ok());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        drop(drive(&layer, answering(answer(200, &[], []))));
        tell.send(()).unwrap();
    });
    let deadline = Duration::from_secs(20);
    assert_eq!(told.recv_timeout(deadline), Ok(()), "it waits for itself");
    assert_eq!(recorder.used.load(Ordering::Relaxed), 15, "once for each");
}
