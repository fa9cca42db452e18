//! [`IdleTimeoutLayer`]: limits the gap between two frames of a response body.
//!
//! An upstream that stops in mid-stream, without a word, keeps its client waiting for ever, and what
//! both hold. A timeout on the whole exchange would cut every long stream; this one lets a stream
//! go on for as long as it does go on.
//!
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use std::time::Duration;
//! use tower_passthrough::timeout::IdleTimeoutLayer;
//!
//! let layer = IdleTimeoutLayer::new(Duration::from_secs(60))?;
//! # let _ = layer;
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! # What is measured
//!
//! How long the body has had nothing to give while the server asked for more. A client that reads
//! slowly does not count against the service: the body is asked first, and a frame that is there
//! passes, however late the server asks. The time runs from the head, or the last frame, on; to be
//! exact, from the first time that the server asked in vain since. Whatever frame comes begins it
//! anew, an empty one too. The time to the response head is not limited.
//!
//! It is never shorter than the limit, and longer by what the timer and the runtime are late.
//!
//! # How it ends
//!
//! The body yields an [`IdleTimeoutError`]: the server breaks the connection or resets the stream,
//! and the client can tell that something is missing. A clean end would tell it that this was all.
//! Observers outside of this layer see [`BodyError`](crate::observe::Outcome::BodyError), those
//! inside [`Disconnected`](crate::observe::Outcome::Disconnected), once the server drops the body.
//!
//! As the body has errors of its own, its error is a box; `downcast_ref` tells which it is. Frames,
//! `size_hint` and `is_end_stream` are the inner body's until then.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;

#[cfg(feature = "tokio")]
use crate::timer::TokioTimer;
use crate::{
    BuildError,
    alter::{Alter, Alteration, Note},
    error::BoxError,
    quiet::Quiet,
    timer::Timer,
};

/// Ends a response body with an error if no frame comes for too long.
///
/// See the [module docs](self) for what is measured.
#[derive(Debug, Clone)]
pub struct IdleTimeoutLayer<T> {
    limit: Duration,
    timer: T,
}

#[cfg(feature = "tokio")]
impl IdleTimeoutLayer<TokioTimer> {
    /// Allows gaps of up to `limit`, on tokio's timer.
    ///
    /// # Errors
    ///
    /// `limit` is zero.
    ///
    /// # Panics
    ///
    /// A body that is polled outside of a tokio runtime with time enabled panics: [`TokioTimer`].
    pub fn new(limit: Duration) -> Result<Self, BuildError> {
        Self::with_timer(limit, TokioTimer)
    }
}

impl<T: Timer> IdleTimeoutLayer<T> {
    /// Allows gaps of up to `limit`, on this timer.
    ///
    /// # Errors
    ///
    /// `limit` is zero.
    pub fn with_timer(limit: Duration, timer: T) -> Result<Self, BuildError> {
        if limit.is_zero() {
            return Err(BuildError::new(
                "idle timeout: the limit is zero, which no body could keep",
            ));
        }
        Ok(Self { limit, timer })
    }
}

impl<S, T: Clone> Layer<S> for IdleTimeoutLayer<T> {
    type Service = Alter<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Alter::new(inner, self.clone())
    }
}

impl<B, T: Timer + Clone> Note<B> for IdleTimeoutLayer<T> {
    fn note(&self, _: &mut Request<B>) {}
}

impl<T: Timer + Clone> Alteration for IdleTimeoutLayer<T> {
    type Noted = ();
    type Body<B> = IdleTimeoutBody<B, T>;

    fn alter<B: Body>(
        &self,
        response: Response<B>,
        (): &(),
        _: &mut Context<'_>,
    ) -> Response<Self::Body<B>> {
        response.map(|inner| IdleTimeoutBody {
            inner,
            quiet: Quiet::new(self.timer.clone(), self.limit),
            is_over: false,
        })
    }
}

pin_project! {
    /// The body of [`IdleTimeoutLayer`].
    pub struct IdleTimeoutBody<B, T: Timer> {
        #[pin]
        inner: B,
        #[pin]
        quiet: Quiet<T>,
        is_over: bool,
    }
}

impl<B, T> Body for IdleTimeoutBody<B, T>
where
    B: Body,
    B::Error: Into<BoxError>,
    T: Timer,
{
    type Data = B::Data;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        if *this.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(polled) = this.inner.poll_frame(cx) {
            this.quiet.break_off();
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        }
        ready!(this.quiet.as_mut().poll(cx));
        *this.is_over = true;
        let limit = this.quiet.limit();
        Poll::Ready(Some(Err(IdleTimeoutError { limit }.into())))
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        if self.is_over {
            SizeHint::with_exact(0)
        } else {
            self.inner.size_hint()
        }
    }
}

impl<B: fmt::Debug, T: Timer> fmt::Debug for IdleTimeoutBody<B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleTimeoutBody")
            .field("inner", &self.inner)
            .field("quiet", &self.quiet)
            .field("is_over", &self.is_over)
            .finish()
    }
}

/// A body had no frame to give for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdleTimeoutError {
    /// For how long it may have none.
    pub limit: Duration,
}

impl fmt::Display for IdleTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response body was idle for {:?}", self.limit)
    }
}

impl Error for IdleTimeoutError {}
