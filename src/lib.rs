//! Streaming-safe HTTP middleware for [tower]: metrics, status capture and header rules that never
//! buffer, reframe or cut a response, and tell exactly once how each exchange ended; and what long
//! streams need.
//!
//! ```text
//! client ◀── server ◀─┬─ CaptureLayer ◀──────────┬─ BufferingLayer ◀─┬─ DrainLayer ◀─────┬─ your service
//!                     │ MetricsLayer             │ HeadersLayer      │ KeepAliveLayer    │ SSE, gRPC, files,
//!                     │ ConcurrencyLimitLayer    │                   │ IdleTimeoutLayer  │ WebSocket, CONNECT
//!                     │ TapLayer, ObserveLayer   │                   │                   │
//!                     │                          │                   │ end a stream, or  │
//!                     │ watch                    │ the head only     │ add to it         │
//! ```
//!
//! | layer | what it does | feature |
//! |---|---|---|
//! | [`MetricsLayer`] | counts and times exchanges to the end of the body, through the `metrics` facade | `metrics` |
//! | [`CaptureLayer`] | calls back with one summary per exchange: status, outcome, bytes, times | `capture` |
//! | [`HeadersLayer`] | sets and removes header fields by rules; a preset for server-sent events | `headers` |
//! | [`BufferingLayer`] | tells proxies whether to buffer, by route, changed while it runs | `buffering` |
//! | [`TapLayer`] | shows each server-sent event that passes to a callback | `sse` |
//! | [`KeepAliveLayer`] | puts a comment into event streams that are quiet | `sse` |
//! | [`DrainLayer`] | ends event streams between two events, to shut down | `sse` |
//! | [`IdleTimeoutLayer`] | breaks streams that stopped | `timeout` |
//! | [`ConcurrencyLimitLayer`] | limits exchanges under way, to the end of their bodies | `limit` |
//! | [`ObserveLayer`](observe::ObserveLayer) | watches with an observer of your own | |
//!
//! These features are on by default; `full` is all there are. The feature `axum` labels metrics
//! with the route that axum matched; `tokio` has the timer of tokio for the layers that wait. The
//! feature `conformance` adds [a kit][kit] that tests whether any layer, yours or anyone's, is as safe
//! for streams as these.
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
//! The layers that watch, the limit included, and those that touch heads only promise:
//!
//! - Each frame of the body is handed on at the very poll that yields it, from its own memory, and
//!   so are trailers and errors. `size_hint` and `is_end_stream` are the inner body's at all times:
//!   what is sent with a `content-length`, or with no body at all, stays so.
//! - Heads are never rebuilt: version, extensions and fields that no rule names survive. Upgrades
//!   (WebSocket) and CONNECT work.
//! - Bodies need not be `Send`, `'static`, `Unpin` or of `Bytes`. Nothing is boxed or buffered, but for
//!   what reads events: [`TapLayer`] keeps a copy of an event that comes in pieces.
//! - Every exchange has exactly one [`Outcome`](observe::Outcome), whichever way it ends:
//!   [the table](observe#when-is-a-dropped-body-complete).
//!
//! Those that end streams or add to them ([which they are][alter]) keep this of each response that they
//! leave alone, and say what they change of the others. [`KeepAliveLayer`] and [`DrainLayer`] make
//! frames, and so ask for `Data: From<Bytes>`; [`DrainLayer`] and [`IdleTimeoutLayer`] have errors of
//! their own, and box them and the body's.
//!
//! What no middleware can know: whether a frame that the server took has reached the client.
//!
//! # Order
//!
//! A gateway of event streams wears them like this. Most services need a few of them; those that are
//! left out leave the order of the others as it is.
//!
//! ```text
//! server
//! ┌─ CaptureLayer                      what the server was handed, and how that ended
//! │ ┌─ MetricsLayer                    the same
//! │ │ ┌─ compression                   of others: from here on inwards events can be read
//! │ │ │ ┌─ BufferingLayer              its overriding policies win over the fields of rules
//! │ │ │ │ ┌─ HeadersLayer              its rules reach the 503 of a drain as well
//! │ │ │ │ │ ┌─ ConcurrencyLimitLayer   a permit until the client's stream ends
//! │ │ │ │ │ │ ┌─ DrainLayer            its `retry:` is the first line, and it has the last word
//! │ │ │ │ │ │ │ ┌─ KeepAliveLayer      its comments are not what the timeout waits for
//! │ │ │ │ │ │ │ │ ┌─ IdleTimeoutLayer  what the service itself sends
//! │ │ │ │ │ │ │ │ │ your service
//! ```
//!
//! - What watches is outermost: inside of [`DrainLayer`] or [`IdleTimeoutLayer`] it would see a body
//!   that was dropped, `disconnected`, where the client has a clean end or an error.
//!   What reads, though, goes inside of compression: [`TapLayer`], and [`MetricsLayer`] if it is to
//!   count events.
//! - [`BufferingLayer`] is outside of [`HeadersLayer`]: the preset for events sets
//!   `x-accel-buffering` whatever was there, so that no policy counts inside of it. Around it,
//!   a policy counts for event streams if it is overriding.
//! - [`ConcurrencyLimitLayer`] lets callers wait in `poll_ready`, before there is a call: what is outside
//!   of it neither counts nor times the waiting.
//! - [`DrainLayer`] is outside of [`KeepAliveLayer`]: inside, its `retry:` would begin an event, as far
//!   as one can tell, and a quiet stream would get no comment before that is over.
//! - [`IdleTimeoutLayer`] is inside of [`KeepAliveLayer`], or it would never strike.
//!
//! In axum's `Router::layer` and tower's `Layer` the last one put on is the outermost; in tower's
//! `ServiceBuilder` it is the first:
//!
#![cfg_attr(feature = "full", doc = "```")]
#![cfg_attr(not(feature = "full"), doc = "```ignore")]
//! use std::time::Duration;
//! # use http::{Request, Response, header::CONTENT_TYPE};
//! # use http_body_util::BodyExt;
//! # use hyper::body::Frame;
//! use tokio_util::sync::CancellationToken;
//! # use tower::{Service, service_fn};
//! use tower::ServiceBuilder;
//! use tower_passthrough::{
//!     buffering::{Buffering, BufferingControl, BufferingLayer, Policy},
//!     capture::{CaptureLayer, Summary},
//!     headers::HeadersLayer,
//!     limit::ConcurrencyLimitLayer,
//!     metrics::MetricsLayer,
//!     sse::{DrainLayer, KeepAliveLayer},
//!     timeout::IdleTimeoutLayer,
//! };
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = CancellationToken::new(); // of tokio-util: cancelled by SIGTERM, say
//! # let (log, logged) = std::sync::mpsc::channel();
//! # let service = service_fn(async |_: Request<String>| {
//! #     // One event, and then nothing more.
//! #     let (mut sender, body) = http_body_util::channel::Channel::<bytes::Bytes>::new(1);
//! #     sender.send_data("data: 1\n\n".into()).await.unwrap();
//! #     tokio::spawn(async move { let _open = sender; std::future::pending::<()>().await });
//! #     Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body)
//! # });
//! let control = BufferingControl::new(Policy::new(Buffering::Auto).overriding());
//! let mut gateway = ServiceBuilder::new()
//!     .layer(CaptureLayer::new(move |summary: &Summary| {
//!         println!("{}, {} bytes", summary.outcome, summary.body_bytes);
//! #         let _ = log.send(format!("{}, {} bytes", summary.outcome, summary.body_bytes));
//!     }))
//!     .layer(MetricsLayer::builder().service("gateway").build()?)
//!     .layer(BufferingLayer::new(control.clone()))
//!     .layer(HeadersLayer::sse())
//!     .layer(ConcurrencyLimitLayer::new(10_000)?)
//!     .layer(DrainLayer::new(move || shutdown.clone().cancelled_owned(), Duration::from_secs(10))?)
//!     .layer(KeepAliveLayer::new(Duration::from_secs(15))?)
//!     .layer(IdleTimeoutLayer::new(Duration::from_secs(40))?)
//!     .service(service);
//!
//! // The client of a service that sends one event, and then nothing more, reads that event, a comment
//! // after 15 s and after 30 s, and sees the stream break after 40 s: "the response body was idle for
//! // 40s". The summary says `body_error`, 35 bytes.
//! # std::future::poll_fn(|cx| gateway.poll_ready(cx)).await?;
//! # let response = gateway.call(Request::get("/").body(String::new())?).await?;
//! # assert_eq!(response.headers()["x-accel-buffering"], "no");
//! # let mut body = std::pin::pin!(response.into_body());
//! # let mut seen = Vec::new();
//! # let error = loop {
//! #     match body.frame().await.ok_or("it ended")?.map(Frame::into_data) {
//! #         Ok(data) => seen.push(String::from_utf8(data.unwrap().to_vec())?),
//! #         Err(error) => break error,
//! #     }
//! # };
//! # assert_eq!(seen, ["data: 1\n\n", ": keep-alive\n", ": keep-alive\n"]);
//! # assert_eq!(error.to_string(), "the response body was idle for 40s");
//! # assert_eq!(logged.try_iter().collect::<Vec<_>>(), ["body_error, 35 bytes"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Guides
//!
//! - [Why wrappers break streams][why]: the faults one by one, and what they do on the wire
//! - [Putting it behind nginx, Envoy, a balancer][behind]
//! - [Coming from tower-http or axum-prometheus][coming]: what is called what
//! - [Writing an observer][observer]
//!
// Where the links lead. What a build leaves out is on docs.rs: the first definition of a link counts.
#![cfg_attr(
    feature = "buffering",
    doc = "[`BufferingLayer`]: buffering::BufferingLayer"
)]
#![cfg_attr(feature = "capture", doc = "[`CaptureLayer`]: capture::CaptureLayer")]
#![cfg_attr(feature = "headers", doc = "[`HeadersLayer`]: headers::HeadersLayer")]
#![cfg_attr(
    feature = "limit",
    doc = "[`ConcurrencyLimitLayer`]: limit::ConcurrencyLimitLayer"
)]
#![cfg_attr(feature = "metrics", doc = "[`MetricsLayer`]: metrics::MetricsLayer")]
#![cfg_attr(
    feature = "sse",
    doc = "[`DrainLayer`]: sse::DrainLayer
