//! The queue, step by step.

use std::{
    cell::Cell,
    future::{Ready, ready},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::Response;
use http_body::Body as _;
use tower::{Layer, Service};
use tower_passthrough::limit::ConcurrencyLimitLayer;

use crate::{
    Bell, Incoming, Stream,
    common::{Broken, Script},
    drive::{Until, answer, answering, drive},
    free, in_flight, is_ready, is_ready_for, limit, ready_service, waiting,
};

#[test]
fn zero_is_refused() {
    assert_eq!(
        ConcurrencyLimitLayer::new(0).unwrap_err().to_string(),
        "concurrency limit of 0: every request would wait for ever",
    );
}

#[test]
fn any_other_number_is_a_limit() {
    for max in [1, 2, 7] {
        let layer = limit(max);
        assert_eq!(free(&layer, max), max);
    }
    assert_eq!(free(&limit(usize::MAX), 100), 101);
}

#[test]
fn ready_service_has_one_permit_however_often_it_is_asked() {
    let layer = limit(3);
    let mut service = ready_service(&layer);
    for _ in 0..10 {
        assert!(is_ready(&mut service));
    }
    assert_eq!(free(&layer, 3), 2);
    let exchange = service.call(Incoming::default());
    assert_eq!(free(&layer, 3), 2);
    // Its next exchange needs another one.
    assert!(is_ready(&mut service));
    assert_eq!(free(&layer, 3), 1);
    drop(service);
    assert_eq!(free(&layer, 3), 2);
    drop(exchange);
    assert_eq!(free(&layer, 3), 3);
}

#[test]
fn who_waits_is_let_in_in_the_order_in_which_they_came() {
    let layer = limit(1);
    let mut current = ready_service(&layer);
    let queue: Vec<_> = (0..5).map(|_| waiting(&layer)).collect();
    let bells: Vec<_> = queue.iter().map(|(_, bell)| Arc::clone(bell)).collect();
    let rung = || bells.iter().map(|bell| bell.rung()).collect::<Vec<_>>();

    for (turn, (service, _)) in queue.into_iter().enumerate() {
        let expected: Vec<_> = (0..5).map(|it| usize::from(it < turn)).collect();
        assert_eq!(rung(), expected, "before turn {turn}");
        drop(current);
        current = service;
        assert_eq!(rung()[turn], 1, "turn {turn}");
        assert!(is_ready(&mut current), "turn {turn}");
    }
}

#[test]
fn nobody_overtakes_who_has_not_come_for_its_permit_yet() {
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let (mut first, bell) = waiting(&layer);
    drop(exchange);
    assert_eq!(bell.rung(), 1);
    let (mut second, _) = waiting(&layer);
    assert!(!is_ready(&mut second));
    assert!(is_ready(&mut first));
    assert!(!is_ready(&mut second));
}

#[test]
fn place_in_the_queue_is_that_of_the_first_poll() {
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let (mut first, _) = waiting(&layer);
    let (mut second, _) = waiting(&layer);
    assert!(!is_ready(&mut second));
    assert!(!is_ready(&mut first));
    drop(exchange);
    assert!(!is_ready(&mut second));
    assert!(is_ready(&mut first));
}

#[test]
fn last_waker_is_the_one_that_is_told() {
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let (mut service, first) = waiting(&layer);
    let last = Arc::<Bell>::default();
    assert!(!is_ready_for(&mut service, &Waker::from(Arc::clone(&last))));
    assert_eq!(Arc::strong_count(&first), 1, "the first one is let go");
    drop(exchange);
    assert_eq!((first.rung(), last.rung()), (0, 1));
}

#[test]
fn who_is_dropped_is_out_of_the_queue() {
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let (gone, no_bell) = waiting(&layer);
    let (mut next, bell) = waiting(&layer);
    drop(gone);
    assert_eq!(Arc::strong_count(&no_bell), 1, "its waker is let go");
    assert_eq!(bell.rung(), 0, "there is still no permit");
    drop(exchange);
    assert_eq!((no_bell.rung(), bell.rung()), (0, 1));
    assert!(is_ready(&mut next));
}

#[test]
fn who_is_dropped_passes_its_permit_on() {
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let (granted, its_bell) = waiting(&layer);
    let (mut next, bell) = waiting(&layer);
    drop(exchange);
    assert_eq!((its_bell.rung(), bell.rung()), (1, 0));
    drop(granted);
    assert_eq!((its_bell.rung(), bell.rung()), (1, 1));
    assert!(is_ready(&mut next));
    drop(next);
    assert_eq!(free(&layer, 1), 1);
}

#[test]
fn ready_service_that_is_never_called_passes_its_permit_on() {
    let layer = limit(1);
    let service = ready_service(&layer);
    let (mut next, bell) = waiting(&layer);
    drop(service);
    assert_eq!(bell.rung(), 1);
    assert!(is_ready(&mut next));
}

#[test]
fn end_of_a_body_is_told_to_the_next() {
    let layer = limit(1);
    let exchange = answering(answer(200, &[], [])).until(Until::Head);
    let mut body = drive(&layer, exchange).unwrap().into_body().unwrap();
    let (_next, bell) = waiting(&layer);
    let body: Pin<&mut _> = body.as_mut();
    assert!(
        body.poll_frame(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    );
    assert_eq!(bell.rung(), 1);
}

#[test]
fn clone_has_neither_permit_nor_place() {
    let layer = limit(1);
    let service = ready_service(&layer);
    let mut of_ready = service.clone();
    let (waits, bell) = waiting(&layer);
    let of_waiting = waits.clone();
    assert!(!is_ready(&mut of_ready));
    drop(of_waiting);
    drop(service);
    assert_eq!(bell.rung(), 1);
    assert!(!is_ready(&mut of_ready));
    drop(waits);
    assert!(is_ready(&mut of_ready));
}

/// Is as ready as it is told to be, and counts how often it is asked.
#[derive(Clone)]
struct Told {
    readiness: Rc<Cell<Poll<Result<(), ()>>>>,
    asked: Rc<Cell<usize>>,
}

impl Told {
    fn new(readiness: Poll<Result<(), ()>>) -> Self {
        Self {
            readiness: Rc::new(Cell::new(readiness)),
            asked: Rc::default(),
        }
    }
}

impl Service<Incoming> for Told {
    type Response = Response<Script>;
    type Error = Broken;
    type Future = Ready<Result<Response<Script>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.asked.set(self.asked.get() + 1);
        self.readiness.get().map_err(|()| Broken)
    }

    fn call(&mut self, _: Incoming) -> Self::Future {
        ready(Err(Broken))
    }
}

#[test]
fn inner_service_is_asked_once_there_is_a_permit() {
    let layer = limit(1);
    let inner = Told::new(Poll::Pending);
    let mut service = layer.layer(inner.clone());
    let cx = &mut Context::from_waker(Waker::noop());

    let exchange = in_flight(&layer);
    assert!(service.poll_ready(cx).is_pending());
    assert_eq!(inner.asked.get(), 0);
    drop(exchange);
    assert!(service.poll_ready(cx).is_pending());
    assert_eq!(inner.asked.get(), 1);
    assert_eq!(free(&layer, 1), 0, "it keeps its permit");
    inner.readiness.set(Poll::Ready(Ok(())));
    assert_eq!(service.poll_ready(cx), Poll::Ready(Ok(())));
    assert_eq!(inner.asked.get(), 2);
    assert_eq!(free(&layer, 1), 0);
}

#[test]
fn service_that_has_failed_gives_its_permit_back() {
    let layer = limit(1);
    let inner = Told::new(Poll::Pending);
    let mut service = layer.layer(inner.clone());
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_pending());
    let (_next, bell) = waiting(&layer);
    inner.readiness.set(Poll::Ready(Err(())));
    assert_eq!(service.poll_ready(cx), Poll::Ready(Err(Broken)));
    assert_eq!(bell.rung(), 1);
    assert!(service.poll_ready(cx).is_pending(), "behind the next");
}

