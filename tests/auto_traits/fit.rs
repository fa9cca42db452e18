//! Where they are put.

use std::{
    convert::Infallible,
    error::Error,
    fmt::Debug,
    future::{Ready, ready},
    net::{Ipv4Addr, SocketAddr},
    task::{Context, Poll},
};

use axum::{Router, body::Body as AxumBody, response::IntoResponse, routing::Route};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{
    body::Body as TonicBody,
    server::NamedService,
    service::Routes,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::{
    Incoming, Once, Whole,
    common::{Broken, End, Script, Size, Step, trailers},
    layers::each_layer,
    run, whole,
};

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
