//! What the layers share that put a body of their own around the response's.
//!
//! They are those that add bytes, take some off, or end a body before its time. Layers that only watch
//! are on [another mechanism](crate::observe), whose body does none of this.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::head::Asked;

/// Puts a body around that of each response. Implemented by the layers of this crate alone.
pub trait WrapBody<B>: sealed::Sealed {
    /// The body around `B`.
    type Body;

    /// Called when there is a response head. `has_content` is false if there can be none, by the
    /// status and the request's method (RFC 9110 §6.4.1, §9.3.2, §9.3.6).
    fn wrap(
        &self,
        response: Response<B>,
        has_content: bool,
        cx: &mut Context<'_>,
    ) -> Response<Self::Body>;
}

pub(crate) mod sealed {
    #[allow(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {}
}

/// A service whose response bodies are wrapped by `W`: the service of `KeepAliveLayer`, `DrainLayer`
/// and `IdleTimeoutLayer`.
#[derive(Debug, Clone)]
pub struct Wrap<S, W> {
    inner: S,
    wrap: W,
}

impl<S, W> Wrap<S, W> {
    pub(crate) const fn new(inner: S, wrap: W) -> Self {
        Self { inner, wrap }
    }
}

impl<S, W, ReqBody, ResBody> Service<Request<ReqBody>> for Wrap<S, W>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    W: WrapBody<ResBody> + Clone,
    ResBody: Body,
{
    type Response = Response<W::Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let asked = Asked::from(request.method());
        ResponseFuture {
            inner: self.inner.call(request),
            wrap: self.wrap.clone(),
            asked,
        }
    }
}

pin_project! {
    /// The future of [`Wrap`].
    #[derive(Debug)]
    pub struct ResponseFuture<F, W> {
        #[pin]
        inner: F,
        wrap: W,
        asked: Asked,
    }
}

impl<F, W, B, E> Future for ResponseFuture<F, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    W: WrapBody<B>,
{
    type Output = Result<Response<W::Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let status = response.status();
        let asked = *this.asked;
        let has_content = !asked.has_no_content(status) && !asked.is_tunnel(status);
        Poll::Ready(Ok(this.wrap.wrap(response, has_content, cx)))
    }
}
