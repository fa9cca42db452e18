//! How often what happened: a campaign shows what it covered. Most of it is one table.

use std::{collections::BTreeMap, fmt};

use http::{Method, StatusCode};
use tower_passthrough::observe::Outcome::{
    self, BodyError, Cancelled, Complete, Disconnected, Panicked, ServiceError, Upgraded,
};

use crate::{
    case::{Case, Fate, Hook, Kind, Length, Readiness, Size, Step},
    common::End,
    stage::{
        Act::{self, Call, DropBody, DropFuture, DropTunnel, PollBody, PollFuture, PollReady},
        Event, Given, Inner, Panic, Told,
    },
};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    exchanges: u64,
    /// By where the exchange was when it was told.
    outcomes: BTreeMap<(&'static str, &'static str), u64>,
    features: BTreeMap<&'static str, u64>,
}

/// Every outcome, with every act at which it can be told.
const OUTCOMES: [(Outcome, &[Act]); 7] = [
    // At a poll of the future, a body is lost that is incomplete: by a panic further out.
    (Complete, &[PollFuture, PollBody, DropBody]),
    (Upgraded, &[PollFuture, DropFuture, DropTunnel]),
    (BodyError, &[PollBody]),
    (Disconnected, &[PollFuture, DropBody]),
    (ServiceError, &[PollFuture]),
    (Cancelled, &[DropFuture]),
    (Panicked, &[Call, PollFuture, PollBody]),
];

