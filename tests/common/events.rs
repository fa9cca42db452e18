//! Event streams that are fed by hand, through any layer.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use tower::{Layer, Service};

use crate::{
    common::{Broken, Given, poll_body, trailers},
    gate::event_stream,
};

/// What a [`Fed`] body is given, and what it was asked.
#[derive(Debug, Default)]
struct Fodder {
    frames: VecDeque<Option<Result<Frame<Bytes>, Broken>>>,
    size: SizeHint,
    shows_end: bool,
    polls: usize,
    is_dropped: bool,
    waker: Option<Waker>,
}

/// Feeds a [`Fed`] body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed(Arc<Mutex<Fodder>>);

/// A body that yields what it is fed with, and has nothing to give until then.
///
/// For layers that are driven by hand. Unlike one behind a gate it may be fed as much as one likes,
/// says of itself what it is told to, and knows how often it was asked.
#[derive(Debug)]
pub(crate) struct Fed(Feed);

impl Feed {
    fn fodder(&self) -> MutexGuard<'_, Fodder> {
        self.0.lock().unwrap()
    }

    fn push(&self, frame: Option<Result<Frame<Bytes>, Broken>>) {
        let mut fodder = self.fodder();
        fodder.frames.push_back(frame);
        if let Some(waker) = fodder.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn data(&self, data: impl Into<Bytes>) {
        self.push(Some(Ok(Frame::data(data.into()))));
    }

    pub(crate) fn trailers(&self) {
        self.push(Some(Ok(Frame::trailers(trailers()))));
    }

    pub(crate) fn error(&self) {
        self.push(Some(Err(Broken)));
    }

    pub(crate) fn end(&self) {
        self.push(None);
    }

    /// What the body says of its size from now on.
    pub(crate) fn size(&self, lower: u64, upper: Option<u64>) {
        let mut size = SizeHint::new();
        size.set_lower(lower);
        if let Some(upper) = upper {
            size.set_upper(upper);
        }
        self.fodder().size = size;
    }

    /// From now on the body says that it is over.
    pub(crate) fn show_end(&self) {
        self.fodder().shows_end = true;
    }

    pub(crate) fn polls(&self) -> usize {
        self.fodder().polls
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.fodder().is_dropped
    }

    /// A body that is fed by this.
    pub(crate) fn body(&self) -> Fed {
        Fed(self.clone())
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        self.0.fodder().is_dropped = true;
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut fodder = self.0.fodder();
        fodder.polls += 1;
        if let Some(frame) = fodder.frames.pop_front() {
            return Poll::Ready(frame);
        }
        fodder.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.0.fodder().shows_end
    }

    fn size_hint(&self) -> SizeHint {
        self.0.fodder().size
    }
}

/// Answers one request.
#[derive(Debug)]
pub(crate) struct Once<B>(Option<Response<B>>);

impl<B> Service<Request<Empty<Bytes>>> for Once<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        ready(Ok(self.0.take().unwrap()))
    }
}

/// What a layer makes of the response to a request with this method.
pub(crate) fn answered<L, B, R>(
    layer: &L,
    method: Method,
    response: Response<B>,
) -> Response<Pin<Box<R>>>
where
    L: Layer<Once<B>>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<R>, Error = Infallible>,
{
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    let mut service = layer.layer(Once(Some(response)));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_ready());
    match pin!(service.call(request)).poll(cx) {
        Poll::Ready(Ok(response)) => response.map(Box::pin),
        Poll::Pending => panic!("no answer"),
    }
}

/// What a layer makes of an event stream.
pub(crate) fn streamed<L, B, R>(layer: &L, body: B) -> Pin<Box<R>>
where
    L: Layer<Once<B>>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<R>, Error = Infallible>,
{
    answered(layer, Method::GET, event_stream(body)).into_body()
}

/// All that the body has to give now, frame by frame, with how it ends if it does. Nothing is said of
/// its waiting for more.
pub(crate) fn read<B>(body: &mut B) -> Vec<String>
where
    B: Body<Data = Bytes> + Unpin,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    loop {
        match poll_body(body, cx) {
            Given::Pending => return read,
            Given::Data(data) => read.push(text(&data)),
            Given::Trailers(fields) => {
                assert_eq!(fields, trailers());
                read.push("trailers".to_owned());
            }
            Given::Error => {
                read.push("error".to_owned());
                return read;
            }
            Given::End => {
                read.push("end".to_owned());
                return read;
            }
        }
    }
}

/// The bytes as they are, if they are text.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
