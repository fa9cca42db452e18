//! The body of a scripted service.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    log::{Actor, Exchange, ExchangeSeen, Failure, Given},
    script::{BodyScript, Size, Step, body, trailers},
};

/// The error of scripted services and bodies.
///
/// A layer may wrap it, if it stays in the chain of [`source`](std::error::Error::source)s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptedError(());

impl ScriptedError {
    pub(super) const fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for ScriptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted error")
    }
}

impl std::error::Error for ScriptedError {}

/// The body of a check's request and of the scripted service's response.
///
/// Its error is [`ScriptedError`]. [`Default`] gives an empty one, which no check watches.
#[derive(Debug)]
pub struct ScriptedBody {
    steps: VecDeque<Step>,
    size: Size,
    shows_end: bool,
    exchange: Arc<Exchange>,
    role: Role,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Request,
    Response,
}

impl Role {
    fn of(self, seen: &mut ExchangeSeen) -> &mut Actor {
        match self {
            Self::Request => &mut seen.request_body,
            Self::Response => &mut seen.response_body,
        }
    }
}

impl ScriptedBody {
    pub(super) fn new(script: BodyScript, exchange: Arc<Exchange>, role: Role) -> Self {
        Self {
            steps: script.steps.into(),
            size: script.size,
            shows_end: script.shows_end,
            exchange,
            role,
        }
    }
}

impl Default for ScriptedBody {
    fn default() -> Self {
        Self::new(body([]).exact(), Arc::default(), Role::Response)
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        self.role.of(&mut self.exchange.seen()).dropped = true;
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = ScriptedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptedError>>> {
        let this = &mut *self;
        let mut waker = Some(cx.waker().clone());
        let mut seen = this.exchange.seen();
        let actor = this.role.of(&mut seen);
        actor.poll();
        if let Some(Step::Wait) = this.steps.front() {
            ready!(actor.wait(&mut waker));
            this.steps.pop_front();
        }
        let (given, frame) = match this.steps.pop_front() {
            Some(Step::Data(template)) => {
                let data = Bytes::from(template.to_vec());
                (Given::data(data.clone()), Some(Ok(Frame::data(data))))
            }
            Some(Step::Trailers) => {
                let frame = Frame::trailers(trailers());
                (Given::Trailers(trailers()), Some(Ok(frame)))
            }
            Some(Step::Error) => {
                let error = ScriptedError::new();
                (Given::Error(Failure::new(error)), Some(Err(error)))
            }
            // Two waits in a row are one.
            Some(Step::Wait) | None => (Given::End, None),
        };
        actor.given.push(given);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.shows_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        match self.size {
            Size::Unknown => {}
            Size::Exact => hint.set_exact(self.steps.iter().map(Step::len).sum()),
            Size::Between(lower, upper) => {
                hint.set_upper(upper);
                hint.set_lower(lower);
            }
        }
        hint
    }
}
