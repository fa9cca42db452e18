//! `MetricsLayer`: the series that a real exporter renders, and their exact values.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod cap;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drive.rs"]
mod drive;
mod events;
mod grpc;
mod labels;
#[path = "../common/net.rs"]
mod net;
#[path = "../common/random.rs"]
mod random;
mod recorders;
#[cfg(feature = "axum")]
mod routes;
mod rows;
mod series;
mod settings;
mod table;
mod times;
mod wire;
