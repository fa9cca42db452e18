//! `CaptureLayer`: what the one summary of an exchange says, however the exchange ends.
#![cfg(feature = "capture")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod callbacks;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drive.rs"]
mod drive;
mod exchanges;
mod panics;
mod times;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use common::Step;
use drive::{Exchange, drive};
use http::{Method, Version};
use tower_passthrough::{
    GrpcStatus,
    capture::{CaptureLayer, Summary},
    observe::Outcome,
};

/// A summary without its times: those are exact only in relation to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    method: Method,
    version: Version,
    status: Option<u16>,
    outcome: Outcome,
    grpc_status: Option<u32>,
    body_bytes: u64,
    data_frames: u64,
    trailers: bool,
    has_time_to_head: bool,
    has_time_to_first_byte: bool,
}

impl Facts {
    /// Those of a GET that got no head.
    fn headless(outcome: Outcome) -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            status: None,
            outcome,
            grpc_status: None,
            body_bytes: 0,
            data_frames: 0,
            trailers: false,
            has_time_to_head: false,
            has_time_to_first_byte: false,
        }
    }

    /// Those of a GET with a head, but without any body.
    fn of(status: u16, outcome: Outcome) -> Self {
        Self {
            status: Some(status),
            has_time_to_head: true,
            ..Self::headless(outcome)
        }
    }

    fn data(self, frames: u64, bytes: u64) -> Self {
        Self {
            data_frames: frames,
            body_bytes: bytes,
            has_time_to_first_byte: bytes > 0,
            ..self
        }
    }

    fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    fn trailers(self) -> Self {
        Self {
            trailers: true,
            ..self
        }
    }
}

impl From<&Summary> for Facts {
    fn from(summary: &Summary) -> Self {
        Self {
            method: summary.method.clone(),
            version: summary.version,
            status: summary.status.map(|status| status.as_u16()),
            outcome: summary.outcome,
            grpc_status: summary.grpc_status.map(GrpcStatus::code),
            body_bytes: summary.body_bytes,
            data_frames: summary.data_frames,
            trailers: summary.trailers,
            has_time_to_head: summary.time_to_head.is_some(),
            has_time_to_first_byte: summary.time_to_first_byte.is_some(),
        }
    }
}

/// A layer, and the summaries of all its exchanges that are over.
fn capturing() -> (
    CaptureLayer<impl Fn(&Summary) + Clone + Send + 'static>,
    impl Fn() -> Vec<Summary>,
) {
    let summaries = Arc::<Mutex<Vec<Summary>>>::default();
    let all = Arc::clone(&summaries);
    let layer = CaptureLayer::new(move |summary: &Summary| {
        summaries.lock().unwrap().push(summary.clone());
    });
    (layer, move || all.lock().unwrap().clone())
}

/// The one summary of this exchange, whose times are in order.
fn summary_of(exchange: Exchange) -> Summary {
    let (layer, all) = capturing();
    let before = Instant::now();
    drop(drive(&layer, exchange));
    let elapsed = before.elapsed();
    let [summary] = all().try_into().unwrap();
    let times = [
        summary.time_to_head,
        summary.time_to_first_byte,
        Some(summary.duration),
        Some(elapsed),
    ];
    assert!(times.into_iter().flatten().is_sorted(), "{summary:?}");
    summary
}

fn three_and_four() -> [Step; 4] {
    [Step::Data(3), Step::Pending, Step::Data(0), Step::Data(4)]
}
