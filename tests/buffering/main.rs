//! `BufferingLayer`: what it sets, which route it goes by, changes at run time, and a real nginx.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod fields;
#[path = "../common/gate.rs"]
mod gate;
mod nginx;
#[path = "../common/patience.rs"]
mod patience;
mod positions;
mod routes;
mod threads;

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn};
use tower_passthrough::buffering::{Buffering, BufferingControl, BufferingLayer, Policy};

const FIELD: &str = "x-accel-buffering";

/// A body of which nothing is asked but its size: it is never polled, and cannot be sent.
#[derive(Debug)]
struct Unpolled {
    size: SizeHint,
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Unpolled {
    fn new(size: SizeHint) -> Self {
        Self {
            size,
            _not_send: std::marker::PhantomData,
        }
    }
}

impl Body for Unpolled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("polled")
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

/// What a service answers with.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    size: SizeHint,
    fields: Vec<(&'static str, &'static str)>,
}

impl Answer {
    fn new(size: SizeHint) -> Self {
        Self {
            status: StatusCode::OK,
            size,
            fields: Vec::new(),
        }
    }

    fn status(self, status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        Self { status, ..self }
    }

    fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    fn of_type(self, content_type: &'static str) -> Self {
        self.field("content-type", content_type)
    }

    fn response(&self) -> Response<Unpolled> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.fields {
            response = response.header(*name, *value);
        }
        response.body(Unpolled::new(self.size)).unwrap()
    }
}

/// The fields of the layer's response, if the service answers like this. The body has the type of
/// the service's own, or this would not compile.
fn pass(control: &BufferingControl, method: &Method, path: &str, answer: &Answer) -> HeaderMap {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let service = BufferingLayer::new(control.clone()).layer(service_fn(|_: Request<_>| {
        ready(Ok::<_, Infallible>(answer.response()))
    }));
    let response: Response<Unpolled> = service.oneshot(request).now_or_never().unwrap().unwrap();
    response.into_parts().0.headers
}

/// All values of the field that this is about.
fn values(fields: &HeaderMap) -> Vec<&str> {
    let values = fields.get_all(FIELD).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

fn overriding(buffering: Buffering) -> Policy {
    Policy::new(buffering).overriding()
}
