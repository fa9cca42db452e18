//! Where metrics go: recorders that come, go and forget. The global one, of which a process has
//! one only, is in `tests/metrics_global.rs`.

mod forgetful;

use std::{
    convert::Infallible,
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self},
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
use tower::{Layer, Service, service_fn};
use tower_passthrough::metrics::{
    MetricsLayer, MetricsLayerBuilder, REQUESTS_IN_FLIGHT, RESPONSES_ENDED_TOTAL,
};

use crate::{
    common::{End, Size, Step},
    drive::{Exchange, Until, answer, answering, drive, hinting, request},
    rows::rows,
    series::{Series, counted, in_flight, recorder, rendered, requests_by, series, shown, with},
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
