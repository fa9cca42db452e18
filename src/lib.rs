//! Streaming-safe HTTP middleware for [tower]: metrics, status capture and header rules that never
//! buffer, reframe or cut a response, and tell exactly once how each exchange ended; and what long
//! streams need.
//!
//! ```text
//! client ◀── server ◀─┬─ HeadersLayer ◀─┬─ MetricsLayer ◀─┬─ KeepAliveLayer ◀─┬─ your service
//!                     │ BufferingLayer  │ CaptureLayer    │ DrainLayer        │ SSE, gRPC, files,
//!                     │                 │ TapLayer        │ IdleTimeoutLayer  │ WebSocket, CONNECT
//!                     │ the head only   │ watch           │ end a stream, or  │
//!                     │                 │                 │ add to it         │
//! ```
//!
//! | layer | what it does | feature |
//! |---|---|---|
//! | [`MetricsLayer`](metrics::MetricsLayer) | counts and times exchanges to the end of the body, through the `metrics` facade | `metrics` |
//! | [`CaptureLayer`](capture::CaptureLayer) | calls back with one summary per exchange: status, outcome, bytes, times | `capture` |
//! | [`HeadersLayer`](headers::HeadersLayer) | sets and removes header fields by rules; a preset for server-sent events | `headers` |
//! | [`BufferingLayer`](buffering::BufferingLayer) | tells proxies whether to buffer, by route, changed while it runs | `buffering` |
//! | [`TapLayer`](sse::TapLayer) | shows each server-sent event that passes to a callback | `sse` |
//! | [`KeepAliveLayer`](sse::KeepAliveLayer) | puts a comment into event streams that are quiet | `sse` |
//! | [`DrainLayer`](sse::DrainLayer) | ends event streams between two events, to shut down | `sse` |
//! | [`IdleTimeoutLayer`](timeout::IdleTimeoutLayer) | breaks streams that stopped | `timeout` |
//! | [`ConcurrencyLimitLayer`](limit::ConcurrencyLimitLayer) | limits exchanges under way, to the end of their bodies | `limit` |
//! | [`ObserveLayer`](observe::ObserveLayer) | watches with an observer of your own | |
//!
//! These features are on by default; `full` is all there are. The feature `axum` labels metrics
//! with the route that axum matched; `tokio` has the timer of tokio for the layers that wait. The
//! feature `conformance` adds
#![cfg_attr(feature = "conformance", doc = "[a kit](conformance) that tests")]
#![cfg_attr(not(feature = "conformance"), doc = "a kit that tests")]
//! whether any layer, yours or anyone's, is as safe for streams as these.
//!
#![cfg_attr(
    all(feature = "capture", feature = "headers", feature = "metrics"),
    doc = "```"
)]
#![cfg_attr(
    not(all(feature = "capture", feature = "headers", feature = "metrics")),
    doc = "```ignore"
)]
//! use axum::{Router, routing::get};
//! use tower_passthrough::{
//!     capture::{CaptureLayer, Summary},
//!     headers::HeadersLayer,
//!     metrics::MetricsLayer,
//! };
//!
//! # async fn chat() {}
//! let app: Router = Router::new()
//!     .route("/v1/chat/completions", get(chat))
//!     .layer(HeadersLayer::sse())
//!     .layer(MetricsLayer::builder().service("gateway").build()?)
//!     .layer(CaptureLayer::new(|summary: &Summary| {
//!         println!("{} after {:?}: {} bytes", summary.outcome, summary.duration, summary.body_bytes);
//!     }));
//! # Ok::<(), tower_passthrough::BuildError>(())
//! ```
//!
//! # What is promised
//!
//! Of the layers that watch, of which the limit is one, and of those that touch heads only:
//!
//! - Each frame of the body is handed on at the very poll that yields it, from its own memory, and
//!   so are trailers and errors. `size_hint` and `is_end_stream` are the inner body's at all times:
//!   what is sent with a `content-length`, or with no body at all, stays so.
//! - Heads are never rebuilt: version, extensions and fields that no rule names survive. Upgrades
//!   (WebSocket) and CONNECT work.
//! - Bodies need not be `Send`, `'static`, `Unpin` or of `Bytes`. Nothing is boxed or buffered.
//! - Every exchange has exactly one [`Outcome`](observe::Outcome), whichever way it ends:
//!   [the table](observe#when-is-a-dropped-body-complete).
//!
//! Those that end streams or add to them ([which they are](alter)) keep this of each response that they
//! leave alone, and say what they change of the others.
//!
//! What no middleware can know: whether a frame that the server took has reached the client.
//!
//! [tower]: https://docs.rs/tower

#![cfg_attr(docsrs, feature(doc_cfg))]

// The two mechanisms: one watches, the other changes something.
#[cfg(any(
    feature = "buffering",
    feature = "headers",
    feature = "sse",
    feature = "timeout"
))]
pub mod alter;
pub mod observe;

// The layers, each a policy on one of them.
#[cfg(feature = "buffering")]
pub mod buffering;
#[cfg(feature = "capture")]
pub mod capture;
#[cfg(feature = "headers")]
pub mod headers;
#[cfg(feature = "limit")]
pub mod limit;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "sse")]
pub mod sse;
#[cfg(feature = "timeout")]
pub mod timeout;

// The kit that tests layers, these and others.
#[cfg(feature = "conformance")]
pub mod conformance;

// What they share.
mod error;
mod grpc;
mod head;
#[cfg(any(feature = "buffering", feature = "headers", feature = "sse"))]
mod media_type;
#[cfg(any(feature = "sse", feature = "timeout"))]
mod quiet;
#[cfg(any(feature = "sse", feature = "timeout"))]
pub mod timer;
mod unwind;

pub use self::{
    error::BuildError,
    grpc::GrpcStatus,
    head::{RequestHead, ResponseHead},
};

/// The examples of the README, as tests.
#[cfg(all(
    doctest,
    feature = "capture",
    feature = "conformance",
    feature = "headers",
    feature = "limit",
    feature = "metrics",
    feature = "sse",
    feature = "timeout",
    feature = "tokio"
))]
#[doc = include_str!("../README.md")]
struct Readme;
