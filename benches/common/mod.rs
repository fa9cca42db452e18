//! What the benches share: a scripted service, the way it is driven, and where tables go.
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod exporters;
pub(crate) mod ours;
pub(crate) mod pairs;
pub(crate) mod rows;
pub(crate) mod server;
pub(crate) mod table;

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{CONTENT_TYPE, HOST},
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use tower::{Layer, Service};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A request that a metrics layer finds its host and its path in.
pub(crate) fn request(path: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.parse().expect("a path");
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_static("api.example"));
    request
}

/// Asks, and takes the response as a server would; `false` if it did not come at once.
pub(crate) fn exchange<S, B>(service: &mut S, request: Request<Empty<Bytes>>) -> bool
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    let mut cx = Context::from_waker(Waker::noop());
    if service.poll_ready(&mut cx).is_pending() {
        return false;
    }
    let Poll::Ready(Ok(response)) = pin!(service.call(black_box(request))).poll(&mut cx) else {
        return false;
    };
    let mut body = pin!(black_box(response).into_body());
    while !body.is_end_stream() {
        if black_box(body.as_mut().poll_frame(&mut cx)).is_pending() {
            return false;
        }
    }
    true
}

/// How much to do.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    /// Of each response.
    pub(crate) frames: u64,
}

impl Load {
    pub(crate) fn drive<L, B>(self, layer: &L, sort: Sort)
    where
        L: Layer<Answer>,
        L::Service: Service<Request<Empty<Bytes>>, Response = Response<B>>,
        B: Body,
    {
        let mut service = layer.layer(Answer {
            frames: self.frames,
            sort,
        });
        let request = request("/v1/chat");
        for _ in 0..self.requests {
            assert!(exchange(&mut service, request.clone()));
        }
    }
}

/// What is answered. Frames have 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A body of known size.
    Plain,
    /// An event stream of unknown size, an event in each frame.
    Events,
}

/// The bare service: answers at once with as many frames.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) frames: u64,
    pub(crate) sort: Sort,
}

impl<B> Service<Request<B>> for Answer {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Frames>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response = Response::new(Frames {
            left: self.frames,
            data: match self.sort {
                Sort::Plain => DATA,
                Sort::Events => EVENT,
            },
            is_sized: self.sort == Sort::Plain,
        });
        if self.sort == Sort::Events {
            let event_stream = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, event_stream);
        }
        ready(Ok(response))
    }
}

const DATA: &[u8; 64] = &[b'x'; 64];
const EVENT: &[u8; 64] =
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" a token\"}}]}\n\n";

/// A body of so many frames.
pub(crate) struct Frames {
    left: u64,
    data: &'static [u8; 64],
    is_sized: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.checked_sub(1).map(|left| {
            self.left = left;
            Ok(Frame::data(Bytes::from_static(self.data)))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_sized {
            SizeHint::with_exact(self.left * 64)
        } else {
            SizeHint::default()
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}
