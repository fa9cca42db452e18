use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    MakeObserver, Moment, ResponseBody, ResponseFuture,
    guard::{Asked, Guard},
    tunnel,
};
use crate::RequestHead;

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

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let observer = self
            .make
            .observe(&RequestHead::from(&request), &Moment::new());
        let asked = Asked::from(request.method());
        let entrance = observer
            .is_some()
            .then(|| tunnel::offer(&mut request))
            .flatten();

        let mut exchange = Guard::new(observer);
        let armed = exchange.armed();
        let future = self.inner.call(request);
        armed.disarm();
        ResponseFuture::new(future, exchange, asked, entrance)
    }
}
