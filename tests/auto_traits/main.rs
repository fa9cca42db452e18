//! What the layers ask of services and bodies, and what they are if their parts are. All checks
//! run with each layer of the crate.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod are;
mod ask;
#[path = "../common/mod.rs"]
mod common;
mod fit;
mod layers;

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Future, Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tokio::runtime;
use tower::{Layer, Service};

type Incoming = Request<Empty<Bytes>>;

/// Answers one request, at once. Never `Clone`.
#[derive(Debug)]
struct Once<B>(Option<B>);

impl<B> Service<Incoming> for Once<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Incoming) -> Self::Future {
        ready(Ok(Response::new(self.0.take().expect("one request"))))
    }
}

/// A layer that takes a service whose body is a `B`.
trait Takes<B: Body> {
    /// What comes out of a service of the layer's that answers with this body.
    fn serve(&self, body: B) -> Whole;
}

/// A body from first to last.
type Whole = (Bytes, Option<HeaderMap>);

impl<L, B, R> Takes<B> for L
where
    L: Layer<Once<B>>,
    L::Service: Service<Incoming, Response = Response<R>, Error = Infallible>,
    B: Body,
    R: Body<Data = B::Data, Error = B::Error>,
    R::Error: Debug,
{
    fn serve(&self, body: B) -> Whole {
        let mut service = self.layer(Once(Some(body)));
        assert!(matches!(
            service.poll_ready(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(()))
        ));
        let response = now(service.call(Incoming::default())).unwrap();
        now(whole(response.into_body()))
    }
}

async fn whole<B>(body: B) -> Whole
where
    B: Body,
    B::Error: Debug,
{
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    (collected.to_bytes(), trailers)
}

/// The output of a future that waits for nothing.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing to wait for"),
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}
