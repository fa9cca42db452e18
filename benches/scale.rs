//! What many label sets, threads, frames and open streams cost: `cargo bench --all-features --bench scale`.
//!
//! Times are the least of many rounds. Each label set that is in use has storage in the exporter,
//! which is cold, and made anew after each drain, if there are many: without a recorder it is seen
//! what the layer itself takes to find a set.
//!
//! Memory is all that is allocated while the responses are held: their bodies, and whatever the
//! layer keeps of them elsewhere.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]
#![allow(clippy::cast_precision_loss, reason = "far fewer than 2^53")]

mod common;

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Barrier},
    task::{Context, Poll, Waker},
    thread,
    time::Instant,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Empty;
use metrics::NoopRecorder;
use metrics_exporter_prometheus::PrometheusHandle;
use tower::{Layer, Service, layer::util::Identity};

use crate::common::{
    Answer, Load, Sort, exchange, exporters, ours, request,
    table::{publish, table},
};

const ROUNDS: usize = 50;
const REQUESTS: usize = 10_000;
/// Three are kept for what has no room.
const LABEL_SETS: [usize; 3] = [10, 1_000, 1_997];
const FRAMES: u64 = 1_000_000;
const STREAMS: usize = 100_000;

fn main() {
    let exporter = exporters::prometheus();
    let unrecorded = || ours::metrics_to(Some(Arc::new(NoopRecorder)));
    let columns = [
        figures(&exporter, &Identity::new(), &Identity::new()),
        figures(&exporter, &ours::metrics(), &unrecorded()),
        figures(
            &exporter,
            &ours::all(ours::metrics()),
            &ours::all(unrecorded()),
        ),
    ];
    let [bare, metrics, all] = columns.map(Vec::into_iter);
    let rows = bare.zip(metrics).zip(all).map(|((bare, metrics), all)| {
        let (what, digits) = (bare.what, bare.digits);
        let over = |it: f64| format!("{:+.digits$}", it - bare.value);
        vec![
            what,
            format!("{:.digits$}", bare.value),
            over(metrics.value),
            over(all.value),
        ]
    });
    let header = ["", "bare", "metrics", "headers, metrics, capture"];
    publish("scale", &table(&header, rows));
}

struct Figure {
    what: String,
    value: f64,
    digits: usize,
}

/// All figures of one layer, of which there is one without a recorder too.
fn figures<L, B>(exporter: &PrometheusHandle, layer: &L, unrecorded: &L) -> Vec<Figure>
where
    L: Layer<Answer>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>> + Send,
    B: Body,
{
    let figure = |what: String, value, digits| Figure {
        what,
        value,
        digits,
    };
    let short = |layer: &L| {
        layer.layer(Answer {
            frames: 1,
            sort: Sort::Plain,
        })
    };
    let mut figures = Vec::new();
    for (layer, what) in [
        (unrecorded, "label sets, no recorder"),
        (layer, "label sets"),
    ] {
        for label_sets in LABEL_SETS {
            let ns = ns_per_request(exporter, [(short(layer), requests("/p", label_sets))]);
            figures.push(figure(format!("ns/request, {label_sets} {what}"), ns, 0));
        }
    }
    let shared = [
        (short(layer), requests("/p", 1)),
        (short(layer), requests("/p", 1)),
    ];
    let apart = [
        (short(layer), requests("/p", 1)),
        (short(layer), requests("/q", 1)),
    ];
    for (what, threads) in [("one label set", shared), ("a label set each", apart)] {
        let ns = ns_per_request(exporter, threads);
        figures.push(figure(format!("ns/request, two threads, {what}"), ns, 0));
    }
    let (ns, allocations) = long_stream(layer);
    figures.push(figure(format!("ns/frame, a stream of {FRAMES}"), ns, 1));
    figures.push(figure(
        "allocations, the whole of that stream".into(),
        allocations,
        0,
    ));
    let bytes = bytes_per_stream(&mut short(layer));
    figures.push(figure(
        format!("bytes per open stream, of {STREAMS}"),
        bytes,
        0,
    ));
    figures
}

/// As many requests, each for another path.
fn requests(prefix: &str, label_sets: usize) -> Vec<Request<Empty<Bytes>>> {
    (0..label_sets)
        .map(|it| request(&format!("{prefix}{it}")))
        .collect()
}

/// Each service on its own thread, asking for one path after the other; until the last is done.
fn ns_per_request<S, B, const THREADS: usize>(
    exporter: &PrometheusHandle,
    threads: [(S, Vec<Request<Empty<Bytes>>>); THREADS],
) -> f64
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Send,
    B: Body,
{
    let barrier = Barrier::new(THREADS);
    let ask = |(mut service, requests): (S, Vec<Request<_>>)| {
        let mut least = f64::INFINITY;
        for _ in 0..ROUNDS {
            barrier.wait();
            let start = Instant::now();
            for request in requests.iter().cycle().take(REQUESTS) {
                assert!(exchange(&mut service, request.clone()));
            }
            let is_leader = barrier.wait().is_leader();
            least = least.min(start.elapsed().as_secs_f64());
            if is_leader {
                exporter.run_upkeep();
            }
        }
        least * 1e9 / REQUESTS as f64
    };
    thread::scope(|scope| {
        threads
            .map(|it| scope.spawn(|| ask(it)))
            .map(|it| it.join().expect("no panic"))
            .into_iter()
            .fold(f64::INFINITY, f64::min)
    })
}

/// Nanoseconds for each frame, and all allocations.
fn long_stream<L, B>(layer: &L) -> (f64, f64)
where
    L: Layer<Answer>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    let load = Load {
        requests: 1,
        frames: FRAMES,
    };
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        load.drive(layer, Sort::Plain);
        least = least.min(start.elapsed().as_secs_f64());
    }
    let allocations = measure(|| load.drive(layer, Sort::Plain)).count_total;
    (least * 1e9 / FRAMES as f64, allocations as f64)
}

/// Bytes that each response takes from its head to its end.
fn bytes_per_stream<S, B>(service: &mut S) -> f64
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
{
    let request = request("/p0");
    let mut open = Vec::new();
    let memory = measure(|| {
        open.reserve_exact(STREAMS);
        for _ in 0..STREAMS {
            let mut cx = Context::from_waker(Waker::noop());
            let call = pin!(service.call(request.clone()));
            let Poll::Ready(Ok(response)) = call.poll(&mut cx) else {
                panic!("no answer");
            };
            open.push(response.into_body());
        }
    });
    memory.bytes_current as f64 / STREAMS as f64
}
