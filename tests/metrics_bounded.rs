//! A million requests that have nothing in common.
//!
//! A binary of its own: what the exporter has drained is freed by whichever thread comes by, and
//! bytes are counted for one.
#![cfg(feature = "metrics")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

#[path = "common/random.rs"]
mod random;
#[path = "metrics/series.rs"]
#[allow(dead_code, reason = "it is shared with `tests/metrics`")]
mod series;

use std::{ops::Range, sync::Arc, time::Duration};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header::HOST};
use http_body_util::Empty;
use metrics_exporter_prometheus::PrometheusHandle;
use tower_passthrough::{
    RequestHead, ResponseHead,
    metrics::{MetricsLayer, OVERFLOW_TOTAL, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL},
    observe::{MakeObserver, Moment, Observer, Outcome},
};

use random::random;
use series::{recorder, series, shown};

const REQUESTS: u64 = 1_000_000;
const BLOCK: u64 = 100_000;
const LABEL_SETS: usize = 500;

/// Makes the request one for any host and path, with any method.
fn turn(request: &mut Request<Empty<Bytes>>, place: u64) {
    let random = random(place);
    let path = Bytes::from(format!("/{random:x}"));
    let host = match random % 3 {
        0 => HeaderValue::from_static("api.example"),
        // Hexadecimal too, but the names of hosts have no slash.
        _ => HeaderValue::from_maybe_shared(path.slice(1..)).unwrap(),
    };
    *request.uri_mut() = Uri::from_maybe_shared(path).unwrap();
    *request.method_mut() = Method::from_bytes(&random.to_le_bytes().map(letter)).unwrap();
    request.headers_mut().insert(HOST, host);
}

fn letter(byte: u8) -> u8 {
    b'A' + byte % 26
}

/// The bytes that are held more after these requests than before.
fn held(layer: &MetricsLayer, handle: &PrometheusHandle, places: Range<u64>) -> i64 {
    let all = || {
        let mut request = Request::new(Empty::new());
        let response = Response::new(Empty::<Bytes>::new());
        for place in places {
            turn(&mut request, place);
            let (begin, end) = (Moment::new(), Moment::new());
            let observer = layer.observe(&RequestHead::from(&request), &begin);
            let mut observer = observer.unwrap();
            observer.on_response(&ResponseHead::from(&response), &end);
            observer.on_end(Outcome::Complete, &end);
            // Undrained histograms grow.
            if place % 25_000 == 24_999 {
                handle.run_upkeep();
            }
        }
        drop(request);
        // What the exporter has drained is freed later, as it goes on.
        for _ in 0..2 {
            handle.run_upkeep();
        }
    };
    measure(all).bytes_current
}

#[test]
fn a_million_random_requests_hold_no_more_than_the_first() {
    let recorder = recorder();
    let handle = recorder.handle();
    let layer = MetricsLayer::builder()
        .hosts(["api.example", "chat.example"])
        .raw_paths()
        .max_label_sets(LABEL_SETS)
        // Renewed in the midst of it, so that what is renewed is let go too.
        .handle_ttl(Duration::from_millis(500))
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let held: Vec<_> = (0..REQUESTS / BLOCK)
        .map(|block| held(&layer, &handle, block * BLOCK..(block + 1) * BLOCK))
        .collect();
    println!("bytes held after each {BLOCK} requests more: {held:?}");
    assert!(
        held[0] > 0,
        "the label sets, and what the exporter has of them"
    );
    // What the exporter has yet to free comes and goes. A byte per 90 requests would be too much.
    let grown: i64 = held[1..].iter().sum();
    assert!(grown < 10_000, "{held:?}");

    let all = shown(&handle);
    let of = |name: &str| -> Vec<u64> {
        let name = format!("{name}{{");
        all.iter()
            .filter(|(series, _)| series.starts_with(&name))
            .map(|(_, value)| value.parse().unwrap())
            .collect()
    };
    let requests = of(REQUESTS_TOTAL);
    // All but the three that are kept, and one of those.
    assert_eq!(requests.len(), LABEL_SETS - 2);
    assert_eq!(requests.iter().sum::<u64>(), REQUESTS);
    assert_eq!(of(REQUESTS_IN_FLIGHT), [0; LABEL_SETS - 2]);
    let without_room = REQUESTS - (LABEL_SETS as u64 - 3);
    assert_eq!(all[&series(OVERFLOW_TOTAL, &[])], without_room.to_string());
    let other = ["host", "method", "path"].map(|label| (label, "_other"));
    let other = [&other[..], &[("status", "200")]].concat();
    assert_eq!(
        all[&series(REQUESTS_TOTAL, &other)],
        without_room.to_string()
    );
}
