//! Panics of the observers.

use std::{
    any::Any,
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use http::Response;
use tower::{Layer, Service};
use tower_passthrough::observe::{
    MakeObserver, ObserveLayer,
    Outcome::{Complete, Panicked},
};

use super::{Bomb, Hook, OK, assert_panics, message};
use crate::{
    Incoming, bytes,
    common::{
        End, Given, Script, Size,
        Step::{Data, Trailers},
        Told, Watch, trailers,
    },
    frames, next, poll, watched,
};

/// What came out of an exchange of which each panic was caught and the remains polled on.
#[derive(Debug, PartialEq, Eq)]
struct Remains {
    panics: usize,
    given: Vec<Given>,
}

/// Plays two data frames and trailers. The service answers each poll with a fresh response.
fn play_on<M: MakeObserver + Clone>(make: &M) -> Remains {
    let mut panics = 0;
    let mut given = Vec::new();
    let mut service = watched(make, |_: Incoming| {
        poll_fn(|_| {
            let script = Script::new([Data(3), Data(2), Trailers], Size::Unknown, End::Hidden);
            Poll::Ready(Ok::<_, Infallible>(Response::new(script)))
        })
    });
    let mut caught = |payload: Box<dyn Any + Send>| {
        assert_eq!(message(&*payload), Some("bomb"));
        panics += 1;
    };

    match catch_unwind(AssertUnwindSafe(|| service.call(Incoming::default()))) {
        Err(payload) => caught(payload),
        Ok(future) => {
            let mut future = Box::pin(future);
            let mut poll = || catch_unwind(AssertUnwindSafe(|| poll(future.as_mut())));
            // Once more if it panics, not for ever.
            let polled = poll().or_else(|payload| {
                caught(payload);
                poll()
            });
            let Ok(Poll::Ready(Ok(response))) = polled else {
                panic!("no response at the second poll");
            };
            let mut body = response.into_body();
            for _ in 0..4 {
                match catch_unwind(AssertUnwindSafe(|| next(&mut body))) {
                    Err(payload) => caught(payload),
                    Ok(frame) => given.push(frame),
                }
            }
        }
    }
    Remains { panics, given }
}

/// For each hook: what an observer is told that panics in it, how many of these an observer that
/// comes after it in a pair is told before the end, and what comes out of the body afterwards.
fn hooks() -> [(Hook, Vec<Told>, usize, Vec<Given>); 5] {
    let told = [OK, Told::Data(3), Told::Data(2), Told::Trailers];
    let told = |count: usize, outcome| {
        let mut told = told[..count].to_vec();
        told.push(Told::End(outcome));
        told
    };
    let last = || Given::Trailers(trailers());
    [
        (Hook::Observe, vec![], 0, vec![]),
        (
            Hook::Response,
            told(1, Panicked),
            0,
            vec![bytes(3), bytes(2), last(), Given::End],
        ),
        (
            Hook::Data,
            told(2, Panicked),
            1,
            vec![bytes(2), last(), Given::End],
        ),
        (
            Hook::Trailers,
            told(4, Panicked),
            3,
            vec![bytes(3), bytes(2), Given::End],
        ),
        (
            Hook::End,
            told(4, Complete),
            4,
            vec![bytes(3), bytes(2), Given::End],
        ),
    ]
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn observer_that_panics_is_told_of_one_end_and_the_body_goes_on() {
    for (hook, told, _, given) in hooks() {
        let bomb = Bomb::new(hook);
        let remains = play_on(&bomb);
        assert_eq!(remains, Remains { panics: 1, given }, "{hook:?}");
        assert_eq!(bomb.watch.told(), told, "{hook:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn observer_before_one_that_panics_is_told_of_one_end() {
    for (hook, told, _, given) in hooks() {
        let (watch, bomb) = (Watch::default(), Bomb::new(hook));
        let remains = play_on(&(watch.clone(), bomb.clone()));
        assert_eq!(remains, Remains { panics: 1, given }, "{hook:?}");
        assert_eq!(bomb.watch.told(), told, "{hook:?}");
        // It was made, and so its exchange had begun.
        let told = if hook == Hook::Observe {
            vec![Told::End(Panicked)]
        } else {
            told
        };
        assert_eq!(watch.told(), told, "{hook:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn observer_after_one_that_panics_is_told_of_one_end() {
    for (hook, told, before, given) in hooks() {
        let (bomb, watch) = (Bomb::new(hook), Watch::default());
        let remains = play_on(&(bomb.clone(), watch.clone()));
        assert_eq!(remains, Remains { panics: 1, given }, "{hook:?}");
        assert_eq!(bomb.watch.told(), told, "{hook:?}");
        let mut expected = told[..before].to_vec();
        expected.extend(told.last());
        assert_eq!(watch.told(), expected, "{hook:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn layer_around_one_whose_observer_panics_is_told_of_one_end() {
    for (hook, told, before, _) in hooks() {
        let (watch, bomb) = (Watch::default(), Bomb::new(hook));
        let inner = watched(&bomb, |_: Incoming| {
            let script = Script::new([Data(3), Data(2), Trailers], Size::Unknown, End::Hidden);
            ready(Ok::<_, Infallible>(Response::new(script)))
        });
        let mut service = ObserveLayer::new(watch.clone()).layer(inner);
        assert_panics("bomb", || {
            let Poll::Ready(Ok(response)) = poll(pin!(service.call(Incoming::default()))) else {
                unreachable!("it is ready");
            };
            let mut body = response.into_body();
            drop(frames(&mut body, 4));
        });
        // The frame of the panic never came out of the inner layer.
        let before = if hook == Hook::End { 3 } else { before };
        let mut expected = told.get(..before).unwrap_or_default().to_vec();
        expected.push(Told::End(Panicked));
        assert_eq!(watch.told(), expected, "{hook:?}");
    }
}

#[test]
fn panic_in_observe_keeps_the_request_from_the_service() {
    let mut service = watched(
        &Bomb::new(Hook::Observe),
        |_: Incoming| -> Ready<Result<Response<Script>, Infallible>> {
            unreachable!("it must not be called")
        },
    );
    assert_panics("bomb", || service.call(Incoming::default()));
}
