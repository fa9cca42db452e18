use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service};

use super::{BoxError, BoxFuture};

/// Collects the body, to measure or to change it, and rebuilds the response.
///
/// What is wrong with it: there is no response, not even a head, until the body has ended. A
/// token stream arrives in one piece; an endless stream never arrives, and fills the memory.
/// The trailers are lost, a stream gets a `content-length` that it did not have, and an error in
/// mid-stream takes with it all that came before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CollectLayer;

#[derive(Debug, Clone)]
pub(crate) struct Collect<S>(S);

impl<S> Layer<S> for CollectLayer {
    type Service = Collect<S>;

    fn layer(&self, inner: S) -> Collect<S> {
        Collect(inner)
    }
}

impl<S, Q, B> Service<Request<Q>> for Collect<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move {
            let (head, body) = response.await.map_err(Into::into)?.into_parts();
            let body = body.collect().await.map_err(Into::into)?; // waits for the last frame
            Ok(Response::from_parts(head, Full::new(body.to_bytes()))) // drops the trailers
        })
    }
}
