//! `ConcurrencyLimitLayer`: never more than so many exchanges at once, in the order in which they
//! came, and no permit is lost or returned twice, however an exchange ends.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drive.rs"]
mod drive;
mod ends;
#[path = "../common/gate.rs"]
mod gate;
mod model;
#[path = "../common/net.rs"]
mod net;
mod queue;
mod shared;
mod threads;
mod wakers;
mod wire;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use common::{End, Script, Size, Step};
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, Service};
use tower_passthrough::{
    limit::{ConcurrencyLimit, ConcurrencyLimitLayer, Permit},
    observe::ResponseFuture,
};

type Incoming = Request<Empty<Bytes>>;
type Limited = ConcurrencyLimit<Stream>;
type Exchange = ResponseFuture<Ready<Result<Response<Script>, Infallible>>, Permit>;

/// Is always ready, and answers with a stream of one frame and unknown length.
#[derive(Debug, Clone)]
struct Stream;

impl Service<Incoming> for Stream {
    type Response = Response<Script>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Script>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Incoming) -> Self::Future {
        let script = Script::new([Step::Data(3)], Size::Unknown, End::Hidden);
        ready(Ok(Response::new(script)))
    }
}

fn limit(max: usize) -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(max).unwrap()
}

/// Whether the service is ready. It is told to `waker` if it is not.
fn is_ready_for<S: Service<Incoming>>(service: &mut S, waker: &Waker) -> bool {
    match service.poll_ready(&mut Context::from_waker(waker)) {
        Poll::Ready(Ok(())) => true,
        Poll::Ready(Err(_)) => panic!("it does not fail"),
        Poll::Pending => false,
    }
}

/// Whether the service is ready.
fn is_ready<S: Service<Incoming>>(service: &mut S) -> bool {
    is_ready_for(service, Waker::noop())
}

/// How many permits are free, if nobody waits: so many services of `max` and one more are ready.
fn free(layer: &ConcurrencyLimitLayer, max: usize) -> usize {
    let mut services = vec![layer.layer(Stream); max + 1];
    let ready: Vec<_> = services.iter_mut().map(is_ready).collect();
    let free = ready.iter().filter(|it| **it).count();
    assert!(ready[..free].iter().all(|it| *it), "{ready:?}");
    free
}

/// Counts how often it is woken.
#[derive(Debug, Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A service that stands in the queue, and what tells that it is its turn.
fn waiting(layer: &ConcurrencyLimitLayer) -> (Limited, Arc<Bell>) {
    let bell = Arc::<Bell>::default();
    let mut service = layer.layer(Stream);
    assert!(!is_ready_for(&mut service, &Waker::from(Arc::clone(&bell))));
    (service, bell)
}

/// A service that has a permit.
fn ready_service(layer: &ConcurrencyLimitLayer) -> Limited {
    let mut service = layer.layer(Stream);
    assert!(is_ready(&mut service));
    service
}

/// An exchange that has a permit.
fn in_flight(layer: &ConcurrencyLimitLayer) -> Exchange {
    ready_service(layer).call(Incoming::default())
}
