//! The body that ends between two events.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    error::BoxError,
    quiet::Quiet,
    sse::{
        Scanner,
        splice::{Cut, Splice},
    },
    timer::Timer,
};

/// A stream that is always ready is asked so often for frames before the signal is looked for: that
/// may take a lock.
const PATIENCE: u8 = 16;

pin_project! {
    /// The body of [`DrainLayer`](super::DrainLayer).
    pub struct DrainBody<B, S, T: Timer> {
        // `None` once nothing more is to come of it: it is let go by then.
        #[pin]
        inner: Option<B>,
        // Apart, so that the bodies which pass untouched, most of all, are hardly larger for it.
        stream: Option<Pin<Box<Stream<S, T>>>>,
    }
}

pin_project! {
    /// An event stream that is ended when it is time.
    struct Stream<S, T: Timer> {
        #[pin]
        phase: Phase<S, T>,
        timer: T,
        grace: Duration,
        // Whether the signal had come before the stream began.
        is_late: bool,
        patience: u8,
        splice: Splice,
        retry: Option<Bytes>,
    }
}

pin_project! {
    #[project = PhaseProjection]
    enum Phase<S, T: Timer> {
        // Until the signal comes.
        Open { #[pin] signal: S },
        // Until the grace period is over.
        Drained { #[pin] grace: Quiet<T> },
    }
}

/// What a poll of a [`Stream`] gives, and whether it is the last.
enum Polled<D> {
    Next(Option<Result<Frame<D>, BoxError>>),
    Last(Option<Result<Frame<D>, BoxError>>),
}

impl<B, S, T: Timer> DrainBody<B, S, T> {
    /// Around a stream that is to end when this signal comes; that had come before, if there is
    /// none.
    pub(super) fn new(
        inner: B,
        signal: Option<S>,
        grace: Duration,
        timer: T,
        retry: Option<Bytes>,
    ) -> Self
    where
        T: Clone,
    {
        Self {
            inner: Some(inner),
            stream: Some(Box::pin(Stream {
                is_late: signal.is_none(),
                phase: match signal {
                    Some(signal) => Phase::Open { signal },
                    None => Phase::Drained {
                        grace: Quiet::new(timer.clone(), grace),
                    },
                },
                timer,
                grace,
                patience: PATIENCE,
                splice: Splice::default(),
                retry,
            })),
        }
    }

    pub(super) fn untouched(inner: B) -> Self {
        Self {
            inner: Some(inner),
            stream: None,
        }
    }

    pub(super) fn none() -> Self {
        Self {
            inner: None,
            stream: None,
        }
    }
}

impl<B, S, T> Body for DrainBody<B, S, T>
where
    B: Body,
    B::Data: From<Bytes>,
    B::Error: Into<BoxError>,
    S: Future<Output = ()>,
    T: Timer + Clone,
{
    type Data = B::Data;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let Some(stream) = this.stream else {
            let polled = ready!(inner.poll_frame(cx));
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        };
        Poll::Ready(match ready!(stream.as_mut().poll_frame(inner, cx)) {
            Polled::Next(polled) => polled,
            Polled::Last(polled) => {
                this.inner.set(None);
                polled
            }
        })
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        let has_retry = |stream: &Pin<Box<Stream<S, T>>>| stream.retry.is_some();
        self.inner.as_ref().is_none_or(Body::is_end_stream)
            && !self.stream.as_ref().is_some_and(has_retry)
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        let Some(inner) = &self.inner else {
            return SizeHint::with_exact(0);
        };
        let inner = inner.size_hint();
        let Some(stream) = &self.stream else {
            return inner;
        };
        let retry = stream.retry.as_ref().map_or(0, Bytes::len) as u64;
        let (_, more) = stream.splice.slack();
        // It may end before its time, at any length.
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(retry + more));
        }
        hint
    }
}

impl<S: Future<Output = ()>, T: Timer + Clone> Stream<S, T> {
    // In one piece, though it is long: taken apart, a frame costs 20 to 50 instructions more
    // (`benches/instructions.rs`).
    fn poll_frame<B>(
        self: Pin<&mut Self>,
        mut inner: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Polled<B::Data>>
    where
        B: Body,
        B::Data: From<Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut this = self.project();
        if let Some(line) = this.retry.take() {
            this.splice.insert();
            return Poll::Ready(Polled::Next(Some(Ok(Frame::data(line.into())))));
        }
        loop {
            if let PhaseProjection::Drained { grace } = this.phase.as_mut().project() {
                if may_end(*this.is_late, this.splice.scanner()) {
                    return Poll::Ready(Polled::Last(None));
                }
                if grace.poll(cx).is_ready() {
                    return Poll::Ready(Polled::Last(cut_off(this.splice.scanner())));
                }
            }
            let mut look = |cx: &mut Context<'_>| {
                let PhaseProjection::Open { signal } = this.phase.as_mut().project() else {
                    return Poll::Pending;
                };
                ready!(signal.poll(cx));
                let grace = Quiet::new(this.timer.clone(), *this.grace);
                this.phase.set(Phase::Drained { grace });
                Poll::Ready(())
            };
            let data = match inner.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Polled::Last(Some(Ok(trailers)))),
                },
                Poll::Ready(end) => {
                    return Poll::Ready(Polled::Last(end.map(|end| end.map_err(Into::into))));
                }
                Poll::Pending => {
                    ready!(look(cx));
                    continue;
                }
            };
            *this.patience -= 1;
            if *this.patience == 0 {
                *this.patience = PATIENCE;
                let _: Poll<()> = look(cx);
            }
            let next = |data| Polled::Next(Some(Ok(Frame::data(data))));
            let polled = match *this.phase {
                Phase::Open { .. } => this.splice.pass(data).map(next),
                Phase::Drained { .. } => {
                    let may_end = |scanner: &Scanner| may_end(*this.is_late, scanner);
                    this.splice.cut(data, may_end).map(|cut| match cut {
                        Cut::End(data) => Polled::Last(Some(Ok(Frame::data(data)))),
                        Cut::None(data) => next(data),
                    })
                }
            };
            if let Some(polled) = polled {
                return Poll::Ready(polled);
            }
        }
    }
}

/// One that began after the signal still gives its client something, or that would come back for it
/// again and again.
fn may_end(is_late: bool, scanner: &Scanner) -> bool {
    scanner.is_between_events() && (!is_late || scanner.events() > 0)
}

fn cut_off<D>(scanner: &Scanner) -> Option<Result<D, BoxError>> {
    (!scanner.is_between_events()).then(|| Err(DrainError(()).into()))
}

impl<B: fmt::Debug, S, T: Timer> fmt::Debug for DrainBody<B, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainBody")
            .field("inner", &self.inner)
            .field("is_event_stream", &self.stream.is_some())
            .finish_non_exhaustive()
    }
}

/// The event that was under way when the signal came was not over within the grace period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainError(());

impl fmt::Display for DrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event stream was cut off to shut down, with an event under way")
    }
}

impl Error for DrainError {}
