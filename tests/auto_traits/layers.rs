//! Each layer that there is, with the features at hand.

#[cfg(feature = "buffering")]
pub(crate) use tower_passthrough::buffering::{Buffering, BufferingControl, BufferingLayer};
#[cfg(feature = "capture")]
pub(crate) use tower_passthrough::capture::CaptureLayer;
#[cfg(feature = "capture")]
use tower_passthrough::capture::Summary;

#[cfg(feature = "headers")]
pub(crate) use tower_passthrough::headers::HeadersLayer;
#[cfg(feature = "limit")]
pub(crate) use tower_passthrough::limit::ConcurrencyLimitLayer;
#[cfg(feature = "metrics")]
pub(crate) use tower_passthrough::metrics::MetricsLayer;
pub(crate) use tower_passthrough::observe::ObserveLayer;
#[cfg(any(feature = "capture", feature = "sse"))]
use tower_passthrough::observe::Outcome;
#[cfg(feature = "sse")]
pub(crate) use tower_passthrough::sse::TapLayer;
#[cfg(feature = "sse")]
use tower_passthrough::{RequestHead, sse::Tapped};

pub(crate) use crate::common::Watch;

/// Runs a check with each layer that there is.
macro_rules! each_layer {
    ($check:ident $(, $argument:expr)*) => {
        $check(
            "observe",
            &crate::layers::ObserveLayer::new(crate::layers::Watch::default())
            $(, $argument)*
        );
        $check(
            "observe, as a pair",
            &crate::layers::ObserveLayer::new((
                crate::layers::Watch::default(),
                crate::layers::Watch::default(),
            ))
            $(, $argument)*
        );
        #[cfg(feature = "buffering")]
        $check(
            "buffering",
            &crate::layers::BufferingLayer::new(
                crate::layers::BufferingControl::new(crate::layers::Buffering::Auto)
            )
            $(, $argument)*
        );
        #[cfg(feature = "capture")]
        $check(
            "capture",
            &crate::layers::CaptureLayer::new(crate::layers::expect_complete)
            $(, $argument)*
        );
        #[cfg(feature = "headers")]
        $check(
            "headers",
            &crate::layers::HeadersLayer::sse()
            $(, $argument)*
        );
        #[cfg(feature = "limit")]
        $check(
            "limit",
            &crate::layers::ConcurrencyLimitLayer::new(9).unwrap()
            $(, $argument)*
        );
        #[cfg(feature = "metrics")]
        $check(
            "metrics",
            &crate::layers::MetricsLayer::builder().build().unwrap()
            $(, $argument)*
        );
        #[cfg(feature = "sse")]
        $check(
            "tap",
            &crate::layers::TapLayer::new(crate::layers::expect_no_event)
            $(, $argument)*
        );
    };
}

pub(crate) use each_layer;

#[cfg(feature = "capture")]
pub(crate) fn expect_complete(summary: &Summary) {
    assert_eq!(summary.outcome, Outcome::Complete);
}

#[cfg(feature = "sse")]
pub(crate) fn expect_no_event(_: &RequestHead<'_>) -> impl FnMut(Tapped<'_>) + Send + use<> {
    |tapped: Tapped<'_>| assert_eq!(tapped, Tapped::End(Outcome::Complete))
}
