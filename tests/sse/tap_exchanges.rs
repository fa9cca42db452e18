//! `TapLayer`: which exchanges it taps, how their ends are told, and what a panic does.

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Method;
use tower_passthrough::{
    RequestHead,
    observe::Outcome,
    sse::{TapLayer, Tapped},
};

use crate::{
    common::{End, Size, Step},
    drive::{Does, Exchange, Until, answer, answering, drive, exchange, hinting},
    reader::Message,
    reference::Told,
    tap::{Frames, next, sink, tapped},
};

const EVENT_STREAM: (&str, &str) = ("content-type", "text/event-stream");

/// An event stream of these steps.
fn stream(steps: impl IntoIterator<Item = Step>) -> Exchange {
    answering(answer(200, &[EVENT_STREAM], steps))
}

/// What is told of an exchange until nothing of it is left.
fn told_of(exchange: Exchange) -> Vec<Told> {
    let (sink, told) = sink();
    let layer = TapLayer::new(move |_: &RequestHead<'_>| sink.clone());
    drop(drive(&layer, exchange));
    told()
}

#[test]
fn each_way_an_event_stream_ends_is_told_once() {
    use Step::{Data, Error, Panic, Pending, Trailers};

    let sized = |size| hinting(answer(200, &[EVENT_STREAM], [Data(3)]), size, End::Hidden);
    for (exchange, outcome) in [
        (stream([Data(3), Pending, Data(4)]), Outcome::Complete),
        (stream([]), Outcome::Complete),
        (stream([Data(3), Trailers]), Outcome::Complete),
        (
            answering(sized(Size::Exact)).until(Until::Polls(1)),
            Outcome::Complete,
        ),
        (
            answering(hinting(
                answer(200, &[EVENT_STREAM], []),
                Size::Exact,
                End::Shown,
            ))
            .until(Until::Head),
            Outcome::Complete,
        ),
        (
            answering(sized(Size::Unknown)).until(Until::Polls(1)),
            Outcome::Disconnected,
        ),
        (stream([Data(3)]).until(Until::Head), Outcome::Disconnected),
        (stream([Data(3), Error]), Outcome::BodyError),
        (stream([Data(3), Panic]), Outcome::Panicked),
    ] {
        let context = format!("{exchange:?}");
        assert_eq!(told_of(exchange), [Told::End(outcome)], "{context}");
    }
}

#[test]
fn an_exchange_without_a_head_is_not_told_of() {
    for exchange in [
        exchange(Does::Fail),
        exchange(Does::NeverAnswer),
        exchange(Does::PanicInCall),
        exchange(Does::PanicInFuture),
        stream([]).until(Until::Called),
    ] {
        let context = format!("{exchange:?}");
        assert_eq!(told_of(exchange), [], "{context}");
    }
}

/// Counts the sinks that were made, and those that are still there.
#[derive(Default)]
struct Sinks {
    made: AtomicUsize,
    there: AtomicUsize,
}

struct Sink(Arc<Sinks>);

impl Sink {
    fn new(sinks: &Arc<Sinks>) -> Self {
        sinks.made.fetch_add(1, Ordering::SeqCst);
        sinks.there.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(sinks))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.there.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many sinks were made for an exchange, are there once it has a head, and once it is over.
fn sinks_of(exchange: Exchange) -> [usize; 3] {
    let sinks = Arc::<Sinks>::default();
    let make = {
        let sinks = Arc::clone(&sinks);
        move |_: &RequestHead<'_>| {
            let sink = Sink::new(&sinks);
            move |_: Tapped<'_>| {
                let _ = &sink;
            }
        }
    };
    let layer = TapLayer::new(make);
    let held = drive(&layer, exchange.until(Until::Head));
    let there = || sinks.there.load(Ordering::SeqCst);
    let at_head = there();
    drop(held);
    [sinks.made.load(Ordering::SeqCst), at_head, there()]
}

#[test]
fn event_streams_that_can_be_read_are_tapped() {
    for (status, fields) in [
        (200, &[EVENT_STREAM][..]),
        (201, &[EVENT_STREAM]),
        (299, &[EVENT_STREAM]),
        (200, &[("content-type", "Text/Event-Stream; Charset=UTF-8")]),
        // `format-mime-trailing-semicolon` and `format-utf-8` of web-platform-tests.
        (200, &[("content-type", "text/event-stream;")]),
        (
            200,
            &[("content-type", "text/event-stream;charset=windows-1252")],
        ),
        (200, &[EVENT_STREAM, ("content-encoding", "Identity")]),
        (200, &[EVENT_STREAM, ("content-length", "3")]),
    ] {
        let exchange = answering(answer(status, fields, [Step::Data(3)]));
        assert_eq!(sinks_of(exchange), [1, 1, 0], "{status} {fields:?}");
    }
}

#[test]
fn the_sink_of_anything_else_is_dropped_at_the_head() {
    for (status, fields) in [
        (200, &[][..]),
        (200, &[("content-type", "application/json")]),
        // `format-mime-bogus` and `format-mime-valid-bogus`.
        (200, &[("content-type", "x bogus")]),
        (200, &[("content-type", "text/x-bogus")]),
        (200, &[EVENT_STREAM, ("content-encoding", "gzip")]),
        (
            200,
            &[
                EVENT_STREAM,
                ("content-encoding", "identity"),
                ("content-encoding", "br"),
            ],
        ),
        (204, &[EVENT_STREAM]),
        (304, &[EVENT_STREAM]),
        (404, &[EVENT_STREAM]),
        (500, &[EVENT_STREAM]),
    ] {
        let exchange = answering(answer(status, fields, [Step::Data(3)]));
        assert_eq!(sinks_of(exchange.clone()), [1, 0, 0], "{status} {fields:?}");
        assert_eq!(told_of(exchange), [], "{status} {fields:?}");
    }
}

