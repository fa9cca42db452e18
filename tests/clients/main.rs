//! Real clients of event streams: an `EventSource` in a headless Chromium over HTTP/1, and one in
//! Rust over HTTP/2. Each goes through the same stories with a real server.
//!
//! What is sent is gated by the test. Clocks decide only what is about time, and only that
//! something did not come too early; timeouts turn a hang into a failure.
//!
//! Chromium's part: `cargo test --all-features --test clients -- --ignored`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod chromium;
#[path = "../common/gate.rs"]
mod gate;
#[path = "../common/net.rs"]
mod net;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/reader.rs"]
mod reader;
mod rust;
mod server;
#[path = "../common/signal.rs"]
mod signal;
mod stories;
#[path = "../common/webdriver.rs"]
mod webdriver;

use std::time::{Duration, Instant};

use crate::{
    net::patience::{PATIENCE, soon},
    reader::Message,
};

/// What a client has been given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    events: Vec<Message>,
    /// How often it found its stream over or broken, and was to reconnect.
    errors: usize,
}

/// A client that reconnects by itself.
trait EventSource {
    async fn seen(&self) -> Seen;

    /// Waits until it has seen as many events, and gives back all.
    async fn sees(&self, events: usize) -> Seen {
        let start = Instant::now();
        loop {
            let seen = self.seen().await;
            if seen.events.len() >= events {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "no more than {seen:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