type Feature = (&'static str, fn(&Case, &[Event]) -> bool);

const FEATURES: &[Feature] = &[
    ("1 layer", |case, _| case.layers.len() == 1),
    ("2 layers", |case, _| case.layers.len() == 2),
    ("3 layers", |case, _| case.layers.len() == 3),
    ("layer: observe", |case, _| has_layer(case, Kind::Observe)),
    ("layer: observe, a pair", |case, _| {
        has_layer(case, Kind::Pair)
    }),
    ("layer: capture", |case, _| has_layer(case, Kind::Capture)),
    ("layer: headers", |case, _| has_layer(case, Kind::Headers)),
    ("layer: metrics", |case, _| has_layer(case, Kind::Metrics)),
    ("layer that does not watch", |case, _| {
        case.layers.iter().any(|layer| {
            layer.kind != Kind::Headers && layer.parts().iter().all(|part| !part.watches)
        })
    }),
    ("pair of which one does not watch", |case, _| {
        case.layers.iter().any(|layer| {
            layer.kind == Kind::Pair && layer.parts[0].watches != layer.parts[1].watches
        })
    }),
    ("readiness: pending", |case, _| {
        let is_pending = |it: &Readiness| matches!(it, Readiness::Pending(_));
        case.ready.iter().any(is_pending)
    }),
    ("readiness: failed", |case, _| {
        case.ready.contains(&Readiness::Failed)
    }),
    ("woken within the poll", |_, log| {
        log.windows(2)
            .any(|it| matches!(it, [Event::Inner(_), Event::Woken(_)]))
    }),
    ("woken later", |_, log| {
        log.windows(2)
            .any(|it| matches!(it, [Event::Says(_) | Event::Gives(_), Event::Woken(_)]))
    }),
    ("future: dropped unpolled", |_, log| {
        gives(log, Call).next() == Some(&Given::Ready) && gives(log, PollFuture).next().is_none()
    }),
    ("future: dropped pending", |_, log| {
        gives(log, PollFuture).last() == Some(&Given::Pending)
    }),
    ("future: pending, then a head", |_, log| {
        gives(log, PollFuture).next() == Some(&Given::Pending) && has_head(log)
    }),
    ("future: kept until the body is gone", |case, log| {
        case.server.keeps_future && has_head(log)
    }),
    ("future: polled on after it failed", |_, log| {
        follows(log, PollFuture, |it| *it == Given::Failed)
    }),
    ("future: polled on after a panic", |_, log| {
        follows(log, PollFuture, is_panic)
    }),
    ("future: a head after a panic", |_, log| {
        gives(log, PollFuture).any(is_panic) && has_head(log)
    }),
    ("service panics in the call", |_, log| {
        gives(log, Call).any(|it| *it == Given::Panicked(Panic::Service))
    }),
    ("service panics in its future", |_, log| {
        gives(log, PollFuture).any(|it| *it == Given::Panicked(Panic::Service))
    }),
    ("service panics in its body", |_, log| {
        gives(log, PollBody).any(|it| *it == Given::Panicked(Panic::Service))
    }),
    ("observer panics in observe", |_, log| {
        panics_in(log, |it| it == Hook::Observe)
    }),
    ("observer panics in on_response", |_, log| {
        panics_in(log, |it| it == Hook::Response)
    }),
    ("observer panics in on_data", |_, log| {
        panics_in(log, |it| matches!(it, Hook::Data(_)))
    }),
    ("observer panics in on_trailers", |_, log| {
        panics_in(log, |it| it == Hook::Trailers)
    }),
    ("observer panics in on_end", |_, log| {
        panics_in(log, |it| it == Hook::End)
    }),
    ("observer panics in on_end, at a drop", |_, log| {
        [DropFuture, DropBody, DropTunnel]
            .iter()
            .any(|act| gives(log, *act).any(|it| matches!(it, Given::Panicked(Panic::User(..)))))
    }),
    (
        "observer panics in on_end, in another panic",
        |case, log| {
            let bombs: Vec<_> = case.layers.iter().map(crate::case::Layer::parts).collect();
            let has_bomb = |it: &Event| {
                matches!(it, Event::Told(who, Told::End(_) | Told::Summary(_))
            if bombs[who.layer][who.part].bomb == Some(Hook::End))
            };
            let ends = log.iter().filter(|it| has_bomb(it)).count();
            let panics = |it: &&Event| {
                matches!(it, Event::Gives(Given::Panicked(Panic::User(_, Hook::End))))
            };
            ends > log.iter().filter(panics).count()
        },
    ),
    ("server drops while it unwinds", |case, _| {
        case.server.drops_unwinding
    }),
    ("body: no frame", |case, log| {
        case.body.steps.is_empty() && has_head(log)
    }),
    ("body: empty data frame", |_, log| {
        gives(log, PollBody)
            .any(|it| matches!(it, Given::Data { content, .. } if content.is_empty()))
    }),
    ("body: 20 frames and more", |_, log| {
        gives(log, PollBody)
            .filter(|it| matches!(it, Given::Data { .. }))
            .count()
            >= 20
    }),
    ("body: pending", |_, log| {
        gives(log, PollBody).any(|it| *it == Given::Pending)
    }),
    ("body: never polled", |_, log| {
        has_head(log) && gives(log, PollBody).next().is_none()
    }),
    ("body: dropped in mid-stream", |case, log| {
        let polls = gives(log, PollBody).count();
        0 < polls && polls < case.body.steps.len()
    }),
    ("body: trailers last", |case, log| {
        case.body.steps.last() == Some(&Step::Trailers) && gives(log, PollBody).any(is_trailers)
    }),
    ("body: something after trailers", |_, log| {
        let mut given = gives(log, PollBody)
            .skip_while(|it| !is_trailers(it))
            .skip(1);
        given.any(|it| !matches!(it, Given::End))
    }),
    ("body: polled on after its end", |_, log| {
        follows(log, PollBody, |it| *it == Given::End)
    }),
    ("body: polled on after an error", |_, log| {
        follows(log, PollBody, |it| *it == Given::Failed)
    }),
    ("body: polled on after a panic", |_, log| {
        follows(log, PollBody, is_panic)
    }),
    ("body: data after an error or a panic", |_, log| {
        let mut given = gives(log, PollBody);
        given.any(|it| *it == Given::Failed || is_panic(it)) && given.any(is_data)
    }),
    ("body: data after it said it was over", |_, log| {
        let is_over = |it: &Event| matches!(it, Event::Says(hints) if hints.is_end_stream);
        let mut rest = log.iter().skip_while(|it| !is_over(it));
        rest.any(|it| matches!(it, Event::Gives(it) if is_data(it)))
    }),
    ("size: unknown", |case, _| case.body.size == Size::Unknown),
    ("size: exact", |case, _| case.body.size == Size::Exact),
    ("size: bounded", |case, _| {
        matches!(case.body.size, Size::Bounded { .. })
    }),
    ("size: exact, and more comes", |case, log| {
        more_than(case, log, claimed)
    }),
    ("size: exact, and less comes", |case, log| {
        less_than(case, log, claimed)
    }),
    (
        "size: claimed bounds",
        |case, _| matches!(case.body.size, Size::Claimed(lower, upper) if lower < upper),
    ),
    ("end: shown", |case, _| case.body.end == End::Shown),
    ("end: hidden", |case, _| case.body.end == End::Hidden),
    ("end: claimed at once", |case, _| {
        case.body.end == End::Claimed
    }),
    ("content-length: true", |case, _| {
        case.head.length == Length::Is(case.body.steps.iter().map(Step::len).sum())
    }),
    ("content-length: more comes", |case, log| {
        more_than(case, log, length)
    }),
    ("content-length: less comes", |case, log| {
        less_than(case, log, length)
    }),
    ("content-length: malformed", |case, log| {
        matches!(case.head.length, Length::Malformed(_)) && has_head(log)
    }),
    ("content-length: repeated", |case, log| {
        matches!(case.head.length, Length::Repeated(a, b) if a == b) && has_head(log)
    }),
    ("content-length: repeated, and not the same", |case, log| {
        matches!(case.head.length, Length::Repeated(a, b) if a != b) && has_head(log)
    }),
    ("content-length and exact size disagree", |case, log| {
        has_head(log) && matches!((length(case), claimed(case)), (Some(a), Some(b)) if a != b)
    }),
    ("HEAD", |case, log| {
        case.method == Method::HEAD && has_head(log)
    }),
    ("204", |case, log| case.head.status == 204 && has_head(log)),
    ("304", |case, log| case.head.status == 304 && has_head(log)),
    ("1xx other than 101", |case, log| {
        let status = case.head.status;
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS && has_head(log)
    }),
    ("tunnel: 101", |case, log| {
        case.head.status == 101 && has_tunnel(log)
    }),
    ("tunnel: 2xx to CONNECT", |case, log| {
        case.head.status.is_success() && has_tunnel(log)
    }),
    ("tunnel: refused", |case, log| {
        case.may_upgrade() && has_head(log) && !has_tunnel(log)
    }),
    ("tunnel: 101 that nobody asked for", |case, log| {
        !case.may_upgrade() && has_tunnel(log)
    }),
    ("tunnel: held by nobody", |case, log| {
        holds(case, log, Fate::DroppedInCall)
    }),
    ("tunnel: dropped with the head", |case, log| {
        holds(case, log, Fate::DroppedWithHead)
    }),
    ("tunnel: held by the future", |case, log| {
        holds(case, log, Fate::KeptByFuture)
    }),
    ("tunnel: held over the head", |case, log| {
        holds(case, log, Fate::KeptOverHead)
    }),
    ("tunnel: held over the body", |case, log| {
        holds(case, log, Fate::KeptOverBody)
    }),
    ("tunnel: cloned", |case, log| holds(case, log, Fate::Cloned)),
    ("tunnel: data in its body", |_, log| {
        has_tunnel(log) && gives(log, PollBody).any(is_data)
    }),
    ("tunnel: one that holds several layers", |_, log| {
        let mut ends = log.split(|it| matches!(it, Event::Does(_)));
        ends.any(|it| {
            let layers = it.iter().filter_map(|it| match it {
                Event::Told(who, Told::End(Upgraded)) => Some(who.layer),
                _ => None,
            });
            let mut layers: Vec<_> = layers.collect();
            layers.dedup();
            layers.len() > 1
        })
    }),
];

fn has_layer(case: &Case, kind: Kind) -> bool {
    case.layers.iter().any(|layer| layer.kind == kind)
}

/// All that came of acts of this kind.
fn gives(log: &[Event], wanted: Act) -> impl Iterator<Item = &Given> {
    let mut act = None;
    log.iter().filter_map(move |event| match event {
        Event::Does(does) => {
            act = Some(*does);
            None
        }
        Event::Gives(given) if act == Some(wanted) => Some(given),
        _ => None,
    })
}

/// Something came of one more such act after this.
fn follows(log: &[Event], act: Act, this: fn(&Given) -> bool) -> bool {
    let mut given = gives(log, act);
    given.any(this) && given.next().is_some()
}

fn has_head(log: &[Event]) -> bool {
    gives(log, PollFuture).any(|it| matches!(it, Given::Head { .. }))
}

/// Some layer saw a head that makes a tunnel of the connection.
fn has_tunnel(log: &[Event]) -> bool {
    log.iter()
        .any(|it| matches!(it, Event::Told(_, Told::Response { tunnel: true, .. })))
}

fn holds(case: &Case, log: &[Event], fate: Fate) -> bool {
    let is_offered = |it: &Event| {
        matches!(
            it,
            Event::Inner(Inner::Called {
                has_tunnel: true,
                ..
            })
        )
    };
    case.tunnel == fate && has_tunnel(log) && log.iter().any(is_offered)
}

fn is_panic(given: &Given) -> bool {
    matches!(given, Given::Panicked(_))
}

fn is_data(given: &Given) -> bool {
    matches!(given, Given::Data { .. })
}

fn is_trailers(given: &Given) -> bool {
    matches!(given, Given::Trailers(_))
}

fn panics_in(log: &[Event], hook: fn(Hook) -> bool) -> bool {
    log.iter()
        .any(|it| matches!(it, Event::Gives(Given::Panicked(Panic::User(_, it))) if hook(*it)))
}

fn claimed(case: &Case) -> Option<u64> {
    match case.body.size {
        Size::Claimed(lower, upper) if lower == upper => Some(lower),
        _ => None,
    }
}

fn length(case: &Case) -> Option<u64> {
    match case.head.length {
        Length::Is(length) => Some(length),
        _ => None,
    }
}

fn bytes(log: &[Event]) -> u64 {
    let len = |it: &Given| match it {
        Given::Data { content, .. } => content.len() as u64,
        _ => 0,
    };
    gives(log, PollBody).map(len).sum()
}

fn more_than(case: &Case, log: &[Event], announced: fn(&Case) -> Option<u64>) -> bool {
    announced(case).is_some_and(|it| bytes(log) > it)
}

/// The body ends before all of it came.
fn less_than(case: &Case, log: &[Event], announced: fn(&Case) -> Option<u64>) -> bool {
    let ends = gives(log, PollBody).any(|it| *it == Given::End);
    ends && announced(case).is_some_and(|it| bytes(log) < it)
}

impl Tally {
    pub(crate) fn count(&mut self, case: &Case, log: &[Event]) {
        self.exchanges += 1;
        let mut act = Call;
        for event in log {
            match event {
                Event::Does(does) => act = *does,
                Event::Told(_, Told::End(outcome)) => {
                    let count = self.outcomes.entry((outcome.as_str(), name(act)));
                    *count.or_default() += 1;
                }
                _ => {}
            }
        }
        for (name, has) in FEATURES {
            *self.features.entry(name).or_default() += u64::from(has(case, log));
        }
    }

    /// What happened less often.
    pub(crate) fn rarer_than(&self, least: u64) -> Vec<String> {
        let outcomes = OUTCOMES.iter().flat_map(|(outcome, acts)| {
            acts.iter().map(|act| {
                let key = (outcome.as_str(), name(*act));
                let count = self.outcomes.get(&key).copied();
                (format!("{} at {}", key.0, key.1), count.unwrap_or_default())
            })
        });
        let features = self.features.iter();
        let features = features.map(|(name, count)| ((*name).to_owned(), *count));
        let rare = outcomes.chain(features).filter(|it| it.1 < least);
        rare.map(|(name, count)| format!("{name}: {count}"))
            .collect()
    }
}

fn name(act: Act) -> &'static str {
    match act {
        PollReady => "poll_ready",
        Call => "the call",
        PollFuture => "a poll of the future",
        PollBody => "a poll of the body",
        DropFuture => "the drop of the future",
        DropBody => "the drop of the body",
        DropTunnel => "the drop of the tunnel",
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} exchanges", self.exchanges)?;
        for ((outcome, act), count) in &self.outcomes {
            writeln!(f, "{count:>12} {outcome} at {act}")?;
        }
        for (name, _) in FEATURES {
            let count = self.features.get(name).copied().unwrap_or_default();
            writeln!(f, "{count:>12} {name}")?;
        }
        Ok(())
    }
}
