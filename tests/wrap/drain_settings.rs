//! What `DrainLayer` can be set to, what it refuses, and what observers see of a drain.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version, header::RETRY_AFTER};
use http_body::Body;
use tower_passthrough::{
    observe::{ObserveLayer, Outcome},
    sse::{DrainLayer, DrainLayerBuilder},
};

use crate::{
    clock::{Clock, Signal, Waiting},
    common::{Hints, Watch, hints},
    drain::{in_time, late},
    events::{Fed, Feed, answered, read, streamed},
    gate::event_stream,
};

const SECOND: Duration = Duration::from_secs(1);

fn builder(signal: &Signal) -> DrainLayerBuilder<impl Fn() -> Waiting + Clone + use<>, Clock> {
    DrainLayer::builder(signal.waiting(), SECOND, Clock::default())
}

#[test]
fn refusals_have_nothing_of_the_inner_response() {
    for (after, expected) in [
        (SECOND, "1"),
        (Duration::from_millis(1), "1"),
        (Duration::from_millis(2_001), "3"),
        (120 * SECOND, "120"),
        (Duration::from_secs(u64::MAX), "18446744073709551615"),
    ] {
        let signal = Signal::default();
        let layer = builder(&signal).refuse_late(after).build().unwrap();
        let answer = |feed: &Feed| {
            let mut response = event_stream(feed.body());
            response
                .headers_mut()
                .insert("etag", "\"1\"".parse().unwrap());
            response.extensions_mut().insert("inner");
            *response.version_mut() = Version::HTTP_2;
            answered(&layer, Method::GET, response)
        };
        // One that begins before the signal is none of its business.
        let feed = Feed::default();
        let in_time = answer(&feed);
        assert_eq!(
            (in_time.status(), in_time.headers().len()),
            (StatusCode::OK, 2)
        );
        assert!(!feed.is_dropped());

        signal.come();
        let feed = Feed::default();
        let (head, mut body) = answer(&feed).into_parts();
        assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
        let fields = HeaderMap::from_iter([(RETRY_AFTER, expected.parse().unwrap())]);
        assert_eq!(head.headers, fields);
        assert_eq!(head.extensions.get::<&str>(), None);
        assert!(feed.is_dropped());
        let empty = Hints {
            lower: 0,
            upper: Some(0),
            is_end_stream: true,
        };
        assert_eq!(hints(&body), empty);
        assert_eq!(read(&mut body), ["end"]);
    }
}

#[test]
fn each_stream_is_told_another_time_to_retry_after() {
    let layer = builder(&Signal::default())
        .retry_between(Duration::from_millis(1_500), 3 * SECOND)
        .build()
        .unwrap();
    let mut times = BTreeSet::new();
    for _ in 0..3_000 {
        let feed = Feed::default();
        feed.data("data: 1\n\n");
        let given = read(&mut streamed::<_, Fed, _>(&layer, feed.body()));
        let [line, first] = &given[..] else {
            panic!("{given:?}");
        };
        assert_eq!(first, "data: 1\n\n");
        let digits = line.strip_prefix("retry: ").unwrap();
        let millis: u64 = digits.strip_suffix('\n').unwrap().parse().unwrap();
        assert!((1_500..=3_000).contains(&millis), "{millis}");
        times.insert(millis);
    }
    // Of 1,501 times, 3,000 fair throws miss one in seven: 1,297 are expected, give or take 15.
    assert!(times.len() > 1_200, "{}", times.len());
}

#[test]
fn all_times_between_the_bounds_are_told_and_no_other() {
    let told = |least, most| {
        let [least, most] = [least, most].map(Duration::from_millis);
        let layer = builder(&Signal::default()).retry_between(least, most);
        let layer = layer.build().unwrap();
        let first = || read(&mut streamed::<_, Fed, _>(&layer, Feed::default().body()));
        (0..500).flat_map(|_| first()).collect::<BTreeSet<_>>()
    };
    let lines = |times: &[u64]| {
        let line = |time| format!("retry: {time}\n");
        times.iter().map(line).collect::<BTreeSet<_>>()
    };
    assert_eq!(told(7, 7), lines(&[7]));
    assert_eq!(told(1, 3), lines(&[1, 2, 3]));
    assert_eq!(told(u64::MAX, u64::MAX), lines(&[u64::MAX]));
    assert_eq!(told(1, u64::MAX).len(), 500);
}

