//! Panics: of the service, of its body, and of the observers. The exchange ends when it happens,
//! whoever catches it, and whatever becomes of the remains.

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, Ready, pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};
use tower_passthrough::{
    RequestHead, ResponseHead,
    observe::{
        MakeObserver, Moment, ObserveLayer, Observer,
        Outcome::{self, BodyError, Cancelled, Complete, Disconnected, Panicked, Upgraded},
        Tunnel,
    },
};

use crate::{
    Incoming, answer, bytes,
    common::{
        Broken, End, Given, Script, Size,
        Step::{self, Data, Error, Panic, Pending, Trailers},
        Told, Watch, trailers,
    },
    frames, next, poll, watched, watched_body,
};

const OK: Told = Told::Response(StatusCode::OK);

/// What `act` panicked with, if it did.
fn panic_of<T>(act: impl FnOnce() -> T) -> Option<Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| drop(act()))).err()
}

fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied()
}

#[track_caller]
fn assert_panics<T>(with: &str, act: impl FnOnce() -> T) {
    let payload = panic_of(act).expect("a panic");
    assert_eq!(message(&*payload), Some(with));
}

// Of the service.

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_call_ends_the_exchange_at_once() {
    let watch = Watch::default();
    let mut service = watched(
        &watch,
        |_: Incoming| -> Ready<Result<Response<Script>, Infallible>> { panic!("scripted") },
    );
    assert_panics("scripted", || service.call(Incoming::default()));
    assert_eq!(watch.told(), [Told::End(Panicked)]);
    // The remains.
    assert_panics("scripted", || service.call(Incoming::default()));
    assert_eq!(watch.told(), [Told::End(Panicked); 2]);
    drop(service);
    assert_eq!(watch.told(), [Told::End(Panicked); 2]);
}

/// Is pending as often, then panics, then answers.
fn panic_once(pendings: usize) -> impl Future<Output = Result<Response<Script>, Infallible>> {
    let mut polls = 0;
    poll_fn(move |_| {
        polls += 1;
        assert!(polls != pendings + 1, "scripted");
        if polls <= pendings {
            return Poll::Pending;
        }
        let script = Script::new([Data(3)], Size::Exact, End::Shown);
        Poll::Ready(Ok(Response::new(script)))
    })
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_the_future_ends_the_exchange_at_once() {
    for pendings in 0..3 {
        for keep in [Keep::Drop, Keep::Poll] {
            let context = format!("after {pendings} pending, then {keep:?}");
            let watch = Watch::default();
            let mut service = watched(&watch, |_: Incoming| panic_once(pendings));
            let mut future = Box::pin(service.call(Incoming::default()));
            for _ in 0..pendings {
                assert!(poll(future.as_mut()).is_pending(), "{context}");
            }
            assert_eq!(watch.told(), [], "{context}");
            assert_panics("scripted", || poll(future.as_mut()));
            assert_eq!(watch.told(), [Told::End(Panicked)], "{context}");
            if keep == Keep::Poll {
                let Poll::Ready(Ok(response)) = poll(future.as_mut()) else {
                    panic!("{context}");
                };
                assert_eq!(next(&mut response.into_body()), bytes(3), "{context}");
            }
            drop(future);
            assert_eq!(watch.told(), [Told::End(Panicked)], "{context}");
        }
    }
}

/// What is done with the remains of a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Drop,
    Poll,
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_an_async_fn_that_is_polled_again_ends_the_exchange_once() {
    async fn fail(_: Incoming) -> Result<Response<Script>, Infallible> {
        tokio::task::yield_now().await;
        panic!("scripted")
    }
    let watch = Watch::default();
    let mut future = Box::pin(watched(&watch, fail).call(Incoming::default()));
    assert!(poll(future.as_mut()).is_pending());
    assert_panics("scripted", || poll(future.as_mut()));
    assert_eq!(watch.told(), [Told::End(Panicked)]);
    assert!(panic_of(|| poll(future.as_mut())).is_some());
    drop(future);
    assert_eq!(watch.told(), [Told::End(Panicked)]);
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_the_body_ends_the_exchange_at_once() {
    for before in [vec![], vec![Data(3)], vec![Pending], vec![Data(3), Pending]] {
        for keep in [Keep::Drop, Keep::Poll] {
            let context = format!("after {before:?}, then {keep:?}");
            let mut expected = vec![OK];
            expected.extend(before.contains(&Data(3)).then_some(Told::Data(3)));
            let polls = before.len();
            let steps = before.iter().cloned().chain([Panic, Data(2), Trailers]);

            let watch = Watch::default();
            let mut body = watched_body(&watch, steps);
            for _ in 0..polls {
                next(&mut body);
            }
            assert_eq!(watch.told(), expected, "{context}");
            assert_panics("scripted", || next(&mut body));
            expected.push(Told::End(Panicked));
            assert_eq!(watch.told(), expected, "{context}");
            if keep == Keep::Poll {
                assert_eq!(next(&mut body), bytes(2), "{context}");
                assert_eq!(next(&mut body), Given::Trailers(trailers()), "{context}");
                assert_eq!(next(&mut body), Given::End, "{context}");
            }
            drop(body);
            assert_eq!(watch.told(), expected, "{context}");
        }
    }
}

#[test]
fn panic_in_the_body_after_all_that_was_announced_is_panicked() {
    let watch = Watch::default();
    let script = Script::new([Data(3), Panic], Size::Exact, End::Hidden);
    let mut body = answer(&watch, Incoming::default(), Response::new(script)).into_body();
    assert_eq!(next(&mut body), bytes(3));
    assert_panics("scripted", || next(&mut body));
    assert_eq!(watch.told(), [OK, Told::Data(3), Told::End(Panicked)]);
}

#[test]
fn panic_that_unwinds_through_the_owner_ends_the_exchange_once() {
    let watch = Watch::default();
    let mut body = watched_body(&watch, [Data(3), Panic]);
    assert_panics("scripted", move || {
        next(&mut body);
        next(&mut body);
    });
    assert_eq!(watch.told(), [OK, Told::Data(3), Told::End(Panicked)]);

    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        poll_fn(|_| -> Poll<Result<Response<Script>, Infallible>> { panic!("scripted") })
    });
    let future = service.call(Incoming::default());
    assert_panics("scripted", move || poll(pin!(future)));
    assert_eq!(watch.told(), [Told::End(Panicked)]);
}

