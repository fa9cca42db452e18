//! What is allocated by the layers, and what their bodies carry.

use std::{
    convert::Infallible,
    future::{Future, Pending, Ready, pending, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::Empty;
use tower::{Layer, Service};
use tower_passthrough::{
    sse::{DrainBody, DrainLayer, KeepAliveBody, KeepAliveLayer},
    timeout::{IdleTimeoutBody, IdleTimeoutLayer},
    timer::{Timer, TokioTimer},
};

const SECOND: Duration = Duration::from_secs(1);

/// Yields as many events, and allocates nothing. Has nothing to give before each if it waits.
struct Events {
    left: usize,
    waits: bool,
    has_waited: bool,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.waits && !self.has_waited {
            self.has_waited = true;
            return Poll::Pending;
        }
        self.has_waited = false;
        Poll::Ready(self.left.checked_sub(1).map(|left| {
            self.left = left;
            Ok(Frame::data(Bytes::from_static(b"data: 1\n\n")))
        }))
    }
}

/// Answers with so many events, of this type.
#[derive(Clone)]
struct Answer {
    events: usize,
    waits: bool,
    content_type: &'static str,
}

impl Service<Request<Empty<Bytes>>> for Answer {
    type Response = Response<Events>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Events>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        let mut response = Response::new(Events {
            left: self.events,
            waits: self.waits,
            has_waited: false,
        });
        let content_type = http::HeaderValue::from_static(self.content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        ready(Ok(response))
    }
}

/// The allocations of an exchange through this layer, its body polled to the end, and how many
/// frames there were. The first exchange is not counted: it may make what all later ones share.
fn allocations<L, R>(layer: &L, answer: &Answer) -> (u64, usize)
where
    L: Layer<Answer>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<R>, Error = Infallible>,
    R: Body,
{
    let exchange = || {
        let mut service = layer.layer(answer.clone());
        let cx = &mut Context::from_waker(Waker::noop());
        let mut future = pin!(service.call(Request::new(Empty::new())));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(cx) else {
            panic!("no answer");
        };
        let mut body = pin!(response.into_body());
        let mut frames = 0;
        for _ in 0..10_000 {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(_)) => frames += 1,
                Poll::Ready(None) => return frames,
                Poll::Pending => {}
            }
        }
        panic!("no end");
    };
    let bare = measure(|| {
        let mut answer = answer.clone();
        drop(answer.call(Request::new(Empty::new())));
    });
    exchange();
    let mut frames = 0;
    let all = measure(|| frames = exchange());
    (all.count_total - bare.count_total, frames)
}

fn events(events: usize) -> Answer {
    Answer {
        events,
        waits: false,
        content_type: "text/event-stream",
    }
}

fn waiting(events: usize) -> Answer {
    Answer {
        waits: true,
        ..self::events(events)
    }
}

fn of_other_type(events: usize) -> Answer {
    Answer {
        content_type: "application/x-ndjson",
        ..self::events(events)
    }
}

fn keep_alive() -> KeepAliveLayer<TokioTimer> {
    KeepAliveLayer::new(SECOND).unwrap()
}

fn drain() -> DrainLayer<fn() -> Pending<()>, TokioTimer> {
    let signal = pending as fn() -> _;
    let layer = DrainLayer::builder(signal, SECOND, TokioTimer);
    layer.refuse_late(SECOND).build().unwrap()
}

fn idle_timeout() -> IdleTimeoutLayer<TokioTimer> {
    IdleTimeoutLayer::new(SECOND).unwrap()
}

#[test]
fn what_is_skipped_allocates_nothing() {
    for events in [1, 1_000] {
        let answer = of_other_type(events);
        assert_eq!(allocations(&keep_alive(), &answer), (0, events));
        assert_eq!(allocations(&drain(), &answer), (0, events));
        assert_eq!(allocations(&idle_timeout(), &answer), (0, events));
    }
}

#[test]
fn what_is_not_skipped_allocates_once_on_tokios_timer_too() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    for count in [1, 1_000] {
        for answer in [events(count), waiting(count)] {
            // What follows a stream is in a place of its own.
            assert_eq!(allocations(&keep_alive(), &answer), (1, count));
            assert_eq!(allocations(&drain(), &answer), (1, count));
            assert_eq!(allocations(&idle_timeout(), &answer), (0, count));
        }
    }
}

/// Each sleep is over at once.
#[derive(Clone)]
struct Rushed;

impl Timer for Rushed {
    type Sleep = Ready<()>;

    fn sleep(&self, _: Duration) -> Self::Sleep {
        ready(())
    }
}

#[test]
fn a_comment_allocates_nothing() {
    let layer = KeepAliveLayer::builder(SECOND, Rushed).build().unwrap();
    for count in [1, 1_000] {
        // One before each event, and one before the end.
        let expected = (1, 2 * count + 1);
        assert_eq!(allocations(&layer, &waiting(count)), expected);
    }
}

#[test]
fn a_drain_allocates_what_it_puts_in() {
    let retry = DrainLayer::builder(pending::<()>, SECOND, Rushed)
        .retry_between(SECOND, 2 * SECOND)
        .build()
        .unwrap();
    // What follows the stream, the line, and the same in its own size.
    assert_eq!(allocations(&retry, &events(1)), (3, 2));
    let late = DrainLayer::builder(|| ready(()), SECOND, TokioTimer);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    assert_eq!(allocations(&late.build().unwrap(), &events(9)), (1, 1));
}

#[test]
fn a_body_carries_no_more_than_this() {
    type Inner = [u64; 4];
    type Signal = Pending<()>;
    let bodies = [
        size_of::<KeepAliveBody<Inner, Rushed>>(),
        size_of::<DrainBody<Inner, Signal, Rushed>>(),
        size_of::<IdleTimeoutBody<Inner, Rushed>>(),
    ];
    // The last beside the timer's sleep, which is a byte or two here.
    assert_eq!(bodies.map(|size| size - size_of::<Inner>()), [8, 16, 48]);
}