#[test]
fn the_time_to_retry_after_is_told_before_all_else() {
    let retrying = |signal: &Signal| {
        let layer = builder(signal).retry_between(SECOND, SECOND);
        let feed = Feed::default();
        feed.size(3, Some(9));
        (
            feed.clone(),
            streamed::<_, Fed, _>(&layer.build().unwrap(), feed.body()),
        )
    };
    let hinted = |upper, is_end_stream| Hints {
        lower: 0,
        upper,
        is_end_stream,
    };
    // In time, then the signal.
    let signal = Signal::default();
    let (feed, mut body) = retrying(&signal);
    assert_eq!(hints(&body), hinted(Some(9 + 12), false));
    // It is not over before it has been told, even if the inner body is.
    feed.show_end();
    assert_eq!(hints(&body), hinted(Some(9 + 12), false));
    signal.come();
    assert_eq!(read(&mut body), ["retry: 1000\n", "end"]);
    assert_eq!(hints(&body), hinted(Some(0), true));
    assert_eq!(feed.polls(), 1);

    // Late: it gets an event, too.
    let (feed, mut body) = retrying(&signal);
    assert_eq!(read(&mut body), ["retry: 1000\n"]);
    assert_eq!(hints(&body), hinted(Some(9), false));
    feed.show_end();
    assert!(body.is_end_stream());
    feed.size(0, Some(u64::MAX));
    assert_eq!(hints(&body), hinted(Some(u64::MAX), true));
    feed.size(0, None);
    assert_eq!(hints(&body), hinted(None, true));
    feed.data("data: 1\n\ndata: 2");
    assert_eq!(read(&mut body), ["data: 1\n\n", "end"]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    type Set = fn(Duration, Duration) -> Result<(), String>;
    let grace: Set = |grace, _| {
        let layer = DrainLayer::builder(Signal::default().waiting(), grace, Clock::default());
        layer.build().map(drop).map_err(|error| error.to_string())
    };
    let refuse: Set = |after, _| {
        let layer = builder(&Signal::default()).refuse_late(after);
        layer.build().map(drop).map_err(|error| error.to_string())
    };
    let retry: Set = |least, most| {
        let layer = builder(&Signal::default()).retry_between(least, most);
        layer.build().map(drop).map_err(|error| error.to_string())
    };
    let (zero, milli) = (Duration::ZERO, Duration::from_millis(1));
    let micro = Duration::from_micros(999);
    let not_between = |times| {
        Err(format!(
            "drain: clients cannot retry between {times}: the least must be a millisecond or more \
             and not more than the most, which must be at most 64 bits of milliseconds"
        ))
    };
    let not_after = |time| {
        Err(format!(
            "drain: clients that are refused cannot retry after {time}: more than nothing, and not \
             more than 64 bits of seconds, is needed"
        ))
    };
    let rows = [
        (grace(milli, zero), Ok(())),
        (
            grace(zero, zero),
            Err("drain: the grace period is zero, each event under way would be cut off".into()),
        ),
        (refuse(Duration::from_nanos(1), zero), Ok(())),
        (refuse(zero, zero), not_after("0ns")),
        (
            refuse(Duration::MAX, zero),
            not_after("18446744073709551615.999999999s"),
        ),
        (retry(milli, milli), Ok(())),
        (retry(zero, milli), not_between("0ns and 1ms")),
        (retry(micro, milli), not_between("999µs and 1ms")),
        (retry(SECOND, milli), not_between("1s and 1ms")),
        (
            retry(milli, Duration::MAX),
            not_between("1ms and 18446744073709551615.999999999s"),
        ),
    ];
    for (built, expected) in rows {
        assert_eq!(built, expected);
    }
}

type Act = fn(&Feed, &Signal);

/// The outcomes outside and inside of a stream that begins so, and is read after each of these.
fn outcomes(begun: &'static str, acts: &[Act]) -> [Vec<Outcome>; 2] {
    let (outside, inside) = (Watch::default(), Watch::default());
    let (feed, signal, clock) = (Feed::default(), Signal::default(), Clock::default());
    let drain = DrainLayer::builder(signal.waiting(), SECOND, clock.clone());
    let layer = (
        ObserveLayer::new(outside.clone()),
        drain.build().unwrap(),
        ObserveLayer::new(inside.clone()),
    );
    let mut body = streamed::<_, Fed, _>(&layer, feed.body());
    feed.data(begun);
    assert_eq!(read(&mut body), [begun]);
    for act in acts {
        act(&feed, &signal);
        read(&mut body);
    }
    clock.pass(SECOND);
    read(&mut body);
    drop(body);
    [outside.outcomes(), inside.outcomes()]
}

#[test]
fn observers_see_how_a_drain_went_for_their_side() {
    use Outcome::{BodyError, Complete, Disconnected};
    let come: Act = |_, signal| signal.come();
    let end_event: Act = |feed, _| feed.data("\nmore");
    let end: Act = |feed, _| feed.end();
    let fail: Act = |feed, _| feed.error();
    let rows: [(&str, &[Act], _); 6] = [
        ("data: 1\n\n", &[come], [[Complete], [Disconnected]]),
        (
            "data: 1\n",
            &[come, end_event],
            [[Complete], [Disconnected]],
        ),
        ("data: 1\n", &[come], [[BodyError], [Disconnected]]),
        ("data: 1\n", &[come, fail], [[BodyError], [BodyError]]),
        ("data: 1\n", &[come, end], [[Complete], [Complete]]),
        ("data: 1\n", &[], [[Disconnected], [Disconnected]]),
    ];
    for (at, (begun, acts, expected)) in rows.into_iter().enumerate() {
        assert_eq!(outcomes(begun, acts), expected, "row {at}");
    }
}

#[test]
fn observers_see_a_refusal_as_one() {
    let (outside, inside) = (Watch::default(), Watch::default());
    let signal = Signal::default();
    signal.come();
    let layer = (
        ObserveLayer::new(outside.clone()),
        builder(&signal).refuse_late(SECOND).build().unwrap(),
        ObserveLayer::new(inside.clone()),
    );
    drop(streamed::<_, Fed, _>(&layer, Feed::default().body()));
    assert_eq!(outside.outcomes(), [Outcome::Complete]);
    assert_eq!(inside.outcomes(), [Outcome::Disconnected]);
}

#[test]
fn what_is_printed_says_how_it_is_set() {
    let layer = builder(&Signal::default()).refuse_late(SECOND);
    let shown = format!("{layer:?}");
    assert!(
        shown.starts_with("DrainLayerBuilder { timer: Clock"),
        "{shown}"
    );
    assert!(
        shown.ends_with("grace: 1s, refuse_late: Some(1s), retry_between: None, .. }"),
        "{shown}"
    );
    let shown = format!("{:?}", layer.build().unwrap());
    assert!(shown.starts_with("DrainLayer { timer: Clock"), "{shown}");
    assert!(shown.contains("grace: 1s, refusal: Some(\"1\")"), "{shown}");
    let (in_time, late) = (in_time(), late());
    for body in [&in_time.body, &late.body] {
        let shown = format!("{body:?}");
        assert!(shown.starts_with("DrainBody { inner: Some(Fed("), "{shown}");
        assert!(shown.ends_with("is_event_stream: true, .. }"), "{shown}");
    }
}

#[test]
fn a_signal_may_be_any_closure_and_any_future() {
    let come = || async {};
    let layer = DrainLayer::builder(come, SECOND, Clock::default());
    let layer = layer.build().unwrap();
    let feed = Feed::default();
    feed.data(Bytes::from_static(b"data: 1\n\ndata"));
    let mut body = streamed::<_, Fed, _>(&layer, feed.body());
    assert_eq!(read(&mut body), ["data: 1\n\n", "end"]);
}
