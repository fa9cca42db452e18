//! The layers that may change bytes, while they have nothing to do, alone and stacked.

use std::{
    future::{Pending, pending},
    time::Duration,
};

use tower_passthrough::{
    sse::{DrainLayer, KeepAliveLayer},
    timeout::IdleTimeoutLayer,
    timer::Timer,
};

use crate::ours::{assert_safe, assert_safe_but_for_bounds, capture, headers, metrics, observe};

/// Time stands still.
#[derive(Debug, Clone)]
struct Still;

impl Timer for Still {
    type Sleep = Pending<()>;

    fn sleep(&self, _: Duration) -> Self::Sleep {
        pending()
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn keep_alive() -> KeepAliveLayer<Still> {
    KeepAliveLayer::builder(SECOND, Still).build().unwrap()
}

/// The signal never comes.
fn drain() -> DrainLayer<fn() -> Pending<()>, Still> {
    let layer = DrainLayer::builder(pending as fn() -> _, SECOND, Still);
    layer.refuse_late(SECOND).build().unwrap()
}

fn idle_timeout() -> IdleTimeoutLayer<Still> {
    IdleTimeoutLayer::with_timer(SECOND, Still).unwrap()
}

// The kit's body has from 5,000 to 10,000 bytes.
const MAY_GROW: &str = "at least 5000 B";
const MAY_BE_CUT: &str = "at most 10000 B";
const MAY_BOTH: &str = "unknown";

#[test]
fn idle_timeouts_are_streaming_safe() {
    assert_safe("i", idle_timeout());
    assert_safe("i i", (idle_timeout(), idle_timeout()));
    assert_safe("o i c", (observe(), idle_timeout(), capture()));
    assert_safe("m i h", (metrics(), idle_timeout(), headers()));
}

#[test]
fn keep_alives_are_streaming_safe_but_for_the_upper_bound() {
    assert_safe_but_for_bounds("k", keep_alive(), MAY_GROW);
    assert_safe_but_for_bounds("k k", (keep_alive(), keep_alive()), MAY_GROW);
    assert_safe_but_for_bounds("k i", (keep_alive(), idle_timeout()), MAY_GROW);
    assert_safe_but_for_bounds("i k", (idle_timeout(), keep_alive()), MAY_GROW);
    let among = (observe(), keep_alive(), capture(), metrics(), headers());
    assert_safe_but_for_bounds("o k c m h", among, MAY_GROW);
}

#[test]
fn drains_are_streaming_safe_but_for_the_lower_bound() {
    assert_safe_but_for_bounds("d", drain(), MAY_BE_CUT);
    assert_safe_but_for_bounds("d d", (drain(), drain()), MAY_BE_CUT);
    assert_safe_but_for_bounds("d i", (drain(), idle_timeout()), MAY_BE_CUT);
    assert_safe_but_for_bounds("i d", (idle_timeout(), drain()), MAY_BE_CUT);
    let among = (headers(), metrics(), drain(), capture(), observe());
    assert_safe_but_for_bounds("h m d c o", among, MAY_BE_CUT);
}

#[test]
fn keep_alives_and_drains_are_streaming_safe_in_any_order_but_for_the_bounds() {
    let (k, d, i) = (keep_alive, drain, idle_timeout);
    assert_safe_but_for_bounds("k d", (k(), d()), MAY_BOTH);
    assert_safe_but_for_bounds("d k", (d(), k()), MAY_BOTH);
    assert_safe_but_for_bounds("k d i", (k(), d(), i()), MAY_BOTH);
    assert_safe_but_for_bounds("i d k", (i(), d(), k()), MAY_BOTH);
    assert_safe_but_for_bounds("d k d k", (d(), k(), d(), k()), MAY_BOTH);
    // As the docs have it.
    let stack = (headers(), metrics(), capture(), d(), k(), i(), observe());
    assert_safe_but_for_bounds("h m c d k i o", stack, MAY_BOTH);
}
