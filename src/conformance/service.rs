//! The service that does what a script says.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    body::{Role, ScriptedBody, ScriptedError},
    log::{Exchange, Given, Hints, Journal, Read},
    script::{Answer, Do, Readiness},
};
use crate::{error::BoxError, unwind::caught};

/// The service that a check puts inside the layer: does what the check's script says, and writes
/// down what is done with it.
///
/// It takes requests with any body, so that the layer may wrap or box that. A clone is not ready
/// until it is polled.
#[derive(Debug)]
pub struct ScriptedService {
    journal: Arc<Journal>,
    is_ready: bool,
}

impl ScriptedService {
    pub(super) fn new(journal: Arc<Journal>) -> Self {
        Self {
            journal,
            is_ready: false,
        }
    }

    /// The same service for frameworks whose services cannot fail, such as axum's.
    ///
    /// The checks that need a failing service are then
    /// [not applicable](super::Verdict::NotApplicable).
    ///
    /// ```
    /// use axum::Router;
    /// use tower_passthrough::conformance::{self, Capability, ScriptedService};
    ///
    /// let report = conformance::check_with(|service: ScriptedService| {
    ///     Router::<()>::new().fallback_service(service.infallible())
    /// });
    /// // A router is always ready, and waits for its routes when it is called.
    /// report.except(Capability::Readiness).assert();
    /// ```
    #[must_use]
    pub fn infallible(self) -> InfallibleService {
        self.journal.seen().infallible = true;
        InfallibleService(self)
    }
}

impl Clone for ScriptedService {
    fn clone(&self) -> Self {
        Self::new(self.journal.clone())
    }
}

impl<Q> Service<Request<Q>> for ScriptedService
where
    Q: Body,
    Q::Error: Into<BoxError>,
{
    type Response = Response<ScriptedBody>;
    type Error = ScriptedError;
    type Future = ScriptedFuture<Q>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ScriptedError>> {
        let mut waker = Some(cx.waker().clone());
        let mut seen = self.journal.seen();
        seen.readiness.poll();
        let polled = match seen.ready.front() {
            None => Poll::Ready(Ok(())),
            Some(Readiness::Error) => Poll::Ready(Err(ScriptedError::new())),
            Some(Readiness::Pending) => seen.readiness.wait(&mut waker).map(Ok),
        };
        if polled.is_ready() {
            seen.ready.pop_front();
        }
        self.is_ready = matches!(polled, Poll::Ready(Ok(())));
        polled
    }

    fn call(&mut self, request: Request<Q>) -> ScriptedFuture<Q> {
        let script = &self.journal.script;
        let exchange = {
            let mut seen = self.journal.seen();
            seen.calls.push(self.is_ready);
            seen.awaited.pop_front().unwrap_or_default()
        };
        self.is_ready = false;
        let (head, body) = request.into_parts();
        exchange.seen().request = Some(head);
        ScriptedFuture {
            request_body: Some(body),
            handler: script.handler.iter().copied().collect(),
            journal: Some(self.journal.clone()),
            presence: Presence(exchange),
        }
    }
}

/// A [`ScriptedService`] that cannot fail.
#[derive(Debug, Clone)]
pub struct InfallibleService(ScriptedService);

impl<Q> Service<Request<Q>> for InfallibleService
where
    Q: Body,
    Q::Error: Into<BoxError>,
{
    type Response = Response<ScriptedBody>;
    type Error = Infallible;
    type Future = InfallibleFuture<Q>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Q>>::poll_ready(&mut self.0, cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> InfallibleFuture<Q> {
        InfallibleFuture {
            inner: self.0.call(request),
        }
    }
}

pin_project! {
    /// The future of [`ScriptedService`].
    #[derive(Debug)]
    pub struct ScriptedFuture<Q> {
        #[pin]
        request_body: Option<Q>,
        handler: VecDeque<Do>,
        // Until it resolves.
        journal: Option<Arc<Journal>>,
        // Dropped last: the future is gone when its request body is.
        presence: Presence,
    }
}

/// Tells of the future's end.
#[derive(Debug)]
struct Presence(Arc<Exchange>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.seen().future.dropped = true;
    }
}

impl<Q> Future for ScriptedFuture<Q>
where
    Q: Body,
    Q::Error: Into<BoxError>,
{
    type Output = Result<Response<ScriptedBody>, ScriptedError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let exchange = &this.presence.0;
        let mut waker = Some(cx.waker().clone());
        exchange.seen().future.poll();
        while let Some(step) = this.handler.front() {
            if *step == Do::Read {
                ready!(read(this.request_body.as_mut().as_pin_mut(), exchange, cx));
                this.handler.pop_front();
                // One read at each poll, so that the check sees what came when.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if *step == Do::LetGoAndWait {
                this.request_body.set(None);
            }
            ready!(exchange.seen().future.wait(&mut waker));
            this.handler.pop_front();
        }
        let Some(journal) = this.journal.take() else {
            // Polled after it resolved. What a future does then is its own affair.
            return Poll::Pending;
        };
        exchange.seen().answered = true;
        Poll::Ready(match &journal.script.answer {
            Answer::Error => Err(ScriptedError::new()),
            Answer::Response { body, .. } => {
                let body = ScriptedBody::new(body.clone(), exchange.clone(), Role::Response);
                Ok(journal.script.response(body))
            }
        })
    }
}

/// Reads one frame of the request body, as it comes out of the layer.
fn read<Q>(body: Option<Pin<&mut Q>>, exchange: &Exchange, cx: &mut Context<'_>) -> Poll<()>
where
    Q: Body,
    Q::Error: Into<BoxError>,
{
    let Some(mut body) = body else {
        return Poll::Ready(());
    };
    let before = Hints::of(&*body);
    let sent = exchange.seen().request_body.given.len();
    let given = caught(|| Given::new(body.as_mut().poll_frame(cx))).unwrap_or_else(Given::Panicked);
    if let Given::Pending = given {
        let mut seen = exchange.seen();
        let came = seen.request_body.given.len() > sent;
        seen.read_late |= came || !seen.request_body.waits;
        return Poll::Pending;
    }
    let after = Hints::of(&*body);
    let mut seen = exchange.seen();
    let read = Read {
        polls: seen.request_body.polls,
        copied: given.copied_from(&seen.request_body.given),
        before,
        given,
        after,
    };
    seen.read.push(read);
    Poll::Ready(())
}

pin_project! {
    /// The future of [`InfallibleService`].
    #[derive(Debug)]
    pub struct InfallibleFuture<Q> {
        #[pin]
        inner: ScriptedFuture<Q>,
    }
}

impl<Q> Future for InfallibleFuture<Q>
where
    Q: Body,
    Q::Error: Into<BoxError>,
{
    type Output = Result<Response<ScriptedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            // No check makes a service fail that cannot.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}
