//! Every way in which an exchange can end, driven by hand: which outcome is told, when, and that
//! it is told once.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod common;
#[path = "outcomes/lies.rs"]
mod lies;
#[path = "outcomes/moments.rs"]
mod moments;
#[path = "outcomes/pairs.rs"]
mod pairs;
#[path = "outcomes/panics.rs"]
mod panics;
#[path = "outcomes/tunnels.rs"]
mod tunnels;

use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use common::{
    Broken, End, Given, Script, Size,
    Step::{self, Data, Error, Pending, Trailers},
    Told, Watch, hints, poll_body,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::Empty;
use tower::{Layer, Service, service_fn, util::ServiceFn};
use tower_passthrough::{
    RequestHead,
    observe::{
        MakeObserver, Moment, Observe, ObserveLayer, Observer,
        Outcome::{self, BodyError, Cancelled, Complete, Disconnected, ServiceError},
        ResponseBody, Tunnel,
    },
};

type Incoming = Request<Empty<Bytes>>;

/// What a body may say of itself without a lie.
const HINTS: [(Size, End); 4] = [
    (Size::Unknown, End::Hidden),
    (Size::Unknown, End::Shown),
    (Size::Exact, End::Hidden),
    (Size::Exact, End::Shown),
];

const GET: Exchange = Exchange {
    method: Method::GET,
    status: StatusCode::OK,
    content_length: None,
    steps: &[],
    polls: 0,
    told: &[],
};

const HEAD: Exchange = Exchange {
    method: Method::HEAD,
    ..GET
};

/// An exchange whose body is polled a few times, then dropped.
#[derive(Debug)]
struct Exchange {
    method: Method,
    status: StatusCode,
    content_length: Option<&'static [u8]>,
    steps: &'static [Step],
    polls: usize,
    /// What the observer must be told between the head and the end.
    told: &'static [Told],
}

/// At which act of the server the observer is told of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    /// The first poll of the body is number 1.
    Poll(usize),
    Drop,
}

impl Exchange {
    /// Asserts the end for a body that says this of itself.
    #[track_caller]
    fn ends_with(&self, (size, end): (Size, End), at: At, outcome: Outcome) {
        let mut expected = vec![Told::Response(self.status)];
        expected.extend(self.told);
        expected.push(Told::End(outcome));
        let (ended, told) = self.play(size, end);
        assert_eq!(told, expected, "told, with {size:?}, {end:?}: {self:?}");
        assert_eq!(ended, [at], "ended, with {size:?}, {end:?}: {self:?}");
    }

    /// Asserts the end for each of [`HINTS`].
    #[track_caller]
    fn ends(&self, ends: [(At, Outcome); 4]) {
        for (hints, (at, outcome)) in HINTS.into_iter().zip(ends) {
            self.ends_with(hints, at, outcome);
        }
    }

    /// Asserts that it ends in this way whatever the body says of itself.
    #[track_caller]
    fn always_ends(&self, at: At, outcome: Outcome) {
        self.ends([(at, outcome); 4]);
    }

    /// Plays the exchange, and asserts on the way that the body is handed on as it is. Returns
    /// when the observer was told of an end, and all that it was told.
    #[track_caller]
    fn play(&self, size: Size, end: End) -> (Vec<At>, Vec<Told>) {
        let watch = Watch::default();
        let mut ended = Vec::new();
        let mut note = |at| ended.resize(watch.outcomes().len(), at);

        let mut bare = Script::new(self.steps.iter().cloned(), size, end);
        let script = Script::new(self.steps.iter().cloned(), size, end);
        let drops = Arc::clone(&script.drops);
        let mut response = Response::new(script);
        *response.status_mut() = self.status;
        if let Some(value) = self.content_length {
            let value = HeaderValue::from_bytes(value).unwrap();
            response.headers_mut().insert(CONTENT_LENGTH, value);
        }
        let mut request = Request::new(Empty::new());
        *request.method_mut() = self.method.clone();

        let mut body = answer(&watch, request, response).into_body();
        note(At::Head);
        assert_eq!(hints(&body), hints(&bare), "at the head: {self:?}");
        for poll in 1..=self.polls {
            assert_eq!(next(&mut body), next(&mut bare), "poll {poll}: {self:?}");
            note(At::Poll(poll));
            assert_eq!(hints(&body), hints(&bare), "after poll {poll}: {self:?}");
        }
        drop(body);
        note(At::Drop);
        assert_eq!(drops.load(Ordering::SeqCst), 1, "drops: {self:?}");
        (ended, watch.told())
    }
}

