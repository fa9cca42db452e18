//! Servers that shut down with event streams open, over real sockets: hyper and axum, HTTP/1 and
//! HTTP/2.
//!
//! No test goes by the clock. What is sent is gated by the test, all streams are known to have seen
//! the signal before it goes on, and grace periods are over when the test says so. Timeouts only
//! turn a hang into a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod client;
mod drained;
mod events;
#[path = "../common/gate.rs"]
mod gate;
mod late;
#[path = "../common/net.rs"]
mod net;
mod server;
#[path = "../common/signal.rs"]
mod signal;
mod source;
mod stalled;
mod undrained;
mod unread;
