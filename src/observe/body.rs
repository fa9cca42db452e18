//! The body that is watched.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Moment, Observer, Outcome, guard::Guard};

pin_project! {
    /// The pass-through body: hands on all that the inner body says and yields, as it is and when
    /// it comes, and lets an [`Observer`] watch.
    ///
    /// It buffers nothing, allocates nothing, wakes nobody, and asks nothing of the inner body:
    /// not `Send`, not `'static`, not `Unpin`, any `Data`, any `Error`. After its end it is as
    /// pollable as the inner body is.
    ///
    /// [`Default`] gives an unwatched default body.
    pub struct ResponseBody<B, O>
    where
        O: Observer,
    {
        // Dropped before the guard, so that the inner body is let go before anyone is told.
        #[pin]
        inner: B,
        guard: Guard<O>,
    }
}

impl<B, O: Observer> ResponseBody<B, O> {
    pub(super) fn new(inner: B, guard: Guard<O>) -> Self {
        Self { inner, guard }
    }
}

impl<B: Body, O: Observer> Body for ResponseBody<B, O> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let armed = this.guard.armed();
        // Data is looked at on its way through, not in place: a reference into the result would
        // force all of it through memory once more at each frame.
        let polled = match this.inner.as_mut().poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(data) => {
                    armed.guard.on_data(&data, || this.inner.is_end_stream());
                    Frame::data(data)
                }
                Err(frame) => {
                    armed.guard.on_other(&frame);
                    frame
                }
            }))),
            Poll::Ready(Some(Err(error))) => {
                armed.guard.end(Outcome::BodyError, &Moment::new());
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                armed.guard.end(Outcome::Complete, &Moment::new());
                Poll::Ready(None)
            }
        };
        armed.disarm();
        polled
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default, O: Observer> Default for ResponseBody<B, O> {
    fn default() -> Self {
        Self::new(B::default(), Guard::new(None))
    }
}

impl<B: fmt::Debug, O: Observer> fmt::Debug for ResponseBody<B, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("inner", &self.inner)
            .field("guard", &self.guard)
            .finish()
    }
}
