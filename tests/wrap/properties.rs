//! Whatever an event stream is made of and however it comes: clients read the same events with and
//! without the layers, and a drained stream's are the first of them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    error::Error,
    pin::Pin,
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use tower_passthrough::{
    sse::{DrainLayer, KeepAliveLayer},
    timeout::IdleTimeoutLayer,
};

use crate::{
    clients::parsed,
    clock::{Clock, Signal, Waiting},
    common::{Given, poll_body},
    events::{Feed, streamed},
    reader::{Message, read as read_events},
};

const SECOND: Duration = Duration::from_secs(1);

type BoxedBody = Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn Error + Send + Sync>>>>;

/// What is between the stream and the client, from the outside to the inside.
#[derive(Debug, Clone, Copy)]
enum Part {
    KeepAlive,
    Drain,
    DrainWithRetry,
    IdleTimeout,
}

use Part::{Drain, DrainWithRetry, IdleTimeout, KeepAlive};

const STACKS: [&[Part]; 14] = [
    &[KeepAlive],
    &[Drain],
    &[DrainWithRetry],
    &[KeepAlive, Drain],
    &[Drain, KeepAlive],
    &[DrainWithRetry, KeepAlive],
    &[KeepAlive, DrainWithRetry],
    &[KeepAlive, KeepAlive],
    &[Drain, Drain],
    &[DrainWithRetry, DrainWithRetry],
    &[KeepAlive, DrainWithRetry, KeepAlive, Drain],
    &[DrainWithRetry, KeepAlive, IdleTimeout],
    &[IdleTimeout, KeepAlive, Drain],
    &[Drain, KeepAlive, IdleTimeout, KeepAlive, DrainWithRetry],
];

/// Comments come after ten seconds, the grace period is fifteen, and the limit twenty.
fn stacked(parts: &[Part], feed: &Feed, clock: &Clock, signal: &Signal) -> BoxedBody {
    let inner: BoxedBody = Box::pin(feed.body().map_err(Into::into));
    parts.iter().rev().fold(inner, |inner, part| match part {
        KeepAlive => {
            let layer = KeepAliveLayer::builder(10 * SECOND, clock.clone());
            streamed::<_, BoxedBody, _>(&layer.build().unwrap(), inner)
        }
        Drain => streamed::<_, BoxedBody, _>(&drain(clock, signal), inner),
        DrainWithRetry => {
            let layer = DrainLayer::builder(signal.waiting(), 15 * SECOND, clock.clone())
                .retry_between(SECOND, 2 * SECOND);
            streamed::<_, BoxedBody, _>(&layer.build().unwrap(), inner)
        }
        IdleTimeout => {
            let layer = IdleTimeoutLayer::with_timer(20 * SECOND, clock.clone());
            streamed::<_, BoxedBody, _>(&layer.unwrap(), inner)
        }
    })
}

fn drain(
    clock: &Clock,
    signal: &Signal,
) -> DrainLayer<impl Fn() -> Waiting + Clone + use<>, Clock> {
    let layer = DrainLayer::builder(signal.waiting(), 15 * SECOND, clock.clone());
    layer.build().unwrap()
}

/// One step of a stream.
#[derive(Debug, Clone)]
enum Act {
    /// So many bytes more are there, or what is left.
    Send(usize),
    /// The server takes what there is.
    Read,
    Wait(Duration),
}

/// When the signal comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    Never,
    BeforeHead,
    /// Before this act.
    At(usize),
}

/// What a client was sent, and how it ended.
#[derive(Debug, Default)]
struct Sent {
    bytes: Vec<u8>,
    /// Whether the service's body was let go before its end.
    is_cut: bool,
    /// How many bytes the service had sent before each time that the server read, and how many the
    /// client had after.
    marks: Vec<(usize, usize)>,
    end: Option<Given>,
}

impl Sent {
    fn read(&mut self, body: &mut BoxedBody, so_far: usize) {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        while self.end.is_none() {
            match poll_body(body, cx) {
                Given::Pending => break,
                Given::Data(data) => self.bytes.extend(&data),
                end => self.end = Some(end),
            }
        }
        self.marks.push((so_far, self.bytes.len()));
    }
}

