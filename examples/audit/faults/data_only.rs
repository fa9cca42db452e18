use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service};

use super::{BoxError, BoxFuture};

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
