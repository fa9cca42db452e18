//! Panics of the observers at the end, where there may be another one under way.

use std::{
    any::Any,
    convert::Infallible,
    future::{Ready, pending, poll_fn, ready},
    panic::resume_unwind,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use http::{Method, Response};
use tower::Service;
use tower_passthrough::{
    RequestHead,
    observe::{
        MakeObserver, Moment, Observer,
        Outcome::{self, BodyError, Cancelled, Complete, Disconnected, Panicked, Upgraded},
        Tunnel,
    },
};

use super::{Bomb, Hook, OK, assert_panics, message, panic_of};
use crate::{
    Incoming, answer,
    common::{
        Broken, End, Given, Script, Size,
        Step::{self, Data, Error, Panic, Pending, Trailers},
        Told,
    },
    frames, next, poll, watched, watched_body,
};

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn two_observers_that_panic_at_the_end_are_both_told_and_do_not_abort() {
    let (a, b, c) = (
        Bomb::new(Hook::End),
        Bomb::new(Hook::End),
        Bomb::new(Hook::End),
    );
    let mut body = watched_body(&((a.clone(), b.clone()), c.clone()), [Trailers]);
    assert_panics("bomb", || next(&mut body));
    for bomb in [a, b, c] {
        assert_eq!(bomb.watch.told(), [OK, Told::Trailers, Told::End(Complete)]);
    }
    assert_eq!(next(&mut body), Given::End);
}

/// Plays one exchange to each place that can end it, with an observer that panics there.
#[track_caller]
fn panic_at_end(
    outcome: Outcome,
    steps: &[Step],
    act: impl FnOnce(&Bomb, Response<Script>) -> Option<Box<dyn Any + Send>>,
) -> Option<String> {
    let bomb = Bomb::new(Hook::End);
    let script = Script::new(steps.iter().cloned(), Size::Unknown, End::Shown);
    let payload = act(&bomb, Response::new(script));
    assert_eq!(bomb.watch.outcomes(), [outcome]);
    payload.and_then(|payload| message(&*payload).map(ToOwned::to_owned))
}

/// Polls a body to its end, then drops it.
fn exhaust(bomb: &Bomb, response: Response<Script>) -> Option<Box<dyn Any + Send>> {
    panic_of(|| {
        let mut body = answer(bomb, Incoming::default(), response).into_body();
        frames(&mut body, 4);
    })
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_on_end_goes_to_whoever_ends_the_exchange() {
    for (outcome, steps) in [
        (Complete, vec![]),
        (Complete, vec![Data(3)]),
        (Complete, vec![Trailers]),
        (Complete, vec![Pending]),
        (BodyError, vec![Data(3), Error]),
    ] {
        let message = panic_at_end(outcome, &steps, exhaust);
        assert_eq!(message.as_deref(), Some("bomb"), "{steps:?}");
    }

    let message = panic_at_end(Disconnected, &[Data(3)], |bomb, response| {
        let body = answer(bomb, Incoming::default(), response).into_body();
        panic_of(|| drop(body))
    });
    assert_eq!(message.as_deref(), Some("bomb"), "dropped body");

    let message = panic_at_end(Cancelled, &[], |bomb, _| {
        let mut service = watched(bomb, |_: Incoming| {
            pending::<Result<Response<Script>, Infallible>>()
        });
        let future = service.call(Incoming::default());
        panic_of(|| drop(future))
    });
    assert_eq!(message.as_deref(), Some("bomb"), "dropped future");

    let message = panic_at_end(Outcome::ServiceError, &[], |bomb, _| {
        let mut service = watched(bomb, |_: Incoming| {
            ready(Err::<Response<Script>, _>(Broken))
        });
        let mut future = Box::pin(service.call(Incoming::default()));
        let payload = panic_of(|| poll(future.as_mut()));
        drop(future);
        payload
    });
    assert_eq!(message.as_deref(), Some("bomb"), "service error");
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_on_end_of_a_tunnel_goes_to_whoever_ends_it() {
    let mut request = Incoming::default();
    *request.method_mut() = Method::CONNECT;
    let message = panic_at_end(Upgraded, &[], |bomb, response| {
        panic_of(|| answer(bomb, request, response))
    });
    assert_eq!(message.as_deref(), Some("bomb"), "at the head");

    let mut request = Incoming::default();
    *request.method_mut() = Method::CONNECT;
    let message = panic_at_end(Upgraded, &[], |bomb, response| {
        let (mut response, mut tunnel) = (Some(response), None);
        let mut service = watched(bomb, |mut request: Incoming| {
            tunnel = request.extensions_mut().remove::<Tunnel>();
            ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        assert!(poll(pin!(service.call(request))).is_ready());
        drop(service);
        assert_eq!(bomb.watch.outcomes(), []);
        panic_of(|| drop(tunnel))
    });
    assert_eq!(message.as_deref(), Some("bomb"), "with its tunnel");
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_on_end_during_another_panic_does_not_abort() {
    let message = panic_at_end(Panicked, &[Data(3), Panic], exhaust);
    assert_eq!(message.as_deref(), Some("scripted"), "panic in the body");

    let message = panic_at_end(Panicked, &[], |bomb, _| {
        let mut service = watched(bomb, |_: Incoming| {
            poll_fn(|_| -> Poll<Result<Response<Script>, Infallible>> { panic!("scripted") })
        });
        panic_of(|| poll(pin!(service.call(Incoming::default()))))
    });
    assert_eq!(message.as_deref(), Some("scripted"), "panic in the future");

    let message = panic_at_end(Panicked, &[], |bomb, _| {
        let mut service = watched(
            bomb,
            |_: Incoming| -> Ready<Result<Response<Script>, Infallible>> { panic!("scripted") },
        );
        panic_of(|| service.call(Incoming::default()))
    });
    assert_eq!(message.as_deref(), Some("scripted"), "panic in the call");

    let message = panic_at_end(Disconnected, &[Data(3)], |bomb, response| {
        panic_of(|| {
            let _body = answer(bomb, Incoming::default(), response).into_body();
            panic!("elsewhere");
        })
    });
    assert_eq!(message.as_deref(), Some("elsewhere"), "dropped body");

    let message = panic_at_end(Cancelled, &[], |bomb, _| {
        panic_of(|| {
            let _future = watched(bomb, |_: Incoming| {
                pending::<Result<Response<Script>, Infallible>>()
            })
            .call(Incoming::default());
            panic!("elsewhere");
        })
    });
    assert_eq!(message.as_deref(), Some("elsewhere"), "dropped future");
}

/// Counts how often it is dropped, and may panic at that.
#[derive(Debug)]
struct Payload {
    drops: Arc<AtomicUsize>,
    panics: bool,
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        if self.panics {
            // A payload without a size: it is let be, and nothing leaks.
            resume_unwind(Box::new(()));
        }
    }
}

/// Panics at the end with a [`Payload`].
#[derive(Debug, Clone)]
struct Throws {
    drops: Arc<AtomicUsize>,
    panics: bool,
}

impl MakeObserver for Throws {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Throws {
    fn on_end(self, _: Outcome, _: &Moment) {
        let Self { drops, panics } = self;
        resume_unwind(Box::new(Payload { drops, panics }))
    }
}

#[test]
fn payload_of_a_second_panic_is_dropped_and_may_panic_at_that() {
    for panics in [false, true] {
        let drops = Arc::<AtomicUsize>::default();
        let throws = Throws {
            drops: Arc::clone(&drops),
            panics,
        };
        let mut body = watched_body(&throws, [Panic]);
        assert_panics("scripted", || next(&mut body));
        assert_eq!(drops.load(Ordering::SeqCst), 1, "{panics}");
        drop(body);
        assert_eq!(drops.load(Ordering::SeqCst), 1, "{panics}");
    }
}
