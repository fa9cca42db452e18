//! A plain hyper server, without a framework, wearing three of the layers.
//!
//! What it shows: the layers wrap any tower service, whatever its body type, and the result
//! serves HTTP/1.1 and HTTP/2 through hyper.
//!
//! How to run it (an address may follow, the default is 127.0.0.1:3000):
//!
//! ```text
//! cargo run --example hyper_service --features full
//! ```
//!
//! What to look for: it prints what to try; `--http2-prior-knowledge` makes curl speak HTTP/2. The
//! fixed answer keeps its `content-length`, the stream comes event by event, and each exchange is
//! told of when it has ended.
#![allow(
    clippy::print_stdout,
    reason = "it tells what to try, and what happened"
)]
#![allow(clippy::print_stderr, reason = "it tells of broken connections")]

use std::{convert::Infallible, env::args, error::Error, future::ready, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use metrics_exporter_prometheus::{Matcher::Suffix, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, time::sleep};
use tower::ServiceBuilder;
use tower_passthrough::{
    capture::{CaptureLayer, Summary},
    headers::HeadersLayer,
    metrics::{BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, MetricsLayer},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Enough to be looked at. One that runs for long needs upkeep: see the example `observability`.
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Suffix("seconds".into()), DURATION_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Suffix("bytes".into()), BODY_BYTES_BUCKETS)?
        .install_recorder()?;

    let service = ServiceBuilder::new()
        .layer(CaptureLayer::new(|exchange: &Summary| {
            println!(
                "{} {:?}: {} after {:?}, {} bytes in {} frames",
                exchange.method,
                exchange.version,
                exchange.outcome,
                exchange.duration,
                exchange.body_bytes,
                exchange.data_frames,
            );
        }))
        .layer(MetricsLayer::builder().service("hyper").build()?)
        .layer(HeadersLayer::sse())
        .service_fn(move |request: Request<Incoming>| {
            let answer = answer(request.uri().path(), &prometheus);
            ready(Ok::<_, Infallible>(answer))
        });

    let listen = args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("curl -i  http://{address}/            an answer of known length");
    println!("curl -iN http://{address}/ticks       a stream without end: hang up with Ctrl-C");
    println!("curl -s  http://{address}/metrics     how they ended");
    loop {
        let (tcp, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(tcp), service).await {
                eprintln!("connection broken: {error}");
            }
        });
    }
}

fn answer(
    path: &str,
    prometheus: &PrometheusHandle,
) -> Response<Either<Full<Bytes>, StreamBody<impl Stream<Item = Tick> + use<>>>> {
    match path {
        "/ticks" => {
            let mut response = Response::new(Either::Right(StreamBody::new(ticks())));
            let event_stream = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, event_stream);
            response
        }
        "/metrics" => Response::new(Either::Left(prometheus.render().into())),
        _ => Response::new(Either::Left("Hello from hyper.\n".into())),
    }
}

type Tick = Result<Frame<Bytes>, Infallible>;

fn ticks() -> impl Stream<Item = Tick> {
    stream::iter(1..).then(|n: u64| async move {
        sleep(Duration::from_millis(100)).await;
        Ok(Frame::data(format!("data: {n}\n\n").into()))
    })
}
