//! What it costs to follow the events of a stream: `cargo bench --all-features --bench sse`.
//!
//! Beside it, what it costs to find the ends of its lines and do nothing else, with the crate
//! `memchr`, whose vector instructions are picked at run time: no scanner can be faster than that.
//!
//! Times are the least of many rounds.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]
#![allow(clippy::cast_precision_loss, reason = "far fewer than 2^53")]

mod common;

use std::{hint::black_box, time::Instant};

use memchr::memchr2_iter;
use tower_passthrough::sse::Scanner;

use crate::common::table::{publish, table};

const ROUNDS: usize = 300;
/// Of each stream: it stays in a cache, as a frame that was just made does.
const BYTES: usize = 64 * 1024;

/// A stream, and how many bytes of it come at once.
struct Stream {
    what: &'static str,
    event: String,
    chunk: usize,
}

fn main() {
    let rows = streams().map(|stream| {
        let Stream { what, event, chunk } = stream;
        let bytes = event.repeat(BYTES / event.len()).into_bytes();
        let scan = least(|| scan(&bytes, chunk));
        let bound = least(|| line_ends(&bytes, chunk));
        let per_byte = |ns: f64| format!("{:.3}", ns / bytes.len() as f64);
        let per_event = scan * event.len() as f64 / bytes.len() as f64;
        vec![
            what.to_owned(),
            per_byte(scan),
            format!("{per_event:.1}"),
            per_byte(bound),
        ]
    });
    let header = ["", "ns/byte", "ns/event", "ns/byte, line ends alone"];
    publish("sse", &table(&header, rows));
}

fn streams() -> [Stream; 6] {
    let stream = |what, len, end: &str, chunk| Stream {
        what,
        event: event(len, end),
        chunk,
    };
    [
        stream("64-byte events, 16 KiB at once", 64, "\n", 16 * 1024),
        stream("64-byte events, one at once", 64, "\n", 64),
        stream("64-byte events, CRLF, one at once", 64, "\r\n", 64),
        stream("1 KiB events, one at once", 1024, "\n", 1024),
        stream("16 KiB events, one at once", 16 * 1024, "\n", 16 * 1024),
        stream("64-byte events, byte by byte", 64, "\n", 1),
    ]
}

/// What a chat sends, of just this length.
fn event(len: usize, end: &str) -> String {
    let json = |token: &str| format!("data: {{\"delta\":{{\"content\":\"{token}\"}}}}{end}{end}");
    let event = json(&"x".repeat(len - json("").len()));
    assert_eq!(event.len(), len);
    event
}

/// Nanoseconds of the fastest round.
fn least(mut round: impl FnMut() -> usize) -> f64 {
    let ns = |_| {
        let start = Instant::now();
        black_box(round());
        start.elapsed().as_secs_f64() * 1e9
    };
    (0..ROUNDS).map(ns).fold(f64::INFINITY, f64::min)
}

#[inline(never)]
fn scan(bytes: &[u8], chunk: usize) -> usize {
    let mut scanner = Scanner::new();
    for chunk in bytes.chunks(chunk) {
        black_box(scanner.feed(black_box(chunk)));
    }
    usize::try_from(scanner.events()).expect("few events")
}

#[inline(never)]
fn line_ends(bytes: &[u8], chunk: usize) -> usize {
    let chunks = bytes.chunks(chunk);
    let ends = chunks.map(|chunk| black_box(memchr2_iter(b'\n', b'\r', black_box(chunk)).count()));
    ends.sum()
}
