//! What the layers ask of services and bodies, and what they are if their parts are. All checks
//! run with each layer of the crate.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy counts only functions that are `#[test]` as tests"
)]

mod common;

use std::{
    convert::Infallible,
    error::Error,
    fmt::Debug,
    future::{Future, Ready, ready},
    marker::PhantomPinned,
    net::{Ipv4Addr, SocketAddr},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use axum::{Router, body::Body as AxumBody, response::IntoResponse, routing::Route};
use bytes::{Buf, Bytes};
use common::{Broken, End, Given, Script, Size, Step, Told, Watch, poll_body, trailers};
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use pin_project_lite::pin_project;
use tokio::{net::TcpListener, runtime, sync::oneshot};
use tonic::{
    body::Body as TonicBody,
    server::NamedService,
    service::Routes,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
#[cfg(feature = "buffering")]
use tower_passthrough::buffering::{Buffering, BufferingControl, BufferingLayer};
#[cfg(feature = "capture")]
use tower_passthrough::capture::{CaptureLayer, Summary};
#[cfg(feature = "headers")]
use tower_passthrough::headers::HeadersLayer;
#[cfg(feature = "limit")]
use tower_passthrough::limit::ConcurrencyLimitLayer;
#[cfg(feature = "metrics")]
use tower_passthrough::metrics::MetricsLayer;
use tower_passthrough::observe::{ObserveLayer, Outcome, ResponseBody};
#[cfg(feature = "sse")]
use tower_passthrough::{
    RequestHead,
    sse::{TapLayer, Tapped},
};

/// Runs a check with each layer that there is.
macro_rules! each_layer {
    ($check:ident $(, $argument:expr)*) => {
        $check("observe", &ObserveLayer::new(Watch::default()) $(, $argument)*);
        $check(
            "observe, as a pair",
            &ObserveLayer::new((Watch::default(), Watch::default()))
            $(, $argument)*
        );
        #[cfg(feature = "buffering")]
        $check(
            "buffering",
            &BufferingLayer::new(BufferingControl::new(Buffering::Auto))
            $(, $argument)*
        );
        #[cfg(feature = "capture")]
        $check("capture", &CaptureLayer::new(expect_complete) $(, $argument)*);
        #[cfg(feature = "headers")]
        $check("headers", &HeadersLayer::sse() $(, $argument)*);
        #[cfg(feature = "limit")]
        $check("limit", &ConcurrencyLimitLayer::new(9).unwrap() $(, $argument)*);
        #[cfg(feature = "metrics")]
        $check("metrics", &MetricsLayer::builder().build().unwrap() $(, $argument)*);
        #[cfg(feature = "sse")]
        $check("tap", &TapLayer::new(expect_no_event) $(, $argument)*);
    };
}

#[cfg(feature = "capture")]
fn expect_complete(summary: &Summary) {
    assert_eq!(summary.outcome, Outcome::Complete);
}

#[cfg(feature = "sse")]
fn expect_no_event(_: &RequestHead<'_>) -> impl FnMut(Tapped<'_>) + Send + use<> {
    |tapped: Tapped<'_>| assert_eq!(tapped, Tapped::End(Outcome::Complete))
}

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

// What they are.

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

// What they ask.

/// Never `Send`.
struct NotSend(Rc<Full<Bytes>>);

impl Body for NotSend {
    type Data = Bytes;
    type Error = Rc<str>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Rc<str>>>> {
        let body = Rc::get_mut(&mut self.0).expect("no clone");
        Pin::new(body)
            .poll_frame(cx)
            .map_err(|error| match error {})
    }
}

fn takes_a_body_that_is_not_send(name: &str, layer: &impl Takes<NotSend>) {
    let body = NotSend(Rc::new(Full::from("hello")));
    assert_eq!(layer.serve(body), ("hello".into(), None), "{name}");
}

#[test]
fn body_need_not_be_send() {
    each_layer!(takes_a_body_that_is_not_send);
}

/// Yields the words of a text that it borrows.
struct Words<'a>(std::str::Split<'a, char>);

impl<'a> Body for Words<'a> {
    type Data = &'a [u8];
    type Error = &'a str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<&'a [u8]>, &'a str>>> {
        let word = self.0.next();
        Poll::Ready(word.map(|word| Ok(Frame::data(word.as_bytes()))))
    }
}

fn takes_a_body_that_borrows<'a>(name: &str, layer: &impl Takes<Words<'a>>, text: &'a str) {
    let body = Words(text.split(' '));
    assert_eq!(layer.serve(body), ("oneday".into(), None), "{name}");
}

#[test]
fn body_may_borrow() {
    let text = String::from("one day");
    each_layer!(takes_a_body_that_borrows, &text);
}

pin_project! {
    /// Counts down. Never `Unpin`.
    struct Pinned {
        left: u8,
        #[pin]
        pinned: PhantomPinned,
    }
}

impl Body for Pinned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.project().left;
        Poll::Ready(left.checked_sub(1).map(|next| {
            *left = next;
            Ok(if next == 0 {
                Frame::trailers(trailers())
            } else {
                Frame::data(Bytes::from(next.to_string()))
            })
        }))
    }
}

fn takes_a_body_that_is_not_unpin(name: &str, layer: &impl Takes<Pinned>) {
    let body = Pinned {
        left: 4,
        pinned: PhantomPinned,
    };
    let expected = ("321".into(), Some(trailers()));
    assert_eq!(layer.serve(body), expected, "{name}");
}

#[test]
fn body_need_not_be_unpin() {
    each_layer!(takes_a_body_that_is_not_unpin);
}

/// Bytes in two places.
struct Halves(&'static [u8], &'static [u8]);

impl Buf for Halves {
    fn remaining(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.0.is_empty() { self.1 } else { self.0 }
    }

