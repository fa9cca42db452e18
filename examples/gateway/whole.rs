//! Bodies of which a part is never taken for the whole.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::BoxError;

/// A body as hyper gives it, but that no reset of an HTTP/2 stream ends well.
///
/// One with the code `NO_ERROR` does for hyper, since servers may say so that they want no more of a
/// request. But what is read here has ended before that, or is broken: RFC 9113 §8.1.
pub(crate) struct Whole {
    body: Incoming,
    is_http2: bool,
}

impl Whole {
    pub(crate) fn new(body: Incoming, version: Version) -> Self {
        Self {
            body,
            is_http2: version == Version::HTTP_2,
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() && self.is_http2 && !self.body.is_end_stream() {
            return Poll::Ready(Some(Err("the stream was reset before its end".into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
