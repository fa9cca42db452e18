//! How cases are made at random.

use http::{Method, StatusCode};
use proptest::{prelude::*, sample::Index};

use super::{
    BodyScript, Case, Do, Fate, Head, Hook, Kind, Layer, Length, Part, Readiness, Server, Size,
    Step, Wake,
};
use crate::common::End;

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let request = (method(), prop::bool::weighted(0.2));
    let service = (
        prop_oneof![8 => Just(vec![]), 1 => prop::collection::vec(readiness(), 1..4)],
        prop::bool::weighted(0.02),
        future(),
        status(),
        tunnel(),
    );
    let layers = prop::collection::vec(layer(), 1..=3);
    (request, layers, service, body(), server()).prop_map(
        |((method, asks_upgrade), layers, service, (body, length), server)| {
            let (ready, call_panics, future, status, tunnel) = service;
            Case {
                method,
                asks_upgrade,
                layers,
                ready,
                call_panics,
                server: server.to(future.len(), body.steps.len()),
                future,
                head: Head { status, length },
                body,
                tunnel,
            }
        },
    )
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        12 => Just(Method::GET),
        2 => Just(Method::POST),
        3 => Just(Method::HEAD),
        3 => Just(Method::CONNECT),
    ]
}

fn status() -> impl Strategy<Value = StatusCode> {
    let status = |code: u16| Just(StatusCode::from_u16(code).unwrap_or_default());
    prop_oneof![
        14 => status(200),
        1 => status(201),
        1 => status(206),
        1 => status(299),
        2 => status(204),
        2 => status(304),
        1 => status(100),
        1 => status(103),
        1 => status(199),
        3 => status(101),
        1 => status(300),
        1 => status(404),
        1 => status(500),
    ]
}

fn wake() -> impl Strategy<Value = Wake> {
    prop_oneof![2 => Just(Wake::Now), 2 => Just(Wake::Later), 1 => Just(Wake::Never)]
}

fn readiness() -> impl Strategy<Value = Readiness> {
    prop_oneof![
        2 => wake().prop_map(Readiness::Pending),
        1 => Just(Readiness::Ready),
        1 => Just(Readiness::Failed),
    ]
}

/// Mostly answers, perhaps after a while, and is seldom polled on.
fn future() -> impl Strategy<Value = Vec<Do>> {
    let pending = || wake().prop_map(Do::Pending);
    let last = prop_oneof![18 => Just(Do::Answer), 1 => Just(Do::Fail), 1 => Just(Do::Panic)];
    let any = prop_oneof![pending(), Just(Do::Answer), Just(Do::Fail), Just(Do::Panic),];
    let before = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(pending(), 1..4)];
    let after = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(any, 1..4)];
    (before, last, after).prop_map(|(mut steps, last, after)| {
        steps.push(last);
        steps.extend(after);
        steps
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let data = || {
        prop_oneof![
            1 => Just(0),
            6 => 1..6_usize,
            1 => 100..2000_usize,
        ]
        .prop_map(Step::Data)
    };
    let pending = || wake().prop_map(Step::Pending);
    let usual = || prop_oneof![3 => data(), 1 => pending()];
    let any = prop_oneof![
        4 => data(),
        2 => pending(),
        2 => Just(Step::Trailers),
        1 => Just(Step::Error),
        1 => Just(Step::Panic),
    ];
    let last = prop_oneof![
        5 => Just(None),
        3 => Just(Some(Step::Trailers)),
        2 => Just(Some(Step::Error)),
        1 => Just(Some(Step::Panic)),
    ];
    let well_behaved = (
        prop_oneof![
            20 => prop::collection::vec(usual(), 0..7),
            1 => prop::collection::vec(usual(), 20..60),
        ],
        last,
    )
        .prop_map(|(mut steps, last)| {
            steps.extend(last);
            steps
        });
    prop_oneof![3 => well_behaved, 1 => prop::collection::vec(any, 0..10)]
}

/// A length that is mostly the true one, or near it.
#[derive(Debug, Clone, Copy)]
enum Near {
    True,
    More(u64),
    Less(u64),
    Is(u64),
}

impl Near {
    fn to(self, truth: u64) -> u64 {
        match self {
            Self::True => truth,
            Self::More(by) => truth + by,
            Self::Less(by) => truth.saturating_sub(by),
            Self::Is(length) => length,
        }
    }
}

fn near() -> impl Strategy<Value = Near> {
    prop_oneof![
        6 => Just(Near::True),
        2 => (1..3_u64).prop_map(Near::More),
        2 => (1..6_u64).prop_map(Near::Less),
        2 => (0..30_u64).prop_map(Near::Is),
        1 => Just(Near::Is(u64::MAX)),
    ]
}

/// A body, and the `content-length` that comes with it.
fn body() -> impl Strategy<Value = (BodyScript, Length)> {
    #[derive(Debug, Clone, Copy)]
    enum SizeNear {
        Honest(Size),
        Claimed(Near, Option<u64>),
    }
    #[derive(Debug, Clone, Copy)]
    enum LengthNear {
        Malformed(&'static [u8]),
        Near(Near),
        Repeated(Near, Near),
    }

    let size = prop_oneof![
        6 => Just(SizeNear::Honest(Size::Unknown)),
        4 => Just(SizeNear::Honest(Size::Exact)),
        2 => any::<bool>().prop_map(|above| SizeNear::Honest(Size::Bounded { above })),
        2 => near().prop_map(|near| SizeNear::Claimed(near, Some(0))),
        1 => (near(), prop::option::of(0..9_u64)).prop_map(|(near, more)| SizeNear::Claimed(near, more)),
    ];
    let malformed: &[&'static [u8]] = &[
        b"",
        b" ",
        b"+3",
        b"-1",
        b"3, 3",
        b"0x3",
        b"3.0",
        b"three",
        b"18446744073709551616",
        b"\xb3",
    ];
    let length = prop_oneof![
        14 => Just(None),
        8 => near().prop_map(|near| Some(LengthNear::Near(near))),
        1 => prop::sample::select(malformed).prop_map(|value| Some(LengthNear::Malformed(value))),
        1 => (near(), near()).prop_map(|(first, second)| Some(LengthNear::Repeated(first, second))),
        1 => near().prop_map(|near| Some(LengthNear::Repeated(near, near))),
    ];
    let end = prop_oneof![
        6 => Just(End::Hidden),
        4 => Just(End::Shown),
        1 => Just(End::Claimed),
    ];
    (steps(), size, end, length).prop_map(|(steps, size, end, length)| {
        let truth = steps.iter().map(Step::len).sum();
        let size = match size {
            SizeNear::Honest(size) => size,
            SizeNear::Claimed(near, more) => {
                let lower = near.to(truth);
                let upper = more.map_or(u64::MAX, |more| lower.saturating_add(more));
                Size::Claimed(lower, upper)
            }
        };
        let length = match length {
            None => Length::None,
            Some(LengthNear::Malformed(value)) => Length::Malformed(value),
            Some(LengthNear::Near(near)) => Length::Is(near.to(truth)),
            Some(LengthNear::Repeated(a, b)) => Length::Repeated(a.to(truth), b.to(truth)),
        };
        (BodyScript { steps, size, end }, length)
    })
}

impl Step {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Data(len) => *len as u64,
            _ => 0,
        }
    }
}

