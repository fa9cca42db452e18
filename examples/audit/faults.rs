//! Two middlewares as they are often written, each with a fault that breaks streaming.
//!
//! They stand here to be shown, side by side with the layers of the crate. Do not use them.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service};

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

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

/// Wraps the body, to watch its data go by.
///
/// What is wrong with it: see [`DataOnlyBody`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataOnlyLayer;

#[derive(Debug, Clone)]
pub(crate) struct DataOnly<S>(S);

impl<S> Layer<S> for DataOnlyLayer {
    type Service = DataOnly<S>;

    fn layer(&self, inner: S) -> DataOnly<S> {
        DataOnly(inner)
    }
}

impl<S, Q, B> Service<Request<Q>> for DataOnly<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<DataOnlyBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { Ok(response.await.map_err(Into::into)?.map(DataOnlyBody)) })
    }
}

/// Passes the data on.
///
/// What is wrong with it: it takes a body for a stream of data. A frame that is not data, the
/// trailers, ends it. And it overrides only the one method that it must: with the default
/// `size_hint` a body of known size loses its `content-length`, with the default `is_end_stream`
/// an empty one does not look empty.
#[derive(Debug)]
pub(crate) struct DataOnlyBody<B>(B);

impl<B: Body + Unpin> Body for DataOnlyBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let data = match ready!(Pin::new(&mut self.0).poll_frame(cx)?) {
            Some(frame) => frame.into_data().ok(), // no data, no frame
            None => None,
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    // size_hint and is_end_stream are missing
}
