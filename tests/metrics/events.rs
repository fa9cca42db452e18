//! Server-sent events, as they pass.

use std::time::{Duration, Instant};

use bytes::Buf;
use http::Method;
use metrics::with_local_recorder;
use tower_passthrough::{
    RequestHead, ResponseHead,
    metrics::{MetricsLayer, SSE_EVENT_GAP_SECONDS, SSE_EVENTS_TOTAL, SSE_FIRST_EVENT_SECONDS},
    observe::{MakeObserver, Moment, Observer, Outcome},
};

use crate::{
    common::Step,
    drive::{answer, answering, drive, request},
    series::{everything, recorder, rendered, series},
};

const EVENT_STREAM: (&str, &str) = ("content-type", "text/event-stream");

/// An event stream whose frames come at these seconds.
fn told(layer: &MetricsLayer, frames: &[(&str, u64)]) {
    let start = Instant::now();
    let at = |seconds| Moment::from(start + Duration::from_secs(seconds));
    let request = request(Method::GET);
    let mut observer = layer.observe(&RequestHead::from(&request), &at(0)).unwrap();
    let response = answer(200, &[EVENT_STREAM], []);
    observer.on_response(&ResponseHead::from(&response), &at(1));
    for (text, seconds) in frames {
        observer.on_data(&text.as_bytes(), &at(*seconds));
    }
    observer.on_end(Outcome::Complete, &at(100));
}

#[test]
fn events_their_first_and_the_gaps_between_them_are_exact() {
    type Frames = &'static [(&'static str, u64)];
    type Histogram = Option<(&'static str, &'static str)>;
    let cases: &[(Frames, Option<&str>, Histogram, Histogram)] = &[
        (&[], None, None, None),
        (&[(": hello\n\n", 2), ("id: 1\n\n", 3)], None, None, None),
        (&[("data: x\n", 2), ("data: y", 3)], None, None, None),
        (&[("data: x\n\n", 2)], Some("1"), Some(("1", "2")), None),
        // The frame that completes an event counts.
        (
            &[("data: x\n", 2), ("\nda", 5), ("ta\n\n", 9)],
            Some("2"),
            Some(("1", "5")),
            Some(("1", "4")),
        ),
        // Two at once are no time apart.
        (
            &[
                ("data\n\ndata\n\ndata\n\n", 2),
                (": quiet\n", 4),
                ("data\n\ndata\n\n", 7),
            ],
            Some("5"),
            Some(("1", "2")),
            Some(("4", "5")),
        ),
    ];
    for (frames, events, first, gaps) in cases {
        let layer = MetricsLayer::builder().sse_events().build().unwrap();
        let recorder = recorder();
        with_local_recorder(&recorder, || told(&layer, frames));
        let all = everything(&recorder.handle());
        let value = |name: &str| all.get(&series(name, &[("method", "GET")])).map(|it| &**it);
        let histogram =
            |name: &str| value(&format!("{name}_count")).zip(value(&format!("{name}_sum")));
        assert_eq!(value(SSE_EVENTS_TOTAL), *events, "{frames:?}");
        assert_eq!(histogram(SSE_FIRST_EVENT_SECONDS), *first, "{frames:?}");
        assert_eq!(histogram(SSE_EVENT_GAP_SECONDS), *gaps, "{frames:?}");
    }
}

#[test]
fn streams_do_not_mix() {
    let layer = MetricsLayer::builder().sse_events().build().unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        told(&layer, &[("data: half", 2)]);
        told(&layer, &[("\n\n", 2), ("data: whole\n\n", 3)]);
    });
    let total = series(SSE_EVENTS_TOTAL, &[("method", "GET")]);
    assert_eq!(rendered(&recorder)[&total], "1");
}

#[test]
fn what_some_servers_read_to_answer_head_is_not_counted() {
    let layer = MetricsLayer::builder().sse_events().build().unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        let response = answer(200, &[EVENT_STREAM], [Step::Text("data: x\n\n")]);
        drop(drive(&layer, answering(response).method(Method::HEAD)));
    });
    let all = rendered(&recorder);
    assert!(
        !all.keys().any(|series| series.starts_with("http_sse")),
        "{all:?}"
    );
}

#[test]
fn a_frame_in_several_chunks_ends_the_count() {
    let layer = MetricsLayer::builder().sse_events().build().unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        let request = request(Method::GET);
        let at = Moment::new();
        let mut observer = layer.observe(&RequestHead::from(&request), &at).unwrap();
        let response = answer(200, &[EVENT_STREAM], []);
        observer.on_response(&ResponseHead::from(&response), &at);
        let event = &b"data: x\n\n"[..];
        observer.on_data(&event.chain(&b""[..]), &at);
        observer.on_data(&event.chain(event), &at);
        observer.on_data(&event, &at);
        observer.on_end(Outcome::Complete, &at);
    });
    let total = series(SSE_EVENTS_TOTAL, &[("method", "GET")]);
    assert_eq!(rendered(&recorder)[&total], "1");
}

#[test]
fn frame_gaps_and_events_are_told_apart() {
    let layer = MetricsLayer::builder()
        .frame_gaps()
        .sse_events()
        .build()
        .unwrap();
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        told(
            &layer,
            &[("data: x\n\n", 2), (": quiet\n", 5), ("data: y\n\n", 9)],
        );
    });
    let all = everything(&recorder.handle());
    let frames = [("method", "GET"), ("kind", "stream")];
    assert_eq!(
        all[&series("http_response_frame_gap_seconds_count", &frames)],
        "2"
    );
    let events = [("method", "GET")];
    assert_eq!(
        all[&series("http_sse_event_gap_seconds_count", &events)],
        "1"
    );
    assert_eq!(all[&series("http_sse_event_gap_seconds_sum", &events)], "7");
}

#[test]
fn only_event_streams_that_can_be_read_are_and_only_if_asked_for() {
    let asked = || MetricsLayer::builder().sse_events();
    for (builder, status, fields, are_counted) in [
        (asked(), 200, &[EVENT_STREAM][..], true),
        (
            asked(),
            206,
            &[("content-type", "Text/Event-Stream; charset=utf-8")],
            true,
        ),
        (
            asked(),
            200,
            &[EVENT_STREAM, ("content-encoding", "Identity")],
            true,
        ),
        (
            asked(),
            200,
            &[EVENT_STREAM, ("content-encoding", "gzip")],
            false,
        ),
        (
            asked(),
            200,
            &[EVENT_STREAM, ("content-encoding", "identity, br")],
            false,
        ),
        (asked(), 404, &[EVENT_STREAM], false),
        (asked(), 200, &[("content-type", "text/plain")], false),
        (asked(), 200, &[], false),
        (MetricsLayer::builder(), 200, &[EVENT_STREAM], false),
        (
            MetricsLayer::builder().frame_gaps(),
            200,
            &[EVENT_STREAM],
            false,
        ),
    ] {
        let layer = builder.build().unwrap();
        let recorder = recorder();
        with_local_recorder(&recorder, || {
            let response = answer(status, fields, [Step::Text("data: x\n\ndata: y\n\n")]);
            drop(drive(&layer, answering(response)));
        });
        let total = series(SSE_EVENTS_TOTAL, &[("method", "GET")]);
        let counted = rendered(&recorder).get(&total).cloned();
        assert_eq!(
            counted.as_deref(),
            are_counted.then_some("2"),
            "{status} {fields:?}"
        );
    }
}
