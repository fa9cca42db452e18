//! What decides how an exchange ends, and tells it once.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Instant,
};

use bytes::Buf;
use http::{HeaderMap, Response, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};

use super::{Moment, Observer, Outcome};
use crate::{
    ResponseHead,
    head::{Asked, decimal},
    unwind,
};

/// Owns an exchange's observer and alone decides when and how its exchange ends.
///
/// It moves from the call to the future to the body (or the tunnel). Wherever it is dropped with
/// its observer still inside, the exchange ends there.
pub(super) struct Guard<O: Observer> {
    /// `None` if the exchange is not watched, or is over.
    observer: Option<O>,
    progress: Progress,
}

/// How far the exchange has come, and so what a drop at this point means.
#[derive(Debug)]
enum Progress {
    /// There is no head yet.
    Awaited,
    /// The body is under way, and owes as many bytes as were announced and have not come. If none
    /// were announced it owes more than [`LONGEST`], so that every frame is counted alike.
    Owing(u64),
    /// All that was announced has come, the last of it at this instant. A server may drop the
    /// body here, or may poll on and find trailers or even data.
    Settled(Instant),
    /// The connection is a tunnel.
    Tunnelled,
}

/// The greatest length that is told from an endless one: eight exbibytes. That a body without a
/// length hands over as much, and is then taken for one that had it, takes a body that lies.
const LONGEST: u64 = u64::MAX / 2;

impl<O: Observer> Guard<O> {
    pub(super) fn new(observer: Option<O>) -> Self {
        Self {
            observer,
            progress: Progress::Awaited,
        }
    }

    pub(super) fn is_watching(&self) -> bool {
        self.observer.is_some()
    }

    pub(super) fn take(&mut self) -> Self {
        mem::replace(self, Self::new(None))
    }

    pub(super) fn into_observer(mut self) -> Option<O> {
        self.observer.take()
    }

    // Out of line, so that the path of a frame that is not the last stays short.
    #[cold]
    #[inline(never)]
    pub(super) fn end(&mut self, outcome: Outcome, at: &Moment) {
        if let Some(observer) = self.observer.take() {
            tell(observer, outcome, at);
        }
    }

    /// If what is done with the guard from here on unwinds, the exchange ends as panicked, there
    /// and then: a `catch_unwind` further out may keep the remains for long, or poll them again.
    pub(super) fn armed(&mut self) -> Armed<'_, O> {
        Armed { guard: self }
    }

    #[inline]
    pub(super) fn on_response<B: Body>(&mut self, response: &Response<B>, asked: Asked) {
        let Some(observer) = &mut self.observer else {
            return;
        };
        let at = Moment::new();
        let head = ResponseHead::new(response, asked);
        observer.on_response(&head, &at);

        self.progress = if head.tunnel {
            Progress::Tunnelled
        } else if response.body().is_end_stream() {
            return self.end(Outcome::Complete, &at);
        } else if asked.has_no_content(head.status) {
            Progress::Settled(at.instant())
        } else {
            match announced(head.headers, &head.body_size) {
                None => Progress::Owing(u64::MAX),
                Some(0) => Progress::Settled(at.instant()),
                Some(owed) => Progress::Owing(owed.min(LONGEST)),
            }
        };
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.progress, Progress::Tunnelled)
    }

    /// Tells of a data frame. `is_end_stream` is that of the body that yielded it.
    #[inline]
    pub(super) fn on_data<D: Buf>(&mut self, data: &D, is_end_stream: impl FnOnce() -> bool) {
        if let Some(observer) = &mut self.observer {
            let at = Moment::new();
            observer.on_data(data, &at);
            if is_end_stream() {
                self.end(Outcome::Complete, &at);
            } else {
                self.progress.count(data.remaining(), &at);
            }
        }
    }

    /// Tells of a frame that is not data.
    #[cold]
    pub(super) fn on_other<D>(&mut self, frame: &Frame<D>) {
        if let (Some(observer), Some(trailers)) = (&mut self.observer, frame.trailers_ref()) {
            let at = Moment::new();
            observer.on_trailers(trailers, &at);
            self.end(Outcome::Complete, &at);
        }
    }
}

