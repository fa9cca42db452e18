//! The mechanism under the layers that change a request or a response, and [`Alter`], the service of
//! each.
//!
//! Each of them takes a note of the request, calls the service, and changes the response when its
//! head is there. [`Alter`] is the service of all of them:
//!
//! | layer | what it changes |
//! |---|---|
//! | `HeadersLayer` | header fields of requests and responses; bodies keep their type |
//! | `BufferingLayer` | a header field of responses; bodies keep their type |
//! | `KeepAliveLayer`, `DrainLayer`, `IdleTimeoutLayer` | the response's body: puts one of its own around it, which adds bytes, takes some off, or ends it before its time |
//!
//! Layers that only watch are on [another mechanism](crate::observe), whose body does none of this.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

pub(crate) use self::sealed::{Alteration, Note};

/// Nobody else is to implement these.
mod sealed {
    #![allow(unnameable_types, reason = "so that nobody can")]

    use std::task::Context;

    use http::{Request, Response};
    use http_body::Body;

    /// What one layer does with requests that have a `B` for their body.
    pub trait Note<B>: Alteration {
        /// Looks at a request, before the service is called with it, and may change it.
        fn note(&self, request: &mut Request<B>) -> Self::Noted;
    }

    /// What one layer does with responses.
    pub trait Alteration {
        /// What is kept of a request until there is a response.
        type Noted;

        /// The body of a response that had a `B`.
        type Body<B>;

        /// Changes a response, when its head is there.
        fn alter<B: Body>(
            &self,
            response: Response<B>,
            noted: &Self::Noted,
            cx: &mut Context<'_>,
        ) -> Response<Self::Body<B>>;
    }
}

/// A service whose exchanges are changed by `A`, [one of these layers](self): that of `HeadersLayer`
/// around an `S` is `Alter<S, HeadersLayer>`.
///
/// `Note` and `Alteration`, by which it knows them, are traits that nobody else can implement.
#[derive(Debug, Clone)]
pub struct Alter<S, A> {
    inner: S,
    alteration: A,
}

impl<S, A> Alter<S, A> {
    pub(crate) const fn new(inner: S, alteration: A) -> Self {
        Self { inner, alteration }
    }
}

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for Alter<S, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    A: Note<ReqBody> + Clone,
    ResBody: Body,
{
    type Response = Response<A::Body<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let noted = self.alteration.note(&mut request);
        ResponseFuture {
            inner: self.inner.call(request),
            alteration: self.alteration.clone(),
            noted,
        }
    }
}

pin_project! {
    /// The future of [`Alter`].
    pub struct ResponseFuture<F, A>
    where
        A: Alteration,
    {
        #[pin]
        inner: F,
        alteration: A,
        noted: A::Noted,
    }
}

impl<F: fmt::Debug, A: Alteration + fmt::Debug> fmt::Debug for ResponseFuture<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("inner", &self.inner)
            .field("alteration", &self.alteration)
            .finish_non_exhaustive()
    }
}

impl<F, A, B, E> Future for ResponseFuture<F, A>
where
    F: Future<Output = Result<Response<B>, E>>,
    A: Alteration,
    B: Body,
{
    type Output = Result<Response<A::Body<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        Poll::Ready(Ok(this.alteration.alter(response, this.noted, cx)))
    }
}