#[test]
fn what_follows_an_upgrade_is_not_tapped() {
    let switched = answering(answer(101, &[EVENT_STREAM], [])).upgrade();
    let connected = stream([]).method(Method::CONNECT);
    for exchange in [switched, connected] {
        let exchange = exchange.keeping_tunnel();
        assert_eq!(sinks_of(exchange.clone()), [1, 0, 0], "{exchange:?}");
        assert_eq!(told_of(exchange), []);
    }
}

#[test]
fn a_head_request_makes_no_sink() {
    let exchange = stream([Step::Data(3)]).method(Method::HEAD);
    assert_eq!(sinks_of(exchange), [0, 0, 0]);
}

#[test]
fn each_exchange_has_a_sink_of_its_own_made_from_its_request() {
    let (sink, told) = sink();
    let layer = TapLayer::new(move |request: &RequestHead<'_>| {
        let method = request.method.clone();
        let mut sink = sink.clone();
        let mut bytes = 0;
        move |tapped: Tapped<'_>| {
            if let Tapped::Skipped { bytes: more } = tapped {
                bytes += more;
            } else if method != Method::PUT {
                sink(Tapped::Skipped { bytes });
            }
        }
    })
    .max_event_bytes(0);
    let frames = |texts: &[&'static str]| {
        Frames(
            texts
                .iter()
                .map(|text| text.as_bytes())
                .collect::<VecDeque<_>>(),
        )
    };
    let mut one = tapped(&layer, frames(&["data: 1\n\n", "data: 2\n\n"]));
    let mut other = tapped(&layer, frames(&["data: 10\n\n", "data\n\n", "data\n\n"]));
    drop(drive(&layer, stream([]).method(Method::PUT)));
    while next(&mut other).is_some() | next(&mut one).is_some() {}
    assert_eq!(told(), [Told::Skipped(14), Told::Skipped(16)]);
}

type BoxedSink = Box<dyn FnMut(Tapped<'_>) + Send>;

/// A layer whose sinks panic when they are told such a thing, after they have told it on.
fn panicking(
    at: fn(&Tapped<'_>) -> bool,
) -> (
    TapLayer<impl Fn(&RequestHead<'_>) -> BoxedSink + Clone>,
    impl Fn() -> Vec<Told>,
) {
    let (sink, told) = sink();
    let layer = TapLayer::new(move |_: &RequestHead<'_>| {
        let mut sink = sink.clone();
        let sink = move |tapped: Tapped<'_>| {
            sink(tapped);
            assert!(!at(&tapped), "{tapped:?}");
        };
        Box::new(sink) as BoxedSink
    });
    (layer, told)
}

fn message(data: &str) -> Told {
    Told::Event(Message::new("message", "", data))
}

/// A stream of two events and a half.
fn two_and_a_half() -> Frames<&'static [u8]> {
    let frames = ["data: 1\n\ndata", ": 2\n\n", "data: 3\n"];
    Frames(frames.iter().map(|text| text.as_bytes()).collect())
}

/// What it panics with.
fn panic_of<T>(act: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(act()))).unwrap_err();
    *payload.downcast().unwrap()
}

#[test]
fn a_panic_at_an_event_ends_the_exchange_and_the_stream_passes_on() {
    let always: fn(&Tapped<'_>) -> bool = |_| true;
    let at_event: fn(&Tapped<'_>) -> bool = |tapped| matches!(tapped, Tapped::Event(_));
    // Within the unwinding another panic would abort.
    for at in [at_event, always] {
        let (layer, told) = panicking(at);
        let mut body = tapped(&layer, two_and_a_half());
        assert!(panic_of(|| next(&mut body)).contains("data: \"1\""));
        assert_eq!(told(), [message("1"), Told::End(Outcome::Panicked)]);
        // The frame at hand is lost.
        assert_eq!(next(&mut body).unwrap(), b": 2\n\n");
        assert_eq!(next(&mut body).unwrap(), b"data: 3\n");
        assert_eq!(next(&mut body), None);
        drop(body);
        assert_eq!(told().len(), 2);
    }
}

#[test]
fn a_panic_at_the_end_goes_to_whoever_polls_or_drops() {
    let at_end: fn(&Tapped<'_>) -> bool = |tapped| matches!(tapped, Tapped::End(_));
    let (layer, told) = panicking(at_end);
    let mut body = tapped(&layer, two_and_a_half());
    while told().len() < 2 {
        next(&mut body);
    }
    next(&mut body);
    assert_eq!(panic_of(|| next(&mut body)), "End(Complete)");
    drop(body);
    let end = Told::End(Outcome::Complete);
    assert_eq!(told(), [message("1"), message("2"), end]);

    let (layer, told) = panicking(at_end);
    let body = tapped(&layer, two_and_a_half());
    assert_eq!(panic_of(|| drop(body)), "End(Disconnected)");
    assert_eq!(told(), [Told::End(Outcome::Disconnected)]);
}

#[test]
fn a_panic_at_the_end_within_another_one_is_dropped() {
    let (layer, told) = panicking(|_| true);
    let body = Cell::new(Some(tapped(&layer, two_and_a_half())));
    let message = panic_of(|| {
        let _dropped_in_panic = body.take();
        resume_unwind(Box::new("the first".to_owned()))
    });
    assert_eq!(message, "the first");
    assert_eq!(told(), [Told::End(Outcome::Disconnected)]);
}
