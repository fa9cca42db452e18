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
//! cargo run --release --example gateway --features full -- --help
//! ```
//!
//! What to look for: it prints what to try. Tokens come one by one; a client's hang-up ends the
//! upstream's work at once; each exchange is logged with its outcome and counted in the metrics.
//!
//! How it is made: `server` accepts connections and has a service for each, made here of the layers
//! around `proxy`, which forwards what it is asked to the `upstream`, with its `fields` in order, or
//! opens a `tunnel`, or answers with a `failure`. `client` notices that one has left, `upload` and `whole`
//! know what became of a body, `admin` answers operators, and what is printed goes through `output`.

mod admin;
mod client;
mod demo;
mod failure;
mod fields;
mod options;
mod output;
mod proxy;
mod server;
mod signals;
mod tunnel;
mod upload;
mod upstream;
mod whole;

use std::{
    borrow::Cow,
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use http::uri::PathAndQuery;
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, service_fn};
use tower_passthrough::{
    BuildError, RequestHead, ResponseHead,
    buffering::{Buffering, BufferingControl, BufferingLayer},
    capture::{CaptureLayer, Summary},
    headers::HeadersLayer,
    metrics::MetricsLayer,
    observe::ObserveLayer,
    sse::{DrainLayer, KeepAliveLayer},
};

use self::{
    failure::Failure,
    options::Options,
    output::{Log, greet},
    proxy::Proxy,
    server::{Peer, serve},
    signals::Signals,
};

/// How long it may take to drop what was cut off.
const CUT_OFF: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::of_process();
    let log = Log::start();
    let ended = Runtime::new().map_err(Box::from).and_then(|runtime| {
        let ended = runtime.block_on(run(options));
        // Otherwise it waits for threads that look up names for as long as they do.
        runtime.shutdown_timeout(CUT_OFF);
        ended
    });
    let ended = ended.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "gateway: {error}");
        ExitCode::FAILURE
    });
    log.end();
    ended
}

async fn run(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    let mut signals = Signals::new()?; // before it is printed that Ctrl-C works
    let public = bind(&options.listen, "--listen").await?;
    let admin = bind(&options.admin, "--admin").await?;
    let (upstream, is_demo) = match &options.upstream {
        Some(upstream) => (upstream.clone(), false),
        None => (
            demo::start(admin.local_addr()?, options.demo_token).await?,
            true,
        ),
    };
    greet(&public, &admin, &upstream, is_demo)?;

    let shutdown = CancellationToken::new();
    let buffering = BufferingControl::new(Buffering::Auto);
    let demo = is_demo.then(|| public.local_addr()).transpose()?;
    let prometheus = admin::prometheus()?;
    let routes = admin::routes(prometheus, buffering.clone(), shutdown.clone(), demo)?;
    tokio::spawn(async move { axum::serve(admin, routes).await });

    let proxy = Arc::new(Proxy::new(options, upstream)?);
    let stopped = async {
        signals.next().await;
        tracing::info!("a signal: finishing what is under way, a further one cuts it off");
        shutdown.cancel();
        signals.next().await;
        tracing::warn!("a further signal: cut off");
    };
    tokio::select! {
        ended = gateway(public, proxy, buffering, shutdown.clone()) => ended?,
        () = stopped => return Ok(ExitCode::FAILURE),
    }
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

async fn bind(address: &str, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error} (choose another with {option} HOST:PORT)")
    })
}

/// Serves until the shutdown, and then what is under way for as long as it may take.
async fn gateway(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    buffering: BufferingControl,
    shutdown: CancellationToken,
) -> Result<(), BuildError> {
    let options = &proxy.options;
    let stop = shutdown.clone();
    let forward = |peer: Peer| {
        let proxy = Arc::clone(&proxy);
        // Boxed, as it is large, and each layer around it would move it.
        service_fn(move |request| Box::pin(Arc::clone(&proxy).answer(request, peer.clone())))
    };
    let connections = if options.bare {
        serve(listener, options, forward, stop).await
    } else {
        let draining = move || shutdown.clone().cancelled_owned();
        let metrics = MetricsLayer::builder()
            .service(&options.service)
            .path(route)
            .response_label("error_type", error_type)
            .sse_events();
        // One layer for both, so that there is one body less and the clock is read once. What is logged
        // is counted already.
        let observers = (metrics.build()?, CaptureLayer::with_context(asked, log));
        // The outermost first.
        let layers = ServiceBuilder::new()
            .layer(ObserveLayer::new(observers))
            .layer(BufferingLayer::new(buffering))
            .layer(HeadersLayer::sse())
            .layer(DrainLayer::new(draining, options.drain)?)
            .layer(KeepAliveLayer::new(options.keep_alive)?);
        serve(
            listener,
            options,
            |peer| layers.service(forward(peer)),
            stop,
        )
        .await
    };

    proxy.tunnels.close();
    let rest = async { tokio::join!(connections.shutdown(), proxy.tunnels.wait()) };
    if timeout(options.drain, rest).await.is_err() {
        tracing::warn!("not all was done in time: the rest is cut off");
    }
    Ok(())
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

/// Why the gateway answered instead of the upstream; nothing if it did not.
fn error_type<'a>(response: &ResponseHead<'a>) -> Cow<'a, str> {
    let failure = response.extensions.get::<Failure>();
    failure.map_or("", |failure| failure.error_type).into()
}

/// What the access log wants to know of the request: a handle of it, not a copy.
fn asked(request: &RequestHead<'_>) -> Option<PathAndQuery> {
    request.uri.path_and_query().cloned()
}

/// One line for each exchange, when it has ended, however it did.
fn log(exchange: &Summary<Option<PathAndQuery>>) {
    tracing::info!(
        method = %exchange.method,
        path = exchange.context.as_ref().map(PathAndQuery::path),
        version = ?exchange.version,
        status = exchange.status.map(|status| status.as_u16()),
        outcome = %exchange.outcome,
        bytes = exchange.body_bytes,
        frames = exchange.data_frames,
        first_byte = exchange.time_to_first_byte.map(tracing::field::debug),
        duration = ?exchange.duration,
    );
}
