//! A scripted body, and an observer that writes down all that it is told.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower_passthrough::{
    RequestHead, ResponseHead,
    observe::{MakeObserver, Moment, Observer, Outcome},
};

/// What a [`Script`] does at one poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Yields as many bytes.
    Data(usize),
    /// Yields this.
    Text(&'static str),
    Pending,
    Trailers,
    Error,
    Panic,
}

/// What a [`Script`] says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Unknown,
    /// Just as many bytes as are still to come.
    Exact,
    /// As many, whatever comes.
    Claimed(u64),
}

/// When a [`Script`] says that it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As soon as it is.
    Shown,
    /// Never.
    Hidden,
    /// Always.
    Claimed,
}

impl End {
    pub(crate) fn says(self, is_over: bool) -> bool {
        match self {
            Self::Shown => is_over,
            Self::Hidden => false,
            Self::Claimed => true,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// A body that does step by step what it is told, then yields `None` at every poll.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) size: Size,
    pub(crate) end: End,
    /// What [`Step::Trailers`] yields.
    pub(crate) trailers: HeaderMap,
    /// How often this body was polled after it had yielded `None` or an error.
    pub(crate) polls_after_end: Arc<AtomicUsize>,
    /// How many clones of this body were dropped.
    pub(crate) drops: Arc<AtomicUsize>,
    over: bool,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>, size: Size, end: End) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            size,
            end,
            trailers: trailers(),
            polls_after_end: Arc::default(),
            drops: Arc::default(),
            over: false,
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(
        HeaderName::from_static("x-checksum"),
        HeaderValue::from_static("42"),
    )])
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.over {
            self.polls_after_end.fetch_add(1, Ordering::SeqCst);
        }
        match self.steps.pop_front() {
            Some(Step::Data(len)) => Poll::Ready(Some(Ok(Frame::data(vec![b'x'; len].into())))),
            Some(Step::Text(text)) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(self.trailers.clone())))),
            Some(Step::Error) => {
                self.over = true;
                Poll::Ready(Some(Err(Broken)))
            }
            Some(Step::Panic) => panic!("scripted"),
            None => {
                self.over = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end.says(self.steps.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self.size {
            Size::Unknown => SizeHint::default(),
            Size::Exact => SizeHint::with_exact(
                self.steps
                    .iter()
                    .map(|step| match step {
                        Step::Data(len) => *len as u64,
                        Step::Text(text) => text.len() as u64,
                        _ => 0,
                    })
                    .sum(),
            ),
            Size::Claimed(len) => SizeHint::with_exact(len),
        }
    }
}

pub(crate) const OUTCOMES: [Outcome; 7] = [
    Outcome::Complete,
    Outcome::Upgraded,
    Outcome::BodyError,
    Outcome::Disconnected,
    Outcome::ServiceError,
    Outcome::Cancelled,
    Outcome::Panicked,
];

/// Says that more is left in it than fits into any memory.
pub(crate) struct Huge;

impl Buf for Huge {
    fn remaining(&self) -> usize {
        usize::MAX
    }

    fn chunk(&self) -> &[u8] {
        &[]
    }

    fn advance(&mut self, _: usize) {}
}

/// What an observer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Response(StatusCode),
    Data(usize),
    Trailers,
    End(Outcome),
}

/// A [`MakeObserver`] that writes down what the observers of all its exchanges are told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    log: Arc<Mutex<Vec<(Told, Instant)>>>,
}

impl Watch {
    pub(crate) fn told(&self) -> Vec<Told> {
        self.log().iter().map(|(told, _)| *told).collect()
    }

    /// All outcomes that were told: more than one for one exchange is a fault.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |told| match told {
            Told::End(outcome) => Some(outcome),
            _ => None,
        };
        self.told().into_iter().filter_map(outcome).collect()
    }

    /// When each thing is said to have happened.
    pub(crate) fn moments(&self) -> Vec<(Told, Instant)> {
        self.log().clone()
    }

    fn log(&self) -> MutexGuard<'_, Vec<(Told, Instant)>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, told: Told, at: &Moment) {
        self.log().push((told, at.instant()));
    }
}

impl MakeObserver for Watch {
    type Observer = Self;

    fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> {
        Some(self.clone())
    }
}

impl Observer for Watch {
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        self.write(Told::Response(head.status), at);
    }

    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        self.write(Told::Data(data.remaining()), at);
    }

    fn on_trailers(&mut self, _: &HeaderMap, at: &Moment) {
        self.write(Told::Trailers, at);
    }

    fn on_end(self, outcome: Outcome, at: &Moment) {
        self.write(Told::End(outcome), at);
    }
}

/// What one poll of a body gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    Pending,
    Data(Bytes),
    Trailers(HeaderMap),
    Error,
    End,
}

pub(crate) fn poll_body<B>(body: &mut B, cx: &mut Context<'_>) -> Given
where
    B: Body<Data = Bytes> + Unpin,
{
    match Pin::new(body).poll_frame(cx) {
        Poll::Pending => Given::Pending,
        Poll::Ready(None) => Given::End,
        Poll::Ready(Some(Err(_))) => Given::Error,
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Given::Data(data),
            Err(frame) => Given::Trailers(frame.into_trailers().unwrap_or_default()),
        },
    }
}

/// What a body says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hints {
    pub(crate) lower: u64,
    pub(crate) upper: Option<u64>,
    pub(crate) is_end_stream: bool,
}

pub(crate) fn hints<B: Body>(body: &B) -> Hints {
    let size = body.size_hint();
    Hints {
        lower: size.lower(),
        upper: size.upper(),
        is_end_stream: body.is_end_stream(),
    }
}
