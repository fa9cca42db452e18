//! The recorder of the whole process, of which there is one only: a binary of its own, and one
//! test, which tells its story from before the recorder is there.
#![cfg(feature = "metrics")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod common;
#[path = "common/drive.rs"]
mod drive;
#[path = "metrics/series.rs"]
#[allow(dead_code, reason = "it is shared with `tests/metrics`")]
mod series;

use std::thread;

use allocation_counter::measure;
use common::{End, Size, Step};
use drive::{Exchange, Until, answer, answering, drive, hinting};
use metrics::{set_global_recorder, with_local_recorder};
use metrics_exporter_prometheus::PrometheusHandle;
use series::{Expected, Labels, in_flight, recorder, rendered, requests_by, shown, with};
use tower_passthrough::metrics::{
    MetricsLayer, REQUEST_BODY_BYTES, REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL,
    RESPONSE_BODY_BYTES, RESPONSE_FIRST_BYTE_SECONDS, RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL,
};

const GET: (&str, &str) = ("method", "GET");

fn whole() -> Exchange {
    answering(hinting(answer(200, &[], []), Size::Exact, End::Shown))
}

/// A stream that is open until it is dropped, and has had no byte yet.
fn stream() -> Exchange {
    answering(answer(200, &[], [Step::Data(5)])).until(Until::Head)
}

/// What the exporter should have been told of.
#[derive(Default, Clone, Copy)]
struct Seen {
    /// Begun here.
    begun: usize,
    in_flight: usize,
    /// With a head here.
    unary_heads: usize,
    stream_heads: usize,
    /// Ended here.
    unary_ends: usize,
    stream_ends: usize,
}

impl Seen {
    fn check(self, handle: &PrometheusHandle, context: &str) {
        let base: Labels<'_> = vec![GET];
        let kind = |kind| with(&base, [("kind", kind)]);
        let ok = with(&base, [("status", "200")]);
        let mut expected = Expected::default();
        if self.begun > 0 {
            expected = expected
                .value(REQUESTS_IN_FLIGHT, &base, self.in_flight)
                .bytes(REQUEST_BODY_BYTES, &base, &vec![0; self.begun])
                .value(REQUESTS_TOTAL, &ok, self.unary_heads + self.stream_heads);
        }
        for (name, heads) in [("unary", self.unary_heads), ("stream", self.stream_heads)] {
            if heads > 0 {
                expected = expected.seconds(RESPONSE_HEAD_SECONDS, &kind(name), heads);
            }
        }
        for (name, outcome, ends) in [
            ("unary", "complete", self.unary_ends),
            ("stream", "disconnected", self.stream_ends),
        ] {
            if ends > 0 {
                let ended = with(&ok, [("outcome", outcome)]);
                expected = expected
                    .seconds(REQUEST_DURATION_SECONDS, &kind(name), ends)
                    .bytes(RESPONSE_BODY_BYTES, &kind(name), &vec![0; ends])
                    .value(RESPONSES_ENDED_TOTAL, &ended, ends);
            }
        }
        let all = shown(handle);
        assert!(
            !all.keys()
                .any(|it| it.starts_with(RESPONSE_FIRST_BYTE_SECONDS))
        );
        assert_eq!(all, expected.0, "{context}");
    }
}

#[test]
fn a_layer_finds_the_global_recorder_whenever_it_comes() {
    let layer = MetricsLayer::builder().build().unwrap();
    let mut seen = Seen::default();

    // Nobody listens yet. A stream is under way as the recorder comes.
    drop(drive(&layer, whole()));
    drop(drive(&layer, stream()));
    let early = drive(&layer, stream());
    let global = recorder();
    let handle = global.handle();
    set_global_recorder(global).unwrap();
    seen.check(&handle, "installed");

    drop(early);
    seen.stream_ends += 1;
    seen.check(
        &handle,
        "a stream from before has ended, and was never in this gauge",
    );

    drop(drive(&layer, whole()));
    let held = drive(&layer, stream());
    seen.begun += 2;
    seen.unary_heads += 1;
    seen.unary_ends += 1;
    seen.stream_heads += 1;
    seen.in_flight += 1;
    seen.check(&handle, "used");
    let described = "# HELP http_requests_in_flight Exchanges that are not over\n";
    assert!(handle.render().contains(described));

    thread::spawn(move || drop(held)).join().unwrap();
    seen.in_flight -= 1;
    seen.stream_ends += 1;
    seen.check(&handle, "ended on another thread");

    // What a known label set costs, now that its handles can be kept. The exporter's histograms
    // allocate at the first value after they were rendered.
    drop(drive(&layer, whole()));
    let mut exchange = Some(whole());
    let cost = measure(|| drop(drive(&layer, exchange.take().unwrap())));
    seen.begun += 2;
    seen.unary_heads += 2;
    seen.unary_ends += 2;
    seen.check(&handle, "measured");
    let mut exchange = Some(whole());
    let bare = tower::layer::util::Identity::new();
    let bare = measure(|| drop(drive(&bare, exchange.take().unwrap())));
    assert_eq!(cost.count_total, bare.count_total);

    // A recorder of this thread goes before, and what began here and ends there is told there.
    let local = recorder();
    let held = drive(&layer, stream());
    seen.begun += 1;
    seen.stream_heads += 1;
    seen.in_flight += 1;
    with_local_recorder(&local, || {
        drop(drive(&layer, whole()));
        drop(held);
    });
    seen.in_flight -= 1;
    seen.check(&handle, "passed over");
    assert_eq!(requests_by(&local, "method"), [("GET".to_owned(), 1)]);
    assert_eq!(in_flight(&local, &[GET]), "0");
    let ends: u64 = series::by_label(&local, RESPONSES_ENDED_TOTAL, "outcome")
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(ends, 2, "{:?}", rendered(&local));

    // And the other way round.
    let held = with_local_recorder(&local, || drive(&layer, stream()));
    drop(held);
    seen.stream_ends += 1;
    seen.check(&handle, "back");
    assert_eq!(in_flight(&local, &[GET]), "0");

    for _ in 0..100 {
        drop(drive(&layer, whole()));
    }
    seen.begun += 100;
    seen.unary_heads += 100;
    seen.unary_ends += 100;
    seen.check(&handle, "in the end");
}
