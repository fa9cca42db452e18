//! `TapLayer`: what it copies, and how much memory a stream can make it take.

use std::ops::Range;

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use tower::layer::util::Identity;
use tower_passthrough::{
    RequestHead,
    sse::{TapLayer, TapObserver, Tapped},
};

use crate::{
    common::Step,
    drive::{Exchange, answer, answering, drive},
    tap::{Frames, next, tapped},
};

/// Where a text lies.
fn place(text: &[u8]) -> Range<usize> {
    let start = text.as_ptr().addr();
    start..start + text.len()
}

/// What it allocates from the first frame to the last. The sink looks at each event.
fn of_frames(
    frames: impl IntoIterator<Item = Bytes>,
    sink: impl Fn(Tapped<'_>) + Clone + Send + 'static,
) -> AllocationInfo {
    let layer = TapLayer::new(move |_: &RequestHead<'_>| sink.clone());
    let mut body = tapped(&layer, Frames(frames.into_iter().collect()));
    measure(|| while next(&mut body).is_some() {})
}

#[test]
fn what_lies_in_one_frame_is_told_from_there() {
    let frame =
        Bytes::from("event: add\ndata: {\"token\":\"a\"}\n\ndata:two\n\n: x\nevent:b\ndata\n\n");
    let memory = place(&frame);
    let events = of_frames([frame], move |tapped| {
        if let Tapped::Event(event) = tapped {
            let is_there = |text: &str| {
                let place = place(text.as_bytes());
                memory.start <= place.start && place.end <= memory.end
            };
            assert!(event.data.is_empty() || is_there(event.data), "{event:?}");
            assert_eq!(is_there(event.event), event.event != "message", "{event:?}");
        }
    });
    assert_eq!(events.count_total, 0);
}

#[test]
fn whole_events_cost_no_allocation_however_many() {
    let frames = |texts: [&'static str; 2]| texts.map(Bytes::from).into_iter().cycle();
    let tokens = frames(["data: a\n\n", "event: b\r\ndata: c\r\n\r\n"]).take(10_000);
    assert_eq!(of_frames(tokens, |_| ()).count_total, 0);

    // An id is kept: once there is room for it, it costs no more.
    let ids = frames(["id: 1\ndata: a\n\n", "id: 2\ndata: b\n\n"]).take(10_000);
    assert_eq!(of_frames(ids, |_| ()).count_total, 1);
}

#[test]
fn events_over_several_frames_share_their_room() {
    let halves = ["event: add\ndata: {\"tok", "en\":\"a\"}\n\n"].map(Bytes::from);
    let frames = |count| halves.clone().into_iter().cycle().take(count);
    let of_the_first = of_frames(frames(2), |_| ()).count_total;
    assert!((1..=6).contains(&of_the_first), "{of_the_first}");
    assert_eq!(of_frames(frames(10_000), |_| ()).count_total, of_the_first);
}

/// What a body holds once these frames have passed.
fn held_after(max_event_bytes: usize, frames: &[String]) -> i64 {
    let frames: Vec<_> = frames.iter().cloned().map(Bytes::from).collect();
    let layer = TapLayer::new(|_: &RequestHead<'_>| |_: Tapped<'_>| ());
    let layer = layer.max_event_bytes(max_event_bytes);
    let mut body = tapped(&layer, Frames(frames.clone().into()));
    measure(|| {
        for _ in &frames {
            assert!(next(&mut body).is_some());
        }
    })
    .bytes_current
}

#[test]
fn the_room_of_a_long_event_is_given_back() {
    let event = |len| {
        let data = "x".repeat(len);
        let [first, second] = ["event: add\ndata: ", "\n\n"].map(str::to_owned);
        [first, data + &second]
    };
    assert!((40..=400).contains(&held_after(100_000, &event(100))));
    // That of its type remains.
    assert_eq!(held_after(100_000, &event(60_000)), 8);
}

#[test]
fn nothing_is_held_of_an_event_that_is_too_long() {
    let long = |name: &str, len| format!("{name}: {}", "x".repeat(len));
    for frames in [
        [long("data", 500) + "\n", long("data", 500) + "\n"],
        [long("event", 500) + "\n", long("other", 500) + "\n"],
        [
            long("data", 500) + "\n" + &long("other", 500) + "\n",
            ":".into(),
        ],
        [long("data", 500), "x".repeat(500)],
        [long("id", 500), "x".repeat(500)],
    ] {
        assert_eq!(held_after(1_000, &frames), 0, "{frames:?}");
        assert!(
            held_after(1_000, &frames[..1]) != 0 || frames[1] == ":",
            "{frames:?}"
        );
    }
}

#[test]
fn an_event_stream_costs_one_allocation_at_its_head() {
    let frames = || Frames([Bytes::from_static(b"data: 1\n\n")].into());
    let layer = TapLayer::new(|_: &RequestHead<'_>| |_: Tapped<'_>| ());
    let bare = measure(|| drop(tapped(&Identity::new(), frames())));
    let behind = measure(|| drop(tapped(&layer, frames())));
    assert_eq!(behind.count_total, bare.count_total + 1);
}

#[test]
fn anything_else_costs_no_allocation() {
    let layer = TapLayer::new(|_: &RequestHead<'_>| |_: Tapped<'_>| ());
    let page = || answering(answer(200, &[], [Step::Data(3), Step::Data(4)]));
    let of = |exchange, layer: &dyn Fn(Exchange)| measure(|| layer(exchange)).count_total;
    let bare = of(page(), &|it| drop(drive(&Identity::new(), it)));
    assert_eq!(of(page(), &|it| drop(drive(&layer, it))), bare);
}

#[test]
fn the_body_carries_the_sink_and_two_words() {
    assert_eq!(size_of::<TapObserver<()>>(), 16);
    assert_eq!(size_of::<TapObserver<[u64; 3]>>(), 40);
}

/// The most memory that is taken at a time while a stream passes that begins so, and goes on so
/// for as many bytes.
fn most_memory(first: String, then: String, bytes: usize) -> u64 {
    let count = bytes / then.len();
    let frames = std::iter::repeat_n(Bytes::from(then), count);
    let frames = [Bytes::from(first)].into_iter().chain(frames);
    of_frames(frames, |_| ()).bytes_max
}

/// What is kept of a line while that is under way, and of those before it: each up to the bound,
/// and growing by doubling.
const BOUND: u64 = 5 * 64 * 1024;

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn memory_is_bounded_on_a_line_of_a_hundred_megabytes() {
    let most = most_memory("data: ".into(), "x".repeat(10_000), 100_000_000);
    assert!((64_000..BOUND).contains(&most), "{most}");
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn memory_is_bounded_whatever_has_no_end() {
    let long = "x".repeat(1_000);
    for (first, then) in [
        ("id: ".to_owned(), long.clone()),
        ("other".to_owned(), long.clone()),
        (":".to_owned(), long.clone()),
        (format!("data: {}\n", "x".repeat(60_000)), long),
        ("data: 1\n".to_owned(), ": a comment\n".repeat(100)),
        ("data: 1\n".to_owned(), "data\n".repeat(200)),
        ("data: 1\n".to_owned(), "data: 1\ndata: 2".to_owned()),
        ("event: 1\n".to_owned(), "event: 1\nid: 1\n".repeat(100)),
        ("\n".to_owned(), "data: 1\n\n".repeat(500)),
    ] {
        let begin = first[..first.len().min(10)].to_owned();
        let most = most_memory(first, then, 3_000_000);
        assert!(most < BOUND, "{begin:?}: {most}");
    }
}

#[test]
fn a_long_id_is_held_no_longer_than_it_is_the_last() {
    let event = |id: &str| format!("id: {id}\ndata: a\n\n");
    let long = event(&"x".repeat(60_000));
    assert!(held_after(100_000, std::slice::from_ref(&long)) >= 60_000);
    // What a `String` begins with.
    assert_eq!(held_after(100_000, &[long, event("1")]), 8);
}

#[test]
fn memory_is_bounded_of_what_is_not_utf_8() {
    let frame = |name: &str| {
        let value = vec![0xff; 60_000];
        Bytes::from([name.as_bytes(), &value, b"\ndata: 1\n\n"].concat())
    };
    // Each byte becomes U+FFFD, of three.
    for name in ["id: ", "data: ", "event: "] {
        let most = of_frames([frame(name), frame(name)], |_| ()).bytes_max;
        assert!(
            (180_000..BOUND + 3 * 64 * 1024).contains(&most),
            "{name:?}: {most}"
        );
    }
}
