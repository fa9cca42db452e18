//! What each layer costs over the bare service, counted: instructions, allocations, and bytes that
//! its body carries. `cargo bench --all-features --bench instructions`; it needs valgrind.
//!
//! Everything is counted by callgrind in one run of this very program, over the same rows and the
//! same loads as in `overhead.rs`. An allocation is a call of the C library's allocator.
//!
//! With `-- --check` it fails if one of our layers costs more than the README says; or less, lest
//! the README become a bar that nothing can miss. `UPDATE_README=1` in the environment writes it anew.
//!
//! The counts repeat from run to run, but are of one compiler, one C library and one `Cargo.lock`.
//! If an update of these moves them, the other rows have moved too.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]

mod common;

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode},
};

use crate::common::{
    Load,
    exporters::Exporters,
    rows::{Kind, Row, bare_of, rows},
    table::{publish, published, table},
};

const SECTION: &str = "instructions";
const HEADER: [&str; 5] = [
    "layer",
    "instructions/request",
    "instructions/frame",
    "allocations/request",
    "bytes on the body",
];
/// The columns of the table but the first.
type Costs = [f64; 4];
const DIGITS: [usize; 4] = [0, 1, 1, 0];
/// What a cost may be off the published one: by this share of it, and by this much. Builds differ a
/// little in their instructions, and the exporter allocates for every 512 samples.
const TOLERANCE: [(f64, f64); 4] = [(0.03, 10.0), (0.03, 0.5), (0.0, 0.1), (0.0, 0.0)];

const REQUESTS: u32 = 1_000;
const FRAMES: u32 = 10_000;
const SHORT: Load = Load {
    requests: REQUESTS as u64,
    frames: 1,
};
const LONG: Load = Load {
    requests: 1,
    frames: FRAMES as u64 + 1,
};
/// The first is not looked at: the first request makes what all later ones share.
const LOADS: [Load; 3] = [SHORT, SHORT, LONG];

/// What Rust's default allocator calls.
const ALLOCATORS: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];

fn main() -> ExitCode {
    let exporters = Exporters::install();
    let rows = rows(&exporters);
    let has = |flag: &str| env::args().any(|it| it == flag);
    if has("--under-callgrind") {
        run(&exporters, &rows);
        return ExitCode::SUCCESS;
    }
    let counts = count(&rows);
    let exit = if has("--check") {
        check(&rows, &counts)
    } else {
        ExitCode::SUCCESS
    };
    publish(SECTION, &report(&rows, &counts));
    exit
}

/// What is counted, one dump for each call of [`counted`].
fn run(exporters: &Exporters, rows: &[Row]) {
    for row in rows {
        exporters.drain();
        for load in LOADS {
            counted(row, load);
        }
    }
}

/// Callgrind knows it by its name.
#[inline(never)]
fn counted(row: &Row, load: Load) {
    (row.drive)(load);
}

/// The costs of each row, in the order of the table's columns.
fn count(rows: &[Row]) -> Vec<Costs> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory for what callgrind writes");
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--compress-strings=no"])
        .args([
            "--collect-atstart=no",
            "--toggle-collect=instructions::counted",
        ])
        .arg("--dump-after=instructions::counted")
        .arg(format!("--callgrind-out-file={}/dump", directory.display()))
        .arg(env::current_exe().expect("this program"))
        .arg("--under-callgrind")
        .status()
        .expect("valgrind is installed");
    assert!(status.success(), "valgrind: {status}");
    let dump = |number: usize| {
        let path = directory.join(format!("dump.{number}"));
        Dump::read(&fs::read_to_string(path).expect("a dump for each call"))
    };
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let first = index * LOADS.len() + 1;
            let [requests, stream] = [first + 1, first + 2].map(dump);
            let per_request = requests.instructions / f64::from(REQUESTS);
            [
                per_request,
                (stream.instructions - per_request) / f64::from(FRAMES),
                requests.allocations / f64::from(REQUESTS),
                f64::from(u32::try_from(row.carried).expect("a small body")),
            ]
        })
        .collect()
}

/// What callgrind writes of one call of [`counted`].
#[derive(Default)]
struct Dump {
    instructions: f64,
    allocations: f64,
}

impl Dump {
    /// `summary:` has all instructions. `cfn=` names a callee, `calls=` after it says how often one
    /// caller called it.
    fn read(text: &str) -> Self {
        let mut dump = Self::default();
        let mut callee = "";
        for (key, value) in text.lines().filter_map(|line| line.split_once(['=', ':'])) {
            let number = || {
                value
                    .split_whitespace()
                    .next()
                    .and_then(|it| it.parse().ok())
            };
            match key {
                "summary" => dump.instructions = number().expect("a number"),
                "cfn" => callee = value,
                "calls" if ALLOCATORS.contains(&callee) => {
                    dump.allocations += number().unwrap_or(0.0);
                }
                _ => {}
            }
        }
        dump
    }
}

fn report(rows: &[Row], counts: &[Costs]) -> String {
    let lines = with_bare(rows, counts).map(|(row, costs, bare)| {
        let cells = (0..4).map(|it| row.over_bare(costs[it], bare[it], DIGITS[it]));
        [row.name.to_owned()].into_iter().chain(cells).collect()
    });
    table(&HEADER, lines)
}

/// Each row with its costs, and those of the bare service that it is to be compared with.
fn with_bare<'a>(
    rows: &'a [Row],
    counts: &'a [Costs],
) -> impl Iterator<Item = (&'a Row, &'a Costs, &'a Costs)> {
    let all: Vec<_> = rows.iter().zip(counts).collect();
    let bare: Vec<_> = bare_of(&all, |(row, _)| row.kind).map(|it| it.1).collect();
    let all = all.into_iter().zip(bare);
    all.map(|((row, costs), bare)| (row, costs, bare))
}

/// Compares ours with what is published, and tells what differs.
fn check(rows: &[Row], counts: &[Costs]) -> ExitCode {
    let published = published(SECTION);
    let mut exit = ExitCode::SUCCESS;
    let is_ours = |row: &Row| matches!(row.kind, Kind::Ours | Kind::OurMetrics);
    for (row, costs, bare) in with_bare(rows, counts).filter(|(row, ..)| is_ours(row)) {
        let cells = published
            .iter()
            .find(|cells| cells[0] == row.name)
            .expect("every row of ours is in the README");
        for (column, unit) in HEADER[1..].iter().enumerate() {
            let cost = costs[column] - bare[column];
            let known: f64 = cells[column + 1].parse().expect("a number");
            let (share, more) = TOLERANCE[column];
            let tolerance = known * share + more;
            if cost > known + tolerance {
                println!("GREW: {}: {cost:.1} {unit}, from {known}", row.name);
                exit = ExitCode::FAILURE;
            } else if cost < known - tolerance {
                println!("LESS: {}: {cost:.1} {unit}, from {known}", row.name);
                exit = ExitCode::FAILURE;
            }
        }
    }
    exit
}
