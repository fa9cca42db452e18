//! What hyper puts on the wire, and how each exchange ends, over real connections.
//!
//! No test goes by the clock: each waits for what must have happened before. Each exchange is run
//! twice, bare and under all our layers, and must look the same from outside.
#![cfg(all(feature = "capture", feature = "headers", feature = "metrics"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

#[path = "../common/mod.rs"]
mod common;
mod leaving;
#[path = "../common/net.rs"]
mod net;
#[path = "../common/replies.rs"]
mod replies;
mod requests;
mod rows;
#[path = "../common/stack.rs"]
mod stack;
mod tunnels;

use bytes::Bytes;
use common::{
    Broken,
    Step::{self, Data, Trailers},
};
use http::Response;
use http_body::Body;
use net::soon;
use replies::{Reply, reply};
use tokio::task::yield_now;

const STREAM: [Step; 3] = [Data(5), Data(5), Data(5)];

const TRAILED: [Step; 3] = [Data(5), Data(5), Trailers];

/// Waits until something holds that can come to hold only by what others do.
async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            yield_now().await;
        }
    })
    .await;
}

fn with(
    name: &str,
    value: &str,
    body: impl Body<Data = Bytes, Error = Broken> + Send + 'static,
) -> Reply {
    reply(Response::builder().header(name, value), body)
}

fn status(status: u16, body: impl Body<Data = Bytes, Error = Broken> + Send + 'static) -> Reply {
    reply(Response::builder().status(status), body)
}
