//! Random bodies under random servers: what comes out of a stack of layers is what went in, and
//! each layer tells the outcome that the truth table says.
#![allow(
    clippy::expect_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod common;

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use common::{End, Given, Hints, Script, Size, Step, Told, Watch, hints, poll_body};
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::Empty;
use proptest::prelude::*;
use tower::{Layer, Service, service_fn};
use tower_passthrough::observe::{ObserveLayer, Outcome};

/// One exchange, from what the service answers to when the server lets go.
#[derive(Debug, Clone)]
struct Case {
    head_only: bool,
    status: StatusCode,
    content_length: Option<u64>,
    steps: Vec<Step>,
    size: Size,
    end: End,
    /// How often the body is polled before it is dropped.
    polls: usize,
    layers: usize,
}

/// All that a server can see of a body: at the head, and after each poll.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    at_head: Hints,
    polls: Vec<Polled>,
}

#[derive(Debug, PartialEq, Eq)]
struct Polled {
    given: Given,
    wakes: usize,
    hints: Hints,
}

/// What one layer's observer was told, and the poll at which the end was among it (0: the head;
/// `None`: it came with the drop).
#[derive(Debug, PartialEq, Eq)]
struct Watched {
    told: Vec<Told>,
    ended_at: Option<usize>,
}

// The oracle. It knows the table, what the service set in the head and what the bare body did.

fn oracle(case: &Case, seen: &Seen) -> Watched {
    let mut told = vec![Told::Response(case.status)];
    let ended = |mut told: Vec<Told>, outcome, ended_at| {
        told.push(Told::End(outcome));
        Watched { told, ended_at }
    };

    // The body says at the head that it is over.
    if seen.at_head.is_end_stream {
        return ended(told, Outcome::Complete, Some(0));
    }

    let mut bytes = 0;
    for (poll, polled) in (1..).zip(&seen.polls) {
        match &polled.given {
            Given::Pending => {}
            Given::End => return ended(told, Outcome::Complete, Some(poll)),
            Given::Error => return ended(told, Outcome::BodyError, Some(poll)),
            Given::Trailers(_) => {
                told.push(Told::Trailers);
                return ended(told, Outcome::Complete, Some(poll));
            }
            Given::Data(data) => {
                told.push(Told::Data(data.len()));
                bytes += data.len() as u64;
                if polled.hints.is_end_stream {
                    return ended(told, Outcome::Complete, Some(poll));
                }
            }
        }
    }

    // It is dropped before its end is known.
    let has_no_content = case.head_only || case.status == 204 || case.status == 304;
    let has_its_content_length = case.content_length.is_some_and(|length| bytes >= length);
    let has_its_exact_size =
        seen.at_head.upper == Some(seen.at_head.lower) && bytes >= seen.at_head.lower;
    let outcome = if has_no_content || has_its_content_length || has_its_exact_size {
        Outcome::Complete
    } else {
        Outcome::Disconnected
    };
    ended(told, outcome, None)
}

// The exchange, bare and watched.

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls a body as often as the case says. `after` is called after the head and after each poll.
fn serve<B>(case: &Case, body: &mut B, mut after: impl FnMut(usize)) -> Seen
where
    B: Body<Data = Bytes> + Unpin,
{
    let count = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&count));
    after(0);
    Seen {
        at_head: hints(body),
        polls: (1..=case.polls)
            .map(|poll| {
                let given = poll_body(body, &mut Context::from_waker(&waker));
                after(poll);
                Polled {
                    given,
                    wakes: count.0.load(Ordering::SeqCst),
                    hints: hints(body),
                }
            })
            .collect(),
    }
}

/// Drives the case through a service, and takes down what its watches were told.
fn drive<S, B>(case: &Case, mut service: S, watches: &[Watch]) -> (Seen, Vec<Watched>)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    let mut request = Request::new(Empty::new());
    if case.head_only {
        *request.method_mut() = Method::HEAD;
    }
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
        unreachable!("the service answers at once");
    };

    let mut ended_at = vec![None; watches.len()];
    let mut body = response.into_body();
    let seen = serve(case, &mut body, |poll| {
        for (watch, ended_at) in watches.iter().zip(&mut ended_at) {
            if ended_at.is_none() && !watch.outcomes().is_empty() {
                *ended_at = Some(poll);
            }
        }
    });
    drop(body);
    let told = watches.iter().map(Watch::told).zip(ended_at);
    let told = told.map(|(told, ended_at)| Watched { told, ended_at });
    (seen, told.collect())
}

