//! The body of a saboteur, each part with its honest form.

use std::{
    cell::RefCell,
    error::Error,
    fmt, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::{Body, Frame, SizeHint};
use tower_passthrough::conformance::{ScriptedBody, ScriptedError};

use super::{BoxError, Memory, StreamHooks};

/// What one poll of a body gives.
pub(crate) enum Got {
    Pending,
    Data(Bytes),
    Trailers(HeaderMap),
    Failed(BoxError),
    End,
}

impl From<Poll<Option<Result<Frame<Bytes>, ScriptedError>>>> for Got {
    fn from(polled: Poll<Option<Result<Frame<Bytes>, ScriptedError>>>) -> Self {
        match polled {
            Poll::Pending => Self::Pending,
            Poll::Ready(None) => Self::End,
            Poll::Ready(Some(Err(error))) => Self::Failed(error.into()),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Self::Data(data),
                Err(frame) => Self::Trailers(frame.into_trailers().unwrap()),
            },
        }
    }
}

impl Got {
    pub(crate) fn on_data(self, data: impl FnOnce(Bytes) -> Self) -> Self {
        match self {
            Self::Data(of) => data(of),
            other => other,
        }
    }

    pub(crate) fn on_trailers(self, trailers: impl FnOnce(HeaderMap) -> Self) -> Self {
        match self {
            Self::Trailers(of) => trailers(of),
            other => other,
        }
    }

    pub(crate) fn on_error(self, error: impl FnOnce(BoxError) -> Self) -> Self {
        match self {
            Self::Failed(of) => error(of),
            other => other,
        }
    }
}

/// A body of [`Sabotaged`], of a request or of a response.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may be a fault's condition"
)]
pub(crate) struct Stream {
    /// `None` when it was taken away.
    pub(crate) inner: Option<ScriptedBody>,
    hooks: StreamHooks,
    /// Outlives this body, as its future does.
    pub(crate) keeper: Rc<RefCell<Vec<ScriptedBody>>>,
    pub(crate) memory: Rc<Memory>,
    pub(super) number: usize,
    /// The request's.
    pub(crate) method: Method,
    /// What was said before the first poll.
    pub(crate) first_size: SizeHint,
    /// How often it was polled before.
    pub(crate) polls: usize,
    /// How many frames of data it gave, and how long the last was.
    pub(crate) frames: usize,
    pub(crate) last_len: usize,
    /// The last poll gave nothing.
    pub(crate) is_paused: bool,
    /// There was a pause before.
    pub(crate) has_paused: bool,
    pub(crate) is_over: bool,
    pub(crate) has_failed: bool,
    /// What was taken before it was asked for.
    pub(crate) ahead: Option<Got>,
    first_waker: Option<Waker>,
}

impl Stream {
    pub(super) fn new(
        inner: ScriptedBody,
        hooks: StreamHooks,
        method: Method,
        memory: Rc<Memory>,
        keeper: Rc<RefCell<Vec<ScriptedBody>>>,
    ) -> Self {
        Self {
            first_size: inner.size_hint(),
            inner: Some(inner),
            hooks,
            keeper,
            memory,
            number: 0,
            method,
            polls: 0,
            frames: 0,
            last_len: 0,
            is_paused: false,
            has_paused: false,
            is_over: false,
            has_failed: false,
            ahead: None,
            first_waker: None,
        }
    }

    pub(crate) fn ask(&mut self, cx: &mut Context<'_>) -> Got {
        if let Some(ahead) = self.ahead.take() {
            return ahead;
        }
        let Some(inner) = &mut self.inner else {
            return Got::End;
        };
        Got::from(Pin::new(inner).poll_frame(cx))
    }

    /// Takes what comes next, if it is there, for the next [`ask`](Self::ask).
    pub(crate) fn take_ahead(&mut self, cx: &mut Context<'_>) {
        self.ahead = match self.ask(cx) {
            Got::Pending => None,
            got => Some(got),
        };
    }

    pub(crate) fn ask_size(&self) -> SizeHint {
        let inner = self.inner.as_ref().map(Body::size_hint).unwrap_or_default();
        match (inner.exact(), &self.ahead) {
            (Some(left), Some(Got::Data(data))) => SizeHint::with_exact(left + data.len() as u64),
            _ => inner,
        }
    }

    pub(crate) fn ask_end(&self) -> bool {
        match &self.ahead {
            None | Some(Got::End) => self.inner.as_ref().is_none_or(Body::is_end_stream),
            Some(_) => false,
        }
    }

    /// How much is left, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.ask_size().exact()
    }

    pub(crate) fn is_newest(&self) -> bool {
        self.number == self.memory.streams.get()
    }

    /// Keeps what should be dropped.
    pub(crate) fn keep(&mut self) {
        mem::forget(self.inner.take());
    }

    /// Gives it to the one that outlives this body.
    pub(crate) fn hand_back(&mut self) {
        self.keeper.borrow_mut().extend(self.inner.take());
    }

    pub(crate) fn first_waker(&mut self, cx: &Context<'_>) -> Waker {
        let first = self.first_waker.get_or_insert_with(|| cx.waker().clone());
        first.clone()
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let got = (this.hooks.frame)(this, cx);
        this.polls += 1;
        this.is_paused = matches!(got, Got::Pending);
        this.has_paused |= this.is_paused;
        this.is_over |= matches!(got, Got::End);
        this.has_failed |= matches!(got, Got::Failed(_));
        Poll::Ready(match got {
            Got::Pending => return Poll::Pending,
            Got::Data(data) => {
                this.frames += 1;
                this.last_len = data.len();
                Some(Ok(Frame::data(data)))
            }
            Got::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Got::Failed(error) => Some(Err(error)),
            Got::End => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        (self.hooks.size)(self)
    }

    fn is_end_stream(&self) -> bool {
        (self.hooks.end)(self)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.number > 0 {
            self.memory.open.set(self.memory.open.get() - 1);
        }
        (self.hooks.drop)(self);
    }
}

/// An error that has nothing of the service's.
#[derive(Debug)]
pub(crate) struct Foreign;

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something went wrong")
    }
}

impl Error for Foreign {}
