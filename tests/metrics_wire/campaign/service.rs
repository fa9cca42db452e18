//! A service that does what is planned, and writes down what becomes of it.

use std::{
    collections::VecDeque,
    future::pending,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncReadExt, spawn, sync::Notify, task::yield_now};
use tower::service_fn;
use tower_passthrough::observe::{Outcome, Tunnel};

use super::{
    client::Seen,
    plan::{Answer, Keeps, Plan, Step, Then, total},
};
use crate::{
    common::Broken,
    net::{BoxError, Served},
};

/// All plans, and what becomes of each.
pub(crate) struct Ledger {
    pub(crate) plans: Vec<Plan>,
    pub(crate) records: Vec<Record>,
    /// How many tasks serve a tunnel.
    pub(crate) open_tunnels: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct Record {
    story: Mutex<Story>,
    pub(crate) called: Notify,
}

/// What becomes of an exchange.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    pub(crate) calls: usize,
    pub(crate) status: Option<u16>,
    /// What the body has yielded before the exchange was over.
    pub(crate) bytes: u64,
    pub(crate) grpc_status: Option<usize>,
    pub(crate) outcome: Option<Outcome>,
    /// What the client saw of it, if it was not interrupted.
    pub(crate) seen: Option<Seen>,
}

impl Ledger {
    pub(crate) fn new(plans: Vec<Plan>) -> Self {
        Self {
            records: plans.iter().map(|_| Record::default()).collect(),
            plans,
            open_tunnels: AtomicUsize::new(0),
        }
    }

    pub(crate) fn stories(&self) -> Vec<Story> {
        self.records.iter().map(|it| it.story().clone()).collect()
    }
}

impl Record {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn saw(&self, seen: Seen) {
        self.story().seen = Some(seen);
    }
}

impl Story {
    /// It has one end: the first.
    fn ends(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }
}

/// An exchange, as the service has it.
#[derive(Clone)]
struct Task {
    ledger: Arc<Ledger>,
    index: usize,
}

impl Task {
    fn plan(&self) -> &Plan {
        &self.ledger.plans[self.index]
    }

    fn record(&self) -> &Record {
        &self.ledger.records[self.index]
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.record().story()
    }

    /// Without the hook that prints it.
    fn panic(&self) -> ! {
        self.story().ends(Outcome::Panicked);
        resume_unwind(Box::new("planned"));
    }
}

pub(crate) fn service(ledger: Arc<Ledger>) -> impl Served {
    service_fn(move |request: Request<Incoming>| {
        let index = request.headers()["x-index"].to_str().unwrap();
        let task = Task {
            ledger: Arc::clone(&ledger),
            index: index.parse().unwrap(),
        };
        task.story().calls += 1;
        task.record().called.notify_one();
        if let Then::PanicInCall = task.plan().does.then {
            task.panic();
        }
        let awaited = Awaited(task);
        async move { answer(awaited, request).await }
    })
}

/// If it is dropped, the client did not wait.
struct Awaited(Task);

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut story = self.0.story();
        if story.status.is_none() {
            story.ends(Outcome::Cancelled);
        }
    }
}

async fn answer(
    awaited: Awaited,
    mut request: Request<Incoming>,
) -> Result<Response<Scripted>, BoxError> {
    let task = &awaited.0;
    let does = &task.plan().does;
    if does.reads_upload && !reads(request.body_mut()).await {
        task.story().ends(Outcome::ServiceError);
        return Err(Broken.into());
    }
    for _ in 0..does.waits {
        yield_now().await;
    }
    match &does.then {
        Then::Hang => pending().await,
        Then::Panic | Then::PanicInCall => task.panic(),
        Then::Fail => {
            task.story().ends(Outcome::ServiceError);
            Err(Broken.into())
        }
        Then::Answer(answer) => Ok(head(task, answer, request)),
    }
}

