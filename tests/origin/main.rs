//! Why this crate: the same streams through a middleware that collects and rebuilds, through one
//! that wraps the data only, and through ours, over real sockets.
//!
//! No test goes by the clock. The producer of a stream waits for leave before each event, and all
//! that happens is written into one log.
#![cfg(all(feature = "capture", feature = "headers", feature = "metrics"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

#[path = "../common/mod.rs"]
mod common;
mod events;
#[path = "../../examples/audit/faults/mod.rs"]
mod faults;
mod framing;
#[path = "../common/net.rs"]
mod net;
#[path = "../common/stack.rs"]
mod stack;

use http::Request;
use net::{RequestBody, no_body};

fn get() -> Request<RequestBody> {
    let request = Request::get("http://a/").header("te", "trailers");
    request.body(no_body()).unwrap()
}