/// A watched service.
fn watched<M: Clone, F>(make: &M, service: F) -> Observe<ServiceFn<F>, M> {
    ObserveLayer::new(make.clone()).layer(service_fn(service))
}

/// What a watched service hands to the server if it answers with this response.
fn answer<M: MakeObserver + Clone, B: Body>(
    make: &M,
    request: Incoming,
    response: Response<B>,
) -> Response<ResponseBody<B, M::Observer>> {
    let mut response = Some(response);
    let answer = move |_: Incoming| ready(Ok::<_, Infallible>(response.take().unwrap()));
    match poll(pin!(watched(make, answer).call(request))) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => unreachable!("it is ready"),
    }
}

/// A watched body, as it comes from a service that answers 200 to GET.
fn watched_body<M: MakeObserver + Clone>(
    make: &M,
    steps: impl IntoIterator<Item = Step>,
) -> ResponseBody<Script, M::Observer> {
    let script = Script::new(steps, Size::Unknown, End::Hidden);
    answer(make, Incoming::default(), Response::new(script)).into_body()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Given {
    poll_body(body, &mut Context::from_waker(Waker::noop()))
}

fn frames<B: Body<Data = Bytes> + Unpin>(body: &mut B, polls: usize) -> Vec<Given> {
    (0..polls).map(|_| next(body)).collect()
}

fn bytes(len: usize) -> Given {
    Given::Data(vec![b'x'; len].into())
}

// No head.

#[test]
fn service_error_ends_before_a_head() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        ready(Err::<Response<Script>, _>(Broken))
    });
    let mut future = pin!(service.call(Incoming::default()));
    assert_eq!(watch.told(), []);
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Err(Broken))));
    assert_eq!(watch.told(), [Told::End(ServiceError)]);
}

#[test]
fn service_error_after_pending_ends_before_a_head() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| async {
        tokio::task::yield_now().await;
        Err::<Response<Script>, _>(Broken)
    });
    let mut future = Box::pin(service.call(Incoming::default()));
    assert!(poll(future.as_mut()).is_pending());
    assert_eq!(watch.told(), []);
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Err(Broken))));
    assert_eq!(watch.told(), [Told::End(ServiceError)]);
    drop(future);
    assert_eq!(watch.told(), [Told::End(ServiceError)]);
}

#[test]
fn future_dropped_before_the_head_is_cancelled() {
    for polls in [0, 1, 2] {
        let watch = Watch::default();
        let mut service = watched(&watch, |_: Incoming| {
            pending::<Result<Response<Script>, Infallible>>()
        });
        let mut future = Box::pin(service.call(Incoming::default()));
        for _ in 0..polls {
            assert!(poll(future.as_mut()).is_pending());
        }
        assert_eq!(watch.told(), [], "after {polls} polls");
        drop(future);
        assert_eq!(watch.told(), [Told::End(Cancelled)], "after {polls} polls");
    }
}

#[test]
fn future_with_a_head_that_nobody_polled_for_is_cancelled() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        ready(Ok::<_, Infallible>(
            Response::new(Empty::<Bytes>::default()),
        ))
    });
    drop(service.call(Incoming::default()));
    assert_eq!(watch.told(), [Told::End(Cancelled)]);
}

#[test]
fn service_dropped_before_its_future_ends_nothing() {
    let watch = Watch::default();
    let mut service = watched(&watch, |_: Incoming| {
        ready(Ok::<_, Infallible>(
            Response::new(Empty::<Bytes>::default()),
        ))
    });
    let future = service.call(Incoming::default());
    drop(service);
    assert_eq!(watch.told(), []);
    assert!(poll(pin!(future)).is_ready());
    assert_eq!(
        watch.told(),
        [Told::Response(StatusCode::OK), Told::End(Complete)]
    );
}

