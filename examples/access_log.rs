//! An access log: one line per exchange, however it ended.
//!
//! What it shows: `CaptureLayer` is called once for each exchange when it is over, with what
//! became of the body, and with what it took along from the request.
//!
//! How to run it:
//!
//! ```text
//! cargo run --example access_log --features full
//! ```
//!
//! What to look for: it asks itself six times, and ends. To a log that is written at the response
//! head, two broken streams are successes, and two exchanges are not there at all: see `outcome`.
#![allow(clippy::print_stdout, reason = "it tells what it does")]

use std::{error::Error, future::pending, io, panic::resume_unwind, sync::Arc};

use axum::{Router, body::Body, routing::get};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::sync::{Notify, mpsc};
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
};

/// What the log wants from the request, besides the method and the version.
struct Asked {
    path: String,
    id: Option<HeaderValue>,
}

fn asked(request: &RequestHead<'_>) -> Asked {
    Asked {
        path: request.uri.path().to_owned(),
        id: request.headers.get("x-request-id").cloned(),
    }
}

fn log(exchange: &Summary<Asked>) {
    tracing::info!(
        id = exchange.context.id.as_ref().map(tracing::field::debug),
        method = %exchange.method,
        path = exchange.context.path,
        status = exchange.status.map(|status| status.as_u16()),
        outcome = %exchange.outcome,
        bytes = exchange.body_bytes,
        first_byte = exchange.time_to_first_byte.map(tracing::field::debug),
        duration = ?exchange.duration,
    );
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stdout()))
        .init();
    let (logged, mut lines) = mpsc::unbounded_channel();
    let arrived = Arc::new(Notify::new());
    let capture = CaptureLayer::with_context(asked, move |exchange: &Summary<Asked>| {
        log(exchange);
        let _ = logged.send(());
    });
    let service = service(Arc::clone(&arrived)).layer(capture);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, service).await });

    let client = Client::builder(TokioExecutor::new()).build_http();
    let ask = |id: &str, method: Method, path: &str| {
        let request = Request::builder().method(method).uri(url.clone() + path);
        let request = request.header("x-request-id", id).body(Body::empty());
        request.map(|request| client.request(request))
    };

    println!("An answer is read to its end, then asked for with HEAD:");
    ask("1", Method::GET, "/whole")?.await?.collect().await?;
    lines.recv().await;
    ask("2", Method::HEAD, "/whole")?.await?;
    lines.recv().await;

    println!("The client hangs up in mid-stream; the service breaks in mid-stream:");
    drop(ask("3", Method::GET, "/endless")?.await?);
    lines.recv().await;
    let _broken = ask("4", Method::GET, "/breaks")?.await;
    lines.recv().await;

    println!("There is no answer: the client does not wait for it; the service panics:");
    tokio::select! {
        answered = ask("5", Method::GET, "/slow")? => drop(answered?),
        () = arrived.notified() => {}
    }
    lines.recv().await;
    let _broken = ask("6", Method::GET, "/panics")?.await;
    lines.recv().await;
    Ok(())
}

fn service(arrived: Arc<Notify>) -> Router {
    let first = || stream::iter([Ok::<_, io::Error>("some bytes\n")]);
    let broken = || stream::iter([Err(io::Error::other("out of luck"))]);
    let endless = async move || Body::from_stream(first().chain(stream::pending()));
    let breaks = async move || Body::from_stream(first().chain(broken()));
    let slow = async move || {
        arrived.notify_one();
        pending::<()>().await;
    };
    // Like `panic!`, without its message in between.
    let panics = async || -> () { resume_unwind(Box::new("out of luck")) };
    Router::new()
        .route("/whole", get("all there is\n"))
        .route("/endless", get(endless))
        .route("/breaks", get(breaks))
        .route("/slow", get(slow))
        .route("/panics", get(panics))
}