impl Progress {
    #[inline]
    fn count(&mut self, bytes: usize, at: &Moment) {
        if let Self::Owing(owed) = self {
            if let Some(left @ 1..) = owed.checked_sub(bytes as u64) {
                *owed = left;
                return;
            }
        }
        self.settle(at);
    }

    /// All that was owed has come, now or before. Out of line, as it is for the last frame only.
    #[cold]
    fn settle(&mut self, at: &Moment) {
        if let Self::Owing(..=LONGEST) | Self::Settled(_) = self {
            *self = Self::Settled(at.instant());
        }
    }

    fn if_dropped(&self) -> (Outcome, Moment) {
        match *self {
            Self::Awaited => (Outcome::Cancelled, Moment::new()),
            Self::Owing(_) => (Outcome::Disconnected, Moment::new()),
            Self::Settled(at) => (Outcome::Complete, Moment::from(at)),
            Self::Tunnelled => (Outcome::Upgraded, Moment::new()),
        }
    }
}

impl<O: Observer> Drop for Guard<O> {
    fn drop(&mut self) {
        if self.is_watching() {
            let (outcome, at) = self.progress.if_dropped();
            self.end(outcome, &at);
        }
    }
}

impl<O: Observer> fmt::Debug for Guard<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("watching", &self.is_watching())
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// See [`Guard::armed`].
pub(super) struct Armed<'a, O: Observer> {
    pub(super) guard: &'a mut Guard<O>,
}

impl<O: Observer> Armed<'_, O> {
    #[inline]
    pub(super) fn disarm(self) {
        mem::forget(self);
    }
}

impl<O: Observer> Drop for Armed<'_, O> {
    #[cold]
    fn drop(&mut self) {
        self.guard.end(Outcome::Panicked, &Moment::new());
    }
}

/// Ends an observer's exchange such that a panic in its `on_end` cannot meet another one: a
/// second panic while the first unwinds would abort the process.
fn tell<O: Observer>(observer: O, outcome: Outcome, at: &Moment) {
    if thread::panicking() {
        tell_amid_panic(observer, outcome, at);
    } else {
        observer.on_end(outcome, at);
    }
}

#[cold]
#[inline(never)]
fn tell_amid_panic<O: Observer>(observer: O, outcome: Outcome, at: &Moment) {
    let told = catch_unwind(AssertUnwindSafe(|| observer.on_end(outcome, at)));
    told.unwrap_or_else(unwind::discard);
}

/// Ends an observer's exchange when it is dropped: at the end of a scope, even if by a panic.
pub(super) struct ToldAtDrop<'a, O: Observer> {
    observer: Option<O>,
    outcome: Outcome,
    at: &'a Moment,
}

impl<'a, O: Observer> ToldAtDrop<'a, O> {
    pub(super) fn new(observer: O, outcome: Outcome, at: &'a Moment) -> Self {
        Self {
            observer: Some(observer),
            outcome,
            at,
        }
    }
}

impl<O: Observer> Drop for ToldAtDrop<'_, O> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take() {
            tell(observer, self.outcome, self.at);
        }
    }
}

/// The length at which a server may stop polling: the head's `content-length` (RFC 9110 §8.6) or
/// the body's exact size. If the two disagree, a server may go by either.
fn announced(headers: &HeaderMap, hint: &SizeHint) -> Option<u64> {
    match (content_length(headers), hint.exact()) {
        (Some(length), Some(exact)) => Some(u64::min(length, exact)),
        (length, exact) => length.or(exact),
    }
}

/// Fields that do not agree announce nothing: no recipient may go by one of them (RFC 9112 §6.3).
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(&CONTENT_LENGTH).iter().map(decimal);
    let length = lengths.next()??;
    lengths.all(|other| other == Some(length)).then_some(length)
}