[`KeepAliveLayer`]: sse::KeepAliveLayer
[`TapLayer`]: sse::TapLayer"
)]
#![cfg_attr(
    feature = "timeout",
    doc = "[`IdleTimeoutLayer`]: timeout::IdleTimeoutLayer"
)]
#![cfg_attr(
    any(
        feature = "buffering",
        feature = "headers",
        feature = "sse",
        feature = "timeout"
    ),
    doc = "[alter]: alter"
)]
#![cfg_attr(feature = "conformance", doc = "[kit]: conformance")]
#![cfg_attr(
    feature = "full",
    doc = "[why]: guides::why_wrappers_break_streams
[behind]: guides::behind_a_proxy
[coming]: guides::coming_from
[observer]: guides::writing_an_observer"
)]
//! [`BufferingLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/buffering/struct.BufferingLayer.html
//! [`CaptureLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/capture/struct.CaptureLayer.html
//! [`ConcurrencyLimitLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/limit/struct.ConcurrencyLimitLayer.html
//! [`DrainLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/sse/struct.DrainLayer.html
//! [`HeadersLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/headers/struct.HeadersLayer.html
//! [`IdleTimeoutLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/timeout/struct.IdleTimeoutLayer.html
//! [`KeepAliveLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/sse/struct.KeepAliveLayer.html
//! [`MetricsLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/metrics/struct.MetricsLayer.html
//! [`TapLayer`]: https://docs.rs/tower-passthrough/latest/tower_passthrough/sse/struct.TapLayer.html
//! [alter]: https://docs.rs/tower-passthrough/latest/tower_passthrough/alter/index.html
//! [kit]: https://docs.rs/tower-passthrough/latest/tower_passthrough/conformance/index.html
//! [why]: https://docs.rs/tower-passthrough/latest/tower_passthrough/guides/why_wrappers_break_streams/index.html
//! [behind]: https://docs.rs/tower-passthrough/latest/tower_passthrough/guides/behind_a_proxy/index.html
//! [coming]: https://docs.rs/tower-passthrough/latest/tower_passthrough/guides/coming_from/index.html
//! [observer]: https://docs.rs/tower-passthrough/latest/tower_passthrough/guides/writing_an_observer/index.html
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

// Prose.
#[cfg(all(any(doc, doctest), feature = "full"))]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod guides;

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
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
