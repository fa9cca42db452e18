//! What each layer costs over the bare service, in time: `cargo bench --all-features --bench overhead`.
//!
//! Each layer is driven directly, over the same scripted service, into real exporters. A request
//! is answered with one frame of 64 bytes, of known size; what a frame costs is what 10,000 more
//! of them do. There are several rounds over all rows, so that whatever else the machine does hits
//! all alike, and the table has the *least* of all samples (each the mean of a few milliseconds):
//! noise only ever adds. Criterion's own lines tell medians and spread.
//!
//! There is no router, so those that look for axum's `MatchedPath` find none, and have one label
//! less to carry than they would in use.
//!
//! Counts that no noise can blur: `instructions.rs`.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]

mod common;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, measurement::WallTime};

use crate::common::{
    Load,
    exporters::Exporters,
    rows::{Kind, Row, bare_of, rows},
    table::{publish, table},
};

const ROUNDS: usize = 5;
const FRAMES: u32 = 10_000;
/// So many requests are timed between two drains of the exporters.
const BATCH: u64 = 10_000;

/// The least nanoseconds of one iteration.
struct Least(Cell<f64>);

impl Least {
    fn new() -> Self {
        Self(Cell::new(f64::INFINITY))
    }

    fn add(&self, took: Duration, iterations: u64) {
        // What is shorter was to warm up, or to guess how many iterations make a sample.
        if took > Duration::from_millis(1) {
            #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
            let nanos = took.as_secs_f64() * 1e9 / iterations as f64;
            self.0.set(self.0.get().min(nanos));
        }
    }
}

/// One row, and what it took.
struct Measured {
    row: Row,
    request: Least,
    stream: Least,
}

impl Measured {
    fn sample(&self, group: &mut BenchmarkGroup<'_, WallTime>, exporters: &Exporters) {
        for (what, frames, least) in [
            ("request", 1, &self.request),
            ("stream", u64::from(FRAMES) + 1, &self.stream),
        ] {
            let mut sample = |requests| {
                let took = time(exporters, &self.row, requests, frames);
                least.add(took, requests);
                took
            };
            group.bench_function(BenchmarkId::new(self.row.name, what), |bencher| {
                bencher.iter_custom(&mut sample);
            });
        }
    }

    fn ns_per_request(&self) -> f64 {
        self.request.0.get()
    }

    fn ns_per_frame(&self) -> f64 {
        (self.stream.0.get() - self.ns_per_request()) / f64::from(FRAMES)
    }

    /// False if it was left out on the command line.
    fn is_known(&self) -> bool {
        self.ns_per_request().is_finite() && self.ns_per_frame().is_finite()
    }
}

fn main() {
    let exporters = Exporters::install();
    let measured: Vec<_> = rows(&exporters)
        .into_iter()
        .map(|row| Measured {
            row,
            request: Least::new(),
            stream: Least::new(),
        })
        .collect();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .configure_from_args();
    for round in 1..=ROUNDS {
        let mut group = criterion.benchmark_group(format!("round {round}"));
        group.sampling_mode(SamplingMode::Flat);
        for it in &measured {
            it.sample(&mut group, &exporters);
        }
    }
    criterion.final_summary();
    if measured.iter().all(Measured::is_known) {
        publish("overhead", &report(&measured));
    }
}

/// How long so many requests take, without what the exporters do from time to time.
fn time(exporters: &Exporters, row: &Row, requests: u64, frames: u64) -> Duration {
    let mut left = requests;
    let mut total = Duration::ZERO;
    while left > 0 {
        let requests = left.min(BATCH);
        left -= requests;
        exporters.drain();
        let start = Instant::now();
        (row.drive)(Load { requests, frames });
        total += start.elapsed();
    }
    total
}

fn report(measured: &[Measured]) -> String {
    let over_bare = |it: &Measured, bare: &Measured| it.ns_per_request() - bare.ns_per_request();
    let cheapest_of_theirs = measured
        .iter()
        .filter(|it| it.row.kind == Kind::TheirMetrics)
        .map(|it| over_bare(it, &measured[0]))
        .fold(f64::INFINITY, f64::min);
    let line = |(it, bare): (&Measured, &Measured)| {
        let (request, frame) = (it.ns_per_request(), it.ns_per_frame());
        let share = match it.row.kind {
            Kind::OurMetrics | Kind::TheirMetrics => {
                format!("{:.2}", over_bare(it, bare) / cheapest_of_theirs)
            }
            Kind::Bare | Kind::Ours | Kind::Theirs => String::new(),
        };
        vec![
            it.row.name.to_owned(),
            it.row.over_bare(request, bare.ns_per_request(), 0),
            format!("{:.1}", request / bare.ns_per_request()),
            it.row.over_bare(frame, bare.ns_per_frame(), 1),
            format!("{:.1}", frame / bare.ns_per_frame()),
            share,
        ]
    };
    let header = [
        "layer",
        "ns/request",
        "× bare",
        "ns/frame",
        "× bare",
        "of the cheapest published metrics layer",
    ];
    let bare = bare_of(measured, |it| it.row.kind);
    table(&header, measured.iter().zip(bare).map(line))
}
