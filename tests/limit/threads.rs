//! Many threads: never more than the limit, and nobody waits in vain.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use tower::{Layer, Service};

use crate::{Incoming, free, limit};

const MAX: usize = 3;
const THREADS: usize = 8;
const ROUNDS: usize = if cfg!(miri) { 20 } else { 2_000 };

/// Counts who is in, and the most that there were.
#[derive(Debug, Clone, Default)]
struct Inside(Arc<(AtomicUsize, AtomicUsize)>);

impl Inside {
    fn enter(&self) -> Presence {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        Presence(self.clone())
    }
}

struct Presence(Inside);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Is in from the call to the end of the body.
impl Service<Incoming> for Inside {
    type Response = Response<Counted>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Counted>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Incoming) -> Self::Future {
        let presence = Some(self.enter());
        ready(Ok(Response::new(Counted { left: 2, presence })))
    }
}

struct Counted {
    left: u8,
    presence: Option<Presence>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else {
            self.presence = None;
            return Poll::Ready(None);
        };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until the service is ready.
fn wait<S: Service<Incoming>>(service: &mut S) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let cx = &mut Context::from_waker(&waker);
    while service.poll_ready(cx).is_pending() {
        let since = std::time::Instant::now();
        // The time limit only turns a hang into a failure.
        thread::park_timeout(Duration::from_secs(20));
        assert!(since.elapsed() < Duration::from_secs(20), "waited in vain");
    }
}

#[test]
fn never_more_than_the_limit_over_many_threads() {
    let inside = Inside::default();
    let layer = limit(MAX);
    let service = layer.layer(inside.clone());
    let (elsewhere, bodies) = mpsc::channel();
    let reaper = thread::spawn(move || bodies.into_iter().for_each(drop));

    let work = |number: usize| {
        let (mut service, elsewhere) = (service.clone(), elsewhere.clone());
        move || {
            let cx = &mut Context::from_waker(Waker::noop());
            for round in 0..ROUNDS {
                // Some are asked and let go, some with a permit and some without.
                let _ = service.clone().poll_ready(cx);
                wait(&mut service);
                let future = service.call(Incoming::default());
                if (round + number) % 7 == 0 {
                    continue;
                }
                let Poll::Ready(Ok(response)) = pin!(future).poll(cx) else {
                    panic!("it answers at once");
                };
                let mut body = Box::pin(response.into_body());
                for _ in 0..(round * 3 + number) % 5 {
                    assert!(body.as_mut().poll_frame(cx).is_ready());
                }
                if (round + number) % 3 == 0 {
                    elsewhere.send(body).unwrap();
                }
            }
        }
    };
    let workers: Vec<_> = (0..THREADS).map(|it| thread::spawn(work(it))).collect();
    for worker in workers {
        worker.join().unwrap();
    }
    drop(elsewhere);
    reaper.join().unwrap();
    drop(service);

    let (now, most) = &*inside.0;
    assert_eq!(now.load(Ordering::SeqCst), 0);
    assert_eq!(most.load(Ordering::SeqCst), MAX);
    assert_eq!(free(&layer, MAX), MAX);
}
