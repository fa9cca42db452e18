//! What the layers are if their parts are: `Send`, `Sync`, `Clone`, `Debug`, `Unpin`; and where they
//! fit in.

use std::{
    convert::Infallible,
    error::Error,
    fmt::Debug,
    future::{Future, Pending, Ready, pending, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, body::Body as AxumBody, response::IntoResponse, routing::Route};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt};
use tower_passthrough::{
    sse::{DrainBody, DrainLayer, KeepAliveBody, KeepAliveLayer},
    timeout::{IdleTimeoutBody, IdleTimeoutLayer},
    timer::{Timer, TokioTimer},
};

use crate::gate::event_stream;

const SECOND: Duration = Duration::from_secs(1);

/// All that a timer can be, and so are its sleeps.
#[derive(Debug, Clone)]
struct Still;

impl Timer for Still {
    type Sleep = Pending<()>;

    fn sleep(&self, _: Duration) -> Self::Sleep {
        pending()
    }
}

/// Runs a check with each of the layers, on this timer.
macro_rules! each_layer {
    ($check:ident, $timer:expr) => {
        $check(
            "KeepAlive",
            &KeepAliveLayer::builder(SECOND, $timer).build().unwrap(),
        );
        $check(
            "Drain",
            &DrainLayer::builder(pending::<()>, SECOND, $timer)
                .build()
                .unwrap(),
        );
        $check(
            "IdleTimeout",
            &IdleTimeoutLayer::with_timer(SECOND, $timer).unwrap(),
        );
    };
}

/// All that its parts are.
#[derive(Debug, Clone)]
struct Always;

/// Of no known size.
type Inner = Pin<Box<http_body_util::StreamBody<Chunks>>>;
type Chunks = futures_util::stream::Once<Ready<Result<http_body::Frame<Bytes>, Infallible>>>;

fn inner() -> Inner {
    let frame = ready(Ok(http_body::Frame::data("data: 1\n\n".into())));
    let chunks = futures_util::stream::once(frame);
    Box::pin(http_body_util::StreamBody::new(chunks))
}

impl<Q> Service<Request<Q>> for Always {
    type Response = Response<Inner>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        ready(Ok(event_stream(inner())))
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing to wait for"),
    }
}

fn is_what_its_parts_are<L, R>(name: &str, layer: &L)
where
    L: Layer<Always> + Debug + Clone + Send + Sync + Unpin + 'static,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<R>, Error = Infallible>
        + Debug
        + Clone
        + Send
        + Sync
        + Unpin
        + 'static,
    <L::Service as Service<Request<Empty<Bytes>>>>::Future: Debug + Send + Sync + Unpin + 'static,
    R: Body<Data = Bytes, Error: Debug> + Debug + Send + Sync + Unpin + 'static,
{
    let service = layer.clone().layer(Always);
    let future = service.clone().call(Request::default());
    for debug in [
        format!("{layer:?}"),
        format!("{service:?}"),
        format!("{future:?}"),
    ] {
        assert!(debug.contains(&format!("{name}Layer {{ ")), "{debug}");
    }
    let body = now(future).unwrap().into_body();
    let debug = format!("{body:?}");
    assert!(
        debug.starts_with(&format!("{name}Body {{ inner: ")),
        "{debug}"
    );
    let body = now(body.collect()).unwrap().to_bytes();
    assert_eq!(body, "data: 1\n\n", "{name}");
}

#[test]
fn layers_are_what_their_parts_are() {
    each_layer!(is_what_its_parts_are, Still);
}

fn goes_to_another_thread<L, R>(name: &str, layer: &L)
where
    L: Layer<Always>,
    L::Service: Service<Request<Empty<Bytes>>, Response = Response<R>, Error = Infallible>,
    <L::Service as Service<Request<Empty<Bytes>>>>::Future: Send + 'static,
    R: Body<Data = Bytes, Error: Debug> + Send + 'static,
{
    let future = layer.layer(Always).call(Request::default());
    let response = std::thread::spawn(|| now(future).unwrap());
    let body = response.join().unwrap().into_body();
    let data = std::thread::spawn(|| now(body.collect()).unwrap().to_bytes());
    assert_eq!(data.join().unwrap(), "data: 1\n\n", "{name}");
}

/// A timer that cannot be shown.
struct Hidden;

impl Timer for Hidden {
    type Sleep = Pending<()>;

    fn sleep(&self, _: Duration) -> Self::Sleep {
        pending()
    }
}

#[test]
fn bodies_are_shown_whatever_their_timer_is() {
    fn is_shown<B: Debug>() {}
    is_shown::<KeepAliveBody<(), Hidden>>();
    is_shown::<DrainBody<(), Pending<()>, Hidden>>();
    is_shown::<IdleTimeoutBody<(), Hidden>>();
}

#[test]
fn exchange_may_move_from_thread_to_thread() {
    each_layer!(goes_to_another_thread, Still);
    each_layer!(goes_to_another_thread, TokioTimer);
}

fn fits_into_an_axum_router<L>(name: &str, layer: &L)
where
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<AxumBody>, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<AxumBody>>>::Response: IntoResponse + 'static,
    <L::Service as Service<Request<AxumBody>>>::Future: Send + 'static,
{
    let router: Router = Router::new()
        .route("/", axum::routing::get_service(Always))
        .layer(layer.clone());
    let body = now(async {
        let response = router.oneshot(Request::<AxumBody>::default()).await;
        response.unwrap().into_body().collect().await
    });
    assert_eq!(body.unwrap().to_bytes(), "data: 1\n\n", "{name}");
}

#[test]
fn layers_fit_into_an_axum_router() {
    each_layer!(fits_into_an_axum_router, Still);
    each_layer!(fits_into_an_axum_router, TokioTimer);
}

/// Busy, then ready, then broken.
struct Busy(u8);

impl Service<Request<()>> for Busy {
    type Response = Response<Full<Bytes>>;
    type Error = Box<dyn Error>;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0 += 1;
        match self.0 {
            1 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err("broken".into())),
        }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Err("failed".into()))
    }
}

fn hands_on_readiness_and_errors<L>(name: &str, layer: &L)
where
    L: Layer<Busy>,
    L::Service: Service<Request<()>, Error = Box<dyn Error>>,
{
    let mut service = layer.layer(Busy(0));
    let mut poll = || service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending(), "{name}");
    assert!(matches!(poll(), Poll::Ready(Ok(()))), "{name}");
    let Poll::Ready(Err(error)) = poll() else {
        panic!("{name}");
    };
    assert_eq!(error.to_string(), "broken", "{name}");
    let failed = now(service.call(Request::new(()))).err().unwrap();
    assert_eq!(failed.to_string(), "failed", "{name}");
}

#[test]
fn service_is_ready_and_fails_as_the_inner_one_does() {
    each_layer!(hands_on_readiness_and_errors, Still);
}
