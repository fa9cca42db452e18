//! What it costs to look up a path's policy, and to change one: `cargo bench --all-features --bench
//! routes`.
//!
//! In nanoseconds: of one thread the least of many rounds, of several the median, as the least would
//! be that of a round in which the others were suspended. Half of the routes are prefixes. The paths are those of
//! routes spread over all, in a fixed but mixed order.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]
#![allow(clippy::cast_precision_loss, reason = "far fewer than 2^53")]

mod common;

use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use tower_passthrough::buffering::{Buffering, BufferingControl};

use crate::common::{
    ours,
    pairs::median,
    table::{publish, table},
};

const ROUTES: [usize; 4] = [3, 100, 1_000, 10_000];
const ROUNDS: usize = 50;
const LOOK_UPS: usize = 20_000;
const CHANGES: usize = 20;

fn main() {
    let rows = ROUTES.map(|routes| {
        let control = ours::buffering(routes);
        let of = |paths: [&str; 2]| paths.map(|it| spread(it, routes));
        let [exact, under] = of(["/service-{}/v1/files", "/service-{}/v1/files/2026/a"]);
        let [none, _] = of(["/service-{}/v2", ""]);
        let mut figures = vec![
            one_thread(&control, &exact),
            one_thread(&control, &under),
            one_thread(&control, &none),
            threads(&control, [&under, &under]),
            amid_changes(&control, &under),
            changes(&control),
        ]
        .into_iter()
        .map(|ns| format!("{ns:.0}"))
        .collect::<Vec<_>>();
        figures.insert(0, routes.to_string());
        figures
    });
    let header = [
        "routes",
        "exact",
        "prefix",
        "default",
        "prefix, two threads",
        "prefix, amid changes",
        "a change",
    ];
    publish("routes", &table(&header, rows));
}

/// Paths of as many routes, or, if there are more, of some of all.
fn spread(path: &str, routes: usize) -> Vec<String> {
    let parity = usize::from(path.contains("2026"));
    (0..1_024)
        .map(|it| it * 7_919 % routes / 2 * 2 + parity)
        .map(|number| path.replace("{}", &format!("{number:06}")))
        .collect()
}

fn look_up(control: &BufferingControl, paths: &[String]) {
    for path in paths.iter().cycle().take(LOOK_UPS) {
        black_box(control.policy_for(black_box(path)));
    }
}

fn one_thread(control: &BufferingControl, paths: &[String]) -> f64 {
    least(rounds(LOOK_UPS, || look_up(control, paths)))
}

fn threads<const THREADS: usize>(control: &BufferingControl, paths: [&[String]; THREADS]) -> f64 {
    let barrier = Barrier::new(THREADS);
    let look_up = |paths| {
        barrier.wait();
        median(rounds(LOOK_UPS, || look_up(control, paths)))
    };
    thread::scope(|scope| {
        paths
            .map(|paths| scope.spawn(move || look_up(paths)))
            .map(|it| it.join().expect("no panic"))
            .into_iter()
            .fold(0.0, f64::max)
    })
}

/// While another thread changes without a pause.
fn amid_changes(control: &BufferingControl, paths: &[String]) -> f64 {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                control.set_default(Buffering::Auto);
            }
        });
        let median = median(rounds(LOOK_UPS, || look_up(control, paths)));
        over.store(true, Ordering::Relaxed);
        median
    })
}

fn changes(control: &BufferingControl) -> f64 {
    least(rounds(CHANGES, || {
        for change in 0..CHANGES {
            let buffering = [Buffering::On, Buffering::Off][change % 2];
            control.set("/v1/*", buffering).expect("a route");
        }
    }))
}

/// Nanoseconds of one of so many, in each round.
fn rounds(many: usize, mut work: impl FnMut()) -> Vec<f64> {
    let round = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e9 / many as f64
    };
    (0..ROUNDS).map(round).collect()
}

fn least(rounds: Vec<f64>) -> f64 {
    rounds.into_iter().fold(f64::INFINITY, f64::min)
}
