//! What the layers, their services, futures and bodies are.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_passthrough::observe::ResponseBody;

use crate::{
    Incoming,
    common::{Given, Watch, poll_body},
    layers::each_layer,
    now, whole,
};

/// Answers all requests, at once. All that its parts are.
#[derive(Debug, Clone)]
struct Always;

impl Service<Incoming> for Always {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Incoming) -> Self::Future {
        ready(Ok(Response::new(Full::from("hello"))))
    }
}

fn is_what_its_parts_are<L, R>(name: &str, layer: &L)
where
    L: Layer<Always> + Debug + Clone + Send + Sync + 'static,
    L::Service: Service<Incoming, Response = Response<R>, Error = Infallible>
        + Debug
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Incoming>>::Future: Debug + Send + Unpin + 'static,
    R: Body<Data = Bytes, Error = Infallible> + Debug + Send + Unpin + 'static,
{
    let layer = layer.clone();
    let service = layer.layer(Always);
    let mut clone = service.clone();
    drop(service);
    let future = clone.call(Incoming::default());
    for debug in [
        format!("{layer:?}"),
        format!("{clone:?}"),
        format!("{future:?}"),
    ] {
        assert!(debug.starts_with(char::is_uppercase), "{name}: {debug}");
    }
    let response = now(future).unwrap();
    let debug = format!("{:?}", response.body());
    assert!(debug.contains("hello"), "{name}: {debug}");
    assert_eq!(now(whole(response.into_body())).0, "hello", "{name}");
}

#[test]
fn layers_are_what_their_parts_are() {
    each_layer!(is_what_its_parts_are);
}

/// What `Router::layer` and hyper's servers need of futures and bodies across threads.
fn goes_to_another_thread<L, R>(name: &str, layer: &L)
where
    L: Layer<Always> + Send + 'static,
    L::Service: Service<Incoming, Response = Response<R>, Error = Infallible>,
    <L::Service as Service<Incoming>>::Future: Send + 'static,
    R: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let future = layer.layer(Always).call(Incoming::default());
    let response = std::thread::spawn(|| now(future).unwrap());
    let body = response.join().unwrap().into_body();
    let data = std::thread::spawn(|| now(whole(body)).0);
    assert_eq!(data.join().unwrap(), "hello", "{name}");
}

#[test]
fn exchange_may_move_from_thread_to_thread() {
    each_layer!(goes_to_another_thread);
}

#[test]
fn default_body_is_the_default_of_the_inner_one() {
    let mut body = ResponseBody::<Full<Bytes>, Watch>::default();
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    let given = poll_body(&mut body, &mut Context::from_waker(Waker::noop()));
    assert_eq!(given, Given::End);
}
