//! The examples, run as a newcomer would run them: as processes, over real sockets.
//!
//! No clock decides what is right: whoever produces is gated by the test, so that what must have
//! arrived is read while nothing more can come. Timeouts only turn a hang into a failure.
//!
//! `cargo test --all-features` builds the examples afresh. `--test examples` alone does not: then
//! run `cargo build --examples --all-features` before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod access_log;
mod audit;
mod axum_sse;
mod grpc;
mod hyper_service;
mod observability;
mod own_observer;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/process.rs"]
mod process;
mod websocket;
#[path = "../common/wire.rs"]
mod wire;

use std::time::{Duration, Instant};

use crate::patience::{PATIENCE, soon};

/// Asks again until it comes, or fails with what it was told last.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(it) => return it,
            Err(last) if start.elapsed() > PATIENCE => {
                panic!("waited in vain for {what}: {last}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