fn drive_stack(case: &Case, script: Script) -> (Seen, Vec<Watched>) {
    let mut response = Response::new(script);
    *response.status_mut() = case.status;
    if let Some(length) = case.content_length {
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let mut response = Some(response);
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        ready(Ok(response.take().expect("one request")))
    });

    let [a, b, c] = [(); 3].map(|()| Watch::default());
    let watch = |watch: &Watch| ObserveLayer::new(watch.clone());
    match case.layers {
        1 => drive(case, watch(&a).layer(service), &[a]),
        2 => {
            let service = watch(&b).layer(service);
            drive(case, watch(&a).layer(service), &[a, b])
        }
        _ => {
            let service = watch(&b).layer(watch(&c).layer(service));
            drive(case, watch(&a).layer(service), &[a, b, c])
        }
    }
}

// The cases.

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..6_usize).prop_map(Step::Data),
        4 => Just(Step::Pending),
    ];
    let last = prop_oneof![
        4 => Just(vec![]),
        2 => Just(vec![Step::Trailers]),
        2 => Just(vec![Step::Error]),
        // Beyond what a well-behaved body yields.
        1 => Just(vec![Step::Trailers, Step::Data(2), Step::Error]),
        1 => Just(vec![Step::Error, Step::Pending, Step::Data(2), Step::Trailers]),
    ];
    (prop::collection::vec(step, 0..7), last).prop_map(|(mut steps, last)| {
        steps.extend(last);
        steps
    })
}

/// A length that is mostly the true one, or near it.
fn length(truth: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => Just(truth),
        1 => Just(truth + 1),
        1 => Just(truth.saturating_sub(1)),
        2 => 0..30_u64,
        1 => Just(u64::MAX),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let script = steps().prop_flat_map(|steps| {
        let bytes = steps.iter().map(|step| match step {
            Step::Data(len) => *len as u64,
            _ => 0,
        });
        let bytes = bytes.sum();
        let size = prop_oneof![
            3 => Just(Size::Unknown),
            2 => Just(Size::Exact),
            1 => length(bytes).prop_map(Size::Claimed),
        ];
        let content_length = prop::option::weighted(0.4, length(bytes));
        let polls = 0..=steps.len() + 3;
        (Just(steps), size, content_length, polls)
    });
    let end = prop_oneof![
        6 => Just(End::Hidden),
        4 => Just(End::Shown),
        1 => Just(End::Claimed),
    ];
    let status = prop_oneof![
        5 => Just(StatusCode::OK),
        1 => Just(StatusCode::NO_CONTENT),
        1 => Just(StatusCode::NOT_MODIFIED),
    ];
    (script, end, status, prop::bool::weighted(0.2), 1..=3_usize).prop_map(
        |((steps, size, content_length, polls), end, status, head_only, layers)| Case {
            head_only,
            status,
            content_length,
            steps,
            size,
            end,
            polls,
            layers,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::max(4096, ProptestConfig::default().cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn stack_of_layers_changes_nothing_and_tells_the_outcome(case in case()) {
        let mut bare = Script::new(case.steps.iter().cloned(), case.size, case.end);
        let script = Script::new(case.steps.iter().cloned(), case.size, case.end);
        let drops = Arc::clone(&script.drops);
        let polls_after_end = Arc::clone(&script.polls_after_end);

        let expected = serve(&case, &mut bare, |_| {});
        let (seen, watched) = drive_stack(&case, script);

        prop_assert_eq!(&seen, &expected, "what came out");
        prop_assert_eq!(
            polls_after_end.load(Ordering::SeqCst),
            bare.polls_after_end.load(Ordering::SeqCst),
            "polls after the end"
        );
        prop_assert_eq!(drops.load(Ordering::SeqCst), 1, "drops");
        prop_assert_eq!(watched.len(), case.layers);
        let told = oracle(&case, &expected);
        for (layer, watched) in watched.iter().enumerate() {
            prop_assert_eq!(watched, &told, "layer {} from outside", layer);
        }
    }
}

/// The cases are worth something only if they come to all ends.
#[test]
fn cases_come_to_every_end() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let mut counts = [0; 5];
    for _ in 0..1000 {
        let case = case().new_tree(&mut runner).expect("a case").current();
        let mut bare = Script::new(case.steps.iter().cloned(), case.size, case.end);
        let watched = oracle(&case, &serve(&case, &mut bare, |_| {}));
        let end = match (watched.told.last(), watched.ended_at) {
            (Some(Told::End(Outcome::Complete)), Some(0)) => 0,
            (Some(Told::End(Outcome::Complete)), Some(_)) => 1,
            (Some(Told::End(Outcome::Complete)), None) => 2,
            (Some(Told::End(Outcome::Disconnected)), None) => 3,
            (Some(Told::End(Outcome::BodyError)), Some(_)) => 4,
            other => unreachable!("no such end: {other:?}"),
        };
        counts[end] += 1;
    }
    assert!(
        counts.iter().all(|count| *count >= 30),
        "complete at the head, in a poll, with the drop; disconnected; failed: {counts:?}"
    );
}
