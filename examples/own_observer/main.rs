//! An observer of one's own: what each tenant was given, as one would bill it.
//!
//! What it shows: the two traits under all layers that watch. A `MakeObserver` looks at the request
//! and makes an `Observer` of its exchange, or none; that one is told of the head, of each frame, of
//! the trailers and, last and exactly once, of the outcome. Both are in `accounts.rs`.
//!
//! How to run it (an address may follow, the default is 127.0.0.1:3000):
//!
//! ```text
//! cargo run --example own_observer --features full
//! ```
//!
//! What to look for: it prints what to try. How many tokens an answer had is in its trailers, which
//! the observer sees even if they are not sent to the client. An answer that was hung up has none,
//! and is counted with the bytes that were given until then. A refusal is not counted, and who is no
//! tenant is not even watched.
#![allow(clippy::print_stdout, reason = "it tells what to try")]

mod accounts;

use std::{convert::Infallible, env::args, error::Error, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::get,
};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::time::sleep;
use tower_passthrough::observe::ObserveLayer;

use crate::accounts::Accounts;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let accounts = Accounts::of(["acme", "umbrella"]);
    let app = Router::new()
        .route("/answer", get(answer))
        .route("/stuck", get(stuck))
        .route("/refused", get(StatusCode::FORBIDDEN))
        .layer(ObserveLayer::new(accounts.clone()))
        .route("/accounts", get(async move || accounts.to_string()));

    let listen = args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("curl -N -H 'x-tenant: acme' {url}/answer       three words, and trailers");
    println!("curl -N -H 'x-tenant: umbrella' {url}/stuck    one word: hang up with Ctrl-C");
    println!("curl -i -H 'x-tenant: acme' {url}/refused      not counted");
    println!("curl -N {url}/answer                           not watched");
    println!("curl {url}/accounts                            what came of it");
    Ok(axum::serve(listener, app).await?)
}

async fn answer() -> Body {
    let tokens = HeaderValue::from_static("3");
    let trailers = HeaderMap::from_iter([(accounts::TOKENS, tokens)]);
    let end = stream::iter([Ok(Frame::trailers(trailers))]);
    Body::new(StreamBody::new(
        words(["one ", "two ", "three\n"]).chain(end),
    ))
}

async fn stuck() -> Body {
    Body::new(StreamBody::new(words(["one "]).chain(stream::pending())))
}

fn words<const N: usize>(
    words: [&'static str; N],
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::iter(words).then(async |word| {
        sleep(Duration::from_millis(100)).await;
        Ok(Frame::data(Bytes::from_static(word.as_bytes())))
    })
}
