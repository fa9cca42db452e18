//! A reverse proxy that wears the layers of tower-passthrough.
//!
//! What it shows: streams pass a real proxy frame by frame, in both directions, over HTTP/1.1,
//! HTTP/2 and upgraded connections, while the layers tell exactly how each exchange ended.
//!
//! How to run it, with an LLM-like demo as upstream, then with one of your own:
//!
//! ```text
//! cargo run --release --example gateway --features full
//! cargo run --release --example gateway --features full -- --upstream http://127.0.0.1:3000
//! ```
//!
//! What to look for: it prints what to try. Tokens come one by one; a client's hang-up ends the
//! upstream's work at once; each exchange is logged with its outcome and counted in the metrics.
#![allow(clippy::print_stdout, reason = "it tells what to try")]
#![allow(clippy::print_stderr, reason = "it tells why it does not start")]

mod demo;
mod proxy;

use std::{
    borrow::Cow,
    convert::Infallible,
    error::Error,
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use axum::{Router, routing::get};
use clap::Parser;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder};
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
    headers::HeadersLayer,
    metrics::{
        BODY_BYTES_BUCKETS, DURATION_SECONDS_BUCKETS, HEAD_SECONDS_BUCKETS, MetricsLayer,
        REQUEST_DURATION_SECONDS, RESPONSE_BODY_BYTES, RESPONSE_HEAD_SECONDS,
    },
};

use self::proxy::{Proxy, Upstream};

/// A reverse proxy for streams, wearing the layers of tower-passthrough.
#[derive(Debug, Parser)]
struct Options {
    /// Where clients connect: HTTP/1.1 and HTTP/2 with prior knowledge.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    /// Where operators connect: /metrics and /healthz.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    admin: String,

    /// The server to forward to [default: an embedded LLM-like demo].
    #[arg(long, value_name = "http://HOST[:PORT]")]
    upstream: Option<Upstream>,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(io::stdout().is_terminal())
        .init();
    let running = run(Options::parse());
    let ended = tokio::select! {
        biased; // install the Ctrl-C handler before printing that Ctrl-C works
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
        ended = running => ended,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let public = bind(&options.listen, "--listen").await?;
    let admin = bind(&options.admin, "--admin").await?;
    let (upstream, is_demo) = match options.upstream {
        Some(upstream) => (upstream, false),
        None => (demo::start().await?, true),
    };
    greet(&public, &admin, &upstream, is_demo)?;

    let prometheus = prometheus()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let routes = Router::new()
        .route("/metrics", get(move || async move { prometheus.render() }))
        .route("/healthz", get(|| async { "ok\n" }));
    tokio::spawn(async move { axum::serve(admin, routes).await });

    let proxy = Proxy::new(upstream);
    let metrics = MetricsLayer::builder().service("gateway").path(route);
    // The outermost first: what is logged is counted already.
    let service = ServiceBuilder::new()
        .layer(CaptureLayer::with_context(asked, log))
        .layer(metrics.build()?)
        .layer(HeadersLayer::sse())
        .service_fn(move |request| proxy.clone().forward(request));
    serve(public, service).await
}

async fn bind(address: &str, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error} (choose another with {option} HOST:PORT)")
    })
}

/// Serves HTTP/1.1 and HTTP/2 on one port, for ever.
async fn serve<S, B>(listener: TcpListener, service: S) -> !
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    loop {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // No more file descriptors, say: the next client may have more luck.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let server = server.clone();
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let connection = async {
                tcp.set_nodelay(true)?;
                let io = TokioIo::new(tcp);
                server.serve_connection_with_upgrades(io, service).await
            };
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection broken");
            }
        });
    }
}

/// Installs the recorder, with buckets: they add up over replicas, summaries do not.
fn prometheus() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(full(RESPONSE_HEAD_SECONDS), HEAD_SECONDS_BUCKETS)?
        .set_buckets_for_metric(full(REQUEST_DURATION_SECONDS), DURATION_SECONDS_BUCKETS)?
        .set_buckets_for_metric(full(RESPONSE_BODY_BYTES), BODY_BYTES_BUCKETS)?
        .install_recorder()
}

/// Takes in what the histograms have gathered, which otherwise only a scrape does.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        prometheus.run_upkeep();
    }
}

/// The `path` label. Clients choose paths, so only known ones may become a label's value.
fn route<'a>(request: &RequestHead<'a>) -> Cow<'a, str> {
    match request.uri.path() {
        path @ ("/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" | "/v1/models") => {
            path.into()
        }
        _ => "_other".into(),
    }
}

/// What the access log wants to know of the request.
fn asked(request: &RequestHead<'_>) -> String {
    request.uri.path().to_owned()
}

/// One line for each exchange, when it has ended, however it did.
fn log(exchange: &Summary<String>) {
    tracing::info!(
        method = %exchange.method,
        path = exchange.context,
        version = ?exchange.version,
        status = exchange.status.map(|status| status.as_u16()),
        outcome = %exchange.outcome,
        bytes = exchange.body_bytes,
        frames = exchange.data_frames,
        first_byte = exchange.time_to_first_byte.map(tracing::field::debug),
        duration = ?exchange.duration,
    );
}

fn greet(
    public: &TcpListener,
    admin: &TcpListener,
    upstream: &Upstream,
    is_demo: bool,
) -> io::Result<()> {
    let public = public.local_addr()?;
    let admin = admin.local_addr()?;
    println!("gateway   http://{public}");
    println!("metrics   http://{admin}/metrics");
    println!(
        "upstream  {upstream}{}",
        if is_demo { " (the embedded demo)" } else { "" }
    );
    println!();
    if is_demo {
        let chat = format!("http://{public}/v1/chat/completions");
        println!("Watch tokens stream through the gateway:");
        println!("  curl -N {chat} -d '{{\"stream\":true}}'");
        println!("Press Ctrl-C in the midst of it, and see it counted as disconnected:");
        println!("  curl -s http://{admin}/metrics | grep outcome");
        println!("The same answer in one piece; Ctrl-C before it comes is cancelled:");
        println!("  curl -i {chat} -d '{{}}'");
    } else {
        println!("Send it what you would send to the upstream, for instance");
        println!("  curl -iN http://{public}/");
        println!("and see how it ended:");
        println!("  curl -s http://{admin}/metrics | grep outcome");
    }
    println!("HTTP/2 is spoken on the same port: curl --http2-prior-knowledge ...");
    println!("Each exchange is logged below when it has ended. Ctrl-C ends the gateway.");
    println!();
    Ok(())
}
