//! Which responses are changed: what is no event stream of unknown length passes untouched.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use http::{Method, Response};
use http_body::Body;
use tower_passthrough::sse::{DrainLayer, KeepAliveLayer};

use crate::{
    clock::{Clock, Signal},
    common::{Hints, hints},
    events::{Fed, Feed, answered, read},
};

const SECOND: Duration = Duration::from_secs(1);
const EVENTS: (&str, &str) = ("content-type", "text/event-stream");

struct Case {
    method: Method,
    status: u16,
    fields: Vec<(&'static str, &'static str)>,
    size: (u64, Option<u64>),
    is_over: bool,
}

fn events() -> Case {
    Case {
        method: Method::GET,
        status: 200,
        fields: vec![EVENTS],
        size: (0, None),
        is_over: false,
    }
}

fn of_type(content_type: &'static str) -> Case {
    Case {
        fields: vec![("content-type", content_type)],
        ..events()
    }
}

fn with(field: (&'static str, &'static str)) -> Case {
    Case {
        fields: vec![EVENTS, field],
        ..events()
    }
}

fn status(status: u16) -> Case {
    Case { status, ..events() }
}

fn to(method: Method) -> Case {
    Case { method, ..events() }
}

fn sized(lower: u64, upper: Option<u64>) -> Case {
    Case {
        size: (lower, upper),
        ..events()
    }
}

impl Case {
    fn response(&self, feed: &Feed) -> Response<Fed> {
        let (lower, upper) = self.size;
        feed.size(lower, upper);
        if self.is_over {
            feed.show_end();
        }
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.fields {
            response = response.header(*name, *value);
        }
        response.body(feed.body()).unwrap()
    }
}

fn changed() -> Vec<(&'static str, Case)> {
    vec![
        ("event stream", events()),
        ("parameters", of_type("text/event-stream; charset=utf-8")),
        ("case", of_type("Text/EVENT-stream")),
        ("identity", with(("content-encoding", "identity"))),
        ("Identity", with(("content-encoding", "Identity"))),
        ("any method but two", to(Method::POST)),
        ("201", status(201)),
        ("299", status(299)),
        ("a range of sizes", sized(1, Some(2))),
        ("at least so much", sized(1, None)),
        ("no cache", with(("cache-control", "no-cache"))),
    ]
}

fn untouched() -> Vec<(&'static str, Case)> {
    vec![
        ("HEAD", to(Method::HEAD)),
        ("CONNECT", to(Method::CONNECT)),
        ("101", status(101)),
        ("204", status(204)),
        ("304", status(304)),
        ("302", status(302)),
        ("404", status(404)),
        ("503", status(503)),
        ("other type", of_type("application/x-ndjson")),
        ("like it", of_type("text/event-streams")),
        (
            "no type",
            Case {
                fields: vec![],
                ..events()
            },
        ),
        ("gzip", with(("content-encoding", "gzip"))),
        ("both", with(("content-encoding", "identity, gzip"))),
        (
            "gzip in a line of its own",
            Case {
                fields: vec![
                    EVENTS,
                    ("content-encoding", "identity"),
                    ("content-encoding", "br"),
                ],
                ..events()
            },
        ),
        ("content-length", with(("content-length", "18"))),
        ("exact size", sized(18, Some(18))),
        (
            "at its end",
            Case {
                is_over: true,
                ..events()
            },
        ),
    ]
}

/// What a layer makes of a body, and what it does with its timer and signal meanwhile.
struct Bench {
    feed: Feed,
    clock: Clock,
    signal: Signal,
}

impl Bench {
    fn new() -> Self {
        Self {
            feed: Feed::default(),
            clock: Clock::default(),
            signal: Signal::default(),
        }
    }

    fn keep_alive(&self, case: &Case) -> Pin<Box<dyn Body<Data = Bytes, Error = String>>> {
        let layer = KeepAliveLayer::builder(SECOND, self.clock.clone());
        let response = case.response(&self.feed);
        let answer = answered(&layer.build().unwrap(), case.method.clone(), response);
        boxed(answer.into_body())
    }

    fn drain(&self, case: &Case) -> Pin<Box<dyn Body<Data = Bytes, Error = String>>> {
        let layer = DrainLayer::builder(self.signal.waiting(), SECOND, self.clock.clone())
            .refuse_late(SECOND)
            .retry_between(SECOND, SECOND)
            .build()
            .unwrap();
        let answer = answered(&layer, case.method.clone(), case.response(&self.feed));
        assert_eq!(answer.status(), case.status);
        boxed(answer.into_body())
    }
}

fn boxed<B>(body: B) -> Pin<Box<dyn Body<Data = Bytes, Error = String>>>
where
    B: Body<Data = Bytes, Error: ToString> + 'static,
{
    Box::pin(http_body_util::BodyExt::map_err(body, |error| {
        error.to_string()
    }))
}

#[test]
fn event_streams_of_unknown_length_are_changed() {
    for (name, case) in changed() {
        let bench = Bench::new();
        let mut body = bench.keep_alive(&case);
        assert!(read(&mut body).is_empty(), "{name}");
        bench.clock.pass(SECOND);
        assert_eq!(read(&mut body), [": keep-alive\n"], "{name}");

        let bench = Bench::new();
        let mut body = bench.drain(&case);
        assert_eq!(read(&mut body), ["retry: 1000\n"], "{name}");
        bench.signal.come();
        assert_eq!(read(&mut body), ["end"], "{name}");
    }
}

#[test]
fn all_else_passes_untouched_hints_and_all() {
    for (name, case) in untouched() {
        let bench = Bench::new();
        passes(name, &bench, &case, bench.keep_alive(&case));
        let bench = Bench::new();
        passes(name, &bench, &case, bench.drain(&case));
        // Late or not.
        let bench = Bench::new();
        bench.signal.come();
        passes(name, &bench, &case, bench.drain(&case));
    }
}

fn passes(
    name: &str,
    bench: &Bench,
    case: &Case,
    mut body: Pin<Box<dyn Body<Data = Bytes, Error = String>>>,
) {
    let Bench {
        feed,
        clock,
        signal,
    } = bench;
    let hinted = |lower, upper, is_end_stream| Hints {
        lower,
        upper,
        is_end_stream,
    };
    let (lower, upper) = case.size;
    assert_eq!(hints(&body), hinted(lower, upper, case.is_over), "{name}");
    let mut given = Vec::new();
    for text in ["data: 1\n\n", "", "data: 2\n"] {
        feed.data(text);
        given.append(&mut read(&mut body));
        clock.pass(10 * SECOND);
        given.append(&mut read(&mut body));
        feed.size(3, Some(3));
        assert_eq!(hints(&body), hinted(3, Some(3), case.is_over), "{name}");
    }
    signal.come();
    feed.data("data: 3");
    feed.trailers();
    feed.error();
    given.append(&mut read(&mut body));
    let expected = [
        "data: 1\n\n",
        "",
        "data: 2\n",
        "data: 3",
        "trailers",
        "error",
    ];
    assert_eq!(given, expected, "{name}");
    feed.end();
    assert_eq!(read(&mut body), ["end"], "{name}");
    let asked = (clock.made(), clock.asked(), signal.made(), signal.polls());
    assert_eq!(asked, (0, 0, 0, 0), "{name}");
}
