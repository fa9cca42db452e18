//! The mechanism under the layers that watch: it follows whole exchanges, and knows how each one
//! ended.
//!
//! Each of them is a policy on what is here: [`MakeObserver`] makes an [`Observer`] for a request,
//! [`Observe`] puts it around the service, [`ResponseBody`] around the body, and a guard that travels
//! with them calls [`Observer::on_end`] exactly once. (Layers that change something are on the module
//! `alter`.)
//!
//! ```text
//!             call               future resolves              body is polled                end
//! request ───▶ observe ──────────▶ on_response ───────────────▶ on_data* ── on_trailers? ──▶ on_end
//!              │ None: not watched  │ no head: ServiceError,      │                          ▲
//!              ▼                    │ Cancelled, Panicked         └─ dropped, error, panic ──┤
//!              the inner service    └────────────────────────────────────────────────────────┘
//! ```
//!
//! # What passes through
//!
//! Everything, as it is and when it comes: each frame at the very poll that yields it, data in its
//! own memory, trailers, errors, `size_hint` and `is_end_stream`, the caller's waker, status,
//! version, header fields and extensions of both heads, the request body, `poll_ready`. A body
//! that is polled after its end is passed the poll. Nothing is buffered, boxed or allocated; only
//! a request that may upgrade gets a [`Tunnel`] into its extensions.
//!
//! # When is a dropped body complete?
//!
//! A server often drops a body that it never polled to `None`: when the announced length is
//! reached, after trailers, or because the response has no body at all. A client that leaves makes
//! it drop the body too. This is how the two are told apart:
//!
//! | what happens | outcome | [`on_end`](Observer::on_end) is called |
//! |---|---|---|
//! | the body yields `None` or trailers | `Complete` | at once |
//! | the body says [`is_end_stream`](http_body::Body::is_end_stream) at the head or after a frame | `Complete` | at once |
//! | it is dropped after as many bytes as `content-length` announced, or as its exact [`size_hint`](http_body::Body::size_hint) at the head did | `Complete` | at the drop |
//! | it is dropped, and the response has no content by its head: to HEAD, or 1xx, 204, 304 (RFC 9110 §6.4.1) | `Complete` | at the drop |
//! | it is dropped otherwise | `Disconnected` | at the drop |
//! | it yields an error | `BodyError` | at once |
//! | it panics | `Panicked` | as the panic unwinds |
//! | the head is 101, or 2xx to CONNECT | `Upgraded` | when the last [`Tunnel`] is dropped; at the head if nobody holds one |
//! | the service answers `Err` | `ServiceError` | at once |
//! | the future is dropped before the head | `Cancelled` | at the drop |
//! | the service or its future panics | `Panicked` | as the panic unwinds |
//!
//! Reaching the announced length does not end the exchange, since trailers may still follow; it
//! decides what a later drop means. The [`Moment`] handed to `on_end` is that of the last thing
//! that happened, so that a server that keeps a finished body for a while does not lengthen it.
//!
//! A body may lie: yield data after it said it was over, or other than its announced length. What
//! it yields is passed on as it is; there is still one outcome, and what comes after it is not
//! told to anyone.
//!
//! # What is not known
//!
//! An observer is told what the *server* was handed. Whether it was written to the socket, or read
//! by the client, a layer cannot see; a client's leaving is seen only when the server notices it
//! and drops the body or the future.
//!
//! # Panics
//!
//! - In the service, its future or the `poll_frame` of its body: the panic goes on to the caller,
//!   and the exchange ends as `Panicked` while it unwinds, even if it is caught further out and the
//!   remains are kept, or polled again.
//! - In the `drop` of a future or body: the exchange ends as that drop means. In `size_hint` and
//!   `is_end_stream`, when the server asks: goes to the server, and ends nothing.
//! - In [`MakeObserver::observe`]: goes to the caller; the service is not called.
//! - In a hook of an observer: goes to whoever polls, and the exchange ends as `Panicked` (unless
//!   it was `on_end` that panicked; it is not called again). The head or frame that was being handed
//!   over is lost. With a head the body is lost too; after a frame the inner body is still there, and
//!   polls are passed on to it.
//! - In `on_end` within a drop: goes to whoever drops. If a panic is already unwinding, the second
//!   one is caught and dropped, after the panic hook ran: it would abort the process.
//!
//! # An observer of your own
//!
//! Reports responses of more than a million bytes, and knows whether all of it was taken:
//!
//! ```
//! use bytes::{Buf, Bytes};
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_passthrough::{
//!     RequestHead,
//!     observe::{MakeObserver, Moment, ObserveLayer, Observer, Outcome},
//! };
//!
//! #[derive(Clone)]
//! struct LargeResponses {
//!     report: std::sync::mpsc::Sender<String>,
//! }
//!
//! struct LargeResponse {
//!     report: std::sync::mpsc::Sender<String>,
//!     path: String,
//!     bytes: u64,
//! }
//!
//! impl MakeObserver for LargeResponses {
//!     type Observer = LargeResponse;
//!
//!     fn observe(&self, request: &RequestHead<'_>, _: &Moment) -> Option<LargeResponse> {
//!         if request.uri.path() == "/health" {
//!             return None; // not watched
//!         }
//!         let path = request.uri.path().to_owned();
//!         Some(LargeResponse { report: self.report.clone(), path, bytes: 0 })
//!     }
//! }
//!
//! impl Observer for LargeResponse {
//!     fn on_data<D: Buf>(&mut self, data: &D, _: &Moment) {
//!         self.bytes += data.remaining() as u64;
//!     }
//!
//!     fn on_end(self, outcome: Outcome, _: &Moment) {
//!         if self.bytes > 1_000_000 {
//!             // Nobody may listen any more; an observer must not fail for that.
//!             let _ = self.report.send(format!("{}: {} bytes, {outcome}", self.path, self.bytes));
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (report, reports) = std::sync::mpsc::channel();
//! let mut service = ServiceBuilder::new()
//!     .layer(ObserveLayer::new(LargeResponses { report }))
//!     .service(service_fn(async |_: Request<String>| {
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(vec![0; 2_000_000])))
//!     }));
//!
//! let request = || Request::get("/download").body(String::new());
//! service.ready().await?.call(request()?).await?.into_body().collect().await?;
//! drop(service.ready().await?.call(request()?).await?); // without having read the body
//! assert_eq!(reports.try_iter().collect::<Vec<_>>(), ["/download: 2000000 bytes, complete"]);
//! # Ok(())
//! # }
//! ```

mod body;
mod future;
mod guard;
mod layer;
mod moment;
mod observer;
mod outcome;
mod service;
mod tunnel;

#[cfg(feature = "limit")]
pub(crate) use self::service::watch;
pub use self::{
    body::ResponseBody,
    future::ResponseFuture,
    layer::ObserveLayer,
    moment::Moment,
    observer::{MakeObserver, Observer},
    outcome::Outcome,
    service::Observe,
    tunnel::Tunnel,
};
