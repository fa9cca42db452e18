//! The future that is watched: from the call to the head.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    Moment, Observer, Outcome, ResponseBody,
    guard::Guard,
    tunnel::{self, Entrance},
};
use crate::head::Asked;

pin_project! {
    /// The future of [`Observe`](super::Observe): carries the exchange from the call to the body.
    pub struct ResponseFuture<F, O>
    where
        O: Observer,
    {
        // Dropped before the guard: what the service does for a client that left ends first.
        #[pin]
        inner: F,
        guard: Guard<O>,
        asked: Asked,
        entrance: Option<Entrance>,
    }
}

impl<F, O: Observer> ResponseFuture<F, O> {
    pub(super) fn new(inner: F, guard: Guard<O>, asked: Asked, entrance: Option<Entrance>) -> Self {
        Self {
            inner,
            guard,
            asked,
            entrance,
        }
    }
}

impl<F, B, E, O> Future for ResponseFuture<F, O>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    O: Observer,
{
    type Output = Result<Response<ResponseBody<B, O>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let armed = this.guard.armed();
        let polled = this.inner.poll(cx).map(|answer| match answer {
            Ok(response) => {
                armed.guard.on_response(&response, *this.asked);
                if armed.guard.is_tunnel() {
                    tunnel::enter(this.entrance.take(), armed.guard.take());
                }
                Ok(response.map(|body| ResponseBody::new(body, armed.guard.take())))
            }
            Err(error) => {
                armed.guard.end(Outcome::ServiceError, &Moment::new());
                Err(error)
            }
        });
        armed.disarm();
        polled
    }
}

impl<F: fmt::Debug, O: Observer> fmt::Debug for ResponseFuture<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("inner", &self.inner)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}