// A body that is never polled.

#[test]
fn response_to_head_that_is_never_polled_is_complete() {
    for content_length in [None, Some(b"5".as_slice()), Some(b"7"), Some(b"0")] {
        Exchange {
            content_length,
            steps: &[Data(5)],
            ..HEAD
        }
        .always_ends(At::Drop, Complete);
    }
}

#[test]
fn status_without_content_that_is_never_polled_is_complete() {
    for status in [103, 204, 304] {
        Exchange {
            status: StatusCode::from_u16(status).unwrap(),
            steps: &[Data(5)],
            ..GET
        }
        .always_ends(At::Drop, Complete);
    }
}

#[test]
fn status_with_content_that_is_never_polled_is_disconnected() {
    for status in [200, 203, 205, 206, 303, 305, 404, 500, 999] {
        Exchange {
            status: StatusCode::from_u16(status).unwrap(),
            steps: &[Data(5)],
            ..GET
        }
        .always_ends(At::Drop, Disconnected);
    }
}

#[test]
fn empty_body_that_is_never_polled_is_complete_if_it_says_that_it_is_empty() {
    GET.ends([
        (At::Drop, Disconnected),
        (At::Head, Complete),
        (At::Drop, Complete),
        (At::Head, Complete),
    ]);
}

#[test]
fn empty_body_that_is_never_polled_is_complete_if_the_head_says_that_it_is_empty() {
    Exchange {
        content_length: Some(b"0"),
        ..GET
    }
    .ends([
        (At::Drop, Complete),
        (At::Head, Complete),
        (At::Drop, Complete),
        (At::Head, Complete),
    ]);
}

#[test]
fn empty_answer_to_head_ends_at_the_head_if_it_says_that_it_is_empty() {
    HEAD.ends([
        (At::Drop, Complete),
        (At::Head, Complete),
        (At::Drop, Complete),
        (At::Head, Complete),
    ]);
}

// A body that has none by its head, but is polled.

#[test]
fn response_to_head_that_is_polled_once_is_complete() {
    Exchange {
        steps: &[Data(5)],
        polls: 1,
        told: &[Told::Data(5)],
        ..HEAD
    }
    .ends([
        (At::Drop, Complete),
        (At::Poll(1), Complete),
        (At::Drop, Complete),
        (At::Poll(1), Complete),
    ]);
}

#[test]
fn response_to_head_that_is_polled_to_its_end_is_complete() {
    Exchange {
        steps: &[Data(3), Pending, Data(2)],
        polls: 4,
        told: &[Told::Data(3), Told::Data(2)],
        ..HEAD
    }
    .ends([
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
    ]);
}

#[test]
fn response_to_head_that_is_pending_is_complete() {
    Exchange {
        steps: &[Pending, Data(5)],
        polls: 1,
        ..HEAD
    }
    .always_ends(At::Drop, Complete);
}

#[test]
fn response_to_head_whose_body_fails_is_a_body_error() {
    Exchange {
        steps: &[Data(5), Error],
        polls: 2,
        told: &[Told::Data(5)],
        ..HEAD
    }
    .always_ends(At::Poll(2), BodyError);
}

#[test]
fn status_without_content_that_is_polled_is_complete() {
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        Exchange {
            status,
            steps: &[Data(3), Data(2)],
            polls: 1,
            told: &[Told::Data(3)],
            ..GET
        }
        .always_ends(At::Drop, Complete);
        Exchange {
            status,
            steps: &[Data(3), Trailers],
            polls: 2,
            told: &[Told::Data(3), Told::Trailers],
            ..GET
        }
        .always_ends(At::Poll(2), Complete);
    }
}

// Dropped mid-stream.

