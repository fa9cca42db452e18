//! Server-sent events: what is read of a stream that passes, and what the layers do at its events.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drive.rs"]
mod drive;
#[path = "../common/gate.rs"]
mod gate;
mod published;
#[path = "../common/reader.rs"]
mod reader;
mod reference;
mod scanner;
mod streams;
mod tap;
mod tap_exchanges;
mod tap_memory;
mod vectors;