fn tunnel() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::DroppedInCall),
        Just(Fate::DroppedWithHead),
        Just(Fate::KeptByFuture),
        Just(Fate::KeptOverHead),
        Just(Fate::KeptOverBody),
        Just(Fate::Cloned),
    ]
}

/// A server, as long as it is not known how many steps there are.
#[derive(Debug, Clone)]
struct AnyServer {
    /// `None`: as often as there is something new.
    future_polls: Option<Index>,
    keeps_future: bool,
    body_polls: Option<Index>,
    drops_unwinding: bool,
}

impl AnyServer {
    fn to(&self, future_steps: usize, body_steps: usize) -> Server {
        let polls = |index: Option<Index>, most: usize| index.map_or(most, |it| it.index(most + 1));
        Server {
            future_polls: polls(self.future_polls, future_steps + 1),
            keeps_future: self.keeps_future,
            body_polls: polls(self.body_polls, body_steps + 3),
            drops_unwinding: self.drops_unwinding,
        }
    }
}

fn server() -> impl Strategy<Value = AnyServer> {
    (
        prop::option::weighted(0.15, any::<Index>()),
        prop::bool::weighted(0.3),
        prop::option::weighted(0.7, any::<Index>()),
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(future_polls, keeps_future, body_polls, drops_unwinding)| AnyServer {
                future_polls,
                keeps_future,
                body_polls,
                drops_unwinding,
            },
        )
}

fn layer() -> impl Strategy<Value = Layer> {
    let kind = prop_oneof![
        4 => Just(Kind::Observe),
        2 => Just(Kind::Pair),
        2 => Just(Kind::Capture),
        1 => Just(Kind::Headers),
        1 => Just(Kind::Metrics),
    ];
    (kind, [part(), part()]).prop_map(|(kind, parts)| Layer { kind, parts })
}

fn part() -> impl Strategy<Value = Part> {
    let hook = prop_oneof![
        1 => Just(Hook::Observe),
        2 => Just(Hook::Response),
        3 => (1..4_usize).prop_map(Hook::Data),
        2 => Just(Hook::Trailers),
        3 => Just(Hook::End),
    ];
    (
        prop::bool::weighted(0.92),
        prop::option::weighted(0.1, hook),
    )
        .prop_map(|(watches, bomb)| Part { watches, bomb })
}