/// Sends the stream by these acts, and what is left of it then.
fn send(parts: &[Part], stream: &[u8], acts: &[Act], comes: Comes) -> Sent {
    let (feed, clock, signal) = (Feed::default(), Clock::default(), Signal::default());
    if comes == Comes::BeforeHead {
        signal.come();
    }
    let mut body = stacked(parts, &feed, &clock, &signal);
    let mut sent = Sent::default();
    let mut at = 0_usize;
    let last = [Act::Send(usize::MAX), Act::Read];
    for (step, act) in acts.iter().chain(&last).enumerate() {
        if comes == Comes::At(step) {
            signal.come();
        }
        match act {
            Act::Send(bytes) => {
                let end = at.saturating_add(*bytes).min(stream.len());
                feed.data(stream[at..end].to_vec());
                at = end;
            }
            Act::Read => sent.read(&mut body, at),
            Act::Wait(duration) => clock.pass(*duration),
        }
    }
    sent.is_cut = feed.is_dropped();
    feed.end();
    sent.read(&mut body, at);
    sent
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"\r\n\r\n",
        b"data",
        b"data:",
        b"data: x",
        b"data: x\n\n",
        b"id: 7",
        b"event: y",
        b"retry: 5",
        b":",
        b": own",
        b" ",
        b"x",
        b"\xEF\xBB\xBF",
        b"\xEF",
        b"\xBB",
        b"\xBF",
        b"\0",
        b"\xFF",
    ];
    let begins = prop_oneof![
        2 => Just(&b""[..]),
        1 => Just(&b"\xEF\xBB\xBF"[..]),
    ];
    (begins, vec(select(pieces), 0..30))
        .prop_map(|(begins, pieces)| [begins, &pieces.concat()].concat())
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..6_usize).prop_map(Act::Send),
        5 => Just(Act::Read),
        4 => select(&[1_u32, 9, 10, 25][..]).prop_map(|seconds| Act::Wait(seconds * SECOND)),
    ];
    vec(act, 0..60)
}

/// Acts, and when the signal comes meanwhile.
fn drained(acts: impl Strategy<Value = Vec<Act>>) -> impl Strategy<Value = (Vec<Act>, Comes)> {
    (acts, any::<Option<Index>>()).prop_map(|(acts, at)| {
        // The last two send and read what is left.
        let comes = at.map_or(Comes::BeforeHead, |at| Comes::At(at.index(acts.len() + 2)));
        (acts, comes)
    })
}

fn check<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let config = Config {
        cases: 1_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, |value| {
            test(value);
            Ok(())
        })
        .unwrap();
}

#[test]
fn two_readers_agree() {
    check(streams(), |stream| {
        assert_eq!(parsed(&stream).0, read_events(&stream).events);
    });
}

#[test]
fn keep_alives_change_no_event_and_delay_none() {
    const STACKS: [&[Part]; 2] = [&[KeepAlive], &[KeepAlive, KeepAlive]];

    let comments = Cell::new(0);
    check(
        (streams(), acts(), select(&STACKS[..])),
        |(stream, acts, stack)| {
            let sent = send(stack, &stream, &acts, Comes::Never);
            assert_eq!(sent.end, Some(Given::End));
            assert_eq!(parsed(&sent.bytes), parsed(&stream));
            for (from, to) in &sent.marks {
                let expected = read_events(&stream[..*from]).events;
                assert_eq!(read_events(&sent.bytes[..*to]).events, expected);
            }
            comments.set(comments.get() + usize::from(sent.bytes.len() > stream.len()));
            // All else is as it was, but for a mark, or for a stream that is less than one.
            let text = sent.bytes.escape_ascii().to_string();
            let without = text.replace(": keep-alive\\n", "");
            let expected = stream.escape_ascii().to_string();
            let mark = "\\xef\\xbb\\xbf";
            let is_without_mark = expected.strip_prefix(mark) == Some(&without)
                || without.is_empty() && mark.starts_with(&expected);
            assert!(without == expected || is_without_mark);
        },
    );
    assert!(comments.get() > 100, "{} of 1,000", comments.get());
}

