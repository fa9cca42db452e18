//! `MetricsLayer` over real connections: hyper's server and client on loopback sockets, a real
//! exporter, and what is recorded of exchanges that end in every way.
//!
//! No test goes by the clock: each waits for what must have happened before.
#![cfg(feature = "metrics")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod books;
mod campaign;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/gate.rs"]
mod gate;
#[path = "../common/net.rs"]
mod net;
mod promises;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/replies.rs"]
mod replies;
