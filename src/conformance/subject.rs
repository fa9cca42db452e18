//! What is checked, whatever its types are.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    ScriptedBody,
    log::{Failure, Given, Hints},
};
use crate::error::BoxError;

/// A wrapped service, its types forgotten.
pub(super) trait Subject<'a> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>>;
    fn call(&mut self, request: Request<ScriptedBody>) -> SubjectFuture<'a>;
}

pub(super) type SubjectFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<BoxBody<'a>>, Failure>> + 'a>>;

pub(super) type BoxBody<'a> = Box<dyn SubjectBody + 'a>;

pub(super) trait SubjectBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Given;
    fn hints(&self) -> Hints;
}

/// A service as a [`Subject`].
pub(super) struct Worn<S>(pub(super) S);

impl<'a, S, B> Subject<'a> for Worn<S>
where
    S: Service<Request<ScriptedBody>, Response = Response<B>> + 'a,
    S::Error: Into<BoxError>,
    B: Body + 'a,
    B::Error: Into<BoxError>,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(cx).map_err(Failure::new)
    }

    fn call(&mut self, request: Request<ScriptedBody>) -> SubjectFuture<'a> {
        let mut future = Some(Box::pin(self.0.call(request)));
        // Not an `async` block: that drops what panics while it unwinds, and a future that panics
        // at that, too, would end the process.
        Box::pin(poll_fn(move |cx| {
            let Some(polled) = future.as_mut().map(|future| future.as_mut().poll(cx)) else {
                return Poll::Pending;
            };
            let answer = ready!(polled);
            // As `await` does.
            future = None;
            Poll::Ready(match answer {
                Ok(response) => {
                    Ok(response.map(|body| -> BoxBody<'a> { Box::new(Box::pin(body)) }))
                }
                Err(error) => Err(Failure::new(error)),
            })
        }))
    }
}

impl<B> SubjectBody for Pin<Box<B>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Given {
        Given::new(self.as_mut().poll_frame(cx))
    }

    fn hints(&self) -> Hints {
        Hints::of(self)
    }
}