#[test]
fn drop_before_first_frame_is_disconnected() {
    Exchange {
        steps: &[Data(3), Data(2)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_after_first_frame_is_disconnected() {
    Exchange {
        steps: &[Data(3), Data(2)],
        polls: 1,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_while_pending_before_first_frame_is_disconnected() {
    Exchange {
        steps: &[Pending, Data(5)],
        polls: 1,
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_while_pending_after_first_frame_is_disconnected() {
    Exchange {
        steps: &[Data(3), Pending, Data(2)],
        polls: 2,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_after_an_empty_frame_is_disconnected() {
    Exchange {
        steps: &[Data(0), Data(5)],
        polls: 1,
        told: &[Told::Data(0)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

#[test]
fn drop_one_byte_short_of_the_content_length_is_disconnected() {
    Exchange {
        content_length: Some(b"6"),
        steps: &[Data(3), Data(2), Data(1)],
        polls: 2,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .always_ends(At::Drop, Disconnected);
}

// Dropped when all that was announced had been handed over.

#[test]
fn drop_after_the_content_length_is_complete() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(3), Pending, Data(2)],
        polls: 3,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .ends([
        (At::Drop, Complete),
        (At::Poll(3), Complete),
        (At::Drop, Complete),
        (At::Poll(3), Complete),
    ]);
}

#[test]
fn drop_after_the_exact_size_is_complete() {
    Exchange {
        steps: &[Data(3), Data(2)],
        polls: 2,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .ends([
        // Nothing tells this one from a client that left.
        (At::Drop, Disconnected),
        (At::Poll(2), Complete),
        (At::Drop, Complete),
        (At::Poll(2), Complete),
    ]);
}

#[test]
fn drop_between_the_content_length_and_the_trailers_is_complete() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(3), Data(2), Trailers],
        polls: 2,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .always_ends(At::Drop, Complete);
}

#[test]
fn drop_while_pending_after_the_content_length_is_complete() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(5), Pending, Trailers],
        polls: 2,
        told: &[Told::Data(5)],
        ..GET
    }
    .always_ends(At::Drop, Complete);
}

// Polled to its end.

#[test]
fn none_is_complete() {
    Exchange {
        steps: &[Data(3), Pending, Data(2)],
        polls: 4,
        told: &[Told::Data(3), Told::Data(2)],
        ..GET
    }
    .ends([
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
        (At::Poll(4), Complete),
        (At::Poll(3), Complete),
    ]);
}

#[test]
fn none_at_the_first_poll_is_complete() {
    Exchange { polls: 1, ..GET }.ends([
        (At::Poll(1), Complete),
        (At::Head, Complete),
        (At::Poll(1), Complete),
        (At::Head, Complete),
    ]);
}

#[test]
fn none_after_pending_is_complete() {
    Exchange {
        steps: &[Data(5), Pending],
        polls: 3,
        told: &[Told::Data(5)],
        ..GET
    }
    .always_ends(At::Poll(3), Complete);
}

#[test]
fn trailers_are_complete() {
    Exchange {
        steps: &[Data(3), Pending, Trailers],
        polls: 3,
        told: &[Told::Data(3), Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(3), Complete);
}

#[test]
fn trailers_without_data_are_complete() {
    Exchange {
        steps: &[Trailers],
        polls: 1,
        told: &[Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(1), Complete);
}

#[test]
fn trailers_after_the_content_length_are_told() {
    Exchange {
        content_length: Some(b"5"),
        steps: &[Data(3), Data(2), Trailers],
        polls: 3,
        told: &[Told::Data(3), Told::Data(2), Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(3), Complete);
}

#[test]
fn error_is_a_body_error() {
    Exchange {
        steps: &[Data(3), Pending, Error],
        polls: 3,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Poll(3), BodyError);
}

#[test]
fn error_before_first_frame_is_a_body_error() {
    Exchange {
        steps: &[Error, Data(5)],
        polls: 1,
        ..GET
    }
    .always_ends(At::Poll(1), BodyError);
}

#[test]
fn error_after_the_content_length_is_a_body_error() {
    Exchange {
        content_length: Some(b"3"),
        steps: &[Data(3), Error],
        polls: 2,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Poll(2), BodyError);
}

// After the end.

#[test]
fn what_comes_after_the_end_is_handed_on_and_not_told() {
    Exchange {
        steps: &[Data(3), Error, Data(2), Pending, Trailers],
        polls: 8,
        told: &[Told::Data(3)],
        ..GET
    }
    .always_ends(At::Poll(2), BodyError);
    Exchange {
        steps: &[Data(3), Trailers, Data(2), Error],
        polls: 6,
        told: &[Told::Data(3), Told::Trailers],
        ..GET
    }
    .always_ends(At::Poll(2), Complete);
}

#[test]
fn polls_after_the_end_reach_the_body_one_for_one() {
    for steps in [&[Data(3)], &[Error]] {
        for polls in 0..6 {
            let mut bare = Script::new(steps.clone(), Size::Exact, End::Shown);
            let script = Script::new(steps.clone(), Size::Exact, End::Shown);
            let after_end = Arc::clone(&script.polls_after_end);
            let watch = Watch::default();
            let mut body = answer(&watch, Incoming::default(), Response::new(script)).into_body();

            assert_eq!(frames(&mut body, polls), frames(&mut bare, polls));
            assert_eq!(
                after_end.load(Ordering::SeqCst),
                bare.polls_after_end.load(Ordering::SeqCst),
                "{polls} polls of {steps:?}"
            );
            drop(body);
            assert_eq!(watch.outcomes().len(), 1, "{polls} polls of {steps:?}");
        }
    }
}

// What is dropped first.

/// Asks, when told of the end, how many scripts were dropped.
#[derive(Debug, Clone, Default)]
struct Witness {
    drops: Arc<AtomicUsize>,
    drops_at_end: Arc<Mutex<Vec<usize>>>,
}

impl MakeObserver for Witness {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Witness {
    fn on_end(self, _: Outcome, _: &Moment) {
        let drops = self.drops.load(Ordering::SeqCst);
        self.drops_at_end.lock().unwrap().push(drops);
    }
}

#[test]
fn body_is_let_go_before_its_drop_is_told() {
    let script = Script::new([Data(3)], Size::Unknown, End::Hidden);
    let witness = Witness {
        drops: Arc::clone(&script.drops),
        ..Witness::default()
    };
    drop(answer(&witness, Incoming::default(), Response::new(script)));
    assert_eq!(*witness.drops_at_end.lock().unwrap(), [1]);
}

#[test]
fn future_is_let_go_before_its_drop_is_told() {
    let script = Script::new([Data(3)], Size::Unknown, End::Hidden);
    let witness = Witness {
        drops: Arc::clone(&script.drops),
        ..Witness::default()
    };
    let mut script = Some(script);
    let mut service = watched(&witness, |_: Incoming| {
        ready(Ok::<_, Infallible>(Response::new(script.take().unwrap())))
    });
    drop(service.call(Incoming::default()));
    assert_eq!(*witness.drops_at_end.lock().unwrap(), [1]);
}

// Not watched.

/// Watches nothing, and counts the requests that it let pass.
#[derive(Debug, Clone, Default)]
struct Blind(Arc<AtomicUsize>);

impl MakeObserver for Blind {
    type Observer = Watch;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Watch> {
        self.0.fetch_add(1, Ordering::SeqCst);
        None
    }
}

#[test]
fn unwatched_exchange_is_handed_on_as_it_is() {
    let blind = Blind::default();
    let steps = [Data(3), Pending, Data(2), Trailers];
    let mut body = watched_body(&blind, steps.clone());
    let mut bare = Script::new(steps, Size::Unknown, End::Hidden);
    assert_eq!(frames(&mut body, 7), frames(&mut bare, 7));
    assert_eq!(blind.0.load(Ordering::SeqCst), 1);
}

#[test]
fn unwatched_request_gets_no_tunnel() {
    let mut service = watched(&Blind::default(), |request: Incoming| {
        assert!(request.extensions().get::<Tunnel>().is_none());
        ready(Ok::<_, Infallible>(
            Response::new(Empty::<Bytes>::default()),
        ))
    });
    let mut request = Incoming::default();
    *request.method_mut() = Method::CONNECT;
    assert!(poll(pin!(service.call(request))).is_ready());
}
