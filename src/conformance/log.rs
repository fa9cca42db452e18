//! What was seen: of the scripted service and bodies from within, of the wrapped ones from outside.

use std::{
    collections::VecDeque,
    error::Error,
    fmt, mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    ScriptedError,
    script::{Readiness, Script},
};
use crate::{error::BoxError, unwind::caught};

/// More polls than any check makes: a layer that polls on and on is stopped there, by a panic that
/// the check catches.
const ENDLESS: usize = 1_000;

/// All that is shared between the clones of one scripted service and the check that runs it.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) script: Script,
    seen: Mutex<ServiceSeen>,
}

#[derive(Debug)]
pub(super) struct ServiceSeen {
    pub(super) ready: VecDeque<Readiness>,
    pub(super) readiness: Actor,
    /// One for each call of the wrapped service that has not reached the scripted one yet.
    pub(super) awaited: VecDeque<Arc<Exchange>>,
    /// For each call, whether it was made on a service that had said it was ready.
    pub(super) calls: Vec<bool>,
    pub(super) infallible: bool,
}

impl Journal {
    pub(super) fn new(script: Script) -> Arc<Self> {
        let ready = script.ready.iter().copied().collect();
        Arc::new(Self {
            script,
            seen: Mutex::new(ServiceSeen {
                ready,
                readiness: Actor::default(),
                awaited: VecDeque::new(),
                calls: Vec::new(),
                infallible: false,
            }),
        })
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, ServiceSeen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was seen of one exchange from within.
#[derive(Debug, Default)]
pub(super) struct Exchange(Mutex<ExchangeSeen>);

#[derive(Debug, Default)]
pub(super) struct ExchangeSeen {
    /// The head that the service was called with.
    pub(super) request: Option<http::request::Parts>,
    pub(super) future: Actor,
    /// The future has resolved.
    pub(super) answered: bool,
    pub(super) request_body: Actor,
    pub(super) response_body: Actor,
    /// What the service's future read of the request body, as it came out of the layer.
    pub(super) read: Vec<Read>,
    /// The request body was pending when the client's was not, or when that had given something.
    pub(super) read_late: bool,
}

#[derive(Debug)]
pub(super) struct Read {
    pub(super) before: Hints,
    pub(super) given: Given,
    pub(super) after: Hints,
    /// How often the client's body had been polled when this came.
    pub(super) polls: usize,
    /// How many bytes of it are not where the client's body had put them.
    pub(super) copied: usize,
}

impl Exchange {
    pub(super) fn seen(&self) -> MutexGuard<'_, ExchangeSeen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was done with something scripted that can be polled.
#[derive(Debug, Default)]
pub(super) struct Actor {
    pub(super) polls: usize,
    /// All that it gave but pending.
    pub(super) given: Vec<Given>,
    pub(super) dropped: bool,
    /// It waits until it is released.
    pub(super) waits: bool,
    released: bool,
    waker: Option<Waker>,
}

impl Actor {
    pub(super) fn poll(&mut self) {
        self.polls += 1;
        assert!(
            self.polls <= ENDLESS,
            "polled {ENDLESS} times: the layer seems to poll on and on"
        );
    }

    /// Waits, unless it has been released. The waker is kept, in exchange for the one before: it
    /// may be anyone's, and is to be dropped when nothing is locked.
    pub(super) fn wait(&mut self, waker: &mut Option<Waker>) -> Poll<()> {
        if self.released {
            self.released = false;
            self.waits = false;
            return Poll::Ready(());
        }
        self.waits = true;
        mem::swap(&mut self.waker, waker);
        Poll::Pending
    }

    /// Lets it go on. The waker is to be woken when nothing is locked. `None` if it does not wait.
    pub(super) fn release(&mut self) -> Option<Waker> {
        if !self.waits {
            return None;
        }
        self.released = true;
        self.waker.take()
    }
}

/// What one poll of a body gave.
#[derive(Debug, Clone)]
pub(super) enum Given {
    Pending,
    Data {
        content: Vec<u8>,
        /// Where the content lies.
        memory: Vec<Range<usize>>,
    },
    Trailers(HeaderMap),
    Error(Failure),
    End,
    Panicked(String),
}

/// An error, as it came out of the layer.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) message: String,
    has_source: bool,
}

impl Failure {
    pub(super) const SOURCE: &'static str = "the service's error among the sources";

    /// [`Failure::SOURCE`], or what there is instead.
    pub(super) fn source(&self) -> String {
        if self.has_source {
            return Self::SOURCE.to_owned();
        }
        format!("only `{}`", self.message)
    }

    pub(super) fn new(error: impl Into<BoxError>) -> Self {
        let error: BoxError = error.into();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
        let mut has_source = false;
        while let Some(error) = cause {
            has_source |= error.is::<ScriptedError>();
            cause = error.source();
        }
        Self {
            message: error.to_string(),
            has_source,
        }
    }
}

impl Given {
    pub(super) fn new<D: Buf, E: Into<BoxError>>(
        polled: Poll<Option<Result<Frame<D>, E>>>,
    ) -> Self {
        let frame = match polled {
            Poll::Pending => return Self::Pending,
            Poll::Ready(None) => return Self::End,
            Poll::Ready(Some(Err(error))) => return Self::Error(Failure::new(error)),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        match frame.into_data() {
            Ok(data) => Self::data(data),
            Err(frame) => Self::Trailers(frame.into_trailers().unwrap_or_default()),
        }
    }

    /// How many bytes of this lie elsewhere than in the frames that were given so far.
    ///
    /// The memory of a frame that is gone may be used again, for a copy of a later one. A whole
    /// copy does not fit there: the frames of a script get longer.
    pub(super) fn copied_from(&self, originals: &[Self]) -> usize {
        let Self::Data { memory, .. } = self else {
            return 0;
        };
        let is_within = |part: &&Range<usize>| {
            originals
                .iter()
                .flat_map(|original| match original {
                    Self::Data { memory, .. } => memory.as_slice(),
                    _ => &[],
                })
                .any(|whole| whole.start <= part.start && part.end <= whole.end)
        };
        memory
            .iter()
            .filter(|part| !is_within(part))
            .map(Range::len)
            .sum()
    }

    pub(super) fn data(mut data: impl Buf) -> Self {
        let mut content = Vec::new();
        let mut memory = Vec::new();
        // Not `has_remaining`: a buffer that lies about that would keep the check for ever.
        while let chunk @ [_, ..] = data.chunk() {
            let (start, len) = (chunk.as_ptr().addr(), chunk.len());
            memory.push(start..start + len);
            content.extend_from_slice(chunk);
            data.advance(len);
        }
        Self::Data { content, memory }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Data { content, .. } => write!(f, "{} B", content.len()),
            Self::Trailers(_) => f.write_str("trailers"),
            Self::Error(_) => f.write_str("error"),
            Self::End => f.write_str("end"),
            Self::Panicked(message) => write!(f, "panic: {message}"),
        }
    }
}

/// What a body says of itself, in words. A panic is one of the things it may say.
#[derive(Debug, Clone)]
pub(super) struct Hints {
    pub(super) size: String,
    pub(super) is_end_stream: String,
}

impl Hints {
    pub(super) fn of<B: Body>(body: &B) -> Self {
        let panicked = |panic| format!("panic: {panic}");
        Self {
            size: caught(|| body.size_hint()).map_or_else(panicked, |size| worded(&size)),
            is_end_stream: caught(|| body.is_end_stream())
                .map_or_else(panicked, |is_end| is_end.to_string()),
        }
    }
}

fn worded(size: &SizeHint) -> String {
    match (size.lower(), size.upper()) {
        (lower, Some(upper)) if lower == upper => format!("exactly {lower} B"),
        (0, Some(upper)) => format!("at most {upper} B"),
        (lower, Some(upper)) => format!("{lower} to {upper} B"),
        (0, None) => "unknown".to_owned(),
        (lower, None) => format!("at least {lower} B"),
    }
}