    fn advance(&mut self, count: usize) {
        let first = usize::min(count, self.0.len());
        self.0.advance(first);
        self.1.advance(count - first);
    }
}

/// Yields [`Halves`] once.
struct Halved(Option<Halves>);

impl Body for Halved {
    type Data = Halves;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Halves>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.remaining() as u64))
    }
}

fn takes_data_of_any_kind(name: &str, layer: &impl Takes<Halved>) {
    let body = Halved(Some(Halves(b"hel", b"lo")));
    assert_eq!(layer.serve(body), ("hello".into(), None), "{name}");
}

#[test]
fn data_may_be_any_buffer() {
    each_layer!(takes_data_of_any_kind);
}

#[test]
fn length_of_data_is_that_of_all_its_chunks() {
    let watch = Watch::default();
    ObserveLayer::new(watch.clone()).serve(Halved(Some(Halves(b"hel", b"lo"))));
    assert_eq!(
        watch.told(),
        [
            Told::Response(StatusCode::OK),
            Told::Data(5),
            Told::End(Outcome::Complete)
        ]
    );
}

/// Is busy, then ready, then broken.
struct Busy(u8);

impl Service<Incoming> for Busy {
    type Response = Response<Full<Bytes>>;
    type Error = Broken;
    type Future = Ready<Result<Self::Response, Broken>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0 += 1;
        match self.0 {
            1 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Broken)),
        }
    }

    fn call(&mut self, _: Incoming) -> Self::Future {
        unreachable!("it is not called")
    }
}

fn hands_on_readiness<L>(name: &str, layer: &L)
where
    L: Layer<Busy>,
    L::Service: Service<Incoming, Error = Broken>,
{
    let mut service = layer.layer(Busy(0));
    let mut poll = || service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll(), Poll::Pending, "{name}");
    assert_eq!(poll(), Poll::Ready(Ok(())), "{name}");
    assert_eq!(poll(), Poll::Ready(Err(Broken)), "{name}");
}

#[test]
fn service_is_ready_when_the_inner_one_is() {
    each_layer!(hands_on_readiness);
}

// Where they are put.

fn script() -> Script {
    let steps = [Step::Data(3), Step::Pending, Step::Data(2), Step::Trailers];
    Script::new(steps, Size::Unknown, End::Hidden)
}

fn script_as_a_whole() -> Whole {
    ("xxxxx".into(), Some(trailers()))
}

fn fits_into_a_service_builder<L, R>(name: &str, layer: &L)
where
    L: Layer<Once<Script>> + Clone,
    L::Service: Service<Incoming, Response = Response<R>, Error = Infallible>,
    R: Body<Data = Bytes, Error = Broken>,
{
    let service = ServiceBuilder::new()
        .map_request(|request: Incoming| request)
        .layer(layer.clone())
        .service(Once(Some(script())));
    let whole = run(async {
        let response = service.oneshot(Incoming::default()).await.unwrap();
        whole(response.into_body()).await
    });
    assert_eq!(whole, script_as_a_whole(), "{name}");
}

#[test]
fn layers_fit_into_a_service_builder() {
    each_layer!(fits_into_a_service_builder);
}

fn fits_into_an_axum_router<L>(name: &str, layer: &L)
where
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<AxumBody>, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<AxumBody>>>::Response: IntoResponse + 'static,
    <L::Service as Service<Request<AxumBody>>>::Future: Send + 'static,
{
    let handler = || async { AxumBody::new(script()) };
    let router: Router = Router::new()
        .route("/", axum::routing::get(handler))
        .layer(layer.clone());
    let whole = run(async {
        let response = router
            .oneshot(Request::<AxumBody>::default())
            .await
            .unwrap();
        whole(response.into_body()).await
    });
    assert_eq!(whole, script_as_a_whole(), "{name}");
}

#[test]
fn layers_fit_into_an_axum_router() {
    each_layer!(fits_into_an_axum_router);
}

#[derive(Debug, Clone)]
struct Grpc;

impl NamedService for Grpc {
    const NAME: &'static str = "test.Grpc";
}

impl Service<Request<TonicBody>> for Grpc {
    type Response = Response<TonicBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<TonicBody>) -> Self::Future {
        let script = script().map_err(|Broken| tonic::Status::internal("broken"));
        let mut response = Response::new(TonicBody::new(script));
        let grpc = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, grpc);
        ready(Ok(response))
    }
}

/// Serves one call over a connection, and stops.
fn fits_into_a_tonic_server<L, R>(name: &str, layer: &L)
where
    L: Layer<Routes> + Clone,
    L::Service: Service<Request<TonicBody>, Response = Response<R>> + Clone + Send + 'static,
    <L::Service as Service<Request<TonicBody>>>::Future: Send,
    <L::Service as Service<Request<TonicBody>>>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let whole = run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = Server::builder()
            .layer(layer.clone())
            .add_service(Grpc)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), async {
                stopped.await.unwrap();
            });
        let client = async {
            let whole = call(address).await;
            stop.send(()).unwrap();
            whole
        };
        let (stopped, whole) = tokio::join!(server, client);
        stopped.unwrap();
        whole
    });
    assert_eq!(whole, script_as_a_whole(), "{name}");
}

async fn call(server: SocketAddr) -> Whole {
    let endpoint = Endpoint::from_shared(format!("http://{server}")).unwrap();
    let mut channel = endpoint.connect().await.unwrap();
    let request = Request::post("/test.Grpc/Call")
        .header(CONTENT_TYPE, "application/grpc")
        .body(TonicBody::empty())
        .unwrap();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    whole(response.into_body()).await
}

#[test]
fn layers_fit_into_a_tonic_server() {
    each_layer!(fits_into_a_tonic_server);
}