#[test]
fn call_of_a_service_that_is_not_ready_is_counted() {
    let layer = limit(2);
    let one = layer.layer(Stream).call(Incoming::default());
    assert_eq!(free(&layer, 2), 1);
    let two = layer.layer(Stream).call(Incoming::default());
    assert_eq!(free(&layer, 2), 0);
    let three = layer.layer(Stream).call(Incoming::default());
    let (mut next, bell) = waiting(&layer);
    drop(two);
    assert_eq!(bell.rung(), 0, "there are still two");
    drop(one);
    assert_eq!(bell.rung(), 1);
    assert!(is_ready(&mut next));
    drop((next, three));
    assert_eq!(free(&layer, 2), 2);
}

#[test]
fn call_of_a_service_that_waits_takes_it_out_of_the_queue() {
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let (mut hasty, its_bell) = waiting(&layer);
    let (mut next, bell) = waiting(&layer);
    let overdrawn = hasty.call(Incoming::default());
    drop(exchange);
    assert_eq!((its_bell.rung(), bell.rung()), (0, 0));
    drop(overdrawn);
    assert_eq!((its_bell.rung(), bell.rung()), (0, 1));
    assert!(is_ready(&mut next));
}

#[test]
fn call_of_a_service_whose_turn_it_is_takes_its_permit() {
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let (mut hasty, its_bell) = waiting(&layer);
    let (_next, bell) = waiting(&layer);
    drop(exchange);
    assert_eq!(its_bell.rung(), 1);
    let exchange = hasty.call(Incoming::default());
    drop(hasty);
    assert_eq!(bell.rung(), 0);
    drop(exchange);
    assert_eq!(bell.rung(), 1);
}

#[test]
fn debug_tells_how_many_there_are() {
    let layer = limit(2);
    let _exchanges = [in_flight(&layer), in_flight(&layer)];
    let (service, _) = waiting(&layer);
    let counts = "max: 2, taken: 2, waiting: 1";
    for debug in [format!("{layer:?}"), format!("{service:?}")] {
        assert!(debug.contains(counts), "{debug}");
    }
}