/// Whether all of the request came.
async fn reads(body: &mut Incoming) -> bool {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

fn head(task: &Task, answer: &Answer, request: Request<Incoming>) -> Response<Scripted> {
    let ask = task.plan().ask;
    let mut response = Response::builder()
        .status(answer.status)
        .header("content-type", answer.content_type);
    if let Some(length) = answer.declares {
        response = response.header("content-length", length);
    }
    if let Some(code) = answer.grpc_status {
        response = response.header("grpc-status", code);
    }
    if answer.status == 101 {
        response = response.header("connection", "upgrade");
        response = response.header("upgrade", "test");
    }

    let body = Scripted {
        task: task.clone(),
        steps: answer.steps.iter().copied().collect(),
        is_exact: answer.is_exact,
        shows_end: answer.shows_end,
        announced: if answer.has_no_content_to(ask) {
            Some(0)
        } else {
            answer.announces().map(|bytes| bytes as u64)
        },
        _tunnel: keep(task, answer.keeps, request),
    };
    let mut story = task.story();
    story.status = Some(answer.status);
    story.grpc_status = answer.grpc_status;
    if answer.is_tunnel_to(ask) {
        story.ends(Outcome::Upgraded);
    } else if body.is_end_stream() {
        story.ends(Outcome::Complete);
    }
    drop(story);
    response.body(body).unwrap()
}

/// Gives back the tunnel if it is the body that keeps it.
fn keep(task: &Task, keeps: Keeps, mut request: Request<Incoming>) -> Option<Tunnel> {
    let tunnel = request.extensions_mut().remove();
    match keeps {
        Keeps::Nobody => None,
        Keeps::Body => tunnel,
        Keeps::ToBegin | Keeps::ToEnd => {
            task.ledger.open_tunnels.fetch_add(1, Ordering::SeqCst);
            let is_kept = keeps == Keeps::ToEnd;
            spawn(dig(task.clone(), request, tunnel, is_kept));
            None
        }
    }
}

/// Serves a tunnel until its client leaves.
async fn dig(task: Task, request: Request<Incoming>, tunnel: Option<Tunnel>, is_kept: bool) {
    let upgraded = upgrade::on(request).await;
    let tunnel = tunnel.filter(|_| is_kept);
    if let Ok(upgraded) = upgraded {
        let mut read = Vec::new();
        // Cut short or not, it is over.
        let _ = TokioIo::new(upgraded).read_to_end(&mut read).await;
    }
    drop(tunnel);
    task.ledger.open_tunnels.fetch_sub(1, Ordering::SeqCst);
}

fn trailers(grpc_status: Option<usize>) -> HeaderMap {
    let name = grpc_status.map_or("x-checksum", |_| "grpc-status");
    let value = grpc_status.unwrap_or(42).into();
    HeaderMap::from_iter([(HeaderName::from_static(name), value)])
}

/// A response body that does what is planned.
struct Scripted {
    task: Task,
    steps: VecDeque<Step>,
    is_exact: bool,
    shows_end: bool,
    /// As many bytes are all that the server needs.
    announced: Option<u64>,
    _tunnel: Option<Tunnel>,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let step = self.steps.pop_front();
        let shows_end = self.is_end_stream();
        let mut story = self.task.story();
        match step {
            Some(Step::Data(bytes)) => {
                if story.outcome.is_none() {
                    story.bytes += bytes as u64;
                }
                if shows_end {
                    story.ends(Outcome::Complete);
                }
                Poll::Ready(Some(Ok(Frame::data(vec![b'x'; bytes].into()))))
            }
            Some(Step::Wait) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Hold) => {
                drop(story);
                self.steps.push_front(Step::Hold);
                Poll::Pending
            }
            Some(Step::Trailers(code)) => {
                if story.outcome.is_none() {
                    story.grpc_status = code.or(story.grpc_status);
                }
                story.ends(Outcome::Complete);
                Poll::Ready(Some(Ok(Frame::trailers(trailers(code)))))
            }
            Some(Step::Error) => {
                story.ends(Outcome::BodyError);
                Poll::Ready(Some(Err(Broken)))
            }
            Some(Step::Panic) => {
                drop(story);
                self.task.panic()
            }
            None => {
                story.ends(Outcome::Complete);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.shows_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_exact {
            let (steps, more) = self.steps.as_slices();
            SizeHint::with_exact((total(steps) + total(more)) as u64)
        } else {
            SizeHint::default()
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let mut story = self.task.story();
        let is_settled = self.announced.is_some_and(|bytes| story.bytes >= bytes);
        story.ends(if is_settled {
            Outcome::Complete
        } else {
            Outcome::Disconnected
        });
    }
}
