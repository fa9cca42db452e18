//! The layers that put a body of their own around the response's: what they put in, what they take
//! off, when they end a body, and when they do nothing.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod allocations;
mod auto_traits;
mod clients;
#[path = "../common/clock.rs"]
mod clock;
#[path = "../common/mod.rs"]
mod common;
mod drain;
mod drain_settings;
#[path = "../common/events.rs"]
mod events;
#[path = "../common/gate.rs"]
mod gate;
mod idle_timeout;
mod keep_alive;
mod kinds;
mod marks;
mod on_tokio;
mod properties;
#[path = "../common/reader.rs"]
mod reader;
mod skipped;
