//! The service that is watched.

use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{MakeObserver, Moment, Observer, ResponseBody, ResponseFuture, guard::Guard, tunnel};
use crate::{RequestHead, head::Asked};

/// A service whose exchanges are watched: the service of [`ObserveLayer`](super::ObserveLayer)
/// and of every layer that only watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observe<S, M> {
    inner: S,
    make: M,
}

impl<S, M> Observe<S, M> {
    /// Watches `inner` with observers from `make`.
    pub const fn new(inner: S, make: M) -> Self {
        Self { inner, make }
    }
}

impl<S, M, ReqBody, ResBody> Service<Request<ReqBody>> for Observe<S, M>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    M: MakeObserver,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody, M::Observer>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, M::Observer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let make = &self.make;
        watch(&mut self.inner, request, |request| {
            make.observe(&RequestHead::from(request), &Moment::new())
        })
    }
}

/// Calls `service`, and watches the exchange with the observer that `observe` gives, if any.
///
/// The request is moved here before anything is done with it: once more would be a copy of it.
#[inline]
pub(crate) fn watch<S, O, ReqBody>(
    service: &mut S,
    mut request: Request<ReqBody>,
    observe: impl FnOnce(&Request<ReqBody>) -> Option<O>,
) -> ResponseFuture<S::Future, O>
where
    S: Service<Request<ReqBody>>,
    O: Observer,
{
    let observer = observe(&request);
    let asked = Asked::from(request.method());
    let entrance = observer
        .is_some()
        .then(|| tunnel::offer(&mut request))
        .flatten();

    let mut exchange = Guard::new(observer);
    let armed = exchange.armed();
    let future = service.call(request);
    armed.disarm();
    ResponseFuture::new(future, exchange, asked, entrance)
}