#[test]
fn panic_that_ends_a_thread_ends_the_exchange_once() {
    let watch = Watch::default();
    let mut body = watched_body(&watch, [Panic]);
    assert!(thread::spawn(move || next(&mut body)).join().is_err());
    assert_eq!(watch.told(), [OK, Told::End(Panicked)]);
}

#[test]
fn panic_ends_each_layer_of_a_stack_once() {
    let (outer, inner) = (Watch::default(), Watch::default());
    let service = watched(&inner, |_: Incoming| {
        let script = Script::new([Data(3), Panic, Data(2)], Size::Unknown, End::Hidden);
        ready(Ok::<_, Infallible>(Response::new(script)))
    });
    let mut service = ObserveLayer::new(outer.clone()).layer(service);
    let Poll::Ready(Ok(response)) = poll(pin!(service.call(Incoming::default()))) else {
        panic!("it is ready");
    };
    let mut body = response.into_body();
    next(&mut body);
    assert_panics("scripted", || next(&mut body));
    let told = [OK, Told::Data(3), Told::End(Panicked)];
    assert_eq!(outer.told(), told);
    assert_eq!(inner.told(), told);
    assert_eq!(next(&mut body), bytes(2));
    drop(body);
    assert_eq!(outer.told(), told);
    assert_eq!(inner.told(), told);
}

#[test]
fn panic_elsewhere_that_drops_the_exchange_is_not_the_services() {
    let watch = Watch::default();
    let body = watched_body(&watch, [Data(3)]);
    assert_panics("elsewhere", move || {
        let _body = body;
        panic!("elsewhere");
    });
    assert_eq!(watch.told(), [OK, Told::End(Disconnected)]);

    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        pending::<Result<Response<Script>, Infallible>>()
    });
    let future = service.call(Incoming::default());
    assert_panics("elsewhere", move || {
        let _future = future;
        panic!("elsewhere");
    });
    assert_eq!(watch.told(), [Told::End(Cancelled)]);
}

/// An empty body that panics where it may least.
#[derive(Debug)]
enum Trap {
    SizeHint,
    IsEndStream,
    Drop,
}

impl Body for Trap {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        assert!(!matches!(self, Self::IsEndStream), "trap");
        false
    }

    fn size_hint(&self) -> SizeHint {
        assert!(!matches!(self, Self::SizeHint), "trap");
        SizeHint::default()
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        assert!(!matches!(self, Self::Drop), "trap");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes miri too long")]
fn panic_in_a_hint_at_the_head_ends_the_exchange_at_once() {
    for (trap, told) in [
        (Trap::SizeHint, &[Told::End(Panicked)][..]),
        (Trap::IsEndStream, &[OK, Told::End(Panicked)]),
    ] {
        let context = format!("{trap:?}");
        let watch = Watch::default();
        let mut response = Some(Response::new(trap));
        let mut service = watched(&watch, |_: Incoming| {
            ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        let mut future = Box::pin(service.call(Incoming::default()));
        assert_panics("trap", || poll(future.as_mut()));
        assert_eq!(watch.told(), told, "{context}");
        drop(future);
        assert_eq!(watch.told(), told, "{context}");
    }
}

#[test]
fn panic_in_the_drop_of_the_body_ends_the_exchange_once() {
    let watch = Watch::default();
    let body = answer(&watch, Incoming::default(), Response::new(Trap::Drop)).into_body();
    assert_panics("trap", move || drop(body));
    assert_eq!(watch.told(), [OK, Told::End(Disconnected)]);
}

// Of the observers.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Observe,
    Response,
    Data,
    Trailers,
    End,
}

/// Writes down what it is told, then panics in one of its hooks.
#[derive(Debug, Clone)]
struct Bomb {
    hook: Hook,
    watch: Watch,
}

impl Bomb {
    fn new(hook: Hook) -> Self {
        Self {
            hook,
            watch: Watch::default(),
        }
    }

    fn blow(&self, hook: Hook) {
        assert!(self.hook != hook, "bomb");
    }
}

impl MakeObserver for Bomb {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        self.blow(Hook::Observe);
        Some(self.clone())
    }
}

impl Observer for Bomb {
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        self.watch.on_response(head, at);
        self.blow(Hook::Response);
    }

    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        self.watch.on_data(data, at);
        self.blow(Hook::Data);
    }

    fn on_trailers(&mut self, trailers: &HeaderMap, at: &Moment) {
        self.watch.on_trailers(trailers, at);
        self.blow(Hook::Trailers);
    }

    fn on_end(self, outcome: Outcome, at: &Moment) {
        self.watch.clone().on_end(outcome, at);
        self.blow(Hook::End);
    }
}

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
