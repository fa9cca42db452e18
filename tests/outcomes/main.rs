//! Every way in which an exchange can end, driven by hand: which outcome is told, when, and that
//! it is told once.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod bodiless;
#[path = "../common/mod.rs"]
mod common;
mod dropped;
mod ended;
mod headless;
mod lies;
mod moments;
mod pairs;
mod panics;
mod released;
mod tunnels;
mod unwatched;

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use common::{
    End, Given, Script, Size,
    Step::{self},
    Told, Watch, hints, poll_body,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::Empty;
use tower::{Layer, Service, service_fn, util::ServiceFn};
use tower_passthrough::{
    RequestHead,
    observe::{
        MakeObserver, Moment, Observe, ObserveLayer,
        Outcome::{self},
        ResponseBody,
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