#[test]
fn a_drained_stream_gives_the_first_of_its_events_and_tears_none() {
    let ends = RefCell::new(BTreeMap::<_, usize>::new());
    let strategy = (streams(), drained(acts()), select(&STACKS[..]));
    check(strategy, |(stream, (acts, comes), stack)| {
        let sent = send(stack, &stream, &acts, comes);
        let all = read_events(&stream).events;
        let reading = read_events(&sent.bytes);
        assert_eq!(parsed(&sent.bytes).0, reading.events);
        assert!(all.starts_with(&reading.events), "{reading:?}\n{all:?}");
        let end = match sent.end {
            Some(Given::End) if sent.is_cut => {
                let own = without_retry(stack, &sent.bytes);
                assert!(!read_events(own).is_under_way(), "{}", own.escape_ascii());
                "cut"
            }
            Some(Given::End) => {
                assert_eq!(reading.events, all);
                "whole"
            }
            Some(Given::Error) => "failed",
            end => panic!("{end:?}"),
        };
        *ends.borrow_mut().entry(end).or_default() += 1;
    });
    let ends = ends.into_inner();
    let are_many = ends.len() == 3 && ends.values().all(|count| *count > 50);
    assert!(are_many, "{ends:?} of 1,000");
}

/// What comes after the hints when to retry.
fn without_retry<'a>(stack: &[Part], mut sent: &'a [u8]) -> &'a [u8] {
    for _ in stack.iter().filter(|part| matches!(part, DrainWithRetry)) {
        if let Some(hint) = sent.first_chunk::<12>() {
            assert!(hint.starts_with(b"retry: ") && hint.ends_with(b"\n"));
            sent = &sent[12..];
        }
    }
    sent
}

#[test]
fn a_signal_that_never_comes_changes_nothing() {
    const STACKS: [&[Part]; 5] = [
        &[Drain],
        &[DrainWithRetry],
        &[Drain, KeepAlive],
        &[KeepAlive, DrainWithRetry],
        &[DrainWithRetry, Drain],
    ];
    check(
        (streams(), acts(), select(&STACKS[..])),
        |(stream, acts, stack)| {
            let sent = send(stack, &stream, &acts, Comes::Never);
            assert_eq!(sent.end, Some(Given::End));
            let (events, last_id, _) = parsed(&sent.bytes);
            let (all, expected_id, _) = parsed(&stream);
            assert_eq!((events, last_id), (all, expected_id));
        },
    );
}

/// Events that are numbered from one, each in its own style.
fn numbered() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let style = (
        select(&["\n", "\r\n", "\r"][..]),
        select(&["", ": own", "event: y"][..]),
        1..3_usize,
    );
    vec(style, 1..12).prop_map(|styles| {
        let event = |(at, (end, before, lines)): (usize, (&str, &str, usize))| {
            let before = match before {
                "" => String::new(),
                line => format!("{line}{end}"),
            };
            let data = format!("data: of {}{end}", at + 1).repeat(lines);
            format!("{before}id: {}{end}{data}{end}", at + 1).into_bytes()
        };
        styles.into_iter().enumerate().map(event).collect()
    })
}

#[test]
fn who_reconnects_after_each_drain_gets_each_event_once() {
    let sends = prop_oneof![
        2 => (1..9_usize).prop_map(Act::Send),
        1 => Just(Act::Read),
    ];
    let clean = &STACKS[..11]; // no idle timeouts
    let strategy = (numbered(), drained(vec(sends, 1..40)), select(clean));
    check(strategy, |(events, (acts, mut comes), stack)| {
        let mut got: Vec<Message> = Vec::new();
        // Each connection that begins late gives one at least.
        for _ in 0..=events.len() {
            let last: usize = got.last().map_or(0, |event| event.id.parse().unwrap());
            let sent = send(stack, &events[last..].concat(), &acts, comes);
            assert_eq!(sent.end, Some(Given::End));
            got.append(&mut read_events(&sent.bytes).events);
            comes = Comes::BeforeHead;
        }
        assert_eq!(got, read_events(&events.concat()).events);
    });
}
