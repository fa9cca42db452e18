//! [`ConcurrencyLimitLayer`]: so many exchanges at once, each to the end of its body.
//!
//! Like tower's layer of this name, but for streams. Tower's gives its permit back when there is a
//! response head: of event streams, downloads and chat completions, which have hardly begun by
//! then, it lets in any number ([tower-http #447]). Here the permit is held until the exchange is
//! over.
//!
//! ```
//! use tower_passthrough::limit::ConcurrencyLimitLayer;
//!
//! let layer = ConcurrencyLimitLayer::new(100)?; // at most 100 streams at once
//! # let _ = layer;
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! # What a permit covers
//!
//! ```text
//! poll_ready       call         head                 body                  end
//! ──┬───────────────┬────────────┬─────────────────────┬────────────────────┬───▶
//!   │ may wait      │            │                                          │
//!   ├─ tower's ─────────────────▶│                                          │
//!   └─ this one ───────────────────────────────────────────────────────────▶│
//! ```
//!
//! A service takes its permit in `poll_ready`, before it asks whether the inner service is ready,
//! and the exchange that is called with it takes it along. It returns once, at the end of the
//! exchange, whichever end that is: [the table](crate::observe#when-is-a-dropped-body-complete) says
//! when each one comes. An upgraded exchange ends with the last clone of its
//! [`Tunnel`](crate::observe::Tunnel): hold it in the task that serves the connection, or the
//! permit returns at the head.
//!
//! A server may keep a body for a while after it has had all of it. Where the end is known, with
//! `None`, trailers or a body that says
//! [`is_end_stream`](http_body::Body::is_end_stream), the permit has returned by then, before the
//! server has its last frame. A body of announced length that does not say that it is over holds
//! its permit until it is dropped, since trailers may follow; so does one that nobody polls, as the
//! answer to HEAD, if it does not say that it is empty.
//!
//! A client that has left gives its permit back when the server notices, and drops the body.
//!
//! # One limit per layer
//!
//! All services that one layer and its clones wrap share one limit, which is what a `Router` of
//! axum needs: it wraps each of its routes apart. (With tower's layer each of these has a limit of
//! its own; its `GlobalConcurrencyLimitLayer` shares.) For limits that are apart, make a layer for
//! each.
//!
//! Do not put the same limit into itself, around a router and again around one of its routes: a
//! request would hold one permit and wait for another. If all permits are held so, none returns.
//!
//! # Waiting
//!
//! Who finds no permit waits in one queue, in the order of the first `poll_ready`, and a permit that
//! returns goes to the first in it: nobody overtakes. A service that waits and is dropped, because
//! its client left, is out of the queue. A service that is ready keeps its permit until it is called
//! or dropped, or until the inner service fails to become ready. A clone starts without a permit.
//!
//! The queue has no bound. To refuse what cannot be served now, put tower's `LoadShed` outside; to
//! refuse it after a while, a timeout. Of these make a clone for each request, as axum does, and
//! hyper-util's `TowerToHyperService`: one that is kept after it has refused a request is still in the
//! queue, and keeps the permit that it gets there from others until it is asked again, or dropped.
//!
//! ```
//! use axum::{BoxError, Router, error_handling::HandleErrorLayer, routing::get};
//! use http::{Request, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt, load_shed::LoadShedLayer};
//! use tower_passthrough::limit::ConcurrencyLimitLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(
//!     ServiceBuilder::new()
//!         .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::SERVICE_UNAVAILABLE))
//!         .layer(LoadShedLayer::new())
//!         .layer(ConcurrencyLimitLayer::new(1)?),
//! );
//!
//! let ask = async || app.clone().oneshot(Request::new(axum::body::Body::empty())).await;
//! let first = ask().await?; // its body is not read yet
//! assert_eq!(ask().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! drop(first);
//! assert_eq!(ask().await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # Called without being ready
//!
//! A service must be [ready](Service::poll_ready) when it is called. Tower's limit panics if it is
//! not. This one lets the request in, and counts it: it takes a permit even if there is none, and as
//! many must return before anybody else is let in. So the fault of a caller breaks no connection, and
//! cannot add up to more than the calls that did not wait.
//!
//! [tower-http #447]: https://github.com/tower-rs/tower-http/pull/447

mod semaphore;

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::semaphore::Permit;
use self::semaphore::{Place, Semaphore};
use crate::{
    BuildError,
    observe::{ResponseBody, ResponseFuture, watch},
};

/// Limits how many exchanges are in flight at once, from the call to the end of the body.
///
/// See the [module docs](self). Clones share the limit.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimitLayer {
    semaphore: Arc<Semaphore>,
}

impl ConcurrencyLimitLayer {
    /// A limit of `max` exchanges at once, over all services that this layer and its clones wrap.
    /// `usize::MAX` is as good as none.
    ///
    /// # Errors
    ///
    /// If `max` is zero:
    ///
    /// ```
    /// use tower_passthrough::limit::ConcurrencyLimitLayer;
    ///
    /// let error = ConcurrencyLimitLayer::new(0).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "concurrency limit of 0: every request would wait for ever",
    /// );
    /// ```
    pub fn new(max: usize) -> Result<Self, BuildError> {
        if max == 0 {
            return Err(BuildError::new(
                "concurrency limit of 0: every request would wait for ever",
            ));
        }
        Ok(Self {
            semaphore: Arc::new(Semaphore::new(max)),
        })
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyLimit {
            inner,
            place: Place::outside(&self.semaphore),
        }
    }
}

/// The service of [`ConcurrencyLimitLayer`].
#[derive(Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    place: Place,
}

/// Without a permit, whatever this one has.
impl<S: Clone> Clone for ConcurrencyLimit<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            place: self.place.another(),
        }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ConcurrencyLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody, Permit>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Permit>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.place.poll(cx));
        let polled = self.inner.poll_ready(cx);
        if let Poll::Ready(Err(_)) = polled {
            // It will not be called any more, and may still be kept.
            self.place.leave();
        }
        polled
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let permit = self.place.enter();
        watch(&mut self.inner, request, |_| Some(permit))
    }
}
