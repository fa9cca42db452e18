//! Panics of the service and of its body.

use std::{
    convert::Infallible,
    future::{Future, Ready, pending, poll_fn, ready},
    pin::{Pin, pin},
    task::{Context, Poll},
    thread,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};
use tower_passthrough::observe::{
    ObserveLayer,
    Outcome::{Cancelled, Disconnected, Panicked},
};

use super::{OK, assert_panics, panic_of};
use crate::{
    Incoming, answer, bytes,
    common::{
        End, Given, Script, Size,
        Step::{Data, Panic, Pending, Trailers},
        Told, Watch, trailers,
    },
    next, poll, watched, watched_body,
};

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
